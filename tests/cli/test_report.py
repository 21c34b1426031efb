"""`slimagent report`: its screens, its page, and what it does without some documents."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import report_documents
from command_line import assert_error, slimagent
from schemas import problems

from slimagent import documents
from slimagent.model.inventory import Package, PackageKind
from slimagent.model.plan import Entry, Plan, Step
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.report.pull_request import pull_request

FILES = ("plan.json", "trace.json", "receipt.json", "verification.json", "summary.json", "image.json")


def plain() -> Plan:
    """A plan with names that a person would give."""
    hostile = report_documents.plan()
    reasons = (
        Reason(kind=ReasonKind.OPENED, steps=(0,)),
        Reason(kind=ReasonKind.PACKAGE, package=0),
        Reason(kind=ReasonKind.CRUFT, verdict=Verdict.DROP, detail="docs: manuals"),
        Reason(kind=ReasonKind.PACKAGE_GONE, verdict=Verdict.DROP, package=2),
        Reason(kind=ReasonKind.USED, source=b"/usr/lib/libx.so", steps=(0,)),
        Reason(kind=ReasonKind.REQUIRED, package=0, detail="base (>= 1)"),
        Reason(kind=ReasonKind.NOT_NEEDED, verdict=Verdict.DROP),
    )
    named = [("x", 4, (1,)), ("base", 5, ()), ("vim", 6, ())]
    packages = tuple(
        replace(
            hostile.packages[0], package=Package(kind=PackageKind.DPKG, name=name, version="1"), reason=reason,
            requires=requires,
        )
        for name, reason, requires in named
    )  # fmt: skip
    entries = (
        Entry(b"/usr/lib/base", 1, 500_000, 1, 1),
        Entry(b"/usr/lib/libx.so", 0, 3_000_000, 1, 0),
        Entry(b"/usr/lib/x/data", 1, 2_000_000, 1, 0),
        Entry(b"/usr/share/doc/x", 2, 1_000_000, 1, 0),
        Entry(b"/usr/bin/vim", 3, 4_000_000, 1, 2),
    )
    steps = (Step("command", "r"),)
    return replace(
        hostile, steps=steps, reasons=reasons, packages=packages, entries=entries, further=(), strips=(), unstripped=()
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a run."""
    directory = tmp_path / "out"
    directory.mkdir()
    report_documents.write(directory, plain())
    return directory


def shown(run: Path, *options: str) -> list[str]:
    done = slimagent("report", run.name, *options, cwd=run.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_screen(run: Path) -> None:
    """What becomes of the bytes, what is left and its price, what nobody exercised; the answer last."""
    lines = shown(run)
    text = "\n".join(lines)
    assert lines[:6] == [
        "what becomes of the bytes  files    size  of the image",
        "stays: used by a step          1  3.0 MB        28.6 %",
        "stays: needed or kept          2  2.5 MB        23.8 %",
        "goes: stripped                 0     0 B         0.0 %",
        "goes: cruft                    1  1.0 MB         9.5 %",
        "goes: unused                   1  4.0 MB        38.1 %",
    ]
    at = lines.index("what is left, the largest first")
    assert lines[at + 1 : at + 8] == [
        "    5.0 MB  dpkg:x 1  (60.0 % used)",
        "            /usr/lib/libx.so was used in command",
        "            give up what command does with it; or try level file, which drops",
        "            large data and programs of the 2.0 MB that no step read",
        "  500.0 kB  dpkg:base 1  (0.0 % used)",
        "            dpkg:x 1 requires it: base (>= 1)",
        "            give up dpkg:x, which requires it, 5.0 MB; or try level file, which",
    ]
    assert "all of it, as a picture: slimagent report out --html report.html" in lines
    assert "stays, and no step used anything of it: 1 package, 500.0 kB" in text
    assert "verified with the dropped files gone: 2 checks pass" in lines
    assert lines[-1] == "10.5 MB became 5.5 MB; 2 checks pass as before"


def test_lines_fit_a_terminal(run: Path) -> None:
    """80 columns, but for names that are longer than that."""
    own = [line for line in shown(run)[:25] if report_documents.TEXT[:20] not in line]
    assert len(own) > 20
    assert all(len(line) <= 80 for line in own)


def test_as_json_it_is_the_document_that_the_schema_describes(run: Path) -> None:
    """And nothing else on standard output."""
    written = json.loads("\n".join(shown(run, "--json")))
    assert problems("report", written) == []
    assert [each["sha256"] is not None for each in written["documents"]] == [True] * len(FILES)
    assert written["summary"]["bytes_after"] == 5_500_000 - 1234
    assert written["start"]["ports"] == [80]
    assert [each["what"] for each in written["left"]] == ["dpkg:x 1", "dpkg:base 1"]


def test_as_markdown_it_is_the_text_for_a_pull_request(run: Path) -> None:
    """The same as the run itself printed, whose summary it reads; then what becomes of the bytes, and what is left."""
    summary = documents.decode_summary((run / "summary.json").read_bytes())
    lines, same = shown(run, "--format", "markdown"), pull_request(summary)
    assert lines[: len(same)] == same
    assert "| goes: cruft | 1 | 1.0 MB (9.5 %) |" in lines[len(same) :]
    assert "| `dpkg:x 1` | 5.0 MB | 60.0 % | /usr/lib/libx.so was used in command |" in lines[len(same) :]


def test_the_page_is_written_whole_and_nothing_else_is_printed(run: Path) -> None:
    """One line that says where, the answer; with --json the document. A page of ours is replaced."""
    page = run.parent / "page.html"
    for _ in range(2):
        done = slimagent("report", "out", "--html", "page.html", cwd=run.parent)
        assert done.returncode == 0
        assert re.fullmatch(r"slimagent: wrote page\.html, \d+\.\d kB\n", done.stderr)
        assert done.stdout == "10.5 MB became 5.5 MB; 2 checks pass as before\n"
    first = page.read_bytes()
    assert first.endswith(b"</html>\n")
    done = slimagent("report", "out", "--html", "page.html", "--json", cwd=run.parent)
    assert json.loads(done.stdout)["schema"] == "slimagent/report"
    assert page.read_bytes() == first
    assert sorted(each.name for each in run.parent.iterdir()) == ["out", "page.html"]


def test_a_foreign_file_is_not_replaced(run: Path) -> None:
    """Unless --overwrite says so; nothing is printed before."""
    page = run.parent / "page.html"
    page.write_text("<!doctype html><p>mine")
    done = slimagent("report", "out", "--html", "page.html", cwd=run.parent)
    assert_error(done, 3, "page.html", "--overwrite")
    assert done.stdout == "" and page.read_text() == "<!doctype html><p>mine"
    assert slimagent("report", "out", "--html", "page.html", "--overwrite", cwd=run.parent).returncode == 0
    assert page.read_text().startswith("<!doctype html>\n<html")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_document_is_named(run: Path, name: str) -> None:
    """On the screen and on the page; the rest is there."""
    (run / name).unlink()
    assert f"{name} is missing: no such file" in shown(run)
    done = slimagent("report", "out", "--html", "page.html", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert f"{name} is missing: no such file." in (run.parent / "page.html").read_text()


def test_a_document_of_another_plan_is_left_out(run: Path) -> None:
    """The report is of one run: what belongs to another plan is named, and its figures are not shown."""
    other = documents.decode_receipt((run / "receipt.json").read_bytes())
    (run / "receipt.json").write_bytes(documents.encode_receipt(replace(other, plan="ff")))
    (run / "summary.json").unlink()
    lines = shown(run)
    assert "receipt.json is missing: it belongs to another plan than plan.json" in lines
    assert lines[-1] == "5.5 MB of 10.5 MB stay by the plan; nothing was made yet"


def test_a_plan_alone_says_what_would_stay(run: Path) -> None:
    """Before anything is made."""
    for name in FILES[1:]:
        (run / name).unlink()
    assert shown(run)[-1] == "5.5 MB of 10.5 MB stay by the plan; nothing was made yet"


def test_a_directory_without_documents_is_an_error(tmp_path: Path) -> None:
    """So is something that is no directory, and a damaged document."""
    assert_error(slimagent("report", tmp_path), 2, "no document of a run: looked for plan.json", "--out")
    assert_error(slimagent("report", tmp_path / "nowhere"), 2, "nowhere does not exist", "--out")
    (tmp_path / "plan.json").write_text("{")
    assert_error(slimagent("report", tmp_path), 2, "plan.json", "not a whole JSON document")


def test_without_its_library_it_says_what_to_do(run: Path) -> None:
    """As in a container, whose agent has no Jinja: everything but the page works."""
    hide = run.parent / "jinja2"
    hide.mkdir()
    (hide / "__init__.py").write_text("raise ImportError('not here')")
    options = {"cwd": run.parent, "env": {"PYTHONPATH": str(run.parent), "PATH": "/usr/bin:/bin"}}
    done = slimagent("report", "out", "--html", "page.html", **options)
    assert_error(done, 4, "jinja2", "outside of the container")
    assert not (run.parent / "page.html").exists()
    assert slimagent("report", "out", **options).returncode == 0
