"""Show a comparison of runs or images on a terminal: what differs, what moved and why, the answer last. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import NamedTuple

from slimagent.model.comparison import CheckOnSides, ImageComparison, Moved, Movement, Presence, RunComparison, Side
from slimagent.model.result import Outcome
from slimagent.paths.algebra import to_text
from slimagent.report.text import share, size, table
from slimagent.text.counted import counted
from slimagent.text.escapes import printable

Comparison = RunComparison | ImageComparison
SHOWN = 20
_LINES = 5  # of one setting
_WIDTH = 80
INDENT = " " * 12  # of a reason
_SHORT = 50  # characters of two values in one line


class Line(NamedTuple):
    """One change: the bytes and the movement, in aligned columns, then what moved, and why, in lines that fit."""

    head: str
    what: str
    reason: list[str]
    movement: Movement


def signed(count: int) -> str:
    """A difference in bytes.

    >>> signed(-1500), signed(0), signed(12)
    ('-1.5 kB', '0 B', '+12 B')
    """
    return f"{'+' if count > 0 else '-' if count < 0 else ''}{size(abs(count))}"


def heading(comparison: Comparison) -> list[str]:
    """Which two runs or images these are."""
    if isinstance(comparison, ImageComparison):
        sides = (("A", comparison.a), ("B", comparison.b))
        return table([[letter, side.image, counted(side.files, "file")] for letter, side in sides])
    rows = [[letter, side.path, described(side)] for letter, side in (("A", comparison.a), ("B", comparison.b))]
    lines = table(rows)
    if not comparison.same_image:
        lines.append("A and B slimmed images with different files")
    return lines


def described(side: Side) -> str:
    """What a run made of what, at which level, and whether that was proved."""
    made = " -> ".join(filter(None, (side.image, side.tag)))
    proof = {True: "verified", False: "not proved", None: "not verified"}[side.passed]
    return ", ".join(filter(None, (made, f"level {side.level}", proof)))


def settings(comparison: RunComparison) -> list[str]:
    """In what the two runs differ, and what only one of them has."""
    lines = []
    for each in comparison.settings:
        if len(each.a) <= 1 and len(each.b) <= 1 and len("".join((*each.a, *each.b))) <= _SHORT:
            lines.append(f"{each.name}: {''.join(each.a) or 'none'} in A; {''.join(each.b) or 'none'} in B")
            continue
        lines.append(f"{each.name}:")
        for letter, own in (("A", each.a), ("B", each.b)):
            lines += [f"  only in {letter}: {one}" for one in own[:_LINES]]
            if len(own) > _LINES:
                lines.append(f"  … and {len(own) - _LINES} more only in {letter} (--json lists them)")
    return lines


def totals(comparison: Comparison) -> list[str]:
    """A table of the bytes that stay, or of all bytes of two images, by owner, and the sums."""
    rows = [
        [
            "owner" if isinstance(comparison, ImageComparison) else "stays",
            "packages A",
            "B",
            "size A",
            "B",
            "difference",
        ]
    ]
    for each in comparison.kinds:
        counts = (f"{each.packages_a:,}", f"{each.packages_b:,}") if each.kind else ("", "")
        difference = signed(each.bytes_b - each.bytes_a)
        rows.append([each.kind or "nobody's", *counts, size(each.bytes_a), size(each.bytes_b), difference])
    if isinstance(comparison, ImageComparison):
        first, second = comparison.a, comparison.b
        rows.append(_sum("together", (first.packages, second.packages), (first.size, second.size)))
        return table(rows, right=range(1, 6))
    a, b = comparison.a, comparison.b
    rows.append(_sum("together", (a.packages_kept, b.packages_kept), (a.after, b.after)))
    rows.append(_sum("image", (a.packages, b.packages), (a.before, b.before)))
    return [*table(rows, right=range(1, 6)), "what stays is counted after stripping, the image before it"]


def _sum(name: str, packages: tuple[int, int], sizes: tuple[int, int]) -> list[str]:
    return [name, *(f"{each:,}" for each in packages), *map(size, sizes), signed(sizes[1] - sizes[0])]


def moved(comparison: Comparison, shown: int = SHOWN) -> Iterator[Line]:
    """The largest changes."""
    for each, name in list(zip(comparison.moved, moved_names(comparison), strict=True))[:shown]:
        head = f"{signed(each.difference):>10}  {each.movement.value:<7}"
        yield Line(head, name, wrap(printable(each.reason), _WIDTH - len(INDENT)), each.movement)


def more_moved(comparison: Comparison, shown: int = SHOWN) -> str:
    """How many changes are not shown, and what they come to; empty if all are shown."""
    rest = comparison.moved[shown:]
    if not rest:
        return ""
    gained, lost = _gained(rest), _lost(rest)
    return f"… and {len(rest):,} more (+{size(gained)}, -{size(lost)}; --json lists them)"


def moved_names(comparison: Comparison) -> list[str]:
    """What moved, as on the command line, with its version or both; with its place if others have the same name."""
    count = Counter((each.kind, each.name) for each in comparison.moved)
    return [_moved_name(each, with_place=count[each.kind, each.name] > 1) for each in comparison.moved]


def _moved_name(each: Moved, *, with_place: bool) -> str:
    if not each.kind:
        return f"{each.name}, files without an owner"
    versions = [side.version for side in (each.a, each.b) if side.presence is not Presence.ABSENT and side.version]
    version = " -> ".join(dict.fromkeys(versions))
    place = f" in {to_text(each.place)}" if with_place else ""
    return f"{each.kind}:{each.name}{' ' if version else ''}{version}{place}"


def checks(comparison: RunComparison) -> list[str]:
    """The checks that ended differently, worse ones first."""
    rows = [[f"  {each.name}", outcome(each.a), outcome(each.b)] for each in sorted_checks(comparison)[:SHOWN]]
    lines = table([["check", "A", "B"], *rows]) if rows else []
    rest = len(comparison.checks) - SHOWN
    return [*lines, f"  … and {rest:,} more (--json lists them)"] if rest > 0 else lines


def sorted_checks(comparison: RunComparison) -> Sequence[CheckOnSides]:
    """Those first that pass in A and not in B."""
    return sorted(comparison.checks, key=lambda each: (not is_worse(each), each.name))


def is_worse(each: CheckOnSides) -> bool:
    """Whether a check passes in A, and does not in B, or was not run there."""
    return each.a is Outcome.PASSED and each.b is not Outcome.PASSED


def outcome(found: Outcome | None) -> str:
    """How a check ended, in a word."""
    return "not run" if found is None else found.value


def counts(comparison: Comparison) -> str:
    """How many things came, went, grew and shrank."""
    words = []
    for movement in Movement:
        those = [each for each in comparison.moved if each.movement is movement]
        if those:
            total = sum(each.difference for each in those)
            words.append(
                f"{len(those):,} {movement.value} ({signed(total)})" if total else f"{len(those):,} {movement.value}"
            )
    return ", ".join(words)


def worse(comparison: RunComparison) -> str:
    """How many checks pass in A and not in B, and how many of A's were not run in B; empty if there is neither.

    A check that was not run did not fail: B may have another list of checks.
    """
    those = [each for each in comparison.checks if is_worse(each)]
    unrun = sum(each.b in (None, Outcome.SKIPPED) for each in those)
    said = (
        (len(those) - unrun, "did not pass in B", "did not pass in B"),
        (unrun, "was not run in B", "were not run in B"),
    )
    return "; ".join(
        f"{counted(count, 'check')} that passed in A {one if count == 1 else several}"
        for count, one, several in said
        if count
    )


def answer(comparison: Comparison) -> str:
    """The one line that people want: which of the two keeps, or has, less, and by how much."""
    if isinstance(comparison, ImageComparison):
        a, b, has, have = comparison.a.size, comparison.b.size, "has", "have"
        same = "A and B are one image" if comparison.same_image else "A and B have the same packages, of the same size"
    else:
        a, b, has, have = comparison.a.after, comparison.b.after, "keeps", "keep"
        same = "A and B keep the same"
    if a == b:
        return f"A and B both {have} {size(a)}, of different things" if comparison.moved else same
    word = "less" if b < a else "more"
    part = share(abs(b - a), a) if a else "all of it"
    return f"B {has} {size(abs(b - a))} {word} than A ({part}): {size(b)} instead of {size(a)}"


def _gained(those: Sequence[Moved]) -> int:
    return sum(max(each.difference, 0) for each in those)


def _lost(those: Sequence[Moved]) -> int:
    return sum(max(-each.difference, 0) for each in those)
