"""The C program tests/c: how to run it under a watcher, and what it says that the watcher must have seen."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from slimagent.paths import from_text, to_text
from slimagent.trace import kernel
from slimagent.traces import How

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
SECONDS = 60
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

    def start(self, watcher: Any, mode: str, *arguments: object, **options: Any) -> Running:
        """The program in `mode`, watched; `options` are those of `spawn`."""
        output, complaints = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 kept by Running
        options = {"env": ENVIRONMENT, "stdout": output, "stderr": complaints, **options}
        return Running(watcher.spawn(self.argv(mode, *arguments), **options), output, complaints)

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
        """What has been said by now."""
        self.output.seek(0)
        return parse(self.output.read())


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


def missed(said: Said | Iterable[tuple[How, bytes]], observed: Any) -> list[str]:
    """The expectations that are not met. Whatever was opened or executed was looked up, too.

    Under another seccomp filter (a container's) a refused call is none that could be seen: of two filters' answers
    the kernel takes the stricter one (seccomp(2)), so that it never looked at the path.
    """
    expected = said.expected if isinstance(said, Said) else said
    if isinstance(said, Said) and said.refused and kernel.status().filters:
        expected = [(how, path) for how, path in expected if path not in said.refused]
    misses = set()
    for how, path in expected:
        seen = observed.accesses.get(path, (How(0), ()))[0]
        if not (seen if how is How.LOOKED_UP else seen & how):
            misses.add(f"{how.name} {to_text(path)}, seen as {seen!r}")
    return sorted(misses)


def below(observed: Any, folder: bytes) -> dict[bytes, How]:
    """What was observed below `folder`."""
    return {path: how for path, (how, _) in observed.accesses.items() if path.startswith(folder + b"/")}
