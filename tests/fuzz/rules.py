"""What holds of every parser: an input is understood, or refused by an error of ours that is one printable line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

from slimagent.errors import SlimagentError
from slimagent.text.escapes import markdown, markdown_code, printable, xml

LONGEST = 20_000  # characters of a message
_COMMAND = re.compile(r"^\s*::|##(?:vso|teamcity)?\[", re.MULTILINE)


@contextlib.contextmanager
def refused(*others: type[Exception]) -> Iterator[None]:
    """The block may refuse its input: by an error of ours, or by one of those that its docstring names."""
    try:
        yield
    except SlimagentError as error:
        for text in (error.message, error.hint):
            assert_shown([text])
    except others:
        pass


def assert_shown(lines: Iterable[str]) -> None:
    """Each text is a printable line on a terminal, and text in the other formats."""
    for each in lines:
        shown = printable(each)
        assert shown.replace("\t", "").isprintable() and not _COMMAND.search(shown), ascii(shown[:200])
        assert len(shown) < LONGEST or len(each) >= LONGEST, "a message that is too long"
        assert "\n" not in markdown(each) + markdown_code(each)
        assert "`" not in markdown_code(each)[1:-1]
        assert xml(each).replace("\n", "").replace("\t", "").isprintable()
