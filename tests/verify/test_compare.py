"""Two runs of the same checks, compared; and what the second looked for in vain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_images import plan_for, write

from slimagent.model.proof import Comparison, Missed
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import Change, ChangeKind, Loss
from slimagent.verify.compare import compare, dropped_paths, finder, missed, unmasked, unproved
from slimagent.workflows.tracing import read_link

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED


def check(name: str, outcome: Outcome, detail: str = "", **items: Outcome) -> CheckResult:
    return CheckResult(
        name=name,
        kind="command",
        outcome=outcome,
        seconds=1.0,
        detail=detail,
        items=tuple(Item(name=each, outcome=how, detail=f"{each} {how.value}") for each, how in items.items()),
    )


def test_checks_are_compared_item_by_item() -> None:
    """A check and each of its items is a line, in the order of the first run, with the second run's detail."""
    before = [check("imports", PASSED, a=PASSED, b=PASSED), check("smoke", PASSED)]
    after = [check("smoke", PASSED, "fine"), check("imports", FAILED, "1 of 2", a=PASSED, b=FAILED)]
    assert compare(before, after) == (
        Comparison(name="imports", before=PASSED, after=FAILED, detail="1 of 2"),
        Comparison(name="imports: a", before=PASSED, after=PASSED, detail="a passed"),
        Comparison(name="imports: b", before=PASSED, after=FAILED, detail="b failed"),
        Comparison(name="smoke", before=PASSED, after=PASSED, detail="fine"),
    )


@pytest.mark.parametrize("before", list(Outcome))
@pytest.mark.parametrize("after", list(Outcome))
def test_only_what_passed_before_can_be_worse(before: Outcome, after: Outcome) -> None:
    """Worse is what passed and does not any more; what failed or was skipped before is no regression."""
    (found,) = compare([check("x", before)], [check("x", after)])
    assert found.worse == (before is PASSED and after is not PASSED)


def test_a_failure_that_nobody_saw_pass_proves_nothing() -> None:
    """A check that the first run did not have is no proof if it fails; one that failed before too is no news."""
    before = [check("old", FAILED)]
    assert unproved(before, [check("old", FAILED), check("new", PASSED)]) == ()
    assert unproved(before, [check("new", FAILED)]) == ("new",)


@pytest.mark.parametrize(
    ("kinds", "accepted", "void"),
    [
        ((), (), False),
        (("own-listener",), (), False),
        (("unreadable-memory",), (), True),
        (("unreadable-memory",), ("unreadable-memory",), False),
        (("mount-namespace", "foreign-call"), ("foreign-call",), True),
        (("x", "supervisor-error"), ("x", "supervisor-error"), True),
    ],
)
def test_a_mask_that_was_off_proves_nothing(kinds: tuple[str, ...], accepted: tuple[str, ...], void: bool) -> None:
    """T2: a call that nobody could read went on and may have seen what was to look gone. That is no proof, unless the
    plan was made with that kind of loss; and never where the supervisor failed."""
    assert unmasked([Loss(kind=kind, count=1, example="x") for kind in kinds], accepted) is void


def test_what_is_absent_counts_as_skipped() -> None:
    """A check that only one run has was skipped in the other: lost evidence is worse, a new check is not."""
    gone, new = compare([check("gone", PASSED)], [check("new", FAILED)])
    assert (gone.after, gone.worse, gone.detail) == (SKIPPED, True, "it did not take place")
    assert (new.before, new.after, new.worse) == (SKIPPED, FAILED, False)


results = st.lists(
    st.builds(
        check,
        st.sampled_from("abc"),
        st.sampled_from(Outcome),
        x=st.sampled_from(Outcome),
        y=st.sampled_from(Outcome),
    ),
    max_size=3,
    unique_by=lambda each: each.name,
)


@given(results)
def test_a_run_is_not_worse_than_itself(run: list[CheckResult]) -> None:
    """Nothing is worse, and both sides are the same."""
    assert all(each.before is each.after and not each.worse for each in compare(run, run))


@given(results, results)
def test_every_check_of_either_run_is_compared_once(before: list[CheckResult], after: list[CheckResult]) -> None:
    """Names are unique and none is lost."""
    names = [each.name for each in compare(before, after)]
    assert len(names) == len(set(names))
    assert {each.name for each in (*before, *after)} <= set(names)


def test_what_the_run_had_created_was_never_dropped(tmp_path: Path) -> None:
    """Only paths of the image count as dropped."""
    for each in ("kept", "unused", "created"):
        write(tmp_path, f"/usr/{each}")
    changes = (Change(path=b"/usr/created", kind=ChangeKind.CREATED, mtime_ns=0),)
    assert dropped_paths(plan_for(tmp_path, ["/usr/kept"], changes=changes)) == {b"/usr/unused"}


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    """A real tree: a file, and ways to it over links."""
    base = tmp_path.resolve()
    write(base, "/real/file")
    write(base, "/real/other")
    (base / "directory").symlink_to("real")
    (base / "chain").symlink_to("directory/link")
    (base / "real/link").symlink_to("file")
    (base / "loop").symlink_to("loop")
    return os.fsencode(base)


@pytest.mark.parametrize(
    "way", [b"/real/file", b"/directory/file", b"/real/link", b"/chain", b"/directory/../real/file"]
)
def test_a_dropped_file_is_masked_over_every_link(tree: bytes, way: bytes) -> None:
    """Whatever path leads to it, it looks gone, and so when it is gone for real."""
    dropped = frozenset({tree + b"/real/file"})
    assert finder(dropped, read_link)(tree + way) == tree + b"/real/file"
    os.unlink(tree + b"/real/file")
    assert finder(dropped, read_link)(tree + way) == tree + b"/real/file"


@pytest.mark.parametrize(
    "way", [b"/real/other", b"/directory", b"/loop", b"/absent", b"/real/file/below", b"/real/fil"]
)
def test_other_paths_are_not_masked(tree: bytes, way: bytes) -> None:
    """Neighbours, directories, loops and paths that lead nowhere are left alone."""
    find = finder(frozenset({tree + b"/real/file"}), read_link)
    assert find(tree + way) is None
    assert find(tree + way) is None


def test_missed_files_are_sorted_and_name_their_steps(tree: bytes) -> None:
    """T2: each by the name that repair can bring back, with the steps that asked for it over whatever link.

    Indices of no step are left out.
    """
    find = finder(frozenset({tree + b"/real/file"}), read_link)
    accesses = [
        (tree + b"/real/other", (0,)),
        (tree + b"/real/file", (1, 0)),
        (tree + b"/chain", (1, 7)),
    ]
    assert missed(find, accesses, ["first", "second"]) == (
        Missed(path=tree + b"/real/file", steps=("first", "second")),
    )
