"""Match many patterns against very many paths. Pure. Patterns mean what `algebra.pattern` says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from slimagent.paths.algebra import expression, from_text, pattern

_Test = Callable[[bytes], object]
_WILD = re.compile(rb"[*?]")
_NONE: tuple[int, ...] = ()


class _Names:
    """Match a name against the last components of some patterns.

    Patterns are indexed by the last two bytes of their matches, or the first two; the rest are always tried. Most names
    have other bytes and cost no call.
    """

    __slots__ = ("always", "heads", "tails")

    def __init__(self, parts: Iterable[tuple[int, bytes]]) -> None:
        self.tails: dict[bytes, list[tuple[int, bytes, _Test | None]]] = {}
        self.heads: dict[bytes, list[tuple[int, _Test]]] = {}
        self.always: list[tuple[int, _Test]] = []
        for which, part in parts:
            end = b"" if b"?" in part else part[part.rfind(b"*") + 1 :]
            if end:
                self._add_end(which, part, end)
            elif _WILD.search(part[:2]) or len(part) < 2:
                self.always.append((which, _union([expression(part)])))
            else:
                self.heads.setdefault(part[:2], []).append((which, _union([expression(part)])))

    def _add_end(self, which: int, part: bytes, end: bytes) -> None:
        test: _Test | None = None  # for `*.h` the ending suffices
        if end == part:
            test = part.__eq__
        elif len(end) < len(part) - 1:
            test = _union([expression(part)])
        tails = [end[-2:]]
        if len(end) == 1 and end != part:
            tails += [bytes([before]) + end for before in range(256)]
        for tail in tails:
            self.tails.setdefault(tail, []).append((which, end, test))

    def __call__(self, last: bytes) -> tuple[int, ...]:
        """The patterns that match, in any order."""
        found = _NONE
        for which, end, test in self.tails.get(last[-2:], ()):
            if last.endswith(end) and (test is None or test(last)):
                found += (which,)
        for which, test in (*self.heads.get(last[:2], ()), *self.always):
            if test(last):
                found += (which,)
        return found


class _Directories:
    """A state of an automaton over components, built as needed (Thompson's construction).

    It is a set of places in the patterns' directory parts. `steps` maps a component to the next state; `other` is the
    next state for components that no pattern names. `next` maps a pattern's component to places; `globs` are its keys
    with wildcards. The patterns in `whole` match everything below; `names` matches the last component.
    """

    __slots__ = ("globs", "names", "next", "other", "stay", "steps", "whole")

    def __init__(self) -> None:
        self.steps: dict[bytes, _Directories] = {}
        self.other: _Directories | None = None
        self.next: dict[bytes, list[int]] = {}
        self.globs: list[bytes] = []
        self.stay: frozenset[int] = frozenset()
        self.whole: tuple[int, ...] = ()
        self.names: _Names | None = None


class PathRules:
    """Many patterns for very many paths: the same answers as `pattern`, for a few lookups per path.

    A pattern is split into its directories and its last component. Directories of the image are matched once, from the
    result of the directory above; for a path only its name is left to match. A pattern with `**` inside a component, or
    twice in a row, is matched by its regular expression. Raises ValueError as `pattern` does.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._lasts: list[bytes] = []  # by pattern: its last component
        self._places: list[tuple[int, bytes | None]] = []  # (pattern, the directory that is next; None: past the last)
        self._plain: list[tuple[int, _Test]] = []
        self._states: dict[frozenset[int], _Directories] = {}
        self._names: dict[tuple[int, ...], _Names] = {}
        starts = []
        for which, text in enumerate(patterns):
            parts = from_text(text).split(b"/")
            self._lasts.append(parts[-1])
            if not _by_component(parts):
                self._plain.append((which, pattern(text).fullmatch))
                continue
            starts.append(len(self._places))
            self._places += [(which, part) for part in parts[1:-1]]
            self._places.append((which, None))
        globs = {part for _, part in self._places if part is not None and part != b"**" and _WILD.search(part)}
        self._globs = {part: _union([expression(part)]) for part in sorted(globs)}
        self._any_glob = _union([expression(part) for part in self._globs])
        self._any_plain = _union([expression(from_text(patterns[which])) for which, _ in self._plain])
        self._known = {b"": self._state(frozenset(self._close(starts)))}

    def matches(self, path: bytes) -> tuple[int, ...]:
        """The indices of all patterns that match the whole path, in order."""
        return next((found for _, found in self.scan((path,))), _NONE)

    def first(self, path: bytes) -> int | None:
        """The index of the first pattern that matches the whole path, or None."""
        return next(iter(self.matches(path)), None)

    def scan(self, paths: Iterable[bytes]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """For each path that matches: its index in `paths`, and the patterns that match, in order."""
        if not self._lasts:
            return
        known, union = self._known, self._any_plain if self._plain else None
        for at, path in enumerate(paths):
            directory, slash, last = path.rpartition(b"/")
            state = known.get(directory)
            if state is None or not slash:
                state = self._lead(directory) if slash else _NOWHERE
            found = state.whole
            names = state.names
            if names is not None and (last[-2:] in names.tails or last[:2] in names.heads or names.always):
                found += names(last)
            if union is not None and union(path):
                found += tuple(which for which, test in self._plain if test(path))
            if found:
                yield at, found if len(found) == 1 else tuple(sorted(found))

    def _lead(self, directory: bytes) -> _Directories:
        """The state of a directory, starting from the nearest known one above it."""
        above, unknown = directory, []
        while (state := self._known.get(above)) is None:
            above, slash, part = above.rpartition(b"/")
            if not slash:
                return _NOWHERE  # a relative path: patterns by component start at the root
            unknown.append(part)
        while unknown:
            part = unknown.pop()
            above += b"/" + part
            state = self._known[above] = state.steps.get(part) or self._step(state, part)
        return state

    def _step(self, state: _Directories, part: bytes) -> _Directories:
        places = list(state.next.get(part, ()))
        if self._any_glob(part):
            places += (place for glob in state.globs if self._globs[glob](part) for place in state.next[glob])
        if places:
            there = self._state(state.stay.union(self._close(places)))
        else:
            there = state.other = state.other or self._state(state.stay)
        state.steps[part] = there
        return there

    def _close(self, places: Iterable[int]) -> Iterator[int]:
        """These places, and the next one after each `**`, which may match no directory at all."""
        for place in places:
            yield place
            if self._places[place][1] == b"**":
                yield place + 1

    def _state(self, places: frozenset[int]) -> _Directories:
        found = self._states.get(places)
        if found is None:
            found = self._states[places] = self._new(sorted(places))
        return found

    def _new(self, places: Sequence[int]) -> _Directories:
        state = _Directories()
        stay, names, whole = [], [], []
        for place in places:
            which, part = self._places[place]
            if part is None and self._lasts[which] == b"**":
                whole.append(which)
                stay.append(place)
            elif part is None:
                names.append(which)
            elif part == b"**":
                stay.append(place)
            else:
                state.next.setdefault(part, []).append(place + 1)
        state.globs = [part for part in state.next if part in self._globs]
        state.stay, state.whole = frozenset(self._close(stay)), tuple(whole)
        if names:
            key = tuple(names)
            if key not in self._names:
                self._names[key] = _Names((which, self._lasts[which]) for which in names)
            state.names = self._names[key]
        return state


_NOWHERE = _Directories()


def _by_component(parts: Sequence[bytes]) -> bool:
    """Whether a pattern starts at the root, and each `**` is a component that follows another kind of component."""
    if len(parts) < 2 or parts[0]:
        return False
    return not any(b"**" in part and (part != b"**" or before == b"**") for before, part in pairwise(parts))


def _union(expressions: Sequence[bytes]) -> _Test:
    """A test whether any of some regular expressions matches the whole. False without expressions."""
    return re.compile(b"|".join(expressions) if expressions else rb"(?!)", re.DOTALL).fullmatch
