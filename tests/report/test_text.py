"""Documents as a person reads them."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import Installed, plan_for, plan_of, write

from slimagent.model.plan import Entry, Plan
from slimagent.model.proof import Comparison, Missed, Receipt, Verification
from slimagent.model.reason import Verdict
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Change, ChangeKind, Loss
from slimagent.report.kinds import OTHER, kind
from slimagent.report.text import (
    amount,
    by_owner,
    dropped_by_kind,
    plan_summary,
    receipt_summary,
    share,
    size,
    table,
    verification_summary,
)

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (1_550_000, "1.6 MB"),
        (999_999_999, "1.00 GB"),
        (4_937_125_081, "4.94 GB"),
        (10**13, "10000.00 GB"),
    ],
)
def test_sizes_have_decimal_units(count: int, text: str) -> None:
    """As registries give them; a rounded value never reaches the next unit."""
    assert size(count) == text


@given(st.integers(0, 10**15))
def test_a_size_is_right_to_its_last_digit(count: int) -> None:
    """What is shown is within half a unit of its last place."""
    number, unit = size(count).split(" ")
    factor = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit]
    places = len(number.partition(".")[2])
    assert abs(float(number) * factor - count) <= factor * 10**-places / 2 + 1e-6 * count
    assert float(number) < 1000 or unit == "GB"


def test_amounts_and_shares() -> None:
    """Bytes are sizes, other things are counted; a share of nothing is nothing."""
    assert (amount(2_000, "bytes"), amount(2_000, "paths")) == ("2.0 kB", "2,000 paths")
    assert (share(1, 3), share(1, 0)) == ("33.3 %", "0.0 %")


cells = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F, categories=["L", "N"]), max_size=12)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8))
def test_the_columns_of_a_table_line_up(rows: list[tuple[str, str, str]]) -> None:
    """Each column begins (to the right: ends) at the same place in every line, and nothing is cut."""
    first, second = (max(len(row[at]) for row in rows) for at in (0, 1))
    for line, row in zip(table(rows, right=(1,)), rows, strict=True):
        assert line[:first].rstrip() == row[0]
        assert line[first + 2 : first + 2 + second].lstrip() == row[1]
        assert line[first + 4 + second :] == row[2]


def test_a_table_of_nothing_is_nothing() -> None:
    """No rows, no lines."""
    assert table([]) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/usr/lib/libfoo.so.1.2", "shared libraries"),
        (b"/usr/lib/python3/dist-packages/x/_x.cpython-312-x86_64-linux-gnu.so", "shared libraries"),
        (b"/usr/lib/libfoo.a", "static libraries"),
        (b"/usr/include/stdio", "headers"),
        (b"/x/__pycache__/tests.cpython-312.pyc", "bytecode"),
        (b"/var/cache/apt/archives/x.deb", "package caches and logs"),
        (b"/usr/share/man/man1/ls.1.gz", "manuals and documentation"),
        (b"/usr/share/locale/de/LC_MESSAGES/x.mo", "translations"),
        (b"/x/tests/test_it.py", "tests"),
        (b"/x/y.py", "Python sources"),
        (b"/usr/bin/ls", "programs"),
        (b"/\xff\n", OTHER),
    ],
)
def test_the_sort_of_a_file(path: bytes, expected: str) -> None:
    """By its path alone."""
    assert kind(path) == expected


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda name: b"/" + name.replace(b"\0", b"/")), max_size=30))
def test_any_name_has_a_sort_and_the_kinds_add_up(paths: list[bytes]) -> None:
    """The table's counts and sizes are those of what the plan drops, whatever the names are."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "/file", b"1")
        base = plan_for(Path(folder))
    drop = next(at for at, reason in enumerate(base.reasons) if reason.verdict is Verdict.DROP)
    plan = replace(base, entries=tuple(Entry(path, drop, at, 0) for at, path in enumerate(paths)))
    rows = [re.split(r" {2,}", line) for line in dropped_by_kind(plan)[1:]]
    assert sum(int(row[1].replace(",", "")) for row in rows) == len(paths)
    assert sum(int(row[2].removesuffix(" B")) for row in rows) == sum(range(len(paths)))
    assert plan_summary(plan)


def test_a_plan_in_a_few_lines(tmp_path: Path) -> None:
    """What stays, what goes by kind (the largest first), what the run changed; created files count nowhere."""
    write(tmp_path, "/usr/keep", b"1" * 1000)
    write(tmp_path, "/lib/a.so", b"1" * 2000)
    write(tmp_path, "/usr/a.py", b"1" * 500)
    write(tmp_path, "/usr/new.py", b"1" * 9000)
    changes = (Change(path=b"/usr/new.py", kind=ChangeKind.CREATED, mtime_ns=0),)
    plan = replace(plan_for(tmp_path, ["/usr/keep"], changes=changes), unresolved=((b"/usr/keep", "libx.so"),))
    assert plan_summary(plan) == [
        "level file: 1.0 kB of 3.5 kB stays, 2.5 kB goes (71.4 %)",
        "dropped           files    size",
        "shared libraries      1  2.0 kB",
        "Python sources        1   500 B",
        "owner   packages  stay    size   stays",
        "nobody                  3.5 kB  1.0 kB",
        "most unowned bytes are in:",
        "  /lib  2.0 kB  0 B stays",
        "  /usr  1.5 kB  1.0 kB stays",
        "1 need that nothing in the image fulfils (in the plan: unresolved)",
        "the traced run created 1 paths",
    ]


def test_a_plan_that_drops_nothing_has_no_rows(tmp_path: Path) -> None:
    """The tables are their headers and the unowned."""
    plan: Plan = plan_for(tmp_path)
    assert plan_summary(plan) == [
        "level file: 0 B of 0 B stays, 0 B goes (0.0 %)",
        "dropped  files  size",
        "owner   packages  stay  size  stays",
        "nobody                   0 B    0 B",
    ]


def test_packages_by_kind(tmp_path: Path) -> None:
    """How many there are and stay, and the bytes of both; a file of several counts once, what the run made nowhere."""
    for path, length in (("/a", 1000), ("/both", 2000), ("/c", 4000), ("/d/x", 500), ("/free", 30), ("/made", 9000)):
        write(tmp_path, path, b"1" * length)
    packages = [
        Installed("dpkg:a", ["/a", "/both"]),
        Installed("dpkg:c", ["/c", "/made"]),
        Installed("r:d", ["/d", "/d/x", "/both"]),
    ]
    changes = (Change(path=b"/made", kind=ChangeKind.CREATED, mtime_ns=0),)
    plan = plan_of(tmp_path, packages, ["/a"], changes=changes)
    assert by_owner(plan) == [
        "owner   packages  stay    size   stays",
        "dpkg           2     1  7.0 kB  3.0 kB",
        "r              1     0   500 B     0 B",
        "nobody                    30 B    30 B",
        "most unowned bytes are in:",
        "  /  30 B  30 B stays",
    ]
    assert dropped_by_kind(plan)[1:] == ["other        2  4.5 kB"]  # the folder /d is no file


def test_records_that_were_not_understood_are_told(tmp_path: Path) -> None:
    """The first ten by path and reason, then how many more."""
    problems = tuple((b"/db/\xe9%d" % at, "cut short") for at in range(12))
    lines = plan_summary(replace(plan_for(tmp_path), problems=problems))
    assert lines[-11] == "not understood: /db/\\xe90: cut short"
    assert lines[-1] == "… and 2 more package records not understood (in the plan: problems)"


def test_a_receipt_in_a_few_lines() -> None:
    """Sizes, digest, why the tar is larger, and the first ten of what was left alone, odd names readable."""
    receipt = Receipt(
        tool="t", plan="p", target="tar:/out/x.tar", kept=3, dropped=12, bytes_kept=25, bytes_dropped=75,
        written=30, sha256="abc", left_alone=tuple((b"/\xe9%d" % at, "it changed") for at in range(12)),
    )  # fmt: skip
    lines = receipt_summary(receipt)
    assert lines[0] == "tar:/out/x.tar: 25 B of 100 B stays, 75.0 % smaller; 12 paths dropped, 3 kept"
    assert lines[1] == "archive: 30 B, of which 5 B are tar headers and padding, sha256:abc"
    assert receipt_summary(replace(receipt, written=25))[1] == "archive: 25 B, sha256:abc"
    assert lines[2] == "left alone: /\\xe90: it changed"
    assert len(lines) == 13
    assert lines[-1] == "… and 2 more left alone (in the receipt)"


def test_a_verification_in_a_few_lines() -> None:
    """How it was proved, what is worse, what was missed and by which steps, what could not be seen."""
    step = CheckResult(name="smoke", kind="command", outcome=FAILED, seconds=1)
    verification = Verification(
        tool="t", plan="p", how="masked", backend="seccomp", blind_spots=(), passed=False, steps=(step,),
        comparisons=(Comparison(name="smoke", before=PASSED, after=FAILED, detail="exit status 1"),),
        missed=tuple(Missed(path=b"/gone%d" % at, steps=("smoke", "other")) for at in range(12)),
        losses=(Loss(kind="unreadable-path", count=2, example="open"),),
    )  # fmt: skip
    lines = verification_summary(verification)
    assert lines[0] == (
        "not proved with the dropped files made to look gone: 0 of 1 checks, starts and items pass, 1 worse than "
        "before, 12 removed files needed"
    )
    assert lines[1:3] == ["  worse: smoke  exit status 1", "  removed, but needed: /gone0  (smoke, other)"]
    assert lines[-3:] == [
        "  … and 2 more (in the verification)",
        "  loss: unreadable-path, 2 times, e.g. open",
        "  a call that could not be read may have reached a dropped file, so this is not a proof",
    ]


def test_a_verification_names_what_it_does_not_count_as_passed() -> None:
    """What failed before too and what was skipped: the numbers add up."""
    outcomes = {"a": (PASSED, PASSED), "b": (FAILED, FAILED), "c": (SKIPPED, SKIPPED), "d": (SKIPPED, SKIPPED)}
    verification = Verification(
        tool="t", plan="p", how="masked", backend="seccomp", blind_spots=(), passed=True,
        steps=tuple(
            CheckResult(name=name, kind="command", outcome=now, seconds=1) for name, (_, now) in outcomes.items()
        ),
        comparisons=tuple(
            Comparison(name=name, before=before, after=now) for name, (before, now) in outcomes.items()
        ),
        missed=(), losses=(),
    )  # fmt: skip
    assert (
        "1 of 4 checks, starts and items pass (1 check), 0 worse than before" in verification_summary(verification)[0]
    )
    assert verification_summary(verification)[1:] == ["  failed before too: b", "  skipped: c, d"]
