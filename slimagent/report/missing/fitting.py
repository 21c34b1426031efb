"""How well a removed path fits what a program did not find. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from slimagent.model.missing import Wanted, WantedKind
from slimagent.paths.algebra import Resolver, join, name, normalise, parent

_PYTHON_PLACES = re.compile(rb"(?:site|dist)-packages|python[0-9.]*|lib-dynload|python[0-9.]+t", re.DOTALL)
_PYTHON_ENDINGS = re.compile(rb"(?:\.[\w-]+)?\.(?:so|pyd)|\.pyc?", re.DOTALL)
_ELSEWHERE = 100  # the rank of a module where Python looks only if it is told to
_NOT_LETTERS = re.compile(rb"[^a-z]+")
_COMMON = frozenset(
    (b"org", b"com", b"net", b"io", b"java", b"jar", b"lib", b"main", b"api", b"core", b"impl", b"util")
)
_LOCALES = re.compile(rb".*/lib(?:32|64)?/locale/(?:locale-archive|[^/]+(?:/LC_[^/]+)*(?:/[^/]+)?)", re.DOTALL)
_FONTS = (b".ttf", b".otf", b".ttc", b".pfb", b".pcf.gz", b".woff2")
_LETTERS = 4  # of a font's name that have to be the same

Rank = Callable[[bytes], "int | None"]
Key = tuple["WantedKind | None", bytes]


class Matcher:
    """Tells how well a path fits what was wanted: 0 is best, None is not at all.

    Only a path of `exact`, or one that has one of the `keys`, can fit. `exact` has the rank of a path whatever its
    name.
    """

    def __init__(self, wanted: Wanted, resolver: Resolver, *, above: bool = False) -> None:
        """The link table of `resolver` is that of the image. `above`: the directory of a path that is wanted fits."""
        self.wanted = wanted
        self.exact: dict[bytes, int] = {}
        self._fits: Rank
        title, kind = wanted.name, wanted.kind
        stems: Iterable[bytes] = (title,)
        if kind is WantedKind.PATH:
            self._fits = self._path(resolver, above)
            stems = (title.rstrip(b"/"),)
        elif kind is WantedKind.PYTHON:
            self._parts, self._whole = title.replace(b":", b".").split(b"."), b":" in title
            self._fits = self._python
            stems = (self._parts[-1], self._parts[0], b"__init__")
        elif kind is WantedKind.R:
            self._fits, stems = self._r, (title, b"DESCRIPTION")
        elif kind is WantedKind.JAVA:
            *package, last = title.split(b".")
            self._words = _words(package)
            self._fits, stems = self._java, (last,)
        else:
            self._fits = _BY_KIND[kind](title)
        keys: set[Key] = {(None, stem(each)) for each in stems}
        if kind in KEYS:
            keys |= {(kind, each) for each in self._own_keys()}
        self.keys: frozenset[Key] = frozenset(keys)

    def rank(self, path: bytes) -> int | None:
        """How well a path fits."""
        known = self.exact.get(path)
        return known if known is not None else self._fits(path)

    def _own_keys(self) -> Iterable[bytes]:
        title = self.wanted.name
        if self.wanted.kind is WantedKind.NODE:
            return (_node_package(title),)
        if self.wanted.kind is WantedKind.JAVA:
            return self._words
        if self.wanted.kind is WantedKind.FONT:
            plain = _plain(title)
            return (plain if len(plain) < _LETTERS else plain[:_LETTERS],) if plain else ()
        return (b"",)

    def _path(self, resolver: Resolver, above: bool) -> Rank:
        title = self.wanted.name
        if title[:1] == b"/":
            hops, end = resolver.resolve(title)
            ends = (normalise(title), *hops, *(() if end is None else (end,)))
            if above and title.strip(b"/"):
                self.exact[parent(ends[-1])] = 1
            self.exact.update(dict.fromkeys(ends, 0))
            return lambda path: None
        tail = join(b"/", title)
        while tail.startswith((b"/../", b"/./")):  # where it began is unknown
            tail = tail[tail.index(b"/", 1) :]
        return lambda path: 1 if path.endswith(tail) else None

    def _python(self, path: bytes) -> int | None:
        """The module itself; else the package that it is in, or what is above that."""
        parts, found = self._parts, path[1:].split(b"/")
        if found[-2:-1] == [b"__pycache__"]:
            return None
        last, dot, ending = found[-1].partition(b".")
        is_module = bool(dot) and _PYTHON_ENDINGS.fullmatch(dot + ending) is not None
        if dot and not is_module:
            return None
        found[-1:] = [] if is_module and last == b"__init__" else [last]
        for length in range(len(parts), 0, -1):
            if found[-length:] != parts[:length]:
                continue
            missed = len(parts) - length
            if self._whole and missed:
                return None
            if len(found) > length and _PYTHON_PLACES.fullmatch(found[-length - 1]):
                return missed
            is_own = is_module and not missed and not any(map(_PYTHON_PLACES.fullmatch, found))
            return _ELSEWHERE if is_own else None
        return None

    def _r(self, path: bytes) -> int | None:
        home = parent(path) if name(path) == b"DESCRIPTION" else path
        above = name(parent(home)) if home != b"/" else b""
        return 0 if name(home) == self.wanted.name and (b"library" in above or home != path) else None

    def _java(self, path: bytes) -> int | None:
        if path.endswith(b"/" + self.wanted.name.replace(b".", b"/") + b".class"):
            return 0
        common = len(self._words.intersection(_jar(path)))
        return 10 - min(common, 5) if common else None


def stem(path: bytes) -> bytes:
    """The last component up to its first dot, but for one at its beginning."""
    last = path.rstrip(b"/").rpartition(b"/")[2]
    dot = last.find(b".", 1)
    return last if dot < 0 else last[:dot]


def _command(title: bytes) -> Rank:
    return lambda path: 0 if name(path) == title and _is_bin(path) else None


def _is_bin(path: bytes) -> bool:
    return path.count(b"/") > 1 and name(parent(path)) in (b"bin", b"sbin", b"games")


def _library(title: bytes) -> Rank:
    longer = title + b"." if b".so" in title else None

    def fits(path: bytes) -> int | None:
        last = name(path)
        if last == title:
            return 0
        return 1 if longer is not None and last.startswith(longer) else None

    return fits


def _node(title: bytes) -> Rank:
    whole, debian = b"/node_modules/" + title, b"/nodejs/" + title  # where Debian has modules

    def fits(path: bytes) -> int | None:
        at = path.rfind(whole)
        if at >= 0:
            rest = path[at + len(whole) :]
            if rest in (b"", b"/package.json", b".js", b".json", b".node", b"/index.js"):
                return 0
            return 1 if rest.startswith(b"/") and rest.endswith((b".js", b".cjs", b".mjs", b".json")) else None
        return 0 if path.endswith((debian, debian + b"/package.json", debian + b".js")) else None

    return fits


def _node_package(title: bytes) -> bytes:
    """The package of a module: with its scope, if it has one."""
    parts = title.split(b"/", 2)
    return b"/".join(parts[:2]) if title[:1] == b"@" else stem(parts[0])


def _node_keys(path: bytes) -> Iterator[bytes]:
    for place in (b"/node_modules/", b"/nodejs/"):
        at = path.find(place)
        while at >= 0:
            yield _node_package(path[at + len(place) :])
            at = path.find(place, at + 1)


def _words(parts: Iterable[bytes]) -> frozenset[bytes]:
    """The words by which a package or a jar can be known."""
    lower = [each.lower() for each in parts]
    whole = {*lower, *(word for each in lower for word in _NOT_LETTERS.split(each))}
    return frozenset(whole - _COMMON - {b""})


def _jar(path: bytes) -> Iterable[bytes]:
    return frozenset(_NOT_LETTERS.split(name(path).lower())) - _COMMON - {b""} if path.endswith(b".jar") else ()


def _zone(title: bytes) -> Rank:
    return lambda path: 0 if path.endswith(b"/zoneinfo/" + title) else None


def _locale(title: bytes) -> Rank:
    said = _plain(title)

    def fits(path: bytes) -> int | None:
        if not _LOCALES.fullmatch(path):
            return None
        if path.endswith(b"/locale-archive"):
            return 1
        return 0 if _plain(name(path)) == said or (not said and name(parent(path)) == b"locale") else None

    return fits


def _font(title: bytes) -> Rank:
    said = _plain(title)

    def fits(path: bytes) -> int | None:
        if not said or not path.lower().endswith(_FONTS):
            return None
        there = _plain(stem(path))
        return 0 if there == said or (len(said) >= _LETTERS and there.startswith(said)) else None

    return fits


def _font_keys(path: bytes) -> Iterable[bytes]:
    if not path.lower().endswith(_FONTS):
        return ()
    plain = _plain(stem(path))
    return (plain, plain[:_LETTERS])


def _plain(text: bytes) -> bytes:
    return re.sub(rb"[^a-z0-9]", b"", text.lower())


_BY_KIND: Mapping[WantedKind, Callable[[bytes], Rank]] = {
    WantedKind.COMMAND: _command,
    WantedKind.LIBRARY: _library,
    WantedKind.NODE: _node,
    WantedKind.TIME_ZONE: _zone,
    WantedKind.LOCALE: _locale,
    WantedKind.FONT: _font,
}
# By what a path that can fit is found for kinds where its stem does not tell.
KEYS: Mapping[WantedKind, Callable[[bytes], Iterable[bytes]]] = {
    WantedKind.NODE: _node_keys,
    WantedKind.JAVA: _jar,
    WantedKind.FONT: _font_keys,
    WantedKind.LOCALE: lambda path: (b"",) if _LOCALES.fullmatch(path) else (),
}
