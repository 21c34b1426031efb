"""The summary for a pull request: Markdown with what somebody asks first, and no name that breaks it."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.inventory import Package
from slimagent.model.plan import Entry, Plan, PlannedPackage
from slimagent.model.proof import Comparison, Layer, Missed, Receipt, Verification
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.result import Outcome
from slimagent.model.summary import Failure, Phase, Summary, Whole
from slimagent.report.pull_request import pull_request
from slimagent.report.summary import summarised

PASSED, FAILED = Outcome.PASSED, Outcome.FAILED


def package(name: str, size: int, reason: int = 1, kept: int = 0) -> PlannedPackage:
    return PlannedPackage(package=Package(kind="dpkg", name=name), reason=reason, files=1, size=size, kept=kept)


PLAN = Plan(
    tool="slimagent 0", level="package", root=b"/", scopes=(b"/",), excluded=(), fingerprints=(), traces=(),
    accepted=(), steps=(), changes=(),
    entries=(
        Entry(b"/a", 1, 4_000_000, 0, 1), Entry(b"/kept", 0, 1_000_000, 0, 1), Entry(b"/small", 1, 10, 0, 0),
        Entry(b"/stays", 0, 7, 0, 2),
    ),
    further=((0, (0,)),),
    reasons=(Reason(kind=ReasonKind.USED), Reason(verdict=Verdict.DROP, kind=ReasonKind.NOT_NEEDED)),
    packages=(
        package("small", 4_000_010), package("a|b<i>", 5_000_000, kept=1_000_000), package("stays", 7, 0),
        package("empty", 0),
    ),
)  # fmt: skip
RECEIPT = Receipt(
    tool="slimagent 0", plan="p", target="oci:/x", kept=30, dropped=70, bytes_kept=2_000_000, bytes_dropped=7_000_000,
    written=0, sha256="", left_alone=(), stripped=3, bytes_stripped=1_000_000,
    layers=(Layer(component="system", digest="d", diff_id="i", size=2_000_000, paths=30),),
)  # fmt: skip
VERIFICATION = Verification(
    tool="slimagent 0", plan="p", how="in-place", backend="seccomp", blind_spots=(), passed=True, steps=(), losses=(),
    missed=(Missed(path=b"/x", steps=("a",)),),
    comparisons=(
        Comparison(name="imports", before=PASSED, after=PASSED, detail=""),
        Comparison(name="imports: numpy", before=PASSED, after=PASSED, detail=""),
        Comparison(name="imports: old", before=FAILED, after=FAILED, detail="no module <old>\nand more"),
    ),
)  # fmt: skip


WHOLE = Whole(plan=PLAN, receipt=RECEIPT, verification=VERIFICATION)
BLANK = Summary(
    tool="slimagent 0", command="image", image="big:1", tag="slim:1", notes=("no step asked port 80",),
    phases=(
        Phase(name="load", seconds=1.25), Phase(name="verify", seconds=2), Phase(name="start", seconds=0.5, depth=1),
    ),
    seconds=4.0,
)  # fmt: skip
FAILURE = Failure(slug="check-failed", status=1, message="it does not <work>", hint="keep | mend")


def summary(blank: Summary = BLANK, whole: Whole = WHOLE) -> list[str]:
    return pull_request(summarised(blank, whole))


def test_the_first_line_says_how_small_it_has_become() -> None:
    """What was stripped counts as what was there before."""
    assert summary()[0] == "### slim:1: 10.0 MB → 2.0 MB, 80.0 % smaller"


def test_the_proof_is_a_table() -> None:
    """Sizes, paths, what passes, what is worse, what was missed; items count, not the checks that they make up."""
    lines = summary()
    assert lines[2] == "- **Note:** no step asked port 80."
    assert lines[4] == "|  | `big:1` | `slim:1` |"
    assert "| kept by a rule | 1 | 7 B (0.0 %) |" in lines
    assert "| not needed | 3 | 5.0 MB (100.0 %) |" in lines
    assert "| size | 10.0 MB | 2.0 MB |" in lines
    assert "| paths | 100 | 30 |" in lines
    assert "| checks, starts and items that pass | 1 | 1 |" in lines
    assert "| worse than before |  | 0 |" in lines
    assert "| removed files that were needed |  | 1 |" in lines
    assert not any("brought back" in line for line in lines)
    assert "| files brought back after a first verification |  | 12 |" in summary(replace(BLANK, repaired=12))


def test_packages_that_went_are_named_the_largest_first() -> None:
    """Those with files; what stays is not counted, what two own counts once, and no name becomes markup."""
    lines = summary()
    assert not any(line.startswith("3 packages removed") for line in lines)
    assert "2 packages removed; 4.0 MB went with them." in lines
    assert "- 3 files were stripped, which saved 1.0 MB." in lines
    where = lines.index("| `dpkg:a\\x7cb<i>` | 4.0 MB |")
    assert lines[where + 1] == "| `dpkg:small` | 10 B |"


def test_what_failed_before_too_is_told() -> None:
    """With the first line of why."""
    assert "<details><summary>1 fail in the original, too</summary>" in summary()
    assert "| `imports: old` | `no module <old>` |" in summary()


def test_layers_and_seconds_are_told() -> None:
    """A row each."""
    assert "| operating system | 2.0 MB | 30 |" in summary()
    at = summary().index("| load | 1.2 |")
    assert summary()[at + 1 : at + 4] == ["| verify | 2.0 |", "| · start | 0.5 |", "| the whole run | 4.0 |"]
    assert summary()[-1] == "Level `package`, slimagent 0."


@given(st.text(st.sampled_from("ab|\\<>[](!&`@#:/\n\x1b\u202e"), max_size=12))
def test_no_word_of_an_image_becomes_markup(word: str) -> None:
    """O2: in every field of every document a word is code or escaped: no tag, link, picture, mention, cell or line."""
    lines, plain = _with_word(word), _with_word("x")
    assert len(lines) == len(plain)
    for line, other in zip(lines, plain, strict=True):
        assert line.isprintable()
        words = re.sub(r"\\[\\`*_\[\]|~$]|`[^`]*`", "x", line)  # without escapes, and code, where nothing is obeyed
        assert not re.search(r"[@#](?!<)|://", words.removeprefix("### ")), line
        bare = re.sub(r"<!-- -->|</?(details|summary|code)>", "", words)
        assert not re.search(r"[<>\[\\`]", bare), line
        assert bare.count("|") == other.count("|"), line


def _with_word(word: str) -> list[str]:
    failed = Comparison(name=word, before=FAILED, after=FAILED, detail=word)
    verification = replace(VERIFICATION, comparisons=(failed,))
    packages = (package(word, 5), replace(package(word, 9), reason=0))
    plan = replace(PLAN, level=word, tool=word, packages=packages, entries=())
    receipt = replace(RECEIPT, layers=(replace(RECEIPT.layers[0], component=word),))
    whole = replace(WHOLE, plan=plan, receipt=receipt, verification=verification)
    failed_run = replace(BLANK, failure=replace(FAILURE, message=word, hint=word))
    worse = replace(WHOLE, verification=replace(verification, comparisons=(replace(failed, before=PASSED),)))
    return [
        *summary(replace(BLANK, notes=(word,), phases=(Phase(name=word, seconds=1),)), whole),
        *summary(failed_run, worse),
    ]


def test_a_failure_says_why_and_what_is_worse() -> None:
    """In place of the sizes in the first line, which nothing has that does not exist."""
    worse = Comparison(name="imports: numpy", before=PASSED, after=FAILED, detail="no <numpy>\nand more")
    whole = replace(WHOLE, verification=replace(VERIFICATION, passed=False, comparisons=(worse,)))
    lines = summary(replace(BLANK, failure=FAILURE), whole)
    assert lines[0] == "### slim:1 was not made"
    assert lines[2].startswith("it does not &lt;work")
    assert "Hint: keep \\| mend." in lines
    assert "| `imports: numpy` | passed | failed | `no <numpy>` |" in lines
    assert "| worse than before |  | 1 |" in lines


def test_a_failure_before_there_is_anything_says_why() -> None:
    """And calls unknown what nobody knows."""
    lines = summary(replace(BLANK, failure=FAILURE), Whole())
    assert lines[2].startswith("it does not &lt;work")
    assert "| size | unknown | unknown |" in lines
    assert "| worse than before |  | unknown |" in lines
    assert lines[-1] == "slimagent 0."
