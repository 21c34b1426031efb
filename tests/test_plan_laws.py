"""Laws of planning, on random small trees of real files with random evidence."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import access, plan_for, write

from slimagent.documents import encode_plan
from slimagent.model import Access, Change, ChangeKind, How, KeepRule, Plan, Verdict
from slimagent.plan.explain import Explainer

FREE = {"folder", "symbolic-link", "special-file", "empty-file", "mount-point"}
ENDS = {"executed", "opened", "listed", "looked-up", "rule", "link-on-the-way", *FREE}
PATHS = (
    "/bin/a", "/bin/b", "/usr/bin/env", "/usr/bin/c", "/opt/d", "/py/m.py", "/py/m.pyc", "/py/n.py",
    "/py/__pycache__/m.cpython-312.pyc", "/py/__pycache__/n.cpython-312.pyc", "/r/x.rdb", "/r/x.rdx",
)  # fmt: skip
LINKS = ("/bin/l", "/usr/bin/l", "/opt/folder", "/py/l.py", "/loop")
TARGETS = (*PATHS, *LINKS, "/py", "/usr/bin", "nowhere", "../bin/a")
NAMES = (*PATHS, *LINKS, "/opt/folder/m.py", "/opt/folder/c", "/absent")
PATTERNS = (*PATHS, *LINKS, "/py/**", "/usr/**/c", "/opt/*", "/r/x.rd?")


@dataclass(frozen=True)
class Tree:
    files: dict[str, str]
    links: dict[str, str]
    twins: tuple[tuple[str, str], ...]
    created: frozenset[str]

    @contextmanager
    def made(self) -> Iterator[Path]:
        """The tree on disk."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for path, text in self.files.items():
                write(root, path, text, 0o755)
            for path, target in self.links.items():
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (root / path[1:]).symlink_to(target)
            for path, twin in self.twins:
                with suppress(FileExistsError, FileNotFoundError):
                    (root / twin[1:]).hardlink_to(root / path[1:])
            yield root

    def plan(self, accesses: list[Access], rules: tuple[KeepRule, ...] = ()) -> Plan:
        changes = tuple(
            Change(path=path.encode(), kind=ChangeKind.CREATED, mtime_ns=0) for path in sorted(self.created)
        )
        with self.made() as root:
            return plan_for(root, accesses, rules, changes)


contents = st.one_of(
    st.sampled_from(["", "data", "#!/usr/bin/env c\n", "#!/usr/bin/env -S a -x\n"]),
    st.sampled_from(TARGETS).map(lambda path: f"#!{path}\n"),
)
trees = st.builds(
    Tree,
    files=st.dictionaries(st.sampled_from(PATHS), contents, min_size=3),
    links=st.dictionaries(st.sampled_from(LINKS), st.sampled_from(TARGETS)),
    twins=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS)), max_size=3).map(tuple),
    created=st.frozensets(st.sampled_from(NAMES), max_size=2),
)
hows = st.integers(1, 15).map(How)
accesses = st.lists(
    st.builds(access, st.sampled_from(NAMES), hows, st.sampled_from([(0,), (1,), (0, 1)])),
    max_size=6,
    unique_by=lambda each: each.path,
)
rules = st.lists(st.builds(KeepRule, pattern=st.sampled_from(PATTERNS), why=st.just("a rule"), follow=st.booleans()))
some_rules = rules.filter(lambda found: len(found) < 4).map(tuple)
few = settings(max_examples=60, deadline=None)


def dropped(plan: Plan) -> set[bytes]:
    return {entry.path for entry in plan.entries if plan.reasons[entry.reason].verdict is Verdict.DROP}


@few
@given(trees, accesses, some_rules)
def test_what_is_dropped_and_the_closure_of_what_is_kept_never_meet(
    tree: Tree, seen: list[Access], kept_by_rule: tuple[KeepRule, ...]
) -> None:
    """To plan again with every needed file as evidence drops the same: a plan is a fixed point of its closure."""
    first = tree.plan(seen, kept_by_rule)
    needed = [
        access(entry.path)
        for entry in first.entries
        if plan_kind(first, entry.path) not in FREE and entry.path not in dropped(first) and entry.size
    ]
    assert dropped(tree.plan([*seen, *needed], kept_by_rule)) == dropped(first)


@few
@given(trees, accesses)
def test_a_kept_script_has_its_interpreter(tree: Tree, seen: list[Access]) -> None:
    """Whatever a needed script names in its first line is not dropped, unless the run had made it."""
    plan = tree.plan(seen)
    unwanted = {path.decode() for path in dropped(plan)} - tree.created
    for path, text in tree.files.items():
        first = text.split("\n", 1)[0][2:].split()[:1]
        if first and path.encode() not in dropped(plan) and plan_kind(plan, path.encode()) not in FREE:
            assert first[0] not in unwanted


@few
@given(trees, accesses, accesses)
def test_more_evidence_never_drops_more(tree: Tree, seen: list[Access], more: list[Access]) -> None:
    """A plan from a superset of the accesses drops a subset of the files."""
    assert dropped(tree.plan([*seen, *more])) <= dropped(tree.plan(seen))


@few
@given(trees, accesses, some_rules, some_rules, st.randoms())
def test_more_rules_never_drop_more(
    tree: Tree,
    seen: list[Access],
    first: tuple[KeepRule, ...],
    second: tuple[KeepRule, ...],
    chance: random.Random,
) -> None:
    """Rules only keep, wherever they stand among the others."""
    both = [*first, *second]
    chance.shuffle(both)
    assert dropped(tree.plan(seen, tuple(both))) <= dropped(tree.plan(seen, first))


@few
@given(trees, accesses, some_rules, st.randoms())
def test_the_order_of_the_accesses_does_not_matter(
    tree: Tree, seen: list[Access], kept_by_rule: tuple[KeepRule, ...], chance: random.Random
) -> None:
    """The same evidence in any order is the same plan, byte for byte."""
    shuffled = list(seen)
    chance.shuffle(shuffled)
    with tree.made() as root:
        for path in root.rglob("*"):
            if not path.is_symlink():
                path.touch()
        assert encode_plan(plan_for(root, seen, kept_by_rule)) == encode_plan(plan_for(root, shuffled, kept_by_rule))


@few
@given(trees, accesses, some_rules)
def test_every_verdict_has_a_reason_that_ends(
    tree: Tree, seen: list[Access], kept_by_rule: tuple[KeepRule, ...]
) -> None:
    """One entry per path, one reason per entry; a keep's chain ends in an access, a rule or a kind that is free."""
    plan = tree.plan(seen, kept_by_rule)
    paths = [entry.path for entry in plan.entries]
    assert len(paths) == len(set(paths))
    explainer = Explainer(plan)
    for entry in plan.entries:
        chain = [path for path, _ in explainer.explain(entry.path).chain]
        assert len(chain) == len(set(chain))
        last = plan.reasons[{each.path: each.reason for each in plan.entries}[chain[-1]]]
        if plan.reasons[entry.reason].verdict is Verdict.DROP:
            assert (len(chain), last.kind in {"unused", "created"}) == (1, True)
        else:
            assert (last.kind in ENDS, last.source, last.verdict) == (True, None, Verdict.KEEP)


def plan_kind(plan: Plan, path: bytes) -> str:
    return next(plan.reasons[entry.reason].kind for entry in plan.entries if entry.path == path)
