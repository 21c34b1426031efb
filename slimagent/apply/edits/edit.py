"""What a plan's edits mean for the image as it is now: what each file and link becomes. Pure but for the given reader.

Edits keep package databases true (see `apply/edits/package_databases.py`). An edit that is already done needs no
action. What cannot be edited safely is left alone, with the reason.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Mapping

from slimagent.apply.decide import MODIFIED_MEANWHILE, Decision
from slimagent.apply.edits.alternative_links import edit_group
from slimagent.apply.edits.draft import Draft
from slimagent.apply.edits.package_databases import EDITORS, NotUnderstoodError
from slimagent.model.edit import EditKind
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan

Reader = Callable[[int], "bytes | None"]

_LARGEST = 1 << 26  # bytes: ten times the databases of the largest images
_STATUS = b"/var/lib/dpkg/status"
_STILL_LISTED = "; what is gone stays listed in it"


def edit(plan: Plan, inventory: Inventory, decision: Decision, read: Reader) -> Decision:
    """The decision with the plan's edits worked out. `read` gives an entry's contents, None if it changed meanwhile.

    Raises what `read` raises.
    """
    if not plan.edits:
        return decision
    draft = Draft(plan, inventory, decision)
    by_path: dict[bytes, dict[EditKind, set[str]]] = {}
    for each in plan.edits:  # several edits of one file become one
        by_path.setdefault(each.path, {}).setdefault(each.kind, set()).update(each.keys)
    for path, kinds in sorted(by_path.items()):
        why = _edit(draft, path, kinds, read)
        if why:
            draft.leave(path, why if EditKind.DPKG_EXCLUDE in kinds else why + _STILL_LISTED)
    return draft.result()


def _edit(draft: Draft, path: bytes, kinds: Mapping[EditKind, Collection[str]], read: Reader) -> str:
    """Work out the edits of one file. Returns why it is left alone, or nothing."""
    kind, keys = next(iter(kinds.items()))
    if len(kinds) > 1 or kind not in (*EDITORS, EditKind.DPKG_ALTERNATIVES):
        return f"this version cannot edit it: {', '.join(sorted(kinds))}"
    if path in draft.inventory.mount_points:
        return "another file system is mounted on it"
    at = draft.entry(path)
    try:
        if at is None and kind != EditKind.DPKG_EXCLUDE:
            return ""  # a file that is gone lists nothing
        if at is None:
            return draft.make_file(path, EDITORS[kind](b"", keys), like=_STATUS)
        return _change(draft, at, kind, keys, read)
    except NotUnderstoodError as error:
        return f"it {error}"


def _change(draft: Draft, at: int, kind: EditKind, keys: Collection[str], read: Reader) -> str:
    if not stat.S_ISREG(draft.inventory.modes[at]):
        return "it is not a regular file"
    if draft.inventory.sizes[at] > _LARGEST:
        return "it is too large for a package database"
    data = read(at)
    if data is None:
        return MODIFIED_MEANWHILE
    if kind == EditKind.DPKG_ALTERNATIVES:
        return edit_group(draft, at, data, keys)
    return draft.rewrite(at, data, EDITORS[kind](data, keys))
