"""Work in forked processes: every number once, whatever becomes of the processes."""

from __future__ import annotations

import os
import signal
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimagent.linux.forked import computed


@given(numbers=st.integers(0, 40), processes=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_each_number_is_computed_once(numbers: int, processes: int) -> None:
    """With any number of processes, also more than there is work."""
    found = list(computed(lambda number: (number, "x" * number * 9_000), numbers, processes))
    assert sorted(found) == [(number, (number, "x" * number * 9_000)) for number in range(numbers)]


@pytest.mark.parametrize("how", ["killed", "raises", "exits"])
def test_what_a_child_leaves_is_done_here(how: str) -> None:
    """A child that is killed, e.g. for its memory, or that fails: this process does its part."""
    here = os.getpid()

    def work(number: int) -> int:
        if os.getpid() != here and number == 2:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "exits":
                os._exit(0)
            raise ValueError
        return number * number

    assert dict(computed(work, 6, 2)) == {number: number * number for number in range(6)}


def test_without_a_second_process_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of processes is reached after the first: the answers are the same, and no child stays."""
    calls, fork, started = count(), os.fork, []

    def limited() -> int:
        if next(calls):
            raise BlockingIOError
        started.append(fork())
        return started[-1]

    monkeypatch.setattr("os.fork", limited)
    assert dict(computed(lambda number: -number, 5, 3)) == {number: -number for number in range(5)}
    with pytest.raises(ChildProcessError):
        os.waitpid(started[0], 0)


def test_what_the_work_raises_here_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no child stays, also when the caller gives up early."""
    fork, started = os.fork, list[int]()

    def noted() -> int:
        process = fork()
        started.append(process)
        return process

    monkeypatch.setattr("os.fork", noted)
    with pytest.raises(ZeroDivisionError):
        list(computed(lambda number: 1 // 0, 3, 2))
    results = computed(lambda number: number, 100, 2)
    next(results)
    results.close()
    assert len(started) == 4
    for process in started:
        with pytest.raises(ChildProcessError):
            os.waitpid(process, os.WNOHANG)
