"""Files that no package owns: each tree of them stays or goes whole, and an application uses what it declares."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_images import Installed, access, kinds, plan_of, reason, write

from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.plan import Plan
from slimagent.model.profile import CruftRule, Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import Change, ChangeKind, How
from slimagent.plan.trees import Trees

FILES = ("/app/run.py", "/app/reports.py", "/app/pages/report.html", "/app/model.bin", "/srv/db/a", "/srv/db/b")


def stays(plan: Plan, *paths: str) -> list[bool]:
    return [reason(plan, each).verdict is Verdict.KEEP for each in paths]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An application and a database, larger than what stays for its size; something of a package beside each."""
    for path in FILES:
        write(tmp_path, path, b"x" * 4000)
    for path in ("/usr/bin/tool", "/etc/tool.conf", "/usr/share/mixed/own", "/usr/share/mixed/data/x"):
        write(tmp_path, path, b"x" * 4000)
    return tmp_path


RULES = Rules(budget=10)
TOOL = Installed("dpkg:tool", ["/usr/bin/tool", "/etc/tool.conf", "/usr/share/mixed/own"])


def test_an_application_of_which_something_was_used_stays_whole(root: Path) -> None:
    """Its code, pages and model; another tree of which nothing was used goes whole."""
    plan = plan_of(root, [TOOL], ["/app/run.py"], RULES, level="file")
    assert stays(plan, *FILES) == [True, True, True, True, False, False]
    found = reason(plan, "/app/pages/report.html")
    assert (found.kind, found.detail, found.source) == ("together", "/app", b"/app/run.py")


@pytest.mark.parametrize("kind", [ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.REMOVED])
def test_a_directory_in_which_the_run_changed_something_is_state(root: Path, kind: ChangeKind) -> None:
    """A file that the run made may be new in a database of which it read nothing else that is in the image."""
    path = b"/srv/db/new" if kind is ChangeKind.CREATED else b"/srv/db/a"
    plan = plan_of(root, [TOOL], [], RULES, level="file", changes=(Change(path=path, kind=kind, mtime_ns=0),))
    assert stays(plan, "/srv/db/a", "/srv/db/b", "/app/run.py")[:2] == [True, True]
    assert reason(plan, "/srv/db/b").kind == "state"


def test_a_tree_that_was_looked_at_stays(root: Path) -> None:
    """A program that checks that a file exists may open it next time."""
    plan = plan_of(root, [TOOL], [access("/srv/db/a", How.LOOKED_UP)], RULES, level="file")
    assert stays(plan, "/srv/db/b", "/app/run.py") == [True, False]


def test_what_a_rule_names_goes_from_a_tree(root: Path) -> None:
    """Caches and logs are cruft in an application too."""
    logs = CruftRule(name="logs", patterns=("/app/pages/**",), why="x", risk="x")
    plan = plan_of(root, [TOOL], ["/app/run.py"], Rules(budget=10, cruft=(logs,)), level="file")
    assert kinds(plan, "/app/pages/report.html", "/app/model.bin") == ["cruft", "together"]


def test_small_trees_stay_and_no_tree_stays_in_part(root: Path) -> None:
    """A tree that is smaller than the largest unread program stays; with one byte more all of it goes."""
    assert stays(plan_of(root, [TOOL], rules=Rules(budget=24), level="file"), "/srv/db/a", "/srv/db/b") == [True, True]
    assert stays(plan_of(root, [TOOL], rules=Rules(budget=23), level="file"), "/srv/db/a", "/srv/db/b") == [False] * 2


def test_a_directory_that_a_package_shares_is_no_tree(root: Path) -> None:
    """What lies beside a package's file is alone; a directory below, without files of packages, is a tree."""
    inventory = scan(str(root.resolve()).encode())
    assert Trees(inventory, owners(inventory)).roots  # without packages nearly everything is in some tree
    write(root, "/usr/share/mixed/alone", b"x" * 4000)
    plan = plan_of(root, [TOOL], ["/usr/share/mixed/alone"], RULES, level="file")
    assert stays(plan, "/usr/share/mixed/data/x", "/usr/share/mixed/alone") == [False, True]
    plan = plan_of(root, [TOOL], ["/usr/share/mixed/data/x"], RULES, level="file")
    assert stays(plan, "/usr/share/mixed/data/x", "/usr/share/mixed/alone") == [True, False]


@pytest.mark.parametrize("level", ["package", "file"])
def test_a_program_in_a_used_tree_uses_what_it_declares(tmp_path: Path, level: str) -> None:
    """Its dependencies and theirs keep their code, though the trace saw only the application's own."""
    write(tmp_path, "/app/package.json", '{"name": "app", "dependencies": {"a": "1"}}')
    write(tmp_path, "/app/server.js", b"x" * 4000)
    for name, more in (("a", '"dependencies": {"b": "1"}, '), ("b", ""), ("c", "")):
        write(tmp_path, f"/app/node_modules/{name}/package.json", f'{{{more}"name": "{name}", "version": "1"}}')
        write(tmp_path, f"/app/node_modules/{name}/index.js", b"x" * 4000)
    inventory = scan(str(tmp_path.resolve()).encode())
    plan = plan_of(tmp_path, (), ["/app/server.js"], Rules(budget=20), level=level, found=owners(inventory))
    code = [f"/app/node_modules/{each}/index.js" for each in "abc"]
    assert stays(plan, *code) == [True, True, False]


@given(st.lists(st.sampled_from(FILES), unique=True))
def test_trees_are_never_cut(used: list[str]) -> None:
    """Whatever was used: of the files of a tree all stay, or none does."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in FILES:
            write(root, path, b"x" * 4000)
        plan = plan_of(root, [], used, RULES, level="file")
    for tree in ("/app", "/srv/db"):
        assert len(set(stays(plan, *(each for each in FILES if each.startswith(tree))))) == 1
