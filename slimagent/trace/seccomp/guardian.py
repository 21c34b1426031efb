"""Should the agent be killed, its watched processes are to run on: the guardian stands in for it.

The kernel closes a listener with its last holder, and then the file calls of whoever uses the filter fail (ENOSYS). So
a small process of its own holds each listener as well (untraced.py), and reads nothing as long as the agent lives. It
cannot be the supervisor itself: Yama lets only an ancestor read a process (ptrace_scope 1).

It is executed and not just forked: a fork counts as big as the agent, so that a kernel out of memory would kill it
next, and would have freed nothing by killing the agent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import select
import socket
import subprocess
import sys
import threading

from slimagent.linux import kernel
from slimagent.trace.seccomp import untraced
from slimagent.trace.seccomp.untraced import PAGE

# By these variables the C library would load what is the image's (image/agent.py, HELD_BACK).
_LOADS = re.compile(r"LD_(?!LIBRARY_PATH$)\w+|GCONV_PATH|LOCPATH")
_PATIENCE = 5  # seconds for it to start
_ALONE = ("-I", "-S", "-B", "-X", "utf8")  # imports nothing of the image's, writes no byte code


class Guardian:
    """The agent's side: start it before the first watched process, give it each listener, say goodbye at the end.

    Where it cannot be started there is none: that changes nothing as long as the agent is not killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._is_closed = os.geteuid() != 0  # to what else runs as us; only root's can be (see Family)

    def start(self) -> None:
        """Start it, without waiting until it is there: what is sent to it waits."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with contextlib.suppress(OSError):
                agent = kernel.process_descriptor(os.getpid())
                undo.callback(os.close, agent)
                self._process = subprocess.Popen(
                    [*_interpreter(), *_ALONE, untraced.__file__, str(agent), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                    env={name: value for name, value in os.environ.items() if not _LOADS.fullmatch(name)},
                    pass_fds=(agent, theirs.fileno()), start_new_session=True,
                )  # fmt: skip
                undo.pop_all()
                os.close(agent)
                self._socket = ours

    def hold(self, listener: int) -> mmap.mmap:
        """Give it a copy of a listener, from any thread. The value is the page that it shares (see `Untraced`)."""
        with contextlib.suppress(OSError):
            self._await_closed()
            memory = kernel.memory_file(PAGE)
            try:
                page = mmap.mmap(memory, PAGE)
                if self._socket is not None:
                    with contextlib.suppress(OSError):  # it is gone, or stopped so long that no more can wait for it
                        socket.send_fds(self._socket, [b"0"], [listener, memory], socket.MSG_DONTWAIT)
                return page
            finally:
                os.close(memory)
        return mmap.mmap(-1, PAGE)

    def _await_closed(self) -> None:
        """Wait until nobody can write to its memory any more: the caller whose listener this is waits meanwhile."""
        with self._lock:
            if not self._is_closed and self._socket is not None:
                self._is_closed = True
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                if poll.poll(_PATIENCE * 1000):
                    self._socket.recv(1)  # what is unread when we are killed would be an error at the other end

    def end(self) -> None:
        """Goodbye: nothing is left to guard."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _interpreter() -> list[str]:
    """How this Python was started: a bundle's by a loader, which sys.orig_argv does not show."""
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    loader = words[: max(len(words) - len(sys.orig_argv), 0)]
    return [*map(os.fsdecode, loader), sys.executable]
