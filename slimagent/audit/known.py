"""All that an audit is made from, and the questions that every kind of finding asks of it. Pure."""

from __future__ import annotations

import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from slimagent.gpu.weigh import Inside
from slimagent.model.audit import Finding, Layers
from slimagent.model.inventory import Inventory, Owners, Package, PackageKind
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.paths.algebra import Resolver, ancestors, parent, to_text
from slimagent.text.sizes import size as size_text

_TOUCHED = frozenset({ReasonKind.EXECUTED, ReasonKind.OPENED})

# The Filesystem Hierarchy Standard 3.0, sections 3.2, 4.2, 4.9.2 and 5.2.
_STANDING = re.compile(rb"/[^/]*|/(?:usr|var)/[^/]+|/usr/local/[^/]+", re.DOTALL)


class Saving(NamedTuple):
    """A finding, and the bytes that its edit saves of each entry: what all findings save together counts a byte once.

    What lies in hidden layers has no entry.
    """

    finding: Finding
    gone: Mapping[int, int]


class Reader(Protocol):
    """Reads files of the image."""

    def digest(self, path: bytes) -> bytes | None:
        """The SHA-256 of a regular file's content; None if it cannot be read."""

    def capabilities(self, path: bytes) -> bytes | None:
        """What a regular file may do beside its user, as the kernel stores it; None if it cannot be read."""

    def gpu_code(self, path: bytes) -> Inside | None:
        """The GPU code in a library; None for any other file."""


def asked_here(asked: Mapping[int, str], inventory: Inventory, owners: Owners, layers: Layers) -> dict[int, str]:
    """The requests without those for the distribution's own packages: what the lowest layer has came with it."""

    def came_along(number: int) -> bool:
        some = next((inventory.paths[at] for at in owners.files[number] if inventory.paths[at] in layers.of), None)
        return owners.packages[number].kind == PackageKind.DPKG and some is not None and layers.of[some] == 0

    return {number: why for number, why in asked.items() if not came_along(number)}


@dataclass(frozen=True, kw_only=True)
class Known:
    """An image: its files, owners, layers (none if they are not known), and a plan of it.

    If `traced`, the plan is of level `package`, from a trace; else of level `cruft`, from none. `asked` says who asked
    for a package by name, by its number. `permits` says of a file whether its licence permits changing it.
    """

    inventory: Inventory
    owners: Owners
    plan: Plan
    rules: Rules
    asked: Mapping[int, str]
    reader: Reader
    permits: Callable[[int], bool]
    traced: bool
    layers: Layers = field(default_factory=Layers)

    def packages(self) -> Iterator[tuple[int, Package]]:
        """Each package with its number, without the lists of requirements that count as one."""
        return ((number, each) for number, each in enumerate(self.owners.packages) if not each.is_list)

    @cached_property
    def files(self) -> list[int]:
        """The regular files, each of a hard link's names but the first left out."""
        inventory = self.inventory
        seen: set[int | tuple[int, ...]] = set()
        found = []
        for at, mode in enumerate(inventory.modes):
            if not stat.S_ISREG(mode):
                continue
            if inventory.links[at] > 1:
                file = inventory.file(at)
                if file in seen:
                    continue
                seen.add(file)
            found.append(at)
        return found

    @cached_property
    def in_layer(self) -> dict[int, list[int]]:
        """The entries of each layer that are not directories."""
        of, inventory = self.layers.of, self.inventory
        found: defaultdict[int, list[int]] = defaultdict(list)
        for at, (path, mode) in enumerate(zip(inventory.paths, inventory.modes, strict=True)):
            if path in of and not stat.S_ISDIR(mode):
                found[of[path]].append(at)
        return dict(found)

    @cached_property
    def is_counted(self) -> bytearray:
        """Marks the entries in `files`."""
        marks = bytearray(len(self.inventory))
        for at in self.files:
            marks[at] = 1
        return marks

    @cached_property
    def executed(self) -> bytearray:
        """Marks the entries that the trace executed, by whatever name of the file."""
        return self._marked(frozenset({ReasonKind.EXECUTED}))

    @cached_property
    def touched(self) -> bytearray:
        """Marks the entries that the trace opened or executed."""
        return self._marked(_TOUCHED)

    def _marked(self, of: frozenset[ReasonKind]) -> bytearray:
        inventory, kinds = self.inventory, [reason.kind in of for reason in self.plan.reasons]
        marks = bytearray(kinds[entry.reason] for entry in self.plan.entries)
        several = [at for at, links in enumerate(inventory.links) if links > 1 and stat.S_ISREG(inventory.modes[at])]
        used = {inventory.file(at) for at in several if marks[at]}
        for at in several:  # a file is used by whatever name
            marks[at] = inventory.file(at) in used
        return marks

    def counts_with(self, at: int) -> int:
        """The package that the bytes of an entry count with: its first owner that is not a list, or -1."""
        packages = self.owners.packages
        return next((each for each in self.owners.owners(at) if not packages[each].is_list), -1)

    @cached_property
    def _names(self) -> dict[int, list[int]]:
        """All names of each file that has several, by each of them."""
        inventory = self.inventory
        found: defaultdict[int | tuple[int, ...], list[int]] = defaultdict(list)
        for at, links in enumerate(inventory.links):
            if links > 1 and stat.S_ISREG(inventory.modes[at]):
                found[inventory.file(at)].append(at)
        return {at: names for names in found.values() for at in names}

    def names(self, entries: Iterable[int]) -> Iterator[int]:
        """Each of these entries, with all other names of the same file."""
        return (name for at in entries for name in self._names.get(at, (at,)))

    @cached_property
    def holds(self) -> Counter[bytes]:
        """How many entries that are not directories lie below each directory."""
        inventory = self.inventory
        return below(path for at, path in enumerate(inventory.paths) if not stat.S_ISDIR(inventory.modes[at]))

    @cached_property
    def resolver(self) -> Resolver:
        """Follows the image's links."""
        inventory = self.inventory
        index, targets = inventory.index, inventory.targets
        return Resolver(lambda path: targets.get(index.get(path, -1)))

    @cached_property
    def cruft_rules(self) -> dict[int, str]:
        """The name of the rule by which files are cruft, by the number of the plan's reason."""
        reasons = enumerate(self.plan.reasons)
        return {number: each.detail.partition(":")[0] for number, each in reasons if each.kind == ReasonKind.CRUFT}

    @cached_property
    def cruft(self) -> dict[str, list[int]]:
        """The files that are cruft by each rule, with all of their names: a file stays if one of them stays."""
        names = {rule.name for rule in self.rules.cruft}
        rules = {number: name for number, name in self.cruft_rules.items() if name in names}
        found: defaultdict[str, list[int]] = defaultdict(list)
        for at in self.files:
            several = list(self.names((at,)))
            by = {rules.get(self.plan.entries[each].reason) for each in several}
            name = by.pop()
            if name is not None and not by:
                found[name] += several
        return found

    @cached_property
    def cruft_of(self) -> dict[int, str]:
        """The name of the rule by which an entry is cruft."""
        return {at: name for name, entries in self.cruft.items() for at in entries}

    @cached_property
    def requirers(self) -> list[set[int]]:
        """The packages that require a package, by its number."""
        found: list[set[int]] = [set() for _ in self.owners.packages]
        for number, requires in enumerate(self.owners.requires):
            for each, _ in requires:
                found[each].add(number)
        return found

    @cached_property
    def used(self) -> list[bool]:
        """Whether a test used a package itself. All False without a trace."""
        reasons = self.plan.reasons
        return [self.traced and reasons[each.reason].kind == ReasonKind.USED for each in self.plan.packages]

    @cached_property
    def stays(self) -> list[bool]:
        """Whether a package stays at level `package`. All True without a trace."""
        reasons = self.plan.reasons
        return [not self.traced or reasons[each.reason].verdict is Verdict.KEEP for each in self.plan.packages]

    def size(self, entries: Iterable[int]) -> int:
        """The bytes of regular files; hard links count once."""
        sizes, counted = self.inventory.sizes, self.is_counted
        return sum(sizes[at] for at in entries if counted[at])

    def sizes(self, entries: Iterable[int]) -> dict[int, int]:
        """The bytes that go with these entries, by entry. A file goes only with all of its names, and counts once."""
        sizes, counted, several = self.inventory.sizes, self.is_counted, self._names
        going = list(entries)
        every = {at for at in going if at in several}
        return {at: sizes[at] for at in going if counted[at] and every.issuperset(several.get(at, ()))}

    def size_of(self, packages: Iterable[int]) -> int:
        """The bytes that go if these packages go: of files that no other package owns."""
        return sum(self.sizes(self.files_of(packages)).values())

    def files_of(self, packages: Iterable[int]) -> Iterator[int]:
        """The entries that go if these packages go, each once."""
        going = set(packages)
        return (at for each in going for at in self.owners.files[each] if self._goes(at, each, going))

    def _goes(self, at: int, package: int, going: set[int]) -> bool:
        """Whether an entry goes with these packages. It is counted for the first of them that owns it."""
        owners = self.owners.owners(at)
        return going.issuperset(owners) and next(each for each in owners if each in going) == package

    def layers_of(self, entries: Iterable[int]) -> tuple[int, ...]:
        """The layers that entries come from."""
        of, paths = self.layers.of, self.inventory.paths
        return tuple(sorted({of[paths[at]] for at in entries if paths[at] in of}))

    def going_with(self, package: int) -> set[int]:
        """The packages that nothing requires any longer once a package is gone, and that nobody asked for. With it."""
        return self.all_going_with((package,))

    def all_going_with(self, packages: Iterable[int]) -> set[int]:
        """The same for several packages that go together. Each package is looked at once for each that requires it."""
        going = set(packages)
        pending = list(going)
        left: dict[int, int] = {}  # of packages: how many still require one
        while pending:
            for each in {required for required, _ in self.owners.requires[pending.pop()]} - going:
                left[each] = left.get(each, len(self.requirers[each])) - 1
                if not left[each] and self._is_free(each):
                    going.add(each)
                    pending.append(each)
        return going

    def lets_go(self, package: int) -> set[int]:
        """The packages that a manager no longer installs, or removes as not needed, without a line for this package.

        They are those of `going_with`, and those in use: who leaves out a package that only requires others loses them.
        """
        going, pending = {package}, [package]
        while pending:
            for each, _ in self.owners.requires[pending.pop()]:
                is_kept = each in self.asked or self.owners.packages[each].essential
                if each not in going and not is_kept and self.requirers[each] <= going:
                    going.add(each)
                    pending.append(each)
        return going

    def _is_free(self, package: int) -> bool:
        """Whether a package may go along: nobody asked for it, and nothing but other packages kept it."""
        return package not in self.asked and not self.owners.packages[package].essential and not self.used[package]


def places_of(known: Known, entries: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Each entry with the path that stands for it: the largest directory that holds nothing else, or itself.

    A directory that every system has is not named as a whole.
    """
    paths, chosen, holds = known.inventory.paths, list(entries), known.holds
    found = below(paths[at] for at in {*known.names(chosen)})
    outermost: dict[bytes, bytes] = {}
    for directory in sorted(found, key=len):  # outer ones first
        if not _STANDING.fullmatch(directory) and found[directory] == holds[directory]:
            outermost[directory] = outermost.get(parent(directory), directory)
    return ((at, outermost.get(parent(paths[at]), paths[at])) for at in chosen)


def below(paths: Iterable[bytes]) -> Counter[bytes]:
    """How many of these paths lie below each directory. Directories can be very deep: each is looked at once."""
    found = Counter(map(parent, paths))
    every = set(found)
    for directory in found:
        for above in ancestors(directory):
            if above in every:
                break
            every.add(above)
    for directory in sorted(every, key=len, reverse=True):  # inner ones first
        if directory != b"/":
            found[parent(directory)] += found[directory]
    return found


def whole(known: Known, entries: Iterable[int]) -> list[tuple[bytes, int]]:
    """These entries as the fewest paths, as `places_of` has them, with their bytes; the largest first."""
    sizes, counted = known.inventory.sizes, known.is_counted
    bytes_of: Counter[bytes] = Counter()
    for at, place in places_of(known, entries):
        bytes_of[place] += sizes[at] if counted[at] else 0
    return sorted(bytes_of.items(), key=lambda pair: (-pair[1], pair[0]))


def most_in(known: Known, entries: Iterable[int]) -> list[tuple[str, int]]:
    """Where these entries are: packages, and paths of what no package manager installed. The largest first."""
    owners, of = known.owners, Counter[str]()
    by_hand = []
    for at in entries:
        owner = owners.of[at]
        if owner < 0 or owners.packages[owner].kind == PackageKind.COMPONENT:
            by_hand.append(at)
        elif known.is_counted[at]:
            of[owners.packages[owner].named] += known.inventory.sizes[at]
    of.update({to_text(path): size for path, size in whole(known, by_hand)})
    return sorted(of.items(), key=lambda pair: (-pair[1], pair[0]))


def told(places: list[tuple[str, int]], count: int = 20) -> str:
    """Places with their bytes as a sentence, without those that hardly count."""
    least = sum(size for _, size in places) // 100
    some = [f"{place} ({size_text(size)})" for place, size in places[:count] if size >= least]
    return f"{'most' if len(some) < len(places) else 'all'} is in {', '.join(some)}"
