"""Compare the opens that fanotify saw with the calls that seccomp saw. Pure: the caller reads links and programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slimagent.elf.tables import PT_INTERP, Read, tables
from slimagent.model.trace import How
from slimagent.paths.algebra import Resolver, ancestors, normalise

Accesses = Mapping[bytes, tuple[How, tuple[int, ...]]]
Link = Callable[[bytes], "bytes | None"]

_HEAD = 256  # BINPRM_BUF_SIZE of <linux/binfmts.h>: what the kernel reads to recognise a program
_PATH_MAX = 4096  # <linux/limits.h>
_READ = How.OPENED | How.EXECUTED | How.LISTED


def unseen(
    calls: Accesses, events: Accesses, link: Link, interpreter_of: Link, changed: Callable[[bytes], bool]
) -> list[bytes]:
    """The paths of `events` that no call of `calls` opened, sorted. Each is evidence that calls were missed.

    `link` returns a path's target, or None. `interpreter_of` returns what the kernel itself opens, without a call, to
    execute a program, or None. `changed` says whether the watched processes made, changed or removed a path: it may
    have another name now and is not part of the image. If they removed a program that they ran, any program that only
    the kernel opened may have been its interpreter.
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
    """The interpreters of programs, and the interpreters of these in turn."""
    ahead = set(programs)
    found: set[bytes] = set()
    done: set[bytes] = set()
    while ahead:
        program = ahead.pop()
        done.add(program)
        interpreter = interpreter_of(program)
        if interpreter is None:
            continue
        # Any directory above a program may be the root of a process that executes it (chroot(2)).
        ends = {resolver.resolve(root.rstrip(b"/") + interpreter).end for root in ancestors(program)}
        found.update(end for end in ends if end is not None)
        ahead |= found - done
    return found


def interpreter(read: Read) -> bytes | None:
    """The absolute path of the interpreter of a script (execve(2)) or an ELF file, or None."""
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
