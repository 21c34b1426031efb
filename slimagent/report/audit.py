"""Show an audit as lines for a terminal, and as Markdown: layers, components, findings. Pure."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from slimagent.model.audit import Audit, Component, Finding
from slimagent.report.text import share, size, table
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown as cell
from slimagent.text.escapes import markdown_code as code
from slimagent.text.escapes import printable

_TICKS = re.compile(r"`+")
_COMMAND = 44  # characters of a layer's command
_LARGEST = 12  # components
_FINDINGS = 20
_EVIDENCE = 4  # sentences of a finding
_EDIT = 5  # lines of an edit
_LAYERS = 6  # numbers
_OF_LAYERS = ("hidden", "copied-again")  # their titles say which
_WIDTH = 68  # characters of a sentence


def lines(audit: Audit, *, whole: bool = False) -> list[str]:
    """The lines for a terminal; `whole` shows every finding."""
    blocks = [_layers(audit), _kinds(audit), _components(audit), _findings(audit, whole=whole), [headline(audit)]]
    return [line for block in blocks if block for line in (*block, "")][:-1]


def headline(audit: Audit) -> str:
    """The audit in one line."""
    return f"{printable(audit.image)}: {_whole(audit)}"


def _whole(audit: Audit) -> str:
    layers = f", {counted(len(audit.layers), 'layer')} of {size(audit.carried)}" if audit.layers else ""
    found = counted(len(audit.findings), "finding")
    return f"{size(audit.size)} in {counted(audit.files, 'file')}{layers}; {found}"


def _layers(audit: Audit) -> list[str]:
    hidden: defaultdict[int, int] = defaultdict(int)
    for each in audit.hidden:
        hidden[each.layer] += each.size
    rows = [
        [
            str(at),
            size(layer.size),
            f"{layer.files:,}",
            size(hidden[at - 1]) if at - 1 in hidden else "",
            short(layer.command),
        ]
        for at, layer in enumerate(audit.layers, 1)
    ]
    return table([["layer", "size", "files", "hidden", "made by"], *rows], right=(0, 1, 2, 3)) if rows else []


def short(command: str) -> str:
    """A layer's command, cut to fit a table."""
    text = " ".join(command.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").split())
    return text if len(text) <= _COMMAND else text[: _COMMAND - 1] + "…"


def _kinds(audit: Audit) -> list[str]:
    groups: defaultdict[str, list[Component]] = defaultdict(list)
    for each in audit.components:
        groups[each.package.kind].append(each)
    is_shared = any(each.shared for each in audit.components)
    rows = []
    for kind, members in groups.items():
        whole, shared = sum(each.size for each in members), sum(each.shared for each in members)
        elsewhere = [size(shared) if shared else ""] * is_shared
        rows.append([kind, f"{len(members):,}", size(whole), *_touched(members, whole, audit), *elsewhere])
    rows.sort(key=lambda row: row[0])
    rows.append(["nobody", "", size(audit.unowned), *([""] * (audit.traced + is_shared))])
    rows.append(["together", "", size(audit.size), *([""] * (audit.traced + is_shared))])
    head = ["owner", "packages", "size", *["touched"] * audit.traced, *["in files of another owner"] * is_shared]
    return table([head, *rows], right=(1, 2, 3, 4))


def _touched(members: Iterable[Component], whole: int, audit: Audit) -> list[str]:
    return [share(sum(each.touched or 0 for each in members), whole)] if audit.traced else []


def _components(audit: Audit) -> list[str]:
    rows = [
        [
            each.package.label,
            size(each.size),
            *_touched([each], each.size, audit),
            "" if each.layer is None else str(each.layer + 1),
            each.asked,
        ]
        for each in audit.components[:_LARGEST]
    ]
    head = ["the largest packages", "size", *(["touched"] if audit.traced else []), "layer", "asked for by"]
    return table([head, *rows], right=(1, 2, 3) if audit.traced else (1, 2)) if rows else []


def _findings(audit: Audit, *, whole: bool) -> list[str]:
    shown = audit.findings if whole else audit.findings[:_FINDINGS]
    found: list[str] = []
    for each in shown:
        found += ["", *_finding(each)]
    rest = audit.findings[len(shown) :]
    if rest:
        found += ["", f"and {counted(len(rest), 'finding')} of {size(sum(each.size for each in rest))}: --all"]
    return (
        ["    saves  what could be smaller, most bytes for the least risk first; findings overlap", *found]
        if found
        else []
    )


def _finding(each: Finding) -> Iterator[str]:
    """A finding: what it saves, why, and the edit, each line no longer than a terminal's."""
    where = "" if each.kind in _OF_LAYERS or not each.layers else f" in {_numbered(each.layers)}"
    head = f"{each.kind}: {each.title}{where}; risk: {each.risk.value}"
    yield f"{size(each.size):>9}  {printable(head)}"
    for sentence in each.evidence[:_EVIDENCE]:
        for line in textwrap.wrap(printable(sentence), _WIDTH, break_on_hyphens=False, break_long_words=False):
            yield f"{'':11}{line}"
    edit = each.edit.splitlines()
    for line in edit[:_EDIT]:
        yield f"{'':11}{printable(each.file)}: {printable(line)}"
    if len(edit) > _EDIT:
        yield f"{'':11}and {len(edit) - _EDIT} more lines; --json has all"


def _numbered(layers: Sequence[int]) -> str:
    some = ", ".join(str(at + 1) for at in layers[:_LAYERS])
    more = " and more" if len(layers) > _LAYERS else ""
    return f"layer {some}" if len(layers) == 1 else f"layers {some}{more}"


def markdown(audit: Audit) -> Iterator[str]:
    """The audit as a page: layers, components, findings with their edits."""
    yield f"## {cell(audit.image)}: {_whole(audit)}"
    yield ""
    if audit.layers:
        yield "| layer | size | files | made by |"
        yield "|---:|---:|---:|---|"
        for at, layer in enumerate(audit.layers, 1):
            yield f"| {at} | {size(layer.size)} | {layer.files:,} | {code(short(layer.command))} |"
        yield ""
    yield "| saves | risk | finding | where |"
    yield "|---:|---|---|---|"
    for each in audit.findings:
        yield f"| {size(each.size)} | {each.risk.value} | {cell(each.kind)}: {cell(each.title)} | {cell(each.file)} |"
    for each in audit.findings:
        yield from _details(each)


def _details(each: Finding) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{cell(each.kind)}: {cell(each.title)}, {size(each.size)}</summary>"
    yield ""
    for sentence in each.evidence:
        yield f"- {cell(sentence)}"
    yield ""
    fence = "`" * (3 + max(map(len, _TICKS.findall(each.edit)), default=0))
    yield fence
    yield from map(printable, each.edit.splitlines())
    yield fence
    yield ""
    yield "</details>"
