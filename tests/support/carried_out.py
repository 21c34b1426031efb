"""Carry a plan out in every way that there is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from layout_images import tars

from slimagent.apply import Directory, Layout, Tar, export
from slimagent.apply.in_place.removal import remove
from slimagent.apply.strip.workspace import Tools
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt

KINDS = ("tar", "layout", "tree", "in-place")


def carried_out(kind: str, plan: Plan, inventory: Any, target: Path, tools: Tools) -> tuple[Path, Receipt]:
    """An apply of some kind, and the tree that it left."""
    if kind == "in-place":
        return Path(os.fsdecode(inventory.root)), remove(plan, "d", inventory, tools=tools)
    if kind == "tree":
        return target, export(plan, "d", inventory, Directory(os.fsencode(target)), tools=tools)
    unpack = ["tar", "-xp", "-C", target, "--overwrite", "--xattrs", "--xattrs-include=*"]
    if kind == "layout":
        layout = Layout(path=os.fsencode(target.with_suffix(".layout")))
        receipt = export(plan, "d", inventory, layout, tools=tools)
        archives = tars(target.with_suffix(".layout"))
    else:
        receipt = export(plan, "d", inventory, Tar(os.fsencode(target.with_suffix(".tar"))), tools=tools)
        archives = [target.with_suffix(".tar").read_bytes()]
    target.mkdir()
    for archive in archives:
        subprocess.run(unpack, input=archive, check=True)
    return target, receipt
