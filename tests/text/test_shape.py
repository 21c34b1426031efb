"""Values of JSON and TOML: of their kind, or refused where they stand."""

from __future__ import annotations

from typing import Any

import pytest

from slimagent.text.shape import Place, ShapeError, known, of, string, whole

VALUES: tuple[Any, ...] = ("x", 1, True, 1.5, None, [], {})
KINDS = {str: "a string", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_is_of_one_kind(kind: type) -> None:
    """True is no number, although it is an `int` of Python."""
    fits = [value for value in VALUES if known(kind, value) is not None]
    assert [type(value) for value in fits] == [kind]
    for value in VALUES:
        if value in fits and type(value) is kind:
            assert of(kind, value) is value
        else:
            with pytest.raises(ShapeError, match=f"expected {KINDS[kind]}"):
                of(kind, value)


@pytest.mark.parametrize(("quick", "kind"), [(string, str), (whole, int)])
def test_the_quick_checks_say_the_same(quick: Any, kind: type) -> None:
    """What is asked of rows is what is asked of single values."""
    for value in VALUES:
        if known(kind, value) is not None:
            assert quick(value) is value
        else:
            with pytest.raises(ShapeError) as caught:
                quick(value)
            assert caught.value.found == f"{value!r} is not {KINDS[kind]}"


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (lambda top: top["a"].text(), "d at a: expected a string"),
        (lambda top: top["a"]["b"], "d at a: 'b' is missing"),
        (lambda top: top["a"]["c"].each(Place.integer), "d at a.c[1]: expected a whole number"),
        (lambda top: top["a"]["c"].rows(whole), "d at a.c[1]: cannot be understood ('x' is not a whole number)"),
        (lambda top: top["a"].optional("c", Place.boolean, None), "d at a.c: expected true or false"),
        (lambda top: top["a"].entries()["c"].number(), "d at a['c']: expected a number"),
        (lambda top: top.texts(), "d: expected a list"),
    ],
)
def test_an_error_names_the_place(read: Any, problem: str) -> None:
    """As whoever reads the document would write it."""
    with pytest.raises(ArithmeticError) as caught:
        read(Place({"a": {"c": [1, "x"]}}, "", "d", ArithmeticError))
    assert str(caught.value) == problem


def test_what_is_optional_may_be_null_or_absent() -> None:
    """Engines write the one or the other."""
    place = Place({"a": None, "b": ["x"]}, "", "d", ValueError)
    assert [place.optional(key, Place.texts, ()) for key in "abc"] == [(), ("x",), ()]
