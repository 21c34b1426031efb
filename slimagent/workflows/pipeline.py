"""Composition: one function for each stage. It leaves decisions to other packages, and prints nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from slimagent import documents
from slimagent.errors import UnavailableError, UsageError
from slimagent.inventory.accounts import login_shells
from slimagent.inventory.contents import Contents
from slimagent.inventory.distribution import distribution
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.loader import loader
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import mount_points, scan
from slimagent.model.inventory import Inventory, Owners
from slimagent.model.plan import Plan
from slimagent.model.proof import Repair
from slimagent.model.trace import Trace
from slimagent.paths.algebra import USUAL_PATH, normalise, to_text, within_any
from slimagent.plan.closure import ContentReader
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.plan.without_gpu import target_of
from slimagent.text.counted import counted
from slimagent.trace.select import choose
from slimagent.workflows import gained_rights
from slimagent.workflows.exercise import Reporter, watch
from slimagent.workflows.session import Session, require_readable
from slimagent.workflows.steps import Steps
from slimagent.workflows.tracing import recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A trace, its bytes, and the inventory after the run. `status` and `interrupted` are the command's."""

    trace: Trace
    data: bytes
    inventory: Inventory
    status: int
    interrupted: bool


def inspect(session: Session, reporter: Reporter, what: str = "scan the image") -> Inventory:
    """Scan the image as it is now."""
    with reporter.phase(what, "paths") as progress:
        volumes = frozenset(session.volumes).difference(session.mounted)
        return scan(session.root, session.scopes, session.excluded, progress, volumes)


def trace(session: Session, steps: Steps, reporter: Reporter, before: Inventory | None = None) -> Traced:
    """Run the steps under a watcher, and record what they needed and what they changed.

    Raises UsageError if the session names a mount point where nothing is mounted.
    """
    for path in sorted(frozenset(session.mounted) - mount_points(session.root)):
        raise UsageError(f"--mounted {to_text(path)}: nothing is mounted there", "name a mount point of this container")
    choose(session.backend, attaches=session.attach)  # fail early if nothing can be watched here
    if before is None:
        before = inspect(session, reporter)
    steps = steps.awaited()
    with reporter.phase("run under trace"):
        watched = watch(session, steps, reporter)
    after = inspect(session, reporter, "scan again")
    with reporter.phase("write the trace"):
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
    repairs: tuple[Repair, ...] = (),
    owned: Owners | None = None,
) -> Plan:
    """Decide what the image at the session's root can lose, from a trace of it. What `repairs` bring back must stay.

    `trace_digests` name the documents that the trace was made from. `owned` are the inventory's owners, if known.
    """
    if inventory is None:
        inventory = inspect(session, reporter)
    require_readable(inventory, "plan")
    if owned is None:
        owned = find_owners(inventory, reporter)
    contents = Contents(session.root, target_of(session.profile.rules))
    with reporter.phase("plan", "files") as progress:
        evidence = collect(session, traced, trace_digests, inventory, contents, owned, accepted, repairs)
        made = decide(evidence, level, progress)
    if contents.unreadable:
        some = ", ".join(map(to_text, contents.unreadable[:3]))
        count = counted(len(contents.unreadable), "kept file")
        raise UnavailableError(
            f"cannot plan: {count} cannot be read, so what they need is unknown, e.g. {some}",
            "run as root, or repair the files",
        )
    return made


def collect(
    session: Session,
    traced: Trace,
    trace_digests: tuple[str, ...],
    inventory: Inventory,
    contents: ContentReader,
    owned: Owners,
    accepted: frozenset[str],
    repairs: tuple[Repair, ...] = (),
) -> Evidence:
    """Collect all that `decide` needs: the trace, the image as it is, and the session's rules and options."""
    return Evidence(
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
        repairs=repairs,
        distribution=distribution(inventory),
    )


def find_owners(inventory: Inventory, reporter: Reporter) -> Owners:
    """Find the package that owns each file of an image."""
    with reporter.phase("find the owners of files"):
        return owners(inventory)


def is_same_view(session: Session, other: Session) -> bool:
    """Whether two sessions see the same image: the second one excludes nothing that the first one shows."""
    return (session.root, session.scopes, session.volumes) == (other.root, other.scopes, other.volumes) and all(
        within_any(path, session.excluded) for path in other.excluded
    )


def search_path(env: Mapping[str, str]) -> tuple[bytes, ...]:
    """The absolute directories in an environment's PATH, then the usual ones."""
    directories = [os.fsencode(each) for each in env.get("PATH", "").split(":") if each.startswith("/")]
    return tuple(dict.fromkeys((*map(normalise, directories), *USUAL_PATH)))


def seen_as(session: Session, document: Trace | Plan) -> Session:
    """The session with a document's view of the image: also exclude what it excludes, and add its volumes."""
    return replace(
        session,
        excluded=tuple(dict.fromkeys((*session.excluded, *document.excluded))),
        volumes=tuple(sorted({*session.volumes, *document.volumes})),
    )
