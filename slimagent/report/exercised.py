"""What each step used of an image, and what stays although no step used anything of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from slimagent.model.plan import Plan, counted_entries
from slimagent.model.reason import Verdict
from slimagent.model.report import Fate, Needed, Untested, Watched
from slimagent.model.trace import Trace
from slimagent.report.explain import package_name
from slimagent.report.fates import Fates
from slimagent.report.sentences import sentence
from slimagent.report.summary import how
from slimagent.text.counted import counted

_LARGEST = 5


@dataclass(slots=True)
class _Used:
    """What one step used. `packages` has the bytes by package."""

    files: int = 0
    bytes: int = 0
    packages: Counter[int] = field(default_factory=Counter)


def needed(plan: Plan, fates: Fates) -> tuple[Needed, ...]:
    """What each step used, by its name. A file that a step read through a link is the file that the link leads to."""
    names = dict.fromkeys(step.name for step in plan.steps)
    of_reason = [
        _names(plan, each.steps) if found is Fate.USED else ()
        for each, found in zip(plan.reasons, fates.of, strict=True)
    ]
    used, alone = {name: _Used() for name in names}, {name: _Used() for name in names}
    users: dict[int, set[str]] = {}
    others: dict[int, list[int]] = {}  # the additional names of a file
    for at, counts_with in plan.hard_links:
        others.setdefault(counts_with, []).append(at)
    for at, (_, reason, length, _, owner) in enumerate(counted_entries(plan)):
        reasons = (reason, *(plan.entries[other].reason for other in others.get(at, ()))) if length else ()
        those = dict.fromkeys(name for each in reasons for name in of_reason[each])
        for name in those:
            users.setdefault(owner, set()).add(name)
            for each in (used[name], alone[name])[: 1 + (len(those) == 1)]:
                each.files += 1
                each.bytes += length
                each.packages[owner] += length
    return tuple(_row(plan, name, used[name], alone[name], users) for name in names)


def _names(plan: Plan, steps: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plan.steps[at].name for at in steps if 0 <= at < len(plan.steps)))


def _row(plan: Plan, name: str, used: _Used, alone: _Used, users: dict[int, set[str]]) -> Needed:
    packages = [at for at in used.packages if at >= 0]
    own = sorted((at for at in packages if users[at] == {name}), key=lambda at: (-used.packages[at], at))
    return Needed(
        step=name,
        files=used.files,
        bytes=used.bytes,
        packages=len(packages),
        alone_files=alone.files,
        alone_bytes=alone.bytes,
        alone_packages=len(own),
        largest=tuple(f"{plan.packages[at].package.kind}:{plan.packages[at].package.name}" for at in own[:_LARGEST]),
    )


def untested(plan: Plan, fates: Fates) -> tuple[Untested, ...]:
    """The packages that stay with files although no step used one, the largest first."""
    return tuple(sorted(_untested(plan, fates), key=lambda each: (-each.bytes, each.what)))


def _untested(plan: Plan, fates: Fates) -> Iterator[Untested]:
    sizes = Counter[int]()
    for path, reason, length, _, owner in counted_entries(plan):
        found = fates.of[reason]
        if owner >= 0 and found is not None and found.stays:
            sizes[owner] += length - fates.saved.get(path, 0)
    for at, each in enumerate(plan.packages):
        because = plan.reasons[each.reason]
        if because.verdict is Verdict.KEEP and not because.steps and sizes[at]:
            cause = "" if because.package is None else package_name(plan.packages[because.package].package)
            why = sentence(because, plan.steps, cause)
            yield Untested(what=package_name(each.package), how=how(because), bytes=sizes[at], reason=why)


def watched(trace: Trace) -> Watched:
    """How a trace was made, in words."""
    return Watched(
        backends=tuple(dict.fromkeys(run.backend for run in trace.runs)),
        paths=len(trace.accesses),
        found=sum(access.found for access in trace.accesses),
        blind_spots=tuple(spot.value for spot in trace.blind_spots),
        losses=tuple(f"{loss.kind}, {counted(loss.count, 'time')}, e.g. {loss.example}" for loss in trace.losses),
    )
