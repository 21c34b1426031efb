"""What a run that was killed left: found by its key, and removed only if that run has surely ended."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimagent.image import leftovers
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.leftovers import CONTAINER, DIRECTORY, FILE, IMAGE, PENDING, Leftover, Leftovers
from slimagent.image.output import Output
from slimagent.image.owner import new_key


@pytest.fixture
def dead(engine: Engine) -> Iterator[str]:
    """The key of a run that has ended; nothing of it is there afterwards."""
    code = "from slimagent.image.owner import new_key; print(new_key())"
    key = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    yield key
    clear(engine, key)


@pytest.fixture
def living(engine: Engine) -> Iterator[str]:
    """The key of this process; nothing of it is there afterwards."""
    key = new_key()
    yield key
    clear(engine, key)


@pytest.fixture
def foreign(engine: Engine) -> Iterator[str]:
    """The key of a run in another boot; nothing of it is there afterwards."""
    key = f"{secrets.token_hex(6)}-1-2-3-{secrets.token_hex(4)}"
    yield key
    clear(engine, key)


def clear(engine: Engine, key: str) -> None:
    """Remove what is there by a key."""
    for name in engine.container_names(f"slimagent-{key}"):
        engine.remove_container(name)
    for name in engine.image_names(PENDING):
        if key in name:
            engine.remove_image(name)


def leave(engine: Engine, probe: str, out: Path, key: str) -> set[Leftover]:
    """What a run makes on its way: two containers, of which one runs, of an image under a pending name; and files."""
    engine.tag(probe, f"{PENDING}:{key}-0")
    names = [f"slimagent-{key}-{number}" for number in range(2)]
    for name in names:
        engine.create(name, Container(image=f"{PENDING}:{key}-0", entry=("/probe", "wait")))
    engine.start(names[0])
    work = out / f".work-{key}"
    (work / "layout").mkdir(parents=True)
    (work / "layout" / "blob").touch()
    partial = out / f".slimagent-{key}.partial"
    partial.touch()
    containers = {Leftover(CONTAINER, name) for name in names}
    return containers | {
        Leftover(IMAGE, f"{PENDING}:{key}-0"),
        Leftover(DIRECTORY, str(work)),
        Leftover(FILE, str(partial)),
    }


def of(found: tuple[Leftover, ...], key: str) -> set[Leftover]:
    """Those of one run: other runs may leave something on this engine."""
    return {each for each in found if key in each.name}


def test_what_a_dead_run_left_is_found_and_removed(engine: Engine, probe: str, tmp_path: Path, dead: str) -> None:
    """All of it, the container that still runs among it; and nothing else."""
    made = leave(engine, probe, tmp_path, dead)
    (tmp_path / "notes").touch()
    (tmp_path / ".work-mine").mkdir()
    found = leftovers.find(engine, str(tmp_path))
    assert of(found.dead, dead) == made
    ours = Leftovers(dead=tuple(each for each in found.dead if each in made))
    assert leftovers.remove(engine, ours) == ()
    assert of(leftovers.find(engine, str(tmp_path)).dead, dead) == set()
    assert sorted(os.listdir(tmp_path)) == [".work-mine", "notes"]
    assert engine.find_image(probe) is not None


def test_what_a_living_run_uses_is_not_a_leftover(engine: Engine, probe: str, tmp_path: Path, living: str) -> None:
    """Neither surely nor perhaps."""
    leave(engine, probe, tmp_path, living)
    found = leftovers.find(engine, str(tmp_path))
    assert of(found.dead + found.unknown, living) == set()


def test_what_a_run_elsewhere_uses_is_only_named(engine: Engine, probe: str, tmp_path: Path, foreign: str) -> None:
    """With commands that remove it."""
    made = leave(engine, probe, tmp_path, foreign)
    found = leftovers.find(engine, str(tmp_path))
    assert of(found.dead, foreign) == set()
    assert of(found.unknown, foreign) == made
    mine = [each for each in found.unknown if foreign in each.name]
    assert leftovers.describe(mine) == "2 containers, 1 image, 1 directory, 1 file"
    for command in leftovers.commands(engine, mine):
        subprocess.run(shlex.split(command.removeprefix("sudo ")), check=True, capture_output=True)
    assert of(leftovers.find(engine, str(tmp_path)).unknown, foreign) == set()


def test_what_cannot_be_removed_is_returned(engine: Engine, tmp_path: Path, dead: str) -> None:
    """A directory of that name that is a link: what it points to is not touched."""
    (tmp_path / "real").mkdir()
    target = Leftover(DIRECTORY, str(tmp_path / f".work-{dead}"))
    os.symlink("real", target.name)
    assert leftovers.remove(engine, Leftovers(dead=(target,))) == (target,)
    assert (tmp_path / "real").is_dir()
    assert of(leftovers.find(engine, str(tmp_path)).dead, dead) == set()


def test_a_directory_that_is_not_there_holds_nothing(engine: Engine, tmp_path: Path, dead: str) -> None:
    """The first run in it has not begun."""
    assert of(leftovers.find(engine, str(tmp_path / "none")).dead, dead) == set()


KILLED = """
import os, signal, sys
from slimagent.image.output import Output
from slimagent.image.owner import new_key
key = new_key()
print(key, flush=True)
with Output(sys.argv[1], key=key, image="a", tag="b", version="1", names=("x",)) as run:
    os.rename = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
    run.write("x", b"x")
"""


def test_the_file_of_an_output_that_was_killed_is_a_leftover(engine: Engine, tmp_path: Path) -> None:
    """The next run, which holds the lock, finds and removes it."""
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    key = subprocess.run(argv, check=False, capture_output=True, text=True).stdout.strip()
    left = sorted(os.listdir(tmp_path))
    assert [each for each in left if key in each]
    with Output(str(tmp_path), key=new_key(), image="a", tag="b", version="1", names=("x",)):
        found = leftovers.find(engine, str(tmp_path))
        mine = tuple(each for each in found.dead if key in each.name)
        assert {os.path.basename(each.name) for each in mine} == {each for each in left if key in each}
        assert leftovers.remove(engine, Leftovers(dead=mine)) == ()
    assert os.listdir(tmp_path) == ["run.json"]
