"""Who may do what with a file: owner, group, mode and access control list. Pure.

Rules: acl(5). Layout of the extended attributes: <linux/posix_acl_xattr.h>.
"""

from __future__ import annotations

import stat
import struct
from typing import NamedTuple

READ, WRITE, SEARCH = 4, 2, 1
_VERSION = 2  # POSIX_ACL_XATTR_VERSION
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_WORDS = {_USER_OBJ: "user", _USER: "user", _GROUP_OBJ: "group", _GROUP: "group", _MASK: "mask", _OTHER: "other"}

_NOBODY = 0xFFFFFFFF  # ACL_UNDEFINED_ID
NOTHING = _HEADER.pack(_VERSION)  # a list without entries: setting it removes the existing list


class Identity(NamedTuple):
    """A user's number, and the numbers of all their groups, the primary group too."""

    uid: int
    gids: frozenset[int]


class Attributes(NamedTuple):
    """What decides about access to a file: st_mode, owner, group and three extended attributes (b"" if missing).

    These are `security.capability`, `system.posix_acl_access` and `system.posix_acl_default`.
    """

    mode: int
    uid: int
    gid: int
    capability: bytes = b""
    access: bytes = b""
    default: bytes = b""


class Entry(NamedTuple):
    """One entry of a list: its tag, its bits (`rwx` as 4, 2, 1), and the number of its user or group."""

    tag: int
    bits: int
    number: int


def parse(data: bytes) -> tuple[Entry, ...]:
    """Read `system.posix_acl_access` or `_default`. Raises ValueError if it is malformed."""
    if len(data) < _HEADER.size or (len(data) - _HEADER.size) % _ENTRY.size:
        raise ValueError(f"not an access control list: {len(data)} bytes")
    if _HEADER.unpack_from(data)[0] != _VERSION:
        raise ValueError("not an access control list: unknown version")
    entries = tuple(Entry._make(each) for each in _ENTRY.iter_unpack(data[_HEADER.size :]))
    unknown = [each for each in entries if each.tag not in _WORDS or each.bits > stat.S_IRWXO]
    if unknown:
        raise ValueError(f"not an access control list: {unknown[0]}")
    return entries


def of_mode(mode: int) -> bytes:
    """The list that grants what a mode grants. The kernel stores it as the mode alone."""
    bits = zip((_USER_OBJ, _GROUP_OBJ, _OTHER), (mode >> 6, mode >> 3, mode), strict=True)
    return NOTHING + b"".join(_ENTRY.pack(tag, each & stat.S_IRWXO, _NOBODY) for tag, each in bits)


def meaning(data: bytes) -> object:
    """A value that is equal for lists that grant the same: users and groups may come in any order."""
    try:
        return sorted(parse(data))
    except ValueError:
        return data


def text(data: bytes) -> str:
    """A list in the short form of acl(5), with numbers. "none" for b"", hexadecimal if it is malformed."""
    if not data:
        return "none"
    try:
        return ",".join(map(_entry_text, parse(data)))
    except ValueError:
        return data.hex()


def _entry_text(entry: Entry) -> str:
    who = str(entry.number) if entry.tag in (_USER, _GROUP) else ""
    return f"{_WORDS[entry.tag]}:{who}:{bits_text(entry.bits)}"


def bits_text(bits: int) -> str:
    """Three bits as `ls` shows them, e.g. `r-x`."""
    return "".join(letter if bits & bit else "-" for letter, bit in zip("rwx", (READ, WRITE, SEARCH), strict=True))


def permits(attributes: Attributes, who: Identity, requested: int) -> bool:
    """Whether an ordinary user has all `requested` rights, as Linux decides it (acl_permission_check in fs/namei.c).

    Ignores the superuser and capabilities that override modes. Raises ValueError as `parse` does.
    """
    mode = attributes.mode
    if who.uid == attributes.uid:
        return not requested & ~(mode >> 6)
    # If the group has no bits (with a list: if the mask has none), Linux does not look at the list.
    if attributes.access and mode & stat.S_IRWXG:
        return _listed(parse(attributes.access), attributes.gid, who, requested)
    bits = mode >> 3 if attributes.gid in who.gids else mode
    return not requested & ~bits


def _listed(entries: tuple[Entry, ...], owning_group: int, who: Identity, requested: int) -> bool:
    """What a list grants to a user who is not the owner: by a user entry, else by groups, else as others."""
    mask = next((each.bits for each in entries if each.tag == _MASK), stat.S_IRWXO)
    for each in entries:
        if each.tag == _USER and each.number == who.uid:
            return not requested & ~(each.bits & mask)
    groups = [
        each.bits & mask
        for each in entries
        if (each.tag == _GROUP_OBJ and owning_group in who.gids) or (each.tag == _GROUP and each.number in who.gids)
    ]
    if groups:  # one of them must grant all of it; the entry for others does not count then
        return any(not requested & ~bits for bits in groups)
    return any(not requested & ~each.bits for each in entries if each.tag == _OTHER)


def describe(attributes: Attributes) -> str:
    """Mode, owner, group and access control list in words."""
    listed = f", ACL {text(attributes.access)}" if attributes.access else ""
    return f"mode {mode_text(attributes.mode)}, owner {attributes.uid}, group {attributes.gid}{listed}"


_KINDS = {
    stat.S_IFREG: "",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def mode_text(mode: int) -> str:
    """The permission bits of a st_mode in octal, e.g. `4755`."""
    return f"{stat.S_IMODE(mode):04o}"


def kind_text(mode: int) -> str:
    """The kind of file that a st_mode describes, e.g. `directory`."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown kind") or "file"
