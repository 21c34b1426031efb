"""What becomes of each byte: every entry of a plan has one fate, and the parts are the whole."""

from __future__ import annotations

from dataclasses import replace

from document_values import RECEIPT, RECEIPTS, plans
from hypothesis import given
from report_documents import NAMES, documents_of, plan
from run_documents import Pack, plan_with

from slimagent.model.plan import Plan, Strip, counted_entries
from slimagent.model.proof import Receipt
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.report import Fate
from slimagent.report.exercised import needed, untested
from slimagent.report.fates import Fates, fate
from slimagent.report.left import left


def whole(made: Plan) -> int:
    return sum(e.size for e in counted_entries(made) if made.reasons[e.reason].kind != ReasonKind.CREATED)


@given(plans(), RECEIPTS)
def test_the_parts_are_the_whole(made: Plan, receipt: Receipt) -> None:
    """Their bytes are those of the plan's image, with stripped files and without; none is negative."""
    for each in (None, receipt):
        parts = Fates(made, each).parts(made)
        assert [part.fate for part in parts] == list(Fate)
        assert sum(part.bytes for part in parts) == whole(made)
        assert all(part.bytes >= 0 and (part.files > 0) == (part.bytes > 0) for part in parts)


def test_a_fate_agrees_with_the_verdict() -> None:
    """For every kind of reason and both verdicts: what stays has a fate that stays."""
    for kind in ReasonKind:
        for verdict in Verdict:
            found = fate(Reason(kind=kind, verdict=verdict))
            assert found.stays == (verdict is Verdict.KEEP)
            assert found is not Fate.STRIPPED


def test_what_apply_did_not_strip_is_not_stripped() -> None:
    """A receipt that says so counts, and what goes cannot be stripped."""
    made, path = plan(), b"/usr/lib/x/" + NAMES[0]
    assert Fates(made).saved == {path: 1234}
    assert Fates(made, replace(RECEIPT, unstripped=((path, "it failed"),))).saved == {}
    gone = b"/opt/" + NAMES[0] + b"/deep/" + NAMES[0]
    assert Fates(replace(made, strips=(Strip(gone, 5),))).saved == {gone: 0}


@given(plans())
def test_what_is_left_is_what_stays(made: Plan) -> None:
    """The rows hold every byte that stays, once; of none more is used than there is; the largest come first."""
    fates = Fates(made)
    rows = left(made, fates)
    stays = sum(part.bytes for part in fates.parts(made) if part.fate.stays)
    assert sum(row.bytes for row in rows) == stays
    assert [row.bytes for row in rows] == sorted((row.bytes for row in rows), reverse=True)
    assert all(0 <= row.used <= row.bytes for row in rows)


def test_what_is_left_has_a_price() -> None:
    """Steps that use it, packages that require it, and what a smaller level could take of it."""
    rows = {row.what.partition(" ")[0]: row for row in left(plan(), Fates(plan()))}
    used = rows["dpkg:x</script><script>document.title='PWNED'<"]
    assert used.price.startswith("what command and ")
    assert "; or try level file, which drops large data and programs of the " in used.price
    other = next(row for row in rows.values() if row.what.endswith("constructor 1"))
    assert other.used == 0
    assert "which requires it" in other.price and other.price.startswith("dpkg:x")


def test_what_the_system_does_not_work_without_has_no_price() -> None:
    """Not even if a step used it, nor has what an essential package requires, directly or not."""
    packs = [
        Pack("dpkg:coreutils", 50, 50, requires=("dpkg:libselinux1",), essential=True),
        Pack("dpkg:libselinux1", 40, 40, requires=("dpkg:libpcre2",)),
        Pack("dpkg:libpcre2", 30, 30),
        Pack("r:base", 20, 20, requires=("dpkg:libblas3",), essential=True),
        Pack("dpkg:libblas3", 10, 10),
        Pack("dpkg:vim", 5, 5, requires=("dpkg:libselinux1",)),
    ]
    made = plan_with(packs)
    prices = {row.what.partition(" ")[0]: row.price for row in left(made, Fates(made))}
    assert [name for name, price in prices.items() if not price] == [
        "dpkg:coreutils", "dpkg:libselinux1", "dpkg:libpcre2"
    ]  # fmt: skip
    assert prices["dpkg:libblas3"] == "what smoke does with it and r:base, which requires it, 20 B"
    assert prices["dpkg:vim"] == "what smoke does with it"


def test_what_a_step_used_is_counted_once_for_it() -> None:
    """And once as its own where no other step used it."""
    made = plan()
    rows = {row.step: row for row in needed(made, Fates(made))}
    opened = [e for e in made.entries if e.reason == 0]
    command = rows["command"]
    assert (command.files, command.bytes) == (len(opened), sum(e.size for e in opened))
    assert (command.alone_files, command.alone_packages) == (len(opened), 1)
    (other,) = (row for name, row in rows.items() if name != "command")
    assert (other.files, other.alone_bytes, other.largest) == (0, 0, ())


@given(plans())
def test_no_step_alone_used_more_than_it_used(made: Plan) -> None:
    """Whatever the plan says."""
    for row in needed(made, Fates(made)):
        assert 0 <= row.alone_bytes <= row.bytes and row.alone_files <= row.files
        assert row.alone_packages <= row.packages


def test_what_nobody_exercised_is_named_with_the_reason() -> None:
    """A package that stays because another one requires it; one that a step used is not in the list."""
    (row,) = untested(plan(), Fates(plan()))
    assert row.what.endswith("constructor 1") and row.how == "required by those"
    assert row.bytes == sum(e.size for e in plan().entries if e.reason == 11)


def test_the_figures_are_those_of_the_summary() -> None:
    """Of a run without hard links: after, and before."""
    made = plan(5)
    found, _ = documents_of(made)
    assert found.receipt is not None
    parts = {part.fate: part.bytes for part in Fates(made, found.receipt).parts(made)}
    assert parts[Fate.USED] + parts[Fate.KEPT] == found.receipt.bytes_kept
    assert parts[Fate.CRUFT] + parts[Fate.UNUSED] == found.receipt.bytes_dropped
    assert parts[Fate.STRIPPED] == found.receipt.bytes_stripped
