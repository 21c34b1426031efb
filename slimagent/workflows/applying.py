"""Composition: carry out a plan, as an export or in place, and recognise what was done before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slimagent import apply
from slimagent.errors import RefusedError
from slimagent.inventory.fingerprint import fingerprint, lasting, may_change
from slimagent.linux.files import explained
from slimagent.linux.temporary import remove_left
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.model.trace import Change
from slimagent.paths.algebra import to_text
from slimagent.plan.admit import fit
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.removals import NO_LIST, Removals
from slimagent.workflows.session import Session, require_readable

_SHOWN = 5  # paths in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Write what stays to `destination`, stripped with `strip`: auto, none, or a program's name.

    `accepted` returns a value other than None for a path that may be exported although the run altered it.
    """

    destination: apply.Destination
    strip: str = "auto"
    accepted: Callable[[bytes], object] = lambda path: None


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """Remove what goes from the image itself, with `strip` as in `Export`; `journal` is the file that records it."""

    journal: bytes | None = None
    strip: str = "auto"


Target = Export | InPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A plan to carry out for the image at the session's root.

    `digest` is that of the plan's document, `inspect` returns the image's inventory, `save` stores the receipt, and
    `removals` says where a list of what goes is written.
    """

    session: Session
    plan: Plan
    digest: str
    reporter: Reporter
    inspect: Callable[[], Inventory]
    save: Callable[[Receipt], None] = lambda receipt: None
    removals: Removals = NO_LIST

    @property
    def leave(self) -> apply.Leave:
        """What writes the list of what goes."""
        return self.removals.leave(self.plan, self.digest)

    @property
    def hidden(self) -> tuple[bytes, ...]:
        """Paths that the plan or the session leaves out."""
        return (*self.plan.mounts, *self.session.excluded)

    def require_fit(self, inventory: Inventory) -> None:
        """Raise RefusedError if this is not the plan's image."""
        fit(fingerprint(inventory, self.hidden), self.plan.fingerprints, "the plan was made")

    def tools(self, target: Target) -> apply.Tools:
        """The tools to strip with. Raises UnavailableError if a program was named and does not exist."""
        return apply.strip_tools(target.strip, self.session.root, self.session.excluded)


def carry_out(action: Action, target: Target) -> Receipt:
    """Carry out a plan. Raises RefusedError if it was carried out in place here before: see `remove`."""
    if isinstance(target, Export):
        return export(action, target)
    receipt = remove(action, target)
    if receipt is None:
        raise RefusedError("the plan has been carried out here before", "plan again, in a new container of the image")
    return receipt


def export(action: Action, target: Export) -> Receipt:
    """Export what stays. Raises RefusedError if this is not the plan's image, and as `require_unaltered` does."""
    inventory = action.inspect()
    require_readable(inventory, "apply")
    require_unaltered(apply.altered(action.plan, inventory, target.accepted, traced_here=False))
    action.require_fit(inventory)
    tools = action.tools(target)
    try:
        with action.removals.kept_on_success(), action.reporter.phase("export", "bytes") as progress:
            to = target.destination
            return apply.export(action.plan, action.digest, inventory, to, progress, tools, action.save, action.leave)
    except OSError as error:
        raise explained(error, action.session.root) from None


def require_unaltered(changes: Sequence[Change], where: str = "") -> None:
    """Refuse to export files that the run altered: RefusedError names some of them, and `where` the full list is."""
    if changes:
        some = ", ".join(f"{to_text(each.path)} ({each.kind.value})" for each in changes[:_SHOWN])
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise RefusedError(
            f"the test changed or removed {len(changes)} file{'s' if len(changes) > 1 else ''} to be kept, "
            f"and the export would have what it left: {some}{more}{where}",
            "accept them with --accept-change PATTERN; or export from the unchanged image, in a new container of it: "
            "`slimagent plan TRACE`, then `slimagent apply PLAN`",
        )


def is_exported(target: Export, plan_digest: str, receipt: Receipt) -> bool:
    """Whether a receipt belongs to this plan and target, and the export that it describes still exists."""
    destination = target.destination
    return (receipt.plan, receipt.target) == (plan_digest, destination.name) and destination.holds(receipt)


def remove(action: Action, target: InPlace) -> Receipt | None:
    """Begin a removal, or resume one that was interrupted. Its journal is deleted once the receipt is saved.

    Returns None if the plan was carried out there before and nothing is left to do. Raises RefusedError if this is not
    the plan's image, if the journal is of another plan or root, and while another removal runs in the image.
    """
    root = action.session.root
    with contextlib.ExitStack() as stack:
        stack.enter_context(apply.alone(root))
        opened = None
        if target.journal is not None:
            opened = stack.enter_context(apply.Journal(target.journal, action.digest, root))
        remove_left(os.fsencode(tempfile.gettempdir()))  # before the scan: they may be in the image
        inventory = action.inspect()
        require_readable(inventory, "apply")
        before = inventory if opened is None or opened.before is None else opened.before
        try:
            action.require_fit(before)
        except RefusedError:
            if before is inventory and _is_done(action, inventory):
                return None
            raise
        tools = action.tools(target)
        try:
            with action.reporter.phase("remove", "files") as progress:
                receipt = apply.remove(
                    action.plan, action.digest, inventory, progress, opened, lasting, tools, action.leave
                )
        except OSError as error:
            raise explained(error, root) from None
        action.save(receipt)
        if opened is not None:
            with action.reporter.phase("sync to disk"):
                opened.finish(root)
    return receipt


def _is_done(action: Action, inventory: Inventory) -> bool:
    with apply.Source(inventory) as source:
        return apply.is_carried_out(
            action.plan,
            inventory,
            lambda at: apply.contents(source, at),
            lasting(inventory, action.hidden),
            lambda path: may_change(path, inventory.scopes),
        )
