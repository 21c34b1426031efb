"""Keys that tell whether the run that made something still lives."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from slimagent.image.owner import PATTERN, Fate, fate, new_key

MAKE = "from slimagent.image.owner import new_key; print(new_key(), flush=True)"


def key_of(*, ended: bool) -> tuple[subprocess.Popen[str], str]:
    """A process that has made a key; `ended`: as a zombie, which nobody has waited for."""
    code = MAKE if ended else f"{MAKE}; input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    key = process.stdout.readline().strip()
    if ended:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process, key


def test_a_key_can_stand_in_names() -> None:
    """Of containers, tags and files; each is a new one."""
    first, second = new_key(), new_key()
    assert re.fullmatch(PATTERN, first)
    assert first != second
    assert len(f"{first}-000") <= 128  # a tag


def test_a_run_that_lives() -> None:
    """This process, and another one."""
    assert fate(new_key()) is Fate.ALIVE
    process, key = key_of(ended=False)
    with process:
        assert fate(key) is Fate.ALIVE
        process.kill()
    assert fate(key) is Fate.DEAD


def test_a_zombie_has_ended() -> None:
    """Nobody has waited for it; it does nothing any more."""
    process, key = key_of(ended=True)
    with process:
        assert fate(key) is Fate.DEAD


def test_another_process_with_the_same_number_is_another_one() -> None:
    """It began at another time."""
    boot, namespace, process, start, random = new_key().split("-")
    assert fate("-".join((boot, namespace, process, str(int(start) + 1), random))) is Fate.DEAD


@pytest.mark.parametrize("place", [0, 1])
def test_elsewhere_nothing_can_be_known(place: int) -> None:
    """Another boot, another PID namespace."""
    parts = new_key().split("-")
    parts[place] = "0" * len(parts[place])
    assert fate("-".join(parts)) is Fate.UNKNOWN


@pytest.mark.parametrize("key", ["", "x", "0-0-0-0-0", "12345678"])
def test_what_is_not_a_key_tells_nothing(key: str) -> None:
    """Somebody else has named something so."""
    assert fate(key) is Fate.UNKNOWN


def test_a_hidden_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc may hide the processes of others; that one answers to a signal all the same."""

    def hidden(process: int) -> tuple[str, str]:
        raise FileNotFoundError

    key = new_key()
    monkeypatch.setattr("slimagent.image.owner._state_and_start", hidden)
    assert fate(key) is Fate.ALIVE
