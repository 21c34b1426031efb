"""Composition: one function per use case. Decides nothing that a room could decide, prints nothing."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from slimagent import apply, documents, gained_rights
from slimagent.errors import CheckFailedError, RefusedError, UnavailableError, UsageError
from slimagent.exercise import Reporter, Steps, watch
from slimagent.files import digest, explained
from slimagent.inventory.accounts import login_shells
from slimagent.inventory.contents import Contents
from slimagent.inventory.fingerprint import fingerprint, lasting
from slimagent.inventory.loader import loader
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import mount_points, scan
from slimagent.model import Inventory, Missed, Plan, Receipt, Verification
from slimagent.paths import USUAL_PATH, normalise, to_text
from slimagent.plan.admit import FAILED_STEP, fit, useless
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.results import CheckResult
from slimagent.session import Session, require_readable
from slimagent.trace.select import choose
from slimagent.traces import Trace
from slimagent.tracing import TOOL, read_link, recorded
from slimagent.verify.compare import compare, dropped_paths, mask, missed, united, unmasked, unproved

STILL_LISTED = frozenset({"record-gone", "folder-gone"})  # kinds of reasons: what a masked run finds in listings only
_LATE = ("difflib", "encodings.idna", "linecache", "rich.console", "traceback", "urllib.request", "websocket")


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
    with reporter.phase("run under trace"):
        watched = watch(session, steps, reporter)
    after = inspect(session, reporter, "scan again")
    with reporter.phase("write down the trace"):
        result = recorded(watched, session, before, after)
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
) -> Plan:
    """Decide what of the image at the session's root can go, from a trace of it. `missed`: what must stay besides.

    `trace_digests` name the documents that the trace was made of.
    """
    if inventory is None:
        inventory = inspect(session, reporter)
    require_readable(inventory, "plan")
    contents = Contents(session.root)
    with reporter.phase("find the owners of files"):
        owned = owners(inventory)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the deed goes: a tar file, an image layout, a folder, or the image itself (`in_place`; see `journal`).

    `strip` is the program to strip files with: auto, none, or its name.
    """

    tar: bytes | None = None
    oci: apply.Layout | None = None
    folder: bytes | None = None
    in_place: bool = False
    journal: bytes | None = None
    strip: str = "auto"


def carry_out(
    session: Session,
    made: Plan,
    plan_digest: str,
    target: Target,
    reporter: Reporter,
    inventory: Inventory | None = None,
    save: Callable[[Receipt], None] = lambda receipt: None,
) -> Receipt:
    """Do what a plan says, to the image at the session's root or to an export of it. `save` is given the receipt."""
    if inventory is None:
        inventory = inspect(session, reporter)
    require_readable(inventory, "apply")
    if target.in_place:
        return _in_place(session, made, plan_digest, target, reporter, inventory, save)
    receipt = _export(session, made, plan_digest, target, reporter, inventory)
    save(receipt)
    return receipt


def _require_planned(session: Session, made: Plan, inventory: Inventory) -> None:
    fit(fingerprint(inventory, (*made.mounts, *session.excluded)), made.fingerprints, "the plan was made")


def _in_place(
    session: Session,
    made: Plan,
    plan_digest: str,
    target: Target,
    reporter: Reporter,
    inventory: Inventory,
    save: Callable[[Receipt], None],
) -> Receipt:
    """Begin a removal, or take up the one that was interrupted; its journal goes when the receipt is saved."""
    with contextlib.ExitStack() as stack:
        journal = None
        if target.journal is not None:
            journal = stack.enter_context(apply.Journal(target.journal, plan_digest))
        before = inventory if journal is None or journal.before is None else journal.before
        _require_planned(session, made, before)
        tools = apply.strip_tools(target.strip, session.root, session.excluded)
        try:
            with reporter.phase("remove", "files") as progress:
                receipt = apply.remove(made, plan_digest, inventory, progress, journal, lasting, tools)
        except OSError as error:
            raise explained(error, session.root) from None
        save(receipt)
        if journal is not None:
            with reporter.phase("see that it is on the disk"):
                journal.finish(session.root)
    return receipt


def _export(
    session: Session, made: Plan, plan_digest: str, target: Target, reporter: Reporter, inventory: Inventory
) -> Receipt:
    _require_planned(session, made, inventory)
    tools = apply.strip_tools(target.strip, session.root, session.excluded)
    try:
        if target.tar is not None:
            with reporter.phase("export", "bytes") as progress:
                return apply.write_tar(made, plan_digest, inventory, target.tar, progress, tools)
        if target.oci is not None:
            with reporter.phase("export", "bytes") as progress:
                return apply.write_layout(made, plan_digest, inventory, target.oci, progress, tools)
        if target.folder is None:
            raise ValueError("an export needs a target")
        with reporter.phase("export", "bytes") as progress:
            return apply.copy(made, plan_digest, inventory, target.folder, progress, tools)
    except OSError as error:
        raise explained(error, session.root) from None


def verify(
    session: Session,
    steps: Steps,
    made: Plan,
    plan_digest: str,
    baseline: Sequence[CheckResult],
    reporter: Reporter,
) -> Verification:
    """Run the steps again on the slim image, and name every file that they looked for in vain.

    Where the dropped files are gone, the image is what it will be ("in-place"). Where they are still there, the
    watched processes are told that they are not ("masked"): each call that names one gets ENOENT, as it will in the
    slim image; only a folder's listing still shows them. So the records of packages that went are not masked: a
    listing that names a record which then is not there is a state that no image is ever in.
    """
    dropped = dropped_paths(made)
    prefix = b"" if session.root == b"/" else session.root
    there = sum(os.path.lexists(prefix + path) for path in dropped)
    if there and there != len(dropped):
        raise RefusedError(
            f"{there} of {len(dropped)} dropped files are still there: the image is neither whole nor slim",
            "run `slimagent apply --in-place` again to finish it, or verify in a new container of the image",
        )
    baseline = united(baseline)
    is_dropped = mask(dropped_paths(made, STILL_LISTED) if there else dropped, read_link)
    with reporter.phase("run again on the slim image"):
        watched = watch(session, steps, reporter, is_dropped if there else None, baseline)
    comparisons = compare(baseline, watched.results)
    accesses = ((path, at) for path, (_, at) in watched.observed.accesses.items())
    return Verification(
        tool=TOOL,
        plan=plan_digest,
        how="masked" if there else "in-place",
        backend=watched.backend,
        blind_spots=watched.blind_spots,
        passed=not watched.interrupted
        and not any(each.worse for each in comparisons)
        and not unproved(baseline, watched.results)
        and not (there and unmasked(watched.observed.losses)),
        steps=watched.results,
        comparisons=comparisons,
        missed=missed(is_dropped, accesses, [result.name for result in watched.results]),
        losses=watched.observed.losses,
    )


@dataclass(slots=True, kw_only=True)
class Whole:
    """Everything that a whole run made; documents as bytes by file name, in the order in which they came."""

    documents: dict[str, bytes] = field(default_factory=dict)
    trace: Trace | None = None
    plan: Plan | None = None
    receipt: Receipt | None = None
    verification: Verification | None = None


def run(
    session: Session,
    steps: Steps,
    level: str,
    accepted: frozenset[str],
    target: Target,
    reporter: Reporter,
    save: Callable[[str, bytes], None],
    *,
    proof: str,
) -> Whole:
    """Trace, plan, apply, verify. `save` is given each document as soon as it is made; `proof` is masked or in-place.

    Raises UnavailableError before anything is run if the image cannot be read whole, CheckFailedError if a traced
    step failed or was interrupted.
    """
    whole = Whole()
    choose(session.backend, masks=proof == "masked")
    if target.oci is not None:
        apply.require_possible(target.oci, session.scopes)
    before = inspect(session, reporter)
    require_readable(before, "run")
    traced = trace(session, steps, reporter, before)
    del before
    whole.trace = traced.trace
    save("trace.json", traced.data)
    _admit_run(traced, accepted)
    made = plan(session, traced.trace, (digest(traced.data),), level, accepted, reporter, traced.inventory)
    whole.plan = made
    data = documents.encode_plan(made)
    plan_digest = digest(data)
    save("plan.json", data)
    del data
    if target.in_place:
        _import_now()
    whole.receipt = carry_out(session, made, plan_digest, target, reporter, traced.inventory)
    save("receipt.json", documents.encode_receipt(whole.receipt))
    if proof == "in-place" and not target.in_place:
        _import_now()
        removed = carry_out(
            session, made, plan_digest, Target(in_place=True, strip=target.strip), reporter, traced.inventory
        )
        save("in-place.json", documents.encode_receipt(removed))
    if proof != "none":
        whole.verification = verify(session, steps, made, plan_digest, traced.trace.steps, reporter)
        save("verification.json", documents.encode_verification(whole.verification))
    return whole


def _import_now() -> None:
    """Load what Python would load only when something goes wrong: soon its files may be gone, if it is the image's."""
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _admit_run(traced: Traced, accepted: frozenset[str]) -> None:
    if traced.interrupted:
        raise CheckFailedError(
            "the traced run was interrupted", "the trace is written, but nothing was planned from it"
        )
    failed = [step for step in traced.trace.steps if useless(step)]
    if failed and FAILED_STEP not in accepted:
        raise CheckFailedError(
            f"a traced step failed on the full image: {failed[0].name} ({(failed[0].detail.splitlines() or [''])[0]})",
            gained_rights.advice(traced.trace, failed)
            or "a slim image can only be proved by steps that pass before; mend the step, then run again",
        )
