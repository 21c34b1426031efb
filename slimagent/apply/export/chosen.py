"""Export some paths of an image as they are, with the directories above them: nothing is edited or stripped."""

from __future__ import annotations

from collections.abc import Collection

from slimagent.apply.decide import Decision, first_names
from slimagent.apply.export.components import whole
from slimagent.apply.export.exporter import Content, Exported
from slimagent.apply.export.tar import Tar
from slimagent.apply.export.tree import Directory
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Source
from slimagent.apply.strip.stripped import Stripped
from slimagent.apply.strip.workspace import NO_TOOLS
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import ancestors

# A plan that drops, edits and strips nothing.
_NOTHING = Plan(
    tool="",
    level="",
    root=b"/",
    scopes=(b"/",),
    excluded=(),
    fingerprints=(),
    traces=(),
    accepted=(),
    steps=(),
    reasons=(),
    entries=(),
    changes=(),
)


def export_chosen(
    inventory: Inventory, paths: Collection[bytes], destination: Tar | Directory, progress: Progress | None = None
) -> Exported:
    """Write paths of an inventory. A tar leaves out the root directory, which whoever unpacks it has.

    Raises RefusedError for a file that changes meanwhile, and
    UnavailableError for one that cannot be read or if the destination cannot be written.
    """
    wanted = {*paths, *(above for path in paths for above in ancestors(path))}
    if isinstance(destination, Tar):
        wanted.discard(b"/")
    kept = [at for at, path in enumerate(inventory.paths) if path in wanted]
    decision = Decision(
        kept=kept,
        dropped=[],
        left_alone=(),
        mtimes=inventory.mtimes,
        first=first_names(inventory, kept),
        made=frozenset(),
        lost=0,
        bytes_kept=0,
        bytes_dropped=0,
    )
    pace = Pace(progress)
    with Source(inventory) as source:
        parts = whole(inventory, decision)
        stripped = Stripped(_NOTHING, inventory, decision, kept, destination.holder, NO_TOOLS)
        content = Content(
            plan=_NOTHING,
            plan_digest="",
            inventory=inventory,
            decision=decision,
            source=source,
            parts=parts,
            stripped=stripped,
        )
        with destination.making(content, pace) as make, stripped:
            exported = make()
            pace.finish()
    return exported
