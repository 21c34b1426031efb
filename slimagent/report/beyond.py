"""What to expect of uses that no test covers, from leaving the tests out one by one. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from slimagent.model.proof import Verification
from slimagent.model.reach import LeftOut, LevelReach, Reach, Unit
from slimagent.paths.algebra import to_text
from slimagent.report.tables import table
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown_code, printable
from slimagent.text.sizes import size

FEWEST = 20  # tests; from fewer nothing follows
_SHOWN = 10
_Z = 1.96  # standard deviations of 95 %


def share(broken: int, others: int) -> tuple[float, float]:
    """The share of tests that miss a file, and the most that it may be of others like them: the upper end of the
    95 % interval of a share, after Wilson (1927)."""
    if not others:
        return 0.0, 1.0
    part, square = broken / others, _Z * _Z / others
    middle = part + square / 2
    spread = math.sqrt(part * (1 - part) * square + square * square / 4)
    return part, max(part, min(1.0, (middle + spread) / (1 + square)))


def estimate(reach: Reach, level: LevelReach) -> str:
    """What to expect at a level, as a sentence."""
    others = len(reach.chosen) - level.resting
    if others < FEWEST:
        return (
            f"level {level.level}: {counted(others, 'test rests', 'tests rest')} on others for all software: "
            f"too few for an estimate, which needs {FEWEST} (docs/tests.md says how tests are marked)"
        )
    part, most = share(level.broken, others)
    return (
        f"level {level.level}: if users do something that no test does with software that the tests use, "
        f"expect {_percent(part)} of it to miss a file (at most {_percent(most)})"
    )


def _percent(part: float) -> str:
    if not part:
        return "none"
    return "less than 1 %" if part < 0.01 else f"about {part * 100:.0f} %"


def sentences(reach: Reach, level: str) -> tuple[str, ...]:
    """What a report says of it: the estimate at the report's level, and on which tests the image rests."""
    found = next((each for each in reach.levels if each.level == level), None)
    if found is None:
        return ()
    said = [estimate(reach, found)]
    resting = _largest(LevelReach(level=level, kept=0, left_out=tuple(each for each in found.left_out if each.rests)))
    if resting:
        some = ", ".join(f"{label(reach, each)} ({size(each.size)})" for each in resting[:3])
        said.append(
            f"{counted(found.resting, 'test is', 'tests are')} alone in using some package, the largest: {some}"
        )
    said.append(f"{counted(len(reach.idle), 'test adds', 'tests add')} nothing to what stays")
    return tuple(said)


def held_out(verification: Verification, steps: Sequence[str]) -> tuple[str, ...]:
    """What steps came to on an image that was planned without them, and whether it harmed the others; a sentence each.

    `steps` are names. Each item of a step that was compared counts for its step.
    """
    said = []
    for name in steps:
        compared = [each for each in verification.comparisons if _is_of(each.name, name)]
        worse = [each for each in compared if each.worse]
        missed = [each.path for each in verification.missed if name in each.steps]
        found = f"{len(worse):,} of {counted(len(compared), 'result')} {'is' if len(worse) == 1 else 'are'} worse"
        if not worse:
            found = "works without being evidence"
        some = ", ".join(map(to_text, missed[:3]))
        files = f"; it misses {counted(len(missed), 'removed file')}, e.g. {some}" if missed else ""
        why = worse[0].detail.partition("\n")[0] if worse else ""
        first = f", e.g. {worse[0].name}: {why}" if why else ""
        said.append(f"{name}, held out: {found}{first}{files}")
    others = [each.name for each in verification.comparisons if each.worse and not _of_any(each.name, steps)]
    if steps and others:
        said.append(f"worse, though not held out: {', '.join(others[:3])}")
    if steps:
        said.append("nothing was tagged, because steps were held out")
    return tuple(said)


def _of_any(compared: str, steps: Sequence[str]) -> bool:
    return any(_is_of(compared, name) for name in steps)


def _is_of(compared: str, step: str) -> bool:
    """Whether a comparison is of a step or of one of its items."""
    return compared == step or compared.startswith(f"{step}: ")


def lines(reach: Reach) -> Iterator[str]:
    """For a terminal; the estimates last."""
    yield from _head(reach)
    if len(reach.chosen) < 2:
        return
    yield ""
    yield from table(
        [
            ["level", "tests", "rest on one test", "would miss a file", "of", "largest loss"],
            *([level.level, *map(str, _figures(reach, level))] for level in reach.levels),
        ],
        right=(1, 2, 3, 4, 5),
    )
    for level in reach.levels:
        yield from _carriers(reach, level)
        yield from _broken(reach, level)
    yield ""
    yield from (estimate(reach, level) for level in reach.levels)


def _head(reach: Reach) -> Iterator[str]:
    whole, chosen = len(reach.units) - len(reach.unused), len(reach.chosen)
    sample = "" if whole == chosen else f", a sample of {whole:,}"
    yield f"{counted(chosen, 'test')}{sample}, each left out once; a plan is made from the others"
    yield f"{counted(len(reach.idle), 'test adds', 'tests add')} nothing to what stays: others use all its files, too"
    if reach.unused:
        yield f"{counted(len(reach.unused), 'test')} used no file of the image, and {_is(reach.unused)} not counted"
    if chosen < 2:
        yield "one test says nothing of others: mark yours (docs/tests.md), or run the checks of the profile auto"


def _is(several: Sequence[int]) -> str:
    return "is" if len(several) == 1 else "are"


def _figures(reach: Reach, level: LevelReach) -> list[str]:
    chosen = len(reach.chosen)
    largest = max((each.size for each in level.left_out), default=0)
    return [f"{chosen:,}", f"{level.resting:,}", f"{level.broken:,}", f"{chosen - level.resting:,}", size(largest)]


def _carriers(reach: Reach, level: LevelReach) -> Iterator[str]:
    """The tests without which most would go."""
    largest = _largest(level)[:_SHOWN]
    if not largest:
        return
    yield ""
    rows = [[label(reach, each), f"{each.files:,}", size(each.size), _packages(each.packages)] for each in largest]
    head = [f"stays for one test alone, level {level.level}", "files", "size", "packages"]
    yield from table([head, *rows], right=(1, 2))
    if len(level.left_out) > _SHOWN:
        yield f"… and {len(level.left_out) - _SHOWN:,} more (--json)"


def _largest(level: LevelReach) -> list[LeftOut]:
    return sorted(level.left_out, key=lambda each: (-each.size, each.unit))


def _packages(labels: tuple[str, ...]) -> str:
    more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
    return ", ".join(labels[:2]) + more


def _broken(reach: Reach, level: LevelReach) -> Iterator[str]:
    broken = [each for each in level.left_out if each.breaks]
    if not broken:
        return
    yield ""
    rows = [
        [label(reach, each), f"{each.missed:,}", size(each.missed_size), printable(_example(each))]
        for each in broken[:_SHOWN]
    ]
    head = [f"would miss a file, level {level.level}", "files", "size", "e.g."]
    yield from table([head, *rows], right=(1, 2))
    if len(broken) > _SHOWN:
        yield f"… and {len(broken) - _SHOWN:,} more (--json)"


def _example(each: LeftOut) -> str:
    return each.examples[0].decode("utf-8", "backslashreplace") if each.examples else ""


def label(reach: Reach, each: LeftOut) -> str:
    """A unit's name, with its step if that is another name."""
    unit = reach.units[each.unit]
    return _name(reach, unit)


def _name(reach: Reach, unit: Unit) -> str:
    step = reach.steps[unit.step]
    return unit.name if unit.name == step else f"{step}: {unit.name}"


def markdown(reach: Reach) -> Iterator[str]:
    """As Markdown."""
    yield from _head(reach)
    if len(reach.chosen) < 2:
        return
    yield ""
    yield "| level | tests | rest on one test | would miss a file | of | largest loss |"
    yield "|---|---:|---:|---:|---:|---:|"
    for level in reach.levels:
        yield f"| {level.level} | {' | '.join(_figures(reach, level))} |"
    for level in reach.levels:
        largest = _largest(level)[:_SHOWN]
        if largest:
            yield ""
            yield f"| stays for one test alone, level {level.level} | files | size | packages |"
            yield "|---|---:|---:|---|"
            for each in largest:
                names = " ".join(map(markdown_code, each.packages[:2]))
                yield f"| {markdown_code(label(reach, each))} | {each.files:,} | {size(each.size)} | {names} |"
    yield ""
    yield from (f"- {estimate(reach, level)}" for level in reach.levels)
