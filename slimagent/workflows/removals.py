"""Composition: a list of what an apply takes from the image, whose it was and why, beside its receipt or inside."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import slimagent
from slimagent import apply, documents
from slimagent.linux.files import read, replacing
from slimagent.model.image_config import ImageConfig
from slimagent.model.image_labels import SOURCE, SOURCE_ID
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.reason import Verdict
from slimagent.model.removed import Gone, GoneKind, Lead, Owner, Removed, Why
from slimagent.paths.algebra import Resolver
from slimagent.report.explain import reason_sentence

_EDITED = Why("edited", "an alternative that leads to nothing any more; update-alternatives would remove it, too")
_KINDS = {stat.S_IFREG: GoneKind.FILE, stat.S_IFDIR: GoneKind.DIRECTORY, stat.S_IFLNK: GoneKind.LINK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removals:
    """Where a list of what went is written (empty: nowhere), and whether with digests. `inside`: into the export, too.

    `image` is the configuration of the image, if it is known: it says where the image is from.
    """

    path: str = ""
    digests: bool = True
    inside: bool = False
    image: ImageConfig | None = None

    def leave(self, plan: Plan, plan_digest: str) -> apply.Leave:
        """What writes the list for a plan. Raises as `linux.files.replacing` does."""
        if not self.path:
            return apply.nothing_left

        def write(inventory: Inventory, decision: apply.Decision, source: apply.Source) -> bytes | None:
            gone = apply.lost(inventory, decision)
            listing = _Listing(plan, inventory, gone)
            name, identity = _origin(self.image)
            head = Removed(
                tool=f"slimagent {slimagent.__version__}",
                plan=plan_digest,
                level=plan.level,
                image=name,
                image_id=identity,
                paths=len(gone),
                bytes=listing.size(),
                owners=tuple(listing.owners),
                reasons=tuple(listing.reasons),
                leads=tuple(_leads(inventory, gone)),
            )
            with replacing(self.path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as stream:
                documents.write_removed(stream, head, listing.rows(source if self.digests else None))
            return read(self.path) if self.inside else None

        return write

    @contextlib.contextmanager
    def kept_on_success(self) -> Iterator[None]:
        """Remove a list that was written in the block if the block fails: nothing went."""
        before = _identity(self.path)
        try:
            yield
        except BaseException:
            if _identity(self.path) not in (None, before):
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
            raise


def _identity(path: str) -> tuple[int, int, int] | None:
    """What tells a file from one that replaced it; None if it does not exist."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


NO_LIST = Removals()


def _origin(image: ImageConfig | None) -> tuple[str, str]:
    """The name and the ID of the image. A label counts if it is of this image: an image inherits those of its base."""
    if image is None:
        return "", ""
    labels = image.labels
    return labels.get(SOURCE, "") if labels.get(SOURCE_ID, "") == image.identity else "", image.identity


class _Listing:
    """The rows of a list, with the owners and reasons that they name."""

    def __init__(self, plan: Plan, inventory: Inventory, gone: list[int]) -> None:
        self._inventory = inventory
        self._gone = gone
        self.owners: list[Owner] = []
        self.reasons: list[Why] = []
        self._places: dict[int, tuple[int, int]] = {}
        wanted = {inventory.paths[at]: at for at in gone}
        owners, reasons = dict[int, int](), dict[Why, int]()
        for entry in plan.entries:
            at = wanted.get(entry.path)
            if at is None:
                continue
            why = _why(plan, entry.reason)
            if why not in reasons:
                reasons[why] = len(self.reasons)
                self.reasons.append(why)
            if entry.owner >= 0 and entry.owner not in owners:
                owners[entry.owner] = len(self.owners)
                planned = plan.packages[entry.owner]
                goes = plan.reasons[planned.reason].verdict is Verdict.DROP
                self.owners.append(Owner(planned.package, goes))
            self._places[at] = reasons[why], owners.get(entry.owner, -1)

    def rows(self, source: apply.Source | None) -> Iterator[Gone]:
        """Each path, in the order of the inventory. Without a source, files have no digests."""
        inventory = self._inventory
        first: dict[int | tuple[int, ...], tuple[int, str]] = {}
        files = (at for at in self._first_names())
        digests = iter(()) if source is None else apply.digested(inventory, files, source)
        for at in self._gone:
            kind = _KINDS.get(stat.S_IFMT(inventory.modes[at]), GoneKind.SPECIAL)
            size, digest, target = 0, "", inventory.targets.get(at, b"")
            if kind is GoneKind.FILE:
                size, key = inventory.sizes[at], inventory.file(at)
                if key in first:
                    kind, (of, digest) = GoneKind.HARD_LINK, first[key]
                    target = inventory.paths[of]
                else:
                    digest = next(digests, "")
                    if inventory.links[at] > 1:
                        first[key] = at, digest
            reason, owner = self._places[at]
            yield Gone(inventory.paths[at], kind, size, reason, owner, digest, target)

    def size(self) -> int:
        """The bytes of the files, each once."""
        return sum(self._inventory.sizes[at] for at in self._first_names())

    def _first_names(self) -> Iterator[int]:
        seen: set[int | tuple[int, ...]] = set()
        for at in self._gone:
            if stat.S_ISREG(self._inventory.modes[at]) and (key := self._inventory.file(at)) not in seen:
                if self._inventory.links[at] > 1:
                    seen.add(key)
                yield at


def _why(plan: Plan, number: int) -> Why:
    """A reason in words, with that of the package that a path goes with."""
    reason = plan.reasons[number]
    if reason.verdict is not Verdict.DROP:  # the plan keeps it, and an edit removes it
        return _EDITED
    sentence = reason_sentence(plan, number)
    if reason.package is not None:
        sentence += f"; {reason_sentence(plan, plan.packages[reason.package].reason)}"
    return Why(str(reason.kind), sentence)


def _leads(inventory: Inventory, gone: list[int]) -> Iterator[Lead]:
    """The links that stay, and lead to a directory or to something that went.

    They tell what a program means by /lib/x or by a link that leads to nothing now, although the list has other names.
    """
    resolver, lost = Resolver(inventory.link), set(gone)
    for at in inventory.targets:
        if at in lost:
            continue
        end = resolver.resolve(inventory.paths[at]).end
        there = None if end is None else inventory.index.get(end)
        if end is not None and there is not None and (there in lost or stat.S_ISDIR(inventory.modes[there])):
            yield Lead(inventory.paths[at], end)
