"""The result on a terminal: what somebody asks first, in tables that line up, with the answer last."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.summary import Dropped, Failure, Gone, Reached, Summary
from slimagent.report.kinds import kind
from slimagent.report.result import headline, result
from slimagent.text.escapes import printable

MADE = Summary(
    tool="slimagent 0", command="image", image="big:1", tag="slim:1", level="package",
    bytes_before=10_000_000_000, bytes_after=4_000_000_000, paths_before=1000, paths_after=30,
    passing_before=12, passing_after=12, passed=True, missed=(), files_stripped=3, bytes_stripped=7_000_000,
    dropped=(Dropped(kind="headers", files=3, bytes=9_000_000), Dropped(kind="other", files=1200, bytes=5)),
    reached=(
        Reached(how="touched by the steps", packages=7, bytes=3_000_000_000),
        Reached(how="required by those", packages=70, bytes=1_000_000_000),
    ),
    packages_dropped=(Gone(kind="dpkg", name="vim", version="2:9", bytes=3_700_000),),
    notes=("no check asked port 80",),
)  # fmt: skip


def test_the_answer_comes_last_and_what_to_type_before_it() -> None:
    """The last line says what became of the image; a package that was removed stands in a command that can be typed."""
    lines = result(MADE, "out")
    assert lines[-1] == headline(MADE) == "slim:1: 10.00 GB -> 4.00 GB, 60.0 % smaller"
    assert lines[-2] == "documents and logs: out/"
    assert any(line.endswith("slimagent explain out dpkg:vim") for line in lines)
    assert "note: no check asked port 80" in lines
    assert "" not in (lines[0], lines[-1])


def test_the_columns_line_up() -> None:
    """Numbers end in the same column."""
    lines = result(MADE, "out")
    table = lines[: lines.index("")]
    assert len({len(line) for line in table if line.rstrip()[-1].isdigit() or line.endswith("B")}) == 1
    assert table[1].split() == ["size", "10.00", "GB", "4.00", "GB"]


def test_what_is_not_shown_is_counted() -> None:
    """The classes of files that there is no row for, with their files and bytes."""
    many = tuple(Dropped(kind=f"class {at}", files=at, bytes=at * 1000) for at in range(14, 0, -1))
    lines = result(replace(MADE, dropped=many), "out")
    at = next(at for at, line in enumerate(lines) if line.startswith("class 7 "))
    assert lines[at + 1].split() == ["…", "and", "6", "more", "classes", "21", "21.0", "kB"]


def test_what_failed_was_not_made() -> None:
    """What is not known is said to be unknown, and nothing is claimed."""
    failed = replace(
        Summary(tool="slimagent 0", command="image", tag="slim:1"),
        failure=Failure(slug="check-failed", status=1, message="no", hint="type this"),
    )
    lines = result(failed, "out")
    assert lines[-1] == "slim:1 was not made"
    assert any(line.split() == ["size", "unknown", "unknown"] for line in lines)


@given(st.text(), st.text())
def test_no_name_breaks_a_table(name: str, note: str) -> None:
    """Whatever a package is called, each row is one printable line."""
    lines = result(replace(MADE, packages_dropped=(Gone(kind="dpkg", name=name, version="", bytes=1),)), "out")
    rows = [line for line in lines if line.startswith("dpkg:")]
    assert rows and all(row == printable(row) for row in rows)


def test_a_command_to_type_is_one_whatever_an_image_calls_its_packages() -> None:
    """The name of an npm package is that of its directory: any bytes, and a shell would run some of them."""
    gone = (Gone(kind="npm", name="$(touch x); a b", version="", bytes=1),)
    (line,) = (each for each in result(replace(MADE, packages_dropped=gone), "my out") if "slimagent explain" in each)
    assert shlex.split(line.partition("slimagent ")[2]) == ["explain", "my out", "npm:$(touch x); a b"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", "programs"),
        (b"/usr/lib/gcc/x86_64-linux-gnu/12/lto-wrapper", "programs"),
        (b"/usr/lib/gcc/x86_64-linux-gnu/12/libgcc.a", "static libraries"),
        (b"/opt/venv/lib/python3.11/site-packages/fontTools/varLib/iup.c", "C and Cython sources"),
        (b"/opt/venv/lib/python3.11/site-packages/scipy/special/_ufuncs.pyx", "C and Cython sources"),
        (b"/etc/x", "other"),
    ],
)
def test_what_is_large_has_a_class(path: bytes, expected: str) -> None:
    """A compiler's own programs, and what was compiled."""
    assert kind(path) == expected
