"""What went out of files that stay: symbols and GPU code apart, what more could go, and what did not go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from document_values import RECEIPT
from run_documents import Pack, plan_with, verification

from slimagent.model.plan import GpuCode, GpuFile, GpuLeft, Plan, Strip
from slimagent.model.proof import Receipt
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.summary import GpuGone, Summary, Unstripped, Whole
from slimagent.report.explain import Explainer
from slimagent.report.fates import Fates
from slimagent.report.pull_request import pull_request
from slimagent.report.result import result
from slimagent.report.smaller import gpu_notes, smaller, unstripped
from slimagent.report.summary import completed, summarised
from slimagent.report.text import plan_summary
from slimagent.report.undone import undone

TORCH, TRITON, OWN = b"/files/0/kept", b"/files/1/kept", b"/files/2/kept"
GPU = GpuCode(
    target="sm_90",
    files=(GpuFile(TORCH, 400_000_000, "open"), GpuFile(OWN, 75_000_000, "no package owns it")),
    left=(GpuLeft(b"/files/3/kept", "no open licence", 835_400_000), GpuLeft(b"/x", "not understood", 0)),
)
WHY = "its section .gnu.build.attributes.hot came out different"


def plan(gpu: GpuCode | None = GPU) -> Plan:
    """Two files with symbols and GPU code, one with symbols."""
    packs = [Pack(f"python:p{at}", 10**9, 10**9) for at in range(4)]
    strips = (Strip(TORCH, 80_000_000), Strip(TRITON, 313_656_648), Strip(OWN, 2_000_000))
    return replace(plan_with(packs), strips=strips, gpu=gpu)


def receipt(*unstripped: tuple[bytes, str], gpu: int = 2, code: int = 475_000_000) -> Receipt:
    return replace(RECEIPT, stripped=2, bytes_stripped=557_000_000, gpu=gpu, bytes_gpu=code, unstripped=unstripped)


def made(*left: tuple[bytes, str], gpu: GpuCode | None = GPU) -> Summary:
    code = {} if gpu is not None else {"gpu": 0, "code": 0}
    blank = Summary(tool="slimagent 0", command="image", image="a", tag="b")
    return summarised(blank, Whole(plan=plan(gpu), receipt=receipt(*left, **code)))


def test_gpu_code_and_symbols_are_told_apart_wherever_a_result_is_shown() -> None:
    """The bytes of each, what more could go, and the option that permits it."""
    summary = made()
    assert summary.gpu == GpuGone(target="sm_90", files=2, bytes=475_000_000, more_files=1, more_bytes=835_400_000)
    first, second = smaller(summary)
    assert "475.0 MB of GPU code that is not for sm_90" in first
    assert "82.0 MB of symbols" in first
    assert "835.4 MB" in second and "--gpu-code-of" in second
    assert second.endswith("; slimagent explain OUT says of which packages")
    assert {first, second.replace("OUT", "out")} <= set(result(summary, "out"))
    text = "\n".join(pull_request(summary))
    assert "475.0 MB of GPU code" in text and "--gpu-code-of" in text


def test_without_gpu_code_only_stripping_is_named() -> None:
    """As before."""
    assert list(smaller(made(gpu=None))) == ["2 files were stripped, which saved 557.0 MB"]


def test_that_nothing_ran_on_a_gpu_is_a_note() -> None:
    """Unless the check passed in the slim image, or the image runs without a GPU. A skipped one proves nothing."""
    (note,) = gpu_notes(made())
    assert "no check of kind gpu passed" in note and "--gpus all" in note
    ran = CheckResult(name="g", kind="gpu", outcome=Outcome.PASSED, seconds=1.0)
    for outcome, expected in ((Outcome.PASSED, 0), (Outcome.SKIPPED, 1), (Outcome.FAILED, 1)):
        proof = replace(verification({}), steps=(replace(ran, outcome=outcome),))
        proved = summarised(made(), Whole(verification=proof))
        assert len(list(gpu_notes(proved))) == expected
    assert not list(gpu_notes(made(gpu=replace(GPU, target="none"))))
    assert not list(gpu_notes(made(gpu=None)))


def test_a_file_that_could_not_be_stripped_is_named_with_its_bytes() -> None:
    """The largest of each reason."""
    summary = made((TRITON, WHY), (OWN, "strip crashed"), (b"/files/9", WHY))
    assert summary.unstripped[0] == Unstripped(why=WHY, files=2, largest=TRITON, bytes=313_656_648)
    said = [each for each in smaller(summary) if "less went than planned" in each]
    assert said[0] == f"313.7 MB less went than planned, out of 2 files, the largest /files/1/kept: {WHY}"
    assert set(said) <= set(result(summary, "out"))
    assert sum(line.startswith("- ") and "less went" in line for line in pull_request(summary)) == 2


def test_many_reasons_are_counted() -> None:
    """After the first ones."""
    many = tuple((b"/%d" % at, f"reason {at}") for at in range(9))
    assert list(smaller(made(*many)))[-1].startswith("6 more files, 0 B")


@pytest.mark.parametrize(
    ("why", "gpu", "expected"),
    [
        ("GPU code: not smaller", 1, 400_000_000),  # stripped, and its GPU code stays
        ("strip crashed", 2, 80_000_000),  # not stripped, and its GPU code went
        ("strip crashed", 1, 480_000_000),  # neither
    ],
)
def test_what_went_of_a_file_although_something_did_not(why: str, gpu: int, expected: int) -> None:
    """Stripping and taking out GPU code fail apart. The picture counts what went."""
    done = receipt((TORCH, why), gpu=gpu)
    (found,) = undone(plan(), done).values()
    assert (found.expected, found.why) == (expected, why.removeprefix("GPU code: "))
    assert unstripped(plan(), done)[0].bytes == expected
    assert Fates(plan(), done).saved.get(TORCH, 0) == 480_000_000 - expected


def test_explain_says_what_was_done() -> None:
    """With a receipt, of a file and of the whole plan; without one what is to be done."""
    done = receipt((TRITON, WHY), (OWN, "GPU code: not smaller"), gpu=1, code=400_000_000)
    before, after = Explainer(plan()), Explainer(plan(), done)
    assert before.explain(TRITON).stripped.startswith("strip saves 313,656,648 bytes")
    assert after.explain(TRITON).stripped == f"not stripped, which would have saved 313,656,648 bytes: {WHY}"
    assert after.explain(OWN).stripped.startswith("strip saved about 2,000,000 bytes")
    assert after.explain(OWN).gpu == "75.0 MB should have gone, for sm_90, and stays: not smaller"
    assert after.explain(TORCH).gpu == "400.0 MB went, for sm_90: open"
    assert (before.explain_package(1).saved, after.explain_package(1).saved) == (313_656_648, 0)
    lines = plan_summary(plan(), done)
    assert "stays (before stripping)" in lines[0]
    assert any(line.startswith("GPU code went from 1 kept file, 400.0 MB") for line in lines)
    assert any("313.7 MB" in line and WHY in line for line in lines)
    assert not any("strip removes" in line for line in lines)
    assert any("strip removes 395.7 MB" in line for line in plan_summary(plan()))


def test_a_summary_of_an_earlier_version_gets_what_its_documents_say() -> None:
    """With the note, once."""
    done = made((TRITON, WHY))
    earlier, whole = replace(done, gpu=None, unstripped=()), Whole(plan=plan(), receipt=receipt((TRITON, WHY)))
    complete = completed(earlier, whole)
    assert (complete.gpu, complete.unstripped) == (done.gpu, done.unstripped)
    assert complete.notes == tuple(gpu_notes(done)) != ()
    assert completed(complete, whole) == complete
    assert completed(earlier, Whole()) == earlier
