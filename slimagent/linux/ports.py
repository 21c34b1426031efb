"""Find the TCP ports of this container that were used while steps ran, from the kernel's connection tables.

A closed connection stays in TIME-WAIT for a minute (RFC 9293, 3.6.1), so an occasional look sees nearly all. A reset
connection leaves no trace: ports can have been used without being seen here.
"""

from __future__ import annotations

import contextlib
import threading

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")  # proc_net(5)
_LISTENS, _SYN_SENT = "0A", "02"  # <linux/tcp.h>; SYN_SENT: no answer yet
_LOOK_EVERY = 20.0  # seconds, less than half of a minute


class AskedPorts:
    """Looks from time to time while the block runs. `ports` are those used so far."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asked ports", daemon=True)

    def __enter__(self) -> AskedPorts:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """Look now, e.g. at the end of a step."""
        for table in _TABLES:
            with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
                self.ports |= asked(file.read())

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY):
            self.look()


def asked(table: str) -> set[int]:
    """The ports of connections within this machine, from a table of proc_net(5).

    Only one end of a closed connection is left, not always the server's. So both ports count.
    """
    found: set[int] = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] in (_LISTENS, _SYN_SENT):
            continue
        (here, port), (there, other) = fields[1].split(":"), fields[2].split(":")
        found.add(int(port, 16))
        if here == there or _is_loopback(there):
            found.add(int(other, 16))
    return found


def _is_loopback(address: str) -> bool:
    """Whether it is 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104, as the kernel prints them: words in native byte order."""
    return address.endswith("7F") or address == "0" * 24 + "01000000"
