"""A run as its history keeps it, and what changed since the one before. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from slimagent.model.history import PastRun, Since, Weight, minute
from slimagent.model.plan import Plan
from slimagent.model.reason import Verdict
from slimagent.model.summary import Summary
from slimagent.text.sizes import size

_PACKAGES = 100  # in a line of a history, which lives in somebody's repository
_CHANGES = 10  # in each list of a Since
_LEAST = 100_000  # bytes: a smaller change of a package is not worth a word
_WIDE = 80  # characters
_NAMED = 3  # of each list, in the line for people


def kept_packages(plan: Plan) -> tuple[Weight, ...]:
    """The packages that stay as KIND:NAME, the largest first; those of one name, in several places, as one."""
    sizes: Counter[str] = Counter()
    for _, each in plan.installed:
        if plan.reasons[each.reason].verdict is Verdict.KEEP:
            sizes[each.package.label] += each.kept
    return tuple(Weight(*row) for row in sorted(sizes.items(), key=lambda row: (-row[1], row[0])))


def shared_files(plan: Plan) -> tuple[tuple[tuple[str, ...], int], ...]:
    """The files that stay and that several packages which stay own: these packages as KIND:NAME, and the bytes.

    `kept_packages` has the bytes with each of the packages. Files of the same packages are one row. A name is there
    twice if two packages of it, in two places, own the file.
    """
    stay = {at for at, each in plan.installed if plan.reasons[each.reason].verdict is Verdict.KEEP}
    further, counts_with = dict(plan.further), dict(plan.hard_links)
    owners: dict[int, set[int]] = {}
    for at in {*further, *counts_with, *counts_with.values()}:  # another name of a file may have another owner
        entry = plan.entries[at]
        if plan.reasons[entry.reason].verdict is Verdict.KEEP:
            those = stay.intersection((entry.owner, *further.get(at, ())))
            owners.setdefault(counts_with.get(at, at), set()).update(those)
    sizes = Counter[tuple[str, ...]]()
    for at, those in owners.items():
        if len(those) > 1:
            sizes[tuple(sorted(plan.packages[each].package.label for each in those))] += plan.entries[at].size
    return tuple(sorted((labels, size) for labels, size in sizes.items() if size))


def past_run(summary: Summary, plan: Plan, when: str, image_id: str = "", label: str = "") -> PastRun | None:
    """A run as its history keeps it; None for one that exported nothing."""
    before, after = summary.bytes_before, summary.bytes_after
    if before is None or after is None or summary.plan is None:
        return None
    packages = kept_packages(plan)
    return PastRun(
        when=when,
        plan=summary.plan,
        tool=summary.tool,
        image=summary.image or "",
        image_id=image_id,
        tag=summary.tag or "",
        digest="" if summary.export is None else summary.export.sha256,
        level=plan.level,
        label=label,
        bytes_before=before,
        bytes_after=after,
        bytes_stripped=summary.bytes_stripped or 0,
        passed=summary.passed,
        worse=None if summary.passed is None else len(summary.worse),
        missed=None if summary.missed is None else len(summary.missed),
        components=tuple(Weight(each.kind, each.bytes_kept) for each in summary.owners),
        packages=packages[:_PACKAGES],
        packages_kept=len(packages),
    )


def in_time(runs: Iterable[PastRun]) -> list[PastRun]:
    """Runs by their time; lines of a file can come in another order, e.g. after a merge."""
    return sorted(runs, key=lambda run: run.when)


def previous(runs: Iterable[PastRun], now: PastRun) -> PastRun | None:
    """The last run before `now` that made the same image: one of that name, or else of its repository and level.

    A run whose proof failed made no image.
    """
    before = [run for run in in_time(runs) if run.when <= now.when and run.plan != now.plan and run.passed is not False]
    same = [run for run in before if run.name == now.name]
    found = same or [run for run in before if kin(run) == kin(now)]
    return found[-1] if found else None


def kin(run: PastRun) -> tuple[str, str]:
    """What two tags of one image have in common: the repository (the name without tag and digest), and the level."""
    name = run.name.partition("@")[0]
    return name[: name.rindex(":")] if ":" in name.rpartition("/")[2] else name, run.level


def since(earlier: PastRun, now: PastRun) -> Since:
    """What changed between two runs."""
    then, today = dict(earlier.packages), dict(now.packages)
    both = {name: today[name] - then[name] for name in then.keys() & today.keys()}
    return Since(
        when=earlier.when,
        name=earlier.name,
        change=now.bytes_after - earlier.bytes_after,
        grew=_largest({name: by for name, by in both.items() if by > 0}),
        shrank=_largest({name: -by for name, by in both.items() if by < 0}),
        new=_largest({name: today[name] for name in today.keys() - then.keys()}, _floor(earlier)),
        gone=_largest({name: then[name] for name in then.keys() - today.keys()}, _floor(now)),
        is_partial=bool(_floor(earlier) or _floor(now)),
    )


def _floor(run: PastRun) -> int:
    """The most that a package can have that the run's history does not name: what the smallest named one has."""
    is_partial = len(run.packages) < run.packages_kept
    return min((each.bytes for each in run.packages), default=0) if is_partial else 0


def _largest(sizes: dict[str, int], floor: int = 0) -> tuple[Weight, ...]:
    """The largest, of those that are larger than `floor` by more than a trifle: others may have had as much."""
    rows = sorted(sizes.items(), key=lambda row: (-row[1], row[0]))
    return tuple(Weight(*row) for row in rows[:_CHANGES] if row[1] >= floor + _LEAST)


def since_line(changes: Since, name: str | None = None) -> str:
    """What changed, in a line, e.g. `since 2026-11-20: 12.0 MB smaller; grew: python:torch 31.0 MB`.

    `name` is that of the image now: an earlier one of another name is named.
    """
    return "; ".join(_parts(changes, name))


def since_lines(changes: Since, name: str | None = None) -> list[str]:
    """The same, in several lines where a terminal has no room for one."""
    first, *rest = _parts(changes, name)
    whole = "; ".join([first, *rest])
    return [whole] if len(whole) <= _WIDE else [first, *(f"  {each}" for each in rest)]


def _parts(changes: Since, name: str | None) -> list[str]:
    other = "" if changes.name == name else f" ({changes.name})"
    among = " among the largest" if changes.is_partial else ""
    lists = (
        ("grew", changes.grew),
        ("shrank", changes.shrank),
        (f"new{among}", changes.new),
        (f"no longer{among}" if among else "gone", changes.gone),
    )
    first = f"since {minute(changes.when)}{other}: {changed(changes.change)}"
    return [first, *(f"{word}: {_weights(weights)}" for word, weights in lists if weights)]


def changed(by: int) -> str:
    """A change of the size of an image, in words."""
    return f"{size(abs(by))} {'larger' if by > 0 else 'smaller'}" if by else "the same size"


def _weights(weights: Sequence[Weight]) -> str:
    named = ", ".join(f"{each.name} {size(each.bytes)}" for each in weights[:_NAMED])
    return f"{named} and more" if len(weights) > _NAMED else named
