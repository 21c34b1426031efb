"""Removals in place that meet other files, other removals, other roots and full disks: nothing of anybody's goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from apply_images import plan_for, small_disk, write
from elf_images import image, planned, tools

from slimagent.apply import Journal, remove
from slimagent.errors import UnavailableError
from slimagent.inventory.scan import scan
from slimagent.model import Edit, Plan, Receipt

__all__ = ["small_disk"]  # a fixture

EXTENSIONS = b"/ext/extensions.json"
LISTED = b'[{"identifier":{"id":"a.one"}},{"identifier":{"id":"b.two"}}]'
EDIT = Edit(path=EXTENSIONS, kind="vscode-extensions", keys=("a.one",))


def go(plan: Plan, root: bytes, journal: Path, **changes: Any) -> Receipt:
    """A whole run, as `apply --in-place` has it."""
    with Journal(os.fsencode(journal), "digest", root) as opened:
        receipt = remove(plan, "digest", scan(root), journal=opened, tools=tools(**changes))
        opened.finish(root)
    return receipt


@pytest.mark.parametrize("name", [b".%b.slimagent-partial", b".slimagent-%b", b".%b.1.partial", b".%b.partial"])
def test_no_name_of_a_file_makes_it_ours(tmp_path: Path, name: bytes) -> None:
    """D1: a file of the image stays whatever it is called, beside what is edited, beside what is stripped, beside all."""
    root = os.fsencode(image(tmp_path / "root"))
    write(root, EXTENSIONS, LISTED)
    odd = {b"/ext/" + name % b"extensions.json", b"/usr/lib/" + name % b"liba.so", b"/opt/" + name % b"tool"}
    for path in odd:
        write(root, path, b"precious")
    plan, inventory = planned(tmp_path / "root", edits=(EDIT,))
    receipt = go(plan, root, tmp_path / "journal")
    assert (receipt.edited, receipt.stripped, receipt.dropped) == (1, 3, 0)
    assert receipt.kept == len(inventory)
    assert odd <= set(scan(root).paths)
    assert scan(root).paths == inventory.paths


def test_what_has_the_name_of_a_temporary_file_is_not_replaced(tmp_path: Path) -> None:
    """D1: such a name is made exclusively; should something have it, the run ends and that is still there."""
    root = os.fsencode(tmp_path.resolve() / "root")
    write(root, EXTENSIONS, LISTED)
    plan = plan_for(scan(root), edits=(EDIT,))
    with Journal(os.fsencode(tmp_path / "journal"), "digest", root) as journal:
        path = b"/ext/" + strip_name(journal.token, EXTENSIONS)
        write(root, path, b"precious")
        with pytest.raises(UnavailableError, match="File exists"):
            remove(plan, "digest", scan(root), journal=journal)
    assert Path(os.fsdecode(root + path)).read_bytes() == b"precious"
    assert Path(os.fsdecode(root + EXTENSIONS)).read_bytes() == LISTED
