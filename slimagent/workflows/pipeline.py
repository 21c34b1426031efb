"""Composition: one function per use case. Decides nothing that a room could decide, prints nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from slimagent import documents
from slimagent.errors import UnavailableError, UsageError
from slimagent.inventory.accounts import login_shells
from slimagent.inventory.contents import Contents
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.loader import loader
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import mount_points, scan
from slimagent.model.inventory import Inventory, Owners
from slimagent.model.plan import Plan
from slimagent.model.proof import Missed
from slimagent.model.trace import Trace
from slimagent.paths.algebra import USUAL_PATH, normalise, to_text, within_any
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.trace.select import choose
from slimagent.workflows import gained_rights
from slimagent.workflows.exercise import Reporter, Steps, watch
from slimagent.workflows.session import Session, require_readable
from slimagent.workflows.tracing import recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A trace, its bytes, and the inventory as the run left it. `status` and `interrupted` are the command's."""

    trace: Trace
    data: bytes
    inventory: Inventory
    status: int
    interrupted: bool


def inspect(session: Session, reporter: Reporter, what: str = "scan the image") -> Inventory:
    """The image's inventory as it is now."""
    with reporter.phase(what, "paths") as progress:
        volumes = frozenset(session.volumes).difference(session.mounted)
        return scan(session.root, session.scopes, session.excluded, progress, volumes)


def trace(session: Session, steps: Steps, reporter: Reporter, before: Inventory | None = None) -> Traced:
    """Run the steps watched, and put down what they needed and what they did to the image.

    Raises UsageError if nothing is mounted where the session says so.
    """
    for path in sorted(frozenset(session.mounted) - mount_points(session.root)):
        raise UsageError(f"--mounted {to_text(path)}: nothing is mounted there", "name a mount point of this container")
    choose(session.backend, attaches=session.attach)  # say at once if nothing can be watched here
    if before is None:
        before = inspect(session, reporter)
    steps = steps.awaited()
    with reporter.phase("run under trace"):
        watched = watch(session, steps, reporter)
    after = inspect(session, reporter, "scan again")
    with reporter.phase("write down the trace"):
        result = recorded(watched, session, before, after)
        advised = gained_rights.advised(result)
        if advised != result.steps:
            result = recorded(replace(watched, results=advised), session, before, after)
        data = documents.encode_trace(result)
    return Traced(trace=result, data=data, inventory=after, status=watched.status, interrupted=watched.interrupted)


def plan(
    session: Session,
    traced: Trace,
    trace_digests: tuple[str, ...],
    level: str,
    accepted: frozenset[str],
    reporter: Reporter,
    inventory: Inventory | None = None,
    missed: tuple[Missed, ...] = (),
    owned: Owners | None = None,
) -> Plan:
    """Decide what of the image at the session's root can go, from a trace of it. `missed`: what must stay besides.

    `trace_digests` name the documents that the trace was made of. `owned` are the inventory's owners, if known already.
    """
    if inventory is None:
        inventory = inspect(session, reporter)
    require_readable(inventory, "plan")
    contents = Contents(session.root)
    if owned is None:
        owned = find_owners(inventory, reporter)
    with reporter.phase("plan", "files") as progress:
        made = decide(
            Evidence(
                trace=traced,
                trace_digests=trace_digests,
                inventory=inventory,
                fingerprint=fingerprint(inventory, (*traced.mounts, *session.excluded)),
                contents=contents,
                loader=loader(inventory),
                rules=session.profile.rules,
                owners=owned,
                shells=login_shells(inventory),
                search=search_path(session.env),
                excluded=session.excluded,
                volumes=session.volumes,
                accepted=accepted,
                missed=missed,
            ),
            level,
            progress,
        )
    if contents.unreadable:
        raise UnavailableError(
            f"cannot plan: {len(contents.unreadable)} kept files cannot be read, so what they need is unknown",
            "run as root, or mend the files",
        )
    return made


def find_owners(inventory: Inventory, reporter: Reporter) -> Owners:
    """Whose the files of an image are."""
    with reporter.phase("find the owners of files"):
        return owners(inventory)


def is_same_view(session: Session, other: Session) -> bool:
    """Whether two sessions see the same of an image: the second leaves out nothing that the first one shows."""
    return (session.root, session.scopes, session.volumes) == (other.root, other.scopes, other.volumes) and all(
        within_any(path, session.excluded) for path in other.excluded
    )


def search_path(env: Mapping[str, str]) -> tuple[bytes, ...]:
    """The absolute folders of an environment's PATH, then those that an image usually has."""
    folders = [os.fsencode(folder) for folder in env.get("PATH", "").split(":") if folder.startswith("/")]
    return tuple(dict.fromkeys((*map(normalise, folders), *USUAL_PATH)))


def seen_as(session: Session, document: Trace | Plan) -> Session:
    """The session with the view that a document has of the image: what it leaves out, and volumes that count."""
    return replace(
        session,
        excluded=tuple(dict.fromkeys((*session.excluded, *document.excluded))),
        volumes=tuple(sorted({*session.volumes, *document.volumes})),
    )
