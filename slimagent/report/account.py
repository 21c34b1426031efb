"""A report as sentences and as lines for a terminal: aligned tables, and the answer last. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from textwrap import wrap

from slimagent.model.report import Fate, Report
from slimagent.model.summary import Failure, Summary
from slimagent.report.fates import words
from slimagent.report.passing import passing
from slimagent.report.repairs import rounds_line
from slimagent.report.result import headline as made
from slimagent.report.result import result
from slimagent.report.text import layer_table, share, size, table
from slimagent.text.counted import counted

_SHOWN = 10
_WIDTH, _INDENT = 80, " " * 12


def unstripped(report: Report) -> str:
    """A word at what steps used: its bytes in the image. What stays is without what stripping saves."""
    return ", not stripped" if any(part.fate is Fate.STRIPPED and part.bytes for part in report.parts) else ""


def headline(report: Report) -> str:
    """The answer in one sentence, without a full stop."""
    summary = report.summary
    if summary.failure is not None:
        return made(summary)
    if summary.bytes_before is None or summary.bytes_after is None:
        whole = sum(part.bytes for part in report.parts)
        stays = sum(part.bytes for part in report.parts if part.fate.stays)
        if not report.parts:
            return "Nothing was planned or made"
        return f"{size(stays)} of {size(whole)} stay by the plan; nothing was made yet"
    return f"{size(summary.bytes_before)} became {size(summary.bytes_after)}; {_proof(summary)}"


def _proof(summary: Summary) -> str:
    if summary.passed is None or summary.passing_after is None:
        return "not verified"
    if summary.worse:
        return f"{counted(len(summary.worse), 'check is', 'checks are')} worse than before"
    if summary.missed:
        return f"{counted(len(summary.missed), 'removed file was', 'removed files were')} needed"
    if not summary.passed:
        return "not proved"
    return f"{passing(summary)} {'passes' if summary.passing_after == 1 else 'pass'} as before"


def subtitle(summary: Summary) -> str:
    """What was made of what, how much smaller it is, and at which level."""
    names = [each for each in (summary.image, summary.tag) if each]
    said = [" → ".join(names)] if names else []
    if summary.bytes_before is not None and summary.bytes_after is not None:
        said.append(f"{share(summary.bytes_before - summary.bytes_after, summary.bytes_before)} smaller")
    if summary.level:
        said.append(f"level {summary.level}")
    return ", ".join((*said, summary.tool))


def facts(report: Report) -> list[str]:
    """How it was made and what the figures count, a sentence each, without full stops."""
    return [*_image(report), *_trace(report), *_figures(report)]


def _image(report: Report) -> Iterator[str]:
    summary, started = report.summary, report.started
    if started is not None and started.command:
        user = f" as {started.user}" if started.user else ""
        word = "port" if len(started.ports) == 1 else "ports"
        ports = f" and exposes {word} {', '.join(map(str, started.ports))}" if started.ports else ""
        yield f"The image starts {shlex.join(started.command)}{user}{ports}"
    if summary.level:
        accepted = f"; accepted: {', '.join(summary.accepted)}" if summary.accepted else ""
        yield f"Planned at level {summary.level}{accepted}"
    if summary.seconds is not None:
        yield f"The run took {summary.seconds:.0f} s"
    if summary.repairs:
        yield rounds_line(summary.repairs)


def _trace(report: Report) -> Iterator[str]:
    watched = report.watched
    if watched is None:
        return
    yield (
        f"Watched by {', '.join(watched.backends) or 'nothing'}: {counted(watched.paths, 'path was', 'paths were')} "
        f"asked for, {watched.found:,} of them in the image"
    )
    if watched.blind_spots:
        yield f"What such a trace cannot see: {', '.join(watched.blind_spots)}"
    for each in watched.losses:
        yield f"Lost: {each}"


def _figures(report: Report) -> Iterator[str]:
    summary = report.summary
    if report.again:
        yield (
            f"The picture has the plan's sizes, which differ by {size(abs(report.again))} from the first lines: "
            "package records became smaller"
        )
    if summary.files_stripped:
        yield "What stripping saves is the plan's estimate in the picture, and what was saved in the first lines"
    if summary.left_alone:
        yield f"{counted(summary.left_alone, 'path was', 'paths were')} left alone: receipt.json says why"
    if summary.caution is not None:
        paths = counted(summary.caution.paths, "file or link stays", "files and links stay")
        yield f"{paths}, {size(summary.caution.size)}, only because the trace cannot see lookups"


def account(report: Report, directory: str) -> list[str]:
    """The lines. An empty line separates blocks; the last line is the answer."""
    missing = [f"{each.name} is missing: {each.missing}" for each in report.found if each.sha256 is None]
    blocks = [_fates(report), _steps(report), _left(report, directory), _untested(report), _layers(report), missing]
    has_plan = any(each.name == "plan.json" and each.sha256 is not None for each in report.found)
    *rest, _ = result(report.summary, directory, has_plan=has_plan)
    lines = [line for block in blocks if block for line in (*block, "")]
    return [*lines, *rest, *_failure(report.summary.failure), headline(report)]


def _failure(failure: Failure | None) -> list[str]:
    """Why the run failed, as it said then."""
    if failure is None:
        return []
    return [f"the run failed: {failure.message}", *([f"  hint: {failure.hint}"] if failure.hint else [])]


def _fates(report: Report) -> list[str]:
    whole = sum(part.bytes for part in report.parts)
    names = words(report.summary)
    rows = [[names[part.fate], f"{part.files:,}", size(part.bytes), share(part.bytes, whole)] for part in report.parts]
    head = ["what becomes of the bytes", "files", "size", "of the image"]
    return table([head, *rows], right=(1, 2, 3)) if rows else []


def _steps(report: Report) -> list[str]:
    rows = [
        [each.step, f"{each.files:,}", size(each.bytes), f"{each.packages:,}", size(each.alone_bytes)]
        for each in report.needed
    ]
    head = ["step", "files", f"used{unstripped(report)}", "packages", "it alone"]
    return table([head, *rows], right=(1, 2, 3, 4)) if rows else []


def _left(report: Report, directory: str) -> list[str]:
    if not report.left:
        return []
    lines = ["what is left, the largest first"]
    for each in report.left[:_SHOWN]:
        lines.append(f"{size(each.bytes):>10}  {each.what}  ({share(each.used, each.bytes)} used)")
        lines += _wrapped(each.reason) + (_wrapped(f"give up {each.price}") if each.price else [])
    rest = report.left[_SHOWN:]
    if rest:
        lines.append(f"{size(sum(each.bytes for each in rest)):>10}  {counted(len(rest), 'smaller thing')}")
    more = shlex.join(["slimagent", "report", directory, "--html", "report.html"])
    return [*lines, f"all of it, as a picture: {more}"]


def _untested(report: Report) -> list[str]:
    beyond = [line for sentence in report.beyond for line in wrap(sentence, _WIDTH, subsequent_indent="  ")]
    return [*beyond, *([""] if beyond and report.untested else []), *_unused(report)]


def _unused(report: Report) -> list[str]:
    if not report.untested:
        return []
    whole = size(sum(each.bytes for each in report.untested))
    lines = [f"stays, and no step used anything of it: {counted(len(report.untested), 'package')}, {whole}"]
    for each in report.untested[:_SHOWN]:
        lines += [f"{size(each.bytes):>10}  {each.what}", *_wrapped(each.reason)]
    return lines


def _wrapped(sentence: str) -> list[str]:
    """A sentence below the name of what it is about."""
    return wrap(
        sentence, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _layers(report: Report) -> list[str]:
    return layer_table(report.summary.layers)
