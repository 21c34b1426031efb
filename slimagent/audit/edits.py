"""Write edits that people paste. A name from an image is one word of one line in them, or the edit is not given. Pure.

Names, versions and paths come from whoever made the image. In an edit they could end the word, the line or the comment
that they stand in, and be a command of their own.
"""

from __future__ import annotations

import shlex

# In place of an edit. It names nothing from the image.
BY_HAND = "# by hand: a name in it has characters that cannot be written in an edit"


def is_writable(name: str | bytes) -> bool:
    r"""Whether an edit can have a name: it is printable text, and not absurdly long.

    A path must be as it is on the disk: one that only `to_text` can show would be another path in a command.

    >>> is_writable("a b"), is_writable("a\nRUN b"), is_writable(b"/a\xe9"), is_writable("a" * 5000)
    (True, False, False, False)
    """
    try:
        text = name if isinstance(name, str) else name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return text.isprintable() and len(text) <= _LONGEST


_LONGEST = 4096  # characters: no path is longer (PATH_MAX), and no sensible name


def line(template: str, *names: str | bytes) -> str:
    r"""The line of an edit with each name as one shell word in place of a `{}`; `BY_HAND` if a name cannot be one.

    >>> line("# not {}", "vim"), line("rm -rf {}", b"/a b"), line("# not {}", "a\nb") == BY_HAND
    ('# not vim', "rm -rf '/a b'", True)
    """
    if not all(map(is_writable, names)):
        return BY_HAND
    return template.format(*(shlex.quote(each if isinstance(each, str) else each.decode()) for each in names))


def words(template: str, names: list[bytes]) -> str:
    """Like `line`, with all names one after the other in place of the only `{}`."""
    return line(template.format(" ".join(["{}"] * len(names))), *names)
