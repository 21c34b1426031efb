"""Findings: what every level drops as cruft, one finding for each rule, and symbols in libraries and programs. Pure."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from slimagent.audit import edits
from slimagent.audit.by_layer import by_path, each_headed
from slimagent.audit.known import Known, Saving, most_in, places_of, told
from slimagent.model.audit import Finding, Risk
from slimagent.model.profile import CruftRule
from slimagent.model.reason import ReasonKind
from slimagent.paths.algebra import parent
from slimagent.paths.patterns import PathRules
from slimagent.text.counted import counted
from slimagent.text.sizes import size

_MOST_PATTERNS = 6  # in an edit: nobody reads a longer one
_MOST_PATHS = 12  # in an edit
_ENOUGH = 0.95  # of a finding's bytes: an edit need not name the rest
_MORE = 1.05  # of a finding's bytes: a command that removes more than this is not its edit
_WORTH_IT = 0.3  # of a finding's bytes: an edit that saves less is none
_SUBJECTS = 10
_LONG = 20  # characters of a directory: longer ones are named once
_UNPROVED = (
    "each command at the end of the RUN of its layer, with binutils; nothing compares the files there: run your tests. "
    "`slimagent image` strips copies, and takes each only if what is loaded of it is the same"
)
# Patterns that find(1) has, although its `*` matches slashes, too: one at the end of any path, or whole directories.
_SIMPLE = re.compile(r"/\*\*/\*[^*?\[/]+|(?:/\*\*)?(?:/[^*?\[/]+)+(?:/\*\*)?")
_SPECIAL = re.compile(r"[.^$+(){}|\[\]\\]")  # in a POSIX extended regular expression, beside * and ?


def cruft(known: Known) -> Iterator[Saving]:
    """A finding for each rule by which files are cruft."""
    rules = {rule.name: rule for rule in known.rules.cruft}
    by_reason = {
        number: rules[name]
        for number, reason in enumerate(known.plan.reasons)
        if reason.kind == ReasonKind.CRUFT and (name := reason.detail.partition(":")[0]) in rules
    }
    found: defaultdict[str, list[int]] = defaultdict(list)
    for at in known.files:
        rule = by_reason.get(known.plan.entries[at].reason)
        if rule is not None:
            found[rule.name].append(at)
    commands = {name: command for name in found if (command := removal(rules[name]))}
    found_by_find = _found(known, [rules[name] for name in commands if not rules[name].edit])
    for rule_name, entries in found.items():
        rule = rules[rule_name]
        if found_by_find.get(rule_name, 0) > _MORE * known.size(entries):
            del commands[rule_name]
        places = most_in(known, entries)
        edit, comment = _edit(known, rule, entries, commands.get(rule_name, ""))
        finding = Finding(
            kind=rule.name,
            title=counted(len(entries), "file"),
            size=known.size(entries),
            risk=_risk(known, rule),
            evidence=(
                rule.why,
                f"without them: {rule.risk}",
                *_in_base(known, entries),
                told(places),
            ),
            file="Dockerfile",
            edit=edit,
            comment=comment,
            subjects=tuple(place for place, _ in places[:_SUBJECTS]),
            layers=known.layers_of(entries),
        )
        yield Saving(finding, known.sizes(entries))


def _found(known: Known, rules: list[CruftRule]) -> Counter[str]:
    """The bytes that match each rule, by its name: files that something else keeps match, too."""
    parts = [
        (rule.name, is_spared)
        for rule in rules
        for is_spared, patterns in ((False, rule.patterns), (True, rule.excepted))
        for _ in patterns
    ]
    tests = PathRules([each for rule in rules for each in (*rule.patterns, *rule.excepted)])
    found: Counter[str] = Counter()
    paths, sizes = known.inventory.paths, known.inventory.sizes
    for at in known.files:
        matching = [parts[each] for each in tests.matches(paths[at])]
        for name in {name for name, is_spared in matching if not is_spared}:
            if (name, True) not in matching:
                found[name] += sizes[at]
    return found


def _in_base(known: Known, entries: list[int]) -> tuple[str, ...]:
    """How much lies in the lowest layer: no later line of a Dockerfile makes that smaller."""
    of, paths = known.layers.of, known.inventory.paths
    base = known.size(at for at in entries if of.get(paths[at]) == 0)
    return (f"{size(base)} of it is in layer 1: only the base image's own Dockerfile can save that",) if base else ()


def _risk(known: Known, rule: CruftRule) -> Risk:
    if rule.risk.startswith("none"):
        return Risk.NONE
    return Risk.MEDIUM if rule.unless == "compiling" and not known.traced else Risk.LOW


def removal(rule: CruftRule) -> str:
    """The line that a rule names, or else a command that removes its files; empty if find(1) cannot say which.

    >>> removal(CruftRule(name="x", patterns=("/**/*.a", "/**/*.la"), why="", risk="", excepted=("/opt/**",)))
    "find / -xdev -type f '(' -path '*/*.a' -o -path '*/*.la' ')' ! -path '/opt/*' -delete"
    """
    if rule.edit:
        return rule.edit
    if rule.when or len(rule.patterns) > _MOST_PATTERNS:
        return ""
    names = " -o ".join(map(_test, rule.patterns))
    spared = "".join(f" ! {_test(each)}" for each in rule.excepted)
    kind = " -regextype posix-extended" if "-regex " in names + spared else ""
    return f"find / -xdev{kind} -type f '(' {names} ')'{spared} -delete"


def _edit(known: Known, rule: CruftRule, entries: list[int], command: str) -> tuple[str, str]:
    """The edit and its comment: a command for every layer, or one with paths for each, or a sentence."""
    if command:
        layers = each_headed(known, entries)
        where = "at the end of the RUN of each of these layers" if layers else "at the end of the RUN that makes them"
        return "\n".join((*layers, command)), rule.edit_note or where
    sizes = known.sizes(entries)
    places = dict(places_of(known, entries))
    made = by_path(known, sizes, lambda some: _most(places, some), _remove)
    all_of_it = sum(sizes.values())
    if not made.lines or made.saves < _WORTH_IT * all_of_it:
        return f"# slimagent removes them at every level (rule {rule.name})", ""
    told = f"removes {size(made.saves)} of {size(all_of_it)}"
    return "\n".join(made.lines), f"{told}; each command at the end of the RUN of its layer"


def _most(places: Mapping[int, bytes], saves: Mapping[int, int]) -> tuple[list[bytes], int]:
    """The paths that save most of these bytes, as few as can be, and what they save. They can stand in a command."""
    bytes_of: Counter[bytes] = Counter()
    for at, saved in saves.items():
        bytes_of[places[at]] += saved
    named, found, enough = list[bytes](), 0, _ENOUGH * sum(saves.values())
    for path, saved in sorted(bytes_of.items(), key=lambda pair: (-pair[1], pair[0])):
        if found >= enough or len(named) == _MOST_PATHS:
            break
        if edits.is_writable(path):
            named.append(path)
            found += saved
    return named, found


def _remove(paths: list[bytes]) -> str:
    """A command that removes paths, from a directory that they share if its name is long.

    >>> _remove([b"/a/b"]), _remove([b"/usr/lib/x/node_modules/a", b"/usr/lib/x/node_modules/b/c"])
    ('rm -rf /a/b', 'cd /usr/lib/x/node_modules && rm -rf -- a b/c')
    """
    shared = posixpath.commonpath(list(map(parent, paths)))
    if len(shared) < _LONG:
        return edits.words("rm -rf {}", paths)
    inside = edits.words("rm -rf -- {}", [path[len(shared) + 1 :] for path in paths])
    return f"{edits.line('cd {}', shared)} && {inside}"


def _test(pattern: str) -> str:
    """A pattern as find(1) takes it: as it is if that means the same there, else as a regular expression.

    >>> _test("/**/cmake/**"), _test("/**/R/*/NEWS*")
    ("-path '*/cmake/*'", "-regex '/(.*/)?R/[^/]*/NEWS[^/]*'")
    """
    if _SIMPLE.fullmatch(pattern):
        return f"-path {shlex.quote(re.sub(r'^/[*][*]/', '*/', pattern).replace('**', '*'))}"
    parts = re.split(r"(/\*\*/|\*\*|\*|\?)", pattern)
    means = {"/**/": "/(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return f"-regex {shlex.quote(''.join(means.get(each) or _SPECIAL.sub(_escaped, each) for each in parts))}"


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def symbols(known: Known) -> Iterator[Saving]:
    """What stripping would save, as the plan weighed it."""
    strips = known.plan.strips
    whole = sum(each.saves for each in strips)
    if not whole:
        return
    saves: defaultdict[int, int] = defaultdict(int)
    for each in strips:
        saves[known.owners.of[known.inventory.index[each.path]]] += each.saves
    largest = sorted(saves.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    names = [known.owners.packages[number].name if number >= 0 else "nobody's" for number, _ in largest]
    kept = len(known.plan.unstripped)
    more = f"{counted(kept, 'more file')} must not be stripped" if kept else "no file forbids it"
    entries = {known.inventory.index[each.path]: each.saves for each in strips}
    paths = {at: known.inventory.paths[at] for at in entries}
    made = by_path(known, entries, lambda some: _most(paths, some), _strip)
    finding = Finding(
        kind="symbols",
        title=f"symbols and debugging sections of {counted(len(strips), 'file')}",
        size=whole,
        risk=Risk.LOW,
        evidence=(f"most are in {', '.join(names)}", more),
        file="Dockerfile",
        edit="\n".join(made.lines) or edits.BY_HAND,
        comment=f"saves {size(made.saves)} of {size(whole)}; {_UNPROVED}",
        layers=known.layers_of(entries),
    )
    yield Saving(finding, entries)


def _strip(paths: list[bytes]) -> str:
    return edits.words("strip --strip-unneeded -- {}", paths)
