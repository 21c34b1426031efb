"""Two runs side by side: laws over any plans, each movement with its reason, and what the screens show of them."""

from __future__ import annotations

import re
from dataclasses import replace

import orjson
import pytest
from document_values import plans
from hostile_texts import HOSTILE, assert_printable
from hypothesis import HealthCheck, given, settings
from run_documents import Loose, Pack, finished, plan_with, verification
from schemas import problems

from slimagent.documents import encode_comparison
from slimagent.model.comparison import Moved, Movement, Presence, RunComparison
from slimagent.model.plan import GpuCode, GpuFile, Plan
from slimagent.model.reason import Reason, ReasonKind
from slimagent.model.result import Outcome
from slimagent.report import comparison_text as text
from slimagent.report.comparison_markdown import comparison_markdown
from slimagent.report.run_comparison import compare_runs
from slimagent.text.escapes import printable

PASSED, FAILED = Outcome.PASSED, Outcome.FAILED
MIRRORED = {
    Movement.CAME: Movement.WENT,
    Movement.WENT: Movement.CAME,
    Movement.GREW: Movement.SHRANK,
    Movement.SHRANK: Movement.GREW,
    Movement.UPDATED: Movement.UPDATED,
}
slow = settings(
    max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


def compared(a: Plan, b: Plan, **more: object) -> RunComparison:
    return compare_runs(finished(a, "a-out", **more), finished(b, "b-out", **more), "slimagent 0")


def screen(comparison: RunComparison) -> list[str]:
    """All that the terminal shows, in its order."""
    moved = [line for each in text.moved(comparison) for line in (f"{each.head}  {each.what}", *each.reason)]
    return [
        *text.heading(comparison),
        *text.settings(comparison),
        *text.totals(comparison),
        *text.checks(comparison),
        *moved,
        text.more_moved(comparison),
        text.counts(comparison),
        text.worse(comparison),
        text.answer(comparison),
    ]


@slow
@given(plans(), plans())
def test_the_differences_are_the_difference(a: Plan, b: Plan) -> None:
    """Those of all packages and directories together, and those by owner, come to that of the two images."""
    found = compared(a, b)
    difference = found.b.after - found.a.after
    assert sum(each.difference for each in found.moved) == difference
    assert sum(each.bytes_b - each.bytes_a for each in found.kinds) == difference
    assert sum(each.bytes_a for each in found.kinds) == found.a.after
    sizes = [abs(each.difference) for each in found.moved]
    assert sizes == sorted(sizes, reverse=True)
    assert all(each.reason for each in found.moved if each.movement is not Movement.UPDATED or each.kind)


@slow
@given(plans())
def test_a_run_is_the_same_as_itself(plan: Plan) -> None:
    """Nothing moves, nothing differs."""
    found = compared(plan, plan)
    assert (found.moved, found.settings, found.checks) == ((), (), ())
    assert text.answer(found) == "A and B keep the same"


@slow
@given(plans(), plans())
def test_the_other_way_round_is_the_mirror(a: Plan, b: Plan) -> None:
    """What came has gone, and what grew has shrunk, by the same bytes."""

    def as_seen(each: Moved, mirrored: bool) -> tuple[object, ...]:
        movement, sides = each.movement, (each.a, each.b)
        if mirrored:
            movement, sides = MIRRORED[movement], (each.b, each.a)
        return (
            each.kind,
            each.name,
            each.place,
            movement,
            *((side.presence, side.version, side.bytes) for side in sides),
        )

    there, back = compared(a, b).moved, compared(b, a).moved
    assert {as_seen(each, False) for each in there} == {as_seen(each, True) for each in back}


@slow
@given(plans(), plans())
def test_it_is_described_and_safe_to_print(a: Plan, b: Plan) -> None:
    """The document is what its schema says, and no name breaks a line of the Markdown."""
    found = compared(a, b)
    assert problems("comparison", orjson.loads(encode_comparison(found))) == []
    for line in comparison_markdown(found):
        assert "\n" not in line and "\r" not in line
        if line.startswith("|"):
            assert line.endswith("|")


def moved(found: RunComparison) -> dict[str, tuple[Movement, int, str]]:
    return {f"{each.kind}:{each.name}": (each.movement, each.difference, each.reason) for each in found.moved}


def test_gpu_code_is_no_symbol() -> None:
    """What a library loses is named by what most of it is."""
    packs = [Pack("python:torch", 50, 50)]
    a, b = plan_with(packs), plan_with([Pack("python:torch", 50, 50, stripped=5)])
    (path,) = (entry.path for entry in b.entries if entry.size)
    b = replace(b, gpu=GpuCode(target="none", files=(GpuFile(path, 30),)))
    (found,) = compared(a, b).moved
    assert (found.difference, found.reason) == (-35, "most of the difference: GPU code is taken out in one of the two")


def test_each_movement_has_its_reason() -> None:
    """A package's own if it came or went, else that of its files; and whether the other image has it at all."""
    a = plan_with(
        [Pack("dpkg:went", 10, 10), Pack("dpkg:shrank", 100, 90), Pack("dpkg:came", 7, 0), Pack("dpkg:old", 4, 4),
         Pack("dpkg:same", 5, 5), Pack("dpkg:updated", 6, 6), Pack("r:stripped", 50, 50)]
    )  # fmt: skip
    b = plan_with(
        [Pack("dpkg:went", 10, 0), Pack("dpkg:shrank", 100, 20), Pack("dpkg:came", 7, 7), Pack("npm:new", 3, 3),
         Pack("dpkg:same", 5, 5), Pack("dpkg:updated", 6, 6, version="2"), Pack("r:stripped", 50, 50, stripped=30)]
    )  # fmt: skip
    used, unused = "/bin/sh was used in smoke", "no test asked for it, nothing that stays needs it, no rule keeps it"
    assert moved(compared(a, b)) == {
        "dpkg:shrank": (Movement.SHRANK, -70, f"most of the difference: {unused}"),
        "r:stripped": (Movement.SHRANK, -30, "most of the difference: symbols are stripped in one of the two"),
        "dpkg:went": (Movement.WENT, -10, "no test used it, nothing that stays requires it, no rule keeps it"),
        "dpkg:came": (Movement.CAME, 7, used),
        "dpkg:old": (Movement.WENT, -4, "the image of B does not have it"),
        "npm:new": (Movement.CAME, 3, f"the image of A does not have it; {used}"),
        "dpkg:updated": (Movement.UPDATED, 0, "version 1 in A, 2 in B"),
    }


def test_what_the_image_itself_changed_says_so() -> None:
    """More bytes of a package of which all stays in both, and the other way round."""
    a, b = plan_with([Pack("dpkg:x", 5, 5)]), plan_with([Pack("dpkg:x", 8, 8, version="2")])
    assert moved(compared(a, b)) == {"dpkg:x": (Movement.GREW, 3, "most of the difference: opened in smoke")}
    assert moved(compared(b, a)) == {"dpkg:x": (Movement.SHRANK, -3, "its files weigh less in the image")}


def test_fewer_files_are_not_smaller_ones() -> None:
    """A package that went from two files to one says what is true of both: its files weigh less, or more."""
    one, two = plan_with([Pack("dpkg:x", 5, 5)]), plan_with([Pack("dpkg:x", 9, 9)])
    entry = two.entries[0]
    halves = (entry._replace(size=5), entry._replace(path=entry.path + b"2", size=4))
    two = replace(two, entries=halves)
    (went,), (came,) = compared(two, one).moved, compared(one, two).moved
    assert went.reason == "its files weigh less in the image"
    assert "larger" not in came.reason and "smaller" not in came.reason


def test_files_without_an_owner_count_with_their_directory() -> None:
    """Two levels deep; one that the other image does not have has come."""
    a = plan_with(files=[Loose(b"/srv/app/a/b", 5), Loose(b"/top", 1)])
    b = plan_with(
        files=[Loose(b"/srv/app/a/b", 5, stays=False), Loose(b"/srv/app/c", 2, stays=False), Loose(b"/new/x", 9)]
    )
    why = "cruft, caches: fetched again; risk: none"
    found = compared(a, b)
    assert moved(found) == {
        ":/new": (Movement.CAME, 9, "the image of A does not have it"),
        ":/srv/app": (Movement.WENT, -5, why),
        ":/": (Movement.WENT, -1, "the image of B does not have it"),
    }
    assert found.moved[0].a.presence is Presence.ABSENT


def test_two_versions_in_one_place_are_two() -> None:
    """An editor keeps the old version of an extension beside the new one until it is started again."""
    a = plan_with([Pack("vscode:x.y", 5, 5, "1")])
    b = plan_with([Pack("vscode:x.y", 5, 5, "1"), Pack("vscode:x.y", 6, 6, "2")])
    (only,) = compared(a, b).moved
    assert (only.movement, only.difference, only.b.version) == (Movement.CAME, 6, "2")


def test_what_was_asked_differently_is_named() -> None:
    """Level, stripping and rules; what both have is not repeated."""
    rule = Reason(kind=ReasonKind.RULE, detail="fonts: found by name")
    a = plan_with([Pack("dpkg:x", 5, 5)])
    b = plan_with([Pack("dpkg:x", 5, 5, stripped=1)], level="file", reasons=(*plan_with().reasons, rule))
    found = {each.name: (each.a, each.b) for each in compared(a, b).settings}
    assert found == {
        "level": (("package",), ("file",)),
        "stripping": (("no",), ("yes",)),
        "rules that decided something": ((), ("fonts: found by name",)),
    }


def test_checks_that_changed_state_are_named_worse_ones_first() -> None:
    """By their outcome on the slim images; none if one of the two was not verified."""
    a = finished(plan_with(), verification=verification({"a": FAILED, "b": PASSED, "c": PASSED, "d": PASSED}))
    b = finished(plan_with(), verification=verification({"a": PASSED, "b": FAILED, "c": PASSED, "e": PASSED}))
    found = compare_runs(a, b, "slimagent 0")
    assert text.checks(found) == [
        "check  A        B",
        "  b    passed   failed",
        "  d    passed   not run",
        "  a    failed   passed",
        "  e    not run  passed",
    ]
    assert text.worse(found) == "1 check that passed in A did not pass in B; 1 check that passed in A was not run in B"
    assert text.answer(found) == "A and B keep the same"
    assert compare_runs(a, finished(plan_with()), "slimagent 0").checks == ()


def test_checks_that_were_not_run_did_not_fail() -> None:
    """A run with fewer checks is not worse, and its headline says what happened."""
    a = finished(plan_with(), verification=verification({"a": PASSED, "b": PASSED, "c": FAILED}))
    found = compare_runs(a, finished(plan_with(), verification=verification({"b": Outcome.SKIPPED})), "slimagent 0")
    assert text.worse(found) == "2 checks that passed in A were not run in B"
    assert comparison_markdown(found)[0].endswith("; 2 checks that passed in A were not run in B")


def test_the_screen() -> None:
    """The two runs, what differs in what was asked, the sums, the changes with reasons, the answer last."""
    a = finished(
        plan_with([Pack("dpkg:vim", 3_000_000, 3_000_000, "9.0"), Pack("python:torch", 9_000_000, 9_000_000)]),
        "monday", image="app:1", tag="slim:1", verification=verification({"command": PASSED}),
    )  # fmt: skip
    b = finished(
        plan_with(
            [Pack("dpkg:vim", 3_000_000, 0, "9.0"), Pack("python:torch", 9_000_000, 9_000_000)],
            level="file",
            image="bb",
        ),
        "today",
    )
    assert screen(compare_runs(a, b, "slimagent 0")) == [
        "A  monday  app:1 -> slim:1, level package, verified",
        "B  today   level file, not verified",
        "A and B slimmed images with different files",
        "level: package in A; file in B",
        "stays     packages A  B   size A        B  difference",
        "dpkg               1  0   3.0 MB      0 B     -3.0 MB",
        "python             1  1   9.0 MB   9.0 MB         0 B",
        "together           2  1  12.0 MB   9.0 MB     -3.0 MB",
        "image              2  2  12.0 MB  12.0 MB         0 B",
        "what stays is counted after stripping, the image before it",
        "   -3.0 MB  went     dpkg:vim 9.0",
        "no test used it, nothing that stays requires it, no rule keeps it",
        "",
        "1 went (-3.0 MB)",
        "",
        "B keeps 3.0 MB less than A (25.0 %): 9.0 MB instead of 12.0 MB",
    ]


def test_a_long_list_is_cut_and_says_what_is_left() -> None:
    """The largest are shown; the rest is counted with its bytes."""
    a = plan_with(Pack(f"dpkg:p{number}", 1000 + number, 1000 + number) for number in range(50))
    found = compared(a, plan_with())
    shown = list(text.moved(found))
    assert len(shown) == 20 and shown[0].what == "dpkg:p49 1"
    rest = sum(1000 + number for number in range(30))
    assert text.more_moved(found) == f"… and 30 more (+0 B, -{text.size(rest)}; --json lists them)"
    markdown = "\n".join(comparison_markdown(found))
    assert "… and 20 more (-20.2 kB)." in markdown
    assert all(len(line) <= 80 for line in screen(found))


def test_a_place_is_shown_where_a_name_is_in_several() -> None:
    """And only there."""
    a = plan_with(
        [Pack("python:six", 5, 5, place=b"/a"), Pack("python:six", 6, 6, place=b"/b"), Pack("python:x", 7, 7)]
    )
    assert [each.what for each in text.moved(compared(a, plan_with()))] == [
        "python:x 1", "python:six 1 in /b", "python:six 1 in /a"
    ]  # fmt: skip


def test_the_comment_has_its_headline_first_and_its_details_folded() -> None:
    """What a reviewer sees without a click: the answer, the sums, and the checks that changed."""
    a = finished(plan_with([Pack("dpkg:vim", 5000, 5000)]), verification=verification({"c|d": PASSED}), tag="slim:a")
    b = finished(plan_with([Pack("dpkg:vim", 5000, 0)]), verification=verification({"c|d": FAILED}), tag="slim:b")
    lines = comparison_markdown(compare_runs(a, b, "slimagent 0"))
    assert (
        lines[0]
        == "### B keeps 5.0 kB less than A (100.0 %): 0 B instead of 5.0 kB; 1 check that passed in A did not pass in B"
    )
    visible = "\n".join(lines)[: "\n".join(lines).index("<details>")]
    assert "| stays, after stripping | 5.0 kB | 0 B | -5.0 kB |" in visible
    assert "| `c\\x7cd` | passed | failed |" in visible
    assert "vim" not in visible
    assert "\n".join(lines).count("<details>") == "\n".join(lines).count("</details>") == 2


@pytest.mark.parametrize("where", ["name", "version", "check", "path", "tag"])
def test_hostile_names_are_harmless(where: str) -> None:
    """On a terminal and in a comment."""
    odd = {where: HOSTILE}
    plan = plan_with([Pack(f"dpkg:{odd.get('name', 'x')}", 5000, 5000, odd.get("version", "1"))])
    proof = {side: verification({odd.get("check", "c"): outcome}) for side, outcome in (("a", PASSED), ("b", FAILED))}
    a, b = (
        finished(each, odd.get("path", "p"), tag=odd.get("tag", "t"), verification=proof[side])
        for side, each in (("a", plan), ("b", replace(plan_with(), level="file")))
    )
    found = compare_runs(a, b, "slimagent 0")
    assert_printable("\n".join(map(printable, screen(found))))
    markdown = "\n".join(comparison_markdown(found))
    assert_printable(markdown)
    assert "<img" not in re.sub(r"`[^`\n]*`", "", markdown)


def test_sizes_have_signs() -> None:
    assert [text.signed(each) for each in (-1500, 0, 12)] == ["-1.5 kB", "0 B", "+12 B"]
