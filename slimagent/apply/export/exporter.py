"""Export what stays of an image: the one way from a plan to a receipt, whatever the export is written as."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import slimagent
from slimagent.apply.decide import Decision, decide
from slimagent.apply.edits.edit import edit
from slimagent.apply.export.components import Part
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Attributes, Source, require_readable
from slimagent.apply.strip.stripped import NO_TOOLS, Stripped, Tools
from slimagent.model.inventory import Inventory, Layer, Plan, Receipt


@dataclass(frozen=True, slots=True)
class File:
    """A regular file as it is exported: `edited` if that is not None, else the first `size` bytes of `descriptor`."""

    descriptor: int
    size: int
    edited: bytes | None
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an export holds: what a decision leaves of an image, edited and stripped, in the parts of its form."""

    plan: Plan
    inventory: Inventory
    decision: Decision
    source: Source
    parts: list[Part]
    stripped: Stripped

    @contextlib.contextmanager
    def file(self, at: int) -> Iterator[File]:
        """A regular file, open during the block. Raises RefusedError if by then it is not what the inventory has."""
        edited, size = self.decision.edited.get(at), self.inventory.sizes[at]
        original, taken = self.source.open(at), None
        try:
            attributes = self.source.attributes(at, original)
            taken = self.stripped.take(at)
            if edited is not None:
                yield File(original, len(edited), edited, attributes)
            elif taken is not None:
                yield File(*taken, None, attributes)
            else:
                yield File(original, size, None, attributes)
            self.source.check(at, original)
        finally:
            os.close(original)
            if taken is not None:
                os.close(taken[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: its bytes, and its SHA-256 if it has one.

    `left_out` are paths that the form cannot hold, with the reason.
    """

    written: int
    sha256: str = ""
    left_out: tuple[tuple[bytes, str], ...] = ()
    layers: tuple[Layer, ...] = ()


class Destination(Protocol):
    """Where an export goes, and in which form: a tar, a directory or an image layout."""

    @property
    def path(self) -> bytes:
        """Where it is in the end."""

    @property
    def name(self) -> str:
        """What a receipt calls it, e.g. `tar:/out/rootfs.tar`."""

    @property
    def holder(self) -> bytes:
        """The directory in which it is made."""

    def admit(self, plan: Plan, inventory: Inventory) -> None:
        """Say before anything is read that no such export can be made there."""

    def divide(self, plan: Plan, inventory: Inventory, decision: Decision, source: Source) -> list[Part]:
        """What stays and what edits make, in the order in which it is written. Refuses what the form cannot hold."""

    def making(self, content: Content, pace: Pace) -> contextlib.AbstractContextManager[Callable[[], Exported]]:
        """The value writes it, once; `pace` counts bytes. It is in its place, whole, when the block has ended well."""

    def holds(self, receipt: Receipt) -> bool:
        """Whether what an earlier export made there, of which this is the receipt, need not be made again."""


def export(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    destination: Destination,
    progress: Progress | None = None,
    tools: Tools = NO_TOOLS,
    save: Callable[[Receipt], None] = lambda receipt: None,
) -> Receipt:
    """Write everything that stays to `destination`, whole or not at all; `progress` gets bytes before compression.

    `save` gets the receipt before the export is in its place: then whatever ends us, an export has a receipt. Raises
    RefusedError for what the destination refuses and for a file that changes meanwhile; UnavailableError for one that
    cannot be read, and when the destination cannot be written; and what the destination's methods raise.
    """
    destination.admit(plan, inventory)
    decision = decide(plan, inventory)
    require_readable(inventory, decision)
    pace = Pace(progress)
    with Source(inventory) as source:
        decision = edit(plan, inventory, decision, source.read)
        parts = destination.divide(plan, inventory, decision, source)
        order = [each for part in parts for each in part.members if isinstance(each, int)]
        stripped = Stripped(plan, inventory, decision, order, destination.holder, tools)
        content = Content(
            plan=plan, inventory=inventory, decision=decision, source=source, parts=parts, stripped=stripped
        )
        with destination.making(content, pace) as make, stripped:
            exported = make()
            pace.finish()
            receipt = _receipt(plan_digest, destination.name, content, exported)
            save(receipt)
    return receipt


def _receipt(plan_digest: str, target: str, content: Content, exported: Exported) -> Receipt:
    decision, stripped = content.decision, content.stripped
    return Receipt(
        tool=f"slimagent {slimagent.__version__}",
        plan=plan_digest,
        target=target,
        kept=decision.standing - len(exported.left_out),
        dropped=decision.lost,
        bytes_kept=decision.bytes_kept - stripped.saved,
        bytes_dropped=decision.bytes_dropped,
        written=exported.written,
        sha256=exported.sha256,
        left_alone=decision.left_alone + exported.left_out,
        edited=len(decision.deeds),
        stripped=stripped.count,
        bytes_stripped=stripped.saved,
        loaded=stripped.loaded,
        unstripped=tuple(stripped.left),
        layers=exported.layers,
    )
