"""Let watched processes continue when nobody can supervise them. This module is also the guardian's program.

A call without an answer waits for ever, and after the listener is closed all calls fail with ENOSYS. Both break the
watched processes. So a supervisor that cannot go on uses `Untraced`, and so does the guardian (guardian.py) if the
agent is killed. This module imports only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import sys

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND of <linux/seccomp.h>
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5
NOTHING = bytes(80)  # sizeof(struct seccomp_notif): the kernel requires zeros
_CLOSED = b"c"  # sent when nobody can write to our memory any more
_SET_DUMPABLE = 4  # PR_SET_DUMPABLE of <linux/prctl.h>
_RESERVE = 4 << 20  # bytes of address space
PAGE = 4096  # bytes; fcntl.ioctl passes a buffer of more than 1,024 without a copy


class Untraced:
    """Lets the calls of listeners continue unseen. Made in advance: later there may be no memory left.

    Each listener has a page that begins with the `struct seccomp_notif` of its last call. That call may still be
    unanswered, and the kernel does not report it again.
    """

    def __init__(self) -> None:
        self.poll = select.poll()
        self.reserve = bytes(_RESERVE)  # untouched zeros take no memory; freeing them gives some
        self._pages: dict[int, mmap.mmap] = {}
        self._response = bytearray(PAGE)  # struct seccomp_notif_resp { u64 id; s64 val; s32 error; u32 flags; }
        self._response[20:24] = CONTINUE.to_bytes(4, sys.byteorder)

    def hold(self, listener: int, page: mmap.mmap) -> None:
        """Take a listener. Until `serve` we only watch for its end."""
        self._pages[listener] = page
        self.poll.register(listener, 0)

    def release(self, listener: int) -> None:
        """Close a listener that no process uses any more."""
        self.poll.unregister(listener)
        self._pages.pop(listener).close()
        os.close(listener)

    def serve(self) -> None:
        """Answer until no process uses any of the filters. Call it again after an error."""
        self.reserve = b""
        for listener, page in self._pages.items():
            self.poll.register(listener, select.POLLIN)
            self._answer(listener, page)
        while self._pages:
            for listener, events in self.poll.poll():
                if events & select.POLLIN:
                    page = self._pages[listener]
                    page[: len(NOTHING)] = NOTHING
                    with contextlib.suppress(OSError):  # the caller was killed meanwhile
                        fcntl.ioctl(listener, RECEIVE, page)
                        self._answer(listener, page)
                else:
                    self.release(listener)

    def _answer(self, listener: int, page: mmap.mmap) -> None:
        self._response[:8] = page[:8]
        with contextlib.suppress(OSError):  # killed meanwhile, or already answered
            fcntl.ioctl(listener, SEND, self._response)


def _guard(agent: int, channel: socket.socket) -> None:
    """Collect listeners from `channel` until the process of the pidfd `agent` ends; then replace it.

    The end of the channel alone means nothing: it comes before the agent's end. And it may not come at all: a child of
    the agent that has not executed yet holds the channel too, and may be waiting for an answer.
    """
    untraced = Untraced()
    untraced.poll.register(agent, select.POLLIN)
    untraced.poll.register(channel, select.POLLIN)
    ready: set[int] = set()
    while agent not in ready:
        ready = {descriptor for descriptor, _ in untraced.poll.poll()}
        for descriptor in ready - {agent, channel.fileno()}:
            untraced.release(descriptor)
        if channel.fileno() in ready and not _take(untraced, channel):
            untraced.poll.unregister(channel)
    while _take(untraced, channel):
        pass
    untraced.poll.unregister(agent)
    with contextlib.suppress(KeyError):
        untraced.poll.unregister(channel)
    untraced.serve()


def _take(untraced: Untraced, channel: socket.socket) -> bool:
    """Take the next listener. False if none is waiting or the channel has ended."""
    try:
        word, descriptors, _, _ = socket.recv_fds(channel, 16, 2, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionResetError:  # the agent was killed with unread data; what it sent comes next
        return True
    if len(descriptors) == 2:
        untraced.hold(descriptors[0], mmap.mmap(descriptors[1], PAGE))
        os.close(descriptors.pop())
    else:  # no descriptor is free: failing calls are better than calls that wait for ever
        for descriptor in descriptors:
            os.close(descriptor)
    return bool(word)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # who can write to our memory can answer calls
    agent, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    channel.send(_CLOSED)
    _guard(agent, channel)


if __name__ == "__main__":
    _main()
