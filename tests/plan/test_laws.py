"""Laws of planning, on random small trees of real files with random evidence, owners and rules."""

from __future__ import annotations

import random
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import access, evidence_for, write

from slimagent.documents import decode_plan, encode_plan
from slimagent.inventory.owners import owners
from slimagent.inventory.reader import Image
from slimagent.model.inventory import Found, Package
from slimagent.model.plan import Plan
from slimagent.model.profile import LEVELS, CruftRule, KeepRule, LevelRule, PackageRule, ProtectRule, Rules, StartRule
from slimagent.model.proof import Missed, Repair
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.trace import Access, Change, ChangeKind, How
from slimagent.plan.closure import Closure
from slimagent.plan.compilers import is_compiling
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.plan.keeper import Keeper
from slimagent.plan.levels import Levels
from slimagent.report.explain import Explainer

UNUSED = {"unused", "too-large", "tree-unused"}
FREE = {"folder", "symbolic-link", "special-file", "empty-file", "mount-point"}
EVIDENCE = {"executed", "opened", "listed", "looked-up", "link-on-the-way", "start", "login-shell", "protected"}
LEVEL = {"unowned", "small-unowned", "no-cruft"}
ENDS = {*EVIDENCE, *LEVEL, *FREE, "state", "rule", "essential", "package-rule", "compiling"}
PATHS = (
    "/bin/a", "/bin/b", "/bin/cc1", "/usr/bin/env", "/usr/bin/c", "/opt/d", "/doc/a", "/doc/b.txt",
    "/py/m.py", "/py/m.pyc", "/py/n.py", "/py/tests/t.py", "/py/m-1.dist-info/METADATA", "/r/x.rdb", "/r/x.rdx",
    "/py/__pycache__/m.cpython-312.pyc", "/py/__pycache__/n.cpython-312.pyc", "/cache/x", "/cache/y",
)  # fmt: skip
TWINS = ("/bin/twin", "/py/twin.py", "/cache/twin")
LINKS = ("/bin/l", "/usr/bin/l", "/opt/directory", "/py/l.py", "/loop")
DIRECTORIES = ("/py", "/py/tests", "/py/m-1.dist-info", "/py/__pycache__", "/doc", "/opt", "/r")
TARGETS = (*PATHS, *LINKS, "/py", "/usr/bin", "nowhere", "../bin/a")
NAMES = (*PATHS, *LINKS, *DIRECTORIES, "/opt/directory/m.py", "/opt/directory/c", "/absent")
PATTERNS = (*PATHS, *LINKS, "/py/**", "/usr/**/c", "/opt/*", "/r/x.rd?", "/doc/**", "/cache/**", "/**/*.pyc")
KINDS = ("dpkg", "conda", "python", "r", "npm")
DATA_BASES = {"dpkg": (b"/db/status", "dpkg-status"), "npm": (b"/db/lock", "npm-lock")}


@dataclass(frozen=True)
class Owner:
    """A package as its record has it; what it names need not be there. `requires` count from 0 modulo the number."""

    kind: str
    files: frozenset[str]
    identity: frozenset[str]
    requires: tuple[int, ...]
    essential: bool


@dataclass(frozen=True)
class Tree:
    files: dict[str, str]
    links: dict[str, str]
    twins: tuple[tuple[str, str], ...]
    created: frozenset[str]
    owners: tuple[Owner, ...]

    @contextmanager
    def made(self) -> Iterator[Evidence]:
        """The tree on disk, as evidence without any access."""
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory).resolve()
            for path, text in self.files.items():
                write(root, path, text, 0o755)
            for path, target in self.links.items():
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (root / path[1:]).symlink_to(target)
            for path, twin in self.twins:
                (root / twin[1:]).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError, FileNotFoundError):
                    (root / twin[1:]).hardlink_to(root / path[1:])
            created = tuple(
                Change(path=path.encode(), kind=ChangeKind.CREATED, mtime_ns=0) for path in sorted(self.created)
            )
            evidence = evidence_for(root, changes=created)
            yield replace(
                evidence,
                owners=owners(evidence.inventory, (self.read,)),
                search=(b"/usr/bin", b"/bin"),
                shells=(b"/bin/b",),
            )

    def read(self, image: Image) -> list[Found]:
        """A reader: what the owners' records say of the tree that was made."""
        index = image.inventory.index
        found = []
        for number, each in enumerate(self.owners):
            name = f"p{number}"
            requires = [(at % len(self.owners), "needs it") for at in each.requires]
            found.append(
                Found(
                    package=Package(kind=each.kind, name=name, version="1", essential=each.essential),
                    files=[index[path.encode()] for path in sorted(each.files) if path.encode() in index],
                    identity=[index[path.encode()] for path in sorted(each.identity) if path.encode() in index],
                    requires=[(at, text) for at, text in requires if at != number],
                    records=[(*DATA_BASES[each.kind], name)] if each.kind in DATA_BASES else [],
                )
            )
        return found


def planned(evidence: Evidence, seen: list[Access], rules: Rules, level: str) -> Plan:
    return decide(replace(evidence, trace=replace(evidence.trace, accesses=tuple(seen)), rules=rules), level)


contents = st.one_of(
    st.sampled_from(["", "data", "#!/usr/bin/env c\n", "#!/usr/bin/env -S a -x\n", "longer than the others\n"]),
    st.sampled_from(TARGETS).map(lambda path: f"#!{path}\n"),
)
some_paths = st.frozensets(st.sampled_from((*PATHS, *TWINS, *LINKS, *DIRECTORIES)), max_size=8)
some_owners = st.builds(
    Owner,
    kind=st.sampled_from(KINDS),
    files=some_paths,
    identity=st.frozensets(st.sampled_from(PATHS), max_size=2),
    requires=st.lists(st.integers(0, 7), max_size=2).map(tuple),
    essential=st.integers(0, 9).map(lambda chance: chance == 0),
)
trees = st.builds(
    Tree,
    files=st.dictionaries(st.sampled_from(PATHS), contents, min_size=4),
    links=st.dictionaries(st.sampled_from(LINKS), st.sampled_from(TARGETS)),
    twins=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from((*TWINS, *PATHS))), max_size=4).map(tuple),
    created=st.frozensets(st.sampled_from(NAMES), max_size=2),
    owners=st.lists(some_owners, max_size=6).map(tuple),
)
hows = st.integers(1, 15).map(How)
accesses = st.lists(
    st.builds(access, st.sampled_from(NAMES), hows, st.sampled_from([(0,), (1,), (0, 1)])),
    max_size=5,
    unique_by=lambda each: each.path,
)
keep_rules = st.lists(
    st.builds(
        KeepRule, pattern=st.sampled_from(PATTERNS), why=st.just("w"), follow=st.booleans(), of_kept=st.booleans()
    ),
    max_size=2,
).map(tuple)
package_patterns = st.sampled_from(("dpkg:p0", "python:p*", "*:p1", "*:p?", "r:absent"))
package_rules = st.lists(
    st.builds(PackageRule, pattern=package_patterns, why=st.just("w"), when=st.sampled_from(("", "compiling"))),
    max_size=1,
).map(tuple)
start_rules = st.lists(
    st.builds(StartRule, command=st.sampled_from((("/bin/a", "x"), ("c", "-x"), ("/opt/d",))), why=st.just("w")),
    max_size=1,
).map(tuple)
protect_rules = st.lists(
    st.builds(
        ProtectRule,
        check=st.sampled_from(("smoke", "absent")),
        why=st.just("w"),
        packages=st.lists(package_patterns, max_size=1).map(tuple),
        paths=st.lists(st.sampled_from(PATTERNS), max_size=1).map(tuple),
    ),
    max_size=1,
).map(tuple)
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(tuple)
cruft_rules = st.lists(
    st.builds(
        CruftRule,
        name=st.sampled_from(("one", "two", "three")),
        patterns=patterns,
        why=st.just("w"),
        risk=st.just("r"),
        excepted=st.lists(st.sampled_from(PATTERNS), max_size=1).map(tuple),
        unless=st.sampled_from(("", "compiling")),
        when=st.sampled_from(("", "has-copy", "has-source", "of-package")),
        keep_out=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda rule: rule.name,
).map(tuple)
level_rules = st.lists(
    st.builds(
        LevelRule,
        pattern=st.sampled_from(PATTERNS),
        level=st.sampled_from(LEVELS),
        why=st.just("w"),
        at_least=st.booleans(),
    ),
    max_size=1,
).map(tuple)
some_rules = st.builds(
    Rules,
    keep=keep_rules,
    packages=package_rules,
    cruft=cruft_rules,
    kept_cruft=st.lists(st.sampled_from(("one", "two")), max_size=1).map(tuple),
    protect=protect_rules,
    start=start_rules,
    levels=level_rules,
    compiling=st.sampled_from((None, True, False)),
    budget=st.sampled_from((0, 10, None)),
)
levels = st.sampled_from(LEVELS)
few = settings(max_examples=50, deadline=None)


def dropped(plan: Plan) -> set[bytes]:
    return {entry.path for entry in plan.entries if plan.reasons[entry.reason].verdict is Verdict.DROP}


def gone(plan: Plan) -> set[int]:
    """The packages that go."""
    packages = enumerate(plan.packages)
    return {number for number, each in packages if plan.reasons[each.reason].verdict is Verdict.DROP}


def reason_at(plan: Plan, at: int) -> Reason:
    return plan.reasons[plan.entries[at].reason]


def assert_less_goes(more: Plan, less: Plan) -> None:
    """`more` keeps every path and every package that `less` keeps."""
    assert dropped(more) <= dropped(less)
    assert gone(more) <= gone(less)


@few
@given(trees, accesses, some_rules, levels)
def test_what_is_dropped_and_the_closure_of_what_is_kept_never_meet(
    tree: Tree, seen: list[Access], rules: Rules, level: str
) -> None:
    """The closure of all that stays, made anew and without owners, brings in nothing that goes: only what was made."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
        assert evidence.owners is not None
        keeper = Keeper(evidence.inventory)
        stays = Reason(verdict=Verdict.KEEP, kind=ReasonKind.RULE)
        for at, entry in enumerate(plan.entries):
            if plan.reasons[entry.reason].kind == "created":
                keeper.settle(at, plan.reasons[entry.reason])
        keeper.queue.clear()
        for at, entry in enumerate(plan.entries):
            if entry.size and entry.path not in dropped(plan):
                keeper.settle(at, stays)
        ruled = replace(evidence, rules=rules, trace=replace(evidence.trace, accesses=tuple(seen)))
        cruft = Levels(
            evidence.inventory, evidence.owners, evidence.contents, rules, level, compiling=is_compiling(ruled)
        ).cruft
        Closure(keeper, evidence.contents, evidence.loader, cruft).run()
    needed = {at for at in range(len(plan.entries)) if keeper.reason(at) >= 0}
    assert {reason_at(plan, at).kind for at in needed if plan.entries[at].path in dropped(plan)} <= {"created"}
    places = [(evidence.inventory.devices[at], evidence.inventory.inodes[at]) for at in range(len(plan.entries))]
    kept = {places[at] for at, entry in enumerate(plan.entries) if entry.size and entry.path not in dropped(plan)}
    for at, place in enumerate(places):  # every name of a kept file stays, less cruft
        assert (
            place not in kept
            or cruft[at] >= 0
            or reason_at(plan, at).kind == "created"
            or plan.entries[at].path not in dropped(plan)
        )


@few
@given(trees, accesses, some_rules, levels)
def test_a_kept_script_has_its_interpreter(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """Whatever a needed script names in its first line is not dropped, unless the run had made it."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
    unwanted = {path.decode() for path in dropped(plan)} - tree.created
    for path, text in tree.files.items():
        first = text.split("\n", 1)[0][2:].split()[:1] if text.startswith("#!") else []
        if first and path.encode() not in dropped(plan):
            assert first[0] not in unwanted


@few
@given(trees, accesses, accesses, some_rules, levels)
def test_more_evidence_never_drops_more(
    tree: Tree, seen: list[Access], more: list[Access], rules: Rules, level: str
) -> None:
    """A plan from a superset of the accesses drops a subset of the files and packages, also if a compiler is seen."""
    with tree.made() as evidence:
        assert_less_goes(planned(evidence, [*seen, *more], rules, level), planned(evidence, seen, rules, level))


some_missed = st.lists(st.sampled_from(NAMES), max_size=4).map(
    lambda names: tuple(Missed(path=name.encode(), steps=("one",)) for name in names)
)


@few
@given(trees, accesses, some_rules, levels, some_missed, some_missed, st.booleans())
def test_more_repairs_never_drop_more(
    tree: Tree,
    seen: list[Access],
    rules: Rules,
    level: str,
    first: tuple[Missed, ...],
    second: tuple[Missed, ...],
    full: bool,
) -> None:
    """Each round keeps what those before it kept, and what it brings back stays, unless the run had made it."""
    rounds = (Repair(number=1, missed=first), Repair(number=2, **{"used" if full else "missed": second}))
    with tree.made() as evidence:
        plans = [planned(replace(evidence, repairs=rounds[:count]), seen, rules, level) for count in range(3)]
    for less, more in pairwise(plans):
        assert_less_goes(more, less)
    created = {path.encode() for path in tree.created}
    assert not dropped(plans[2]) & {each.path for each in (*first, *second)} - created


@few
@given(trees, accesses, some_rules, levels)
def test_to_read_who_packages_are_keeps_nothing(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """To open every identity drops the same: a list of what is installed is no use of it."""
    with tree.made() as evidence:
        assert evidence.owners is not None
        read = [access(path) for at, path in enumerate(evidence.inventory.paths) if evidence.owners.weak[at]]
        less, more = (planned(evidence, each, rules, level) for each in (seen, [*seen, *read]))
    assert (dropped(more), gone(more)) == (dropped(less), gone(less))


@few
@given(trees, accesses, some_rules, some_rules, levels, st.randoms())
def test_more_rules_never_drop_more(
    tree: Tree, seen: list[Access], rules: Rules, more: Rules, level: str, chance: random.Random
) -> None:
    """Rules that keep only keep, wherever they stand among the others."""
    keep = [*rules.keep, *more.keep]
    chance.shuffle(keep)
    both = replace(
        rules,
        keep=tuple(keep),
        packages=(*more.packages, *rules.packages),
        protect=(*rules.protect, *more.protect),
        start=(*more.start, *rules.start),
    )
    with tree.made() as evidence:
        assert_less_goes(planned(evidence, seen, both, level), planned(evidence, seen, rules, level))


@few
@given(trees, accesses, some_rules)
def test_each_level_keeps_what_the_one_before_keeps(tree: Tree, seen: list[Access], rules: Rules) -> None:
    """`package` keeps a superset of `file`, `cruft` of `package`; levels of their own for some paths or not."""
    with tree.made() as evidence:
        file, package, cruft = (planned(evidence, seen, rules, level) for level in LEVELS)
    assert_less_goes(package, file)
    assert_less_goes(cruft, package)


@few
@given(trees, accesses, some_rules, levels, st.integers(0, 30), st.integers(0, 30))
def test_a_larger_budget_never_drops_more(
    tree: Tree, seen: list[Access], rules: Rules, level: str, one: int, other: int
) -> None:
    """More bytes for small files keep more of them."""
    with tree.made() as evidence:
        less, more = (planned(evidence, seen, replace(rules, budget=each), level) for each in sorted((one, other)))
    assert_less_goes(more, less)


@few
@given(trees, accesses, some_rules, levels)
def test_opting_out_and_compiling_never_drop_more(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """Without a cruft rule, and where software is compiled, at least as much stays."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
        for rule in rules.cruft:
            kept = replace(rules, kept_cruft=(*rules.kept_cruft, rule.name))
            if rules.compiling is not None or rule.unless == "":
                assert_less_goes(planned(evidence, seen, kept, level), plan)
        compiling, not_compiling = (
            planned(evidence, seen, replace(rules, compiling=each), level) for each in (True, False)
        )
    assert_less_goes(compiling, not_compiling)
    assert encode_plan(plan) in (encode_plan(compiling), encode_plan(not_compiling))


@few
@given(trees, accesses, some_rules, levels, st.randoms())
def test_the_order_of_the_accesses_does_not_matter(
    tree: Tree, seen: list[Access], rules: Rules, level: str, chance: random.Random
) -> None:
    """The same evidence in any order is the same plan, byte for byte; and it can be read back."""
    shuffled = list(seen)
    chance.shuffle(shuffled)
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
        encoded = encode_plan(plan)
        assert encoded == encode_plan(planned(evidence, shuffled, rules, level))
    assert decode_plan(encoded) == plan


@few
@given(trees, accesses, some_rules, levels)
def test_every_verdict_has_a_reason_that_ends(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """One entry per path; a keep's chain ends in evidence, a rule, or a kind that is free; nothing rests on a drop."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
    assert [entry.path for entry in plan.entries] == evidence.inventory.paths
    index = evidence.inventory.index
    rests: list[tuple[bytes | int, Reason]] = [(entry.path, plan.reasons[entry.reason]) for entry in plan.entries]
    rests += [(number, plan.reasons[each.reason]) for number, each in enumerate(plan.packages)]
    for thing, reason in rests:
        chain = [reason]
        while reason.package is not None or reason.source is not None:
            if reason.package is not None:
                reason = plan.reasons[plan.packages[reason.package].reason]
            elif reason.source is not None:
                reason = reason_at(plan, index[reason.source])
            assert reason not in chain, thing
            chain.append(reason)
        if chain[0].verdict is Verdict.DROP:
            kinds = {
                "unused",
                "too-large",
                "tree-unused",
                "created",
                "cruft",
                "folder-gone",
                "package-gone",
                "record-gone",
                "not-needed",
            }
            assert {each.kind for each in chain} <= kinds
        else:
            assert chain[-1].kind in ENDS
            assert {each.verdict for each in chain} == {Verdict.KEEP}
        explainer = Explainer(plan)
        told = explainer.explain(thing) if isinstance(thing, bytes) else explainer.explain_package(thing)
        assert (len(told.chain), told.verdict) == (len(chain), chain[0].verdict)
        assert all(" " in sentence or sentence in ("executed", "opened", "listed") for _, sentence in told.chain)


@few
@given(trees, accesses, some_rules, levels)
def test_a_package_that_stays_has_what_it_requires_and_says_who_it_is(
    tree: Tree, seen: list[Access], rules: Rules, level: str
) -> None:
    """Of a package that stays no requirement goes, nor anything of its identity, be that cruft by a rule or not."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
    assert evidence.owners is not None
    for number in set(range(len(plan.packages))) - gone(plan):
        assert not gone(plan) & set(plan.packages[number].requires)
        for at in evidence.owners.files[number]:
            if evidence.owners.weak[at]:
                assert reason_at(plan, at).verdict is Verdict.KEEP or reason_at(plan, at).kind == "created"


@few
@given(trees, accesses, some_rules, levels)
def test_of_a_package_that_goes_nothing_stays_without_another_reason(
    tree: Tree, seen: list[Access], rules: Rules, level: str
) -> None:
    """Files, empty files and links of gone packages alone go; a rule or a hard link keeps one, to be read does not."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
    assert evidence.owners is not None
    for at in range(len(plan.entries)):
        mine = evidence.owners.owners(at)
        if mine and gone(plan).issuperset(mine) and not stat.S_ISDIR(evidence.inventory.modes[at]):
            reason = reason_at(plan, at)
            gone_with_it = "record-gone" if evidence.owners.weak[at] else "package-gone"
            assert reason.kind in {gone_with_it, "created", "rule", "hard-link", "link-target"}
            assert reason.package in (None, mine[0])


@few
@given(trees, accesses, some_rules, levels)
def test_edits_name_the_gone_packages_records_and_no_others(
    tree: Tree, seen: list[Access], rules: Rules, level: str
) -> None:
    """What databases lose is what goes; what dpkg leaves out from now on are rules by which files were cut."""
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
    assert evidence.owners is not None
    expected = {record for number in gone(plan) for record in evidence.owners.records[number]}
    named = {(each.path, each.kind, key) for each in plan.edits if each.kind != "dpkg-exclude" for key in each.keys}
    assert named == expected
    cut = {reason.detail.split(":")[0] for reason in plan.reasons if reason.kind == "cruft"}
    lines = {line for each in plan.edits if each.kind == "dpkg-exclude" for line in each.keys}
    keeping_out = {rule.name for rule in rules.cruft if rule.keep_out} & cut
    patterns = {pattern for rule in rules.cruft if rule.name in keeping_out for pattern in rule.patterns}
    assert {line for line in lines if "exclude" in line} <= {f"path-exclude={_plain(each)}" for each in patterns}


def _plain(pattern: str) -> str:
    return pattern.replace("**/", "*/").replace("**", "*")


@few
@given(trees, accesses, some_rules, levels)
def test_the_numbers_of_packages_add_up(tree: Tree, seen: list[Access], rules: Rules, level: str) -> None:
    """A package's size and what stays of it are those of its files; every entry has its owner, several included.

    A file with several names in a package counts once, and stays if one of these names does.
    """
    with tree.made() as evidence:
        plan = planned(evidence, seen, rules, level)
    assert evidence.owners is not None
    further = dict(plan.further)
    sizes: list[dict[object, int]] = [{} for _ in plan.packages]
    kept: list[dict[object, int]] = [{} for _ in plan.packages]
    for at, entry in enumerate(plan.entries):
        mine = () if entry.owner < 0 else (entry.owner, *further.get(at, ()))
        assert mine == evidence.owners.owners(at)
        file = evidence.inventory.file(at)
        for number in mine:
            sizes[number][file] = entry.size
            if reason_at(plan, at).verdict is Verdict.KEEP:
                kept[number][file] = entry.size
    found = [(sum(whole.values()), sum(some.values())) for whole, some in zip(sizes, kept, strict=True)]
    assert [(each.size, each.kept) for each in plan.packages] == found
