"""Write the commands that remove cruft at the end of a RUN, and the comments for what a COPY brought. Pure.

A command is given only if it removes nothing that stays: the files in use, and those that a COPY brought for a later
RUN. It says where the files are, so that it does not look through all of the image.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from slimagent.audit import edits
from slimagent.audit.by_layer import UNKNOWN, WAYS, Part, by_layer, destination, is_copied, left_out, told
from slimagent.audit.known import Known, places_of
from slimagent.model.inventory import PackageKind
from slimagent.model.profile import CruftRule
from slimagent.model.reason import Verdict
from slimagent.paths.algebra import ancestors, name, parent, within
from slimagent.paths.patterns import PathRules

_MOST_PATTERNS = 6  # in an edit: nobody reads a longer one
_MOST_PATHS = 12  # in an edit
_FEW = 4  # directories where find(1) begins, and files that it leaves out by name
_ENOUGH = 0.95  # of a finding's bytes: an edit need not name the rest
_WORTH_IT = 0.3  # of a layer's bytes: an edit that saves less is none
_LONG = 20  # characters of a directory: longer ones are named once
_DEEPEST = 12  # directories
# Patterns that find(1) has, although its `*` matches slashes, too: one at the end of any path, or whole directories.
_SIMPLE = re.compile(r"/\*\*/\*[^*?\[/]+|(?:/\*\*)?(?:/[^*?\[/]+)+(?:/\*\*)?")
_SPECIAL = re.compile(r"[.^$+(){}|\[\]\\]")  # in a POSIX extended regular expression, beside * and ?
_WILD = re.compile(rb"[*?\[\\]")
_ANYWHERE = "find / "
_APT = "/var/lib/apt/lists"
_INSTALLS = re.compile(r"\bapt(?:-get)?\b[^&;|]*\binstall\b")
_UPDATES = re.compile(r"\bapt(?:-get)?\b[^&;|]*\bupdate\b")
_BY_PATH = ("", "has-source")  # conditions of rules without which their patterns still mean nothing else
_DIRECTORY = re.compile(r"-type d -name (\S+) -prune")
_TEMPORARY = "temporary-files"
_MOUNT = "# what a RUN reads is in no layer if that RUN mounts it: RUN --mount=type=bind,source=...,target=..."
_AT_END = "each command at the end of the RUN of its layer"
_AT_ITS_END = "at the end of the RUN that makes them"
_COMPILING = "if no later RUN compiles"
_BEFORE = "RUN lines before the first RUN with apt-get"


class Removing:
    """The edits of rules for cruft, which were found in an image."""

    def __init__(self, known: Known, rules: Sequence[CruftRule]) -> None:
        self._known = known
        self._found = dict(_matches(known, rules))

    def edit(self, rule: CruftRule, entries: list[int]) -> tuple[str, str]:
        """The edit that removes these files of a rule, and its comment."""
        known = self._known
        made = by_layer(
            known,
            known.sizes(entries),
            lambda layer, some: self._command(rule, layer, some, frozenset(entries)),
            lambda layer, some: self._left_out(rule, layer, some),
        )
        if not made.lines:
            return f"# no short command removes them: slimagent does at every level, by its rule {rule.name}", ""
        lines = list(made.lines)
        if any(_APT in line and not line.startswith("#") for line in lines):
            lines += _without_update(known)
        where = rule.edit_note or (_AT_END if known.layers.layers else _AT_ITS_END)
        where += f"; {_COMPILING}" if rule.unless == "compiling" else ""
        if any(line.startswith("RUN ") for line in lines):
            where = _BEFORE if all(line.startswith(("RUN ", "#")) for line in lines) else f"{_BEFORE}; {where}"
        return "\n".join(lines), made.comment(where, ways=WAYS)

    def _command(self, rule: CruftRule, layer: int, saves: Mapping[int, int], entries: frozenset[int]) -> Part:
        """What removes most of a layer's files: the rule's own line, dpkg's setting, find(1), or rm(1) with names."""
        whole = sum(saves.values())
        if rule.edit:
            own = _own(self._known, rule.edit, saves)
            if own.saves >= _ENOUGH * whole:
                return own
        if rule.keep_out:
            setting = self._setting(rule, saves)
            if setting.saves * 2 >= whole:
                return setting
        order = [self._by_pattern(rule, layer, saves, entries), self._by_name(rule, saves)]
        if rule.when or len(rule.patterns) > _MOST_PATTERNS:
            order.reverse()
        best = next((each for each in order if each.saves >= _ENOUGH * whole), max(order, key=lambda part: part.saves))
        return best if best.saves >= _WORTH_IT * whole else Part()

    def _setting(self, rule: CruftRule, saves: Mapping[int, int]) -> Part:
        """A RUN that lets dpkg leave files out of the packages that it installs later (dpkg(1), --path-exclude)."""
        known, found = self._known, self._found[rule.name]
        of_dpkg = [at for at in saves if _is_debian(at, known)]
        used = {which for at in of_dpkg for which in found[at][0]}
        patterns = [each for which, each in enumerate(rule.patterns) if which in used]
        matching = (at for at, (matches, spared) in found.items() if not spared and not used.isdisjoint(matches))
        staying = [known.inventory.paths[at] for at in matching if _is_kept(at, known) and _is_debian(at, known)]
        if len(staying) > _FEW or not all(map(_is_plain, staying)):
            return Part()
        lines = [f"path-exclude={_glob(each)}" for each in patterns]
        lines += [f"path-include={_glob(each)}" for each in rule.excepted]
        lines += [f"path-include={each.decode()}" for each in staying]
        shown = " ".join(map(shlex.quote, lines))
        line = f"RUN printf '%s\\n' {shown} > /etc/dpkg/dpkg.cfg.d/no-{shlex.quote(rule.name)}"
        return Part((line,), sum(saves[at] for at in of_dpkg)) if of_dpkg else Part()

    def _by_name(self, rule: CruftRule, saves: Mapping[int, int]) -> Part:
        named, saved = most(self._places(rule, saves), saves)
        return Part((_remove(named),), saved) if named else Part()

    def _places(self, rule: CruftRule, saves: Mapping[int, int]) -> dict[int, bytes]:
        """Each file with the path that stands for it: a directory only if the rule is for all that is in it.

        Else something else can be in it when the RUN ends, which is not there any more in the image.
        """
        whole = PathRules([each for each in rule.patterns if each.endswith("/**")])
        paths = self._known.inventory.paths
        return {
            at: place if place == paths[at] or whole.matches(place) else paths[at]
            for at, place in places_of(self._known, saves)
        }

    def _by_pattern(self, rule: CruftRule, layer: int, saves: Mapping[int, int], entries: frozenset[int]) -> Part:
        """A find(1) with the rule's patterns that find something in this layer, and without the files that stay."""
        known, found = self._known, self._found[rule.name]
        chosen = _fewest({at: found[at][0] for at in saves}, saves)
        saved = sum(bytes_of for at, bytes_of in saves.items() if not chosen.isdisjoint(found[at][0]))
        paths = known.inventory.paths
        starts = _starts([paths[at] for at in saves if not chosen.isdisjoint(found[at][0])])
        below = [at for at in found if _is_below(paths[at], starts) and not chosen.isdisjoint(found[at][0])]
        staying = [at for at in below if not found[at][1] and self._stays(at, layer, entries)]
        excepted = _excepted(rule, (found[at][1] for at in below))
        names = [paths[at] for at in staying]
        if max(len(names), len(starts)) > _FEW or len(excepted) > _MOST_PATTERNS or not all(map(_is_plain, names)):
            return Part()
        patterns = [each for which, each in enumerate(rule.patterns) if which in chosen]
        return Part((find(patterns, excepted, starts, names),), saved)

    def _stays(self, at: int, layer: int, entries: frozenset[int]) -> bool:
        """Whether a file must not go at the end of a RUN: it stays, or a COPY brought it for a RUN after this one."""
        known = self._known
        of = known.layers.of.get(known.inventory.paths[at], UNKNOWN)
        if at not in entries:
            return _is_kept(at, known)
        return of != layer and is_copied(known, of)

    def _left_out(self, rule: CruftRule, layer: int, saves: Mapping[int, int]) -> Part:
        """A comment for what a COPY brought: patterns as .dockerignore has them, or paths."""
        known, found = self._known, self._found[rule.name]
        of, paths, to = known.layers.of, known.inventory.paths, destination(known, layer)
        inside = {
            at: place if place != to and within(place, to) else paths[at] for at, place in places_of(known, saves)
        }
        named, saved = most(inside, saves)
        if rule.name == _TEMPORARY:
            return Part((*left_out(known, layer, named, saved).lines, _MOUNT), saved)
        chosen = _fewest({at: found[at][0] for at in saves}, saves)
        patterns = [each for which, each in enumerate(rule.patterns) if which in chosen]
        is_named = saved >= _ENOUGH * sum(saves.values()) and len(named) <= _FEW
        excepted = _excepted(rule, (found[at][1] for at in found if of.get(paths[at]) == layer))
        is_short = len(excepted) <= _MOST_PATTERNS and all(each.startswith("/**/") for each in (*patterns, *excepted))
        if is_named or not is_short or rule.when not in _BY_PATH:
            return left_out(known, layer, named, saved)
        by_pattern = sum(bytes_of for at, bytes_of in saves.items() if not chosen.isdisjoint(found[at][0]))
        shown = [each[1:] for each in patterns] + [f"!{each[1:]}" for each in excepted]
        return left_out(known, layer, shown, by_pattern) if by_pattern > saved else left_out(known, layer, named, saved)


def _excepted(rule: CruftRule, found: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
    """The exceptions of a rule; if they are many, those that spare something here: `found` are those of each file."""
    if len(rule.excepted) <= _MOST_PATTERNS:
        return rule.excepted
    spared = {which for some in found for which in some}
    return tuple(each for which, each in enumerate(rule.excepted) if which in spared)


def _matches(
    known: Known, rules: Sequence[CruftRule]
) -> Iterator[tuple[str, dict[int, tuple[tuple[int, ...], tuple[int, ...]]]]]:
    """The files that match a rule, by its name: each with the rule's patterns and exceptions that match it."""
    parts = [
        (number, which, is_spared)
        for number, rule in enumerate(rules)
        for is_spared, patterns in ((False, rule.patterns), (True, rule.excepted))
        for which, _ in enumerate(patterns)
    ]
    tests = PathRules([each for rule in rules for each in (*rule.patterns, *rule.excepted)])
    found: list[dict[int, tuple[tuple[int, ...], tuple[int, ...]]]] = [{} for _ in rules]
    paths = known.inventory.paths
    for at in known.files:
        by_rule: defaultdict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for each in tests.matches(paths[at]):
            number, which, is_spared = parts[each]
            by_rule[number][is_spared].append(which)
        for number, (matching, sparing) in by_rule.items():
            if matching:
                found[number][at] = (tuple(matching), tuple(sparing))
    return zip((rule.name for rule in rules), found, strict=True)


def _fewest(found: Mapping[int, tuple[int, ...]], saves: Mapping[int, int]) -> frozenset[int]:
    """The patterns that match most of these bytes, as few as can be."""
    chosen, left = set[int](), dict(saves)
    enough = (1 - _ENOUGH) * sum(saves.values())
    while len(chosen) < _MOST_PATTERNS and sum(left.values()) > enough:
        gains: Counter[int] = Counter()
        for at, bytes_of in left.items():
            gains.update(dict.fromkeys(found[at], bytes_of))
        if not gains:
            break
        best = min(gains, key=lambda which: (-gains[which], which))
        chosen.add(best)
        left = {at: bytes_of for at, bytes_of in left.items() if best not in found[at]}
    return frozenset(chosen)


def _starts(paths: Iterable[bytes]) -> list[bytes]:
    """The directories that these paths are in, as deep as few of them can be.

    >>> _starts([b"/usr/lib/a/b.a", b"/usr/lib/c.a"]), _starts([b"/%d/a" % each for each in range(9)])
    ([b'/usr/lib'], [b'/'])
    """
    directories = {parent(path) for path in paths}
    for depth in range(_DEEPEST, 0, -1):
        cut = {b"/".join(each.split(b"/")[: depth + 1]) for each in directories}
        outer = sorted(each for each in cut if cut.isdisjoint(ancestors(each)))
        if len(outer) <= _FEW and all(map(edits.is_writable, outer)):
            return outer
    return [b"/"]


def _is_below(path: bytes, starts: Iterable[bytes]) -> bool:
    return any(within(path, start) for start in starts)


def _is_plain(path: bytes) -> bool:
    """Whether find(1) can be told this path alone."""
    return edits.is_writable(path) and _WILD.search(path) is None


def _is_debian(at: int, known: Known) -> bool:
    """Whether dpkg installed a file."""
    return any(known.owners.packages[each].kind == PackageKind.DPKG for each in known.owners.owners(at))


def _is_kept(at: int, known: Known) -> bool:
    """Whether a file stays: in use, or by a rule of the profile."""
    return known.plan.reasons[known.plan.entries[at].reason].verdict is Verdict.KEEP


def _own(known: Known, line: str, saves: Mapping[int, int]) -> Part:
    """A rule's own line, and what it saves of a layer. A find(1) in it begins where the files are."""
    paths = known.inventory.paths
    going = list(saves)
    if line.startswith("rm -rf /"):
        places = [each.removesuffix("/*").encode() for each in line.split()[2:]]
        going = [at for at in saves if _is_below(paths[at], places)]
    elif line.startswith(_ANYWHERE):
        named = _DIRECTORY.search(line)
        going = [at for at in saves if named is None or name(parent(paths[at])) == named[1].encode()]
        inside = (parent(paths[at]) if named else paths[at] for at in going)
        line = line.replace(_ANYWHERE, edits.words("find {} ", _starts(inside)), 1)
    return Part((line,), sum(saves[at] for at in going)) if going else Part()


def _without_update(known: Known) -> Iterator[str]:
    """A comment for each RUN that installs from lists of packages that an earlier layer has, which are gone then."""
    for layer in range(len(known.layers.layers)):
        text = told(known, layer)
        if _INSTALLS.search(text) and not _UPDATES.search(text):
            yield f"# layer {layer + 1} then needs apt-get update first: it has none"


def _glob(pattern: str) -> str:
    """A pattern as dpkg has it: one star, which also matches slashes."""
    return pattern.replace("[", "[[]").replace("/**/", "/*/").replace("**", "*")


def most(places: Mapping[int, bytes], saves: Mapping[int, int]) -> tuple[list[bytes], int]:
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


def find(
    patterns: Sequence[str],
    excepted: Sequence[str] = (),
    starts: Sequence[bytes] = (b"/",),
    staying: Sequence[bytes] = (),
) -> str:
    """A command that removes the files that match a pattern, except some.

    >>> find(["/**/*.a", "/**/*.la"], ["/opt/**"], [b"/usr"], [b"/usr/b.a"])
    "find /usr -xdev -type f '(' -path '*/*.a' -o -path '*/*.la' ')' ! -path '/opt/*' ! -path /usr/b.a -delete"
    """
    names = " -o ".join(map(_test, patterns))
    spared = "".join(f" ! {_test(each)}" for each in excepted)
    spared += "".join(edits.line(" ! -path {}", each) for each in staying)
    kind = " -regextype posix-extended" if "-regex " in names + spared else ""
    return f"{edits.words('find {}', list(starts))} -xdev{kind} -type f '(' {names} ')'{spared} -delete"


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
