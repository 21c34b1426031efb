"""A requirements.txt that lies somewhere is no package: it keeps what it names, and no report counts it."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_images import plan_of, reason, write
from run_documents import finished

from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.reason import Verdict
from slimagent.report.bill import bill
from slimagent.report.explain import package_name, reason_sentence
from slimagent.report.run_comparison import compare_runs
from slimagent.report.since import kept_packages
from slimagent.report.summary import groups
from slimagent.report.summary import owners as by_owner

SITE = "/usr/lib/python3.12/site-packages"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan of an image with one distribution, an application that needs it, and a list left in /tmp."""
    write(tmp_path, "/usr/bin/python3.12", b"x" * 100, 0o755)
    info = f"{SITE}/flask-1.0.dist-info"
    write(tmp_path, f"{info}/METADATA", "Metadata-Version: 2.1\nName: flask\nVersion: 1.0\n")
    write(tmp_path, f"{SITE}/flask.py", "x = 1\n")
    write(tmp_path, f"{info}/RECORD", "flask.py,,\nflask-1.0.dist-info/METADATA,,\nflask-1.0.dist-info/RECORD,,\n")
    write(tmp_path, "/srv/app/main.py", "import flask\n")
    write(tmp_path, "/srv/app/requirements.txt", "flask\n")
    write(tmp_path, "/tmp/requirements.txt", "flask\n")
    table = owners(scan(str(tmp_path.resolve()).encode()))
    return plan_of(tmp_path, (), ["/srv/app/main.py"], Rules(), "package", found=table)


def test_it_keeps_what_it_names(plan: Plan) -> None:
    """The application is used; its reason names the file's directory and no package."""
    assert reason(plan, f"{SITE}/flask.py").verdict is Verdict.KEEP
    flask = next(each for each in plan.packages if each.package.name == "flask")
    assert reason_sentence(plan, flask.reason) == "the list of requirements in /srv/app requires it: flask"
    assert sorted(package_name(each.package) for each in plan.packages) == [
        "python:flask 1.0",
        "the list of requirements in /srv/app",
        "the list of requirements in /tmp",
    ]


def test_no_report_counts_it(plan: Plan) -> None:
    """Neither the summary, nor a bill of materials, nor a comparison of runs, nor the history."""
    assert sum(each.packages for each in groups(plan)) == 1
    assert [(each.kind, each.packages) for each in by_owner(plan)] == [("python", 1), ("", 0)]
    run = finished(plan)
    assert [each.reference for each in bill(run, before=True, tool="x").packages] == [f"python:flask@1.0 in {SITE}"]
    compared = compare_runs(run, run, "x")
    assert (compared.a.packages, compared.a.packages_kept) == (1, 1)
    assert [each[0] for each in kept_packages(plan)] == ["python:flask"]


def test_its_bytes_are_nobodys(plan: Plan) -> None:
    """In every sum, as an audit has them."""
    nobody = by_owner(plan)[-1]
    of_distribution = sum(entry.size for entry in plan.entries if b"flask" in entry.path)
    assert nobody.bytes == sum(entry.size for entry in plan.entries) - of_distribution
