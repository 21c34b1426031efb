"""Leaving tests out: the trace without them, and what a plan from the others takes from them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plan_images import STEP, evidence_for, run_of, write

from slimagent.errors import UsageError
from slimagent.inventory.owners import owners
from slimagent.model.inventory import Found, Package, PackageKind
from slimagent.model.profile import Rules
from slimagent.model.reach import LeftOut
from slimagent.model.reason import Verdict
from slimagent.model.result import Outcome
from slimagent.model.trace import Access, Attributed, ByTests, Change, ChangeKind, How, MarkedTest, Trace
from slimagent.plan.decide import settled
from slimagent.plan.evidence import Evidence
from slimagent.plan.leave_out import without_steps
from slimagent.plan.reach import Leaving, Remembered
from slimagent.plan.units import Units
from tests.plan.test_laws import NAMES, Tree, hows, levels, some_rules, trees

TESTS = (MarkedTest(0, "test_a"), MarkedTest(0, "test_b[1]"), MarkedTest(0, "test_b[2]"), MarkedTest(1, "test_a"))
STEPS = 4  # the third and the fourth have no tests
Use = tuple[str, int, How]  # a path, who used it, and how; from -1 on downwards steps outside of all tests

uses = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-STEPS, len(TESTS) - 1), hows), max_size=12)


def traced(trace: Trace, used: Iterable[Use]) -> Trace:
    """A trace in which tests and steps used paths."""
    paths: dict[str, dict[int, How]] = {}
    for path, who, how in used:
        users = paths.setdefault(path, {})
        users[who] = users.get(who, How(0)) | how
    accesses, attributed = [], []
    for path, users in sorted(paths.items()):
        encoded, whole = os.fsencode(path), How(0)
        for how in users.values():
            whole |= how
        steps = {-1 - who if who < 0 else TESTS[who].step for who in users}
        accesses.append(Access(encoded, whole, tuple(sorted(steps)), True))
        tests = {who: how for who, how in users.items() if who >= 0}
        if tests:
            outside = How(0)
            for how in (how for who, how in users.items() if who < 0):
                outside |= how
            groups = [
                ByTests(how, tuple(sorted(who for who in tests if tests[who] == how)))
                for how in sorted(set(tests.values()))
            ]
            own = tuple(sorted(-1 - who for who in users if who < 0))
            attributed.append(Attributed(encoded, outside, own, tuple(groups)))
    run = replace(trace.runs[0], steps=tuple(replace(STEP, name=f"step {at}") for at in range(STEPS)))
    return replace(trace, runs=(run,), accesses=tuple(accesses), tests=TESTS, attributed=tuple(attributed))


def blank() -> Trace:
    """A trace without an access."""
    run = run_of((STEP,), "")
    return Trace(before="", scopes=(b"/",), excluded=(), architecture="x86_64", runs=(run,), accesses=(), changes=())


def step_of(who: int) -> int:
    """The step of a user of `traced`."""
    return -1 - who if who < 0 else TESTS[who].step


def units_of(who: int) -> int | None:
    """The unit of a user of `traced`, None for what belongs to none."""
    if who >= 0:
        return (0, 1, 1, 2)[who]
    return {-3: 3, -4: 4}.get(who)


def require_attributed(found: Trace, expected: Trace) -> None:
    """Of a path that several steps without tests used, the trace has only what all of them did together."""
    assert [each._replace(how=How(0)) for each in found.attributed] == [
        each._replace(how=How(0)) for each in expected.attributed
    ]
    for each, other in zip(found.attributed, expected.attributed, strict=True):
        assert each.how & other.how == other.how
        assert each.steps or not each.how


@given(used=uses, out=st.frozensets(st.integers(0, 4)))
@example(used=[("/bin/a", 0, How(1)), ("/bin/a", -1, How(1)), ("/bin/a", -3, How(2))], out=frozenset({3}))
@settings(max_examples=200, deadline=None)
def test_a_trace_without_units_is_that_of_the_others(used: list[Use], out: frozenset[int]) -> None:
    """The evidence is as if the units had not run; their steps count as skipped."""
    bare = blank()
    found = Units(traced(bare, used)).without(out)
    expected = traced(bare, [use for use in used if units_of(use[1]) not in out])
    require_attributed(found, expected)
    by_step = {access.path: access for access in expected.accesses}
    assert {access.path for access in found.accesses} == by_step.keys()
    for access in found.accesses:
        # Of several steps without tests the trace has only what all of them did.
        assert access.steps == by_step[access.path].steps
        assert access.how & by_step[access.path].how == by_step[access.path].how
    skipped = [step.outcome is Outcome.SKIPPED for step in found.steps]
    assert skipped == [False, False, 3 in out, 4 in out]


@given(used=uses, out=st.frozensets(st.integers(0, STEPS - 1)))
@settings(max_examples=100, deadline=None)
def test_a_trace_without_steps_has_none_of_their_tests(used: list[Use], out: frozenset[int]) -> None:
    """Neither what a step did outside of its tests is left, nor what its tests did."""
    found = without_steps(traced(blank(), used), {f"step {at}" for at in out})
    expected = traced(blank(), [use for use in used if step_of(use[1]) not in out])
    require_attributed(found, expected)
    assert {(each.path, each.steps) for each in found.accesses} == {
        (each.path, each.steps) for each in expected.accesses
    }


def test_what_a_step_changed_goes_with_it() -> None:
    """Unless something else used it, too. What was created stays known, and so does what nothing was seen to use."""
    kinds = {"/alone": ChangeKind.MODIFIED, "/both": ChangeKind.REMOVED, "/new": ChangeKind.CREATED}
    kinds["/unseen"] = ChangeKind.MODIFIED
    used = [("/alone", -3, How.OPENED), ("/both", -3, How.OPENED), ("/both", 0, How.OPENED), ("/new", -3, How.OPENED)]
    changes = tuple(Change(path=path.encode(), kind=kind, mtime_ns=0) for path, kind in sorted(kinds.items()))
    trace = replace(traced(blank(), used), changes=changes)
    left = {each.path for each in without_steps(trace, ["step 2"]).changes}
    assert left == {b"/both", b"/new", b"/unseen"}
    assert without_steps(trace, ["step 3"]).changes == changes


def test_a_step_that_is_unknown_is_refused() -> None:
    """The message says what is meant, or which steps there are."""
    with pytest.raises(UsageError, match="no step 'step 9'"):
        without_steps(traced(blank(), []), ["step 9"])


@given(used=uses)
@settings(max_examples=100, deadline=None)
def test_a_unit_without_a_path_of_its_own_changes_nothing(used: list[Use]) -> None:
    """What several used is in the trace of all others, so `shared` is a part of each trace without one unit."""
    bare = blank()
    units = Units(traced(bare, used))
    shared = {access.path for access in units.shared().accesses}
    alone = units.alone()
    for unit in range(len(units.units)):
        paths = {access.path for access in units.without((unit,)).accesses}
        assert shared <= paths
        assert {access.path for access in traced(bare, used).accesses} - paths == set(alone.get(unit, ()))


@given(tree=trees, used=uses, rules=some_rules, level=levels)
@settings(max_examples=60, deadline=None)
def test_what_is_left_out_is_what_a_plan_without_it_drops(
    tree: Tree, used: list[Use], rules: Rules, level: str
) -> None:
    """At each level the quick answer is that of two whole plans."""
    with tree.made() as made:
        evidence = replace(made, trace=traced(made.trace, used), rules=rules, contents=Remembered(made.contents))
        units = Units(evidence.trace)
        leaving = Leaving(evidence, level, units)
        whole = kept(evidence, level)
        assert leaving.kept == len(whole)
        for unit in range(len(units.units)):
            without = replace(evidence, trace=units.without((unit,)))
            lost = whole - kept(without, level)
            found = leaving.left_out(unit)
            if found is None:
                assert not lost
                continue
            assert lost
            assert found.files <= len(lost)
            assert found.missed_with <= found.missed <= len(lost)
            assert set(found.examples) <= lost


def kept(evidence: Evidence, level: str) -> set[bytes]:
    """The paths that a plan keeps."""
    keeper = settled(evidence, level).keeper
    paths = evidence.inventory.paths
    return {path for at, path in enumerate(paths) if keeper.reasons[keeper.reason(at)].verdict is Verdict.KEEP}


def packed(index: dict[bytes, int], name: str, *files: str) -> Found:
    """A package of the kind dpkg."""
    package = Package(kind=PackageKind.DPKG, name=name, version="1")
    return Found(package=package, files=[index[file.encode()] for file in files])


@pytest.fixture
def image(tmp_path: Path) -> Evidence:
    """Two packages, each with a large file that is no code."""
    for path in ("/one/used.dat", "/one/tables/b.csv", "/two/used.dat", "/two/other.dat", "/nobodys.dat"):
        write(tmp_path, path, "x" * 500_000)
    write(tmp_path, "/one/m.py", "x" * 50_000)
    write(tmp_path, "/one/__pycache__/m.cpython-312.pyc", "x" * 50_000)
    evidence = evidence_for(tmp_path)
    index = evidence.inventory.index
    found = [
        packed(index, "one", "/one/used.dat", "/one/tables/b.csv", "/one/m.py"),
        packed(index, "two", "/two/used.dat", "/two/other.dat"),
    ]
    return replace(evidence, owners=owners(evidence.inventory, (lambda _: found,)), rules=Rules(budget=10_000))


def left_out(evidence: Evidence, level: str, *used: tuple[str, int]) -> dict[int, LeftOut]:
    """What leaving each unit out shows, if each use opens its path."""
    whole = replace(evidence, trace=traced(evidence.trace, [(path, who, How.OPENED) for path, who in used]))
    units = Units(whole.trace)
    found = ((unit, Leaving(whole, level, units).left_out(unit)) for unit in range(len(units.units)))
    return {unit: each for unit, each in found if each is not None}


@pytest.mark.parametrize("level", ["file", "package"])
def test_a_package_that_one_test_uses_rests_on_it(image: Evidence, level: str) -> None:
    """Without the test the package goes at both levels, and the test misses what it opened of it."""
    found = left_out(image, level, ("/one/used.dat", 0), ("/one/used.dat", 3), ("/two/used.dat", 0))
    assert found.keys() == {0}
    assert found[0].packages == ("dpkg:two",)
    assert (found[0].missed, found[0].missed_with, found[0].missed_size) == (1, 1, 500_000)
    assert found[0].rests
    assert not found[0].breaks


def test_a_file_that_one_test_opens_of_a_package_that_stays(image: Evidence) -> None:
    """At level file the test would miss it; at level package it stays with its package."""
    used = (("/one/used.dat", 0), ("/one/tables/b.csv", 3))
    found = left_out(image, "file", *used)
    assert {unit: each.examples for unit, each in found.items()} == {0: (b"/one/used.dat",), 2: (b"/one/tables/b.csv",)}
    assert all(each.breaks and not each.packages for each in found.values())
    assert left_out(image, "package", *used) == {}


def test_bytecode_whose_source_stays_is_not_missed(image: Evidence) -> None:
    """It goes without the test, but Python makes it again."""
    used = (("/one/m.py", 0), ("/one/m.py", 3), ("/one/__pycache__/m.cpython-312.pyc", 0))
    (found,) = left_out(image, "file", *used).values()
    assert found.files == 1
    assert found.missed == 0


def test_the_variants_of_a_test_are_left_out_together(image: Evidence) -> None:
    """A file that only the variants of one test use would go with them, and is no file that others use."""
    found = left_out(image, "file", ("/one/used.dat", 1), ("/one/used.dat", 2))
    assert found.keys() == {1}


def test_a_step_without_tests_is_left_out_whole(image: Evidence) -> None:
    """What it alone used goes, and what a step with tests did outside of them stays in every trace."""
    found = left_out(image, "file", ("/one/used.dat", -3), ("/nobodys.dat", -1))
    assert found.keys() == {3}
