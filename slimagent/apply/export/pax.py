"""Headers of a tar archive, in the pax interchange format (POSIX.1-2017, utility `pax`, EXTENDED DESCRIPTION). Pure.

An entry is a ustar header of 512 bytes. What does not fit there (long names, fractions of a second, names that are not
ASCII, extended attributes) goes before it in an extended header of `length key=value` records. Extended attributes are
`SCHILY.xattr.NAME` records, which GNU tar, libarchive and Docker read. An access control list is written twice, also as
a `SCHILY.acl` record: engines read only the first, libarchive only the second, GNU tar what its options name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slimagent.linux import posix_acl

BLOCK = 512
END = bytes(2 * BLOCK)  # two blocks of zeros end an archive

FILE, HARD_LINK, SYMBOLIC_LINK = b"0", b"1", b"2"
CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = b"3", b"4", b"5", b"6"
EXTENDED, GLOBAL = b"x", b"g"
COMMENT = b"Written by slimagent"  # so that we may replace it: cli/writing.py

_MAGIC = b"ustar\0" + b"00" + bytes(64)  # the version, and empty names of owner and group
_SECOND = 1_000_000_000
ACCESS, DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"
_ACCESS_LISTS = {ACCESS: b"SCHILY.acl.access", DEFAULT: b"SCHILY.acl.default"}
_AMBIGUOUS = re.compile(rb"%(?=25|3D)")  # GNU tar would read these as escapes
_SMALL, _LARGE = 8**7, 8**11  # the first numbers that do not fit into an octal field of 8 and of 12 bytes


@dataclass(slots=True, kw_only=True)
class Member:
    """One entry: names as raw bytes, `size` in bytes of the contents after the header, the time in nanoseconds."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    link: bytes = b""
    device: tuple[int, int] | None = None
    attributes: tuple[tuple[bytes, bytes], ...] = ()


def header(member: Member, *, escape: bool = True) -> bytes:
    """The blocks before an entry's contents: the extended header if one is needed, then the ustar header.

    `escape`: write the names of attributes for GNU tar, else for engines. The two differ for a name with `%25`, `%3D`
    or `=` in it; engines cannot read the last at all.
    """
    records = _records(member, escape=escape)
    block = _ustar(member)
    return extended(records) + block if records else block


def padding(size: int) -> int:
    """The number of zeros after contents of `size` bytes."""
    return -size % BLOCK


def commented() -> bytes:
    """A comment on the whole archive, which readers pass over (the global extended header `comment`)."""
    return extended([(b"comment", COMMENT)], GLOBAL)


def extended(records: list[tuple[bytes, bytes]], kind: bytes = EXTENDED) -> bytes:
    """An extended header with these records, in this order."""
    body = b"".join(_record(key, value) for key, value in records)
    carrier = Member(name=b"././@PaxHeader", kind=kind, mode=0, uid=0, gid=0, mtime_ns=0, size=len(body))
    return _ustar(carrier) + body + bytes(padding(len(body)))


def _record(key: bytes, value: bytes) -> bytes:
    """One record. Its length includes its own digits, so finding it can take two steps."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _records(member: Member, *, escape: bool) -> list[tuple[bytes, bytes]]:
    records = _names(member)
    for key, number, limit in (
        (b"uid", member.uid, _SMALL),
        (b"gid", member.gid, _SMALL),
        (b"size", member.size, _LARGE),
    ):
        if number >= limit:
            records.append((key, b"%d" % number))
    if member.mtime_ns % _SECOND or not 0 <= member.mtime_ns < _LARGE * _SECOND:
        records.append((b"mtime", _seconds(member.mtime_ns)))
    for name, value in sorted(member.attributes):
        records.append((b"SCHILY.xattr." + (_escaped(name) if escape else name), value))
        if name in _ACCESS_LISTS and (text := _list_text(value)):
            records.append((_ACCESS_LISTS[name], text))
    return records


def _list_text(value: bytes) -> bytes:
    """An access control list in the text form of acl(5); empty if it has no entries or is not a list."""
    try:
        posix_acl.parse(value)
    except ValueError:
        return b""
    return posix_acl.text(value).encode()


def _escaped(name: bytes) -> bytes:
    """A name with the two escapes that GNU tar undoes (xheader.c); a key ends at the first equals sign."""
    return _AMBIGUOUS.sub(b"%25", name).replace(b"=", b"%3D")


def _names(member: Member) -> list[tuple[bytes, bytes]]:
    """Names that are too long for ustar or not ASCII; `hdrcharset=BINARY` says that they are not UTF-8."""
    records = [
        (key, name)
        for key, name in ((b"path", member.name), (b"linkpath", member.link))
        if len(name) > 100 or not name.isascii()
    ]
    if any(not _is_utf8(name) for _, name in records):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    return records


def _is_utf8(name: bytes) -> bool:
    return name.decode("utf-8", "ignore").encode() == name


def _seconds(nanoseconds: int) -> bytes:
    """A time in seconds as an exact decimal number (a float has too few digits), without trailing zeros."""
    whole, fraction = divmod(abs(nanoseconds), _SECOND)
    sign = b"-" if nanoseconds < 0 else b""
    return sign + (b"%d.%09d" % (whole, fraction)).rstrip(b"0").rstrip(b".")


def _ustar(member: Member) -> bytes:
    seconds = member.mtime_ns // _SECOND
    name, link = member.name, member.link
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b%b" % (
        (name if name.isascii() else _plain(name))[:100].ljust(100, b"\0"),
        member.mode & 0o7777,
        member.uid if member.uid < _SMALL else 0,
        member.gid if member.gid < _SMALL else 0,
        member.size if member.size < _LARGE else 0,
        seconds if 0 <= seconds < _LARGE else 0,
        member.kind,
        (link if link.isascii() else _plain(link))[:100].ljust(100, b"\0"),
        _MAGIC,
        b"" if member.device is None else b"%07o\0%07o\0" % member.device,
    )
    # the checksum counts blanks in its own place; the rest of the block is zeros
    return (block[:148] + b"%06o\0 " % sum(block) + block[156:]).ljust(BLOCK, b"\0")


def _plain(name: bytes) -> bytes:
    """An ASCII form for readers that do not know extended headers."""
    return name.decode("utf-8", "replace").encode("ascii", "replace")
