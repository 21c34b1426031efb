"""R packages with compiled code, as "Writing R Extensions" has them: written, installed by R CMD INSTALL, loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slimagent.checks.compiling.build import Build, StepError, absent
from slimagent.model.result import Item, Outcome

_PACKAGE = "slimagentprobe"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Language:
    """A language of code in packages: its item, R's variable of the compiler, a source file and its use in R.

    `function` defines the R function that calls it, `expression` is TRUE if it works.
    """

    item: str
    called: str
    variable: str
    file: str
    source: str
    function: str
    expression: str


_C = _Language(
    item="r",
    called="C",
    variable="CC",
    file="src/c.c",
    source="""\
#include <R.h>
#include <Rinternals.h>
#include <R_ext/Rdynload.h>
#include <math.h>

static SEXP probe_c(SEXP x) { return ScalarReal(sqrt(asReal(x))); }

static const R_CallMethodDef calls[] = {{"probe_c", (DL_FUNC) &probe_c, 1}, {NULL, NULL, 0}};

void R_init_slimagentprobe(DllInfo *dll) { R_registerRoutines(dll, NULL, calls, NULL, NULL); }
""",
    function=f'probe_c <- function(x) .Call("probe_c", x, PACKAGE = "{_PACKAGE}")\n',
    expression="probe_c(1764) == 42",
)
_CPP = _Language(
    item="r-c++",
    called="C++",
    variable="CXX",
    file="src/cpp.cpp",
    source="""\
#include <stdexcept>
#include <string>
#include <vector>
#define R_NO_REMAP
#include <Rinternals.h>

extern "C" SEXP probe_cpp(SEXP x) {
    std::vector<std::string> words;
    try {
        throw std::runtime_error("four");
    } catch (const std::exception &error) {
        words.push_back(error.what());
    }
    return Rf_ScalarReal(Rf_asReal(x) * words[0].size());
}
""",
    function=f'probe_cpp <- function(x) .Call("probe_cpp", x, PACKAGE = "{_PACKAGE}")\n',
    expression="probe_cpp(10.5) == 42",
)
_FORTRAN = _Language(
    item="r-fortran",
    called="Fortran",
    variable="FC",
    file="src/fortran.f90",
    source="""\
subroutine probefortran(x)
  double precision x
  character(len=8) text
  integer number
  write (text, '(i8)') 21
  read (text, *) number
  x = x * number
end subroutine
""",
    function=f'probe_fortran <- function(x) .Fortran("probefortran", x = x, PACKAGE = "{_PACKAGE}")$x\n',
    expression="probe_fortran(2) == 42",
)
_LANGUAGES = (_C, _CPP, _FORTRAN)


def items(build: Build, program: str) -> tuple[Item, ...]:
    """An item per language; skipped where R, make or the language's compiler is not installed."""
    r = build.find(program or "R")
    lacking = next((name for name in (program or "R", "make") if not build.find(name)), "")
    if lacking:
        lacking += " is not on PATH"
        return tuple(absent(language.item, lacking) for language in _LANGUAGES)
    asked = {language.item: _compiler(build, r, language) for language in _LANGUAGES}
    there = [language for language in _LANGUAGES if asked[language.item] is None]
    built = {each.name: each for each in _build(build, r, there)}
    return tuple(asked[language.item] or built[language.item] for language in _LANGUAGES)


def _compiler(build: Build, r: str, language: _Language) -> Item | None:
    """None if the compiler that R was configured with is there; else the item that says what is wrong.

    R names one whether or not it is installed.
    """
    try:
        said = build.step(f"R CMD config {language.variable}", (r, "CMD", "config", language.variable)).last
    except StepError as error:
        if "no information for variable" in str(error):
            return absent(language.item, f"R was built without {language.called}")
        return build.failed(language.item, error)
    words = said[-1].split() if said else []
    if not words:
        return absent(language.item, f"R was built without {language.called}")
    return None if build.find(words[0]) else absent(language.item, f"no {language.called} compiler: {words[0]}")


def _build(build: Build, r: str, languages: Sequence[_Language]) -> Iterable[Item]:
    """All languages in one package; each in its own to tell them apart if that fails."""
    if not languages:
        return []
    try:
        _install(build, r, languages)
    except StepError as error:
        if len(languages) == 1:
            return [build.failed(languages[0].item, error)]
        return [item for language in languages for item in _build(build, r, [language])]
    return [Item(name=language.item, outcome=Outcome.PASSED) for language in languages]


def _install(build: Build, r: str, languages: Sequence[_Language]) -> None:
    """Raises StepError if the package cannot be installed, or does not work in a new R process."""
    source = build.write(_PACKAGE, _files(languages))
    library = build.write("library", {})
    build.step("R CMD INSTALL", (r, "CMD", "INSTALL", f"--library={library}", source))
    true = " && ".join(language.expression for language in languages)
    code = f"library({_PACKAGE}, lib.loc = commandArgs(TRUE)[1]); stopifnot({true})"
    build.step("loading the R package", (r, "--slave", "--no-save", "--no-restore", "-e", code, "--args", library))


def _files(languages: Sequence[_Language]) -> dict[str, str]:
    return {
        "DESCRIPTION": f"Package: {_PACKAGE}\nVersion: 0.1\nTitle: Probe\nDescription: Probe.\nLicense: GPL-3\n"
        "Author: Nobody\nMaintainer: Nobody <nobody@localhost>\nEncoding: UTF-8\n",
        "NAMESPACE": f'useDynLib({_PACKAGE})\nexportPattern("^probe_")\n',
        "R/probe.R": "".join(language.function for language in languages),
        "man/probe.Rd": "\\name{probe}\n\\alias{probe}\n\\title{Probe}\n\\description{Probe.}\n",
        # The libraries that Fortran code needs; with several languages the linker is that of another one.
        "src/Makevars": "PKG_LIBS = $(FLIBS)\n" if _FORTRAN in languages else "",
        **{language.file: language.source for language in languages},
    }
