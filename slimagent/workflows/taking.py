"""Composition: in a container of the original image, export the paths of a list as they are, if they still are that."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from slimagent import apply
from slimagent.errors import RefusedError
from slimagent.linux.files import explained
from slimagent.model.inventory import Inventory
from slimagent.model.removed import Gone, GoneKind
from slimagent.paths.algebra import to_text
from slimagent.workflows import pipeline
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.missing import RemovedList
from slimagent.workflows.session import Session

_KINDS = {
    GoneKind.FILE: stat.S_ISREG,
    GoneKind.HARD_LINK: stat.S_ISREG,
    GoneKind.DIRECTORY: stat.S_ISDIR,
    GoneKind.LINK: stat.S_ISLNK,
}


def take(
    session: Session, listed: RemovedList, destination: apply.Tar | apply.Directory, reporter: Reporter
) -> apply.Exported:
    """Export everything in a list. The result says what the destination could not hold as it is.

    Raises RefusedError if something is not as the list has it: then this is not the image that the list was taken from.
    """
    inventory = pipeline.inspect(session, reporter)
    rows = list(listed.rows())
    with reporter.phase("compare with the list"), apply.Source(inventory) as source:
        _require_same(inventory, rows, source)
    try:
        with reporter.phase("export", "bytes") as progress:
            return apply.export_chosen(inventory, {each.path for each in rows}, destination, progress)
    except OSError as error:
        raise explained(error, session.root) from None


def _require_same(inventory: Inventory, rows: list[Gone], source: apply.Source) -> None:
    files: list[tuple[Gone, int]] = []
    for row in rows:
        at = inventory.index.get(row.path)
        if at is None:
            raise _other(row, "it does not exist")
        is_kind = _KINDS.get(row.kind)
        if is_kind is not None and not is_kind(inventory.modes[at]):
            raise _other(row, f"it is not a {row.kind.value}")
        if row.kind is GoneKind.LINK and inventory.targets[at] != row.target:
            raise _other(row, "it leads elsewhere")
        if row.kind in (GoneKind.FILE, GoneKind.HARD_LINK):
            if inventory.sizes[at] != row.size:
                raise _other(row, f"it has {inventory.sizes[at]} bytes, and the list says {row.size}")
            if row.digest:
                files.append((row, at))
    for (row, _), digest in zip(files, _digests(inventory, files, source), strict=True):
        if digest != row.digest:
            raise _other(row, "its content has another digest")


def _digests(inventory: Inventory, files: list[tuple[Gone, int]], source: apply.Source) -> Iterator[str]:
    return apply.digested(inventory, (at for _, at in files), source)


def _other(row: Gone, why: str) -> RefusedError:
    return RefusedError(
        f"{to_text(row.path)} is not what was removed: {why}",
        "name the image that the slim one was made from: --from IMAGE",
    )
