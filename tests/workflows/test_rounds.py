"""Rounds of repair, on made-up images: they end, bring back what was needed, and prove the last image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent import documents
from slimagent.errors import CheckFailedError
from slimagent.model.proof import Missed, Verification
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import BlindSpot, Trace
from slimagent.verify import rounds
from slimagent.verify.compare import compare
from slimagent.workflows.rounds import Rounds, phase

FILES = tuple(b"/%d" % number for number in range(12))


@dataclass(frozen=True)
class Step:
    """A step that needs files in this order. It ends at the first that is missing, unless it is `patient`.

    It does nothing, and so needs nothing, if the step that it is `after` runs before it and fails. If that does not run
    at all, it fails. With `broken` it fails in every slim image, and misses nothing. If it is `listing`, it sees in a
    directory what is missing, and looks for nothing by name.
    """

    name: str
    files: tuple[bytes, ...]
    patient: bool = False
    after: str = ""
    broken: bool = False
    listing: bool = False


def result(name: str, outcome: Outcome) -> CheckResult:
    return CheckResult(name=name, kind="command", outcome=outcome, seconds=0.0)


@dataclass
class FakeStages:
    """Stages of an image that has `FILES`, of which the first slim image has `kept`."""

    steps: Sequence[Step]
    kept: frozenset[bytes]
    repair_allowed: bool = True
    blind: bool = False
    stubborn: frozenset[bytes] = frozenset()  # files that no plan brings back
    images: int = 0
    told: list[str] = field(default_factory=list)
    runs: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)  # which image, which steps
    written: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        container = SimpleNamespace(image="app")
        self.request = SimpleNamespace(
            repair=self.repair_allowed, keep_failed=False, tag="slim", container=container, search_runs=0
        )
        self.work = SimpleNamespace(engine=SimpleNamespace(find_image=lambda tag: None))
        self.output = SimpleNamespace(path="/nonexistent", write=self.written.__setitem__)
        self.whole = SimpleNamespace(plan=None, searches=[])
        self.reporter = SimpleNamespace(phase=lambda *_: nullcontext())

    def tell(self, line: str) -> None:
        self.told.append(line)

    @property
    def trace(self) -> Trace:
        return cast(Trace, SimpleNamespace(steps=[result(step.name, Outcome.PASSED) for step in self.steps]))

    def verified(self, trace: Trace, only: Sequence[str] = ()) -> Verification:
        chosen = [step for step in self.steps if not only or step.name in only]
        self.runs.append((self.images, tuple(step.name for step in chosen)))
        return self._ran(chosen, self.kept, "in-place")

    def used(self, only: Sequence[str]) -> Verification:
        return self._ran([step for step in self.steps if not only or step.name in only], frozenset(FILES), "full")

    def repair(self, phase: str, repairs: dict[str, bytes]) -> None:
        self.images += 1
        found = [documents.decode_verification(data) for data in repairs.values()]
        self.kept |= {missed.path for each in found for missed in each.missed} - self.stubborn

    def conclude(self, verification: Verification) -> None:
        self.last = verification

    def _ran(self, steps: Sequence[Step], there: frozenset[bytes], how: str) -> Verification:
        results: dict[str, Outcome] = {}
        missed: dict[bytes, list[str]] = {}
        for step in steps:
            lacking = [path for path in step.files if path not in there]
            looked = [path for path in step.files if how == "full" and path not in self.kept]  # those in use
            if how != "full":
                looked = [] if step.listing else lacking if step.patient else lacking[:1]
            bad = bool(lacking) or (step.broken and how != "full")
            if step.after:
                bad, looked = (bad, looked) if results.get(step.after) is Outcome.PASSED else (True, [])
            results[step.name] = Outcome.FAILED if bad else Outcome.PASSED
            for path in looked:
                missed.setdefault(path, []).append(step.name)
        after = tuple(result(name, outcome) for name, outcome in results.items())
        compared = compare([result(step.name, Outcome.PASSED) for step in steps], after)
        is_blind = self.blind and how != "full"
        return Verification(
            tool="slimagent", plan="p", how=how, backend="made up", losses=(), steps=after, comparisons=compared,
            blind_spots=(BlindSpot.LOOKUPS,) if self.blind else (),
            passed=how != "full" and not any(each.worse for each in compared),
            missed=() if is_blind else tuple(
                Missed(path=path, steps=tuple(missed[path])) for path in sorted(missed)
            ),
        )  # fmt: skip


def repaired(stages: FakeStages) -> Rounds:
    made = Rounds(cast(Any, stages), stages.trace)
    made.prove()
    return made


files = st.lists(st.sampled_from(FILES), max_size=6, unique=True).map(tuple)
made_up = st.builds(Step, name=st.just(""), files=files, patient=st.booleans(), listing=st.booleans())
independent = st.lists(made_up, min_size=1, max_size=5).map(
    lambda steps: [replace(step, name=f"step {at}") for at, step in enumerate(steps)]
)
some = st.frozensets(st.sampled_from(FILES))


@given(independent, some, st.booleans())
def test_what_independent_steps_need_is_back_after_two_rounds(
    steps: list[Step], kept: frozenset[bytes], blind: bool
) -> None:
    """All of it, named, and nothing else; the last image was proved with every step."""
    stages = FakeStages(steps, kept, blind=blind)
    made = repaired(stages)
    needed = frozenset(path for step in steps for path in step.files) - kept
    assert frozenset().union(*(each.needed for each in made.repairs)) == needed == stages.kept - kept
    assert len(made.repairs) <= 2
    assert [each.number for each in made.repairs] == list(range(1, len(made.repairs) + 1))
    assert stages.last.passed and not stages.last.missed
    assert [step.name for step in stages.last.steps] == [step.name for step in steps]
    on_the_last = {name for image, names in stages.runs if image == stages.images for name in names}
    assert on_the_last == {step.name for step in steps}


@st.composite
def chains(draw: st.DrawFn) -> list[Step]:
    """Steps of which some depend on an earlier one."""
    steps = draw(independent)
    return [
        replace(step, after=draw(st.sampled_from(["", *(each.name for each in steps[:at])])))
        for at, step in enumerate(steps)
    ]


@given(chains(), some)
def test_steps_may_depend_on_each_other(steps: list[Step], kept: frozenset[bytes]) -> None:
    """A step that fails because an earlier one did not run is not judged alone."""
    stages = FakeStages(steps, kept)
    made = repaired(stages)
    assert stages.last.passed
    assert stages.kept - kept == frozenset(path for step in steps for path in step.files) - kept
    assert len(made.repairs) <= 2 * len(steps)


@given(chains(), some, some, st.booleans(), st.booleans())
def test_it_always_ends(
    steps: list[Step], kept: frozenset[bytes], stubborn: frozenset[bytes], broken: bool, blind: bool
) -> None:
    """With success, or with an error that names what is worse; each round brings something that none before it had."""
    steps[0] = replace(steps[0], broken=broken)
    stages = FakeStages(steps, kept, stubborn=stubborn, blind=blind)
    made = Rounds(cast(Any, stages), stages.trace)
    try:
        made.prove()
    except CheckFailedError:
        assert broken or stubborn
        assert stages.told and not stages.last.passed
        assert any("worse" in line for line in stages.told)
    else:
        assert stages.last.passed
    known: set[bytes] = set()
    for each in made.repairs:
        assert each.needed and not each.needed & known
        known |= each.needed
    assert len(made.repairs) <= rounds.MOST


def test_a_step_that_only_lists_directories_is_explained_in_the_full_image() -> None:
    """As Python's import: it looks for no file by name, and fails. What it uses in the full image comes back."""
    stages = FakeStages([Step("a", ()), Step("b", FILES, listing=True)], frozenset())
    (only,) = repaired(stages).repairs
    assert (only.steps, only.missed, {each.path for each in only.used}) == (("b",), (), {*FILES})
    assert [*stages.written] == ["repair-1.json", "repair-1-full.json"]


def test_a_cause_that_nothing_shows_leaves_no_round_behind() -> None:
    """The full image was asked, in vain: no image, no document of a round that there was not."""
    stages = FakeStages([Step("a", (), broken=True)], frozenset())
    with pytest.raises(CheckFailedError, match="so slim was not made"):
        repaired(stages)
    assert (stages.images, stages.written) == (0, {})


def test_without_leave_nothing_is_repaired() -> None:
    """What was missed is told."""
    stages = FakeStages([Step("a", (b"/1",))], frozenset(), repair_allowed=False)
    with pytest.raises(CheckFailedError, match="slim was not made"):
        repaired(stages)
    assert stages.images == 0
    assert "    /1  (a)" in stages.told


def test_a_limit_of_rounds_is_said() -> None:
    """A step that always misses one more file, here because it is another one each time it runs."""

    class Endless(FakeStages):
        def verified(self, trace: Trace, only: Sequence[str] = ()) -> Verification:
            self.steps = [Step("a", (b"/file %d" % self.images,))]
            return super().verified(trace, only)

    stages = Endless([Step("a", ())], frozenset())
    with pytest.raises(CheckFailedError) as raised:
        repaired(stages)
    assert stages.images == rounds.MOST == 10
    assert "after 10 rounds of repair" in raised.value.message
    assert "10 rounds of repair are the limit" in raised.value.hint


def test_only_the_steps_concerned_run_again() -> None:
    """Those that missed something; the others run once, on the last image."""
    steps = [Step("a", ()), Step("b", (b"/1", b"/2")), Step("c", ())]
    stages = FakeStages(steps, frozenset())
    made = repaired(stages)
    assert stages.runs == [(0, ("a", "b", "c")), (1, ("b",)), (2, ("b",)), (2, ("a", "c"))]
    assert [phase(each, ["a", "b", "c"]) for each in made.repairs] == [
        "repair, round 1: 1 removed file was needed; b runs again",
        "repair, round 2: 1 removed file was needed; b runs again",
    ]
    assert [*stages.written] == ["repair-1.json", "repair-2.json"]


def test_a_step_that_fails_alone_in_the_full_image_runs_there_after_the_others() -> None:
    """It needs what an earlier step makes; alone it would end before it uses anything, and hide what it needs."""
    stages = FakeStages([Step("a", ()), Step("b", FILES, after="a")], frozenset())
    first, second = repaired(stages).repairs
    assert ([each.path for each in first.missed], first.used) == ([b"/0"], ())
    assert {each.path for each in second.used} == {*FILES} - {b"/0", b"/1"}


def test_what_the_full_image_shows_is_named_apart() -> None:
    """From the second round on a step that ends at its first missing file shows all others."""
    stages = FakeStages([Step("a", FILES)], frozenset())
    first, second = repaired(stages).repairs
    assert ([each.path for each in first.missed], first.used) == ([b"/0"], ())
    assert [each.path for each in second.missed] == [b"/1"]
    assert {each.path for each in second.used} == {*FILES} - {b"/0", b"/1"}
    assert [*stages.written] == ["repair-1.json", "repair-2.json", "repair-2-full.json"]
    assert documents.decode_verification(stages.written["repair-2-full.json"]).missed == second.used
