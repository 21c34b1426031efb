"""Composition: carry out a plan in the image itself, take up what was interrupted, and know what was done before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable

from slimagent import apply
from slimagent.errors import RefusedError
from slimagent.inventory.fingerprint import fingerprint, lasting, may_change
from slimagent.linux.files import explained
from slimagent.linux.temporary import remove_left
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.plan.admit import fit
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.session import Session, require_readable


def remove(
    session: Session,
    made: Plan,
    plan_digest: str,
    reporter: Reporter,
    inspect: Callable[[], Inventory],
    *,
    journal: bytes | None = None,
    strip: str = "auto",
    save: Callable[[Receipt], None] = lambda receipt: None,
) -> Receipt | None:
    """Begin a removal, or take up the one that was interrupted; its journal goes when the receipt is saved.

    None: the plan has been carried out there before, and nothing is left to do. Raises RefusedError for another image
    than the plan's, for a journal of another plan or root, and while another removal is at work in the image.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(apply.alone(session.root))
        opened = None
        if journal is not None:
            opened = stack.enter_context(apply.Journal(journal, plan_digest, session.root))
        remove_left(os.fsencode(tempfile.gettempdir()))  # before the scan: it may be in the image
        inventory = inspect()
        require_readable(inventory, "apply")
        before = inventory if opened is None or opened.before is None else opened.before
        hidden = (*made.mounts, *session.excluded)
        try:
            fit(fingerprint(before, hidden), made.fingerprints, "the plan was made")
        except RefusedError:
            if before is inventory and _is_done(made, inventory, hidden):
                return None
            raise
        tools = apply.strip_tools(strip, session.root, session.excluded)
        try:
            with reporter.phase("remove", "files") as progress:
                receipt = apply.remove(made, plan_digest, inventory, progress, opened, lasting, tools)
        except OSError as error:
            raise explained(error, session.root) from None
        save(receipt)
        if opened is not None:
            with reporter.phase("see that it is on the disk"):
                opened.finish(session.root)
    return receipt


def _is_done(made: Plan, inventory: Inventory, hidden: tuple[bytes, ...]) -> bool:
    with apply.Source(inventory) as source:
        return apply.is_carried_out(
            made,
            inventory,
            lambda at: apply.contents(source, at),
            lasting(inventory, hidden),
            lambda path: may_change(path, inventory.scopes),
        )
