"""Find what was removed for what a program missed: one pass over a list, a hash look-up for each path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from slimagent.model.missing import Wanted
from slimagent.model.removed import Gone, GoneKind, Lead
from slimagent.paths.algebra import Resolver
from slimagent.report.missing.fitting import KEYS, Key, Matcher, stem

_PASSES = 8  # how far links are followed from what was found
_MOST = 500  # paths for one name

Found = Mapping[Wanted, "list[Gone]"]


def links(leads: Iterable[Lead], gone: Iterable[Gone]) -> dict[bytes, bytes]:
    """The link table of the image, as far as a list has it: the links that stay and lead somewhere, those that went."""
    return {
        **{each.link: each.end for each in leads},
        **{each.path: each.target for each in gone if each.kind is GoneKind.LINK},
    }


def search(
    lists: Callable[[], Iterable[Gone]],
    leads: Iterable[Lead],
    wanted: Iterable[Wanted],
    here: Callable[[bytes], bool] = lambda path: False,
    *,
    above: bool = False,
) -> Found:
    """The removed paths that fit best what was wanted, with the removed links on the way and what they lead to.

    `lists` reads the list from its beginning. `here` says whether a path is there all the same. `above`: a directory
    that went answers for a path in it that the list does not have.
    """
    table = links(leads, lists())
    resolver = Resolver(table.get)
    matchers = [Matcher(each, resolver, above=above) for each in dict.fromkeys(wanted)]
    index = _Index(matchers)
    fitting = [(matcher, link) for link in table for matcher in index.of(link) if matcher.rank(link) == 0]
    for matcher, link in fitting:  # a link has the name that was asked for, and its end went
        index.expect(matcher, resolver.resolve(link).end)
    found = _pass(lists, index, here)
    for _ in range(_PASSES):
        following = dict(_followed(found, resolver))
        if not following:
            break
        for each in lists():
            if each.path in following and not here(each.path):
                for wanted_one in following[each.path]:
                    found[wanted_one].append(each)
    return found


class _Index:
    """Which matchers a path can fit, without asking each."""

    def __init__(self, matchers: list[Matcher]) -> None:
        self.matchers = matchers
        self._by_path: dict[bytes, list[Matcher]] = {}
        self._by_key: dict[Key, list[Matcher]] = {}
        for matcher in matchers:
            for path in matcher.exact:
                self._by_path.setdefault(path, []).append(matcher)
            for key in matcher.keys:
                self._by_key.setdefault(key, []).append(matcher)
        self._kinds = [kind for kind in KEYS if any(kind is each.wanted.kind for each in matchers)]

    def expect(self, matcher: Matcher, path: bytes | None) -> None:
        """Let a path fit a matcher best, whatever its name."""
        if path is not None:
            matcher.exact[path] = 0
            self._by_path.setdefault(path, []).append(matcher)

    def of(self, path: bytes) -> Iterable[Matcher]:
        """Those that it can fit, each once."""
        keys: list[Key] = [(None, stem(path)), *((kind, each) for kind in self._kinds for each in KEYS[kind](path))]
        by_key = (self._by_key.get(key, ()) for key in keys)
        return dict.fromkeys(chain(self._by_path.get(path, ()), *by_key))


def _pass(
    lists: Callable[[], Iterable[Gone]], index: _Index, here: Callable[[bytes], bool]
) -> dict[Wanted, list[Gone]]:
    best: dict[Wanted, tuple[int, list[Gone]]] = {}
    for gone in lists():
        for matcher in index.of(gone.path):
            rank = matcher.rank(gone.path)
            if rank is None or here(gone.path):
                continue
            known = best.get(matcher.wanted)
            if known is None or rank < known[0]:
                best[matcher.wanted] = rank, [gone]
            elif rank == known[0] and len(known[1]) < _MOST:
                known[1].append(gone)
    return {each.wanted: best[each.wanted][1] for each in index.matchers if each.wanted in best}


def _followed(found: Found, resolver: Resolver) -> Iterator[tuple[bytes, list[Wanted]]]:
    """Where removed links lead that were found, and over which others, if that was not found yet."""
    ends: dict[bytes, list[Wanted]] = {}
    for wanted, gone in found.items():
        known = {each.path for each in gone}
        for each in gone:
            if each.kind is GoneKind.LINK:
                hops, end = resolver.resolve(each.path)
                for path in dict.fromkeys((*hops, *(() if end is None else (end,)))):
                    if path not in known:
                        ends.setdefault(path, []).append(wanted)
    yield from ends.items()
