"""Print a checklist line by line for people, and as JUnit XML for continuous integration. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from slimagent.model.result import NOT_RUN, CheckResult, Item, Outcome, Standing
from slimagent.report.junit import Case, Mark, Suite, document
from slimagent.text.counted import counted

_MARKS = {
    Standing.PASSED: "✓",
    Standing.FAILED: "✗",
    Standing.WORSE: "✗",
    Standing.SKIPPED: "-",
    Standing.FAILED_BEFORE: "!",
}
_FAILED_BEFORE = "failed before too"
_SHOWN = 10
_NAMED = 3  # skipped items, on the line of their check


def check_lines(
    result: CheckResult, standing: Standing | None = None, before: CheckResult | None = None, *, width: int = 0
) -> list[str]:
    """The lines of a check: its result (`width` is that of the name), what failed in it, and the end of its log.

    Items that also failed `before` are only named.
    """
    stands = Standing(result.outcome.value) if standing is None else standing
    count = f"{_passed(result.items)} of {len(result.items)}" if result.items else ""
    first = f"{_MARKS[stands]} {result.name:{width}}  {count:>12}  {result.seconds:6.1f} s"
    reason, *log = result.detail.splitlines() or [""]
    if result.outcome is Outcome.SKIPPED:
        return [f"{first}  skipped: {reason}"]
    if result.outcome is Outcome.PASSED and stands is Standing.PASSED:
        return [first + _skipped(result.items)]
    lines = [f"{first}  failed before too" if stands is Standing.FAILED_BEFORE else first]
    then = _outcomes(before)
    found = [(item, Standing.of(item.outcome, then.get(item.name))) for item in result.items]
    known = [item.name for item, each in found if each is Standing.FAILED_BEFORE]
    new = [item for item, each in found if each in (Standing.FAILED, Standing.WORSE)]
    new.sort(key=lambda item: item.outcome is Outcome.SKIPPED)  # what failed comes first
    lines += [f"    ✗ {item.name}: {_short(item.detail)}" for item in new[:_SHOWN]]
    if len(new) > _SHOWN:
        lines.append(f"    … and {len(new) - _SHOWN} more")
    if known:
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        lines.append(f"    ! failed before too: {', '.join(known[:_SHOWN])}{more}")
    if not (new or known):
        lines.append(f"    {reason}")
    return lines + [f"    | {line}" for line in log[-_SHOWN:]]


def _skipped(items: Iterable[Item]) -> str:
    """Name the items that did not run: a tick alone would hide them."""
    names = [_short(item.name) for item in items if item.outcome is Outcome.SKIPPED]
    more = ", …" if len(names) > _NAMED else ""
    return f"  {len(names)} skipped: {', '.join(names[:_NAMED])}{more}" if names else ""


def _outcomes(result: CheckResult | None) -> dict[str, Outcome]:
    return {} if result is None else {item.name: item.outcome for item in result.items}


def _short(text: str) -> str:
    return next(iter(text.splitlines()), "")


def summary(results: Sequence[CheckResult], standings: Sequence[Standing], seconds: float) -> str:
    """Summarise the whole list, which took `seconds`, in one line. Checks that ran side by side share seconds."""
    counts = Counter(standings)
    parts = [f"{counts[Standing.PASSED]:,} of {counted(len(results), 'check')} passed"]
    parts += [
        f"{counts[each]} {words}"
        for each, words in (
            (Standing.FAILED, "failed"),
            (Standing.WORSE, "worse than before"),
            (Standing.FAILED_BEFORE, "failed before too"),
            (Standing.SKIPPED, "skipped"),
        )
        if counts[each]
    ]
    items = [item for result in results for item in result.items]
    if items:
        parts.append(f"{_passed(items):,} of {counted(len(items), 'item')} passed")
    return ", ".join(parts) + f"  {seconds:.1f} s"


def _passed(items: Iterable[Item]) -> int:
    return sum(item.outcome is Outcome.PASSED for item in items)


def junit(results: Sequence[CheckResult], before: Sequence[CheckResult | None]) -> bytes:
    """The list as JUnit XML: a suite per check, a case per item.

    `before` has the result of each check on the original image, or None. A check without items is one case. What also
    failed before counts as skipped, because a test report has no word for it.
    """
    return document(suites(results, before))


def suites(
    results: Sequence[CheckResult], before: Sequence[CheckResult | None], where: str = "", failed: str = _FAILED_BEFORE
) -> list[Suite]:
    """The suites of `junit`. `where` follows their names; `failed` says why what failed before counts as skipped."""
    return [
        Suite(
            name=f"{result.name}{where}",
            cases=[_case(result, item, was, failed) for item, was in _cases(result, earlier)],
            seconds=result.seconds,
        )
        for result, earlier in zip(results, before, strict=True)
    ]


def _cases(result: CheckResult, before: CheckResult | None) -> Iterator[tuple[Item, Outcome | None]]:
    """Each item with its outcome before; the check itself if it has no items."""
    outcomes = _outcomes(before)
    if result.items:
        yield from ((item, outcomes.get(item.name)) for item in result.items)
    if not result.items or (
        result.outcome is Outcome.FAILED and all(item.outcome is not Outcome.FAILED for item in result.items)
    ):
        was = None if before is None else before.outcome
        yield Item(name=result.name, outcome=result.outcome, detail=result.detail), was
    names = {item.name for item in result.items}
    for item in () if before is None else before.items:
        if item.name not in names:
            yield Item(name=item.name, outcome=Outcome.SKIPPED, detail=NOT_RUN), item.outcome


def _case(result: CheckResult, item: Item, was: Outcome | None, failed: str) -> Case:
    case = Case(name=item.name, seconds=None if result.items else result.seconds)
    stands = Standing.of(item.outcome, was)
    if stands is Standing.FAILED_BEFORE:
        return replace(case, mark=Mark.SKIPPED, message=f"{failed}: {item.detail}")
    if stands in (Standing.FAILED, Standing.WORSE):
        text = item.detail if item.detail == result.detail else f"{item.detail}\n{result.detail}"
        return replace(case, mark=Mark.FAILED, message=_short(item.detail), text=text)
    if stands is Standing.SKIPPED:
        return replace(case, mark=Mark.SKIPPED, message=item.detail)
    return case
