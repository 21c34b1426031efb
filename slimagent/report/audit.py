"""Show an audit as lines for a terminal, and as Markdown: layers, components, findings. Pure."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from slimagent.model.audit import OF_LAYERS, Audit, Component, Finding, Risk
from slimagent.paths.algebra import to_text
from slimagent.report.text import share, size, table
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown as cell
from slimagent.text.escapes import markdown_code as code
from slimagent.text.escapes import markdown_html, printable

_TICKS = re.compile(r"`+")
_COMMAND = 44  # characters of a layer's command
# A file with two names is two files of its layer, of which one has no bytes, and one file of the image.
_LAYER_HEAD = ["layer", "size", "names", "hidden", "made by"]
_LARGEST = 12  # components
_FINDINGS = 20
_EVIDENCE = 4  # sentences of a finding
_EDIT = 14  # lines of an edit
_LAYERS = 6  # numbers
_PROBLEMS = 5
_NAME = 44  # characters of a package's name
_WIDTH = 100  # characters of a line
_INDENT = " " * 11  # below the size of a finding
_BEFORE_UNIT, _NO_BREAK = re.compile(r"(?<=[0-9]) (?=[kMG]?B\b)"), "\N{NO-BREAK SPACE}"
_LONGEST_WORD, _LONGEST = 400, 2000  # characters of a sentence: a package's name can be a megabyte
# Of a shell's line: a word, with what is quoted in it, and spaces. A word that begins with # is a comment to the end.
_SHELL = re.compile(r"#.*|(?:[^\s'\"\\]|\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\")+|\s+", re.DOTALL)
_EDGE = " \\"  # of a command that goes on in the next line
_UNUSED = "cruft, or what no test used and few people use"  # of low risk, where a trace says it
_MEANS = {
    Risk.NONE: "nothing can miss it",
    Risk.LOW: "cruft, which programs do not need for their work",
    Risk.MEDIUM: "somebody asked for it, or it may be in use",
    Risk.HIGH: "a test used it, or the image is for it",
}


def lines(audit: Audit, *, whole: bool = False) -> list[str]:
    """The lines for a terminal; `whole` shows every finding."""
    blocks = [_layers(audit), _kinds(audit), _components(audit), _findings(audit, whole=whole)]
    blocks += [_problems(audit), [headline(audit)]]
    return [line for block in blocks if block for line in (*block, "")][:-1]


def headline(audit: Audit) -> str:
    """The audit in one line."""
    return f"{printable(audit.image)}: {_whole(audit)}"


def _whole(audit: Audit) -> str:
    layers = f", {counted(len(audit.layers), 'layer')} of {size(audit.carried)}" if audit.layers else ""
    found = counted(len(audit.findings), "finding")
    return f"{size(audit.size)} in {counted(audit.files, 'file')}{layers}; {found}"


def _layers(audit: Audit) -> list[str]:
    rows = _layer_rows(audit)
    return table([_LAYER_HEAD, *rows], right=(0, 1, 2, 3)) if rows else []


def _layer_rows(audit: Audit) -> list[list[str]]:
    hidden: defaultdict[int, int] = defaultdict(int)
    for each in audit.hidden:
        hidden[each.layer] += each.size
    return [
        [
            str(at),
            size(layer.size),
            f"{layer.files:,}",
            size(hidden[at - 1]) if at - 1 in hidden else "",
            short(layer.command),
        ]
        for at, layer in enumerate(audit.layers, 1)
    ]


def short(command: str) -> str:
    """A layer's command, cut to fit a table."""
    text = " ".join(command.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").split())
    return _cut(text, _COMMAND)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _kinds(audit: Audit) -> list[str]:
    return table(_kind_rows(audit), right=(1, 2, 3, 4))


def _kind_rows(audit: Audit) -> list[list[str]]:
    """The owners, below their heads."""
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
    return [head, *rows]


def _touched(members: Iterable[Component], whole: int, audit: Audit) -> list[str]:
    return [share(sum(each.touched or 0 for each in members), whole)] if audit.traced else []


def _components(audit: Audit) -> list[str]:
    right = (1, 2, 3) if audit.traced else (1, 2)
    return table(_component_rows(audit), right=right) if audit.components else []


def _component_rows(audit: Audit) -> list[list[str]]:
    """The largest packages, below their heads."""
    rows = [
        [
            _cut(each.package.label, _NAME),
            size(each.size),
            *_touched([each], each.size, audit),
            "" if each.layer is None else str(each.layer + 1),
            each.asked,
        ]
        for each in audit.components[:_LARGEST]
    ]
    head = ["the largest packages", "size", *(["touched"] if audit.traced else []), "layer", "asked for by"]
    return [head, *rows]


def _findings(audit: Audit, *, whole: bool) -> list[str]:
    """The findings that save most for their risk, the safe ones first."""
    if not audit.findings:
        return []
    shown = audit.findings if whole else audit.findings[:_FINDINGS]
    found = ["what could be smaller: the safe first, then by size; findings overlap"]
    for risk, some in _by_risk(shown):
        of = sum(each.risk is risk for each in audit.findings)
        count = counted(of, "finding") if len(some) == of else f"{len(some)} of {counted(of, 'finding')}"
        means = _UNUSED if audit.traced and risk is Risk.LOW else _MEANS[risk]
        found += ["", f"risk {risk.value}: {means} ({count})"]
        for each in some:
            found += ["", *_finding(each)]
    rest = audit.findings[len(shown) :]
    if rest:
        found += ["", f"and {counted(len(rest), 'finding')} of {size(sum(each.size for each in rest))}: --all"]
    return [*found, "", _together(audit)]


def _problems(audit: Audit) -> list[str]:
    """How many package records were not understood, the first of them, and where all are."""
    if not audit.problems:
        return []
    rows = [row for path, why in audit.problems[:_PROBLEMS] for row in _sentence(f"{to_text(path)}: {why}")]
    rest = len(audit.problems) - _PROBLEMS
    more = [_more(rest)] if rest > 0 else []
    return [f"{_misread(audit)}:", *(f"  {row}" for row in (*rows, *more))]


def _more(count: int) -> str:
    return f"and {count:,} more: all are in `problems` of the JSON (--json, or -o FILE)"


def _misread(audit: Audit) -> str:
    count = counted(len(audit.problems), "record of a package was", "records of packages were")
    return f"{count} not understood, so what they speak of may count as nobody's"


def _together(audit: Audit) -> str:
    of = size(audit.carried or audit.size)
    base = ", without the base image's" if audit.layers else ""
    return f"all of them together, where a byte counts once: {size(audit.together)} of {of}{base}"


def _by_risk(findings: Iterable[Finding]) -> Iterator[tuple[Risk, list[Finding]]]:
    """The findings by risk, the lowest first, and the largest first in each."""
    groups: defaultdict[Risk, list[Finding]] = defaultdict(list)
    for each in findings:
        groups[each.risk].append(each)
    for risk in Risk:
        if risk in groups:
            yield risk, sorted(groups[risk], key=lambda each: -each.size)


def _finding(each: Finding) -> Iterator[str]:
    """A finding: what it saves, why, and the edit, each line no longer than a terminal's."""
    where = "" if each.kind in OF_LAYERS or not each.layers else f" in {_numbered(each.layers)}"
    head = _sentence(f"{each.kind}: {each.title}{where}")
    yield f"{size(each.size):>9}  {head[0]}"
    for line in (*head[1:], *(line for sentence in each.evidence[:_EVIDENCE] for line in _sentence(sentence))):
        yield f"{_INDENT}{line}"
    yield from _edit(each)


def _edit(each: Finding) -> Iterator[str]:
    """The edit below the name of its file, after what is to be said of it."""
    edit = each.edit.split("\n")
    if not each.comment and len(edit) == 1:
        line = f"{_INDENT}{_readable(each.file)}: {printable(edit[0])}"
        if len(line) <= _WIDTH:
            yield line
            return
    told = _sentence(f"{each.file}: {each.comment}" if each.comment else f"{each.file}:")
    for line in told:
        yield f"{_INDENT}{line}"
    for one in edit[:_EDIT]:
        for line in _command(printable(one)):
            yield f"{_INDENT}  {line}"
    if len(edit) > _EDIT:
        yield f"{_INDENT}and {len(edit) - _EDIT} more lines; --json has all"


def _sentence(text: str) -> list[str]:
    whole = _BEFORE_UNIT.sub(_NO_BREAK, _readable(text))
    lines = textwrap.wrap(whole, _WIDTH - len(_INDENT), break_on_hyphens=False) or [""]
    return [line.replace(_NO_BREAK, " ") for line in lines]


def _readable(text: str) -> str:
    """A printable text that is cut where nobody would read on; breaking a long word into lines is quadratic."""
    words = (_cut(word, _LONGEST_WORD) for word in printable(text[: _LONGEST + 1]).split(" "))
    return _cut(" ".join(words), _LONGEST)


def _command(line: str) -> list[str]:
    """A line of an edit, broken between words of a shell, so that it still is the same command."""
    width = _WIDTH - len(_INDENT) - 2
    if len(line) <= width:
        return [line]
    if line.startswith("# "):
        wrapped = textwrap.wrap(_readable(line[2:]), width - 2, break_on_hyphens=False, break_long_words=False)
        return [f"# {each}" for each in wrapped]
    words = [each for each in _SHELL.findall(line) if not each.isspace()]
    if "".join(_SHELL.findall(line)) != line:
        return [line]  # not what a shell understands
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width - len(_EDGE) or word.startswith("#"):
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return [f"{each}{_EDGE}" for each in lines[:-1]] + lines[-1:]


def _numbered(layers: Sequence[int]) -> str:
    some = ", ".join(str(at + 1) for at in layers[:_LAYERS])
    more = " and more" if len(layers) > _LAYERS else ""
    return f"layer {some}" if len(layers) == 1 else f"layers {some}{more}"


def markdown(audit: Audit) -> Iterator[str]:
    """The audit as a page: layers, owners, the largest packages, findings with their edits."""
    yield f"## {cell(audit.image)}: {_whole(audit)}"
    yield ""
    if audit.layers:
        rows = [[*map(cell, row), code(command)] for *row, command in _layer_rows(audit)]
        yield from _grid(_LAYER_HEAD, rows, right=4)
    for head, *rows in (_kind_rows(audit), _component_rows(audit)):
        if rows:
            yield from _grid(head, [list(map(cell, row)) for row in rows], left=1)
    rows = [
        [
            size(each.size),
            each.risk.value,
            f"{cell(each.kind)}: {cell(_readable(each.title))}",
            _numbered(each.layers) if each.layers else "",
            cell(_readable(each.file)),
        ]
        for _, some in _by_risk(audit.findings)
        for each in some
    ]
    yield from _grid(["saves", "risk", "finding", "layers", "edit"], rows, right=1)
    if audit.findings:
        yield cell(_together(audit))
    yield from _problem_items(audit)
    for _, some in _by_risk(audit.findings):
        for each in some:
            yield from _details(each)


def _problem_items(audit: Audit) -> Iterator[str]:
    """The records that were not understood, folded like a finding."""
    if not audit.problems:
        return
    yield ""
    yield f"<details><summary>{_misread(audit)}</summary>"
    yield ""
    for path, why in audit.problems[:_PROBLEMS]:
        yield f"- {cell(_readable(f'{to_text(path)}: {why}'))}"
    rest = len(audit.problems) - _PROBLEMS
    if rest > 0:
        yield f"- {_more(rest)}"
    yield ""
    yield "</details>"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0, left: int = 0) -> Iterator[str]:
    """A table of cells that are Markdown. The first `right` columns are numbers, or all but the first `left`."""
    numbers = [at < right if right else at >= left for at in range(len(head))]
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---:' if each else '---' for each in numbers)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _details(each: Finding) -> Iterator[str]:
    yield ""
    summary = markdown_html(f"{each.kind}: {_readable(each.title)}, {size(each.size)}")
    yield f"<details><summary>{summary}</summary>"
    yield ""
    where = f"{each.file}: {each.comment}" if each.comment else f"{each.file}:"
    for sentence in (*each.evidence, where):
        yield f"- {cell(_readable(sentence))}"
    yield ""
    fence = "`" * (3 + max(map(len, _TICKS.findall(each.edit)), default=0))
    yield fence
    yield from map(printable, each.edit.split("\n"))
    yield fence
    yield ""
    yield "</details>"
