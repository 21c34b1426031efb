"""Compare two runs by their documents: what came, what went, what grew, and why. Pure.

A file counts once for all of its names, with its first owner, and what stripping saves is not counted: so the
differences of all packages and directories together are the difference of the two images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from slimagent.model.comparison import (
    CheckOnSides,
    Moved,
    Movement,
    OnSide,
    Presence,
    RunComparison,
    Setting,
    Side,
)
from slimagent.model.finished_run import FinishedRun
from slimagent.model.plan import Plan, counted_entries, saved_in_files
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.result import Outcome
from slimagent.paths.algebra import area, to_text
from slimagent.report.explain import reason_sentence
from slimagent.report.sides import ABSENT, DIRECTORY, Key, keyed, kinds, movement

_RULES = (ReasonKind.RULE, ReasonKind.PACKAGE_RULE, ReasonKind.CRUFT, ReasonKind.START, ReasonKind.PROTECTED)
_LOST = ("symbols are stripped in one of the two", "GPU code is taken out in one of the two")


@dataclass(slots=True)
class _Weight:
    """The bytes of one owner's files by the number of their reason, and what those that stay lose.

    `stripped` are symbols and GPU code together, `gpu` is the GPU code in it.
    """

    by_reason: Counter[int] = field(default_factory=Counter)
    stripped: int = 0
    gpu: int = 0


class _Weighed:
    """One side: every package and every directory of unowned files, with its bytes by reason."""

    def __init__(self, run: FinishedRun) -> None:
        self.run, self.plan = run, run.plan
        self._stays = [reason.verdict is Verdict.KEEP for reason in run.plan.reasons]
        self._packages = [_Weight() for _ in run.plan.packages]
        self._directories: dict[bytes, _Weight] = {}
        self._weigh()
        packages = [each.package for each in run.plan.packages]
        self.keys: dict[Key, int | bytes] = {key: at for key, at in keyed(packages).items() if not packages[at].is_list}
        self.keys |= {("", to_text(path), path, DIRECTORY): path for path in self._directories}

    def _weigh(self) -> None:
        plan, strips = self.plan, saved_in_files(self.plan)
        gpu = {} if plan.gpu is None else {each.path: each.saves for each in plan.gpu.files}
        created = [reason.kind == ReasonKind.CREATED for reason in plan.reasons]
        for path, reason, length, _, owner in counted_entries(plan):
            if not length or created[reason]:
                continue
            weight = self._packages[owner] if owner >= 0 else self._directories.setdefault(area(path), _Weight())
            weight.by_reason[reason] += length
            if self._stays[reason]:
                weight.stripped += strips.get(path, 0)
                weight.gpu += min(gpu.get(path, 0), strips.get(path, 0))

    def _weight(self, key: Key) -> _Weight:
        at = self.keys.get(key)
        if at is None:
            return _Weight()
        return self._packages[at] if isinstance(at, int) else self._directories[at]

    def kept(self, key: Key) -> int:
        """The bytes that stay."""
        weight = self._weight(key)
        return sum(count for reason, count in weight.by_reason.items() if self._stays[reason]) - weight.stripped

    def on_side(self, key: Key) -> OnSide:
        """What this side has of it."""
        at = self.keys.get(key)
        if at is None:
            return ABSENT
        kept = self.kept(key)
        if not isinstance(at, int):
            return OnSide(presence=Presence.STAYS if kept else Presence.GOES, bytes=kept)
        planned = self.plan.packages[at]
        reason = self.plan.reasons[planned.reason]
        return OnSide(
            presence=Presence.STAYS if reason.verdict is Verdict.KEEP else Presence.GOES,
            version=planned.package.version,
            bytes=kept,
            reason=reason_sentence(self.plan, planned.reason),
        )

    def sides(self) -> dict[Key, OnSide]:
        """All that this side has."""
        return {key: self.on_side(key) for key in self.keys}

    def sentences(self, key: Key, *, kept: bool) -> Counter[str]:
        """The bytes of its files that stay, or that go, by the sentence that says why."""
        found: Counter[str] = Counter()
        for reason, count in self._weight(key).by_reason.items():
            if self._stays[reason] is kept:
                found[reason_sentence(self.plan, reason)] += count
        return found

    def lost(self, key: Key) -> tuple[int, int]:
        """What its files that stay lose: symbols, and GPU code."""
        weight = self._weight(key)
        return weight.stripped - weight.gpu, weight.gpu

    def side(self) -> Side:
        """The run as a whole."""
        plan = self.plan
        before = sum(sum(each.by_reason.values()) for each in (*self._packages, *self._directories.values()))
        verification = self.run.verification
        return Side(
            path=self.run.path,
            image=self.run.image,
            tag=self.run.tag,
            plan=self.run.digest,
            level=plan.level,
            before=before,
            after=sum(map(self.kept, self.keys)),
            packages=len(plan.installed),
            packages_kept=sum(self._stays[each.reason] for _, each in plan.installed),
            passed=None if verification is None else verification.passed,
        )


def compare_runs(a: FinishedRun, b: FinishedRun, tool: str) -> RunComparison:
    """Compare run `b` with run `a`."""
    of_a, of_b = _Weighed(a), _Weighed(b)
    keys = sorted({*of_a.keys, *of_b.keys})
    moved = [each for each in (_moved(key, of_a, of_b) for key in keys) if each is not None]
    moved.sort(key=lambda each: -abs(each.difference))  # stable: by kind and name where the difference is the same
    return RunComparison(
        tool=tool,
        a=of_a.side(),
        b=of_b.side(),
        same_image=a.plan.fingerprints[:1] == b.plan.fingerprints[:1] != (),
        settings=tuple(_settings(a, b)),
        kinds=tuple(kinds(of_a.sides(), of_b.sides())),
        moved=tuple(moved),
        checks=tuple(_checks(a, b)),
    )


def _moved(key: Key, a: _Weighed, b: _Weighed) -> Moved | None:
    """How something differs; None if it does not."""
    on_a, on_b = a.on_side(key), b.on_side(key)
    how = movement(on_a, on_b)
    if how is None:
        return None
    kind, name, place, _ = key
    reason = _reason(how, key, on_a, on_b, a, b)
    return Moved(movement=how, kind=kind, name=name, place=place, a=on_a, b=on_b, reason=reason)


def _reason(how: Movement, key: Key, on_a: OnSide, on_b: OnSide, a: _Weighed, b: _Weighed) -> str:
    """Why it differs: a package's own reason if it came or went, else that of most bytes of its files that differ."""
    if on_b.presence is Presence.ABSENT:
        return "the image of B does not have it"
    if on_a.presence is Presence.ABSENT:
        new = "the image of A does not have it"
        return f"{new}; {on_b.reason}" if on_b.reason else new
    if how in (Movement.CAME, Movement.WENT) and on_b.reason:
        return on_b.reason
    if how is Movement.UPDATED:
        return f"version {on_a.version or 'unknown'} in A, {on_b.version or 'unknown'} in B"
    more = on_b.bytes > on_a.bytes
    changed = b.sentences(key, kept=more)
    changed.subtract(a.sentences(key, kept=more))
    for what, of_a, of_b in zip(_LOST, a.lost(key), b.lost(key), strict=True):
        changed[what] += (of_a - of_b) * (1 if more else -1)
    sentence, largest = max(changed.items(), key=lambda each: (each[1], each[0]))
    if largest > 0:
        return sentence if how in (Movement.CAME, Movement.WENT) else f"most of the difference: {sentence}"
    return f"its files weigh {'more' if more else 'less'} in the image"


def _settings(a: FinishedRun, b: FinishedRun) -> Iterator[Setting]:
    """How the runs differ in what they were asked to do."""
    of_a, of_b = _asked(a.plan), _asked(b.plan)
    for name in of_a:
        if of_a[name] != of_b[name]:
            alike = {*of_a[name]} & {*of_b[name]}
            yield Setting(
                name=name,
                a=tuple(each for each in of_a[name] if each not in alike),
                b=tuple(each for each in of_b[name] if each not in alike),
            )


def _asked(plan: Plan) -> Mapping[str, tuple[str, ...]]:
    """What a run was asked to do, as far as its plan shows it. A rule that decided nothing is not in a plan."""
    rules = {reason.detail for reason in plan.reasons if reason.kind in _RULES and reason.detail}
    return {
        "level": (plan.level,),
        "slimagent": (plan.tool,),
        "steps": tuple(sorted({step.name for step in plan.steps})),
        "accepted losses": plan.accepted,
        "looked at": tuple(map(to_text, plan.scopes)),
        "volumes": tuple(map(to_text, plan.volumes)),
        "stripping": ("yes",) if plan.strips else ("no",),
        "rules that decided something": tuple(sorted(rules)),
    }


def _checks(a: FinishedRun, b: FinishedRun) -> Iterator[CheckOnSides]:
    """The checks that ended differently on the slim images, in their order; none unless both were verified."""
    if a.verification is None or b.verification is None:
        return
    of_a: dict[str, Outcome] = {each.name: each.after for each in a.verification.comparisons}
    of_b: dict[str, Outcome] = {each.name: each.after for each in b.verification.comparisons}
    for name in dict.fromkeys((*of_a, *of_b)):
        if of_a.get(name) is not of_b.get(name):
            yield CheckOnSides(name=name, a=of_a.get(name), b=of_b.get(name))
