"""The guardian keeps watched processes running if the agent is killed.

When the last holder of a listener is gone, the kernel closes it, and file calls under its filter fail (ENOSYS). So a
small separate process holds each listener too (untraced.py). It reads nothing while the agent is alive. It cannot be
the supervisor: Yama lets only an ancestor read a process (ptrace_scope 1).

It is executed, not just forked: a fork counts as much memory as the agent. A kernel out of memory would kill it next,
and killing the agent would have freed nothing.
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

# With these variables the C library would load files of the image (image/agent.py, HELD_BACK).
_LOADS = re.compile(r"LD_(?!LIBRARY_PATH$)\w+|GCONV_PATH|LOCPATH")
_PATIENCE = 5  # seconds for it to start
_ALONE = ("-I", "-S", "-B", "-X", "utf8")  # imports nothing of the image, writes no bytecode


class Guardian:
    """The agent's side. Start it before the first watched process, pass it each listener, and end it last.

    If it cannot be started, we go on without: that only matters if the agent is killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._is_closed = os.geteuid() != 0  # its memory: only root's can be (kernel.close_memory)

    def start(self) -> None:
        """Start it without waiting for it: the socket queues what we send."""
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
        """Pass it a copy of a listener, from any thread. Returns the page that it shares (see `Untraced`)."""
        with contextlib.suppress(OSError):
            self._await_closed()
            memory = kernel.memory_file(PAGE)
            try:
                page = mmap.mmap(memory, PAGE)
                if self._socket is not None:
                    with contextlib.suppress(OSError):  # it is gone, or was stopped and its queue is full
                        socket.send_fds(self._socket, [b"0"], [listener, memory], socket.MSG_DONTWAIT)
                return page
            finally:
                os.close(memory)
        return mmap.mmap(-1, PAGE)

    def _await_closed(self) -> None:
        """Wait until nobody can write to its memory. The process with that listener waits meanwhile."""
        with self._lock:
            if not self._is_closed and self._socket is not None:
                self._is_closed = True
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                if poll.poll(_PATIENCE * 1000):
                    self._socket.recv(1)  # if we are killed, unread data would be an error at the other end

    def end(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _interpreter() -> list[str]:
    """How this Python was started. A bundle uses a loader, which sys.orig_argv does not show."""
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    loader = words[: max(len(words) - len(sys.orig_argv), 0)]
    return [*map(os.fsdecode, loader), sys.executable]
