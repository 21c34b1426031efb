"""Explain why a path or a package stays or goes: the chain of reasons, back to an access or a rule."""

from __future__ import annotations

import fnmatch
import heapq
import re
import shlex
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from slimagent.model.inventory import Package
from slimagent.model.plan import Entry, GpuHeld, Plan, counted_entries, saved_by_package
from slimagent.model.proof import Receipt
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import normalise, parent, to_text
from slimagent.report.gpu import GpuWords
from slimagent.report.sentences import sentence
from slimagent.report.undone import Undone, undone
from slimagent.text.counted import counted
from slimagent.text.sizes import size as shown

_SHARE = re.compile(r"\((\d+)(?:/(\d+))? budgets\)")  # plan/levels.py
_LIMIT = re.compile(r"up to ([\d,]+) bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something has its verdict: a sentence for it, then one for each thing that it depends on in turn.

    `size` and `kept`, what stays of a package, are before stripping and before GPU code goes; `saved` is what these
    take off what stays of a package. `owners` are the names of the packages that own a path. `cost` says what it takes
    to keep what goes, `stripped` what happens to the symbols of a file that stays, and `gpu` to its GPU code, which is
    in `held`.
    """

    what: str
    verdict: Verdict | None
    size: int
    chain: tuple[tuple[str, str], ...]
    level: str = ""
    owners: tuple[str, ...] = ()
    kept: int = 0
    saved: int = 0
    cost: str = ""
    stripped: str = ""
    gpu: str = ""
    held: tuple[GpuHeld, ...] = ()


class Link(NamedTuple):
    """One link of a chain of reasons: its sentence, and the index of the reason that it depends on, or -1.

    `what` is the package or the path that this next reason belongs to.
    """

    sentence: str
    next: int
    what: str


def package_name(package: Package) -> str:
    """Name a package as on the command line.

    >>> from slimagent.model.inventory import PackageKind
    >>> package_name(Package(kind=PackageKind.DPKG, name="vim", version="2:9.0"))
    'dpkg:vim 2:9.0'
    """
    return package.named if package.is_list else f"{package.label} {package.version}".rstrip()


class Explainer:
    """Explains paths and packages of one plan. With its receipt it says what was done and not what was to be done."""

    def __init__(self, plan: Plan, receipt: Receipt | None = None) -> None:
        self._plan = plan
        self._at = {entry.path: at for at, entry in enumerate(plan.entries)}
        self._further = dict(plan.further)
        self._used_by = {plan.entries[at].path: used for at, used in plan.used_by}
        self._undone = undone(plan, receipt)
        self._stripped = _symbols(plan, self._undone, is_done=receipt is not None)
        self._gpu = GpuWords(plan, receipt)
        self._costs: dict[int, str] = {}  # by package
        self._alike: dict[Reason, _Alike] = {}

    def explain(self, path: bytes) -> Explanation:
        """Explain a path. The verdict is None if the plan does not list it."""
        path = normalise(path)
        at = self._at.get(path)
        if at is None:
            sentence = "not in the plan: it was not in the image, belongs to slimagent, or is on another file system"
            return Explanation(what=to_text(path), verdict=None, size=0, chain=((to_text(path), sentence),))
        entry = self._plan.entries[at]
        reason = self._plan.reasons[entry.reason]
        owners = () if entry.owner < 0 else (entry.owner, *self._further.get(at, ()))
        return Explanation(
            what=to_text(path),
            verdict=reason.verdict,
            size=entry.size,
            chain=tuple(self._chain(to_text(path), reason, path)),
            level=self._plan.level,
            owners=tuple(package_name(self._plan.packages[each].package) for each in owners),
            stripped=self._stripped.get(path, ""),
            gpu=self._gpu.said(path),
            held=self._gpu.held(path),
            cost=self.cost(entry, _word(to_text(path))),
        )

    def stripped(self, path: bytes) -> str:
        """What happens to the symbols and the GPU code of a file; empty if it has neither."""
        gpu = self._gpu.said(path)
        return "; ".join(filter(None, (self._stripped.get(path, ""), gpu and f"GPU code: {gpu}")))

    def links(self) -> list[Link]:
        """The links of all chains, one for each reason of the plan: whoever shows many chains shares them."""
        first = {reason: at for at, reason in reversed(list(enumerate(self._plan.reasons)))}
        found = []
        for reason in self._plan.reasons:
            following, what = self._next(reason)
            found.append(Link(self._sentence(reason), -1 if following is None else first[following], what))
        return found

    def cost(self, entry: Entry, word: str) -> str:
        """What to say so that a path stays; empty if it stays. `word` is the path as a word for a shell."""
        path, reason, owner = entry.path, self._plan.reasons[entry.reason], entry.owner
        if reason.verdict is Verdict.KEEP:
            return ""
        if reason.kind == ReasonKind.CRUFT:
            rule = reason.detail.partition(":")[0]
            return f"--keep {word} keeps it, --keep-cruft {rule} all that this rule drops"
        planned = self._plan.packages[owner] if owner >= 0 else None
        if planned is not None and self._plan.reasons[planned.reason].verdict is Verdict.DROP:
            return self.package_cost(owner)
        if reason.kind == ReasonKind.TREE_UNUSED:
            return self._all_like(reason, f"{reason.detail}/**")
        share = _SHARE.search(reason.detail) if reason.kind == ReasonKind.TOO_LARGE else None
        if share is not None and "directories" not in reason.detail:
            return self._budget_cost(entry, word, share)
        if share is not None:
            return self._all_like(reason, f"{to_text(parent(path))}/*", directory=parent(path))
        return f"--keep {word} keeps it"

    def _budget_cost(self, entry: Entry, word: str, share: re.Match[str]) -> str:
        """What to say of a file that is too large to stay unread."""
        reason = self._plan.reasons[entry.reason]
        own, limit = f"--keep {word} keeps it", _LIMIT.search(reason.detail)
        if limit is not None and entry.size <= int(limit[1].replace(",", "")):  # it goes for what only it needs
            return own
        budget = -(-entry.size * int(share[2] or 1) // int(share[1]))
        return f"{own}; {self._all_like(reason, f'--budget {budget}', entry.size)}"

    def _all_like(self, reason: Reason, option: str, size: int | None = None, directory: bytes | None = None) -> str:
        """What an option keeps: all files that go for the same reason, up to a size, or in a directory."""
        alike = self._alike.get(reason)
        if alike is None:
            alike = self._alike[reason] = _Alike(self._with_reason.get(reason, []))
        count, total = alike.up_to(size) if directory is None else alike.inside(directory)
        option = option if option.startswith("--") else f"--keep {_word(option)}"
        return f"{option} keeps {counted(count, 'file')} like it, {shown(total)}"

    @cached_property
    def _saved(self) -> Counter[int]:
        """What stripping saves, by package."""
        return saved_by_package(self._plan, {path: each.expected for path, each in self._undone.items()})

    @cached_property
    def _with_reason(self) -> dict[Reason, list[Entry]]:
        """The entries that go, by their reasons."""
        found: dict[int, list[Entry]] = {}
        for entry in counted_entries(self._plan):
            found.setdefault(entry.reason, []).append(entry)
        groups: dict[Reason, list[Entry]] = {}
        for at, entries in found.items():
            if self._plan.reasons[at].verdict is Verdict.DROP:
                groups.setdefault(self._plan.reasons[at], []).extend(entries)
        return groups

    def packages(self, text: str) -> list[int]:
        """The indices of the packages that match `KIND:NAME` or `NAME` (`*` and `?` in NAME)."""
        kind, colon, name = text.partition(":")
        if not colon or kind not in {each.package.kind for each in self._plan.packages}:
            kind, name = "", text
        return [
            number
            for number, each in enumerate(self._plan.packages)
            if kind in ("", each.package.kind) and fnmatch.fnmatchcase(each.package.name, name)
        ]

    def explain_package(self, number: int) -> Explanation:
        """Explain why a package stays, or what it takes to keep it."""
        planned = self._plan.packages[number]
        reason = self._plan.reasons[planned.reason]
        name = package_name(planned.package)
        return Explanation(
            what=name if planned.package.place == b"/" else f"{name} in {to_text(planned.package.place)}",
            verdict=reason.verdict,
            size=planned.size,
            chain=tuple(self._chain(name, reason)),
            level=self._plan.level,
            kept=planned.kept,
            saved=self._saved[number],
            cost=self.package_cost(number),
        )

    def package_cost(self, number: int) -> str:
        """What keeping a package would bring back: itself and dropped packages that it requires. Empty if it stays."""
        known = self._costs.get(number)
        if known is None:
            stays = self._plan.reasons[self._plan.packages[number].reason].verdict is Verdict.KEEP
            known = self._costs[number] = "" if stays else self._cost(number)
        return known

    def _cost(self, number: int) -> str:
        plan = self._plan
        back, pending = {number}, [number]
        while pending:
            for each in plan.packages[pending.pop()].requires:
                if each not in back and plan.reasons[plan.packages[each].reason].verdict is Verdict.DROP:
                    back.add(each)
                    pending.append(each)
        package = plan.packages[number].package
        others = f" and {counted(len(back) - 1, 'package')} that it requires" if len(back) > 1 else ""
        size = sum(plan.packages[each].size - plan.packages[each].kept for each in back)
        name = _word(package.label)
        return f"--keep-package {name} keeps it{others}, {shown(size)}"

    def _chain(self, what: str, reason: Reason, path: bytes | None = None) -> Iterator[tuple[str, str]]:
        seen: set[Reason] = set()  # not names: one package can be in two places
        following: Reason | None = reason
        while following is not None and following not in seen:
            seen.add(following)
            yield what, self._sentence(following, path)
            path = following.source if following.package is None else None
            following, what = self._next(following)

    def _next(self, reason: Reason) -> tuple[Reason | None, str]:
        """The reason that a reason depends on, with its package or path."""
        if reason.package is not None:
            planned = self._plan.packages[reason.package]
            return self._plan.reasons[planned.reason], package_name(planned.package)
        if reason.source is not None and reason.source in self._at:
            entry = self._plan.entries[self._at[reason.source]]
            return self._plan.reasons[entry.reason], to_text(reason.source)
        return None, ""

    def _sentence(self, reason: Reason, path: bytes | None = None) -> str:
        """A reason in words; for the reason of a path, with the tests that used it."""
        package = "" if reason.package is None else package_name(self._plan.packages[reason.package].package)
        return sentence(reason, self._plan.steps, package, self._used_by.get(path) if path is not None else None)

    def largest(self, verdict: Verdict, count: int) -> list[tuple[str, int, str]]:
        """The largest packages and unowned files with a verdict: what, bytes and why, the largest first.

        The bytes of a package are those of its files with the same verdict, before stripping. A file counts once, with
        its first owner.
        """
        plan, found = self._plan, list[tuple[int, str, Reason]]()
        of_image = [
            (entry, reason)
            for entry in counted_entries(plan)
            if (reason := plan.reasons[entry.reason]).verdict is verdict and reason.kind != ReasonKind.CREATED
        ]
        sizes = Counter[int]()
        for entry, _ in of_image:
            sizes[entry.owner] += entry.size
        for at, planned in enumerate(plan.packages):
            reason = plan.reasons[planned.reason]
            if reason.verdict is verdict and sizes[at]:
                found.append((sizes[at], planned.package.label, reason))
        files = ((entry.size, to_text(entry.path), why) for entry, why in of_image if entry.owner < 0 and entry.size)
        found += heapq.nlargest(count, files, key=lambda each: each[:2])
        found.sort(key=lambda each: (-each[0], each[1]))
        return [(what, length, self._sentence(reason)) for length, what, reason in found[:count]]


def reason_sentence(plan: Plan, number: int) -> str:
    """Say a reason of a plan in words, by its index."""
    reason = plan.reasons[number]
    package = "" if reason.package is None else package_name(plan.packages[reason.package].package)
    return sentence(reason, plan.steps, package)


def _symbols(plan: Plan, failed: Mapping[bytes, Undone], *, is_done: bool) -> dict[bytes, str]:
    """What happens to the symbols of files that stay, or happened, by path."""
    goes = (
        "strip saved about {:,} bytes: symbols and debugging"
        if is_done
        else ("strip saves {:,} bytes: symbols and debugging")
    )
    found = {path: goes.format(saves) for path, saves in plan.strips}
    for path, each in failed.items():
        if each.symbols:
            found[path] = f"not stripped, which would have saved {each.symbols:,} bytes: {each.why}"
    return found | {path: f"not stripped: {why}" for path, why in plan.unstripped}


class _Alike:
    """How many files with one reason there are, and their bytes: up to a size, or in a directory."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._sizes = sorted(entry.size for entry in entries)
        self._sums = [0, *accumulate(self._sizes)]
        self._inside: dict[bytes, tuple[int, int]] = {}
        for entry in entries:
            count, total = self._inside.get(parent(entry.path), (0, 0))
            self._inside[parent(entry.path)] = count + 1, total + entry.size

    def up_to(self, size: int | None) -> tuple[int, int]:
        """Those of at most `size` bytes; all for None."""
        count = len(self._sizes) if size is None else bisect_right(self._sizes, size)
        return count, self._sums[count]

    def inside(self, directory: bytes) -> tuple[int, int]:
        """Those right in a directory."""
        return self._inside.get(directory, (0, 0))


def _word(text: str) -> str:
    """A name of the image as a word for a shell: the image's author chose it. It would match itself and more."""
    return shlex.quote(text)
