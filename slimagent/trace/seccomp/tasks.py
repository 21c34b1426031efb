"""Read the tasks behind a listener: paths in their memory (proc_pid_mem(5)), and where these start."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
import time

from slimagent.linux import kernel
from slimagent.trace.seccomp import proc
from slimagent.trace.seccomp.concealed import Concealed, Place
from slimagent.trace.seccomp.names import Caller

AT_FDCWD = 0xFFFFFF9C  # -100 as the low half of a register
PATH_MAX = 4096  # <linux/limits.h>, with the NUL
_REMOVED = b" (deleted)"  # proc_pid_cwd(5) and proc_pid_fd(5) add it to the name of a removed file
_FIRST_READ = 256
_MOST_OPEN = 200
_HIGHEST = 1 << 63  # addresses from here on belong to the kernel
# A task number is reused only after all others: that takes far longer than a second.
_SECONDS_TRUSTED = 1.0
_EXECUTED_AS = 31  # AT_EXECFN of <linux/auxvec.h>: the address of the path given to execve(2)
_OUT_OF_REACH = b"(unreachable)"  # no path from our root leads there (d_path of the kernel)
_SOCKET_PATH = 108  # sun_path of struct sockaddr_un (unix(7)), which begins after two bytes


class UnreadableMemoryError(OSError):
    """Memory that only its task can read (memfd_secret(2), userfaultfd(2))."""


class Tasks:
    """The tasks behind one listener.

    A descriptor of /proc/TASK/mem belongs to the memory at the time of the open: `forget` a task that executes
    something. For tasks of other users see `proc`. `hold` a task before it becomes unreadable.

    `callers` collects the numbers of the tasks that were read.
    `notification` is the id of the present call: while it is valid, its task has not been replaced.
    """

    def __init__(self, listener: int, callers: set[int]) -> None:
        self._listener = listener
        self._callers = callers
        self.notification = 0
        self._memories: dict[int, int] = {}
        self._processes: dict[int, int] = {}
        self._moving: set[int] = set()
        self._concealed = Concealed()
        self._opened = time.monotonic()
        self._own_namespace = os.stat("/proc/self/ns/mnt").st_ino
        self.foreign_namespace = ""

    def close(self) -> None:
        """Close all descriptors."""
        self._close_memories()
        self._concealed.close()

    def _close_memories(self) -> None:
        for memory in self._memories.values():
            os.close(memory)
        self._memories.clear()
        self._processes.clear()

    def hold(self, task: int) -> None:
        """Keep `task`, unreadable after its call perhaps, and its parent: a child of vfork(2) shares its memory."""
        with contextlib.suppress(OSError):
            status = kernel.status(task)
            self._hold(task, status.process)
            if status.parent not in (0, os.getpid()):
                self._hold(status.parent, status.parent)

    def _hold(self, task: int, process: int) -> None:
        """Keep what is readable of a process now. If nothing is, what we kept before still holds."""
        try:
            links = proc.common_links(process)
            memory = proc.open_memory(task)
        except OSError:
            return
        self._concealed.hold(process, memory, links, self._here(task) if "cwd" in links else None)

    def _here(self, task: int) -> Place | None:
        """The working directory of a task, None if unknown."""
        try:
            found = proc.as_its_user(task, lambda: os.stat(f"/proc/{task}/cwd"))
        except PermissionError:
            return self._concealed.place(task)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def enters(self, task: int, path: bytes | None) -> None:
        """Note that `task` is about to change its working directory to `path`, or (None) to a descriptor's directory.

        Call it while the call waits: where the task was decides which tasks move with it. This matters only while links
        are unreadable, and only a certain target counts.
        """
        if not self._concealed:
            return
        directory = None
        try:
            if path is not None and self.link(task, "root") == b"/":
                directory = proc.entered(task, path)
        except (FileNotFoundError, NotADirectoryError):
            return  # the call will fail
        except OSError:
            directory = None
        self._concealed.enters(task, self._here(task), directory)

    def changes_root(self, task: int, *, of_all: bool) -> None:
        """Note, while the call waits, that `task` is about to change its root or that of all processes."""
        if of_all:
            self._concealed.lose_all()
        elif self._concealed:
            self._concealed.changes_root(task, self._here(task))

    def forget(self, task: int, path: bytes) -> None:
        """Note that `task` is about to execute `path` (b"" if unknown): it and its process's leader get new memory."""
        if self._concealed:
            self._concealed.executes(task, path)
        leader = task
        with contextlib.suppress(OSError):
            leader = kernel.status(task).process
        for each in {task, leader}:
            self._close_memory(each)

    def leaves_namespace(self, task: int) -> None:
        """Note that `task` is about to enter another mount namespace: its next call looks up which."""
        self._close_memory(task)
        self._moving.add(task)

    def _close_memory(self, task: int) -> None:
        memory = self._memories.pop(task, None)
        if memory is not None:
            os.close(memory)

    def path(self, task: int, address: int) -> bytes:
        """The NUL-terminated path at `address`, b"" if there is none.

        Raises PermissionError, ProcessLookupError, or UnreadableMemoryError if the kernel may be able to read it.
        """
        if not 0 < address < _HIGHEST:
            return b"" if address else self._lowest(task)
        memory = self._memories.get(task)
        if memory is not None and time.monotonic() - self._opened < _SECONDS_TRUSTED:  # nearly always
            try:
                data = os.pread(memory, _FIRST_READ, address)
            except OSError:
                data = b""
            end = data.find(b"\0")
            if end >= 0:
                return data[:end]
        data = self._read(task, address, _FIRST_READ)
        end = data.find(0)
        while end < 0 and len(data) < PATH_MAX:
            more = self._read(task, address + len(data), PATH_MAX - len(data))
            if not more:
                self._require_unmapped(task, address + len(data))
                return b""  # runs into unmapped memory: the call fails with EFAULT
            data += more
            end = data.find(0)
        return data[:end] if end >= 0 else b""

    def _lowest(self, task: int) -> bytes:
        """The path at address 0: b"" unless something is mapped there (vm.mmap_min_addr)."""
        memory = self._memories.get(task)
        try:
            data = os.pread(self._open(task) if memory is None else memory, PATH_MAX, 0)
        except OSError:
            return b""
        return data[: max(0, data.find(0))]

    def socket_path(self, task: int, address: int, size: int) -> bytes:
        """The path in a UNIX socket's address (unix(7)). b"" without one and for other families."""
        if not 0 < address < _HIGHEST or size <= 2:
            return b""
        data = self.contents(task, address, min(size, 2 + _SOCKET_PATH))
        family = int.from_bytes(data[:2], sys.byteorder)
        return data[2:].split(b"\0", 1)[0] if family == socket.AF_UNIX else b""

    def contents(self, task: int, address: int, size: int) -> bytes:
        """Read `size` bytes at `address`, b"" if they are not all there. Raises as `path` does."""
        if not 0 < address < _HIGHEST:
            return b""
        data = self._read(task, address, size)
        if len(data) < size:
            self._require_unmapped(task, address + len(data))
            return b""
        return data

    def _require_unmapped(self, task: int, address: int) -> None:
        """Raise UnreadableMemoryError if the task can read `address` and we cannot: the address is valid then."""
        for line in proc.contents(task, "maps").splitlines():
            between, _, rest = line.partition(b" ")
            first, _, last = between.partition(b"-")
            if int(first, 16) <= address < int(last, 16):
                if rest[:1] == b"r":
                    raise UnreadableMemoryError(errno.EIO, "memory that only it can read")
                return

    def _read(self, task: int, address: int, size: int) -> bytes:
        now = time.monotonic()
        if now - self._opened > _SECONDS_TRUSTED or len(self._memories) > _MOST_OPEN:
            self._close_memories()
            self._opened = now
        memory = self._memories.get(task)
        if memory is not None:
            try:
                data = os.pread(memory, size, address)
            except OSError:
                data = b""
            if data:
                return data
            os.close(self._memories.pop(task))  # no data, or the memory before an execve: open it again
        memory = self._open(task)
        try:
            data = os.pread(memory, size, address)
        except OSError:
            return b""
        if not data:  # nobody uses this memory: it is from before an execve
            self._require_valid(task)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"/proc/{task}/mem")
        return data

    def _open(self, task: int) -> int:
        try:
            memory = self._reach(task)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._close_memories()  # no free descriptors: close ours
            memory = self._reach(task)
        try:
            self._require_valid(task)
        except OSError:
            os.close(memory)
            raise
        self._memories[task] = memory
        self._callers.add(task)
        self._note_namespace(task)
        return memory

    def _note_namespace(self, task: int) -> None:
        """Note whether a task has mounts of its own or may have."""
        try:
            namespace = proc.as_its_user(task, lambda: os.stat(f"/proc/{task}/ns/mnt").st_ino)
        except OSError:
            namespace = 0 if task in self._moving else self._own_namespace
        self._moving.discard(task)
        if namespace != self._own_namespace:
            self._is_foreign(task)

    def _is_foreign(self, task: int) -> None:
        self.foreign_namespace = self.foreign_namespace or f"process {task}"

    def _require_valid(self, task: int) -> None:
        """Raise ProcessLookupError if the caller was killed: `task` may be a new one with the same number."""
        try:
            fcntl.ioctl(self._listener, kernel.ID_VALID, kernel.IDENTITY.pack(self.notification))
        except OSError:
            raise ProcessLookupError(task) from None

    def _reach(self, task: int) -> int:
        try:
            return proc.open_memory(task)
        except PermissionError:
            return self._concealed.memory(task)

    def executed(self, task: int) -> list[bytes]:
        """The file that a task executes, and the path that it was executed by if known. Raises PermissionError.

        Call it at the first call after the execution: the path may be relative to the working directory.
        """
        paths = [proc.link(task, "exe")]
        auxiliary = proc.contents(task, "auxv")
        for kind, address in struct.iter_unpack("=QQ", auxiliary[: len(auxiliary) // 16 * 16]):
            path = self.path(task, address) if kind == _EXECUTED_AS else b""
            if path and not path.startswith(b"/dev/fd/"):  # fexecve(3)
                base = self.link(task, "root") if path[:1] == b"/" else self.base(task, None)
                paths += [base + b"/" + path] if base else []
        return [path for path in paths if path]

    def link(self, task: int, what: str) -> bytes:
        """The target of /proc/TASK/`what`. Raises PermissionError, or FileNotFoundError for a closed descriptor."""
        try:
            return proc.link(task, what)
        except PermissionError:
            return self._concealed.link(task, what)

    def base(self, task: int, descriptor: int | None) -> bytes:
        """The directory from which a relative path starts, b"" if it is not a directory (any more)."""
        if descriptor is None or descriptor & 0xFFFFFFFF == AT_FDCWD:
            base = self.link(task, "cwd")
        else:
            base = self.link(task, f"fd/{descriptor & 0xFFFFFFFF}")
        return self._place(task, base)

    def _place(self, task: int, target: bytes) -> bytes:
        """The target of a link of /proc/TASK, b"" if it is not a file or has no name."""
        if target.startswith(_OUT_OF_REACH):
            self._is_foreign(task)
        if target[:1] != b"/" or (target.endswith(_REMOVED) and not os.path.lexists(target)):
            return b""
        return target

    def root(self, task: int) -> bytes:
        """The root directory of a task, as a path from ours."""
        return self._place(task, self.link(task, "root"))

    def caller(self, task: int) -> Caller:
        """What is needed to follow kernel links as `task` does."""
        return Caller(task, lambda: self._process(task), lambda whose, what: self._follow(task, whose, what))

    def _process(self, task: int) -> int:
        process = self._processes.get(task)
        if process is None:
            process = self._processes[task] = kernel.status(task).process
        return process

    def _follow(self, task: int, whose: int, what: str) -> bytes:
        """Where /proc/WHOSE/`what` leads, b"" to no file. Raises PermissionError if only the caller may know."""
        if whose in (task, self._process(task)):
            return self._place(whose, self.link(whose, what))
        try:
            target = proc.link(whose, what)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            return b""  # unreadable for us, and the caller has no more rights
        self._note_namespace(whose)
        return self._place(whose, target)
