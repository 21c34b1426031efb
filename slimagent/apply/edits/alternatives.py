"""The administrative file of one group of alternatives: bytes to a Group and back. Pure.

Format: update-alternatives(1), and alternative_load and alternative_save of its source. Lines: `auto` or `manual`, the
generic link, for every slave its name and its generic link, and an empty line; then for every choice its path, its
priority and its file for each slave (empty for none), and an empty line at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slimagent.apply.edits.package_databases import NotUnderstoodError

DIRECTORY = b"/etc/alternatives"

_PRIORITY = re.compile(rb"[-+]?[0-9]{1,10}")
_RANGE = 1 << 31
_LONGEST_PATH, _LONGEST_NAME = 4095, 255  # bytes (PATH_MAX and NAME_MAX of <linux/limits.h>)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slave:
    """A link that follows the master's: `name` in /etc/alternatives, and its generic `link`."""

    name: bytes
    link: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A program to choose, with its file for each slave of the group, empty for none."""

    path: bytes
    priority: bytes
    files: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The contents of one file."""

    status: bytes
    link: bytes
    slaves: tuple[Slave, ...]
    choices: tuple[Choice, ...]

    def best(self) -> Choice | None:
        """The first choice with the highest priority."""
        return max(self.choices, key=lambda choice: int(choice.priority), default=None)


def parse(data: bytes) -> Group:
    """Parse an administrative file. Raises NotUnderstoodError for one that update-alternatives did not write."""
    lines = data.split(b"\n")
    if lines.pop() or b"\0" in data or max(map(len, lines), default=0) > _LONGEST_PATH:
        raise NotUnderstoodError("does not end with an empty line, as update-alternatives writes it")
    rest = iter(lines)
    try:
        status, link = next(rest), next(rest)
        slaves = tuple(_slaves(rest))
        choices = tuple(_choices(rest, len(slaves)))
    except StopIteration:
        raise NotUnderstoodError("was cut short") from None
    if status not in (b"auto", b"manual") or next(rest, None) is not None:
        raise NotUnderstoodError("is not as update-alternatives writes it")
    group = Group(status=status, link=link, slaves=slaves, choices=choices)
    _require_sound(group)
    return group


def _slaves(lines: Iterator[bytes]) -> list[Slave]:
    found = []
    while name := next(lines):
        found.append(Slave(name=name, link=next(lines)))
    return found


def _choices(lines: Iterator[bytes], slaves: int) -> list[Choice]:
    found = []
    while path := next(lines):
        priority = next(lines)
        if not _PRIORITY.fullmatch(priority) or not -_RANGE <= int(priority) < _RANGE:
            raise NotUnderstoodError("has a priority that is not a number")
        found.append(Choice(path=path, priority=priority, files=tuple([next(lines) for _ in range(slaves)])))
    return found


def _require_sound(group: Group) -> None:
    links = [group.link, *(slave.link for slave in group.slaves)]
    names, paths = [slave.name for slave in group.slaves], [choice.path for choice in group.choices]
    for name in names:
        if b"/" in name or name in (b".", b"..") or len(name) > _LONGEST_NAME:
            raise NotUnderstoodError("has a slave with a name that is not a file name")
    files = [file for choice in group.choices for file in choice.files if file]
    if not all(path.startswith(b"/") for path in (*links, *paths, *files)):
        raise NotUnderstoodError("has a path that is not absolute")
    if any(len(set(each)) != len(each) for each in (links, names, paths)):
        raise NotUnderstoodError("says something twice")


def put(group: Group) -> bytes:
    """A group as an administrative file. Slaves for which no choice has a file are left out, as the program does."""
    used = [at for at in range(len(group.slaves)) if any(choice.files[at] for choice in group.choices)]
    lines = [group.status, group.link]
    for at in used:
        lines += [group.slaves[at].name, group.slaves[at].link]
    lines.append(b"")
    for choice in group.choices:
        lines += [choice.path, choice.priority, *(choice.files[at] for at in used)]
    lines.append(b"")
    return b"\n".join(lines) + b"\n"
