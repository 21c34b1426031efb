"""Lines for people: sizes with units, aligned tables. Pure; the caller adds colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from slimagent.model.plan import Caution, Plan, counted_entries
from slimagent.model.profile import COMPONENTS
from slimagent.model.proof import Layer, Receipt, Verification
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.result import Outcome
from slimagent.model.trace import BlindSpot
from slimagent.paths.algebra import area, to_text
from slimagent.report.gpu import gpu_plan
from slimagent.report.passing import verified_things
from slimagent.report.smaller import unstripped, went
from slimagent.report.summary import dropped, owners, single_things
from slimagent.report.tables import table as table  # what shows anything takes it from here, too
from slimagent.text.counted import counted
from slimagent.text.sizes import share as share
from slimagent.text.sizes import size as size

_SHOWN = 10
_DIRECTORIES = 5


def amount(count: int, unit: str) -> str:
    """A number of things, or a size if the unit is bytes."""
    return size(count) if unit == "bytes" else f"{count:,} {unit}"


def dropped_by_kind(plan: Plan) -> list[str]:
    """A table of what goes, by kind of file, the largest first."""
    rows = [[each.kind, f"{each.files:,}", size(each.bytes)] for each in dropped(plan)]
    return table([["dropped", "files", "size"], *rows], right=(1, 2))


def plan_summary(plan: Plan, receipt: Receipt | None = None) -> list[str]:
    """What a plan says, in a few lines. With its receipt, what was done with it."""
    sizes = _by_verdict(plan)
    whole = sum(sizes.values())
    lines = [
        f"level {plan.level}: {size(sizes[Verdict.KEEP])} of {size(whole)} stays{_before(plan)}, "
        f"{size(sizes[Verdict.DROP])} goes ({share(sizes[Verdict.DROP], whole)})",
        *dropped_by_kind(plan),
        *by_owner(plan),
        *caution(plan.caution),
        *(strip_plan(plan) if receipt is None else [*stripped_files(receipt, plan), *_untouched(plan)]),
        *gpu_plan(plan, receipt),
    ]
    lines += [f"not understood: {to_text(path)}: {why}" for path, why in plan.problems[:_SHOWN]]
    if len(plan.problems) > _SHOWN:
        lines.append(f"… and {len(plan.problems) - _SHOWN} more package records not understood (in the plan: problems)")
    if plan.unresolved:
        lines.append(
            f"{counted(len(plan.unresolved), 'need')} that nothing in the image fulfils (in the plan: unresolved)"
        )
    changed = Counter(change.kind.value for change in plan.changes)
    if changed:
        lines.append(
            "the traced run " + ", ".join(f"{word} {count:,}" for word, count in sorted(changed.items())) + " paths"
        )
    return lines


def caution(found: Caution | None) -> list[str]:
    """What stays only because the trace cannot see lookups; nothing for one that can."""
    if found is None:
        return []
    return [
        f"the trace cannot see lookups: {counted(found.paths, 'file or link', 'files and links')}, {size(found.size)}, "
        "stay because they may have been looked up"
    ]


def strip_plan(plan: Plan) -> list[str]:
    """What strip saves in the files that stay, and a table of the files that it must not touch, by reason."""
    if not (plan.strips or plan.unstripped):
        return []
    saved = sum(each.saves for each in plan.strips)
    kept = counted(len(plan.strips), "kept file")
    return [f"strip removes {size(saved)} of symbols and debugging sections from {kept}", *_untouched(plan)]


def _before(plan: Plan) -> str:
    """A word at a size that has what goes out of files that stay."""
    return " (before stripping)" if plan.savings else ""


def _untouched(plan: Plan) -> list[str]:
    """A table of the files that strip must not touch, by reason."""
    counts = Counter(_general(why) for _, why in plan.unstripped)
    rows = [[f"  {count:,}", why] for why, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    return table([["  not stripped", "because"], *rows], right=(0,)) if rows else []


def _general(why: str) -> str:
    """A reason without the path that it begins with, so that files sealed by others count together."""
    return f"… {why.split(' ', 1)[1]}" if why.startswith("/") and " " in why else why


def by_owner(plan: Plan) -> list[str]:
    """A table of packages by kind: how many there are and stay, their size and what stays; then the unowned.

    A file of several packages counts with the first one.
    """
    rows = [["owner", "packages", "stay", "size", "stays"]]
    for each in owners(plan):
        counts = (f"{each.packages:,}", f"{each.packages_kept:,}") if each.kind else ("", "")
        rows.append([each.kind or "nobody", *counts, size(each.bytes), size(each.bytes_kept)])
    return table(rows, right=(1, 2, 3, 4)) + _unowned(plan)


def _unowned(plan: Plan) -> list[str]:
    """The directories (two levels deep) with the most unowned bytes, and how much of those stays."""
    whole: Counter[bytes] = Counter()
    kept: Counter[bytes] = Counter()
    for path, reason, length, _, owner in counted_entries(plan):
        if owner < 0 and length and plan.reasons[reason].kind != ReasonKind.CREATED:
            directory = area(path)
            whole[directory] += length
            kept[directory] += length if plan.reasons[reason].verdict is Verdict.KEEP else 0
    rows = [
        [f"  {to_text(directory)}", size(length), f"{size(kept[directory])} stays"]
        for directory, length in sorted(whole.items(), key=lambda each: (-each[1], each[0]))[:_DIRECTORIES]
    ]
    return ["most unowned bytes are in:", *table(rows, right=(1,))] if rows else []


def _by_verdict(plan: Plan) -> Counter[Verdict]:
    sizes: Counter[Verdict] = Counter()
    for _, reason, length, _, _ in counted_entries(plan):
        why = plan.reasons[reason]
        if why.kind != ReasonKind.CREATED:
            sizes[why.verdict] += length
    return sizes


def receipt_summary(receipt: Receipt) -> list[str]:
    """What was done, in a few lines."""
    whole = receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped
    lines = [
        f"{receipt.target}: {size(receipt.bytes_kept)} of {size(whole)} stays, "
        f"{share(whole - receipt.bytes_kept, whole)} smaller; "
        f"{counted(receipt.dropped, 'path')} dropped, {receipt.kept:,} kept"
    ]
    if receipt.sha256:
        lines.append(f"archive: {size(receipt.written)}{_overhead(receipt)}, sha256:{receipt.sha256}")
    lines += layer_table(receipt.layers)
    lines += [f"left alone: {to_text(path)}: {why}" for path, why in receipt.left_alone[:_SHOWN]]
    if len(receipt.left_alone) > _SHOWN:
        lines.append(f"… and {len(receipt.left_alone) - _SHOWN} more left alone (in the receipt)")
    return lines


def _overhead(receipt: Receipt) -> str:
    """Why a tar is larger than the files in it."""
    more = receipt.written - receipt.bytes_kept
    return f", of which {size(more)} are tar headers and padding" if more > 0 and not receipt.layers else ""


def layer_table(layers: Sequence[Layer]) -> list[str]:
    """The layers of an exported image, the lowest first, with the sizes of their blobs.

    A blob is a tar, with a header for each path and padding: together they are larger than the files in them.
    """
    rows = [
        [COMPONENTS.get(each.component, each.component), size(each.size), f"{each.paths:,}", each.digest[:12]]
        for each in layers
    ]
    return table([["layer", "size as tar", "paths", "sha256"], *rows], right=(1, 2)) if rows else []


def stripped_files(receipt: Receipt, plan: Plan) -> list[str]:
    """What went out of files that stay, and a table of what did not although the plan says so, by reason."""
    if not plan.savings:
        return []
    proved = (
        f"; {counted(receipt.loaded, 'library was', 'libraries were')} loaded to prove it" if receipt.loaded else ""
    )
    target = "" if plan.gpu is None else plan.gpu.target
    lines = [went(receipt.stripped, receipt.bytes_stripped, receipt.gpu, receipt.bytes_gpu, target) + proved]
    rows = [[f"  {each.files:,}", size(each.bytes), each.why] for each in unstripped(plan, receipt)]
    return lines + table([["  left", "size", "because"], *rows], right=(0, 1)) if rows else lines


def before_and_after(receipt: Receipt) -> list[str]:
    """A table of the sizes of the image and of what stays."""
    before = receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped
    return table(
        [
            ["", "size", "paths"],
            ["before", size(before), f"{receipt.kept + receipt.dropped:,}"],
            ["after", size(receipt.bytes_kept), f"{receipt.kept:,}"],
            ["smaller by", share(before - receipt.bytes_kept, before), f"{receipt.dropped:,}"],
        ],
        right=(1, 2),
    )


def verified(how: str | None, passed: bool | None) -> str:
    """Say how the slim image was verified (None: it was not), and whether it passed."""
    if how is None:
        return "not verified"
    ways = {"in-place": "with the dropped files gone", "masked": "with the dropped files made to look gone"}
    return f"{'verified' if passed else 'not proved'} {ways.get(how, how)}"


def verification_summary(verification: Verification) -> list[str]:
    """What was proved, in a few lines."""
    worse = [each for each in verification.comparisons if each.worse]
    lines = [
        f"{verified(verification.how, verification.passed)}: {_pass(verification)}, {len(worse)} worse than before, "
        + (
            f"which removed files were needed is unknown ({verification.backend} cannot see it)"
            if BlindSpot.LOOKUPS in verification.blind_spots
            else f"{counted(len(verification.missed), 'removed file')} needed"
        )
    ]
    things = single_things(verification)
    already = [each.name for each in things if each.before is Outcome.FAILED is each.after]
    skipped = [each.name for each in things if each.after is Outcome.SKIPPED and not each.worse]
    for words, names in (("failed before too", already), ("skipped", skipped)):
        if names:
            lines.append(f"  {words}: {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}")
    for each in worse[:_SHOWN]:
        first, *more = each.detail.splitlines() or [""]
        lines += [f"  worse: {each.name}  {first}", *(f"    | {line}" for line in more[-_SHOWN:])]
    lines += [
        f"  removed, but needed: {to_text(each.path)}  ({', '.join(each.steps)})"
        for each in verification.missed[:_SHOWN]
    ]
    if len(verification.missed) > _SHOWN:
        lines.append(f"  … and {len(verification.missed) - _SHOWN} more (in the verification)")
    lines += [
        f"  loss: {loss.kind}, {counted(loss.count, 'time')}, e.g. {loss.example}" for loss in verification.losses
    ]
    if verification.how == "masked" and any(loss.hides for loss in verification.losses) and not verification.passed:
        lines.append("  a call that could not be read may have reached a dropped file, so this is not a proof")
    return lines


def _pass(verification: Verification) -> str:
    """How many things pass, and which kinds of things these are."""
    things = single_things(verification)
    passed = sum(each.after is Outcome.PASSED for each in things)
    which = verified_things(verification) if passed else ""
    return f"{passed:,} of {len(things):,} checks, starts and items pass{f' ({which})' if which else ''}"
