"""What stays because a trace could not see lookups: laws on random trees, and each rule by an example."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import slimagent
from hypothesis import given
from plan_images import access, evidence_for, with_run, write

from slimagent.documents import decode_plan, encode_plan
from slimagent.inventory.owners import owners
from slimagent.inventory.reader import Image
from slimagent.model.inventory import Found, Package
from slimagent.model.plan import Plan
from slimagent.model.profile import LEVELS, Rules
from slimagent.model.trace import Access, BlindSpot, How
from slimagent.paths.algebra import Resolver, within
from slimagent.plan.compilers import is_compiling
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.report.explain import Explainer
from slimagent.report.text import plan_summary
from slimagent.trace.inotify.backend import Inotify
from tests.plan.test_laws import (
    Tree,
    accesses,
    assert_less_goes,
    dropped,
    few,
    levels,
    planned,
    reason_at,
    some_rules,
    trees,
)


def blinded(evidence: Evidence, *spots: BlindSpot) -> Evidence:
    """The same evidence from a backend with such blind spots."""
    return replace(evidence, trace=with_run(evidence.trace, blind_spots=spots or (BlindSpot.LOOKUPS,)))


def kept_bytes(plan: Plan) -> int:
    gone = dropped(plan)
    return sum(entry.size for entry in plan.entries if entry.path not in gone)


@few
@given(trees, accesses, some_rules, levels)
def test_caution_only_keeps_and_says_what_it_costs(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """With the blind spot no less stays, and what stays besides is what the plan tells, in files and in bytes."""
    with tree.made() as evidence:
        less, more = (planned(each, seen, rules, level) for each in (evidence, blinded(evidence)))
        inventory = evidence.inventory
    assert_less_goes(more, less)
    assert less.caution is None
    assert more.caution is not None
    assert more.caution.size == kept_bytes(more) - kept_bytes(less)
    brought = dropped(less) - dropped(more)
    assert more.caution.paths == sum(not stat.S_ISDIR(inventory.modes[inventory.index[path]]) for path in brought)
    by_rule = {entry.path for entry in more.entries if more.reasons[entry.reason].kind == "unseen-lookup"}
    assert by_rule <= brought
    assert decode_plan(encode_plan(more)) == more


@few
@given(trees, accesses, accesses, some_rules, levels)
def test_more_evidence_never_drops_more_of_a_blind_plan(
    tree: Tree, seen: list[Access], more: list[Access], rules: Rules, level: str
) -> None:
    """What caution keeps, it keeps whatever else is seen: merged traces drop no more than each of them."""
    with tree.made() as made:
        evidence = blinded(made)
        assert_less_goes(planned(evidence, [*seen, *more], rules, level), planned(evidence, seen, rules, level))


@few
@given(trees, accesses, some_rules)
def test_levels_of_blind_plans_nest(tree: Tree, seen: list[Access], rules: Rules) -> None:
    """What caution keeps at a level stays at the levels above it."""
    with tree.made() as made:
        file, package, cruft = (planned(blinded(made), seen, rules, level) for level in LEVELS)
    assert_less_goes(package, file)
    assert_less_goes(cruft, package)


@few
@given(trees, accesses, some_rules, levels)
def test_a_link_to_what_stays_stays(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """By whichever of its names a file was opened: each link of the image leads to it still.

    A link to a directory leads to what is in that.
    """
    with tree.made() as evidence:
        plan = planned(blinded(evidence), seen, rules, level)
        inventory = evidence.inventory
    gone = dropped(plan)
    stays = [
        path
        for path, mode in zip(inventory.paths, inventory.modes, strict=True)
        if path not in gone and not stat.S_ISDIR(mode)
    ]
    for at, entry in enumerate(plan.entries):
        if stat.S_ISLNK(inventory.modes[at]) and reason_at(plan, at).kind != "created":
            end = Resolver(inventory.link).resolve(entry.path).end
            assert entry.path not in gone or end is None or not any(within(path, end) for path in stays)


def one_package(image: Image) -> list[Found]:
    """A Debian package that owns all below /usr."""
    files = [at for at, path in enumerate(image.inventory.paths) if path.startswith(b"/usr/")]
    identity = [at for at in files if image.inventory.paths[at].endswith(b"/copyright")]
    return [Found(package=Package(kind="dpkg", name="p", version="1"), files=files, identity=identity)]


def image(root: Path) -> Evidence:
    """A package of a library with a link, two programs, metadata, and directories of data and of code."""
    write(root, "/usr/lib/libx.so.1", "library", 0o644)
    write(root, "/usr/lib/site-packages/p/checked", "x" * 340, 0o755)
    write(root, "/usr/lib/site-packages/p/large", "x" * 341, 0o755)
    write(root, "/usr/share/doc/p/copyright", "who it is", 0o644)
    for name in ("one", "two"):
        write(root, f"/usr/share/p/{name}/model.json", name * 50, 0o644)
        write(root, f"/usr/share/q/{name}/model.json", name * 50, 0o644)
    write(root, "/usr/lib/p/code.py", "code", 0o644)
    write(root, "/usr/lib/p/table.json", "data" * 50, 0o644)
    (root / "usr/lib/libx.so").symlink_to("libx.so.1")
    (root / "opt").mkdir()
    (root / "opt/libx.so").symlink_to("../usr/lib/libx.so")
    seen = [access("/usr/lib/libx.so.1"), access("/usr/share/p", How.LISTED), access("/usr/lib/p", How.LISTED)]
    evidence = evidence_for(root, seen)
    return replace(evidence, owners=owners(evidence.inventory, (one_package,)), rules=Rules(budget=1))


def test_each_rule_keeps_what_it_is_for(tmp_path: Path) -> None:
    """Links on the way, data of a listed directory and one below it, programs up to a size; other data goes."""
    evidence = image(tmp_path)
    less, more = decide(evidence, "file"), decide(blinded(evidence), "file")
    brought = dropped(less) - dropped(more)
    assert brought == {
        b"/usr/lib/site-packages/p/checked",
        b"/usr/share/p/one/model.json",
        b"/usr/share/p/two/model.json",
    }
    assert {b"/usr/lib/p/table.json", b"/usr/share/q/one/model.json", b"/usr/lib/site-packages/p/large"} <= dropped(
        more
    )
    assert not {b"/usr/lib/libx.so", b"/opt/libx.so", b"/usr/share/doc/p/copyright"} & dropped(more)


def test_it_is_said(tmp_path: Path) -> None:
    """In the summary with its bytes, and by `explain` for each file."""
    plan = decide(blinded(image(tmp_path)), "file")
    assert plan.caution is not None
    (line,) = [line for line in plan_summary(plan) if "cannot see lookups" in line]
    assert f"{plan.caution.paths:,} files" in line
    answer = Explainer(plan).explain(b"/usr/lib/site-packages/p/checked")
    assert "the trace cannot see lookups: a program of a package that stays" in str(answer)


@pytest.mark.skipif(Inotify.unavailable() is not None, reason="no inotify here")
def test_a_run_says_it_too(tmp_path: Path) -> None:
    """In what it prints and in --json: a number for a backend that is blind, none for one that sees."""
    write(tmp_path, "/scope/read", "read", 0o644)
    for backend, expected in (("seccomp", None), ("inotify", {"paths": 0, "bytes": 0})):
        line = ("--backend", backend, "--verify", "in-place", "--scope", tmp_path / "scope", "--", "true")
        done = slimagent("run", "--json", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["caution"] == expected
    assert "the trace cannot see lookups: 0 files" in slimagent("run", *line, cwd=tmp_path).stdout


def test_what_is_opened_may_have_been_executed(tmp_path: Path) -> None:
    """A backend that cannot tell the two: an opened compiler counts as one that ran."""
    write(tmp_path, "/usr/libexec/cc1", "compiler", 0o755)
    evidence = evidence_for(tmp_path, ["/usr/libexec/cc1"])
    assert not is_compiling(evidence)
    assert is_compiling(blinded(evidence, BlindSpot.EXECUTIONS))
