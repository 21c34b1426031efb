"""Path algebra over bytes: normalise, follow links, match patterns, write any name as text. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

# The usual PATH of an image, for when it does not set one.
USUAL_PATH = (b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin")
MAXIMUM_LINKS = 40  # path_resolution(7): a lookup that follows more links fails with ELOOP


def normalise(path: bytes) -> bytes:
    """Collapse `//` and `/./` of an absolute path and drop a trailing slash. `..` stays: it may follow a link.

    >>> normalise(b"/usr//lib/./x/../y/")
    b'/usr/lib/x/../y'
    """
    if b"//" not in path and b"/." not in path and path[-1:] != b"/":
        return path
    return b"/" + b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def join(directory: bytes, path: bytes) -> bytes:
    """`path` as seen from `directory`, normalised."""
    return normalise(path if path[:1] == b"/" else directory + b"/" + path)


def parent(path: bytes) -> bytes:
    """The directory of `path`. The root is its own parent."""
    return path[: path.rindex(b"/")] or b"/"


def ancestors(path: bytes) -> Iterator[bytes]:
    """The directories above an absolute path, nearest first. The root has none."""
    while path != b"/":
        path = parent(path)
        yield path


def name(path: bytes) -> bytes:
    """The last component."""
    return path[path.rindex(b"/") + 1 :]


def within(path: bytes, directory: bytes) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return directory == b"/" or path == directory or path.startswith(directory + b"/")


def within_any(path: bytes, directories: Iterable[bytes]) -> bool:
    """Whether `path` is one of `directories` or lies below one."""
    return any(within(path, directory) for directory in directories)


def sort_key(path: bytes) -> tuple[bytes, ...]:
    """Sort by components: a directory comes right before its contents."""
    return tuple(path.split(b"/"))


# PEP 3147: NAME.TAG.pyc or NAME.TAG.opt-N.pyc. NAME can contain dots, and so can a test runner's TAG.
_TAGGED = re.compile(rb"(.+)\.(?!opt-)[a-z]+-?\d[^/]*\.pyc", re.DOTALL)
_OCTAL = re.compile(rb"\\([0-7]{3})")


def source_of(compiled: bytes) -> bytes:
    """The source of a bytecode file: PEP 3147's `__pycache__/NAME.TAG.pyc`, or the old `NAME.pyc` beside it."""
    directory, last = parent(compiled), name(compiled)
    if directory.endswith(b"/__pycache__"):
        tagged = _TAGGED.fullmatch(last)
        return join(parent(directory), (last[: -len(b".pyc")] if tagged is None else tagged[1]) + b".py")
    return compiled[:-1]


class Resolution(NamedTuple):
    """Where a path leads: the symbolic links on its way, and its end (None for a loop)."""

    hops: tuple[bytes, ...]
    end: bytes | None


class Resolver:
    """Follow symbolic links as the kernel does (path_resolution(7)), in a link table instead of on disk.

    `link` returns a path's target, or None if it is not a link. Directories are resolved once and remembered, so a path
    usually costs one lookup of its last component. As in the kernel, all links of a lookup count against the limit, not
    only those of one chain: otherwise two dozen links can take millions of steps.
    """

    def __init__(self, link: Callable[[bytes], bytes | None]) -> None:
        self._link = link
        self._directories: dict[bytes, Resolution] = {b"/": Resolution((), b"/")}

    def resolve(self, path: bytes, *, follow: bool = True) -> Resolution:
        """Resolve a path. With `follow=False` a link at the very end is not followed.

        Every name that is not a link counts as a directory, so paths that the kernel refuses have an end here too.
        """
        path = normalise(path)
        if path == b"/":
            return self._directories[path]
        directory = parent(path)
        known = self._directories.get(directory)
        if known is None:
            known = self._directories[directory] = self._walk(self._directories[b"/"], directory, True)
        return known if known.end is None else self._walk(known, name(path), follow)

    def _walk(self, start: Resolution, path: bytes, follow: bool) -> Resolution:
        """Walk from `start` along `path`, iteratively: no chain of links can exhaust the stack or take for ever."""
        here, hops = start.end or b"/", list(start.hops)
        ahead = path.split(b"/")[::-1]
        while ahead:
            part = ahead.pop()
            if part == b"..":
                here = parent(here)
            if part in (b"", b".", b".."):
                continue
            there = (here if here != b"/" else b"") + b"/" + part
            target = self._link(there)
            if target is None or not (follow or ahead):
                here = there
                continue
            hops.append(there)
            if len(hops) > MAXIMUM_LINKS:
                return Resolution(tuple(hops), None)
            if target[:1] == b"/":
                here = b"/"
            ahead += target.split(b"/")[::-1]
        return Resolution(tuple(hops), here)


def to_text(path: bytes) -> str:
    r"""Write any file name as printable, unambiguous text: controls and non-UTF-8 become `\xNN`, and `\` doubles.

    >>> to_text(b"latin1-\xe9")
    'latin1-\\xe9'
    """
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        text = path.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


# Controls and non-ASCII: what is printable depends on the Unicode version of the Python that wrote it.
_ESCAPED = re.compile(rb"\\(\\|x(?:[01][0-9a-f]|7f|[89a-f][0-9a-f]))")


def from_text(text: str) -> bytes:
    """The inverse of `to_text`. Raises ValueError for an escape that `to_text` does not write, and for NUL."""
    data = text.encode("utf-8")
    if b"\\" in data:
        if b"\\" in _ESCAPED.sub(b"", data):
            raise ValueError(f"not an escaped path: {text!r}")
        data = _ESCAPED.sub(lambda match: _unescape(match[1]), data)
    if b"\0" in data:
        raise ValueError(f"a path cannot hold a NUL byte: {text!r}")
    return data


def _unescape(code: bytes) -> bytes:
    return b"\\" if code == b"\\" else bytes([int(code[1:], 16)])


def pattern(text: str) -> re.Pattern[bytes]:
    """Compile a path pattern: `*` and `?` (one byte) match within a component, `**` matches across components.

    `/etc/**` matches everything below `/etc`, `/usr/**/libnss_*.so*` any depth below `/usr`. Raises ValueError as
    `from_text` does.
    """
    return re.compile(expression(from_text(text)), re.DOTALL)


def expression(data: bytes) -> bytes:
    """The regular expression of a pattern or of one component, for DOTALL and fullmatch."""
    out, at = b"", 0
    while at < len(data):
        if data[at : at + 4] == b"/**/":
            out, at = out + b"/(?:.*/)?", at + 4
        elif data[at : at + 2] == b"**":
            out, at = out + b".*", at + 2
        elif data[at : at + 1] == b"*":
            out, at = out + b"[^/]*", at + 1
        elif data[at : at + 1] == b"?":
            out, at = out + b"[^/]", at + 1
        else:
            out, at = out + re.escape(data[at : at + 1]), at + 1
    return out


def mounted(mountinfo: bytes) -> list[bytes]:
    """The mount points of /proc/PID/mountinfo (proc_pid_mountinfo(5)): the fifth field, unescaped."""
    points = []
    for line in mountinfo.split(b"\n"):
        fields = line.split(b" ")
        if len(fields) > 4:
            points.append(_OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), fields[4]))
    return points


def area(path: bytes) -> bytes:
    """The directory, at most two levels deep, with which a file that no package owns counts.

    >>> area(b"/opt/app/lib/x.py"), area(b"/opt/x"), area(b"/x")
    (b'/opt/app', b'/opt', b'/')
    """
    if path.count(b"/") > 2:
        return b"/".join(path.split(b"/")[:3])
    return path[: path.rindex(b"/")] or b"/"
