"""Write the commands that remove cruft at the end of a RUN, and the comments for what a COPY brought. Pure.

A command is given only if it removes nothing that stays: the files in use, those that a COPY brought for a later RUN,
and those that a later RUN names. It says where the files are, so that it does not look through all of the image.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Callable, Mapping, Sequence

from slimagent.audit import edits
from slimagent.audit.by_layer import (
    UNKNOWN,
    WAYS,
    Part,
    by_layer,
    destination,
    is_copied,
    is_of_base,
    left_out,
    makers,
)
from slimagent.audit.choosing import ENOUGH, MOST_PATHS, MOST_PATTERNS, fewest, matches, most, spared_by
from slimagent.audit.keeping_out import first_layer, is_kept, setting
from slimagent.audit.known import Known, places_of
from slimagent.audit.later import Later, without_update
from slimagent.audit.not_copied import ignorable, ignored, is_expressible, matching, takes_more
from slimagent.audit.searching import FEW, Finder, can_test, find, finder, free_starts, is_below, is_plain, starts
from slimagent.model.profile import CruftRule
from slimagent.paths.algebra import USUAL_PATH, ancestors, name, parent, within
from slimagent.paths.patterns import PathRules

_WORTH_IT = 0.3  # of a layer's bytes: an edit that saves less is none
_LONG = 20  # characters of a directory: longer ones are named once
_ANYWHERE = "find / "
_APT = "/var/lib/apt/lists"
_BY_PATH = ("", "has-source")  # conditions of rules without which their patterns still mean nothing else
_DIRECTORY = re.compile(r"-type d -name (\S+) -prune")
_STANDING = PathRules(["/var/**", "/tmp/**", "/**/man/**"])  # noqa: S108 - installers write there, and make none
_ROOT = frozenset({0})
_TEMPORARY = "temporary-files"
_MOUNT = "# what a RUN reads is in no layer if that RUN mounts it: RUN --mount=type=bind,source=...,target=..."
_READ = "# a later RUN names them, or where they are: join the two RUNs, and remove them at the end"
_AT_END = "each command at the end of the RUN of its layer, after &&"
_AT_ITS_END = "at the end of the RUN that makes them, after &&"
_COMPILING = "if no later RUN compiles"
_BEFORE = "RUN lines before {}"
_FIRST = "the first RUN that installs packages"


class Removing:
    """The edits of rules for cruft, which were found in an image."""

    def __init__(self, known: Known, rules: Sequence[CruftRule]) -> None:
        self._known = known
        self._found = dict(matches(known, rules))
        self._later = Later(known)
        self._held: dict[int, frozenset[bytes]] = {}
        layers = range(len(known.layers.layers))
        self._brought = {each for each in layers if is_copied(known, each) and not is_of_base(known, each)}
        self._makers = makers(known)

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
            lines += without_update(known)
        where = rule.edit_note or (_AT_END if known.layers.layers else _AT_ITS_END)
        where += f"; {_COMPILING}" if rule.unless == "compiling" else ""
        if any(line.startswith("RUN ") for line in lines):
            first = first_layer(known, entries)
            before = _BEFORE.format(f"layer {first + 1}" if first >= 0 else _FIRST)
            where = before if all(line.startswith(("RUN ", "#")) for line in lines) else f"{before}; {where}"
        return "\n".join(lines), made.comment(where, ways=WAYS)

    def _command(self, rule: CruftRule, layer: int, of_layer: Mapping[int, int], entries: frozenset[int]) -> Part:
        """What removes most of a layer's files: the rule's own line, dpkg's setting, find(1), or rm(1) with names."""
        whole = sum(of_layer.values())
        if rule.keep_out:
            kept_out = setting(self._known, rule, self._found[rule.name], entries, of_layer, self._later)
            if kept_out.saves * 2 >= whole:
                return kept_out
        names = self._known.names
        saves = {
            at: size
            for at, size in of_layer.items()
            if not any(self._stays(rule, each, layer, entries) for each in names((at,)))
        }
        if not saves:
            return Part((_READ,))
        if rule.edit:
            own = self._own(rule, layer, saves, entries)
            if own.saves >= ENOUGH * whole:
                return own
        order = [self._by_pattern(rule, layer, saves, entries), self._by_name(rule, layer, saves)]
        if rule.when or len(rule.patterns) > MOST_PATTERNS:
            order.reverse()
        best = next((each for each in order if each.saves >= ENOUGH * whole), max(order, key=lambda part: part.saves))
        return best if best.saves >= _WORTH_IT * whole else Part()

    def _own(self, rule: CruftRule, layer: int, saves: Mapping[int, int], entries: frozenset[int]) -> Part:
        """A rule's own line, and what it saves of a layer; nothing if it would remove what stays."""
        if rule.edit.startswith(_ANYWHERE):
            return self._own_find(rule, layer, saves, entries)
        paths, modes = self._known.inventory.paths, self._known.inventory.modes
        if not rule.edit.startswith("rm -rf /"):
            return self._own_program(rule, layer, saves, entries)
        places = [each.removesuffix("/*").encode() for each in rule.edit.split()[2:]]
        begins = tuple(place + b"/" for place in places)
        inside = [at for at, path in enumerate(paths) if path.startswith(begins) and not stat.S_ISDIR(modes[at])]
        if any(self._stays(rule, at, layer, entries) for at in inside):
            return Part()
        saved = self._saved(saves, lambda at: is_below(paths[at], places))
        return Part((rule.edit,), saved) if saved else Part()

    def _own_find(self, rule: CruftRule, layer: int, saves: Mapping[int, int], entries: frozenset[int]) -> Part:
        """A rule's own find(1), from where the files are; if something stays there, from directories without that."""
        paths, modes = self._known.inventory.paths, self._known.inventory.modes
        said = _DIRECTORY.search(rule.edit)
        if said is None or finder(self._known, layer) is Finder.NONE:
            return Part()
        last, inside = said[1].encode(), b"/%b/" % said[1].encode()
        going = self._going(saves, lambda at: name(parent(paths[at])) == last)
        going_from = starts([parent(path) for path in going])
        staying = [
            path
            for at, path in enumerate(paths)
            if inside in path and not stat.S_ISDIR(modes[at]) and self._stays(rule, at, layer, entries)
        ]
        if any(is_below(path, going_from) for path in staying):
            going_from = free_starts(going, staying, MOST_PATHS)
        saved = self._saved_below(saves, going, going_from)
        line = rule.edit.replace(_ANYWHERE, edits.words("find {} ", going_from), 1)
        return Part((line,), saved) if saved else Part()

    def _own_program(self, rule: CruftRule, layer: int, saves: Mapping[int, int], entries: frozenset[int]) -> Part:
        """A rule's own program, where the image has it: conda cleans the cache beside it, and no other one's."""
        inventory = self._known.inventory
        program, _, rest = rule.edit.partition(" ")
        best, is_program = Part(), program.encode()
        programs = [x for x in inventory.paths if name(x) == is_program and name(parent(x)) in (b"bin", b"condabin")]
        caches: dict[bytes, set[int]] = {posixpath.join(parent(parent(path)), b"pkgs"): set() for path in programs}
        for at in self._found[rule.name]:  # once: an image can have very many programs of that name
            for directory in ancestors(inventory.paths[at]):
                if directory in caches:
                    caches[directory].add(at)
        for path in programs:
            own = caches[posixpath.join(parent(parent(path)), b"pkgs")]
            if not own or self._known.layers.of.get(path, UNKNOWN) > layer:
                continue
            spares = any(inventory.links[at] < 2 and self._stays(rule, at, layer, entries) for at in own)
            saved = self._saved({at: saves[at] for at in own if at in saves}, own.__contains__)
            if saved > best.saves and not spares and edits.is_writable(path):
                called = program if parent(path) in USUAL_PATH else edits.line("{}", path)
                best = Part((f"{called} {rest}",), saved)
        return best

    def _by_name(self, rule: CruftRule, layer: int, saves: Mapping[int, int]) -> Part:
        """An rm(1) with names; of directories that have to stand it removes the files."""
        places, which = self._places(rule, layer, saves), finder(self._known, layer)
        emptied = {
            place
            for at, place in places.items()
            if place != self._known.inventory.paths[at] and _STANDING.first(place) is not None
        }
        if which is Finder.NONE:
            places = {at: self._known.inventory.paths[at] if each in emptied else each for at, each in places.items()}
        named, saved = self._named(places, saves)
        empty = [each for each in named if each in emptied]
        rest = [each for each in named if each not in emptied]
        does = [find([], starts=empty, which=which)] if empty else []
        does += [_remove(rest)] if rest else []
        return Part((" && ".join(does),), saved) if does else Part()

    def _places(self, rule: CruftRule, layer: int, saves: Mapping[int, int]) -> dict[int, bytes]:
        """Each file with the path that stands for it: a directory only if the rule is for all that is in it.

        Else something else can be in it when the RUN ends, which is not there any more in the image. A directory that
        a later RUN names stays: `chown -R` fails without it.
        """
        whole = PathRules([each for each in rule.patterns if each.endswith("/**")])
        paths = self._known.inventory.paths
        holding = self._holding(layer)

        def inside(place: bytes, path: bytes) -> bytes:
            some = [path, *(each for each in ancestors(path) if within(each, place))]
            return next((x for x in reversed(some) if x not in holding and whole.first(x) is not None), path)

        return {at: inside(place, paths[at]) for at, place in places_of(self._known, self._known.names(saves))}

    def _holding(self, layer: int) -> frozenset[bytes]:
        """The directories that a RUN after this layer names, and all above them."""
        if layer not in self._held:
            inventory, later = self._known.inventory, self._later
            directories = (
                path for path, mode in zip(inventory.paths, inventory.modes, strict=True) if stat.S_ISDIR(mode)
            )
            named = [each for each in directories if later.is_named(each, layer)]
            self._held[layer] = frozenset(named).union(*map(ancestors, named))
        return self._held[layer]

    def _named(self, places: Mapping[int, bytes], saves: Mapping[int, int]) -> tuple[list[bytes], int]:
        """The paths that save most of these bytes, with all names of the files in them, and what they save."""
        named, saved = most(places, saves)
        taken = set(named)
        others = {places[each] for at in saves if places[at] in taken for each in self._known.names((at,))} - taken
        if not others:
            return named, saved
        named += sorted(filter(edits.is_writable, others))[: max(0, MOST_PATHS - len(named))]
        taken.update(named)
        return named, self._saved(saves, lambda at: places[at] in taken)

    def _going(self, saves: Mapping[int, int], goes: Callable[[int], bool]) -> dict[bytes, int]:
        """The files of which all names go: each name, and the bytes that count with it."""
        paths, names = self._known.inventory.paths, self._known.names
        return {paths[x]: saves.get(x, 0) for at in saves if all(map(goes, names((at,)))) for x in names((at,))}

    def _saved_below(self, saves: Mapping[int, int], going: Mapping[bytes, int], places: Sequence[bytes]) -> int:
        """The bytes of the files of which all names are among `going`, and below some directories."""
        paths = self._known.inventory.paths
        return self._saved(saves, lambda at: paths[at] in going and is_below(paths[at], places))

    def _saved(self, saves: Mapping[int, int], goes: Callable[[int], bool]) -> int:
        """The bytes of the files of which all names go."""
        return sum(self._going(saves, goes).values())

    def _by_pattern(self, rule: CruftRule, layer: int, saves: Mapping[int, int], entries: frozenset[int]) -> Part:
        """A find(1) with the rule's patterns that find something in this layer, and without the files that stay."""
        found, paths = self._found[rule.name], self._known.inventory.paths
        program = finder(self._known, layer)
        usable = {which for which, each in enumerate(rule.patterns) if can_test(program, each)}
        chosen = fewest({at: tuple(usable.intersection(found[at][0])) for at in saves}, saves)
        going = self._going(saves, lambda at: not chosen.isdisjoint(found[at][0]))
        matched = [at for at in found if not chosen.isdisjoint(found[at][0])]
        staying = [at for at in matched if not found[at][1] and self._stays(rule, at, layer, entries)]
        going_from, names = starts(going), [paths[at] for at in staying]
        names = [each for each in names if is_below(each, going_from)]
        if len(names) > FEW or not all(map(is_plain, names)):
            going_from, names = free_starts(going, names, FEW), []
        below = [at for at in matched if is_below(paths[at], going_from)]
        excepted = spared_by(rule, (found[at][1] for at in below))
        can = all(can_test(program, each) for each in excepted)
        if not going_from or not can or len(excepted) > MOST_PATTERNS:
            return Part()
        saved = self._saved_below(saves, going, going_from)
        patterns = [each for which, each in enumerate(rule.patterns) if which in chosen]
        spared = {*staying, *self._known.names(saves), *(at for at in below if found[at][1])}
        more = self._known.sizes(at for at in below if at not in spared and self._is_of(at, layer))
        return Part((find(patterns, excepted, going_from, names, program),), saved, sum(more.values()))

    def _is_of(self, at: int, layer: int) -> bool:
        """Whether a file comes from a layer, which gets smaller without it."""
        return self._known.layers.of.get(self._known.inventory.paths[at], UNKNOWN) == layer

    def _stays(self, rule: CruftRule, at: int, layer: int, entries: frozenset[int]) -> bool:
        """Whether a file must not go at the end of a RUN.

        It stays in the image, or a COPY brought it for a RUN after this one, or a RUN after this one names it.
        Or another user owns it, and the RUN may have no right to remove it.
        """
        known = self._known
        path = known.inventory.paths[at]
        of = known.layers.of.get(path, UNKNOWN)
        if of < layer and of in self._brought:
            return True
        users = self._makers.get(layer, _ROOT)
        if of < layer and users.isdisjoint(_ROOT) and known.inventory.uids[at] not in users:
            return True
        if self._later.names(path, layer, loosely=rule.name == _TEMPORARY):
            return True
        return at not in entries and is_kept(at, known)

    def _left_out(self, rule: CruftRule, layer: int, saves: Mapping[int, int]) -> Part:
        """A comment for what a COPY brought: paths, or patterns as .dockerignore has them."""
        known = self._known
        paths, to = known.inventory.paths, destination(known, layer)
        inside = {
            at: place if place != to and within(place, to) else paths[at] for at, place in places_of(known, saves)
        }
        named, saved = most(inside, saves)
        by_path = left_out(known, layer, named, saved)
        if rule.name == _TEMPORARY:
            return Part((*by_path.lines, _MOUNT), saved)
        is_named = saved >= ENOUGH * sum(saves.values()) and len(named) <= FEW
        if is_named or rule.when not in _BY_PATH:
            return by_path
        by_pattern = self._ignored(rule, layer, saves, to)
        return by_pattern if by_pattern.saves > saved else by_path

    def _ignored(self, rule: CruftRule, layer: int, saves: Mapping[int, int], to: bytes) -> Part:
        """The lines of .dockerignore for what a COPY brought to a directory; nothing if they would be many."""
        found, paths, of = self._found[rule.name], self._known.inventory.paths, self._known.layers.of
        usable = ignorable(self._known, rule, layer, to)
        chosen = fewest({at: tuple(usable.intersection(found[at][0])) for at in saves}, saves)
        going = [at for at in saves if not chosen.isdisjoint(found[at][0]) and within(paths[at], to)]
        copied = [at for at in found if of.get(paths[at]) == layer and not chosen.isdisjoint(found[at][0])]
        staying = [paths[at] for at in copied if not found[at][1] and at not in saves and is_kept(at, self._known)]
        excepted = spared_by(rule, (found[at][1] for at in copied))
        patterns = [each for which, each in enumerate(rule.patterns) if which in chosen]
        if takes_more(self._known, rule, found, layer, chosen):
            return Part()
        is_short = max(len(excepted), len(staying)) <= MOST_PATTERNS and all(map(is_plain, staying))
        if (
            not is_short
            or not all(map(is_expressible, (*patterns, *excepted)))
            or not all(within(x, to) for x in staying)
        ):
            return Part()
        spared = matching(excepted, to, [paths[at] for at in copied if found[at][1]])
        kept = [each[len(to.rstrip(b"/")) + 1 :].decode() for each in staying]
        lines = matching(patterns, to, [paths[at] for at in going])
        return ignored(to, lines, [*spared, *kept], sum(saves[at] for at in going))


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
