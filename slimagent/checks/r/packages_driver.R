# Runs in the image's own R (3.0 or later): loads and attaches each package in a process of its own, forked from this
# one, and touches its classes, data and help. Given by an environment variable and run in a directory that it may fill.
#
# Writes JSON lines to its standard output: first {"names": [...]}; {"began", "process"} when one begins; {"name",
# "answer", "status", "last"} when it ends, where answer is "ok", what went wrong, or null if it left without a word,
# status is as wait(2) tells it, and last is the last line that was written meanwhile; at last {"end": true}.
#
# Forks by the C library, not by `parallel`: that one takes its children's exit status and tells nobody, and here a
# fatal signal must be told from an exit. `.C` hands over pointers alone, so only functions are called that take none,
# or take pointers: fork(), setsid(), wait(int *).

given <- function(name) strsplit(Sys.getenv(name), "\n", fixed = TRUE)[[1]]
lanes <- as.integer(Sys.getenv("SLIMAGENT_R_LANES"))
left_out <- given("SLIMAGENT_R_SKIP")
chosen <- given("SLIMAGENT_R_ONLY")
Sys.unsetenv(c("SLIMAGENT_R_DRIVER", "SLIMAGENT_R_LANES", "SLIMAGENT_R_SKIP", "SLIMAGENT_R_ONLY"))
options(warn = 1)
directory <- getwd()

c_library <- dyn.load(sub("^[^/]*", "", grep("/(libc[.-]|ld-musl)", readLines("/proc/self/maps"), value = TRUE))[1])
system_call <- function(name, ...) .C(getNativeSymbolInfo(name, c_library), ...)
is_child <- function() {
  before <- Sys.getpid()
  system_call("fork")
  Sys.getpid() != before
}
# A child ends like this: R's own way out would clear up what it shares with its parent.
end_here <- function() tools::pskill(Sys.getpid(), tools::SIGKILL)
# The wait status of the one child; -1 if there is none. A signal can end wait() early, with no status.
waited <- function() {
  for (attempt in 1:100) {
    status <- system_call("wait", -1L)[[1]]
    if (status != -1L) return(status)
  }
  -1L
}

# Text as a JSON string of ASCII alone, one line, short enough that a pipe takes the message in one piece (4096 bytes).
string <- function(text) {
  text <- iconv(enc2utf8(paste(text, collapse = "\n")), "UTF-8", "UTF-8", sub = "byte")
  text <- gsub("[[:space:]]+", " ", text)
  if (nchar(text) > 390) text <- paste(substr(text, 1, 130), "...", substring(text, nchar(text) - 250))
  codes <- utf8ToInt(text)
  pieces <- vapply(codes, function(code) {
    if (code > 65535L) sprintf("\\u%04x\\u%04x", 55296L + (code - 65536L) %/% 1024L, 56320L + (code - 65536L) %% 1024L)
    else if (code < 32L || code > 126L || code %in% c(34L, 92L)) sprintf("\\u%04x", code)
    else intToUtf8(code)
  }, "")
  paste0("\"", paste(pieces[cumsum(nchar(pieces)) <= 3000], collapse = ""), "\"")
}
say <- function(...) cat(paste0("{", paste0(..., collapse = ", "), "}\n"))

# The packages of every library, sorted by name; `from` is the library where it is not the one that library() takes.
packages <- function() {
  found <- data.frame(package = character(), place = character(), stringsAsFactors = FALSE)
  for (place in .libPaths()) {
    names <- list.files(place, pattern = "^[A-Za-z][A-Za-z0-9.]*$")
    names <- names[file.exists(file.path(place, names, "DESCRIPTION"))]
    names <- setdiff(names, "translations")  # of R's messages: it has a DESCRIPTION and nothing to load
    found <- rbind(found, data.frame(package = names, place = rep(place, length(names)), stringsAsFactors = FALSE))
  }
  if (length(chosen)) {
    found <- found[found$package %in% chosen, ]
    lost <- setdiff(chosen, found$package)
    found <- rbind(found, data.frame(package = lost, place = rep("", length(lost)), stringsAsFactors = FALSE))
  }
  found <- found[!found$package %in% left_out, ]
  second <- duplicated(found$package)
  found$name <- ifelse(second, paste0(found$package, " (", found$place, ")"), found$package)
  found$from <- ifelse(second, found$place, "")
  found[order(found$name), ]
}

step <- function(what, expression) {
  tryCatch(expression, error = function(error) stop(what, ": ", conditionMessage(error), call. = FALSE))
}

exercise <- function(package, from) {
  library_directory <- if (nzchar(from)) from
  if (nzchar(from) && package %in% loadedNamespaces()) step("cannot unload the first one", unloadNamespace(package))
  step("cannot be loaded", loadNamespace(package, lib.loc = library_directory))
  step("cannot be attached",
       library(package, character.only = TRUE, lib.loc = library_directory, warn.conflicts = FALSE, quietly = TRUE))
  place <- if (package == "base") system.file() else getNamespaceInfo(package, "path")
  step("objects", touch_objects(package))
  step("data", touch_data(package, place))
  step("help", touch_help(place))
}

# Exported objects and tables of S4 methods come from the lazy-load database one by one. Active bindings run code.
touch_objects <- function(package) {
  space <- asNamespace(package)
  names <- c(getNamespaceExports(space), ls(space, all.names = TRUE, pattern = "^[.]__T__"))
  for (name in unique(names)) {
    if (exists(name, envir = space, inherits = FALSE) && !bindingIsActive(name, space)) get(name, envir = space)
  }
  for (class in methods::getClasses(space)) methods::getClass(class, where = space)
}

# The first data set: all lie in one database, or beside each other. Meta/data.rds lists them, as `name` or as
# `name (what data() calls it)`.
touch_data <- function(package, place) {
  index <- file.path(place, "Meta", "data.rds")
  if (!file.exists(index) || NROW(items <- readRDS(index)) == 0L) return()
  name <- sub(" .*", "", items[1, 1])
  called <- sub("^.*[(](.*)[)]$", "\\1", items[1, 1])
  loaded <- new.env()
  utils::data(list = called, package = package, lib.loc = dirname(place), envir = loaded)
  if (!exists(name, envir = loaded, inherits = FALSE)) stop("no data set ", name)
  get(name, envir = loaded)
}

# The first page. Without Meta/Rd.rds and help/aliases.rds the package was installed without help.
touch_help <- function(place) {
  index <- file.path(place, "help", "aliases.rds")
  if (!any(file.exists(c(index, file.path(place, "Meta", "Rd.rds"))))) return()
  pages <- readRDS(index)
  if (length(pages)) utils:::.getHelpFile(file.path(place, "help", pages[[1]]))
}

# In the child: exercise one package, leave the answer in a file, end. Output goes to a file from the descriptors on:
# what is closed is taken by what is opened next. The session's own temporary directory is gone, so that each makes its
# own: a child that crashes removes it.
work <- function(job, here) {
  system_call("setsid")
  say("\"began\": ", string(job$name), ", \"process\": ", Sys.getpid())
  try({
    parallel:::closeStdout(FALSE)
    output <- file(file.path(here, "log"), "a")
    parallel:::closeStderr(FALSE)
    errors <- file(file.path(here, "log"), "a")
  }, silent = TRUE)
  setwd(here)
  Sys.setenv(TMPDIR = here)
  if ("check" %in% names(formals(tempdir))) tempdir(check = TRUE) else dir.create(tempdir(), showWarnings = FALSE)
  file.exists(paste0("/.slimagent/test/", job$name))  # if we are traced: what follows is for that package
  answer <- tryCatch({
    exercise(job$package, job$from)
    "ok"
  }, error = conditionMessage)
  writeLines(string(answer), file.path(here, "answer"))
  end_here()
}

last_line <- function(path) {
  size <- file.info(path)$size
  if (is.na(size)) return("")
  log <- file(path, "rb")
  on.exit(close(log))
  seek(log, max(0, size - 4096))
  bytes <- readBin(log, "raw", 4096)
  lines <- strsplit(rawToChar(bytes[bytes != 0]), "[\r\n]+", useBytes = TRUE)[[1]]
  lines <- lines[grepl("[^[:space:]]", lines, useBytes = TRUE)]
  if (length(lines)) lines[length(lines)] else ""
}

# One package after the other; one whose directory can be made is not another lane's, so the directory stays.
run_lane <- function(jobs) {
  for (number in seq_len(nrow(jobs))) {
    here <- file.path(directory, number)
    if (dir.create(here, showWarnings = FALSE)) {
      job <- jobs[number, ]
      if (is_child()) work(job, here)
      status <- waited()
      answer <- tryCatch(readLines(file.path(here, "answer")), error = function(error) "null", warning = function(w) "null")
      say("\"name\": ", string(job$name), ", \"answer\": ", answer[1], ", \"status\": ", status,
          ", \"last\": ", string(last_line(file.path(here, "log"))))
      unlink(list.files(here, all.files = TRUE, full.names = TRUE, no.. = TRUE), recursive = TRUE)
    }
  }
  end_here()
}

jobs <- packages()
cat("{\"names\": [")
cat(vapply(jobs$name, string, ""), sep = ", ")
cat("]}\n")
loadNamespace("parallel")
unlink(tempdir(), recursive = TRUE)
for (lane in seq_len(lanes)) if (is_child()) run_lane(jobs)
for (lane in seq_len(lanes)) waited()
say("\"end\": true")
