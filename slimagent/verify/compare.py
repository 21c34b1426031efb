"""Compare two runs of the same checks, and find the dropped files that the second one needed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from slimagent.model.plan import Plan
from slimagent.model.proof import Comparison, Missed
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.result import NOT_RUN, CheckResult, Item, Outcome, Standing
from slimagent.model.trace import Loss, LossKind
from slimagent.paths.algebra import Resolver, within_any


def compare(before: Sequence[CheckResult], after: Sequence[CheckResult]) -> tuple[Comparison, ...]:
    """Compare every check and every item in both runs. What is missing in a run counts as skipped there."""
    first, second = dict(_outcomes(before)), dict(_outcomes(after))
    absent = (Outcome.SKIPPED, NOT_RUN)
    return tuple(
        Comparison(
            name=name,
            before=first.get(name, absent)[0],
            after=second.get(name, absent)[0],
            detail=second.get(name, absent)[1],
        )
        for name in dict.fromkeys((*first, *second))
    )


def united(results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """The results of several runs as one: each check and each item once, with its best result.

    What passed in any run works on the original image, so it must pass on the slim one.
    """
    checks: dict[str, CheckResult] = {}
    for result in results:
        known = checks.setdefault(result.name, result)
        if known is not result:
            best = min(known, result, key=_badness)
            items: dict[str, Item] = {}
            for item in (*known.items, *result.items):
                items[item.name] = min(items.get(item.name, item), item, key=_badness)
            checks[result.name] = replace(best, items=tuple(items.values()))
    return tuple(checks.values())


def _badness(result: CheckResult | Item) -> int:
    return (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED).index(result.outcome)


def standing(result: CheckResult, before: CheckResult | None) -> Standing:
    """How a check stands against the same one on the original image; `before` is None if that is unknown.

    A check that fails as before is not worse. One that fails in a new item is, however many items failed before.
    """
    if before is not None and any(each.worse for each in compare([before], [result])):
        return Standing.WORSE
    return Standing.of(result.outcome, None if before is None else before.outcome)


def unproved(before: Sequence[CheckResult], after: Sequence[CheckResult]) -> tuple[str, ...]:
    """Checks that fail and were not in the first run: whether they ever passed is unknown."""
    known = {result.name for result in before}
    return tuple(each.name for each in after if each.outcome is Outcome.FAILED and each.name not in known)


def unmasked(losses: Iterable[Loss], accepted: Collection[str] = ()) -> bool:
    """Whether a masked run may have seen hidden files, because the tracer could not read some call.

    `accepted` are the kinds of losses that were accepted for the plan. A supervisor error cannot be accepted.
    """
    kinds = {loss.kind for loss in losses if loss.hides}
    return LossKind.SUPERVISOR_ERROR in kinds or not kinds <= set(accepted)


def _outcomes(results: Sequence[CheckResult]) -> Iterator[tuple[str, tuple[Outcome, str]]]:
    for result in results:
        yield result.name, (result.outcome, result.detail)
        for item in result.items:
            yield f"{result.name}: {item.name}", (item.outcome, item.detail)


def dropped_paths(plan: Plan, without: frozenset[ReasonKind] = frozenset()) -> frozenset[bytes]:
    """What the plan removes from the image, but not what the traced run made, which was never part of the image.

    Paths with a reason in `without` are left out, too.
    """
    gone = frozenset(
        number
        for number, reason in enumerate(plan.reasons)
        if reason.verdict is Verdict.DROP and reason.kind != ReasonKind.CREATED and reason.kind not in without
    )
    return frozenset(entry.path for entry in plan.entries if entry.reason in gone)


def dropped_files(plan: Plan) -> dict[bytes, int]:
    """The files that the plan removes from the image, with their sizes in bytes."""
    gone = dropped_paths(plan)
    return {entry.path: entry.size for entry in plan.entries if entry.size and entry.path in gone}


def lacking(plan: Plan, outside: Collection[bytes], is_there: Callable[[bytes], bool]) -> tuple[tuple[bytes, ...], int]:
    """The files that the plan keeps and that are missing, and how many were looked for.

    It looks for non-empty regular files that neither the traced run nor the plan changes: every image that the plan
    fits, and every slim image made from it, has them. Paths in `outside` are not looked for.
    """
    keeps = [reason.verdict is Verdict.KEEP for reason in plan.reasons]
    changed = {*(change.path for change in plan.changes), *(edit.path for edit in plan.edits)}
    lasting = [
        entry.path
        for entry in plan.entries
        if keeps[entry.reason] and entry.size and entry.path not in changed and not within_any(entry.path, outside)
    ]
    return tuple(path for path in lasting if not is_there(path)), len(lasting)


def finder(dropped: frozenset[bytes], link: Callable[[bytes], bytes | None]) -> Callable[[bytes], bytes | None]:
    """A function that finds the first dropped path that a path leads to, or None. `link` reads a link."""
    resolver = Resolver(link)

    def find(path: bytes) -> bytes | None:
        hops, end = resolver.resolve(path)
        return next((each for each in (*hops, end) if each in dropped), None)

    return find


def missed(
    find: Callable[[bytes], bytes | None], accesses: Iterable[tuple[bytes, tuple[int, ...]]], steps: Sequence[str]
) -> tuple[Missed, ...]:
    """The dropped paths that were accessed, sorted: not the names of the test's own links to them.

    The steps of accesses are indices into `steps`.
    """
    found: dict[bytes, set[int]] = {}
    for path, at_steps in accesses:
        dropped = find(path)
        if dropped is not None:
            found.setdefault(dropped, set()).update(at_steps)
    return tuple(
        Missed(path=path, steps=tuple(steps[at] for at in sorted(at_steps) if at < len(steps)))
        for path, at_steps in sorted(found.items())
    )
