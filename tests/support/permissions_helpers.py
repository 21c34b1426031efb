"""What tests of rights need: to be another user for a moment, and tools that set and show rights."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from typing import TypeVar

import pytest

from slimagent.model.user import User

T = TypeVar("T")


def as_user(user: User, function: Callable[[], T]) -> T:
    """What a function returns in a child that has become another user for good."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            with os.fdopen(writing, "wb") as file:
                pickle.dump(function(), file)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(data)  # noqa: S301 - of our own child


def required(program: str, package: str) -> str:
    """A program's path; skips the test where there is none, fails it where all must be there."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        lacking(f"no {program}: install {package}")
    assert found is not None
    return found


def lacking(reason: str) -> None:
    """Skips the test, or fails it where everything must be there."""
    if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
