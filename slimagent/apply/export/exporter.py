"""Export what stays of an image: the one way from a plan to a receipt, for every form of export."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import slimagent
from slimagent.apply.decide import Decision, decide
from slimagent.apply.edits.edit import edit
from slimagent.apply.export.components import Part
from slimagent.apply.going import Leave, nothing_left, with_list
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Source, require_readable
from slimagent.apply.strip.stripped import Stripped
from slimagent.apply.strip.workspace import NO_TOOLS, Tools
from slimagent.errors import RefusedError
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Layer, Receipt
from slimagent.model.removed import INSIDE
from slimagent.paths.algebra import to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an export holds: what a decision keeps of an image, edited and stripped, in parts."""

    plan: Plan
    plan_digest: str
    inventory: Inventory
    decision: Decision
    source: Source
    parts: list[Part]
    stripped: Stripped


class File:
    """A regular file as it is exported: `edited` if that is not None, else the first `size` bytes of `descriptor`.

    Use as a context manager. Leaving it raises RefusedError if the file is no longer as the inventory has it.
    """

    __slots__ = ("_at", "_original", "_source", "attributes", "descriptor", "edited", "size")

    def __init__(self, content: Content, at: int) -> None:
        self._source, self._at = content.source, at
        self._original = self.descriptor = content.source.open(at)
        try:
            self.attributes = content.source.attributes(at, self.descriptor)
            self.edited = content.decision.edited.get(at)
            self.size = content.inventory.sizes[at] if self.edited is None else len(self.edited)
            taken = content.stripped.take(at)
        except BaseException:
            os.close(self._original)
            raise
        if taken is not None:
            self.descriptor, self.size = taken

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._source.check(self._at, self._original)
        finally:
            os.close(self._original)
            if self.descriptor != self._original:
                os.close(self.descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: its size in bytes, and its SHA-256 if it has one.

    `left_out` are paths that this form of export cannot hold, with the reason. `cleared` are those that lost what gives
    rights to whoever runs them: setuid, setgid, file capabilities.
    """

    written: int
    sha256: str = ""
    left_out: tuple[tuple[bytes, str], ...] = ()
    cleared: tuple[bytes, ...] = ()
    layers: tuple[Layer, ...] = ()


class Destination(Protocol):
    """Where an export goes, and its form: a tar, a directory or an image layout."""

    @property
    def path(self) -> bytes:
        """Where the export ends up."""

    @property
    def name(self) -> str:
        """What a receipt calls it, e.g. `tar:/out/rootfs.tar`."""

    @property
    def holder(self) -> bytes:
        """The directory in which it is made."""

    def admit(self, plan: Plan, inventory: Inventory) -> None:
        """Raise an error, before anything is read, if no such export can be made there."""

    def divide(self, plan: Plan, inventory: Inventory, decision: Decision, source: Source) -> list[Part]:
        """What stays and what edits make, in the order of writing. Refuses what the form cannot hold."""

    def making(self, content: Content, pace: Pace) -> contextlib.AbstractContextManager[Callable[[], Exported]]:
        """Call the value once to write the export; `pace` counts bytes. It is in its place when the block ends well."""

    def holds(self, receipt: Receipt) -> bool:
        """Whether the export with this receipt is still there, so that it need not be made again."""


def export(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    destination: Destination,
    progress: Progress | None = None,
    tools: Tools = NO_TOOLS,
    save: Callable[[Receipt], None] = lambda receipt: None,
    leave: Leave = nothing_left,
) -> Receipt:
    """Write everything that stays to `destination`, whole or not at all; `progress` gets bytes before compression.

    `leave` gets what goes, and can add a list of it. `save` gets the receipt before the export is in its place, so that
    every export has a receipt, even if we are killed. Raises RefusedError for a file that changes meanwhile,
    UnavailableError for one that cannot be read or if the destination cannot be written, and what the destination's
    methods raise.
    """
    destination.admit(plan, inventory)
    decision = decide(plan, inventory)
    require_readable(inventory, decision)
    pace = Pace(progress)
    with Source(inventory) as source:
        decision = edit(plan, inventory, decision, source.read)
        listed = leave(inventory, decision, source)
        if listed is not None:
            _require_no_list(inventory)
            decision = with_list(decision, INSIDE, listed)
        parts = destination.divide(plan, inventory, decision, source)
        order = [each for part in parts for each in part.members if isinstance(each, int)]
        stripped = Stripped(plan, inventory, decision, order, destination.holder, tools)
        content = Content(
            plan=plan,
            plan_digest=plan_digest,
            inventory=inventory,
            decision=decision,
            source=source,
            parts=parts,
            stripped=stripped,
        )
        with destination.making(content, pace) as make, stripped:
            exported = make()
            pace.finish()
            receipt = _receipt(plan_digest, destination.name, content, exported)
            save(receipt)
    return receipt


def _require_no_list(inventory: Inventory) -> None:
    if INSIDE in inventory:
        raise RefusedError(
            f"the image has a file of its own at {to_text(INSIDE)}, where the list of what went would be",
            "leave out --removed-inside, or rename that file",
        )


def _receipt(plan_digest: str, target: str, content: Content, exported: Exported) -> Receipt:
    decision, stripped = content.decision, content.stripped.tally
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
        edited=len(decision.actions),
        stripped=stripped.count,
        bytes_stripped=stripped.saved,
        loaded=stripped.loaded,
        gpu=stripped.gpu_count,
        bytes_gpu=stripped.gpu_saved,
        unstripped=tuple(stripped.left),
        layers=exported.layers,
    )
