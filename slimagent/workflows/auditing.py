"""Composition: audit the image that this container shows."""

from __future__ import annotations

import platform
from functools import cache

from slimagent.audit.known import Known, asked_here
from slimagent.audit.whole import audit
from slimagent.inventory.contents import Contents
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.reader import Image
from slimagent.inventory.requests import requests
from slimagent.model.audit import Audit, Layers
from slimagent.model.inventory import Inventory
from slimagent.model.trace import Trace
from slimagent.paths.algebra import Resolver
from slimagent.plan.admit import admit, fit
from slimagent.plan.permission import Permissions
from slimagent.workflows import pipeline
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.session import Session, require_readable

_HINT = (
    "audit the image that was traced, or make a trace of this one: `slimagent image IMAGE` leaves it in "
    "slimagent-out/trace.json"
)
TRACED, UNTRACED = "package", "cruft"  # the level of the plan that an audit looks at


def audit_here(
    session: Session, traced: Trace | None, accepted: frozenset[str], reporter: Reporter, layers: Layers, image: str
) -> Audit:
    """Audit the image at the session's root; with a trace of it, also say what no test used.

    Raises RefusedError if the trace is one of another image, and UnavailableError if a file cannot be read.
    """
    inventory = pipeline.inspect(session, reporter)
    require_readable(inventory, "audit")
    if traced is not None:
        _require_fit(session, traced, inventory)
    owners = pipeline.find_owners(inventory, reporter)
    trace = traced or _none(session, inventory)
    level = TRACED if traced else UNTRACED
    plan = pipeline.plan(session, trace, (), level, accepted, reporter, inventory, owned=owners)
    with reporter.phase("audit"):
        reader = Contents(session.root)
        rules = session.profile.rules
        # It follows every link of the image, and only files with GPU code ask.
        permissions = cache(lambda: Permissions(inventory, owners, Resolver(inventory.link), reader, rules))
        known = Known(
            inventory=inventory,
            owners=owners,
            plan=plan,
            rules=rules,
            asked=asked_here(requests(Image(inventory), owners), inventory, owners, layers),
            reader=reader,
            permits=lambda at: bool(permissions().of(at)[0]),
            traced=traced is not None,
            layers=layers,
        )
        return audit(known, image)


def require_fit(session: Session, traced: Trace, accepted: frozenset[str], reporter: Reporter) -> None:
    """Check that a trace can be used for an audit of the image at the session's root, before anything that takes long.

    Raises RefusedError if it is one of another image, or is not complete.
    """
    admit(traced, accepted)
    _require_fit(session, traced, pipeline.inspect(session, reporter))


def _require_fit(session: Session, traced: Trace, inventory: Inventory) -> None:
    found = fingerprint(inventory, (*traced.mounts, *session.excluded))
    fit(found, (traced.before, *traced.afters), "the trace was made", _HINT)


def _none(session: Session, inventory: Inventory) -> Trace:
    """A trace of no run at all."""
    return Trace(
        before=fingerprint(inventory, session.excluded),
        scopes=session.scopes,
        excluded=session.excluded,
        architecture=platform.machine(),
        runs=(),
        accesses=(),
        changes=(),
    )
