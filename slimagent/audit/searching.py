"""Write a find(1) that removes files: where it begins, and its tests. Only what the image's own find can do. Pure."""

from __future__ import annotations

import re
import shlex
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from slimagent.audit import edits
from slimagent.audit.known import Known
from slimagent.paths.algebra import ancestors, name, parent, within

FEW = 4  # directories where a find(1) begins, and files that it leaves out by name
_DEEPEST = 12  # directories
# Patterns that find(1) has, although its `*` matches slashes, too: one at the end of any path, or whole directories.
_SIMPLE = re.compile(r"/\*\*/\*[^*?\[/]+|(?:/\*\*)?(?:/[^*?\[/]+)+(?:/\*\*)?")
_SPECIAL = re.compile(r"[.^$+(){}|\[\]\\]")  # in a POSIX extended regular expression, beside * and ?
_WILD = re.compile(rb"[*?\[\\]")
_BUSYBOX = (b"/bin/busybox", b"/usr/bin/busybox")


class Finder(Enum):
    """Which find(1) an image has."""

    GNU = "GNU"
    BUSYBOX = "BusyBox"  # it has no -regextype, and not always -delete
    NONE = "none"


def finder(known: Known, layer: int) -> Finder:
    """Which find(1) the RUN of a layer finds: BusyBox's is a link to it, symbolic or hard.

    A later layer can bring another one: before it there is BusyBox's, if that is there, or none. What BusyBox's can do,
    the other one can do, too.
    """
    inventory, of = known.inventory, known.layers.of
    there = [each for each in _BUSYBOX if each in inventory.index and (layer < 0 or of.get(each, layer) <= layer)]
    box = {inventory.file(inventory.index[each]) for each in there}
    is_later = False
    for place in (b"/usr/bin/find", b"/bin/find"):
        end = known.resolver.resolve(place).end
        at = -1 if end is None else inventory.index.get(end, -1)
        if end is None or at < 0 or not stat.S_ISREG(inventory.modes[at]):
            continue
        if 0 <= layer < of.get(end, layer):
            is_later = True
            continue
        is_box = name(end).startswith((b"busybox", b"toybox")) or inventory.file(at) in box
        return Finder.BUSYBOX if is_box else Finder.GNU
    return Finder.BUSYBOX if is_later and box else Finder.NONE


def can_test(which: Finder, pattern: str) -> bool:
    """Whether this find(1) can be told a pattern."""
    return which is Finder.GNU or (which is Finder.BUSYBOX and _SIMPLE.fullmatch(pattern) is not None)


def is_plain(path: bytes) -> bool:
    """Whether find(1) can be told this path alone."""
    return edits.is_writable(path) and _WILD.search(path) is None


def is_below(path: bytes, starts: Iterable[bytes]) -> bool:
    """Whether a path is one of these directories, or in one."""
    return any(within(path, start) for start in starts)


def starts(paths: Iterable[bytes]) -> list[bytes]:
    r"""The directories that these paths are in, as deep as few of them can be. None for one that cannot be written.

    >>> starts([b"/usr/lib/a/b.a", b"/usr/lib/c.a"]), starts([b"/%d/a" % each for each in range(9)])
    ([b'/usr/lib'], [b'/'])
    >>> starts([b"/usr/lib/c.a", b"/srv/a\nb/c.a"]), starts([b"/srv/a\nb/c.a"])
    ([b'/usr/lib'], [])
    """
    directories = {each for each in map(parent, paths) if edits.is_writable(each)}
    for depth in range(_DEEPEST, 0, -1):
        cut = {b"/".join(each.split(b"/")[: depth + 1]) for each in directories}
        outer = sorted(each for each in cut if cut.isdisjoint(ancestors(each)))
        if len(outer) <= FEW:
            return outer
    return [b"/"]


def free_starts(going: Mapping[bytes, int], staying: Iterable[bytes], most: int) -> list[bytes]:
    """The directories that have most bytes of what goes, and nothing that stays.

    >>> free_starts({b"/a/b/c": 2, b"/a/d/e/f": 1, b"/a/x": 9}, [b"/a/y"], 2)
    [b'/a/b', b'/a/d']
    """
    taken = {directory for path in staying for directory in ancestors(path)}
    bytes_of: Counter[bytes] = Counter()
    for path, size in going.items():
        place = b""
        for directory in ancestors(path):  # the innermost first
            if directory in taken:
                break
            place = directory
        if place and edits.is_writable(place):
            bytes_of[place] += size
    return sorted(sorted(bytes_of, key=lambda place: (-bytes_of[place], place))[:most])


def find(
    patterns: Sequence[str],
    excepted: Sequence[str] = (),
    starts: Sequence[bytes] = (b"/",),
    staying: Sequence[bytes] = (),
    which: Finder = Finder.GNU,
) -> str:
    """A command that removes the files that match a pattern, except some. Without patterns it removes all files.

    >>> find(["/**/*.a", "/**/*.la"], ["/opt/**"], [b"/usr"], [b"/usr/b.a"])
    "find /usr -xdev -type f '(' -path '*/*.a' -o -path '*/*.la' ')' ! -path '/opt/*' ! -path /usr/b.a -delete"
    >>> find([], starts=[b"/var/log/z"], which=Finder.BUSYBOX)
    "find /var/log/z -xdev -type f -exec rm -f '{}' +"
    """
    names = f" '(' {' -o '.join(map(_test, patterns))} ')'" if patterns else ""
    spared = "".join(f" ! {_test(each)}" for each in excepted)
    spared += "".join(edits.line(" ! -path {}", each) for each in staying)
    kind = " -regextype posix-extended" if "-regex " in names + spared else ""
    does = "-delete" if which is Finder.GNU else "-exec rm -f '{}' +"
    return f"{edits.words('find {}', list(starts))} -xdev{kind} -type f{names}{spared} {does}"


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
