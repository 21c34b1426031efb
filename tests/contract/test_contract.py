"""The contract itself: each of its checks catches a backend that breaks it, and passes one that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract import fake, test_watched_calls, test_watched_commands, test_watched_processes
from tests.contract.conftest import Backend
from tests.contract.file_calls import FileCalls, missed

EVERY_CALL = test_watched_calls.test_every_path_taking_call_is_seen
ONLY_SAID = test_watched_calls.test_only_what_the_program_asked_for_is_seen
STEPS = test_watched_processes.test_accesses_belong_to_their_steps
CLEAN = test_watched_commands.test_nothing_is_left_behind


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (fake.Forgetful, EVERY_CALL),
        (fake.Inventive, ONLY_SAID),
        (fake.Late, STEPS),
        (fake.Silent, EVERY_CALL),
        (fake.Overflowing, EVERY_CALL),
    ],
    ids=lambda each: each.__name__,
)
def test_a_broken_backend_is_caught(broken: Any, promise: Callable[..., None], calls: FileCalls) -> None:
    """What forgets, invents, misplaces or hides does not pass."""
    promise(Backend(fake.Fake, ()), calls)
    with pytest.raises(AssertionError):
        promise(Backend(broken, ()), calls)


@pytest.mark.parametrize("broken", [fake.Leaky, fake.Careless], ids=lambda each: each.__name__)
def test_what_is_left_behind_is_caught(broken: Any, calls: FileCalls) -> None:
    """A thread and a descriptor that stay are found, and a daemon that goes on."""
    watchers: list[Any] = []

    def made(**options: Any) -> Any:
        watchers.append(broken(**options))
        return watchers[-1]

    CLEAN(Backend(fake.Fake, ()), calls)
    try:
        with pytest.raises(AssertionError):
            CLEAN(Backend(made, ()), calls)
    finally:
        for watcher in watchers:
            watcher.tidy()


def test_an_overflow_that_is_said_is_no_silent_miss(calls: FileCalls) -> None:
    """Who loses must say so: the same misses with a loss and without one are told apart by the loss alone."""
    seen = []
    for backend in (fake.Overflowing, fake.Silent):
        with backend() as watcher:
            watcher.step("leaf")
            said = calls.run(watcher, "leaf", "one", "two", "three")
        assert missed(said, watcher)
        seen.append([loss.kind for loss in watcher.finish().losses])
    assert seen == [["queue-overflow"], []]
