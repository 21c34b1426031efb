"""What a search came to, in words."""

from __future__ import annotations

import pytest

from slimagent.model.search import Cause, Outcome, Search, What
from slimagent.model.summary import Summary
from slimagent.report.pull_request import pull_request
from slimagent.report.result import result
from slimagent.report.search import next_step, search_lines

GONE = Cause(path=b"/srv/x\n", what=What.REMOVED, owner="dpkg:x")


def search(outcome: Outcome, *causes: Cause, left: int = 0, note: str = "") -> Search:
    return Search(
        outcome=outcome, steps=("smoke",), differences=45_000, runs=8, seconds=99.5, causes=causes, left=left, note=note
    )


@pytest.mark.parametrize(
    ("found", "said", "hint"),
    [
        (search(Outcome.FOUND, GONE), "1 file makes smoke worse, among 45,000 differences", r"--keep '/srv/x\x0a'"),
        (search(Outcome.STOPPED, left=7), "the cause is among 7 files", "--search-runs N"),
        (search(Outcome.STOPPED, GONE, left=7), "1 file makes smoke worse so far, and the next one", "--search-runs"),
        (search(Outcome.UNSTABLE), "smoke fails now and then", "repair the test"),
        (search(Outcome.ELSEWHERE), "passes in the full image with all 45,000 differences", "not a file"),
        (search(Outcome.UNTRIED), "only the start of the image is worse", "logs/slim-start.log"),
        (search(Outcome.BROKEN, note="no space"), "given up after 8 runs, 100 s: no space", "run it again"),
    ],
)
def test_each_outcome_says_what_it_means_and_what_comes_next(found: Search, said: str, hint: str) -> None:
    """A sentence, and a hint."""
    assert said in search_lines(found)[0]
    assert hint in next_step(found)


def test_each_cause_is_named_with_what_happened_to_it() -> None:
    """With its owner, and whether it was tried alone."""
    causes = (
        GONE,
        Cause(path=b"/lib/y", what=What.STRIPPED),
        Cause(path=b"/lib/z", what=What.REMOVED, alone=False),
    )
    lines = search_lines(search(Outcome.FOUND, *causes))
    assert lines[1] == r"    /srv/x\x0a  (removed, of dpkg:x)"
    assert lines[2] == "    /lib/y  (stripped)"
    assert lines[3].endswith("(removed; tried together with others of its group)")
    assert "--strip-except /lib/y" in next_step(search(Outcome.FOUND, *causes))


def test_what_cannot_be_undone_is_called_what_it_is() -> None:
    """A fault, or an edit of a file that packages share."""
    fault = search(Outcome.FOUND, Cause(path=b"/lib/odd", what=What.DIFFERS))
    assert "fault of slimagent or of the engine" in next_step(fault)
    assert "--keep-package" in next_step(search(Outcome.FOUND, Cause(path=b"/etc/status", what=What.EDITED)))


def test_both_summaries_have_it() -> None:
    """On the terminal and as Markdown, with the number of runs."""
    blank = Summary(tool="slimagent 0", command="image", searches=(search(Outcome.FOUND, GONE),))
    for lines in (result(blank, "out"), pull_request(blank)):
        whole = "\n".join(lines)
        assert "8 runs" in whole
        assert "/srv/x" in whole
    many = tuple(Cause(path=b"/srv/%d" % at, what=What.REMOVED) for at in range(50))
    assert search_lines(search(Outcome.FOUND, *many))[-1].endswith("50 files in all (summary.json has them)")
