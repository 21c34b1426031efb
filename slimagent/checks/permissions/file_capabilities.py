"""The extended attribute `security.capability` in words. Pure.

Its layout, `struct vfs_cap_data` and `struct vfs_ns_cap_data`, and the names are those of <linux/capability.h>.
"""

from __future__ import annotations

import struct

_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service "
    "net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin "
    "sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override "
    "mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
)  # in the order of their numbers
_EFFECTIVE = 0x000001  # VFS_CAP_FLAGS_EFFECTIVE
_LAYOUTS = {  # by VFS_CAP_REVISION_n: how many words follow (permitted, inheritable, …), and whether a user does
    0x01000000: ("<I2I", False),
    0x02000000: ("<I4I", False),
    0x03000000: ("<I5I", True),
}


def text(data: bytes) -> str:
    """The attribute as `getcap` shows it (`cap_net_raw=ep`), "none" for b"", hexadecimal for anything else."""
    if not data:
        return "none"
    try:
        return _text(data)
    except (struct.error, KeyError):
        return data.hex()


def _text(data: bytes) -> str:
    magic = int.from_bytes(data[:4], "little")
    layout, bound = _LAYOUTS[magic & 0xFF000000]
    words = struct.unpack(layout, data)[1:]
    root = words[-1] if bound else None
    sets = words[:-1] if bound else words
    permitted = sum(word << 32 * at for at, word in enumerate(sets[0::2]))
    inheritable = sum(word << 32 * at for at, word in enumerate(sets[1::2]))
    names, groups = _NAMES.split(), dict[str, list[str]]()
    for number in range(64):
        flags = ("i" if inheritable >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if flags:
            flags = ("e" if magic & _EFFECTIVE else "") + flags
            groups.setdefault(flags, []).append(f"cap_{names[number]}" if number < len(names) else str(number))
    shown = " ".join(f"{','.join(each)}={flags}" for flags, each in groups.items()) or "="
    return shown if root is None else f"{shown} [user {root}]"
