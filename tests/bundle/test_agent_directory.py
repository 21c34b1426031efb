"""Which directory is the agent's: what it may leave out of the image, and remove with --remove-agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import assert_error, environment, slimagent
from python_images import lacking

from slimagent.bundle.agent_directory import (
    Named,
    contents,
    is_mounted,
    remove,
    require_own,
    require_removable,
)
from slimagent.errors import RefusedError
from slimagent.model.agent import AGENT, BUNDLE
from slimagent.workflows.session import own_directory

ROOT = Path(__file__).resolve().parents[2]
ASKS = (
    "from slimagent.workflows.session import own_directory, own_files\n"
    "print(own_directory()); print(*own_files(), sep='\\n')"
)


def asked(library: Path, home: Path | str) -> list[str]:
    """What the package in `library` takes for its directory, with SLIMAGENT_HOME, and for its files."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", ASKS],
        env=environment() | {"SLIMAGENT_HOME": str(home), "PYTHONPATH": str(library)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def agent(home: Path, place: str) -> Path:
    """An agent with its package at `place`. Returns the directory that holds it."""
    shutil.copytree(ROOT / "slimagent", home / place / "slimagent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "profiles", home / place / "slimagent/profiles", dirs_exist_ok=True)
    shutil.copy(ROOT / "entrypoint.sh", home)
    return home / place


def record(home: Path, name: str = AGENT) -> None:
    """Write the list of what is there, as an agent has it."""
    (home / name).write_text(json.dumps({"contents": contents(os.fsencode(home), name)}))


def started(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line of the agent in `home`, as its entrypoint.sh starts it with this Python."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from slimagent.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-B", "-c", code, str(home / "lib"), *map(str, arguments)],
        env=environment() | {"SLIMAGENT_HOME": str(home)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An agent with a list of its files."""
    made = tmp_path.resolve() / "tool"
    agent(made, "lib")
    record(made)
    return made


def foreign(home: Path, name: str) -> Path:
    """A path of the image in the agent's directory: a file, or with a slash at the end an empty directory."""
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_text("the image's\n")
    return path


@pytest.mark.parametrize("place", ["lib", "python/lib/python3.11/site-packages", "."])
def test_the_agents_directory_is_where_its_code_lies(tmp_path: Path, place: str) -> None:
    """R3: of a bundle, of `make agent`, of a checkout: what the variable says is so."""
    home = tmp_path.resolve() / "agent"
    assert asked(agent(home, place), home)[:2] == [repr(os.fsencode(home))] * 2


@pytest.mark.parametrize("said", ["data", ".", "agent/lib", "agent/lib/slimagent", "/", "venv"])
def test_what_a_variable_names_is_not_the_agents(tmp_path: Path, said: str) -> None:
    """R3: another directory, one above it, one in it, one that only has the code: neither left out nor removed."""
    directory = tmp_path.resolve()
    library = agent(directory / "agent", "lib")
    (directory / "data").mkdir()
    (directory / "data/entrypoint.sh").write_text("# Starts slimagent in any container\n")
    if said == "venv":
        library = agent(directory / "venv", "lib")
        (directory / "venv/entrypoint.sh").write_text("echo mine\n")
    first, *files = asked(library, directory / said if said != "/" else "/")
    assert first == "None"
    assert files[0] == repr(os.fsencode(library / "slimagent"))


def test_remove_agent_leaves_what_a_variable_names(tmp_path: Path) -> None:
    """R3: without an agent's entrypoint there is nothing to remove, and it says so before anything is done."""
    precious = tmp_path / "data"
    precious.mkdir()
    (precious / "entrypoint.sh").write_text("# Starts slimagent in any container\n")
    (tmp_path / "plan.json").touch()
    done = slimagent(
        *("apply", tmp_path / "plan.json", "--in-place", "--force", "--remove-agent"),
        env=environment() | {"SLIMAGENT_HOME": str(precious)},
    )
    assert (done.returncode, "was not started by an agent" in done.stderr) == (2, True)
    assert (precious / "entrypoint.sh").exists()


_THEIRS = ["notes", "bin/mytool", "lib/mylib.so", "lib/slimagent/mine.py", "python/lib/x.py", "lib/empty/", ".venv/x"]


@pytest.mark.parametrize("name", _THEIRS)
def test_what_else_lies_in_the_agents_directory_is_not_removed(home: Path, name: str) -> None:
    """R3: a file of the image's is a refusal, at any depth; the plan and the journal that we were given are not."""
    plan = home / "plan.json"
    plan.touch()
    require_removable(os.fsencode(home), [os.fsencode(plan)])
    path = foreign(home, name)
    for refused in (require_removable, remove):
        with pytest.raises(RefusedError, match="that is not the agent's") as raised:
            refused(os.fsencode(home), [os.fsencode(plan)])
        assert f"{home}/{name.split('/')[0]}" in raised.value.message
        assert "rm -r " in raised.value.hint
    assert path.exists()
    assert (home / "lib/slimagent/workflows/session.py").exists()


def test_a_link_in_the_place_of_a_directory_is_not_the_agents(home: Path, tmp_path: Path) -> None:
    """R3: what it leads to is not removed either."""
    shutil.move(home / "lib/slimagent/checks", tmp_path / "checks")
    (home / "lib/slimagent/checks").symlink_to(tmp_path / "checks")
    with pytest.raises(RefusedError, match="slimagent/checks"):
        remove(os.fsencode(home), [])
    assert (tmp_path / "checks/__init__.py").exists()


def test_an_agent_is_removed_with_the_plan_and_nothing_else(home: Path, tmp_path: Path) -> None:
    """R3: files, links that are not followed, directories; what holds it keeps its time."""
    (tmp_path / "kept").write_text("kept\n")
    (home / "lib/link").symlink_to(tmp_path)
    record(home)
    plan = home / "plan.json"
    plan.touch()
    os.utime(tmp_path, ns=(5, 7))
    require_removable(os.fsencode(home), [os.fsencode(plan)])
    remove(os.fsencode(home), [os.fsencode(plan)])
    assert os.listdir(tmp_path) == ["kept"]
    assert os.stat(tmp_path).st_mtime_ns == 7


def test_what_is_mounted_is_not_removed() -> None:
    """R3: it is not part of the image."""
    with pytest.raises(RefusedError, match="mounted"):
        require_removable(b"/sys", [b"/sys/" + name for name in os.listdir(b"/sys")])


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"contents": []}'])
def test_an_agent_without_a_list_is_not_removed(home: Path, text: str | None) -> None:
    """R3: nothing tells what is its."""
    (home / AGENT).unlink()
    if text is not None:
        (home / BUNDLE).write_text(text)
    with pytest.raises(RefusedError, match="no list of its files"):
        require_removable(os.fsencode(home), [])
    assert (home / "lib/slimagent/workflows/session.py").exists()


def test_a_checkout_is_not_removed() -> None:
    """R3: it has no list."""
    with pytest.raises(RefusedError, match="no list of its files"):
        require_removable(os.fsencode(ROOT), [])
    assert own_directory() is None


def test_what_is_named_may_lie_in_the_agents_directory(home: Path) -> None:
    """R3: a file, a directory with all in it, at any depth; and nothing beside them."""
    for name in ("out/trace.json", "in/a/profile.toml"):
        foreign(home, name)
    named = Named({os.fsencode(home / "in/a/profile.toml")}, {os.fsencode(home / "out")})
    require_own(os.fsencode(home), named)
    foreign(home, "in/a/other")
    with pytest.raises(RefusedError, match="in/a/other"):
        require_own(os.fsencode(home), named)


@pytest.mark.parametrize("parts", [("lib",), (".",)])
def test_a_directory_of_the_agents_that_is_named_hides_nothing(home: Path, parts: tuple[str, ...]) -> None:
    """R3: an output that is the agent's directory, or one in it, does not make what lies there ours."""
    foreign(home, "lib/mylib.so")
    with pytest.raises(RefusedError, match="mylib"):
        require_own(os.fsencode(home), Named((), {os.path.realpath(os.fsencode(home.joinpath(*parts)))}))


@pytest.mark.parametrize(
    "command",
    [
        ["trace", "--scope", "OUT", "-o", "OUT/trace.json", "--", "touch", "OUT/ran"],
        ["run", "--scope", "OUT", "--out", "OUT/documents", "--", "touch", "OUT/ran"],
        ["check", "--profile", "IN/profile.toml"],
        ["start", "--image-config", "IN/image.json", "-o", "OUT/diary"],
    ],
)
def test_commands_refuse_an_agent_that_is_mixed_with_the_image(home: Path, tmp_path: Path, command: list[str]) -> None:
    """R3: before anything happens: what the image has there would be neither evidence nor in the plan."""
    if is_mounted(os.fsencode(home)):
        lacking("this directory is on another mount than /")
    (tmp_path / "profile.toml").write_text(
        f'name = "x"\ndescription = ""\n[[check]]\nkind = "command"\nargv = ["touch", "{tmp_path}/ran"]\n'
    )
    (tmp_path / "image.json").write_text(json.dumps([{"Config": {"Cmd": ["touch", f"{tmp_path}/ran"]}}]))
    foreign(home, "bin/mytool")
    words = [each.replace("OUT", str(tmp_path)).replace("IN", str(tmp_path)) for each in command]
    assert_error(started(home, *words), 3, "that is not the agent's", f"{home}/bin")
    assert sorted(os.listdir(tmp_path)) == ["image.json", "profile.toml", "tool"]


def test_what_a_command_line_names_in_the_agents_directory_is_no_refusal(home: Path, tmp_path: Path) -> None:
    """R3: as in a Dockerfile's stage: a profile and its own, and what an earlier run left in the output directory."""
    (home / "profile.toml").write_text('name = "x"\ndescription = ""\nextends = ["./more.toml"]\n')
    (home / "more.toml").write_text('name = "more"\ndescription = ""\n')
    foreign(home, "out/left")
    trace = (
        *("trace", "--quiet", "--scope", tmp_path, "--profile", home / "profile.toml"),
        *("-o", home / "out/trace.json", "--", "true"),
    )
    done = started(home, *trace)
    assert_error(done, 3, f"{home}/out")
    (home / "out/left").unlink()
    done = started(home, *trace)
    assert done.returncode == 0, done.stderr
    assert (home / "out/trace.json").exists()
