"""Let watched processes run on when nobody can look at their calls any more. Also a program: the guardian's.

A call that nobody answers waits for ever, and once the listener is closed all fail with ENOSYS: either way the watched
processes break. So a supervisor that cannot go on hands its listener to `Untraced`, and should the agent be killed,
the guardian (guardian.py) does. It imports nothing but Python's own modules.
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
NOTHING = bytes(80)  # sizeof(struct seccomp_notif): the kernel wants it zeroed
_CLOSED = b"c"  # said when nobody can write to our memory any more
_SET_DUMPABLE = 4  # PR_SET_DUMPABLE of <linux/prctl.h>
_RESERVE = 4 << 20  # bytes of address space
PAGE = 4096  # bytes; a buffer of more than 1,024 goes to ioctl(2) as it is, without a copy (Python's fcntl.ioctl)


class Untraced:
    """Listeners whose calls are let go on unseen. Made beforehand: when it must run there may be no memory left.

    Each comes with its page: memory that begins with the `struct seccomp_notif` of the call that was looked at last.
    That one may be unanswered still, and nobody is told of it again.
    """

    def __init__(self) -> None:
        self.poll = select.poll()
        self.reserve = bytes(_RESERVE)  # zeros that nobody touches take no memory; given back, there is some
        self._pages: dict[int, mmap.mmap] = {}
        self._response = bytearray(PAGE)  # struct seccomp_notif_resp { u64 id; s64 val; s32 error; u32 flags; }
        self._response[20:24] = CONTINUE.to_bytes(4, sys.byteorder)

    def hold(self, listener: int, page: mmap.mmap) -> None:
        """Take a listener. Until `serve`, only its end is waited for."""
        self._pages[listener] = page
        self.poll.register(listener, 0)

    def release(self, listener: int) -> None:
        """Close a listener that nobody uses any more."""
        self.poll.unregister(listener)
        self._pages.pop(listener).close()
        os.close(listener)

    def serve(self) -> None:
        """Answer until no process uses any of the filters. After an error it can be called again."""
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
        with contextlib.suppress(OSError):  # killed meanwhile, or answered before
            fcntl.ioctl(listener, SEND, self._response)


def _guard(agent: int, channel: socket.socket) -> None:
    """Take what comes on `channel` until the process behind the pidfd `agent` has ended; then stand in for it.

    The end of the channel alone means nothing: it comes before the agent's end. And it may not come at all: a child of
    the agent that has not executed yet holds the channel as well, and may be waiting for an answer.
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
    """Take the next listener that was sent. False if there is none and none will come."""
    try:
        word, descriptors, _, _ = socket.recv_fds(channel, 16, 2, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionResetError:  # the agent was killed before it had read all; what it had sent comes after this
        return True
    if len(descriptors) == 2:
        untraced.hold(descriptors[0], mmap.mmap(descriptors[1], PAGE))
        os.close(descriptors.pop())
    else:  # no descriptor is free: better that one command's calls fail than that they wait for ever
        for descriptor in descriptors:
            os.close(descriptor)
    return bool(word)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # who could write to us could answer for us
    agent, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    channel.send(_CLOSED)
    _guard(agent, channel)


if __name__ == "__main__":
    _main()
