"""Processes that ran before the watch: the files that they still hold are evidence; what they closed is lost.

Links below /proc/PID (proc_pid_exe(5), proc_pid_map_files(5), proc_pid_fd(5), proc_pid_cwd(5), proc_pid_root(5)).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import psutil

from slimagent.linux import kernel
from slimagent.linux.processes import command_line
from slimagent.model.trace import How, LossKind
from slimagent.trace.record import Record

_REMOVED = b" (deleted)"


def record_running(record: Record) -> None:
    """Add to step 0 what all processes of this image hold, and count each process as a loss.

    Skips the agent and what started it, kernel threads, and processes in another mount namespace or with a root that
    we cannot see: their files are not part of this image.
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
        except PermissionError:  # without CAP_SYS_PTRACE root must take the process's user (ptrace(2))
            status = kernel.status(process)
            kernel.set_file_system_user(status.uids[1], status.gids[1])
            program = os.readlink(place + b"/exe")
        if os.stat(place + b"/ns/mnt").st_ino != own_namespace or not _has_root_below_ours(place):
            return
        record.lose(LossKind.ALREADY_RUNNING, _name(process))
        for path, how in ((program, How.EXECUTED), *_held(place)):
            if path[:1] == b"/" and not path.startswith(b"/memfd:"):
                record.add(0, path.removesuffix(_REMOVED), how)
    except PermissionError:
        record.lose(LossKind.ALREADY_RUNNING, _name(process))
        record.lose(LossKind.UNREADABLE_PATH, f"files of process {process}, which ran before: {_name(process)}")
    except (FileNotFoundError, ProcessLookupError):
        return  # a kernel thread, a zombie, or gone


def _held(place: bytes) -> Iterator[tuple[bytes, How]]:
    for entry in os.scandir(place + b"/map_files"):
        yield os.readlink(entry.path), How.OPENED
    for entry in os.scandir(place + b"/fd"):
        is_directory = stat.S_ISDIR(os.stat(entry.path).st_mode)
        yield os.readlink(entry.path), How.LISTED if is_directory else How.OPENED
    for name in (b"/cwd", b"/root"):
        yield os.readlink(place + name), How.LISTED


def _has_root_below_ours(place: bytes) -> bool:
    """Whether the path of a process's root means the same to us."""
    root = place + b"/root"
    try:
        return os.path.samestat(os.stat(root), os.stat(os.readlink(root)))
    except FileNotFoundError:
        return False


def _name(process: int) -> str:
    return command_line(process) or f"process {process}"
