"""Reasons in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slimagent.model.plan import Step, UsedBy
from slimagent.model.reason import Reason, ReasonKind
from slimagent.paths.algebra import to_text
from slimagent.text.sizes import size

_NAMED = 2  # tests, if there are many
_BUDGETS = re.compile(r"([\d,]+) bytes \((\d+(?:/\d+)?) budgets\)")  # as plan/levels.py writes it
_BYTECODE = re.compile(r"(.*/)?__pycache__/([^/]+?)\.[^./]+(?:\.opt-[12])?\.pyc")  # PEP 3147
_UNSAID = "the plan gives no reason"  # a kind without a name, which no slimagent writes


def tests_named(used: UsedBy) -> str:
    """The tests that used a path, in a few words.

    >>> tests_named(UsedBy(5, ("test_plot_svg", "test_export", "test_save"), False))
    'test_plot_svg, test_export and 3 more'
    """
    names = used.names if used.tests <= len(used.names) else used.names[:_NAMED]
    more = used.tests - len(names)
    words = [*names, f"{more:,} more"] if more else names
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def sentence(reason: Reason, steps: tuple[Step, ...], package: str = "", used: UsedBy | None = None) -> str:
    """One reason in words, with the tests that used the path. A kind from a later version is shown as it is."""
    names = list(step_names(reason, steps))
    shown = (
        "" if not names else " in " + ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    )
    if used is not None and used.names:
        shown += f" by {tests_named(used)}" + (", and outside of tests" if used.outside else "")
    if reason.source is not None:
        link = f" by {_named(reason.source)}"
    else:
        link = f" as {reason.detail}" if reason.detail else ""
    if not reason.kind.sentence:
        return str(reason.kind) or _UNSAID
    return reason.kind.sentence.format(
        steps=shown,
        detail=_plain(reason.detail) if reason.kind == ReasonKind.TOO_LARGE else reason.detail,
        source=_named(reason.source) if reason.source is not None else "",
        was="was used" if names else "is needed",
        link=link,
        package=package,
    )


def _named(path: bytes) -> str:
    """A path, for compiled Python the module: its name says more, and it is what somebody would look for.

    >>> _named(b"/p/uv/__pycache__/__init__.cpython-311.pyc")
    '/p/uv/__init__.py (compiled)'
    """
    text = to_text(path)
    found = _BYTECODE.fullmatch(text)
    return f"{found[1] or ''}{found[2]}.py (compiled)" if found else text


def _plain(detail: str) -> str:
    """A limit as people know it: a size, and how it comes from an option.

    >>> _plain("data files stay up to 6,800,000 bytes (340 budgets)")
    'data files stay up to 6.8 MB (340 times --budget)'
    """
    return _BUDGETS.sub(_limit, detail)


def _limit(found: re.Match[str]) -> str:
    times = "" if found[2] == "1" else f"{found[2]} of " if "/" in found[2] else f"{found[2]} times "
    return f"{size(int(found[1].replace(',', '')))} ({times}--budget)"


def step_names(reason: Reason, steps: tuple[Step, ...]) -> Iterator[str]:
    """The steps of a reason, each name once; for a step of several runs, with the runs that it was in."""
    those: dict[str, list[str]] = {}
    for name, run in (steps[at] for at in reason.steps if 0 <= at < len(steps)):
        those.setdefault(name, []).append(run)
    for name, runs in those.items():
        every = sum(step.name == name for step in steps)
        if every == 1:
            yield name
        elif len(runs) == every:
            yield f"{name} of all {every} runs"
        else:
            yield f"{name} of run {runs[0][:8]}" if len(runs) == 1 else f"{name} of {len(runs)} runs"
