"""What a call does: which files its paths name, how it uses them, and what it changes for later paths."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from slimagent.linux import kernel
from slimagent.linux.syscalls import O_CREAT, O_PATH, Action, Call, Machine, PathArgument
from slimagent.model.trace import How, LossKind
from slimagent.trace.made_programs import interpreter_of
from slimagent.trace.seccomp.attribution import test_name
from slimagent.trace.seccomp.names import Changes, Names
from slimagent.trace.seccomp.tasks import Tasks

LOOKED_UP, OPENED, EXECUTED, LISTED = map(int, (How.LOOKED_UP, How.OPENED, How.EXECUTED, How.LISTED))
_SLASH = ord("/")
_OPEN_HOW = struct.Struct("=QQQ")  # struct open_how { u64 flags; u64 mode; u64 resolve; } of openat2(2)
_IN_ROOT = 0x10  # RESOLVE_IN_ROOT
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS of unshare(2) and setns(2)
_TREE_CLONE, _DETACH = 1, 2  # OPEN_TREE_CLONE of open_tree(2), MNT_DETACH of umount2(2)
_BIND, _MOVE = 0x1000, 0x2000  # MS_BIND, MS_MOVE of mount(2)
_NO_NEW_MOUNT = 0x20 | 0x1E0000  # MS_REMOUNT; MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED
_EMPTY = (b"tmpfs", b"ramfs", b"devpts", b"mqueue", b"sysfs", b"cgroup2")  # never show files of the image
_DEEPEST = 5  # interpreters of interpreters (exec_binprm of the kernel)
# Only these lead out of /proc.
_LEADS_OUT = re.compile(rb"/(?:root|cwd|exe|fd|map_files|\.\.)(?:/|$)")


class Named(NamedTuple):
    """A path of a call: its spelling from our root, what we record of it, and which files it names.

    `place` is where it leads now.
    """

    spelled: bytes
    recorded: tuple[bytes, ...]
    names: tuple[bytes, ...]
    place: bytes


class Looked(NamedTuple):
    """What a call does: its paths, and how it uses them.

    `makes` has the indices of paths that it may make: they need not exist. `interpreters` are what the kernel opens to
    execute a program that is not part of the image.
    """

    paths: list[Named]
    how: int
    makes: range = range(0)
    interpreters: tuple[bytes, ...] = ()


class Look:
    """Look at the calls of one supervisor. `lose` counts losses. With `names_all` every path is followed.

    `mark` gets each task that marks a test, with its name (see `attribution`); None if marks are files of the image.
    `other_roots`: whether a task may have another root than ours.
    """

    def __init__(
        self,
        machine: Machine,
        changes: Changes,
        lose: Callable[[LossKind, str], None],
        names_all: bool,
        mark: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.names = Names(changes)
        self._mark = mark
        self.other_roots = False
        self._changes = changes
        self._lose = lose
        self._machine = machine
        self._names_all = names_all
        self._known: dict[bytes, Named] = {}
        changes.forgets(self._known)
        self._mounted = ""

    def at(self, tasks: Tasks, task: int, call: Call, arguments: list[int]) -> Looked:
        """Look at a waiting call. Raises OSError if its paths cannot be read."""
        how, makes_last, in_root = self._action(tasks, task, call, arguments)
        paths: list[Named] = []
        found: tuple[bytes, ...] = ()
        for argument in call.paths:
            descriptor = None if argument.descriptor is None else arguments[argument.descriptor]
            path = self._path(tasks, task, call, argument, arguments)
            if path:
                paths += self._named(tasks, task, path, descriptor, in_root)
                if call.action is Action.EXECUTE and paths:
                    found = self._interpreters(tasks, task, paths[-1].place)
        self._change(tasks, task, call, arguments)
        makes = range(len(paths) - 1, len(paths)) if makes_last and paths else range(0)
        return Looked(paths, how, makes, found)

    def use(self, flags: int) -> int:
        """How an open with these flags uses a path. O_PATH reads nothing."""
        if flags & O_PATH:
            return LOOKED_UP
        return LISTED if flags & self._machine.o_directory else OPENED

    def end(self) -> None:
        """Count the losses that show only at the end of the watch."""
        if self._mounted and self._changes.mounts.have_changed():
            self._lose(LossKind.MOUNTS_CHANGED, self._mounted)

    @staticmethod
    def _path(tasks: Tasks, task: int, call: Call, argument: PathArgument, arguments: list[int]) -> bytes:
        address = arguments[argument.path]
        if call.action in (Action.CONNECT, Action.BIND):
            return tasks.socket_path(task, address, arguments[2] & 0xFFFFFFFF)
        path = tasks.path(task, address)
        if not path and call.action is Action.EXECUTE and argument.descriptor is not None:  # fexecve(3)
            path = b"/proc/self/fd/%d" % (arguments[argument.descriptor] & 0xFFFFFFFF)
        return path

    def _named(self, tasks: Tasks, task: int, path: bytes, descriptor: int | None, in_root: bool) -> list[Named]:
        """The path as we record it. Empty if it names nothing on a file system."""
        is_absolute = path[0] == _SLASH and not in_root
        if is_absolute and path.startswith(b"/proc/") and not _LEADS_OUT.search(path):
            return []
        root = tasks.root(task) if self.other_roots else b"/"
        start = root if is_absolute else tasks.base(task, descriptor)
        if not start or not root:
            return []
        if self._mark is not None and root == b"/" and (test := test_name(path)) is not None:
            self._mark(task, test)
            return []
        spelled = path if is_absolute else start + b"/" + path
        is_usual = root == b"/" and not in_root
        if is_usual:
            if spelled in self._known:
                return [self._known[spelled]]
            if not self._names_all and (spelled in self.names.plain or self.names.is_plain(spelled)):
                return [Named(spelled, (spelled,), (spelled,), spelled)]
        generation = self._changes.generation
        way = self.names.walk(tasks.caller(task), start, path, root=start if in_root else root)
        if not is_usual:
            return [Named(spelled, way.names, way.names, way.end)]
        if not way.plain:
            recorded = way.names if spelled.startswith(b"/proc/") else (spelled, *way.names)
            return [Named(spelled, recorded, way.names, way.end)]
        named = Named(spelled, (spelled,), way.names, way.end)
        if generation == self._changes.generation:
            self._known[spelled] = named
        return [named]

    def _interpreters(self, tasks: Tasks, task: int, place: bytes) -> tuple[bytes, ...]:
        """What the kernel opens to execute a program that the run made. The plan does it for the image's programs."""
        found: list[bytes] = []
        for _ in range(_DEEPEST):
            path = interpreter_of(place, self._changes.began)
            named = self._named(tasks, task, path, None, False) if path else []
            if not named:
                break
            found += named[0].recorded
            place = named[0].place
        return tuple(found)

    def _action(self, tasks: Tasks, task: int, call: Call, arguments: list[int]) -> tuple[int, bool, bool]:
        """How a call uses its paths, whether it may make the last, and whether its descriptor is their root."""
        action = call.action
        if action is Action.OPEN:
            flags = arguments[call.flags]
            return self.use(flags), bool(flags & O_CREAT and not flags & O_PATH), False
        if action is Action.OPEN_HOW:
            fields = tasks.contents(task, arguments[call.flags], _OPEN_HOW.size)
            flags, _, resolve = _OPEN_HOW.unpack(fields) if fields else (0, 0, 0)
            return self.use(flags), bool(flags & O_CREAT and not flags & O_PATH), bool(resolve & _IN_ROOT)
        if action is Action.OPEN_NEW:
            return OPENED, True, False
        if action is Action.EXECUTE:
            return EXECUTED, False, False
        makes = action in (Action.CREATE, Action.LINK, Action.MOVE, Action.BIND)
        if call.name == "renameat2" and arguments[4] & _EXCHANGE:
            makes = False
        return LOOKED_UP, makes, False

    def _change(self, tasks: Tasks, task: int, call: Call, arguments: list[int]) -> None:
        """Note what may have another meaning after the call."""
        action = call.action
        if action is Action.CHANGE_ROOT:
            self.other_roots = True
        if action is Action.HANDLE and kernel.may(task, kernel.CAP_DAC_READ_SEARCH, kernel.CAP_SYS_ADMIN):
            self._lose(LossKind.OPENED_BY_HANDLE, f"{call.name} of {kernel.program(task)} (process {task})")
        elif action is Action.NAMESPACE:
            flags = arguments[0 if call.name == "unshare" else 1]
            if flags & _NEW_MOUNTS or (call.name == "setns" and not flags & 0xFFFFFFFF):
                tasks.leaves_namespace(task)
        elif action is Action.MOUNT or call.name == "pivot_root":
            self._mount(tasks, task, call, arguments)
        elif action in (Action.LINK, Action.MOVE) or (action is Action.REMOVE and self._names_all):
            places = [self._place(tasks, task, argument, arguments) for argument in call.paths]
            if action is Action.REMOVE:
                self._changes.remove(places[0])
            elif len(places) == 1:
                self._changes.change(places[0])
            else:
                self._changes.move(*places)

    def _place(self, tasks: Tasks, task: int, argument: PathArgument, arguments: list[int]) -> bytes:
        """Where a path is now, without following a last link. b"" for nowhere."""
        path = tasks.path(task, arguments[argument.path])
        descriptor = None if argument.descriptor is None else arguments[argument.descriptor]
        root = tasks.root(task) if self.other_roots else b"/"
        start = root if path[:1] == b"/" else tasks.base(task, descriptor)
        if not path or not start:
            return b""
        return self.names.walk(tasks.caller(task), start, path, root=root, follow=False).end

    def _mount(self, tasks: Tasks, task: int, call: Call, arguments: list[int]) -> None:
        if not kernel.may(task, kernel.CAP_SYS_ADMIN):
            return
        who = f"{call.name} of {kernel.program(task)} (process {task})"
        flags = arguments[call.flags] if call.flags >= 0 else 0
        if call.name == "fsmount" or (call.name.startswith("open_tree") and flags & _TREE_CLONE):
            self._lose(LossKind.MOUNTS_CHANGED, who)  # a mount without a place
        elif call.name in ("mount", "move_mount", "pivot_root"):
            place = self._place(tasks, task, call.paths[-1], arguments)
            if place:
                self._changes.mounts.cover(place)
            if call.name != "mount" or self._shows_files(tasks, task, arguments):
                self._mounted = self._mounted or who
        elif call.name == "umount2" and flags & _DETACH:
            self._mounted = self._mounted or who

    @staticmethod
    def _shows_files(tasks: Tasks, task: int, arguments: list[int]) -> bool:
        """Whether a mount(2) may show files of this or another image in another place."""
        flags = arguments[3]
        if flags & (_BIND | _MOVE) and not flags & 0x20:
            return True
        return not flags & _NO_NEW_MOUNT and tasks.path(task, arguments[2]) not in _EMPTY
