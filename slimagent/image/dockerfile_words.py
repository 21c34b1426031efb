"""Any value as a word of a Dockerfile. Pure.

Source: the reference of Dockerfiles, and its reader, which decides what that leaves open: line_parsers.go and
shell/lex.go of BuildKit's frontend, which Docker's legacy builder shares. It reads line by line; takes a backslash at
the end of a line, and that end, away; splits ENV and LABEL into words; and expands variables in most instructions.
Where it expands, a word in double quotes keeps every character but `"`, `$` and the backslash, which one protects.
Arrays (CMD, ENTRYPOINT, SHELL, RUN) are JSON and nothing is expanded in them; in VOLUME both happen.

There is no way to write a line break outside of an array: such a value takes it from the build argument NEWLINE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from slimagent.errors import RefusedError
from slimagent.text.escapes import json_text, printable

NEWLINE, EQUALS = "SLIMAGENT_NEWLINE", "SLIMAGENT_EQUALS"
_PLAIN = re.compile(r"[A-Za-z0-9/_.][A-Za-z0-9/_.:@,+-]*")
_HERE_DOCUMENT = re.compile(r"\d*<<")  # what BuildKit would take for one, at the beginning of a word
_LONGEST = 1 << 15  # characters; older builders read lines of up to 64 KiB (bufio.MaxScanTokenSize)


def word(text: str) -> str:
    """A word where variables are expanded: as it is, if that is safe, else in double quotes. Raises RefusedError."""
    return text if _PLAIN.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """As `word`, in double quotes whatever it is."""
    require_text(text)
    escaped = re.sub(r'([\\"$])', r"\\\1", text)
    return '"' + escaped.replace("\n", f"${{{NEWLINE}:?see the first lines of this file}}") + '"'


def name(text: str) -> str:
    """A name that an equals sign follows; the first one ends it, quoted or not."""
    if not text:
        raise RefusedError("a label of the image has no name, which no Dockerfile can give", "see `slimagent image`")
    if "=" not in text:
        return word(text)
    return quoted(text).replace("=", f"${{{EQUALS}}}")


def array(values: Sequence[str], indent: str = "") -> str:
    """An array on one line, all of it printable; with `indent`, an option a line. Raises RefusedError."""
    elements = [json_text(json.dumps(require_text(value), ensure_ascii=False)) for value in values]
    if any(_HERE_DOCUMENT.match(value) for value in values):
        return f"[{','.join(elements)}]"  # as one word
    broken = [f"\\\n{indent}{each}" if indent and each.startswith('"--') else each for each in elements]
    return "[" + ", ".join(broken) + "]"


def raw(text: str) -> bool:
    """Whether a text comes back as it is where an instruction takes the rest of its line."""
    return bool(text) and text == text.strip() and not set(text) & set("\n\r\0") and not text.endswith("\\")


def comment(text: str) -> list[str]:
    """A comment in lines; each says `# ` first, and no line is a directive to the reader."""
    return [f"# {printable(line, '')}" for line in text.split("\n")]


def folded(line: str) -> str:
    """A line as several, none of them too long for the reader: cut where that leaves no trace."""
    parts = []
    while len(line) > _LONGEST:
        cut = next((at for at in range(_LONGEST, 0, -1) if _may_cut(line, at)), 0)
        if not cut:
            raise RefusedError("a value of the image is too long for a Dockerfile", "see `slimagent image`")
        parts.append(line[:cut])
        line = line[cut:]
    return "\\\n".join((*parts, line))


def _may_cut(line: str, at: int) -> bool:
    """Not behind a backslash, which protects what follows, nor where the rest would be a comment or begin blank."""
    return line[at - 1] != "\\" and line[at] not in "#\\\n" and not line[at].isspace() and not line[at - 1].isspace()


def require_text(text: str) -> str:
    """The text. Raises RefusedError if no Dockerfile can hold it."""
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise RefusedError(f"no Dockerfile can hold the value {text[:80]!a}", "see `slimagent image`")
    return text
