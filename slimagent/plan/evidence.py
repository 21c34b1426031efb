"""Keep what is needed directly: what the trace saw, what a rule names, what the image starts with. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from slimagent.model.inventory import Distribution, Inventory, Loader, Owners, PackageKind, package_test
from slimagent.model.profile import KeepRule, PackageRule, ProtectRule, Rules
from slimagent.model.proof import Repair
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Access, BlindSpot, ChangeKind, How, Trace
from slimagent.paths.algebra import join, to_text
from slimagent.paths.patterns import PathRules
from slimagent.plan.closure import ContentReader
from slimagent.plan.keeper import Grade, Keeper
from slimagent.plan.missed import below, keep_missed
from slimagent.plan.unwanted import drop_unwanted
from slimagent.plan.without_gpu import GPU, is_without

# The strongest first: of several accesses to a file, the strongest is its reason.
_HOWS = (
    (How.EXECUTED, ReasonKind.EXECUTED),
    (How.OPENED, ReasonKind.OPENED),
    (How.LISTED, ReasonKind.LISTED),
    (How.LOOKED_UP, ReasonKind.LOOKED_UP),
)
# The place in `_HOWS` of each combination of the four, by its value: `IntFlag` is slow, and there are many accesses.
_STRENGTHS = [next((at for at, (how, _) in enumerate(_HOWS) if how.value & value), len(_HOWS)) for value in range(16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a plan is made from. `trace_digests` are the digests of the documents that `trace` was made from.

    `accepted` are the tolerated losses. `repairs` are rounds of repair, and bring files back. `shells` are the login
    shells of the image's accounts, `search` the directories of its PATH. `volumes` are the declared volumes that count
    as part of the image. `distribution` is for the plan's readers: nothing depends on it.
    """

    trace: Trace
    trace_digests: tuple[str, ...]
    inventory: Inventory
    fingerprint: str
    contents: ContentReader
    loader: Loader
    rules: Rules = field(default_factory=Rules)
    owners: Owners | None = None
    shells: tuple[bytes, ...] = ()
    search: tuple[bytes, ...] = ()
    excluded: tuple[bytes, ...] = ()
    volumes: tuple[bytes, ...] = ()
    accepted: frozenset[str] = frozenset()
    repairs: tuple[Repair, ...] = ()
    distribution: Distribution = field(default_factory=Distribution)


def settle_evidence(keeper: Keeper, evidence: Evidence, *, compiling: bool) -> dict[int, str]:
    """Drop what the traced run created and what nobody wants; keep what it used, what rules name and what starts.

    Returns the entries that a rule keeps only if their package stays, with its `why`.
    """
    trace, rules = evidence.trace, evidence.rules
    if evidence.fingerprint in trace.afters:  # else this is the original image: nothing in it comes from the run
        _drop_created(keeper, trace)
    drop_unwanted(keeper, rules)
    _keep_accessed(keeper, trace.accesses)
    _keep_hidden(keeper, trace.mounts)
    _keep_changed(keeper, trace)
    keep_missed(keeper, evidence.repairs)
    bound = _keep_ruled(keeper, rules.keep)
    _keep_start(keeper, evidence)
    _keep_packages(keeper, evidence, compiling=compiling)
    return bound


def _drop_created(keeper: Keeper, trace: Trace) -> None:
    reason = Reason(verdict=Verdict.DROP, kind=ReasonKind.CREATED)
    for change in trace.changes:
        at = keeper.inventory.index.get(change.path)
        if at is not None and change.kind is ChangeKind.CREATED:
            keeper.settle(at, reason)


def _keep_accessed(keeper: Keeper, accesses: Iterable[Access]) -> None:
    """Keep what the trace saw, links on the way included, and the packages that it belongs to.

    Reading a package's identity does not keep it: it stays if the package does. A directory that was listed or looked
    up stays, but does not use a package.
    """
    weak = keeper.owners.weak
    numbers: dict[tuple[ReasonKind, tuple[int, ...]], Reason] = {}
    for access in sorted(accesses, key=_rank):
        kind = _HOWS[_strength(access)][1]
        reason = numbers.get((kind, access.steps))
        if reason is None:
            reason = numbers[kind, access.steps] = Reason(kind=kind, steps=access.steps)
        hops, end = keeper.resolver.resolve(access.path)
        at_end = None if end is None else keeper.inventory.index.get(end)
        if at_end is not None and weak[at_end]:
            continue
        if hops:
            way = Reason(kind=ReasonKind.LINK_ON_THE_WAY, detail=to_text(access.path), steps=access.steps)
            for hop in hops:
                at = keeper.inventory.index[hop]
                keeper.settle(at, way)
                keeper.need_owners(at, Grade.USED, way)
                _use_tree(keeper, hop, at)
        if at_end is None:
            continue
        keeper.settle(at_end, reason)
        if not keeper.is_directory(at_end):
            keeper.need_owners(at_end, Grade.USED, reason)
        elif access.how & How.LISTED:
            _use_tree(keeper, keeper.inventory.paths[at_end], at_end)


def _use_tree(keeper: Keeper, path: bytes, at: int) -> None:
    """Use the tree that a listed directory, or a link on the way, lies in."""
    tree = keeper.trees.find(path)
    if tree >= 0 and keeper.owners.of[at] < 0:
        keeper.use_tree(tree, at)


def _keep_hidden(keeper: Keeper, mounts: Iterable[bytes]) -> None:
    """Keep what the image has where something else was mounted during the trace, and the packages that own it.

    The trace could not see its use. What is mounted there now is not part of the image either.
    """
    inventory = keeper.inventory
    reason = Reason(kind=ReasonKind.HIDDEN)
    for mount in mounts:
        first = inventory.index.get(mount)
        if first is None or mount in inventory.mount_points:
            continue
        for at in below(inventory, first):
            _keep_used(keeper, at, reason)


def _keep_changed(keeper: Keeper, trace: Trace) -> None:
    """Keep the trees in which the run changed something, and the files that it modified or removed with their packages.

    A trace that sees lookups has each as an access, since removing a file looks up its name. Other traces may lack it.
    """
    for change in trace.changes:  # state: the directory in which a test wrote
        tree = keeper.trees.find(change.path)
        if tree >= 0:
            keeper.use_tree(tree, -1)
    if BlindSpot.LOOKUPS not in trace.blind_spots:
        return
    for change in trace.changes:
        at = keeper.inventory.index.get(change.path)
        if at is None or change.kind is ChangeKind.CREATED or keeper.is_directory(at):
            continue
        _keep_used(keeper, at, Reason(kind=ReasonKind.CHANGED, detail=change.kind.value))


def _keep_used(keeper: Keeper, at: int, reason: Reason) -> None:
    """Keep an entry as used. Reading a package's identity does not use the package."""
    keeper.settle(at, reason)
    if not keeper.is_directory(at) and not keeper.owners.weak[at]:
        keeper.need_owners(at, Grade.USED, reason)


def _strength(access: Access) -> int:
    return _STRENGTHS[access.how.value]


def _rank(access: Access) -> tuple[int, bytes, tuple[int, ...]]:
    return _strength(access), access.path, access.steps


def _keep_ruled(keeper: Keeper, rules: Sequence[KeepRule]) -> dict[int, str]:
    """Keep what a rule names. Returns the entries that a rule keeps only with their package, with its `why`."""
    always = [rule for rule in rules if not rule.of_kept]
    following = [rule for rule in always if rule.follow]
    paths = keeper.inventory.paths
    for at, which in PathRules([rule.pattern for rule in following]).scan(paths):
        reason = Reason(kind=ReasonKind.RULE, detail=following[which[0]].why)
        keeper.keep(paths[at], reason, reason)
        keeper.settle(at, reason)
    for at, which in PathRules([rule.pattern for rule in always]).scan(paths):
        keeper.settle(at, Reason(kind=ReasonKind.RULE, detail=always[which[0]].why))
    bound = [rule for rule in rules if rule.of_kept]
    return {at: bound[which[0]].why for at, which in PathRules([rule.pattern for rule in bound]).scan(paths)}


def _keep_packages(keeper: Keeper, evidence: Evidence, *, compiling: bool) -> None:
    """Keep the packages that are essential, that a rule names, or that were not exercised."""
    for number, package in enumerate(keeper.owners.packages):
        if package.essential and package.kind == PackageKind.DPKG:
            keeper.need(number, Grade.REQUIRED, Reason(kind=ReasonKind.ESSENTIAL))
    for rule in evidence.rules.packages:
        if not rule.of and (compiling or rule.when != "compiling"):
            kind = ReasonKind.COMPILING if rule.when == "compiling" else ReasonKind.PACKAGE_RULE
            _keep_fitting(keeper, rule, Reason(kind=kind, detail=rule.why))
    for protect in evidence.rules.protect:
        lifted = protect.check == GPU and is_without(evidence.rules)
        if not lifted and not _passed(evidence.trace.steps, protect.check):
            _protect(keeper, protect)


def _protect(keeper: Keeper, rule: ProtectRule) -> None:
    reason = Reason(kind=ReasonKind.PROTECTED, detail=rule.why)
    for pattern in rule.packages:
        _keep_fitting(keeper, PackageRule(pattern=pattern, why=rule.why), reason)
    for at, _ in PathRules(rule.paths).scan(keeper.inventory.paths):
        keeper.settle(at, reason)
        for number in keeper.owners.owners(at):
            keeper.need_whole(number, reason)


def _keep_fitting(keeper: Keeper, rule: PackageRule, reason: Reason) -> None:
    fits = package_test(rule.pattern)
    for number, package in enumerate(keeper.owners.packages):
        if rule.section in ("", package.section) and fits(package):
            keeper.need_whole(number, reason)


def _passed(steps: Iterable[CheckResult], check: str) -> bool:
    return any(check in (step.kind, step.name) and step.outcome is Outcome.PASSED for step in steps)


def _keep_start(keeper: Keeper, evidence: Evidence) -> None:
    """Keep what the image starts, and its accounts' login shells."""
    for rule in evidence.rules.start:
        reason = Reason(kind=ReasonKind.START, detail=rule.why)
        for word in _words(rule.command):
            for path in _places(word, evidence.search, rule.cwd):
                if keeper.keep(path, reason, reason, grade=Grade.USED) is not None:
                    break
    for shell in evidence.shells:
        reason = Reason(kind=ReasonKind.LOGIN_SHELL)
        keeper.keep(shell, reason, reason, grade=Grade.USED)


def _words(command: Sequence[str]) -> Iterator[str]:
    pending = list(reversed(command))
    while pending:
        word = pending.pop()
        yield word
        parts = _split(word)
        if len(parts) > 1:  # `sh -c "cd /srv; exec jupyter lab"`
            pending += reversed(parts)


def _split(word: str) -> list[str]:
    lexer = shlex.shlex(word, posix=True, punctuation_chars=True)  # `a;b` is two words and a separator
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:
        return word.split()


def _places(word: str, search: Sequence[bytes], cwd: str) -> list[bytes]:
    """Which files a word of a command line can name: an absolute path, a program on PATH, a relative path."""
    path = word.encode("utf-8", "surrogateescape")
    if path.startswith(b"/"):
        return [join(b"/", path)]
    if not path or path[:1] == b"-":
        return []
    on_path = [] if b"/" in path else [join(directory, path) for directory in search]
    return [*on_path, join(cwd.encode("utf-8", "surrogateescape"), path)] if cwd else on_path
