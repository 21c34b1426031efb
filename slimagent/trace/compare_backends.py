"""Hold what fanotify saw opened against the calls that seccomp saw. Pure: links and programs are read by the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from slimagent.elf.tables import PT_INTERP, Read, tables
from slimagent.model.trace import How
from slimagent.paths.algebra import Resolver, normalise, parent

Accesses = Mapping[bytes, tuple[How, tuple[int, ...]]]
Link = Callable[[bytes], "bytes | None"]

_HEAD = 256  # BINPRM_BUF_SIZE of <linux/binfmts.h>: what the kernel reads of a program to see what it is
_PATH_MAX = 4096  # <linux/limits.h>
_READ = How.OPENED | How.EXECUTED | How.LISTED


def unseen(
    calls: Accesses, events: Accesses, link: Link, interpreter_of: Link, changed: Callable[[bytes], bool]
) -> list[bytes]:
    """The paths of `events` that no call of `calls` opened, sorted; each is evidence that calls were missed.

    `link` gives a path's target, None where no link is. `interpreter_of` gives what the kernel opens by itself to
    execute the program at a path, None for nothing: that is no call. `changed` tells whether the watched processes
    made, changed or removed a path: what they made and renamed has another name now, and is none of the image's. If
    they removed a program that they ran, any program that only the kernel opened may have been its interpreter.
    """
    left = {path for path in events if not calls.get(path, (How(0),))[0] & _READ}
    if left:
        resolver = Resolver(link)
        left -= {resolver.resolve(path).end for path, (how, _) in calls.items() if how & _READ}
    if any(events[path][0] & How.EXECUTED for path in left):
        ends = (resolver.resolve(path).end for path, (how, _) in calls.items() if how & How.EXECUTED)
        programs = {end for end in ends if end is not None}
        by_kernel = _interpreters(programs, resolver, interpreter_of)
        ran = (path for path in programs if path in events and events[path][0] & How.EXECUTED)
        some_unknown = any(changed(path) and interpreter_of(path) is None for path in ran)
        left = {path for path in left if not (events[path][0] & How.EXECUTED and (some_unknown or path in by_kernel))}
    return sorted(path for path in left if not changed(path))


def _interpreters(programs: set[bytes], resolver: Resolver, interpreter_of: Link) -> set[bytes]:
    """Where the interpreters of programs are, and those of the interpreters in turn."""
    ahead = set(programs)
    found: set[bytes] = set()
    done: set[bytes] = set()
    while ahead:
        program = ahead.pop()
        done.add(program)
        interpreter = interpreter_of(program)
        if interpreter is None:
            continue
        ends = {resolver.resolve(root + interpreter).end for root in _possible_roots(program)}
        found.update(end for end in ends if end is not None)
        ahead |= found - done
    return found


def _possible_roots(program: bytes) -> Iterator[bytes]:
    """What can be the root of a process that executes `program` (chroot(2)): b"" for ours, and every folder above."""
    folder = parent(program)
    while folder != b"/":
        yield folder
        folder = parent(folder)
    yield b""


def interpreter(read: Read) -> bytes | None:
    """The absolute path of the interpreter of a program: of a script (execve(2)), of an ELF file; None for none."""
    head = read(0, _HEAD)
    found: bytes | None = None
    if head[:2] == b"#!":
        words = head[2:].split(b"\n", 1)[0].split()
        found = words[0] if words else None
    elif (program := tables(read)) is not None:
        for segment in program.segments:
            if segment.kind == PT_INTERP:
                found = read(segment.offset, min(segment.size, _PATH_MAX)).split(b"\0", 1)[0]
    return normalise(found) if found and found[:1] == b"/" else None
