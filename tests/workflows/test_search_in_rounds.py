"""What a search finds goes into the next round of repair, or into the message that ends the run."""

from __future__ import annotations

from typing import Any

import pytest

from slimagent import documents
from slimagent.errors import CheckFailedError
from slimagent.model.search import Cause, Outcome, Search, What
from slimagent.workflows import cause
from tests.workflows.test_rounds import FakeStages, Step, repaired


class Searched(FakeStages):
    """Stages in which a broken step works again once a round undoes what the search found."""

    unstripped: tuple[bytes, ...] = ()

    def repair(self, phase: str, repairs: dict[str, bytes]) -> None:
        super().repair(phase, repairs)
        self.steps = [Step("a", ())]


def stages(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, *causes: Cause) -> Searched:
    found = Search(outcome=outcome, steps=("a",), differences=9, runs=5, seconds=1.0, causes=causes)
    monkeypatch.setattr(cause, "find", lambda *_: found)
    made = Searched([Step("a", (), broken=True)], frozenset())
    made.whole.plan = documents  # any
    made.request.search_runs = 60
    return made


def test_what_can_be_undone_is_one_more_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removed file comes back as if it had been missed; of a stripped one the bytes are left alone, too."""
    causes = Cause(path=b"/gone", what=What.REMOVED), Cause(path=b"/lib", what=What.STRIPPED)
    made: Any = stages(monkeypatch, Outcome.FOUND, *causes)
    monkeypatch.setattr("slimagent.workflows.rounds.measured", lambda repair, *_: repair)
    (first,) = repaired(made).repairs
    assert [each.path for each in first.found] == [b"/gone", b"/lib"]
    assert made.unstripped == (b"/lib",)
    assert [each.outcome for each in made.whole.searches] == [Outcome.FOUND]
    assert any("/gone" in line for line in made.told)


@pytest.mark.parametrize(
    ("outcome", "causes", "hint"),
    [
        (Outcome.FOUND, (Cause(path=b"/odd", what=What.DIFFERS),), "fault of slimagent or of the engine"),
        (Outcome.FOUND, (Cause(path=b"/status", what=What.EDITED),), "--keep-package"),
        (Outcome.UNSTABLE, (), "repair the test"),
        (Outcome.STOPPED, (), "--search-runs"),
    ],
)
def test_what_cannot_be_undone_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, causes: tuple[Cause, ...], hint: str
) -> None:
    """No further image is made, and the hint says what to do."""
    made = stages(monkeypatch, outcome, *causes)
    with pytest.raises(CheckFailedError) as raised:
        repaired(made)
    assert hint in raised.value.hint
    assert made.images == 0


def test_without_repair_the_cause_is_named_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the hint has the option that keeps it."""
    made = stages(monkeypatch, Outcome.FOUND, Cause(path=b"/gone", what=What.REMOVED))
    made.request.repair = False
    with pytest.raises(CheckFailedError, match="so slim was not made") as raised:
        repaired(made)
    assert "--keep /gone" in raised.value.hint
    assert made.images == 0
