# Runs a command as a test: slimagent_test NAME COMMAND [ARGUMENT]... For any POSIX shell, traced or not.
# A character % in NAME is written %25. The test ends with the command, whose exit status is returned.
slimagent_test() (
  [ -e "/.slimagent/test/$1" ] || : # it never exists, and `set -e` must not end the script here
  shift
  "$@"
)
