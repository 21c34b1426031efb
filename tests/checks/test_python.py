"""Kind `python-imports`, in real virtual environments with small packages of every sort of misfortune."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from attributions import users_of
from checks_context import IS_ROOT, NOBODY, Place, item, make_venv, place
from hypothesis import given
from hypothesis import strategies as st
from plan_images import build, build_library

from slimagent import checks
from slimagent.checks.answers import mapping, parsed
from slimagent.checks.python import _Report
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import How
from slimagent.model.user import User
from slimagent.trace.seccomp.backend import Seccomp
from slimagent.trace.watcher import Observed

__all__ = ["place"]  # a fixture

PACKAGES = {
    "fine/__init__.py": "VALUE = 42",
    "fine/deeper.py": "from . import VALUE",
    "single.py": "import sys; print('chatter'); print('more', file=sys.stderr)",
    "roomy/part/module.py": "",
    "raising.py": "raise ValueError('first line\\nlast line')",
    "silent.py": "raise RuntimeError",
    "hanging.py": "import sys, time; print('wait for it', file=sys.stderr, flush=True); time.sleep(1000)",
    "crashing.py": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "leaving.py": "import sys; sys.exit(3)",
    "vanishing.py": "import os; os._exit(7)",
    "talkative.py": "import sys; [sys.stderr.write('x' * 1000) for _ in range(1000)]; raise OSError('out of words')",
    "asking.py": "assert input is not None\ntry:\n    input()\nexcept EOFError:\n    pass",
    "forking.py": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)",
    "_private.py": "raise AssertionError",
    "not-a-name.py": "raise AssertionError",
    "random.py": "raise AssertionError('a name of the standard library')",
    "only_data/table.csv": "1,2",
    "chatty.pth": "import sys; sys.stdout.write('no JSON\\n{\"name\": 1}\\n[]\\n')",
}
WRONG = {
    "raising": "ValueError: last line",
    "silent": "RuntimeError",
    "hanging": "no end after 1 s (wait for it)",
    "crashing": "ended by SIGSEGV",
    "leaving": "SystemExit: 3",
    "vanishing": "left with exit status 7",
    "talkative": f"OSError: out of words ({'x' * 300})",
}
SECCOMP = pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
RIGHT = {"fine", "single", "roomy", "asking", "forking"}


def fill(packages: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)


def imports(
    place: Place, programs: str, *others: Path, user: User | None = None, seconds: float = 30, **parameters: Parameter
) -> CheckResult:
    """Exercise the environment of this bin directory, which is on PATH, and the others, but nothing else here."""
    prefixes = (os.path.dirname(programs), *map(str, others))
    parameters = {"environments": prefixes, **parameters}
    return place.check("python-imports", seconds, path=programs, user=user, **parameters)


def watched_imports(place: Place, programs: str) -> tuple[CheckResult, Observed]:
    """The same of the environment of this bin directory alone, and what a watcher saw."""
    with Seccomp() as watcher:
        watcher.step("it")
        env = {**place.env, "PATH": programs}
        context = checks.Context(spawn=watcher.spawn, test=watcher.test, env=env, user=None, cwd="/")
        parameters = {"environments": (os.path.dirname(programs),)}
        result = checks.run(CheckSpec(kind="python-imports", name="it", parameters=parameters), context)
        return result, watcher.finish()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bin directory of an environment that holds all PACKAGES."""
    directory = tmp_path_factory.mktemp("environment")
    fill(make_venv(directory), PACKAGES)
    return str(directory / "bin")


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, str]:
    """An empty environment: its directory of packages, and its programs."""
    return make_venv(tmp_path / "own"), str(tmp_path / "own" / "bin")


def test_each_name_is_an_item_with_its_own_fate(place: Place, programs: str) -> None:
    """Each public third-party name is imported by itself; exception, hang, signal and exit are told apart."""
    result = imports(place, programs, seconds_each=1)
    assert result.outcome is Outcome.FAILED
    assert {each.name: each.detail for each in result.items if each.outcome is Outcome.FAILED} == WRONG
    assert {each.name for each in result.items if each.outcome is Outcome.PASSED} == RIGHT
    assert result.detail.startswith(f"{len(WRONG)} of {len(WRONG) + len(RIGHT)} failed: ")


def test_names_can_be_left_out_and_added(place: Place, programs: str) -> None:
    """`skip` leaves names out and says so, `modules` adds deeper ones; all good items are a pass."""
    result = imports(place, programs, skip=tuple(WRONG), modules=("fine.deeper",))
    assert result.outcome is Outcome.PASSED
    assert item(result, "fine.deeper").outcome is Outcome.PASSED
    assert item(result, "hanging") == Item(name="hanging", outcome=Outcome.SKIPPED, detail="left out by the profile")


def test_a_deeper_module_that_is_missing_fails(place: Place, programs: str) -> None:
    """A name of `modules` that is not there is a failed item."""
    result = imports(place, programs, skip=tuple(WRONG), modules=("fine.lost",))
    assert item(result, "fine.lost").detail == "ModuleNotFoundError: No module named 'fine.lost'"


def test_the_whole_check_has_a_limit_too(place: Place, programs: str) -> None:
    """At the check's own limit what was imported counts, and each other name says that it was not reached."""
    result = imports(place, programs, seconds=3)
    assert item(result, "fine").outcome is Outcome.PASSED
    assert item(result, "hanging").detail == "not reached in 3 s"


def test_an_interpreter_that_is_killed_fails_what_it_did_not_reach(place: Place, own: tuple[Path, str]) -> None:
    """A module that takes the interpreter with it cannot make the names after it vanish."""
    fill(own[0], {"aa.py": "", "killer.py": "import os, time; os.kill(os.getppid(), 9); time.sleep(9)", "zz.py": ""})
    result = imports(place, own[1])
    assert [each.name for each in result.items] == ["aa", "killer", "zz"]
    assert item(result, "killer").detail == "the interpreter ended before"


def test_an_interpreter_that_cannot_start_says_why(place: Place, tmp_path: Path) -> None:
    """An interpreter that ends before it lists anything fails the check with its last lines."""
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no module named encodings >&2\nexit 1\n")
    program.chmod(0o755)
    result = place.check("python-imports", python=str(program))
    assert result.outcome is Outcome.FAILED
    assert result.detail.splitlines()[0] == f"{program} could not list its modules: exit status 1"
    assert result.detail.splitlines()[1] == "no module named encodings"


def test_no_python_is_skipped(place: Place, tmp_path: Path) -> None:
    """Without an interpreter there is nothing to exercise, and the reason says so."""
    result = place.check("python-imports", path=str(tmp_path), environments=())
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "python3 is not on PATH")
    assert place.check("python-imports", python="/no/such").detail == "/no/such is not on PATH"


def test_no_package_is_skipped(place: Place, own: tuple[Path, str]) -> None:
    """An environment without third-party modules has nothing to exercise."""
    result = imports(place, own[1])
    assert result.outcome is Outcome.SKIPPED
    assert "no third-party modules" in result.detail


def test_modules_of_the_working_directory_are_none_of_the_environments(
    place: Place, own: tuple[Path, str], tmp_path: Path
) -> None:
    """Imports run in a directory of their own, which belongs to the check and can be written to."""
    fill(own[0], {"writer.py": "open('here', 'w').close()"})
    (tmp_path / "stray.py").touch()
    spec = CheckSpec(kind="python-imports", name="it", parameters={"environments": (os.path.dirname(own[1]),)})
    result = checks.run(spec, place.context(cwd=str(tmp_path), PATH=own[1]))
    assert [(each.name, each.outcome) for each in result.items] == [("writer", Outcome.PASSED)]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_imports_run_as_the_user(place: Place, tmp_path: Path) -> None:
    """The interpreter runs as the image's user, in a directory that this user can write to."""
    python = "/usr/bin/python3"
    if subprocess.call([python, "-c", ""], user=65534) != 0:
        pytest.skip(f"{python} cannot be run by another user here")
    code = "import os; assert os.getuid() == 65534; open('here', 'w').close()"
    fill(tmp_path / "open", {"whoami.py": code})
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory.name.startswith(("pytest-", "test_")):
            directory.chmod(0o755)
    spec = CheckSpec(kind="python-imports", name="it", parameters={"python": python})
    result = checks.run(spec, place.context(NOBODY, PYTHONPATH=str(tmp_path / "open")))
    assert item(result, "whoami") == Item(name="whoami", outcome=Outcome.PASSED)


@SECCOMP
def test_watched_imports_leave_evidence_of_the_packages_alone(place: Place, own: tuple[Path, str]) -> None:
    """Under tracing each imported file is seen, and nothing of ours: neither the driver nor a package's metadata."""
    fill(own[0], {"fine.py": "", "other.py": "import fine", "fine-1.dist-info/RECORD": "fine.py,,\n"})
    result, observed = watched_imports(place, own[1])
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    assert os.fsencode(own[0] / "fine.py") in observed.accesses
    assert not [path for path in observed.accesses if b"RECORD" in path or b"imports_driver" in path]
    assert users_of(observed, own[0] / "fine.py") >= {"fine", "other"}
    assert users_of(observed, own[0] / "other.py") >= {"other"}
    assert "fine" not in users_of(observed, own[0] / "other.py")


def test_the_driver_is_short_enough_for_an_argument() -> None:
    """The driver is passed as one argument, which Linux limits to 128 KiB (execve(2)), and runs on Python 3.6."""
    from slimagent.checks.python import _DRIVER

    source = Path(_DRIVER).read_text()
    assert len(source.encode()) < 100_000
    compile(source, _DRIVER, "exec", dont_inherit=True)
    assert "from __future__ import annotations" not in source  # Python 3.7 and later


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.13"])
def test_the_driver_runs_on_old_and_new_pythons(place: Place, version: str) -> None:
    """Images have older interpreters than ours: each that is at hand can run the driver."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    if not found:
        pytest.skip(f"no Python {version} at hand")
    result = place.check("python-imports", python=str(found[0]), modules=("json.tool",), seconds=120)
    assert item(result, "json.tool").outcome is Outcome.PASSED


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_line_of_a_hostile_interpreter_is_survived(line: bytes) -> None:
    """What is no line of the driver's changes nothing and raises nothing."""
    report = _Report()
    value = mapping(parsed(line))
    assert not report.take(value)
    assert report.details == {}


def test_a_hostile_answer_becomes_printable_text() -> None:
    """Half a surrogate pair, colours and further lines are no part of a detail, and values of other types are none."""
    report = _Report()
    for line in (
        b'{"names": ["\\ud800", 1, null], "prefix": 7}',
        b'{"name": "\\ud800", "ok": false, "detail": "\\u001b[31mred\\u001b[0m \\udc80"}',
        b'{"name": "other", "ok": 1, "detail": {}}',
        b"[" * 100_000,
    ):
        value = mapping(parsed(line))
        assert not report.take(value)
    assert report.names == ("?", "", "")
    assert list(report.details.values()) == ["red ?", "no reason given"]
    for text in (*report.names, *report.details.values()):
        text.encode()


def test_the_fallback_is_python(place: Place, own: tuple[Path, str], tmp_path: Path) -> None:
    """Where there is no python3, `python` is taken."""
    fill(own[0], {"fine.py": ""})
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python"
    program.write_text(f'#!/bin/sh\nexec {own[1]}/python "$@"\n')
    program.chmod(0o755)
    result = place.check("python-imports", path=str(tmp_path / "bin"))
    assert item(result, "fine").outcome is Outcome.PASSED


# More environments than one


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A further environment, with a sound package and a broken one; returns its prefix."""
    fill(make_venv(tmp_path / "second"), {"fine.py": "", "broken.py": "import no_such", "more/deep.py": ""})
    return tmp_path / "second"


def test_each_environment_has_its_own_items(place: Place, own: tuple[Path, str], second: Path) -> None:
    """A module is named with its environment, but for the one that PATH means; one may be broken in one of them."""
    fill(own[0], {"fine.py": "", "broken.py": ""})
    result = imports(place, own[1], second)
    assert [(each.name, each.outcome is Outcome.PASSED) for each in result.items] == [
        *(("broken", True), ("fine", True)),
        *((f"broken ({second})", False), (f"fine ({second})", True), (f"more ({second})", True)),
    ]
    assert item(result, f"broken ({second})").detail == "ModuleNotFoundError: No module named 'no_such'"


def test_environments_are_found(place: Place, own: tuple[Path, str], second: Path, tmp_path: Path) -> None:
    """Without a parameter every environment that PATH leads to is exercised; one without packages is not started."""
    fill(own[0], {"fine.py": ""})
    make_venv(tmp_path / "bare")
    started = tmp_path / "started"
    fill(tmp_path, {"bare/bin/python3.new": f"#!/bin/sh\ntouch {started}\n"})
    (tmp_path / "bare/bin/python3.new").chmod(0o755)
    os.replace(tmp_path / "bare/bin/python3.new", tmp_path / "bare/bin/python3")
    path = os.pathsep.join((own[1], f"{tmp_path}/bare/bin", f"{second}/bin"))
    result = place.check("python-imports", path=path, seconds=120)
    assert item(result, "fine").outcome is Outcome.PASSED
    assert item(result, f"fine ({second})").outcome is Outcome.PASSED
    assert item(result, f"broken ({second})").outcome is Outcome.FAILED
    assert not [each.name for each in result.items if "bare" in each.name]
    assert not started.exists()


def test_deeper_modules_are_asked_of_the_environments_that_have_them(
    place: Place, own: tuple[Path, str], second: Path
) -> None:
    """A name of `modules` is an item wherever its top-level is; where it is nowhere, it fails in the first alone."""
    fill(own[0], {"fine.py": ""})
    result = imports(place, own[1], second, skip=(f"broken ({second})",), modules=("more.deep", "json.tool", "no.such"))
    assert {each.name: each.outcome for each in result.items if "." in each.name.split(" ")[0]} == {
        "more.deep": Outcome.FAILED,
        "json.tool": Outcome.PASSED,
        "no.such": Outcome.FAILED,
        f"more.deep ({second})": Outcome.PASSED,
        f"json.tool ({second})": Outcome.PASSED,
    }
    assert item(result, f"broken ({second})").outcome is Outcome.SKIPPED


def test_a_launcher_and_what_it_starts_are_one_environment(place: Place, second: Path, tmp_path: Path) -> None:
    """PATH's python3 may be a script; the environment that it starts is exercised once, under plain names."""
    fill(tmp_path, {"launcher/bin/python3": f'#!/bin/sh\nexec {second}/bin/python3 "$@"\n'})
    (tmp_path / "launcher/bin/python3").chmod(0o755)
    result = place.check("python-imports", seconds=120, path=f"{tmp_path}/launcher/bin:{second}/bin")
    assert {"broken", "fine", "more"} <= {each.name for each in result.items}
    assert not [each.name for each in result.items if str(second) in each.name]


def test_a_broken_interpreter_does_not_hide_the_other_environments(
    place: Place, own: tuple[Path, str], second: Path, tmp_path: Path
) -> None:
    """An interpreter that cannot start, and a prefix without one, are failed items; the others are exercised."""
    fill(own[0], {"fine.py": ""})
    (second / "bin" / "python3").unlink()
    fill(second, {"bin/python3": "#!/bin/sh\necho no encodings >&2\nexit 1\n"})
    (second / "bin" / "python3").chmod(0o755)
    result = imports(place, own[1], second, tmp_path / "nowhere")
    assert item(result, "fine").outcome is Outcome.PASSED
    broken = f"{second}/bin/python3"
    assert item(result, broken).detail == f"{broken} could not list its modules: exit status 1 (no encodings)"
    nowhere = item(result, f"{tmp_path}/nowhere")
    assert (nowhere.outcome, nowhere.detail) == (
        Outcome.FAILED,
        f"no interpreter is at {tmp_path}/nowhere/bin/python3",
    )


def test_the_limit_is_shared_by_the_environments(place: Place, programs: str, second: Path) -> None:
    """An environment that the time did not suffice for fails and says so."""
    result = imports(place, programs, second, seconds=3)
    python = f"{second}/bin/python3"
    assert item(result, python) == Item(name=python, outcome=Outcome.FAILED, detail="not reached in 3 s")


def test_modules_of_pythonpath_are_the_first_environments(place: Place, own: tuple[Path, str], second: Path) -> None:
    """PYTHONPATH is read by every interpreter; what lies there is exercised once."""
    fill(own[0], {"fine.py": ""})
    fill(own[0].parent / "shared", {"shared.py": ""})
    prefixes = (os.path.dirname(own[1]), str(second))
    spec = CheckSpec(kind="python-imports", name="it", parameters={"environments": prefixes})
    result = checks.run(spec, place.context(PATH=own[1], PYTHONPATH=str(own[0].parent / "shared")))
    assert [each.name for each in result.items if "shared" in each.name] == ["shared"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_an_environment_that_the_user_may_not_run_is_left_out(place: Place, second: Path, tmp_path: Path) -> None:
    """Somebody else's environment is not the user's to lose: it is skipped, with the reason."""
    tmp_path.chmod(0o700)
    try:
        result = place.check("python-imports", path="/usr/bin", user=NOBODY, environments=("/usr", str(second)))
    finally:
        tmp_path.chmod(0o755)
    python = f"{second}/bin/python3"
    assert item(result, python) == Item(
        name=python, outcome=Outcome.SKIPPED, detail=f"{python} cannot be run: Permission denied"
    )


def test_one_program_and_a_list_of_environments_exclude_each_other(place: Place) -> None:
    """A profile that gives both is told so."""
    with pytest.raises(UsageError, match="both python and environments"):
        place.check("python-imports", python="python3", environments=("/usr",))


# What a failed import came of


def test_a_library_that_is_missing_is_named(place: Place, own: tuple[Path, str], tmp_path: Path) -> None:
    """Of a library that another one needs, even where a package wraps the loader's words into many lines of advice."""
    gone = build_library(tmp_path, "/libgone.so")
    user = build(tmp_path, "/libuser.so", needs=["/libgone.so"])
    gone.unlink()
    load = f"import ctypes; ctypes.CDLL({str(user)!r})"
    advice = "\n\nPLEASE READ THIS\n\nOriginal error was: {error}\n\nSee our pages for more\n"
    fill(own[0], {"direct.py": load})
    fill(own[0], {"wrapped.py": f"try:\n    {load}\nexcept OSError as error:\n    raise ImportError(f{advice!r})"})
    fill(own[0], {"hidden.py": f"try:\n    {load}\nexcept OSError:\n    raise RuntimeError('reinstall') from None"})
    result = imports(place, own[1])
    why = "libgone.so: cannot open shared object file: No such file or directory"
    assert item(result, "direct").detail == f"OSError: {why}"
    assert item(result, "wrapped").detail == f"ImportError: See our pages for more (because of {why})"
    assert item(result, "hidden").detail == f"RuntimeError: reinstall (because of {why})"


def test_what_an_exception_came_of_is_told(place: Place, own: tuple[Path, str]) -> None:
    """The first of a chain of exceptions is the cause; the last line on standard error is there too."""
    code = "import sys\nprint('while at it', file=sys.stderr)\ntry:\n    import no_such\nexcept ImportError as error:\n"
    fill(own[0], {"chained.py": code + "    raise RuntimeError('cannot start') from error"})
    result = imports(place, own[1])
    cause = "ModuleNotFoundError: No module named 'no_such'"
    assert item(result, "chained").detail == f"RuntimeError: cannot start (because of {cause}) (while at it)"


def test_temporary_files_of_packages_go_with_the_check(place: Place, own: tuple[Path, str]) -> None:
    """What a package leaves in the directory for temporary files is in the check's own directory, and goes with it."""
    code = "import os, tempfile\nassert os.path.samefile(tempfile.gettempdir(), '.')\ntempfile.mkstemp()"
    fill(own[0], {"littering.py": code})
    assert imports(place, own[1]).outcome is Outcome.PASSED


# What an import alone does not show


def test_a_package_whose_init_is_gone_is_seen_beside_the_full_image(place: Place, own: tuple[Path, str]) -> None:
    """Python imports a directory without __init__ and says nothing; the first run knows that it was more."""
    fill(own[0], {"whole/__init__.py": "", "whole/part.py": "", "space/part.py": "", "__pycache__/x.pyc": ""})
    first = imports(place, own[1])
    assert [(each.name, each.outcome) for each in first.items] == [("space", Outcome.PASSED), ("whole", Outcome.PASSED)]
    (own[0] / "whole/__init__.py").unlink()
    assert imports(place, own[1]).outcome is Outcome.PASSED  # nobody can tell
    spec = CheckSpec(kind="python-imports", name="it", parameters={"environments": (os.path.dirname(own[1]),)})
    context = place.context(PATH=own[1])
    second = checks.run(spec, replace(context, before=first))
    assert item(second, "space").outcome is Outcome.PASSED
    assert (item(second, "whole").outcome, item(second, "whole").detail[:19]) == (Outcome.FAILED, "its __init__ is gon")
    for snapshot in ("", "{}", "[1]", "[" * 100_000):
        assert checks.run(spec, replace(context, before=replace(first, snapshot=snapshot))).items


@SECCOMP
def test_what_is_in_a_directory_without_init_is_exercised(place: Place, own: tuple[Path, str]) -> None:
    """Its packages are imported, up to two levels down; its modules are read and not run; who skips it skips all."""
    files = {
        "space/part/__init__.py": "import space.part.inner", "space/part/inner.py": "", "space/data/table.csv": "",
        "space/near/script.py": "raise SystemExit('run')", "space/bad.py": "no python",
        "space/near/far/__init__.py": "", "space/near/deep/deeper/__init__.py": "1 / 0",
        "space/_own/__init__.py": "1 / 0", "other/broken/__init__.py": "1 / 0",
    }  # fmt: skip
    fill(own[0], files)
    result, observed = watched_imports(place, own[1])
    names = ["other", "other.broken", "space", "space.near.far", "space.part"]
    assert [each.name for each in result.items] == names
    assert [each.name for each in result.items if each.outcome is not Outcome.PASSED] == ["other.broken"]
    used = {name for name in files if observed.accesses.get(os.fsencode(own[0] / name), (0, ()))[0] & How.OPENED}
    assert used == files.keys() - {
        "space/_own/__init__.py",
        "space/near/deep/deeper/__init__.py",
        "space/data/table.csv",
    }
    assert users_of(observed, own[0] / "space/near/script.py") == {"space"}
    assert [each.name for each in imports(place, own[1], skip=("space", "other.broken")).items][:1] == ["other"]


def test_byte_code_that_was_left_behind_is_no_package(place: Place, own: tuple[Path, str]) -> None:
    """A directory that holds nothing but __pycache__ is no module: its item is absent, which is worse than passed."""
    fill(own[0], {"fine.py": "", "left/__pycache__/__init__.cpython-311.pyc": ""})
    assert [each.name for each in imports(place, own[1]).items] == ["fine"]
