"""What is left of an image, the largest first, and what would have to be given up to lose it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.model.inventory import PackageKind
from slimagent.model.plan import Plan, counted_entries
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.report import Fate, Left
from slimagent.paths.algebra import to_text
from slimagent.report.explain import package_name
from slimagent.report.fates import Fates
from slimagent.report.sentences import sentence, step_names
from slimagent.report.text import size
from slimagent.text.counted import counted

_NAMED = 3  # packages that require one, in a sentence
_PRICED = 200  # rows: the price of one may lead through all packages
_RULES = (ReasonKind.RULE, ReasonKind.PACKAGE_RULE)


class _Sizes:
    """The bytes of each package that stay, and those of them that a step used. A file counts with its first owner."""

    def __init__(self, plan: Plan, fates: Fates) -> None:
        self.stay, self.used = [0] * len(plan.packages), [0] * len(plan.packages)
        self.unowned: list[int] = []
        for at, (path, reason, length, _, owner) in enumerate(counted_entries(plan)):
            found = fates.of[reason]
            if found is None or not found.stays or not length:
                continue
            if owner < 0:
                self.unowned.append(at)
                continue
            rest = length - fates.saved.get(path, 0)
            self.stay[owner] += rest
            if found is Fate.USED:
                self.used[owner] += rest


def left(plan: Plan, fates: Fates) -> tuple[Left, ...]:
    """The packages that stay with files, and the files that stay and have no owner. The first ones have a price."""
    sizes = _Sizes(plan, fates)
    names = [package_name(each.package) for each in plan.packages]
    found = [(length, names[at], at, -1) for at, length in enumerate(sizes.stay) if length]
    for at in sizes.unowned:
        path, _, length, _, _ = plan.entries[at]
        found.append((length - fates.saved.get(path, 0), to_text(path), -1, at))
    found.sort(key=lambda row: (-row[0], row[1], row[2], row[3]))
    pricing, rows = _Pricing(plan, sizes), list[Left]()
    for place, (length, what, package, entry) in enumerate(found):
        why_at = plan.packages[package].reason if entry < 0 else plan.entries[entry].reason
        reason = plan.reasons[why_at]
        used = sizes.used[package] if entry < 0 else length * (fates.of[why_at] is Fate.USED)
        cause = "" if reason.package is None else names[reason.package]
        price = pricing.price(reason, package, length - used) if place < _PRICED else ""
        why = sentence(reason, plan.steps, cause)
        rows.append(Left(what=what, bytes=length, used=used, reason=why, price=price))
    return tuple(rows)


class _Pricing:
    """What has to be given up for a package or a file to go."""

    def __init__(self, plan: Plan, sizes: _Sizes) -> None:
        self._plan, self._sizes = plan, sizes
        self._required_by: list[list[int]] = [[] for _ in plan.packages]
        for at, each in enumerate(plan.packages):
            if plan.reasons[each.reason].verdict is Verdict.KEEP:
                for other in each.requires:
                    self._required_by[other].append(at)

    def price(self, reason: Reason, package: int, unread: int) -> str:
        """What to give up; empty if the system does not work without it.

        `package` is -1 for a file; `unread` are bytes that no step used.
        """
        dependents = self._dependents(package) if package >= 0 else []
        if reason.kind == ReasonKind.ESSENTIAL or self._is_essential(package, dependents):
            return ""
        given = []
        names = list(step_names(reason, self._plan.steps))
        if names:
            given.append(f"what {_some(names)} {'does' if len(names) == 1 else 'do'} with it")
        elif reason.kind in _RULES:
            given.append("the rule that keeps it")
        if dependents:
            shown = [self._name(at) for at in dependents]
            together = size(sum(self._sizes.stay[at] for at in dependents))
            given.append(f"{_some(shown)}, which {'requires' if len(shown) == 1 else 'require'} it, {together}")
        whole = " and ".join(given) or "what keeps it"
        if package >= 0 and unread and self._plan.level == "package":
            rest = f"the {size(unread)} that no step read"
            return f"{whole}; or try level file, which drops large data and programs of {rest}"
        return whole

    def _is_essential(self, package: int, dependents: Sequence[int]) -> bool:
        """Whether the system does not work without a package, or without one that requires it.

        Its reason need not say so: that of a package which a step used names the step. R's base packages are essential
        to R alone, and R can go.
        """
        both = [self._plan.packages[at].package for at in (package, *dependents) if at >= 0]
        return any(each.essential and each.kind == PackageKind.DPKG for each in both)

    def _name(self, at: int) -> str:
        return self._plan.packages[at].package.named

    def _dependents(self, package: int) -> list[int]:
        """The packages that stay and cannot do without it, directly or not, the largest first."""
        seen, pending = {package}, [package]
        while pending:
            for each in self._required_by[pending.pop()]:
                if each not in seen:
                    seen.add(each)
                    pending.append(each)
        return sorted(seen - {package}, key=lambda at: (-self._sizes.stay[at], self._name(at), at))


def _some(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {counted(len(names) - _NAMED, 'more', 'more')}"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
