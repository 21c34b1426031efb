"""Find what was removed for what a program missed: one pass over a list, a hash look-up for each path. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from slimagent.model.missing import Wanted, WantedKind
from slimagent.model.removed import Gone, GoneKind, Lead
from slimagent.paths.algebra import Resolver, join, name, normalise, parent

_PASSES = 8  # how far links are followed from what was found
_MOST = 500  # paths for one name
_PYTHON_PLACES = re.compile(rb"(?:site|dist)-packages|python[0-9.]*|lib-dynload|python[0-9.]+t", re.DOTALL)
_PYTHON_ENDINGS = re.compile(rb"(?:\.[\w-]+)?\.(?:so|pyd)|\.pyc?", re.DOTALL)
_JAR = re.compile(rb"[^a-z]+")
_COMMON = frozenset(
    (b"org", b"com", b"net", b"io", b"java", b"jar", b"lib", b"main", b"api", b"core", b"impl", b"util")
)

Rank = Callable[[bytes], "int | None"]


class _Matcher:
    """Tells how well a path fits what was wanted: 0 is best, None is not at all.

    `stems` are what a fitting path's last component begins with, up to its first dot; None if it can be anything.
    `exact` are paths that fit best, whatever their names.
    """

    def __init__(self, wanted: Wanted, resolve: Callable[[bytes], bytes]) -> None:
        self.wanted = wanted
        self.exact: set[bytes] = set()
        self._fits: Rank
        title = wanted.name
        stems: Iterable[bytes] | None = (title,)
        if wanted.kind is WantedKind.PATH:
            self._fits = self._path(resolve)
            stems = (title.rstrip(b"/"), *self.exact)
        elif wanted.kind is WantedKind.COMMAND:
            self._fits = lambda path: 0 if name(path) == title and _is_bin(path) else None
        elif wanted.kind is WantedKind.LIBRARY:
            self._fits = self._library
        elif wanted.kind is WantedKind.PYTHON:
            self._fits = self._python
            stems = (title.rpartition(b".")[2], title.partition(b".")[0], b"__init__")
        elif wanted.kind is WantedKind.R:
            self._fits = self._r
            stems = (title, b"DESCRIPTION")
        elif wanted.kind is WantedKind.NODE:
            self._fits = self._node
            stems = None
        elif wanted.kind is WantedKind.JAVA:
            self._fits, stems = self._java, None
        elif wanted.kind is WantedKind.TIME_ZONE:
            self._fits = lambda path: 0 if path.endswith(b"/zoneinfo/" + title) else None
            stems = (title,)
        else:
            self._fits, stems = self._font if wanted.kind is WantedKind.FONT else self._locale, None
        self.stems = None if stems is None else frozenset(map(stem, stems))

    def rank(self, path: bytes) -> int | None:
        """How well a path fits."""
        return 0 if path in self.exact else self._fits(path)

    def _path(self, resolve: Callable[[bytes], bytes]) -> Rank:
        title = self.wanted.name
        if title[:1] == b"/":
            self.exact = {normalise(title), resolve(title)}
            return lambda path: None
        tail = join(b"/", title)
        while tail.startswith((b"/../", b"/./")):  # where it began is unknown
            tail = tail[tail.index(b"/", 1) :]
        return lambda path: 1 if path.endswith(tail) else None

    def _library(self, path: bytes) -> int | None:
        last, title = name(path), self.wanted.name
        if last == title:
            return 0
        return 1 if last.startswith(title + b".") and b".so" in title else None

    def _python(self, path: bytes) -> int | None:
        """The module itself; else the package that it is in, or what is above that."""
        parts = self.wanted.name.split(b".")
        found = path[1:].split(b"/")
        if found[-2:-1] == [b"__pycache__"]:
            return None
        if found[-1].startswith(b"__init__."):
            found = found[:-1]
        elif b"." in found[-1]:
            last, _, ending = found[-1].partition(b".")
            if not _PYTHON_ENDINGS.fullmatch(b"." + ending):
                return None
            found[-1] = last
        for length in range(len(parts), 0, -1):
            if found[-length:] == parts[:length]:
                above = found[-length - 1] if len(found) > length else b""
                return (0 if _PYTHON_PLACES.fullmatch(above) else 10) + len(parts) - length
        return None

    def _r(self, path: bytes) -> int | None:
        home = parent(path) if name(path) == b"DESCRIPTION" else path
        above = name(parent(home)) if home != b"/" else b""
        return 0 if name(home) == self.wanted.name and (b"library" in above or home != path) else None

    def _node(self, path: bytes) -> int | None:
        whole = b"/node_modules/" + self.wanted.name
        at = path.rfind(whole)
        if at >= 0:
            rest = path[at + len(whole) :]
            if rest in (b"", b"/package.json", b".js", b".json", b".node", b"/index.js"):
                return 0
            return 1 if rest.startswith(b"/") and rest.endswith((b".js", b".cjs", b".mjs", b".json")) else None
        last = b"/nodejs/" + self.wanted.name  # where Debian has modules
        return 0 if path.endswith((last, last + b"/package.json", last + b".js")) else None

    def _java(self, path: bytes) -> int | None:
        parts = self.wanted.name.split(b".")
        if path.endswith(b"/" + b"/".join(parts) + b".class"):
            return 0
        if not path.endswith(b".jar"):
            return None
        words = {each.lower() for each in parts[:-1]} - _COMMON
        words |= {each for part in words for each in _JAR.split(part)} - _COMMON - {b""}
        named = set(_JAR.split(name(path).lower())) - _COMMON - {b""}
        common = len(words & named)
        return 10 - min(common, 5) if common else None

    def _locale(self, path: bytes) -> int | None:
        if not re.search(rb"/locale/(?:locale-archive|[^/]+(?:/LC_[^/]+)*(?:/[^/]+)?)\Z", path) or b"/share/" in path:
            return None
        if path.endswith(b"/locale-archive"):
            return 1
        plain, said = _plain(name(path)), _plain(self.wanted.name)
        return 0 if plain == said or (not said and name(parent(path)) == b"locale") else None

    def _font(self, path: bytes) -> int | None:
        if not path.lower().endswith((b".ttf", b".otf", b".ttc", b".pfb", b".pcf.gz", b".woff2")):
            return None
        return 0 if _plain(name(path)).startswith(_plain(self.wanted.name)) else None


def stem(path: bytes) -> bytes:
    """The last component up to its first dot, but for one at its beginning."""
    last = path.rstrip(b"/").rpartition(b"/")[2]
    dot = last.find(b".", 1)
    return last if dot < 0 else last[:dot]


def _is_bin(path: bytes) -> bool:
    return path.count(b"/") > 1 and name(parent(path)) in (b"bin", b"sbin", b"games")


def _plain(text: bytes) -> bytes:
    return re.sub(rb"[^a-z0-9]", b"", text.lower())


Found = Mapping[Wanted, "list[Gone]"]


def search(
    lists: Callable[[], Iterable[Gone]],
    leads: Iterable[Lead],
    wanted: Iterable[Wanted],
    here: Callable[[bytes], bool] = lambda path: False,
) -> Found:
    """The removed paths that fit best what was wanted, with what removed links among them lead to.

    `lists` reads the list from its beginning. `here` says whether a path is there all the same.
    """
    table = {each.link: each.end for each in leads}
    resolver = Resolver(table.get)
    matchers = [_Matcher(each, lambda path: resolver.resolve(path).end or path) for each in dict.fromkeys(wanted)]
    for matcher in matchers:  # a link that stays has the name that was asked for, and its end went
        matcher.exact |= {end for link, end in table.items() if matcher.rank(link) == 0}
    found = _pass(lists, matchers, here)
    for _ in range(_PASSES):
        following = dict(_followed(found, resolver))
        if not following:
            break
        for wanted_one, gone in _exactly(lists(), following, here):
            found[wanted_one].append(gone)
    return found


def _pass(
    lists: Callable[[], Iterable[Gone]], matchers: list[_Matcher], here: Callable[[bytes], bool]
) -> dict[Wanted, list[Gone]]:
    by_stem: dict[bytes, list[_Matcher]] = {}
    by_path: dict[bytes, list[_Matcher]] = {}
    every = [each for each in matchers if each.stems is None]
    for matcher in matchers:
        for each in matcher.stems or ():
            by_stem.setdefault(each, []).append(matcher)
        for path in matcher.exact:
            by_path.setdefault(path, []).append(matcher)
    best: dict[Wanted, tuple[int, list[Gone]]] = {}
    for gone in lists():
        candidates = dict.fromkeys((*by_path.get(gone.path, ()), *by_stem.get(stem(gone.path), ()), *every))
        for matcher in candidates:
            rank = matcher.rank(gone.path)
            if rank is None or here(gone.path):
                continue
            known = best.get(matcher.wanted)
            if known is None or rank < known[0]:
                best[matcher.wanted] = rank, [gone]
            elif rank == known[0] and len(known[1]) < _MOST:
                known[1].append(gone)
    return {each.wanted: best[each.wanted][1] for each in matchers if each.wanted in best}


def _followed(found: Found, resolver: Resolver) -> Iterator[tuple[bytes, list[Wanted]]]:
    """Where removed links lead that were found, if that was not found yet."""
    ends: dict[bytes, list[Wanted]] = {}
    for wanted, gone in found.items():
        known = {each.path for each in gone}
        for each in gone:
            if each.kind is GoneKind.LINK:
                end = resolver.resolve(join(parent(each.path), each.target)).end
                if end is not None and end not in known:
                    ends.setdefault(end, []).append(wanted)
    yield from ends.items()


def _exactly(
    gone: Iterable[Gone], following: Mapping[bytes, list[Wanted]], here: Callable[[bytes], bool]
) -> Iterator[tuple[Wanted, Gone]]:
    for each in gone:
        if each.path in following and not here(each.path):
            for wanted in following[each.path]:
                yield wanted, each
