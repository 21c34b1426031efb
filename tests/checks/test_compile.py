"""Kind `compile`, with the R, the compilers and the Pythons at hand; what is broken is broken for real."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path

import pytest
from checks_context import IS_ROOT, NOBODY, Place, item, make_venv, place
from plan_images import access, compiler, evidence_for

from slimagent import checks
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.user import User
from slimagent.plan.compilers import is_compiling
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place"]  # a fixture
NO_R = {"R": "/no/such/R"}
NO_PYTHON = {"python": "/no/such/python"}


def lacks(reason: str) -> None:
    """Skip where something is not at hand; fail where all must be."""
    (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") == "1" else pytest.skip)(reason)


def python_headers() -> None:
    """Skip where nothing can be compiled for this Python."""
    if not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")):
        lacks("this Python has no headers: install python3-dev")


def check(
    place: Place,
    parameters: dict[str, str],
    *,
    seconds: float = 300,
    user: User | None = None,
    before: CheckResult | None = None,
    **env: str,
) -> CheckResult:
    spec = CheckSpec(kind="compile", name="it", seconds=seconds, parameters=parameters)
    return checks.run(spec, replace(place.context(user, **env), before=before))


@pytest.fixture
def r() -> dict[str, str]:
    """The parameters for a check of R alone."""
    compiler()
    if not shutil.which("R") or not shutil.which("make") or not shutil.which("g++"):
        lacks("no R with make and g++ to compile packages: install r-base-dev")
    return NO_PYTHON


@pytest.fixture
def python() -> dict[str, str]:
    """The parameters for a check of this very Python alone."""
    compiler()
    python_headers()
    if importlib.util.find_spec("pip") is None:
        lacks("this Python has no pip")
    return {**NO_R, "python": sys.executable}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip, and without setuptools."""
    compiler()
    python_headers()
    if importlib.util.find_spec("ensurepip") is None:
        lacks("this Python cannot make virtual environments with pip")
    directory = tmp_path_factory.mktemp("own")
    venv.create(directory, symlinks=True, with_pip=True)
    (packages,) = directory.glob("lib/python3*/site-packages")
    for name in ("setuptools", "pkg_resources", "_distutils_hack"):
        shutil.rmtree(packages / name, ignore_errors=True)
    (packages / "distutils-precedence.pth").unlink(missing_ok=True)
    return directory


def makevars(directory: Path, text: str) -> str:
    path = directory / "Makevars"
    path.write_text(text + "\n")
    return str(path)


def outcomes(result: CheckResult) -> dict[str, str]:
    return {each.name: each.outcome.value for each in result.items}


def test_r_packages_are_compiled_and_loaded(place: Place, r: dict[str, str]) -> None:
    """C and C++, and Fortran where there is a compiler for it."""
    result = check(place, r)
    assert (result.outcome, item(result, "r").outcome, item(result, "r-c++").outcome) == (Outcome.PASSED,) * 3, result
    if shutil.which("gfortran") is None:
        assert item(result, "r-fortran").outcome is Outcome.SKIPPED
        assert item(result, "r-fortran").detail.startswith("no Fortran compiler: ")
    else:
        assert item(result, "r-fortran").outcome is Outcome.PASSED


def test_python_packages_are_compiled_and_imported(place: Place, python: dict[str, str]) -> None:
    """With what this environment has: setuptools, and the headers of Python."""
    result = check(place, python)
    assert (result.outcome, item(result, "python").outcome) == (Outcome.PASSED, Outcome.PASSED), result
    assert item(result, "python-c").outcome is Outcome.PASSED, item(result, "python-c").detail
    assert result.snapshot == "pip with setuptools"


@pytest.mark.parametrize(
    ("line", "said", "broken"),
    [
        ("CXXFLAGS = -nostdinc++", "fatal error: stdexcept: No such file or directory", {"r-c++"}),
        ("CPPFLAGS = -nostdinc", "fatal error: ", {"r", "r-c++"}),
        ("LDFLAGS = -lno_such_library", "cannot find -lno_such_library", {"r", "r-c++"}),
        ("CFLAGS = -Dsqrt=no_such_function", "undefined symbol: no_such_function", {"r"}),
    ],
)
def test_a_lost_header_or_library_of_r_is_named(
    place: Place, r: dict[str, str], tmp_path: Path, line: str, said: str, broken: set[str]
) -> None:
    """A real compiler that may not find its headers, a linker, a loader: the item says what was not there."""
    result = check(place, r, R_MAKEVARS_USER=makevars(tmp_path, line))
    assert {name for name in ("r", "r-c++") if item(result, name).outcome is Outcome.FAILED} == broken
    for name in broken:
        assert item(result, name).detail.startswith("R CMD INSTALL: exit status 1: ")
        assert said in item(result, name).detail
    assert "ERROR: " in result.detail


def test_a_lost_header_of_c_is_named_for_python(place: Place, python: dict[str, str]) -> None:
    """The extension fails, and the package without one does not."""
    result = check(place, python, CC=f"{compiler()} -nostdinc")
    assert outcomes(result) | {"python": "passed", "python-c": "failed"} == outcomes(result)
    assert item(result, "python-c").detail.startswith("pip install: exit status 1: ")
    assert "fatal error: " in item(result, "python-c").detail


def test_what_is_not_installed_is_skipped(place: Place, tmp_path: Path) -> None:
    """Without R, Python, make, pip or a compiler there is nothing to build with, and the reason says so."""
    result = check(place, {**NO_R, **NO_PYTHON})
    assert (result.outcome, set(outcomes(result).values())) == (Outcome.SKIPPED, {"skipped"})
    assert result.detail == ("nothing can be compiled: /no/such/R is not on PATH; /no/such/python is not on PATH")
    make_venv(tmp_path / "venv")
    (tmp_path / "venv" / "bin" / "R").symlink_to(shutil.which("true") or "/bin/true")
    result = check(place, {}, PATH=str(tmp_path / "venv" / "bin"))
    assert item(result, "r").detail == "make is not on PATH"
    assert item(result, "python").detail.endswith("python3 has no pip, and uv is not installed")


def test_languages_without_a_compiler_are_skipped(place: Place, r: dict[str, str], tmp_path: Path) -> None:
    """R names compilers that are not installed; the others' packages are built all the same."""
    config = "CXX = no-such-c++\nFC = no-such-fortran\n"
    result = check(place, r, R_MAKEVARS_USER=makevars(tmp_path, config))
    if item(result, "r-c++").outcome is Outcome.PASSED:
        pytest.skip("this R does not read Makevars for its configuration")
    assert outcomes(result) | {"r": "passed", "r-c++": "skipped", "r-fortran": "skipped"} == outcomes(result)


def test_an_r_that_does_not_start_fails(place: Place, tmp_path: Path) -> None:
    """It is not taken for one without compilers."""
    if not shutil.which("make"):
        lacks("no make")
    program = tmp_path / "R"
    program.write_text("#!/bin/sh\necho 'libR.so: cannot open shared object file' >&2; exit 127\n")
    program.chmod(0o755)
    result = check(place, {**NO_PYTHON, "R": str(program)})
    assert item(result, "r").outcome is Outcome.FAILED
    assert item(result, "r").detail.startswith("R CMD config CC: exit status 127: libR.so: cannot open shared object")


def test_an_environment_without_setuptools_builds_by_itself(place: Place, own: Path) -> None:
    """As pip does it by default: in an isolated environment, with the backend that the package brings along."""
    result = check(place, {**NO_R, "python": str(own / "bin" / "python")})
    assert (item(result, "python").detail, result.snapshot) == ("by pip", "pip")
    assert item(result, "python-c").outcome is Outcome.PASSED, item(result, "python-c").detail


def test_another_way_does_not_hide_that_one_is_lost(place: Place, own: Path) -> None:
    """What was installed with setuptools on the image as it was needs them later, too."""
    before = CheckResult(name="it", kind="compile", outcome=Outcome.PASSED, seconds=1, snapshot="pip with setuptools")
    result = check(place, {**NO_R, "python": str(own / "bin" / "python")}, before=before)
    assert item(result, "python").outcome is Outcome.FAILED
    assert "setuptools" in item(result, "python").detail
    unknown = replace(before, snapshot="\0 no way")
    assert check(place, {**NO_R, "python": str(own / "bin" / "python")}, before=unknown).snapshot == "pip"


def test_uv_installs_where_there_is_no_pip(place: Place, tmp_path: Path) -> None:
    """Environments that uv made have none."""
    python_headers()
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if shutil.which("uv", path=programs) is None:
        lacks("no uv")
    make_venv(tmp_path / "venv")
    result = check(place, {**NO_R, "python": str(tmp_path / "venv" / "bin" / "python3")}, PATH=programs)
    assert (item(result, "python").outcome, item(result, "python").detail) == (Outcome.PASSED, "by uv"), result.detail
    assert item(result, "python-c").outcome is Outcome.PASSED, item(result, "python-c").detail


def test_a_broken_pip_fails(place: Place, tmp_path: Path) -> None:
    """A pip of which modules are gone is there, and does not work."""
    packages = make_venv(tmp_path / "venv")
    (packages / "pip").mkdir()
    (packages / "pip" / "__init__.py").write_text("__version__ = '99.0'")
    result = check(place, {**NO_R, "python": str(tmp_path / "venv" / "bin" / "python3")})
    assert item(result, "python").detail.startswith("pip install: exit status 1: ")
    assert "No module named pip.__main__" in item(result, "python").detail


def test_a_python_without_headers_builds_what_needs_none(place: Place, own: Path, tmp_path: Path) -> None:
    """Without Python.h nobody can build an extension there; a package without one can be."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sysconfig\nget = sysconfig.get_path\n"
        "sysconfig.get_path = lambda name, *more: '/no/such' if 'include' in name else get(name, *more)\n"
    )
    result = check(place, {**NO_R, "python": str(own / "bin" / "python")}, PYTHONPATH=str(tmp_path))
    assert (item(result, "python").outcome, item(result, "python-c").outcome) == (Outcome.PASSED, Outcome.SKIPPED)
    assert item(result, "python-c").detail == "no headers: /no/such/Python.h"


def test_a_python_that_cannot_be_asked_fails(place: Place, tmp_path: Path) -> None:
    """It is not taken for one without pip; what a .pth file prints is no answer."""
    for body, said in (
        ("echo no module named encodings; exit 1", "exit status 1: no module"),
        ("echo '{}'", "no answer"),
    ):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        result = check(place, {**NO_R, "python": str(program)})
        assert item(result, "python").detail.startswith(f"asking Python what it has: {said}")
        assert item(result, "python-c").outcome is Outcome.FAILED


def test_a_build_without_end_is_stopped(place: Place, python: dict[str, str], tmp_path: Path) -> None:
    """At the limit the compiler is stopped with all that started it, and what was not come to says so."""
    program = tmp_path / "cc"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    result = check(place, python, seconds=8, CC=str(program))
    assert item(result, "python-c").detail.startswith("pip install: no end after ")
    assert item(result, "python").detail == "pip install: not reached in the time of the check"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_packages_are_built_as_the_user(place: Place, r: dict[str, str], tmp_path: Path) -> None:
    """Another user, whose home is not there, can build in the check's directory."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory.name.startswith(("pytest-", "test_")):
            directory.chmod(0o755)
    result = check(place, r, user=NOBODY, HOME=NOBODY.home)
    assert item(result, "r").outcome is Outcome.PASSED, result.detail


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_a_watched_build_says_that_software_is_compiled(place: Place, python: dict[str, str], tmp_path: Path) -> None:
    """The compiler proper is in the trace, by which the plan keeps what compiling needs; not so if skipped."""
    for parameters, expected in ((python, True), ({**NO_R, **NO_PYTHON}, False)):
        with Seccomp() as watcher:
            watcher.step("it")
            spec = CheckSpec(kind="compile", name="it", seconds=300, parameters=parameters)
            result = checks.run(spec, replace(place.context(), spawn=watcher.spawn))
            observed = watcher.finish()
        assert result.outcome is (Outcome.PASSED if expected else Outcome.SKIPPED), result.detail
        assert (observed.losses, observed.stopped) == ((), ())
        seen = [access(os.fsdecode(path), how, found=False) for path, (how, _) in observed.accesses.items()]
        assert is_compiling(evidence_for(tmp_path, seen)) is expected
