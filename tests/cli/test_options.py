"""Values of options that are not known: the nearest that --help names comes first."""

from __future__ import annotations

import pytest

from slimagent.cli import options
from slimagent.errors import UsageError
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
    with pytest.raises(UsageError) as error:
        level.convert(value, None, None)
    assert error.value.hint == hint
    assert [level.convert(each, None, None) for each in (*LEVELS, *VARIANTS)] == [*LEVELS, *VARIANTS]
