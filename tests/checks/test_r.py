"""Kind `r-packages`, in the real R with small packages of every sort of misfortune."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from attributions import users_of
from checks_context import IS_ROOT, NOBODY, Place, item, place
from hypothesis import given
from hypothesis import strategies as st
from plan_images import build, build_library

from slimagent import checks
from slimagent.checks.answers import mapping, parsed
from slimagent.checks.r import _DRIVER, _START, _limit_logs, _Work
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.user import User
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place"]  # a fixture

# Package → its code, or all its files. Each gets a DESCRIPTION and an empty NAMESPACE where it has none.
PACKAGES: dict[str, str | dict[str, str]] = {
    "fine": {
        "NAMESPACE": "import(methods)\nexport(twice)\nexportClasses(Shape)\nexportMethods(area)\n",
        "DESCRIPTION": "Imports: methods\nLazyData: yes\n",
        "R/code.R": "twice <- function(x) 2 * x\n"
        "setClass('Shape', representation(side = 'numeric'))\n"
        "setGeneric('area', function(x) standardGeneric('area'))\n"
        "setMethod('area', 'Shape', function(x) x@side ^ 2)\n",
        "data/squares.csv": "a\n1\n4\n",
        "man/twice.Rd": "\\name{twice}\\alias{twice}\\title{Twice}\\description{Two times.}\n",
    },
    "plain": {"data/pair.R": "first <- 1\nsecond <- 2\n", "R/code.R": "x <- 1\n"},  # a data set of two objects
    "masking": {
        "NAMESPACE": "export(ls, get, exists, tryCatch, file.path, trap)\n",
        "R/code.R": "ls <- get <- exists <- tryCatch <- file.path <- function(...) stop('masked')\n"
        ".onLoad <- function(library, name) makeActiveBinding('trap', function() stop('sprung'), asNamespace(name))\n",
    },
    "needy": {"DESCRIPTION": "Imports: fine\n", "NAMESPACE": "import(fine)\n"},
    "talkative": '.onLoad <- function(...) { message(\'hello\'); cat(\'{"name": "fine", "answer": "no"}\\n\') }',
    "tidy": ".onLoad <- function(...) stopifnot(dir.exists(tempdir()), file.create(tempfile()))",
    "asking": ".onLoad <- function(...) stopifnot(identical(readLines(file('stdin')), character()))",
    "raising": ".onLoad <- function(...) stop('first line\\nlast “line” \\U0001F600')",
    "detached": ".onAttach <- function(...) stop('not in public')",
    "hanging": ".onLoad <- function(...) { message('wait for it'); repeat Sys.sleep(1000) }",
    "stubborn": ".onLoad <- function(...) repeat tryCatch(Sys.sleep(1000), interrupt = identity, error = identity)",
    "killing": ".onLoad <- function(...) tools::pskill(Sys.getpid(), 9)",
    "crashing": ".onLoad <- function(...) tools::pskill(Sys.getpid(), 11)",
    "leaving": ".onLoad <- function(...) quit('no', 3)",
    "forking": ".onLoad <- function(...) system('setsid sleep 1000 &')",
    "flooding": ".onLoad <- function(...) { line <- strrep('x', 1e6); repeat cat(line, '\\n') }",
    "bare": {},
}
HEAD = "Version: 1.0\nTitle: T\nDescription: D.\nLicense: X\nAuthor: A\nMaintainer: A <a@b.c>\nEncoding: UTF-8\n"
RIGHT = {"fine", "plain", "masking", "needy", "talkative", "tidy", "asking", "forking", "bare"}
WRONG = {
    "raising": "cannot be loaded: .onLoad failed in loadNamespace() for 'raising', details: "
    "call: fun(libname, pkgname) error: first line last “line” 😀",
    "detached": "cannot be attached: package or namespace load failed for \u2018detached\u2019: .onAttach failed in "
    "attachNamespace() for 'detached', details: call: fun(libname, pkgname) error: not in public",
    "hanging": "no end after 2 s (wait for it)",
    "stubborn": "no end after 2 s",
    "killing": "ended by SIGKILL",
    "leaving": "exit status 3",
}


def needed(program: str) -> str:
    """R; skips the test where there is none, fails it where all must be there."""
    found = shutil.which(program)
    if found is None:
        reason = f"no {program}: install R (r-base-core)"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def install(library: Path, sources: Path, packages: dict[str, str | dict[str, str]]) -> None:
    """Write packages and install them, as a user does."""
    for name, files in packages.items():
        whole = {"R/code.R": files} if isinstance(files, str) else dict(files)
        whole["DESCRIPTION"] = f"Package: {name}\n{HEAD}" + whole.get("DESCRIPTION", "")
        whole.setdefault("NAMESPACE", "")
        for path, text in whole.items():
            (sources / name / path).parent.mkdir(parents=True, exist_ok=True)
            (sources / name / path).write_text(text)
    library.mkdir(exist_ok=True)
    command = [needed("R"), "CMD", "INSTALL", "--no-test-load", "--no-lock", f"--library={library}", *packages]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that holds all PACKAGES."""
    directory = tmp_path_factory.mktemp("r")
    install(directory / "library", directory, PACKAGES)
    return directory / "library"


@pytest.fixture
def own(everything: Path, tmp_path: Path) -> Path:
    """A library of its own with the package `fine` and the one that needs it, to be damaged."""
    for name in ("fine", "plain", "needy"):
        shutil.copytree(everything / name, tmp_path / "own" / name)
    return tmp_path / "own"


def load(
    place: Place, *libraries: Path, user: User | None = None, seconds: float = 120, env: dict[str, str] | None = None,
    **parameters: Parameter,
) -> CheckResult:  # fmt: skip
    """Run the check with these libraries before R's own."""
    needed("R")
    spec = CheckSpec(kind="r-packages", name="it", seconds=seconds, parameters=parameters)
    libs = os.pathsep.join(map(str, libraries))
    variables = {"R_LIBS": libs, "LC_ALL": "C.UTF-8", "LANGUAGE": "en", **(env or {})}
    return checks.run(spec, place.context(user, **variables))


def test_each_package_is_an_item_with_its_own_fate(place: Place, everything: Path) -> None:
    """Error, hang, signal and exit are told apart, and none of them does harm to the packages beside it."""
    chosen = tuple(set(PACKAGES) - {"crashing", "flooding"})
    result = load(place, everything, packages=chosen, seconds_each=2)
    assert {each.name: each.detail for each in result.items if each.outcome is Outcome.FAILED} == WRONG
    assert {each.name for each in result.items if each.outcome is Outcome.PASSED} == RIGHT
    assert result.detail.startswith(f"{len(WRONG)} of {len(WRONG) + len(RIGHT)} failed: ")


def test_a_crash_is_told_and_leaves_the_others_their_directories(place: Place, everything: Path) -> None:
    """R clears its temporary directory up when it crashes; each process has its own, so that the next one has one."""
    result = load(place, everything, packages=("crashing", "leaving", "tidy"))
    assert item(result, "crashing").detail.startswith("ended by SIGSEGV (")
    assert item(result, "tidy").outcome is Outcome.PASSED


def test_every_package_of_every_library_is_exercised(place: Place, own: Path) -> None:
    """The libraries of R itself too; those that are only directories with a DESCRIPTION are none."""
    (own / "notes").mkdir()
    (own / "file2c5d1").touch()
    result = load(place, own)
    names = {each.name for each in result.items}
    assert {"base", "methods", "stats", "tcltk", "utils", "fine", "needy", "plain"} <= names
    assert not {"notes", "file2c5d1", "translations"} & names
    assert {each.name for each in result.items if each.outcome is not Outcome.PASSED} <= {"tcltk"}


@pytest.mark.parametrize(
    ("path", "item_name", "words"),
    [
        ("fine/R/fine.rdb", "fine", ("cannot be loaded", "fine.rdb")),
        ("fine/R/fine.rdx", "fine", ("fine",)),
        ("fine/R/fine", "fine", ("fine",)),
        ("fine/NAMESPACE", "fine", ("fine",)),
        ("fine/Meta/package.rds", "fine", ("fine",)),
        ("fine/Meta/nsInfo.rds", "", ()),
        ("fine/data/Rdata.rdb", "fine", ("data: ", "Rdata.rdb", "No such file or directory")),
        ("fine/data/Rdata.rdx", "fine", ("cannot be loaded", "Rdata.rdx", "No such file or directory")),
        ("fine/data/Rdata.rds", "fine", ("data: ", "squares")),
        ("fine/help/fine.rdb", "fine", ("help: ", "fine.rdb")),
        ("fine/help/fine.rdx", "fine", ("help: ", "fine")),
        ("fine/help/aliases.rds", "fine", ("help: ", "aliases.rds", "No such file or directory")),
        ("plain/data/pair.R", "plain", ("data: ", "pair")),
    ],
)
def test_a_file_that_is_missing_is_seen(
    place: Place, own: Path, path: str, item_name: str, words: tuple[str, ...]
) -> None:
    """Each file that code, classes, data and help are read from; the detail says which part of the package it was."""
    (own / path).unlink()
    result = load(place, own, packages=("fine", "plain"))
    assert [each.name for each in result.items if each.outcome is Outcome.FAILED] == ([item_name] if item_name else [])
    for word in words:
        assert word in item(result, item_name).detail


def test_a_data_base_that_is_cut_short_is_seen(place: Place, own: Path) -> None:
    """A lazy-load data base of which the end is gone: objects that nothing has asked for yet are fetched too."""
    data = (own / "fine/R/fine.rdb").read_bytes()
    (own / "fine/R/fine.rdb").write_bytes(data[: len(data) // 2])
    result = load(place, own, packages=("fine",))
    assert item(result, "fine").outcome is Outcome.FAILED


def test_a_package_that_needs_a_missing_one_names_it(place: Place, own: Path) -> None:
    """One that the profile names and that is nowhere is missing too."""
    shutil.rmtree(own / "fine")
    result = load(place, own, packages=("needy", "fine", "pläin "))
    assert [each.name for each in result.items] == ["fine", "needy", "pläin"]
    for name in ("fine", "needy"):
        assert item(result, name).detail == "cannot be loaded: there is no package called \u2018fine\u2019"


def test_a_library_that_is_missing_is_named(place: Place, tmp_path: Path) -> None:
    """A shared library that another one needs: the last of the loader's words is what one wants to know."""
    needed("R")
    gone = build_library(tmp_path, "/libgone.so")
    user = build(tmp_path, "/libuser.so", needs=["/libgone.so"])
    gone.unlink()
    install(tmp_path / "library", tmp_path, {"native": f".onLoad <- function(...) dyn.load({str(user)!r})"})
    result = load(place, tmp_path / "library", packages=("native",))
    assert item(result, "native").detail.endswith(
        "libgone.so: cannot open shared object file: No such file or directory"
    )


def test_a_second_copy_has_an_item_of_its_own(place: Place, everything: Path, own: Path) -> None:
    """A package in two libraries: library() takes the first, and the second is exercised under the library's name."""
    (own / "fine/R/fine.rdb").unlink()
    result = load(place, everything, own, packages=("fine",))
    assert [(each.name, each.outcome) for each in result.items] == [
        ("fine", Outcome.PASSED), (f"fine ({own})", Outcome.FAILED)
    ]  # fmt: skip


def test_packages_can_be_left_out(place: Place, own: Path) -> None:
    """`skip` leaves packages out and says so."""
    result = load(place, own, packages=("fine", "plain"), skip=("plain",))
    assert [(each.name, each.outcome) for each in result.items] == [
        ("fine", Outcome.PASSED), ("plain", Outcome.SKIPPED)
    ]  # fmt: skip
    assert item(result, "plain").detail == "left out by the profile"


def test_the_whole_check_has_a_limit_too(place: Place, everything: Path) -> None:
    """At the check's own limit what was loaded counts, and each other package says that it was not reached."""
    result = load(place, everything, packages=("fine", "hanging", "stubborn", "tidy"), seconds=6)
    assert item(result, "fine").outcome is Outcome.PASSED
    assert {item(result, name).detail for name in ("hanging", "stubborn", "tidy")} == {"not reached in 6 s"}


def test_an_r_that_is_killed_fails_what_it_did_not_reach(place: Place, tmp_path: Path) -> None:
    """A package that takes R with it cannot make the packages after it vanish."""
    code = """
told <- function(of, what) readLines(sprintf("/proc/%d/%s", of, what))
parent <- function(of) as.integer(strsplit(sub(".*[)] ", "", told(of, "stat")), " ")[[1]][2])
.onLoad <- function(...) {
  above <- parent(Sys.getpid())
  above <- c(parent(above), above)
  tools::pskill(above[c(told(above[1], "comm"), told(above[2], "comm")) == "R"], 9)
  Sys.sleep(1000)
}
"""
    install(tmp_path / "library", tmp_path, {"killer": code, "killer2": code, "zz": {}})
    result = load(place, tmp_path / "library", packages=("killer", "killer2", "zz"), seconds=20)
    assert [each.name for each in result.items] == ["killer", "killer2", "zz"]
    assert item(result, "killer").outcome is Outcome.FAILED
    assert item(result, "zz").outcome is Outcome.FAILED


def test_output_without_end_does_not_fill_the_disk(place: Place, everything: Path) -> None:
    """A package that writes until it is stopped; its file is emptied meanwhile, and its last line is cut."""
    result = load(place, everything, packages=("flooding",), seconds_each=3)
    assert item(result, "flooding").detail.startswith("no end after 3 s (x")
    assert len(item(result, "flooding").detail) < 1000


def test_a_log_is_emptied_only_in_its_place(tmp_path: Path) -> None:
    """The directory is the user's: a link to another file, or from another directory, is not followed."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "directory").mkdir()
    for name in ("1/log", "other/log"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(17 << 20)
    for name, target in (("directory/a", "../1"), ("directory/b", "../other")):
        os.symlink(target, tmp_path / name)
    shutil.move(tmp_path / "2", tmp_path / "directory/2")
    os.symlink("../../other/log", tmp_path / "directory/2/log")
    _limit_logs(str(tmp_path / "directory"))
    assert (tmp_path / "other/log").stat().st_size == (tmp_path / "1/log").stat().st_size == 17 << 20
    _limit_logs(str(tmp_path))
    assert (tmp_path / "other/log").stat().st_size == (tmp_path / "1/log").stat().st_size == 0


def test_an_r_that_cannot_start_says_why(place: Place, tmp_path: Path) -> None:
    """An R that ends before it lists anything fails the check with its last lines."""
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho cannot find system Renviron >&2\nexit 2\n")
    program.chmod(0o755)
    result = place.check("r-packages", R=str(program))
    assert (result.outcome, result.detail.splitlines()) == (
        Outcome.FAILED,
        [f"{program} could not list its packages: exit status 2", "cannot find system Renviron"],
    )


def test_no_r_is_skipped(place: Place, tmp_path: Path) -> None:
    """Without R there is nothing to exercise, and the reason says so."""
    result = place.check("r-packages", path=str(tmp_path))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "R is not on PATH")
    assert place.check("r-packages", R="/no/such").detail == "/no/such is not on PATH"


def test_rscript_will_do(place: Place, own: Path) -> None:
    """The other program of R, as a profile may name it."""
    assert load(place, own, packages=("fine",), R=needed("Rscript")).outcome is Outcome.PASSED


def test_a_profile_of_the_site_is_part_of_it(place: Place, own: Path, tmp_path: Path) -> None:
    """What R runs at its start is run, may print what it likes, and may add libraries."""
    profile = tmp_path / "Rprofile"
    profile.write_text(f"cat('chatter\\n{{\"name\": 1}}\\n[]\\n'); .libPaths(c('{own}', .libPaths()))\n")
    result = load(place, packages=("fine",), env={"R_PROFILE": str(profile)})
    assert [(each.name, each.outcome) for each in result.items] == [("fine", Outcome.PASSED)]


def test_a_broken_profile_fails_the_check(place: Place, tmp_path: Path) -> None:
    """An R whose start-up file is broken is no working R."""
    profile = tmp_path / "Rprofile"
    profile.write_text("library(nowhere)\n")
    result = load(place, env={"R_PROFILE": str(profile)})
    assert result.outcome is Outcome.FAILED
    assert "nowhere" in result.detail


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_packages_are_loaded_as_the_user(place: Place, tmp_path: Path) -> None:
    """R runs as the image's user, whose home need not be there, in directories that this user can write to."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory.name.startswith(("pytest-", "test_")):
            directory.chmod(0o755)
    result = load(place, user=NOBODY, packages=("stats", "tools"), env={"HOME": "/nonexistent"})
    assert [(each.name, each.outcome, each.detail) for each in result.items] == [
        ("stats", Outcome.PASSED, ""), ("tools", Outcome.PASSED, "")
    ]  # fmt: skip


def test_watched_packages_leave_evidence_of_themselves_alone(place: Place, own: Path) -> None:
    """Under tracing code, data and help of a package are seen, and nothing of ours."""
    needed("R")
    with Seccomp() as watcher:
        watcher.step("it")
        env = {**place.env, "R_LIBS": str(own)}
        context = checks.Context(spawn=watcher.spawn, test=watcher.test, env=env, user=None, cwd="/")
        spec = CheckSpec(kind="r-packages", name="it", parameters={"packages": ("fine", "plain")})
        result = checks.run(spec, context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    for name in ("fine/R/fine.rdb", "fine/data/Rdata.rdb", "fine/help/fine.rdb", "plain/data/pair.R"):
        assert os.fsencode(own / name) in observed.accesses
        assert users_of(observed, own / name) == {name.partition("/")[0]}
    assert not [path for path in observed.accesses if b"packages_driver" in path]


def test_the_driver_is_plain_and_short_enough() -> None:
    """It is given by a variable, which Linux limits to 128 KiB (execve(2)), to an R in whatever locale."""
    source = Path(_DRIVER).read_bytes()
    assert len(source) < 100_000
    assert source.isascii()
    assert len(_START) < 10_000


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_line_of_a_hostile_r_is_survived(line: bytes) -> None:
    """What is no line of the driver's changes nothing and raises nothing."""
    work = _Work(os.getpid(), 60.0)
    value = mapping(parsed(line))
    assert not work.take(value)
    assert (work.names, work.details, work.at) == (None, {}, {})


@pytest.mark.parametrize("process", [1, 0, -1, os.getpid(), os.getppid(), 1 << 70])
def test_a_hostile_r_cannot_have_others_killed(process: int) -> None:
    """A number of a process that R did not start is not believed."""
    work = _Work(os.getpid(), -1.0)
    work.take({"began": "x", "process": process})
    work.end_hanging()
    assert work.hung == set()


@pytest.mark.parametrize("status", [None, True, "9", -1, 1 << 20, 0xFFFF, 0x137F])
def test_a_status_that_tells_nothing(status: object) -> None:
    """An end without an answer whose status is none is still an end, and a failure."""
    work = _Work(os.getpid(), 60.0)
    work.take({"name": "x", "answer": None, "status": status, "last": ["no text"]})
    assert work.details["x"] in ("ended without an answer", "exit status 0", "ended by SIGHUP")
    assert Item(name="x", outcome=Outcome.FAILED, detail=work.details["x"])
