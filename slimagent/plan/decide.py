"""From evidence to a plan. Pure: the same trace, inventory, contents and rules give the same plan."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from slimagent import __version__
from slimagent.errors import RefusedError
from slimagent.model import (
    Access,
    ChangeKind,
    CheckResult,
    Entry,
    How,
    Inventory,
    KeepRule,
    Loader,
    Outcome,
    Plan,
    Reason,
    Trace,
    Verdict,
)
from slimagent.paths import matcher, to_text
from slimagent.plan.closure import Closure, ContentReader
from slimagent.plan.keeper import Keeper
from slimagent.plan.times import folder_times

FAILED_STEP = "failed-step"
_KEEP, _DROP = Verdict.KEEP, Verdict.DROP
# The strongest first: of several accesses that lead to one file, that one is its reason.
_HOWS = ((How.EXECUTED, "executed"), (How.OPENED, "opened"), (How.LISTED, "listed"), (How.LOOKED_UP, "looked-up"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything a plan is made from. `trace_digest` names the trace's bytes, `accepted` the losses to live with."""

    trace: Trace
    trace_digest: str
    inventory: Inventory
    fingerprint: str
    contents: ContentReader
    loader: Loader
    rules: tuple[KeepRule, ...]
    excluded: tuple[bytes, ...] = ()
    accepted: frozenset[str] = frozenset()


def decide(evidence: Evidence, level: str, progress: Callable[[int], None] | None = None) -> Plan:
    """A verdict with a reason for every path of the inventory.

    Raises RefusedError for a trace with a loss or a failed step that nobody accepted, and for another image.
    """
    admit(evidence.trace, evidence.accepted)
    fit(evidence.fingerprint, (evidence.trace.before, evidence.trace.after), "the trace was made")
    keeper = Keeper(evidence.inventory)
    created = frozenset(each.path for each in evidence.trace.changes if each.kind is ChangeKind.CREATED)
    _drop_created(keeper, created)
    _keep_accessed(keeper, evidence.trace.accesses)
    _keep_ruled(keeper, evidence.rules)
    closure = Closure(keeper, evidence.contents, evidence.loader)
    closure.run(progress)
    _keep_free(keeper)
    _drop_rest(keeper)
    return Plan(
        tool=f"slimagent {__version__}",
        level=level,
        root=evidence.inventory.root,
        scopes=evidence.inventory.scopes,
        excluded=evidence.excluded,
        fingerprints=tuple(dict.fromkeys((evidence.trace.before, evidence.trace.after))),
        traces=(evidence.trace_digest,),
        accepted=tuple(sorted(evidence.accepted)),
        steps=tuple(step.name for step in evidence.trace.steps),
        reasons=tuple(keeper.reasons),
        entries=tuple(_entries(keeper, evidence)),
        changes=evidence.trace.changes,
        unresolved=tuple(closure.unresolved),
    )


def admit(trace: Trace, accepted: frozenset[str]) -> None:
    """Refuse evidence with a hole in it. Raises RefusedError that names the losses nobody accepted."""
    losses = [
        f"{loss.kind} ({loss.count} times, as {loss.example})" for loss in trace.losses if loss.kind not in accepted
    ]
    if losses:
        kinds = " ".join(f"--accept-loss {loss.kind}" for loss in trace.losses if loss.kind not in accepted)
        raise RefusedError(
            f"the trace has losses: {'; '.join(losses)}", f"trace again, or plan all the same with {kinds}"
        )
    failed = [step.name for step in trace.steps if useless(step)]
    if failed and FAILED_STEP not in accepted:
        raise RefusedError(
            f"a traced step failed, so that its evidence is not whole: {', '.join(failed)}",
            f"mend the step, or plan all the same with --accept-loss {FAILED_STEP}",
        )


def useless(step: CheckResult) -> bool:
    """Whether a step failed as a whole. One whose items partly passed was exercised: those items count one by one."""
    return step.outcome is Outcome.FAILED and not any(item.outcome is Outcome.PASSED for item in step.items)


def fit(fingerprint: str, known: Sequence[str], what: str) -> None:
    """Refuse another image than the one that `what` says. Raises RefusedError."""
    if fingerprint not in known:
        raise RefusedError(
            f"this is not the image that {what} for: its fingerprint is {fingerprint[:12]}, "
            f"expected {' or '.join(dict.fromkeys(each[:12] for each in known))}",
            "trace and plan this image, in a new container of it",
        )


def _drop_created(keeper: Keeper, created: frozenset[bytes]) -> None:
    reason = Reason(verdict=_DROP, kind="created")
    for path in created:
        at = keeper.inventory.index.get(path)
        if at is not None:
            keeper.settle(at, reason)
    keeper.queue.clear()


def _keep_accessed(keeper: Keeper, accesses: Iterable[Access]) -> None:
    numbers: dict[tuple[str, tuple[int, ...]], Reason] = {}
    for access in sorted(accesses, key=_rank):
        kind = _HOWS[_strength(access)][1]
        reason = numbers.get((kind, access.steps))
        if reason is None:
            reason = numbers[kind, access.steps] = Reason(verdict=_KEEP, kind=kind, steps=access.steps)
        hops, end = keeper.resolver.resolve(access.path)
        if hops:
            way = Reason(verdict=_KEEP, kind="link-on-the-way", detail=to_text(access.path), steps=access.steps)
            for hop in hops:
                keeper.settle(keeper.inventory.index[hop], way)
        at = None if end is None else keeper.inventory.index.get(end)
        if at is not None:
            keeper.settle(at, reason)


def _strength(access: Access) -> int:
    return next(at for at, (how, _) in enumerate(_HOWS) if access.how & how)


def _rank(access: Access) -> tuple[int, bytes, tuple[int, ...]]:
    return _strength(access), access.path, access.steps


def _keep_ruled(keeper: Keeper, rules: Sequence[KeepRule]) -> None:
    following = [rule for rule in rules if rule.follow]
    match, match_following = matcher(rule.pattern for rule in rules), matcher(rule.pattern for rule in following)
    for at, path in enumerate(keeper.inventory.paths):
        which = match(path)
        if which is None:
            continue
        also = match_following(path)  # an earlier rule must not hide that a later one follows
        if also is None:
            keeper.settle(at, Reason(verdict=_KEEP, kind="rule", detail=rules[which].why))
        else:
            reason = Reason(verdict=_KEEP, kind="rule", detail=following[also].why)
            keeper.keep(path, reason, reason)
            keeper.settle(at, reason)


def _keep_free(keeper: Keeper) -> None:
    """Keep what costs no bytes, and may be looked for by its mere presence."""
    inventory = keeper.inventory
    for at, path in enumerate(inventory.paths):
        if keeper.reason(at) >= 0:
            continue
        mode = inventory.modes[at]
        kind = None
        if path in inventory.mount_points:
            kind = "mount-point"
        elif stat.S_ISDIR(mode):
            kind = "folder"
        elif stat.S_ISLNK(mode):
            kind = "symbolic-link"
        elif not stat.S_ISREG(mode):
            kind = "special-file"
        elif inventory.sizes[at] == 0:
            kind = "empty-file"
        if kind is not None:
            keeper.settle(at, Reason(verdict=_KEEP, kind=kind))


def _drop_rest(keeper: Keeper) -> None:
    reason = Reason(verdict=_DROP, kind="unused")
    for at in range(len(keeper.inventory)):
        keeper.settle(at, reason)
    keeper.queue.clear()


def _entries(keeper: Keeper, evidence: Evidence) -> Iterable[Entry]:
    """One entry per path; a folder has the time that the image is to have it with."""
    inventory = keeper.inventory
    times = folder_times(inventory, evidence.trace.changes, evidence.excluded)
    for at, path in enumerate(inventory.paths):
        size = inventory.sizes[at] if stat.S_ISREG(inventory.modes[at]) else 0
        yield Entry(path, keeper.reason(at), size, times.get(path, inventory.mtimes[at]))
