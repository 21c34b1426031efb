"""What the RUNs of an image rely on, as far as their lines say it: what a RUN names must be there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from slimagent.audit.by_layer import is_copied, told
from slimagent.audit.known import Known
from slimagent.paths.algebra import ancestors
from slimagent.paths.patterns import PathRules

_WORDS = re.compile(r"""[;&|(){}]|(?:\$\{\w+\}|[^\s;&|(){}"'`])+""")  # of a shell, and what stands between its commands
_BETWEEN = frozenset(";&|(){}")
_PARTS = re.compile("[/=:,]")
_PATHS = re.compile(r"/[^\s\"'`<>,:=;&|()]*")
_ANY = re.compile(r"\[[^\[\]/]*\]|\{[^{}/]*\}|\$\{?\w+\}?|\*+")  # what can be any characters of a name
_REMOVE = frozenset({"rm", "rmdir", "unlink"})
# They need what they name, but nothing in particular below it.
_ONLY_ITSELF = frozenset({"chgrp", "chmod", "chown", "du", "ls", "mkdir", "stat", "test", "["})
_RUN = frozenset({"-exec", "-execdir", "-ok"})  # of find(1)
# Directories that many an image has: a RUN that works there, or in a home, does not need all that is below.
_STANDING = re.compile(
    r"/[^/]*|/(?:home|usr|var)/[^/]+|/usr/local/[^/]+|/(?:root|home/[^/]+)/\.[^/]+"
    r"|(?:/usr)?(?:/local)?/(?:lib|include)/(?:[^/]+-linux-[^/]+|python[^/]*(?:/(?:dist|site)-packages)?)"
    r"|/usr(?:/local)?/share/(?:doc|fonts|icons|info|licenses|locale|man(?:/man[^/]*)?)"
    r"|/var/(?:cache|lib)/(?:apt|dpkg)(?:/.*)?"
)
_APT = frozenset({"apt", "apt-get", "aptitude"})
_FROM_LISTS = frozenset(
    {"install", "reinstall", "satisfy", "build-dep", "source", "download"}
    | {"upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade"}
)


class _Named(NamedTuple):
    """What some RUNs name: paths, the same with all below, words, and the directories of which they need all below."""

    paths: PathRules
    below: PathRules
    needed: PathRules
    words: frozenset[bytes]


class Later:
    """What the RUNs after a layer name."""

    def __init__(self, known: Known) -> None:
        count = len(known.layers.layers)
        self._lines = ["" if is_copied(known, layer) else told(known, layer) for layer in range(count)]
        self._after: dict[int, _Named] = {}

    def names(self, path: bytes, layer: int, loosely: bool) -> bool:
        """Whether a RUN after this layer names a path, or a directory that it is in. After `UNKNOWN` are all RUNs.

        A directory that every system has counts only `loosely`, and so does any part of the path: nobody knows in
        which directory a RUN works.
        """
        named = self._named_after(layer)
        if named is None:
            return False
        if named.paths.first(path) is not None or self.directory(path, layer) is not None:
            return True
        return loosely and (not named.words.isdisjoint(path.split(b"/")[2:]) or named.below.first(path) is not None)

    def directory(self, path: bytes, layer: int) -> bytes | None:
        """The innermost directory above a path that a RUN after this layer needs with all that is below it."""
        named = self._named_after(layer)
        if named is None:
            return None
        return next((each for each in ancestors(path) if named.needed.first(each) is not None), None)

    def is_named(self, path: bytes, layer: int) -> bool:
        """Whether a RUN after this layer names this very path."""
        named = self._named_after(layer)
        return named is not None and named.paths.first(path) is not None

    def _named_after(self, layer: int) -> _Named | None:
        if layer >= len(self._lines) - 1:
            return None
        if layer not in self._after:
            self._after[layer] = _named(" ; ".join(self._lines[layer + 1 :]))
        return self._after[layer]


def _named(text: str) -> _Named:
    words, paths, needed = set[bytes](), set[str](), set[str]()
    for command in _commands(text):
        if command[0].rpartition("/")[2] in _REMOVE:
            continue  # that they are gone by then does no harm
        words.update(part.encode() for each in command for part in _PARTS.split(each))
        some = {_path(each) for word in command for each in _PATHS.findall(word)}
        paths |= some
        if not _is_for_itself(command):
            needed.update(each for each in some if not _STANDING.fullmatch(each))
    plain = sorted(each for each in paths if each and "\\" not in each)
    return _Named(
        PathRules(plain),
        PathRules([f"{each}/**" for each in plain]),
        PathRules(sorted(needed.intersection(plain))),
        frozenset(words),
    )


def _is_for_itself(command: list[str]) -> bool:
    """Whether a command needs the directories that it names, but no file in them: a find(1) that removes does not.

    >>> [_is_for_itself(each.split()) for each in ("chown a /x", "find /x -delete", "find /x -exec rm", "cp -r /x .")]
    [True, True, True, False]
    """
    called = command[0].rpartition("/")[2]
    if called != "find":
        return called in _ONLY_ITSELF
    runs = {after for word, after in pairwise(command) if word in _RUN}
    return runs <= _REMOVE and (bool(runs) or "-delete" in command)


def _path(text: str) -> str:
    """A path in a command as a pattern; empty for the root, which names no file.

    >>> _path("/tmp/a-$VERSION/*.sh"), _path("/tmp/"), _path("//")
    ('/tmp/a-*/*.sh', '/tmp', '')
    """
    return re.sub(r"\*+", "*", _ANY.sub("*", re.sub("/+", "/", text))).rstrip("/")


def _commands(text: str) -> Iterator[list[str]]:
    """The commands of a line, each with its words."""
    command: list[str] = []
    for word in [*_WORDS.findall(text), ";"]:
        if word not in _BETWEEN:
            command.append(word)
        elif command:
            yield command
            command = []


def without_update(known: Known) -> Iterator[str]:
    """A comment for each RUN that installs from lists of packages that an earlier layer has, which are gone then."""
    for layer in range(len(known.layers.layers)):
        if _needs_lists(told(known, layer)):
            yield f"# layer {layer + 1} then needs apt-get update first: it has none"


def _needs_lists(text: str) -> bool:
    """Whether a command takes packages from lists before it fetches any.

    >>> [_needs_lists(each) for each in ("apt-get -y build-dep z", "apt update && apt install z", "npm install apt")]
    [True, False, False]
    """
    for command in _commands(text):
        is_apt = False
        for word in command:
            is_apt |= word.rpartition("/")[2] in _APT
            if is_apt and word == "update":
                return False
            if is_apt and word in _FROM_LISTS:
                return True
    return False
