"""What ran before a watch began: the files that each process still holds are evidence, what it closed is lost.

Links below /proc/PID (proc_pid_exe(5), proc_pid_map_files(5), proc_pid_fd(5), proc_pid_cwd(5), proc_pid_root(5)).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import psutil

from slimagent.linux import kernel
from slimagent.model.trace import How, LossKind
from slimagent.trace.record import Record

_REMOVED = b" (deleted)"


def record_running(record: Record) -> None:
    """Add to step 0 what all processes of this image hold, and count them as a loss.

    Not the agent itself and what started it; not kernel threads; not processes of another mount namespace or with a
    root that is not to be seen from ours: their files are no files of this image.
    """
    known = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    own_namespace = os.stat("/proc/self/ns/mnt").st_ino
    try:
        for process in psutil.pids():
            if process not in known:
                _record_process(record, process, own_namespace)
    finally:
        kernel.set_file_system_user(os.geteuid(), os.getegid())


def _record_process(record: Record, process: int, own_namespace: int) -> None:
    place = b"/proc/%d" % process
    try:
        try:
            program = os.readlink(place + b"/exe")
        except PermissionError:  # a root without CAP_SYS_PTRACE may read what it has the user of (ptrace(2))
            status = kernel.status(process)
            kernel.set_file_system_user(status.uids[1], status.gids[1])
            program = os.readlink(place + b"/exe")
        if os.stat(place + b"/ns/mnt").st_ino != own_namespace or not _has_root_below_ours(place):
            return
        record.lose(LossKind.ALREADY_RUNNING, _command_line(process))
        for path, how in ((program, How.EXECUTED), *_held(place)):
            if path[:1] == b"/" and not path.startswith(b"/memfd:"):
                record.add(0, path.removesuffix(_REMOVED), how)
    except PermissionError:
        record.lose(LossKind.ALREADY_RUNNING, _command_line(process))
        record.lose(
            LossKind.UNREADABLE_PATH, f"what process {process} holds, which ran before: {_command_line(process)}"
        )
    except (FileNotFoundError, ProcessLookupError):
        return  # a kernel thread, a zombie, or gone


def _held(place: bytes) -> Iterator[tuple[bytes, How]]:
    for entry in os.scandir(place + b"/map_files"):
        yield os.readlink(entry.path), How.OPENED
    for entry in os.scandir(place + b"/fd"):
        is_folder = stat.S_ISDIR(os.stat(entry.path).st_mode)
        yield os.readlink(entry.path), How.LISTED if is_folder else How.OPENED
    for name in (b"/cwd", b"/root"):
        yield os.readlink(place + name), How.LISTED


def _has_root_below_ours(place: bytes) -> bool:
    """Whether the name of a process's root means the same to us."""
    root = place + b"/root"
    try:
        return os.path.samestat(os.stat(root), os.stat(os.readlink(root)))
    except FileNotFoundError:
        return False


def _command_line(process: int) -> str:
    try:
        found = psutil.Process(process)
        return " ".join(found.cmdline()) or found.name()
    except psutil.Error:
        return f"process {process}"
