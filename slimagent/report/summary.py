"""Summarise the documents of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from slimagent.errors import SlimagentError
from slimagent.model.plan import Plan, counted_entries
from slimagent.model.proof import Comparison, Receipt, Verification
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.started import KIND
from slimagent.model.summary import Checked, Dropped, Export, Failure, Gone, Owner, Place, Reached, Summary, Whole
from slimagent.model.trace import BlindSpot
from slimagent.paths.algebra import parent, to_text
from slimagent.report.kinds import kind
from slimagent.report.smaller import gpu_gone, gpu_notes, ran_on_gpu, unstripped

_UNUSED = (ReasonKind.UNUSED, ReasonKind.TOO_LARGE, ReasonKind.TREE_UNUSED)
_HOWS = ("touched by the steps", "required by those", "kept by a rule", "not needed")
_MUST_NEED = (ReasonKind.REQUIRED, ReasonKind.ESSENTIAL)


def summarised(blank: Summary, whole: Whole) -> Summary:
    """Fill in `blank`, which names the command and its image, from the documents in `whole`."""
    summary = blank
    if whole.plan is not None:
        summary = _with_plan(summary, whole.plan)
    if whole.receipt is not None:
        summary = _with_receipt(summary, whole.receipt)
    if whole.verification is not None:
        summary = _with_verification(summary, whole.verification)
    summary = _with_smaller(summary, whole)
    results = tuple(_checks(whole))
    return replace(
        summary,
        checks=tuple(each for each in results if each.kind != KIND),
        start=tuple(each for each in results if each.kind == KIND),
        searches=tuple(whole.searches),
    )


def completed(summary: Summary, whole: Whole) -> Summary:
    """A summary with what its run's documents say of files that became smaller: an earlier slimagent left that out."""
    made, known = _with_smaller(summary, whole), {*summary.notes}
    return replace(made, notes=(*made.notes, *(each for each in gpu_notes(made) if each not in known)))


def _with_smaller(summary: Summary, whole: Whole) -> Summary:
    if whole.plan is None or whole.receipt is None:
        return summary
    gone, left = gpu_gone(whole.plan, whole.receipt), unstripped(whole.plan, whole.receipt)
    if gone is not None and whole.verification is not None:
        gone = replace(gone, proved=ran_on_gpu(whole.verification))
    return replace(summary, gpu=gone, unstripped=left)


def failure(error: SlimagentError) -> Failure:
    """An error as the terminal showed it."""
    return Failure(slug=error.slug, status=error.exit_status, message=error.message, hint=error.hint)


def _with_plan(summary: Summary, plan: Plan) -> Summary:
    return replace(
        summary,
        level=plan.level,
        accepted=plan.accepted,
        caution=plan.caution,
        dropped=dropped(plan),
        owners=owners(plan),
        reached=groups(plan),
        packages_dropped=tuple(sorted(_gone(plan), key=lambda each: (-each.bytes, each.kind, each.name, each.version))),
        unowned_dropped=tuple(unowned(plan)),
    )


def unowned(plan: Plan) -> list[Place]:
    """Where files without an owner go that are not cruft, the most bytes first: a whole tree, or a directory."""
    files, sizes = Counter[str](), Counter[str]()
    for entry in counted_entries(plan):
        reason = plan.reasons[entry.reason]
        if entry.owner < 0 and reason.kind in _UNUSED and entry.size:
            directory = reason.detail if reason.kind == ReasonKind.TREE_UNUSED else to_text(parent(entry.path))
            files[directory] += 1
            sizes[directory] += entry.size
    rows = sorted(sizes.items(), key=lambda row: (-row[1], row[0]))
    return [Place(directory=directory, files=files[directory], bytes=size) for directory, size in rows]


def _gone(plan: Plan) -> Iterator[Gone]:
    """The packages that go, with the bytes that go with them. A file of several packages counts with the first one."""
    sizes = Counter[int]()
    for _, reason, length, _, owner in counted_entries(plan):
        why = plan.reasons[reason]
        if why.verdict is Verdict.DROP and why.kind != ReasonKind.CREATED:
            sizes[owner] += length
    for at, each in plan.installed:
        if plan.reasons[each.reason].verdict is Verdict.DROP and each.size:
            package = each.package
            yield Gone(kind=package.kind, name=package.name, version=package.version, bytes=sizes[at])


def _with_receipt(summary: Summary, receipt: Receipt) -> Summary:
    return replace(
        summary,
        plan=receipt.plan,
        bytes_before=receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped,
        bytes_after=receipt.bytes_kept,
        bytes_dropped=receipt.bytes_dropped,
        bytes_stripped=receipt.bytes_stripped,
        paths_before=receipt.kept + receipt.dropped,
        paths_after=receipt.kept,
        files_stripped=receipt.stripped,
        left_alone=len(receipt.left_alone),
        layers=receipt.layers,
        export=Export(sha256=receipt.sha256, bytes=receipt.written) if receipt.sha256 else None,
    )


def _with_verification(summary: Summary, verification: Verification) -> Summary:
    things = single_things(verification)
    gpu = None if summary.gpu is None else replace(summary.gpu, proved=ran_on_gpu(verification))
    return replace(
        summary,
        gpu=gpu,
        verified=verification.how,
        passed=verification.passed,
        passing_before=sum(each.before is Outcome.PASSED for each in things),
        passing_after=sum(each.after is Outcome.PASSED for each in things),
        worse=tuple(each for each in verification.comparisons if each.worse),
        failed_before=tuple(each for each in verification.comparisons if each.before is Outcome.FAILED is each.after),
        missed=None if BlindSpot.LOOKUPS in verification.blind_spots else verification.missed,
    )


def single_things(verification: Verification) -> list[Comparison]:
    """What counts as a check: each item of a step, and a step without items."""
    single = {step.name for step in verification.steps if not step.items}
    return [each for each in verification.comparisons if ": " in each.name or each.name in single]


def _checks(whole: Whole) -> Iterator[Checked]:
    """Every step of the trace and the verification, once for each name."""
    first = {} if whole.trace is None else {step.name: step for step in whole.trace.steps}
    second = {} if whole.verification is None else {step.name: step for step in whole.verification.steps}
    compared = {} if whole.verification is None else {each.name: each for each in whole.verification.comparisons}
    for name in dict.fromkeys((*first, *second)):
        before, after = first.get(name), second.get(name)
        last = after or before
        if last is None:
            continue
        outcome = None if before is None else before.outcome
        if outcome is None and name in compared:  # a start that is only in the verification
            outcome = compared[name].before
        yield Checked(
            name=name,
            kind=last.kind,
            before=outcome,
            after=None if after is None else after.outcome,
            items=len(last.items),
            items_passed_before=_passed(before),
            items_passed_after=_passed(after),
            seconds_before=None if before is None else round(before.seconds, 3),
            seconds_after=None if after is None else round(after.seconds, 3),
            detail=last.first_line,
        )


def _passed(result: CheckResult | None) -> int | None:
    items: Sequence[Item] = () if result is None else result.items
    return None if result is None else sum(item.outcome is Outcome.PASSED for item in items)


def groups(plan: Plan) -> tuple[Reached, ...]:
    """Group the packages by how far the steps reached them, with their bytes in the image.

    A file of several packages counts with the first one.
    """
    hows = [how(plan.reasons[each.reason]) for each in plan.packages]
    counts, sizes = Counter(hows[at] for at, _ in plan.installed), Counter[str]()
    for _, reason, length, _, owner in counted_entries(plan):
        if owner >= 0 and plan.reasons[reason].kind != ReasonKind.CREATED:
            sizes[hows[owner]] += length
    return tuple(Reached(how=how, packages=counts[how], bytes=sizes[how]) for how in _HOWS)


def how(reason: Reason) -> str:
    touched, required, ruled, unneeded = _HOWS
    if reason.verdict is Verdict.DROP:
        return unneeded
    if reason.steps:
        return touched
    return required if reason.kind in _MUST_NEED else ruled


def dropped(plan: Plan) -> tuple[Dropped, ...]:
    """What goes, by kind of file, the largest first."""
    gone = {
        at
        for at, reason in enumerate(plan.reasons)
        if reason.verdict is Verdict.DROP and reason.kind not in (ReasonKind.CREATED, ReasonKind.FOLDER_GONE)
    }
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for path, reason, length, _, _ in counted_entries(plan):
        if reason in gone:
            sort = kind(path)
            counts[sort] += 1
            sizes[sort] += length
    return tuple(Dropped(kind=name, files=counts[name], bytes=size) for name, size in sizes.most_common())


def owners(plan: Plan) -> tuple[Owner, ...]:
    """The packages by kind, then what no package owns. A file of several packages counts with the first one."""
    counts: Counter[tuple[str, bool]] = Counter()
    for _, each in plan.installed:
        counts[each.package.kind, plan.reasons[each.reason].verdict is Verdict.KEEP] += 1
    whole: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for _, reason, length, _, owner in counted_entries(plan):
        why = plan.reasons[reason]
        if why.kind != ReasonKind.CREATED:
            name = plan.packages[owner].package.kind if owner >= 0 else ""
            whole[name] += length
            kept[name] += length if why.verdict is Verdict.KEEP else 0
    return tuple(
        Owner(
            kind=name,
            packages=counts[name, True] + counts[name, False],
            packages_kept=counts[name, True],
            bytes=whole[name],
            bytes_kept=kept[name],
        )
        for name in (*sorted({each.package.kind for _, each in plan.installed}), "")
    )
