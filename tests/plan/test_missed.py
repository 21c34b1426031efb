"""What an earlier slim image missed stays, and brings the small files beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import Installed, cruft, evidence_for, kinds, reader, reason, staying, write

from slimagent.inventory.owners import owners
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.proof import Missed, Repair
from slimagent.plan.decide import decide
from slimagent.report.explain import Explainer

RULES = Rules(budget=100)
FILES = ("main.h", "style.css", "large.css", "notes.md", "data.tab", "cache/x.css")


def plan_of(
    root: Path, packages: list[Installed], *missed: str, used: str = "", rules: Rules = RULES, level: str = "file"
) -> Plan:
    """The plan after one round for what was missed, and another one for what was used in the full image."""
    evidence = replace(evidence_for(root, ["/bin/seen"]), rules=rules)
    repairs = (
        Repair(number=1, missed=tuple(Missed(path=each.encode(), steps=("pages", "r")) for each in missed)),
        Repair(number=2, used=(Missed(path=used.encode(), steps=("pages",)),) if used else ()),
    )
    made = replace(evidence, repairs=repairs, owners=owners(evidence.inventory, (reader(packages),)))
    return decide(made, level)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "/bin/seen")
    for name in FILES:
        write(tmp_path, f"/usr/share/app/{name}", b"x" * (1000 if "large" in name else 50))
    return tmp_path


PACKAGES = [
    Installed("dpkg:app", [f"/usr/share/app/{name}" for name in FILES], requires=["dpkg:needed"]),
    Installed("dpkg:seen", ["/bin/seen"]),
    Installed("dpkg:needed", []),
]


def test_a_missed_file_brings_the_small_files_of_its_package(root: Path) -> None:
    """Of whatever kind: also pages, which a level does not keep. Not what is large, and not cruft."""
    rules = replace(RULES, cruft=(cruft("/usr/share/app/cache/**"),))
    paths = [f"/usr/share/app/{name}" for name in FILES]
    assert kinds(plan_of(root, PACKAGES, rules=rules), *paths)[:3] == ["package-gone"] * 3
    plan = plan_of(root, PACKAGES, "/usr/share/app/main.h", rules=rules)
    assert kinds(plan, *paths) == ["missed", "beside-missed", "unused", "beside-missed", "small", "cruft"]
    assert {"dpkg:app", "dpkg:needed"} <= staying(plan).keys()
    assert kinds(plan_of(root, PACKAGES, "/usr/share/app/cache/x.css", rules=rules), paths[-1]) == ["missed"]


def test_the_chain_of_reasons_says_which_step_of_which_round_it_was(root: Path) -> None:
    """And whether the step looked for the file in vain, or used it in the full image."""
    plan = plan_of(root, PACKAGES, "/usr/share/app/main.h", used="/usr/share/app/large.css")
    told = Explainer(plan)
    assert told.explain(b"/usr/share/app/notes.md").chain[0][1] == (
        "small, and of the same package as /usr/share/app/main.h, which an earlier plan dropped and which was needed"
    )
    first, second = (told.explain(f"/usr/share/app/{name}".encode()).chain for name in ("main.h", "large.css"))
    assert first[0][1] == "needed, although an earlier plan dropped it: pages, r looked for it in vain, round 1"
    assert second[0][1] == "needed, although an earlier plan dropped it: pages used it in the full image, round 2"
    assert [sentence for _, sentence in told.explain(b"/usr/share/app/notes.md").chain[1:]] == [first[0][1]]


def test_a_missed_file_that_nobody_owns_brings_the_small_ones_beside_it(tmp_path: Path) -> None:
    """In a directory of its own those below, too; in a shared one only its neighbours. In a tree everything."""
    write(tmp_path, "/bin/seen")
    for path in ("/usr/share/mixed/own", "/usr/share/mixed/a.css", "/usr/share/mixed/deep/b.css", "/etc/owned"):
        write(tmp_path, path, b"x" * 90)
    for path in ("/usr/share/mixed/gone", "/etc/gone", "/etc/beside/x.conf", "/app/gone", "/app/large"):
        write(tmp_path, path, b"x" * 50_000)
    packages = [Installed("dpkg:mixed", ["/usr/share/mixed/own", "/etc/owned"]), Installed("dpkg:seen", ["/bin/seen"])]
    rules = Rules(budget=100)
    none = plan_of(tmp_path, packages, rules=rules)
    assert kinds(none, "/usr/share/mixed/gone", "/app/large") == ["unused", "tree-unused"]
    plan = plan_of(tmp_path, packages, "/usr/share/mixed/gone", "/app/gone", "/etc/gone", rules=rules)
    assert kinds(plan, "/usr/share/mixed/gone", "/app/gone", "/app/large", "/etc/gone") == [
        "missed", "missed", "together", "missed"
    ]  # fmt: skip
    assert kinds(plan, "/etc/beside/x.conf") == kinds(none, "/etc/beside/x.conf")
    assert reason(plan, "/usr/share/mixed/own").kind == "package-gone"


def test_at_other_levels_it_changes_nothing_more(root: Path) -> None:
    """There the package stays whole anyway."""
    plan = plan_of(root, PACKAGES, "/usr/share/app/main.h", level="package")
    assert kinds(plan, "/usr/share/app/main.h", "/usr/share/app/style.css") == ["missed", "package"]
