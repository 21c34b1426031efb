#!/bin/sh
# Starts slimagent in any container, for a Dockerfile's RUN or `docker run --entrypoint`.
#
# In a bundle (`slimagent bundle`) it starts the bundle's own Python by the bundle's own loader. Elsewhere it finds a Python
# of 3.10 or later, the agent's own before the image's. Either way the agent is kept out of the image: nothing of the
# image's site-packages is imported (-I -S), no byte code is written (-B), and the folder that holds this file is known to
# slimagent as its own, so that it is neither evidence nor part of the result.
set -eu

case $0 in
  */*) home=$(CDPATH='' cd -- "${0%/*}/" && pwd -P) ;;
  *) home=$(pwd -P) ;;
esac

if [ -f "$home/bundle.json" ]; then # the same words as in slimagent/image/agent.py
  # What the loader and the C library would load for these is the image's. start.py tells its programs, we do without.
  for name in LD_PRELOAD LD_AUDIT LD_DEBUG LD_DEBUG_OUTPUT LD_PROFILE GCONV_PATH LOCPATH; do
    eval "value=\${$name-}"
    if [ -n "$value" ]; then export "SLIMAGENT_ENV_$name=$value"; unset "$name"; fi
  done
  for loader in "$home"/lib/ld*.so.*; do
    if ! "$loader" --version >/dev/null 2>&1; then
      echo "slimagent: $loader does not run here: this bundle is for another processor, or may not be executed" >&2
      echo "  hint: make the bundle on a machine like this one, and mount it without noexec" >&2
      exit 4
    fi
    exec "$loader" --inhibit-cache --library-path "$home/lib" "$home/python/bin/python3" -I -S -B -X utf8 \
      "$home/start.py" "$@"
  done
fi

lib=$home/lib
[ -d "$lib/slimagent" ] || lib=$home

system() { PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; } # a program of the system's, whatever PATH says

only_root_writes() { # can nobody but root change the file, or a directory above it? a sticky one counts as safe
  place=$1
  while :; do
    # shellcheck disable=SC2046 # the words of a line of `ls`
    set -- $(system ls -ldn "$place" 2>/dev/null)
    case ${1-} in
      ?????w????* | ????????w?*) case $1 in d????????[tT]*) ;; *) return 1 ;; esac ;;
    esac
    [ "${3-}" = 0 ] || return 1
    [ "$place" != / ] || return 0
    place=${place%/*}
    place=${place:-/}
  done
}

usable() { # is it a Python that is new enough and has what the agent needs?
  [ -x "$1" ] && "$1" -I -S -B -c 'import sys; sys.path.insert(0, sys.argv[1]); assert sys.version_info >= (3, 10)
import ctypes, click, orjson, psutil, rich' "$lib" 2>/dev/null
}

safe() { # the image's file itself, if we may run it: what others may write is nothing for root
  real=$(system readlink -f "$1") || return 1
  [ "$user" != 0 ] || only_root_writes "$real" || return 1
  usable "$real" && echo "$real"
}

found() { # the usable Python that comes first, the agent's own or the image's
  for candidate in "$home/python/bin/python3" "$home/.venv/bin/python3" "$home/venv/bin/python3"; do
    if usable "$candidate"; then echo "$candidate"; return; fi
  done
  for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    candidate=$(command -v "$name" || :)
    if [ -n "$candidate" ] && safe "$candidate"; then return; fi
  done
  for folder in /opt/venv/bin /opt/conda/bin /usr/local/bin /usr/bin; do
    if safe "$folder/python3"; then return; fi
  done
}

user=$(system id -u)
python=$(found)
if [ -z "$python" ]; then
  echo "slimagent: no Python of 3.10 or later here that can load the agent from $lib, and that only root may write" >&2
  echo "  hint: use a bundle (\`slimagent bundle\`), which brings its own Python" >&2
  exit 4
fi
SLIMAGENT_HOME=$home
export SLIMAGENT_HOME
exec "$python" -I -S -B -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = "slimagent"
from slimagent.__main__ import main; main()' "$lib" "$@"
