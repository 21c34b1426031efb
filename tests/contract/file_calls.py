"""The C program tests/c: how to run it under a watcher, and what it says that the watcher must have seen."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.model.trace import BlindSpot, How
from slimagent.paths.algebra import from_text, to_text

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# An emulated processor is some 20 times slower (tests/machines): this is how much longer anything may take.
PATIENCE = int(os.environ.get("SLIMAGENT_TEST_PATIENCE", "1"))
SECONDS = 60 * PATIENCE
_WORDS = {"looked-up": How.LOOKED_UP, "opened": How.OPENED, "executed": How.EXECUTED, "listed": How.LISTED}


@dataclass(frozen=True)
class Said:
    """What a run of the program said: the uses of paths that a watcher must report, and results by word."""

    expected: tuple[tuple[How, bytes], ...]
    results: dict[str, int]
    refused: frozenset[bytes] = frozenset()

    def __add__(self, other: Said) -> Said:
        return Said(self.expected + other.expected, self.results | other.results, self.refused | other.refused)

    def paths(self) -> set[bytes]:
        return {path for _, path in self.expected}


@dataclass(frozen=True)
class FileCalls:
    """The compiled program and a folder that it has prepared."""

    program: str
    folder: bytes

    def argv(self, mode: str, *arguments: object) -> list[str]:
        return [self.program, os.fsdecode(self.folder), mode, *map(str, arguments)]

    def path(self, name: str | bytes) -> bytes:
        return os.path.join(self.folder, os.fsencode(name))

    def prepare(self) -> None:
        """Make everything that the modes want to find. Not watched: what it does would hide a miss."""
        subprocess.run(self.argv("prepare"), check=True, timeout=SECONDS)

    def start(self, watcher: Any, mode: str, *arguments: object, program: str = "", **options: Any) -> Running:
        """The program in `mode`, watched; `options` are those of `spawn`, `program` is another name of it."""
        output, complaints = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 kept by Running
        options = {"env": ENVIRONMENT, "stdout": output, "stderr": complaints, **options}
        command = [program or self.program, *self.argv(mode, *arguments)[1:]]
        return Running(watcher.spawn(Command(command, **options)), output, complaints)

    def run(self, watcher: Any, mode: str, *arguments: object, **options: Any) -> Said:
        """Start, wait for a good end, and return what was said."""
        return self.start(watcher, mode, *arguments, **options).end()


@dataclass(frozen=True)
class Running:
    """A started program whose output goes into a file."""

    process: subprocess.Popen[bytes]
    output: Any
    complaints: Any

    def end(self, status: int = 0) -> Said:
        """Wait until the program ends with `status`."""
        ended = self.process.wait(timeout=SECONDS)
        self.complaints.seek(0)
        complaints = self.complaints.read()
        assert ended == status, f"status {ended}: {complaints!r}"
        return self.said()

    def said(self) -> Said:
        """What has been said by now. The program shares our place in the file: it must not be moved."""
        return parse(os.pread(self.output.fileno(), os.fstat(self.output.fileno()).st_size, 0))


def parse(output: bytes) -> Said:
    """Sort the program's lines (tests/c/file_calls.h) into expectations and results."""
    expected, results, refused = [], {}, set()
    for line in output.decode("ascii").splitlines():
        word, _, value = line.partition("\t")
        if word in _WORDS:
            expected.append((_WORDS[word], from_text(value)))
        elif word == "refused":
            refused.add(from_text(value))
        else:
            results[word] = int(value)
    return Said(tuple(expected), results, frozenset(refused))


def missed(said: Said | Iterable[tuple[How, bytes]], watcher: Any) -> list[str]:
    """The expectations that are not met, but for what the backend is blind to by its nature.

    Whatever was opened or executed was looked up, too; to execute a file is to open it, which who sees the kernel's
    own opens need not tell from other opens of it. Under another seccomp filter (a container's) a refused call is
    none that could be seen: of two filters' answers the kernel takes the stricter one (seccomp(2)), so that it never
    looked at the path.
    """
    expected = said.expected if isinstance(said, Said) else said
    if isinstance(said, Said) and said.refused and kernel.status().filters:
        expected = [(how, path) for how, path in expected if path not in said.refused]
    seen = {path: how for path, (how, _) in watcher.finish().accesses.items()}
    files = _files(seen) if BlindSpot.LOOKUPS in watcher.blind_spots else {}
    misses = set()
    for how, path in visible(expected, watcher.blind_spots):
        found = seen.get(path, How(0)) | files.get(_file(path), How(0))
        if found & How.EXECUTED and BlindSpot.KERNEL_OPENS not in watcher.blind_spots:
            found |= How.OPENED
        if not (found if how is How.LOOKED_UP else found & how):
            misses.add(f"{how.name} {to_text(path)}, seen as {found!r}")
    return sorted(misses)


def visible(expected: Iterable[tuple[How, bytes]], blind_spots: tuple[BlindSpot, ...]) -> Iterator[tuple[How, bytes]]:
    """What a backend with these blind spots can see of all that was done, and by which path. The one place for that.

    Blind to lookups, it sees only what was really opened, under its real path. That can be found out afterwards: the
    program does not remove what it opened, nor make what it had looked for in vain. What may not be executed is refused
    before it is opened (execve(2), EACCES).
    """
    for how, path in expected:
        if BlindSpot.LOOKUPS in blind_spots:
            mode = os.stat(path).st_mode if os.path.exists(path) else 0
            if how is How.LOOKED_UP or not mode or (how is How.EXECUTED and not stat.S_IMODE(mode) & 0o111):
                continue
            path = os.path.realpath(path)
        yield How.OPENED if how is How.EXECUTED and BlindSpot.EXECUTIONS in blind_spots else how, path


def unsaid(said: Said, watcher: Any, folder: bytes) -> dict[bytes, How]:
    """What was seen below `folder` that the program did not say: paths, and uses of a path.

    A backend that sees what the kernel opens says the real path, too, and that what is executed is opened.
    """
    sees_opens = BlindSpot.KERNEL_OPENS not in watcher.blind_spots
    opens = How.OPENED if sees_opens else How(0)
    real = visible(said.expected, (BlindSpot.LOOKUPS,)) if sees_opens else ()
    uses: dict[bytes, How] = {}
    for how, path in [*said.expected, *real]:
        uses[path] = uses.get(path, How.LOOKED_UP) | how | (opens if how is How.EXECUTED else How(0))
    return {
        path: how & ~uses.get(path, How(0))
        for path, how in below(watcher.finish(), folder).items()
        if how & ~uses.get(path, How(0))
    }


def knows_whose(watcher: Any) -> bool:
    """Whether it knows whose every access is: fanotify names a process that may be gone by then, inotify none."""
    return BlindSpot.WHO not in watcher.blind_spots and "fanotify" not in watcher.name


def lost(watcher: Any, folder: bytes) -> list[Any]:
    """The losses, without what processes beside the test did, as far as a backend cannot tell them apart for certain.

    A container's overlay opens files by their handles; those of the test are opened by their names. The kernel does not
    say who changed the mounts: each mount(2) of these programs fails, so a change is an engine's, beside the test.
    """
    losses = [loss for loss in watcher.finish().losses if loss.kind != "mounts-changed"]
    if knows_whose(watcher):
        return losses
    foreign = ("mount-namespace", "unseen-open")
    return [
        loss
        for loss in losses
        if os.fsdecode(folder) in loss.example or not (loss.kind in foreign or "opened by its handle" in loss.example)
    ]


def below(observed: Any, folder: bytes) -> dict[bytes, How]:
    """What was observed below `folder`."""
    return {path: how for path, (how, _) in observed.accesses.items() if path.startswith(folder + b"/")}


def _file(path: bytes) -> tuple[int, int]:
    """Which file it is, by whichever of its names: (0, 0) if it is none."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def _files(seen: dict[bytes, How]) -> dict[tuple[int, int], How]:
    """How each file was used, under any of its names: to say one of several is enough, the others are the same file."""
    files: dict[tuple[int, int], How] = {}
    for path, how in seen.items():
        files[_file(path)] = files.get(_file(path), How(0)) | how
    files.pop((0, 0), None)
    return files
