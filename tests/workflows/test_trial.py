"""How a slim image differs from what its plan saw, and what a trial may do where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apply_images import plan_for, write

from slimagent.errors import RefusedError
from slimagent.inventory.scan import scan
from slimagent.model.plan import HardLink, Strip
from slimagent.model.search import Difference, Form
from slimagent.workflows import trial as trials
from slimagent.workflows.session import Session
from slimagent.workflows.steps import Steps


class Silent:
    """A reporter that shows nothing."""

    @contextmanager
    def phase(self, name: str, unit: str = "") -> Iterator[Any]:
        yield lambda done: None

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        yield

    def watching(self) -> None:
        pass

    def result(self, *_: Any) -> None:
        pass


def found(root: bytes, plan: Any, blobs: Path) -> dict[bytes, tuple[Form, bytes]]:
    """The form of each difference, and the bytes or the target that go with it."""
    some = trials.differences(Session(root=root), plan, str(blobs), Silent())
    return {each.path: (each.form, (blobs / each.blob).read_bytes() if each.blob else each.target) for each in some}


def test_every_path_that_is_not_the_same_is_listed(tmp_path: Path) -> None:
    """Removed as planned and by a fault, stripped, emptied, new; and nothing else."""
    root, blobs = os.fsencode(tmp_path / "root"), tmp_path / "blobs"
    for path in (b"/same", b"/emptied", b"/lost", b"/d/dropped", b"/stripped"):
        write(root, path, b"as it was")
    os.link(root + b"/stripped", root + b"/z-name")
    os.symlink(b"same", root + b"/link")
    inventory = scan(root)
    plan = plan_for(inventory, {b"/d", b"/d/dropped"})
    entries = {entry.path: at for at, entry in enumerate(plan.entries)}
    plan = replace(
        plan,
        strips=(Strip(b"/stripped", 5),),
        hard_links=(HardLink(entries[b"/z-name"], entries[b"/stripped"]),),
    )
    assert found(root, plan, blobs) == {b"/stripped": (Form.BYTES, b"as it was")}  # it may differ: the plan says so
    os.unlink(root + b"/d/dropped")
    os.rmdir(root + b"/d")
    os.unlink(root + b"/lost")
    Path(os.fsdecode(root + b"/emptied")).write_bytes(b"")
    Path(os.fsdecode(root + b"/stripped")).write_bytes(b"was")
    write(root, b"/new/file", b"new")
    os.symlink(b"same", root + b"/new/link")
    assert found(root, plan, blobs) == {
        b"/d": (Form.NOTHING, b""),
        b"/d/dropped": (Form.NOTHING, b""),
        b"/lost": (Form.NOTHING, b""),
        b"/emptied": (Form.BYTES, b""),
        b"/stripped": (Form.BYTES, b"was"),
        b"/new": (Form.DIRECTORY, b""),
        b"/new/file": (Form.FILE, b"new"),
        b"/new/link": (Form.LINK, b"same"),
    }


def test_outside_a_container_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the list says."""
    monkeypatch.setattr(trials, "in_container", lambda: False)
    write(os.fsencode(tmp_path), b"/file")
    session = Session(root=os.fsencode(tmp_path))
    with pytest.raises(RefusedError, match="not a container"):
        trials.trial(session, Steps(), (), (), [Difference(b"/file", Form.NOTHING)], "", Silent())
    assert (tmp_path / "file").exists()
