"""Make a plan from evidence. Pure: the same trace, inventory, owners, contents and rules give the same plan."""

from __future__ import annotations

import re
import stat
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

from slimagent import __version__
from slimagent.model.inventory import Owners, PackageKind
from slimagent.model.plan import Caution, Entry, Plan, Step
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import parent, to_text
from slimagent.plan.admit import admit, fit
from slimagent.plan.by_test import used_by
from slimagent.plan.caution import Cautious
from slimagent.plan.closure import Closure
from slimagent.plan.compilers import is_compiling, keep_toolchains
from slimagent.plan.evidence import Evidence, settle_evidence
from slimagent.plan.gpu import gpu_code
from slimagent.plan.hard_links import hard_links
from slimagent.plan.keeper import Keeper
from slimagent.plan.levels import Levels
from slimagent.plan.packages import attach, edits, further, keep_requirements, planned_packages
from slimagent.plan.strip import strips
from slimagent.plan.times import directory_times

_WITH_ITS_PACKAGE = (ReasonKind.PACKAGE_GONE, ReasonKind.RECORD_GONE, ReasonKind.FOLDER_GONE, ReasonKind.UNWANTED)
_IN_SITE = re.compile(rb"/(?:site|dist)-packages/")


def decide(evidence: Evidence, level: str, progress: Callable[[int], None] | None = None) -> Plan:
    """Give every path of the inventory a verdict with a reason.

    Raises RefusedError for a trace with a loss or failed step that was not accepted, and for a different image.
    """
    admit(evidence.trace, evidence.accepted)
    fit(evidence.fingerprint, (evidence.trace.before, *evidence.trace.afters), "the trace was made")
    return _plan(evidence, level, settled(evidence, level, progress))


class Settled(NamedTuple):
    """Every entry of an inventory with its verdict, and what was found on the way there."""

    keeper: Keeper
    levels: Levels
    unresolved: tuple[tuple[bytes, str], ...]
    caution: Caution | None


def settled(evidence: Evidence, level: str, progress: Callable[[int], None] | None = None) -> Settled:
    """Give every entry its verdict, whatever the trace lacks: `decide` asks whether a plan may be made of it."""
    keeper = Keeper(evidence.inventory, evidence.owners)
    compiling = is_compiling(evidence)
    levels = Levels(evidence.inventory, keeper.owners, evidence.contents, evidence.rules, level, compiling=compiling)
    attach(keeper, evidence.rules.packages)
    bound = settle_evidence(keeper, evidence, compiling=compiling)
    if compiling:
        keep_toolchains(keeper, evidence)
    levels.need_packages(keeper)
    levels.keep_rest(keeper)
    closure = Closure(keeper, evidence.contents, evidence.loader, levels.cruft)
    cautious = Cautious(keeper, levels, evidence.trace)
    _settle(keeper, levels, closure, bound, progress)
    while cautious.keep_more():
        _settle(keeper, levels, closure, bound, progress)
    _drop_rest(keeper, levels)
    return Settled(keeper, levels, tuple(closure.unresolved), cautious.cost())


def _plan(evidence: Evidence, level: str, done: Settled) -> Plan:
    """The plan once every entry has its verdict."""
    keeper, levels = done.keeper, done.levels
    stripped, unstripped = strips(keeper, evidence)
    return Plan(
        tool=f"slimagent {__version__}",
        level=level,
        root=evidence.inventory.root,
        scopes=evidence.inventory.scopes,
        excluded=evidence.excluded,
        volumes=evidence.volumes,
        mounts=tuple(sorted({*evidence.trace.mounts, *evidence.inventory.mount_points})),
        fingerprints=tuple(dict.fromkeys((evidence.trace.before, *evidence.trace.afters))),
        traces=evidence.trace_digests,
        accepted=tuple(sorted(evidence.accepted)),
        steps=tuple(Step(step.name, run.identity) for run in evidence.trace.runs for step in run.steps),
        entries=tuple(_entries(keeper, evidence)),
        changes=evidence.trace.changes,
        unresolved=done.unresolved,
        packages=planned_packages(keeper),
        reasons=tuple(keeper.reasons),
        further=further(keeper.owners),
        hard_links=hard_links(keeper),
        edits=edits(keeper, levels),
        problems=tuple(keeper.owners.problems),
        unread=tuple(keeper.owners.unread),
        strips=stripped,
        unstripped=unstripped,
        caution=done.caution,
        distribution=evidence.distribution,
        gpu=gpu_code(keeper, evidence),
        used_by=tuple(used_by(keeper, evidence.trace)),
    )


def _settle(
    keeper: Keeper,
    levels: Levels,
    closure: Closure,
    bound: dict[int, str],
    progress: Callable[[int], None] | None,
) -> None:
    """Keep what the level keeps of kept packages, and what that needs, until nothing is added."""

    def settle() -> None:
        while keeper.queue or keeper.expand or keeper.grow:
            while keeper.queue or keeper.expand:
                while keeper.expand:
                    package = keeper.expand.popleft()
                    levels.keep_package(keeper, package, bound)
                    keep_requirements(keeper, package)
                closure.run(progress)
            while keeper.grow:  # last: what a file needs is a better reason than what lies beside it
                levels.keep_tree(keeper, *keeper.grow.popleft())

    settle()
    for _ in levels.keep_optional(keeper, closure.weight):
        settle()
    _keep_free(keeper, levels)


def _keep_free(keeper: Keeper, levels: Levels) -> None:
    """Keep what has no bytes (a program may check that it exists), unless it is cruft or belongs to a gone package."""
    inventory = keeper.inventory
    for at, path in enumerate(inventory.paths):
        if keeper.reason(at) >= 0:
            continue
        mode = inventory.modes[at]
        kind = None
        if path in inventory.mount_points:
            kind = ReasonKind.MOUNT_POINT
        elif stat.S_ISDIR(mode):
            continue
        elif levels.stays_free(at) or (levels.cruft[at] < 0 and not keeper.is_gone(at)):
            if stat.S_ISLNK(mode):
                kind = ReasonKind.SYMBOLIC_LINK
            elif not stat.S_ISREG(mode):
                kind = ReasonKind.SPECIAL_FILE
            elif inventory.sizes[at] == 0:
                kind = ReasonKind.EMPTY_FILE
        if kind is not None:
            keeper.settle(at, Reason(kind=kind))


def _drop_rest(keeper: Keeper, levels: Levels) -> None:
    """Drop everything else, each for the most specific reason; then settle the directories."""
    inventory, owners = keeper.inventory, keeper.owners
    cruft = [
        keeper.number(
            Reason(verdict=Verdict.DROP, kind=ReasonKind.CRUFT, detail=f"{rule.name}: {rule.why}; risk: {rule.risk}")
        )
        for rule in levels.rules
    ]
    gone: dict[tuple[int, int], int] = {}
    for at in range(len(inventory)):
        if keeper.reason(at) >= 0 or stat.S_ISDIR(inventory.modes[at]):
            continue
        if keeper.is_gone(at):
            what = owners.weak[at], owners.of[at]
            if what not in gone:
                kind = ReasonKind.RECORD_GONE if owners.weak[at] else ReasonKind.PACKAGE_GONE
                gone[what] = keeper.number(Reason(verdict=Verdict.DROP, kind=kind, package=owners.of[at]))
            number = gone[what]
        elif levels.cruft[at] >= 0:
            number = cruft[levels.cruft[at]]
        else:
            number = keeper.number(_unused(keeper, levels, at))
        keeper.settle_number(at, number)
    _settle_directories(keeper)


def _unused(keeper: Keeper, levels: Levels, at: int) -> Reason:
    """Why a file that nothing needs does not stay for what it is."""
    if at in levels.nearly:
        return Reason(verdict=Verdict.DROP, kind=ReasonKind.TOO_LARGE, detail=levels.nearly[at])
    tree = keeper.trees.of[at]
    if tree >= 0 and tree not in keeper.trees.loose:
        return Reason(verdict=Verdict.DROP, kind=ReasonKind.TREE_UNUSED, detail=to_text(keeper.trees.roots[tree]))
    return Reason(verdict=Verdict.DROP, kind=ReasonKind.UNUSED)


def _settle_directories(keeper: Keeper) -> None:
    """Keep a directory, unless all in it went with its packages, and it belongs to a gone package or to Python.

    Python can import any empty directory as a package (PEP 420): an import of a removed package would succeed. A
    directory without an owner stays even if empty, e.g. a library that R installs into, or /usr/local/bin.
    """
    inventory, owners = keeper.inventory, keeper.owners
    held, lost = array("I", [0]) * len(inventory), array("I", [0]) * len(inventory)
    keep = keeper.number(Reason(kind=ReasonKind.FOLDER))
    drop = keeper.number(Reason(verdict=Verdict.DROP, kind=ReasonKind.FOLDER_GONE))
    with_package = [reason.kind in _WITH_ITS_PACKAGE for reason in keeper.reasons]
    cruft = [reason.kind == ReasonKind.CRUFT for reason in keeper.reasons]
    for at in range(len(inventory) - 1, -1, -1):  # backwards: a directory's contents come before it
        path = inventory.paths[at]
        number = keeper.reason(at)
        if at in keeper.unwanted and held[at] == lost[at]:
            number = drop
            keeper.let_go(at, number)
        elif number < 0:
            number = keep
            if (
                held[at]
                and held[at] == lost[at]
                and (keeper.is_gone(at) or _is_of_python(owners, at) or _IN_SITE.search(path))
            ):
                number = drop
            keeper.settle_number(at, number)
        holder = inventory.index.get(parent(path))
        if holder is None or holder == at:
            continue
        held[holder] += 1
        if with_package[number] or (cruft[number] and _is_of_python(owners, at)):
            lost[holder] += 1


def _is_of_python(owners: Owners, at: int) -> bool:
    return any(owners.packages[each].kind == PackageKind.PYTHON for each in owners.owners(at))


def _entries(keeper: Keeper, evidence: Evidence) -> Iterable[Entry]:
    """One entry per path; a directory has its time in the slim image."""
    inventory, of = keeper.inventory, keeper.owners.of
    times = directory_times(inventory, evidence.trace.changes, evidence.excluded, evidence.volumes)
    for at, path in enumerate(inventory.paths):
        size = inventory.sizes[at] if stat.S_ISREG(inventory.modes[at]) else 0
        yield Entry(path, keeper.reason(at), size, times.get(path, inventory.mtimes[at]), of[at])
