"""Say in words what a search for the cause came to. Pure."""

from __future__ import annotations

import shlex

from slimagent.model.search import Cause, Outcome, Search, What
from slimagent.paths.algebra import to_text
from slimagent.text.counted import counted

_SHOWN = 20  # causes
# What can be undone: a removed file is kept the next time, and a file's bytes are left alone.
MENDABLE = frozenset({What.REMOVED, What.STRIPPED, What.GPU_CODE})
_FATES = {
    What.REMOVED: "removed",
    What.STRIPPED: "stripped",
    What.GPU_CODE: "lost GPU code",
    What.EDITED: "edited, because packages went that it lists",
    What.DIFFERS: "differs although it stays as it is",
}


def standing_line(run: int, about: int, items: int, groups: int) -> str:
    """How far a search is before a run.

    >>> standing_line(7, 18, 212, 3)
    'search: run 7 of about 18, the cause is among 212 files of 3 groups'
    """
    if not items:
        return f"search: run {run} of about {about}, to be certain"
    return (
        f"search: run {run} of about {about}, the cause is among {counted(items, 'file')} of {counted(groups, 'group')}"
    )


def fate(cause: Cause) -> str:
    """What happened to a path, and whose it is.

    >>> fate(Cause(path=b"/a", what=What.REMOVED, owner="dpkg:x"))
    'removed, of dpkg:x'
    """
    words = _FATES[cause.what] + (f", of {cause.owner}" if cause.owner else "")
    return words if cause.alone else f"{words}; tried together with others of its group"


def search_lines(search: Search) -> list[str]:
    """What a search came to, as lines: the answer, then each cause."""
    lines = [f"{answer(search)}."]
    lines += [f"    {to_text(each.path)}  ({fate(each)})" for each in search.causes[:_SHOWN]]
    if len(search.causes) > _SHOWN:
        lines.append(f"    … {len(search.causes)} files in all (summary.json has them)")
    return lines


def answer(search: Search) -> str:
    """The outcome in a sentence.

    A search that found nothing says which of the two it was: chance, or something that is not a file.
    """
    took = f"{counted(search.runs, 'run')}, {search.seconds:.0f} s"
    steps = ", ".join(search.steps)
    outcome, causes = search.outcome, len(search.causes)
    among = f"among {counted(search.differences, 'difference')} between the images"
    named = f"{counted(causes, 'file')} {'makes' if causes == 1 else 'make'} {steps} worse"
    if outcome is Outcome.FOUND:
        return f"search ({took}): {named}, {among}"
    if outcome is Outcome.STOPPED:
        so_far = f"{named} so far, and the next one" if causes else "the cause"
        return f"search: stopped after {took}; {so_far} is among {counted(search.left, 'file')}"
    if outcome is Outcome.UNSTABLE:
        return f"search ({took}): {steps} fails now and then: with the same files, it once passed and once failed"
    if outcome is Outcome.ELSEWHERE:
        return (
            f"search ({took}): {steps} passes in the full image with all {counted(search.differences, 'difference')}, "
            "and fails in the slim one: the cause is not in the files' bytes or names"
        )
    if outcome is Outcome.UNTRIED:
        return "search: only the start of the image is worse, and no run of a step can show why"
    return f"search: given up after {took}: {search.note}"


def next_step(search: Search) -> str:
    """What to do about a cause that a repair cannot undo; a hint."""
    outcome = search.outcome
    blamed = [each for each in search.causes if each.what not in MENDABLE]
    if any(each.what is What.DIFFERS for each in blamed):
        first = next(each for each in blamed if each.what is What.DIFFERS)
        return (
            f"{to_text(first.path)} should be the same in both images: this is a fault of slimagent or of the engine; "
            "report it"
        )
    if blamed:
        return f"keep the packages that {to_text(blamed[0].path)} lists with --keep-package KIND:NAME"
    if outcome is Outcome.FOUND:
        return hint_for(search.causes)
    if outcome is Outcome.STOPPED:
        return "allow more with --search-runs N or --search-minutes N"
    if outcome is Outcome.UNSTABLE:
        return "no removed file was needed; repair the test, so that it passes every time"
    if outcome is Outcome.UNTRIED:
        return "compare logs/slim-start.log with logs/full-start.log"
    if outcome is Outcome.BROKEN:
        return "run it again; --search-runs 0 does not search"
    return "no removed file was needed, so the test counts on something that is not a file"


def hint_for(causes: tuple[Cause, ...]) -> str:
    """The options that undo what was found."""
    kept = [f"--keep {shlex.quote(to_text(each.path))}" for each in causes if each.what is What.REMOVED]
    left = [f"--strip-except {shlex.quote(to_text(each.path))}" for each in causes if each.what is not What.REMOVED]
    words = [*kept, *left]
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return f"undo it with {' '.join(words[:3])}{more}"
