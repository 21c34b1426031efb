"""What stays because a trace could not see lookups: laws on random trees, and each rule by an example."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from plan_images import access, evidence_for, with_run, write
from test_plan_laws import (
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

from slimagent.documents import decode_plan, encode_plan
from slimagent.inventory.owners import owners
from slimagent.inventory.reader import Image
from slimagent.model import Found, Package, Plan
from slimagent.paths import Resolver
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence, is_compiling
from slimagent.plan.explain import Explainer
from slimagent.report.text import plan_summary
from slimagent.rules import Rules
from slimagent.traces import Access, BlindSpot, How


def blinded(evidence: Evidence, *spots: BlindSpot) -> Evidence:
    """The same evidence from a backend with such blind spots."""
    return replace(evidence, trace=with_run(evidence.trace, blind_spots=spots or (BlindSpot.LOOKUPS,)))


def kept_bytes(plan: Plan) -> int:
    gone = dropped(plan)
    return sum(entry.size for entry in plan.entries if entry.path not in gone)


@few
@given(trees, accesses, some_rules, levels)
def test_caution_only_keeps_and_says_what_it_costs(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """With the blind spot no less stays, and the bytes that stay besides are those that the plan tells."""
    with tree.made() as evidence:
        less, more = (planned(each, seen, rules, level) for each in (evidence, blinded(evidence)))
    assert_less_goes(more, less)
    assert less.caution is None
    assert more.caution is not None
    assert more.caution.size == kept_bytes(more) - kept_bytes(less)
    assert decode_plan(encode_plan(more)) == more


@few
@given(trees, accesses, some_rules, levels)
def test_a_link_to_what_stays_stays(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """By whichever of its names a file was opened: each link of the image leads to it still, less cruft."""
    with tree.made() as evidence:
        plan = planned(blinded(evidence), seen, rules, level)
        inventory = evidence.inventory
    gone = dropped(plan)
    for at, entry in enumerate(plan.entries):
        if stat.S_ISLNK(inventory.modes[at]) and reason_at(plan, at).kind not in ("created", "cruft"):
            end = Resolver(inventory.link).resolve(entry.path).end
            assert entry.path not in gone or end not in inventory.index or end in gone


def one_package(image: Image) -> list[Found]:
    """A Debian package that owns all below /usr."""
    files = [at for at, path in enumerate(image.inventory.paths) if path.startswith(b"/usr/")]
    identity = [at for at in files if image.inventory.paths[at].endswith(b"/copyright")]
    return [Found(package=Package(kind="dpkg", name="p", version="1"), files=files, identity=identity)]


def image(root: Path) -> Evidence:
    """A package of a library with a link, a program, metadata, and folders of data and of code."""
    write(root, "/usr/lib/libx.so.1", "library", 0o644)
    write(root, "/usr/bin/checked", "#!/bin/absent\n" + "x" * 100, 0o755)
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
    return replace(evidence, owners=owners(evidence.inventory, (one_package,)))


def test_each_rule_keeps_what_it_is_for(tmp_path: Path) -> None:
    """Links on the way, data of a listed folder and one below it, programs; data beside code and elsewhere goes."""
    evidence = image(tmp_path)
    less, more = decide(evidence, "file"), decide(blinded(evidence), "file")
    brought = dropped(less) - dropped(more)
    assert brought == {
        b"/usr/bin/checked",
        b"/usr/share/p/one/model.json",
        b"/usr/share/p/two/model.json",
    }
    assert {b"/usr/lib/p/table.json", b"/usr/share/q/one/model.json"} <= dropped(more)
    assert not {b"/usr/lib/libx.so", b"/opt/libx.so", b"/usr/share/doc/p/copyright"} & dropped(more)


def test_it_is_said(tmp_path: Path) -> None:
    """In the summary with its bytes, and by `explain` for each file."""
    plan = decide(blinded(image(tmp_path)), "file")
    assert plan.caution is not None
    (line,) = [line for line in plan_summary(plan) if "cannot see lookups" in line]
    assert f"{plan.caution.paths:,} files" in line
    answer = Explainer(plan).explain(b"/usr/bin/checked")
    assert "the trace cannot see lookups: a program of a package that stays" in str(answer)


def test_what_is_opened_may_have_been_executed(tmp_path: Path) -> None:
    """A backend that cannot tell the two: an opened compiler counts as one that ran."""
    write(tmp_path, "/usr/libexec/cc1", "compiler", 0o755)
    evidence = evidence_for(tmp_path, ["/usr/libexec/cc1"])
    assert not is_compiling(evidence)
    assert is_compiling(blinded(evidence, BlindSpot.EXECUTIONS))
