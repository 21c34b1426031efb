"""What was nearly kept: for a file that goes, up to which size such files stay, and what keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_images import Installed, build_library, plan_of, write

from slimagent.model.profile import Rules
from slimagent.model.reason import Verdict
from slimagent.report.explain import Explainer

FILES = {
    "/usr/bin/tool": 5,
    "/usr/share/tool/table.dat": 35,
    "/usr/share/tool/other.tab": 30,
    "/usr/share/tool/third.csv": 90,
    "/usr/share/tool/code.pm": 4000,
    "/usr/share/tool/many/a.x": 3000,
    "/usr/share/tool/many/b.x": 1000,
    "/srv/db/one": 4000,
    "/srv/db/two": 3000,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, size in FILES.items():
        write(tmp_path, path, b"x" * size, 0o755 if "bin" in path else 0o644)
    return tmp_path


def explained(root: Path, path: str, budget: int = 10) -> tuple[str, str]:
    """The reason that is said, and what keeps the file."""
    own = [each for each in FILES if each.startswith("/usr")]
    plan = plan_of(root, [Installed("dpkg:tool", own)], ["/usr/bin/tool"], Rules(budget=budget), level="file")
    found = Explainer(plan).explain(path.encode())
    return found.chain[0][1], found.cost


def test_a_file_that_is_too_large(root: Path) -> None:
    """The budget that keeps it, and what else that keeps, by the same rule."""
    why, cost = explained(root, "/usr/share/tool/table.dat")
    assert why == "no test asked for it; unread data files stay up to 10 B (--budget)"
    assert cost == "--keep /usr/share/tool/table.dat keeps it; --budget 35 keeps 2 files like it, 65 B"
    assert explained(root, "/usr/share/tool/code.pm")[1].endswith("--budget 12 keeps 1 file like it, 4.0 kB")


def test_the_budget_that_is_named_keeps_the_file(root: Path) -> None:
    """And one byte less does not."""
    own = [each for each in FILES if each.startswith("/usr")]
    for budget, verdict in ((35, Verdict.KEEP), (34, Verdict.DROP)):
        plan = plan_of(root, [Installed("dpkg:tool", own)], ["/usr/bin/tool"], Rules(budget=budget), level="file")
        assert Explainer(plan).explain(b"/usr/share/tool/table.dat").verdict is verdict


def test_a_directory_that_is_too_large(root: Path) -> None:
    """Its files stay or go together, so what keeps one is what keeps all."""
    why, cost = explained(root, "/usr/share/tool/many/b.x")
    assert why == "no test asked for it; unread directories of data stay up to 3.4 kB (340 times --budget)"
    assert cost == "--keep '/usr/share/tool/many/*' keeps 2 files like it, 4.0 kB"


def test_a_tree_that_nothing_used(root: Path) -> None:
    """All of it."""
    why, cost = explained(root, "/srv/db/two")
    assert why == "no package owns it, and no test asked for anything in /srv/db"
    assert cost == "--keep '/srv/db/**' keeps 2 files like it, 7.0 kB"


def test_no_budget_is_named_that_would_not_keep_it(tmp_path: Path) -> None:
    """A plugin goes because of a library that only it needs: no budget below that library's size keeps it."""
    build_library(tmp_path, "/usr/lib/libbig.so")
    with (tmp_path / "usr/lib/libbig.so").open("ab") as file:
        file.truncate(9_000_000)
    build_library(tmp_path, "/usr/lib/p/plug.so", needs=["/usr/lib/libbig.so"])
    write(tmp_path, "/usr/bin/tool")
    packages = [
        Installed("dpkg:p", ["/usr/bin/tool", "/usr/lib/p/plug.so"], requires=["dpkg:big"]),
        Installed("dpkg:big", ["/usr/lib/libbig.so"]),
    ]
    plan = plan_of(tmp_path, packages, ["/usr/bin/tool"], Rules(), level="file")
    told = Explainer(plan).explain(b"/usr/lib/p/plug.so")
    assert told.verdict is Verdict.DROP
    assert "--budget" not in told.cost
    assert "--keep /usr/lib/p/plug.so" in told.cost
