# Marks what R does for slimagent's tracer, traced or not: slimagent_test(NAME, CODE), or slimagent_reporter() for
# testthat: test_dir("tests", reporter = slimagent_reporter("progress")).

slimagent_mark <- function(name) {
  bytes <- charToRaw(enc2utf8(name))
  plain <- bytes %in% charToRaw("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
  words <- ifelse(plain, rawToChar(bytes, multiple = TRUE), paste0("%", toupper(as.character(bytes))))
  invisible(file.exists(paste0("/.slimagent/test/", paste(words, collapse = ""))))
}

slimagent_test <- function(name, code) {
  slimagent_mark(name)
  on.exit(slimagent_mark(""))
  force(code)
}

# The reporters in `...` and one that marks each test_that().
slimagent_reporter <- function(...) {
  marks <- R6::R6Class("SlimagentReporter", inherit = testthat::Reporter, public = list(
    file = "",
    start_file = function(filename) self$file <- filename,
    start_test = function(context, test) slimagent_mark(paste0(self$file, "::", test)),
    end_test = function(context, test) slimagent_mark("")
  ))
  others <- lapply(c(...), function(name) testthat:::find_reporter(name))
  testthat::MultiReporter$new(reporters = c(list(marks$new()), others))
}
