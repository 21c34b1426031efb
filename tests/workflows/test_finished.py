"""What a run left behind, by any path that people give for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import report_documents

from slimagent import documents
from slimagent.errors import DocumentError
from slimagent.model.summary import Failure
from slimagent.report.account import account
from slimagent.report.together import together
from slimagent.workflows.finished import Finished


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The directory of a run."""
    report_documents.write(tmp_path, report_documents.plan())
    return tmp_path


def test_a_document_stands_for_its_directory(out: Path) -> None:
    """The plan only for who needs the whole run: alone it is a run without its other documents."""
    for name in ("summary.json", "receipt.json", "trace.json"):
        assert Finished(str(out / name)).receipt == Finished(str(out)).receipt
    assert Finished(str(out / "plan.json")).receipt is None
    assert Finished(str(out / "plan.json"), whole=True).receipt is not None


@pytest.mark.parametrize(("name", "hint"), [("lab:mini", "slimagent audit lab:mini"), ("nowhere", "slimagent image")])
def test_the_name_of_an_image_is_not_a_run(name: str, hint: str) -> None:
    with pytest.raises(DocumentError) as error:
        Finished(name, whole=True)
    assert hint in error.value.hint and "or its plan" not in error.value.message


def test_a_report_of_a_failed_run_says_why(out: Path) -> None:
    """As the run said it. Without a plan it names no command that needs one."""
    (out / "plan.json").unlink()
    path = out / "summary.json"
    summary = documents.decode_summary(path.read_bytes())
    failure = Failure(slug="refused", status=3, message="the trace has losses", hint="accept them")
    path.write_bytes(documents.encode_summary(replace(summary, plan=None, failure=failure)))
    run = Finished(str(out), lenient=True, whole=True)
    assert run.summary is not None
    lines = account(together(run.summary, run.whole, run.image, run.found(), run.reach), "out")
    assert "the run failed: the trace has losses" in lines and "  hint: accept them" in lines
    assert not [line for line in lines if "slimagent explain" in line]
    done = account(together(summary, run.whole, run.image, run.found(), run.reach), "out")
    assert not [line for line in done if line.startswith("the run failed")]
