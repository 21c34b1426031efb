"""Which TCP ports of this container were asked while steps ran: the kernel's tables of connections tell.

A connection that was closed stays in TIME-WAIT for a minute (RFC 9293, 3.6.1), so a look now and then sees nearly all.
One that was reset leaves nothing: what is not seen here may have been asked all the same.
"""

from __future__ import annotations

import contextlib
import threading

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")  # proc_net(5)
_LISTENS, _SYN_SENT = "0A", "02"  # <linux/tcp.h>: nobody has answered yet
_LOOK_EVERY = 20.0  # seconds, less than half of a minute


class AskedPorts:
    """Looks from time to time while the block runs; `ports` are those that were asked so far."""

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
        """Look now: at the end of a step, above all."""
        for table in _TABLES:
            with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
                self.ports |= asked(file.read())

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY):
            self.look()


def asked(table: str) -> set[int]:
    """The ports to which connections within this machine lead, from a table of proc_net(5).

    Of a connection that is closed only one end is left, and not always that of the server.
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
    """127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104, as the kernel prints them: words in this machine's byte order."""
    return address.endswith("7F") or address == "0" * 24 + "01000000"
