"""A test that leaves a process behind fails by its own name, and the process is gone."""

from __future__ import annotations

import subprocess

import pytest

from tests.contract import leftovers


def test_what_is_left_is_ended_and_named(processes_mark: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children, orphans in a session of their own and those deaf to SIGTERM, whatever their environment."""
    monkeypatch.setattr(leftovers, "GRACE", 0.2)
    before = leftovers.marked(processes_mark)
    commands = (["sleep", "3001"], ["setsid", "-f", "sleep", "3002"], ["sh", "-c", "trap '' TERM; sleep 3003; :"])
    children = [subprocess.Popen(command, env={"PATH": "/bin:/usr/bin"}) for command in commands]
    assert children[1].wait(timeout=60) == 0
    named = leftovers.end_others(processes_mark, before)
    for number in (3001, 3002, 3003):
        assert any(f"sleep {number}" in line for line in named)
    assert leftovers.marked(processes_mark) == before
    for child in children:
        child.wait(timeout=60)


def test_what_ends_by_itself_is_not_named(processes_mark: int) -> None:
    """A process that is about to end when its test ends is given the time."""
    before = leftovers.marked(processes_mark)
    with subprocess.Popen(["sleep", "0.3"]):
        assert leftovers.end_others(processes_mark, before) == []
