"""Who may do what with a file: owner, group, mode, and the access control list where there is one. Pure.

The rules are those of acl(5), the layout of the extended attributes that of <linux/posix_acl_xattr.h>.
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
NOTHING = _HEADER.pack(_VERSION)  # a list without entries: to set it is to remove the one that is there


class Identity(NamedTuple):
    """Whose rights are asked for: a user's number, and the numbers of all groups, the first one included."""

    uid: int
    gids: frozenset[int]


class Attributes(NamedTuple):
    """What says who may do what with a file: st_mode, owner and group, and three extended attributes, b"" for none.

    These are `security.capability`, `system.posix_acl_access` and `system.posix_acl_default`.
    """

    mode: int
    uid: int
    gid: int
    capability: bytes = b""
    access: bytes = b""
    default: bytes = b""


class Entry(NamedTuple):
    """One entry of a list: its tag, its bits (`rwx` as 4, 2, 1), and whom it names (for a user or a group)."""

    tag: int
    bits: int
    number: int


def parse(data: bytes) -> tuple[Entry, ...]:
    """The entries of `system.posix_acl_access` or `_default`. Raises ValueError for anything else."""
    if len(data) < _HEADER.size or (len(data) - _HEADER.size) % _ENTRY.size:
        raise ValueError(f"not an access control list: {len(data)} bytes")
    if _HEADER.unpack_from(data)[0] != _VERSION:
        raise ValueError("not an access control list: of another version")
    entries = tuple(Entry._make(each) for each in _ENTRY.iter_unpack(data[_HEADER.size :]))
    unknown = [each for each in entries if each.tag not in _WORDS or each.bits > stat.S_IRWXO]
    if unknown:
        raise ValueError(f"not an access control list: {unknown[0]}")
    return entries


def of_mode(mode: int) -> bytes:
    """The list that grants what a mode does, and that the kernel stores as nothing but the mode."""
    bits = zip((_USER_OBJ, _GROUP_OBJ, _OTHER), (mode >> 6, mode >> 3, mode), strict=True)
    return NOTHING + b"".join(_ENTRY.pack(tag, each & stat.S_IRWXO, _NOBODY) for tag, each in bits)


def meaning(data: bytes) -> object:
    """What two lists that grant the same have in common: the kernel takes users and groups in any order."""
    try:
        return sorted(parse(data))
    except ValueError:
        return data


def text(data: bytes) -> str:
    """A list in the short form of acl(5) with numbers for names, "none" for b"", hexadecimal if it is no list."""
    if not data:
        return "none"
    try:
        return ",".join(map(_entry_text, parse(data)))
    except ValueError:
        return data.hex()


def _entry_text(entry: Entry) -> str:
    whom = str(entry.number) if entry.tag in (_USER, _GROUP) else ""
    return f"{_WORDS[entry.tag]}:{whom}:{bits_text(entry.bits)}"


def bits_text(bits: int) -> str:
    """Three bits as `ls` shows them: `r-x`."""
    return "".join(letter if bits & bit else "-" for letter, bit in zip("rwx", (READ, WRITE, SEARCH), strict=True))


def permits(attributes: Attributes, who: Identity, wanted: int) -> bool:
    """Whether an ordinary user may do all that is `wanted`, as Linux decides it (acl_permission_check in fs/namei.c).

    The superuser, and capabilities that override modes, are the caller's to think of. Raises ValueError as `parse`.
    """
    mode = attributes.mode
    if who.uid == attributes.uid:
        return not wanted & ~(mode >> 6)
    # With no bit for the group (which is the mask, if there is a list) Linux does not look at the list at all.
    if attributes.access and mode & stat.S_IRWXG:
        return _listed(parse(attributes.access), attributes.gid, who, wanted)
    bits = mode >> 3 if attributes.gid in who.gids else mode
    return not wanted & ~bits


def _listed(entries: tuple[Entry, ...], owning_group: int, who: Identity, wanted: int) -> bool:
    """By the entries of a list, for one who is not the owner: a named user, else groups, else the others."""
    mask = next((each.bits for each in entries if each.tag == _MASK), stat.S_IRWXO)
    for each in entries:
        if each.tag == _USER and each.number == who.uid:
            return not wanted & ~(each.bits & mask)
    groups = [
        each.bits & mask
        for each in entries
        if (each.tag == _GROUP_OBJ and owning_group in who.gids) or (each.tag == _GROUP and each.number in who.gids)
    ]
    if groups:  # one of them must grant all of it; if none does, what others may does not count
        return any(not wanted & ~bits for bits in groups)
    return any(not wanted & ~each.bits for each in entries if each.tag == _OTHER)


def describe(attributes: Attributes) -> str:
    """Mode, owner and group in words, and the access control list where there is one."""
    listed = f", ACL {text(attributes.access)}" if attributes.access else ""
    return f"mode {mode_text(attributes.mode)}, owner {attributes.uid}, group {attributes.gid}{listed}"


_KINDS = {
    stat.S_IFREG: "",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def mode_text(mode: int) -> str:
    """The permission bits of a st_mode in octal: `4755`."""
    return f"{stat.S_IMODE(mode):04o}"


def kind_text(mode: int) -> str:
    """What kind of file a st_mode is of, as `folder` or `link`."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown kind") or "file"
