"""Names that may be meant: near ones only."""

from __future__ import annotations

from slimagent.text.near import meant, meant_package, nearest


def test_only_near_names_are_asked_for() -> None:
    assert nearest("levl", ["level", "extends"]) == "did you mean level?"
    assert nearest("qq", ["level"]) == ""
    assert meant("qq", ["level"]) == "known are level"


def test_a_package_is_near_by_its_name() -> None:
    """Not by its kind, which all of one manager share; the same name of another manager is."""
    known = ("dpkg:zip", "dpkg:git", "dpkg:libsm6", "r:ggplot2", "python:numpy")
    assert meant_package("dpkg:vim", known) == ""
    assert meant_package("r:GGplot", known) == "did you mean r:ggplot2?"
    assert meant_package("ggplot", known) == "did you mean r:ggplot2?"
    assert meant_package("dpkg:numpy", known) == "did you mean python:numpy?"
