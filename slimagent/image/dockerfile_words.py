"""Write any value so that a Dockerfile's parser reads it back unchanged. Pure.

Source: the Dockerfile reference and, where it is silent, the parser: line_parsers.go and shell/lex.go of BuildKit's
frontend, which Docker's legacy builder shares. The parser reads line by line. It removes a backslash at the end of a
line together with the line break. It splits ENV and LABEL into words, and expands variables in most instructions.
Where it expands, double quotes keep every character but `"`, `$` and the backslash; a backslash escapes these.
Arrays (CMD, ENTRYPOINT, SHELL, RUN) are JSON, without expansion. VOLUME is JSON with expansion.

Outside of an array no line break can be written: such a value takes it from the build argument NEWLINE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from slimagent.errors import RefusedError
from slimagent.text.escapes import json_text, printable

NEWLINE, EQUALS = "SLIMAGENT_NEWLINE", "SLIMAGENT_EQUALS"
_PLAIN = re.compile(r"[A-Za-z0-9/_.][A-Za-z0-9/_.:@,+-]*")
_HERE_DOCUMENT = re.compile(r"\d*<<")  # BuildKit would read a word that begins so as one
_LONGEST = 1 << 15  # characters; older builders read lines of up to 64 KiB (bufio.MaxScanTokenSize)


def word(text: str) -> str:
    """Write a word where variables are expanded: in double quotes unless it is safe without. Raises RefusedError."""
    return text if _PLAIN.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """Like `word`, but always in double quotes."""
    require_text(text)
    escaped = re.sub(r'([\\"$])', r"\\\1", text)
    return '"' + escaped.replace("\n", f"${{{NEWLINE}:?see the first lines of this file}}") + '"'


def name(text: str) -> str:
    """Write a name that comes before an equals sign. The first equals sign ends it, even in quotes."""
    if not text:
        raise RefusedError("no Dockerfile can write a label without a name", "use `slimagent image` instead")
    if "=" not in text:
        return word(text)
    return quoted(text).replace("=", f"${{{EQUALS}}}")


def array(values: Sequence[str], indent: str = "") -> str:
    """Write an array in printable characters. `indent` puts each option on its own line. Raises RefusedError."""
    elements = [json_text(json.dumps(require_text(value), ensure_ascii=False)) for value in values]
    if any(_HERE_DOCUMENT.match(value) for value in values):
        return f"[{','.join(elements)}]"  # as one word
    broken = [f"\\\n{indent}{each}" if indent and each.startswith('"--') else each for each in elements]
    return "[" + ", ".join(broken) + "]"


def raw(text: str) -> bool:
    """Whether a text survives unchanged in an instruction that takes the rest of its line."""
    return bool(text) and text == text.strip() and not set(text) & set("\n\r\0") and not text.endswith("\\")


def comment(text: str) -> list[str]:
    """Write a comment. Each line begins with `# `, and the parser reads none of them as a directive."""
    return [f"# {printable(line, '')}" for line in text.split("\n")]


def folded(line: str) -> str:
    """Split a line so that none is too long for the parser. It cuts where the parser joins the parts unchanged."""
    parts = []
    while len(line) > _LONGEST:
        cut = next((at for at in range(_LONGEST, 0, -1) if _may_cut(line, at)), 0)
        if not cut:
            raise RefusedError("a value of the image is too long for a Dockerfile", "use `slimagent image` instead")
        parts.append(line[:cut])
        line = line[cut:]
    return "\\\n".join((*parts, line))


def _may_cut(line: str, at: int) -> bool:
    """Not after a backslash, which escapes what follows, nor where the rest would be a comment or begin blank."""
    return line[at - 1] != "\\" and line[at] not in "#\\\n" and not line[at].isspace() and not line[at - 1].isspace()


def require_text(text: str) -> str:
    """Return the text. Raises RefusedError if no Dockerfile can contain it."""
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise RefusedError(f"no Dockerfile can contain the value {text[:80]!a}", "use `slimagent image` instead")
    return text
