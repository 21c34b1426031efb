"""Values of options that are not known: the nearest that --help names comes first."""

from __future__ import annotations

import click
import pytest

from slimagent.cli import options
from slimagent.model.profile import LEVELS, VARIANTS


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("files", "did you mean file?"),
        ("Package", "did you mean package?"),
        ("minimall", "did you mean minimal?"),
        ("huge", "levels are file, package, cruft"),
    ],
)
def test_a_level_that_is_not_known(value: str, hint: str) -> None:
    level = options._Level((*LEVELS, *VARIANTS))
    with pytest.raises(click.BadParameter) as error:
        level.convert(value, None, None)
    assert error.value.message == f"{value!r} is not a level; {hint}"
    assert [level.convert(each, None, None) for each in (*LEVELS, *VARIANTS)] == [*LEVELS, *VARIANTS]
