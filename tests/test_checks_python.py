"""Kind `python-imports`, in real virtual environments with small packages of every sort of misfortune."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from checks_context import IS_ROOT, NOBODY, Place, item, make_venv, place
from hypothesis import given
from hypothesis import strategies as st

from slimagent import checks
from slimagent.checks.python import _Report
from slimagent.results import Item, Outcome
from slimagent.rules import CheckSpec
from slimagent.trace.seccomp import Seccomp

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
    "talkative": "OSError: out of words",
}
RIGHT = {"fine", "single", "roomy", "asking", "forking"}


def fill(packages: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bin folder of an environment that holds all PACKAGES."""
    folder = tmp_path_factory.mktemp("environment")
    fill(make_venv(folder), PACKAGES)
    return str(folder / "bin")


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, str]:
    """An empty environment: its folder of packages, and its programs."""
    return make_venv(tmp_path / "own"), str(tmp_path / "own" / "bin")


def test_each_name_is_an_item_with_its_own_fate(place: Place, programs: str) -> None:
    """Each public third-party name is imported by itself; exception, hang, signal and exit are told apart."""
    result = place.check("python-imports", path=programs, seconds_each=1)
    assert result.outcome is Outcome.FAILED
    assert {each.name: each.detail for each in result.items if each.outcome is Outcome.FAILED} == WRONG
    assert {each.name for each in result.items if each.outcome is Outcome.PASSED} == RIGHT
    assert result.detail.startswith(f"{len(WRONG)} of {len(WRONG) + len(RIGHT)} failed: ")


def test_names_can_be_left_out_and_added(place: Place, programs: str) -> None:
    """`skip` leaves names out and says so, `modules` adds deeper ones; all good items are a pass."""
    result = place.check("python-imports", path=programs, skip=tuple(WRONG), modules=("fine.deeper",))
    assert result.outcome is Outcome.PASSED
    assert item(result, "fine.deeper").outcome is Outcome.PASSED
    assert item(result, "hanging") == Item(name="hanging", outcome=Outcome.SKIPPED, detail="left out by the profile")


def test_a_deeper_module_that_is_missing_fails(place: Place, programs: str) -> None:
    """A name of `modules` that is not there is a failed item."""
    result = place.check("python-imports", path=programs, skip=tuple(WRONG), modules=("fine.lost",))
    assert item(result, "fine.lost").detail == "ModuleNotFoundError: No module named 'fine.lost'"


def test_the_whole_check_has_a_limit_too(place: Place, programs: str) -> None:
    """At the check's own limit what was imported counts, and each other name says that it was not reached."""
    result = place.check("python-imports", seconds=3, path=programs)
    assert item(result, "fine").outcome is Outcome.PASSED
    assert item(result, "hanging").detail == "not reached in 3 s"


def test_an_interpreter_that_is_killed_fails_what_it_did_not_reach(place: Place, own: tuple[Path, str]) -> None:
    """A module that takes the interpreter with it cannot make the names after it vanish."""
    fill(own[0], {"aa.py": "", "killer.py": "import os, time; os.kill(os.getppid(), 9); time.sleep(9)", "zz.py": ""})
    result = place.check("python-imports", path=own[1])
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
    result = place.check("python-imports", path=str(tmp_path))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "python3 is not on PATH")
    assert place.check("python-imports", python="/no/such").detail == "/no/such is not on PATH"


def test_no_package_is_skipped(place: Place, own: tuple[Path, str]) -> None:
    """An environment without third-party modules has nothing to exercise."""
    result = place.check("python-imports", path=own[1])
    assert result.outcome is Outcome.SKIPPED
    assert "no third-party modules" in result.detail


def test_modules_of_the_working_folder_are_none_of_the_environments(
    place: Place, own: tuple[Path, str], tmp_path: Path
) -> None:
    """Imports run in a folder of their own, which belongs to the check and can be written to."""
    fill(own[0], {"writer.py": "open('here', 'w').close()"})
    (tmp_path / "stray.py").touch()
    spec = CheckSpec(kind="python-imports", name="it")
    result = checks.run(spec, place.context(cwd=str(tmp_path), PATH=own[1]))
    assert [(each.name, each.outcome) for each in result.items] == [("writer", Outcome.PASSED)]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_imports_run_as_the_user(place: Place, tmp_path: Path) -> None:
    """The interpreter runs as the image's user, in a folder that this user can write to."""
    python = "/usr/bin/python3"
    if subprocess.call([python, "-c", ""], user=65534) != 0:
        pytest.skip(f"{python} cannot be run by another user here")
    code = "import os; assert os.getuid() == 65534; open('here', 'w').close()"
    fill(tmp_path / "open", {"whoami.py": code})
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder.name.startswith(("pytest-", "test_")):
            folder.chmod(0o755)
    spec = CheckSpec(kind="python-imports", name="it", parameters={"python": python})
    result = checks.run(spec, place.context(NOBODY, PYTHONPATH=str(tmp_path / "open")))
    assert item(result, "whoami") == Item(name="whoami", outcome=Outcome.PASSED)


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_watched_imports_leave_evidence_of_the_packages_alone(place: Place, own: tuple[Path, str]) -> None:
    """Under tracing each imported file is seen, and nothing of ours: neither the driver nor a package's metadata."""
    fill(own[0], {"fine.py": "", "fine-1.dist-info/RECORD": "fine.py,,\n"})
    with Seccomp() as watcher:
        watcher.step("it")
        context = checks.Context(spawn=watcher.spawn, env={**place.env, "PATH": own[1]}, user=None, cwd="/")
        result = checks.run(CheckSpec(kind="python-imports", name="it"), context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    assert os.fsencode(own[0] / "fine.py") in observed.accesses
    assert not [path for path in observed.accesses if b"RECORD" in path or b"imports_driver" in path]


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
    report.take(line)
    assert (report.items, report.ended) == ({}, False)


def test_the_fallback_is_python(place: Place, own: tuple[Path, str], tmp_path: Path) -> None:
    """Where there is no python3, `python` is taken."""
    fill(own[0], {"fine.py": ""})
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python"
    program.write_text(f'#!/bin/sh\nexec {own[1]}/python "$@"\n')
    program.chmod(0o755)
    assert place.check("python-imports", path=str(tmp_path / "bin")).outcome is Outcome.PASSED
