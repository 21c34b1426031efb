"""Choose what an edit says: the patterns and paths that save most, as few as can be. Pure."""

from __future__ import annotations

import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from slimagent.audit import edits
from slimagent.audit.known import Known
from slimagent.model.profile import CruftRule
from slimagent.paths.patterns import PathRules

MOST_PATTERNS = 6  # in an edit: nobody reads a longer one
MOST_PATHS = 12  # in an edit
ENOUGH = 0.95  # of a finding's bytes: an edit need not name the rest


def spared_by(rule: CruftRule, found: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
    """The exceptions of a rule; if they are many, those that spare something here: `found` are those of each file."""
    if len(rule.excepted) <= MOST_PATTERNS:
        return rule.excepted
    spared = {which for some in found for which in some}
    return tuple(each for which, each in enumerate(rule.excepted) if which in spared)


def matcher(rules: Sequence[CruftRule]) -> Callable[[bytes], Mapping[int, tuple[list[int], list[int]]]]:
    """What says of a path which patterns and which exceptions of each rule match it, by the rule's number."""
    parts = [
        (number, which, is_spared)
        for number, rule in enumerate(rules)
        for is_spared, patterns in ((False, rule.patterns), (True, rule.excepted))
        for which, _ in enumerate(patterns)
    ]
    tests = PathRules([each for rule in rules for each in (*rule.patterns, *rule.excepted)])

    def test(path: bytes) -> Mapping[int, tuple[list[int], list[int]]]:
        by_rule: defaultdict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for each in tests.matches(path):
            number, which, is_spared = parts[each]
            by_rule[number][is_spared].append(which)
        return by_rule

    return test


def matches(
    known: Known, rules: Sequence[CruftRule]
) -> Iterator[tuple[str, dict[int, tuple[tuple[int, ...], tuple[int, ...]]]]]:
    """The files that match a rule, by its name: each with the rule's patterns and exceptions that match it."""
    tests = matcher(rules)
    found: list[dict[int, tuple[tuple[int, ...], tuple[int, ...]]]] = [{} for _ in rules]
    paths = known.inventory.paths
    for at, mode in enumerate(known.inventory.modes):
        if not stat.S_ISREG(mode):
            continue  # every name of a hard link: a command removes what has a name, whichever counts
        for number, (fitting, sparing) in tests(paths[at]).items():
            if fitting:
                found[number][at] = (tuple(fitting), tuple(sparing))
    return zip((rule.name for rule in rules), found, strict=True)


def fewest(found: Mapping[int, tuple[int, ...]], saves: Mapping[int, int]) -> frozenset[int]:
    """The patterns that match most of these bytes, as few as can be."""
    chosen, left = set[int](), dict(saves)
    enough = (1 - ENOUGH) * sum(saves.values())
    while len(chosen) < MOST_PATTERNS and sum(left.values()) > enough:
        gains: Counter[int] = Counter()
        for at, bytes_of in left.items():
            gains.update(dict.fromkeys(found[at], bytes_of))
        if not gains:
            break
        best = min(gains, key=lambda which: (-gains[which], which))
        chosen.add(best)
        left = {at: bytes_of for at, bytes_of in left.items() if best not in found[at]}
    return frozenset(chosen)


def most(places: Mapping[int, bytes], saves: Mapping[int, int]) -> tuple[list[bytes], int]:
    """The paths that save most of these bytes, as few as can be, and what they save. They can stand in a command."""
    bytes_of: Counter[bytes] = Counter()
    for at, saved in saves.items():
        bytes_of[places[at]] += saved
    named, found, enough = list[bytes](), 0, ENOUGH * sum(saves.values())
    for path, saved in sorted(bytes_of.items(), key=lambda pair: (-pair[1], pair[0])):
        if found >= enough or len(named) == MOST_PATHS:
            break
        if edits.is_writable(path):
            named.append(path)
            found += saved
    return named, found
