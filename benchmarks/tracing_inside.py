"""The part of benchmarks/tracing.py that runs in the container: loads under each way of watching, in turn."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slimagent.linux.command import Command
from slimagent.model.trace import How
from slimagent.trace.select import Choice

BENCH = Path("/bench")
WORK = Path("/var/tmp")
ENVIRONMENT = dict(os.environ)
UNTRACED = "untraced"
BACKENDS = ("seccomp", "fanotify", "seccomp+fanotify", "inotify")
STRACES = {"strace --seccomp-bpf": ["-f", "--seccomp-bpf", "-e", "trace=file"], "strace": ["-f", "-e", "trace=file"]}
WAYS = (UNTRACED, *BACKENDS, *STRACES)

# `execve("/bin/true", ["true"], …) = 0`, `openat(AT_FDCWD, "a\303\251", …) = -1 ENOENT …`: a string is quoted as in C.
CALL = re.compile(rb'^\d+ +(\w+)\((?:[^",]*, )?"((?:[^"\\]|\\.)*)".* = (-?\d+)', re.MULTILINE)
# What another call cut in two is finished on a line of its own; its path stands on the first.
UNFINISHED = re.compile(rb'^\d+ +(\w+)\((?:[^",]*, )?"((?:[^"\\]|\\.)*)".* <unfinished \.\.\.>$', re.MULTILINE)
OPENING = (b"open", b"openat", b"openat2", b"creat", b"execve", b"execveat")

Sets = tuple[set[bytes], set[bytes]]  # opened or executed; asked for in any way


def main() -> None:
    """Run everything and leave figures.json."""
    rounds, wanted = int(sys.argv[1]), sys.argv[2:]
    loads = {name: argv for name, argv in all_loads().items() if not wanted or name in wanted}
    seconds: dict[str, dict[str, list[float]]] = {load: {way: [] for way in WAYS} for load in loads}
    besides: dict[str, dict[str, list[float]]] = {way: {"before": [], "after": []} for way in WAYS[1:]}
    missed = {}
    for load, argv in loads.items():
        plainly(argv)  # warm the page cache; not counted
        for each in range(rounds):
            seen: dict[str, Sets] = {}
            for way in WAYS[each % len(WAYS) :] + WAYS[: each % len(WAYS)]:
                before, own, after, looks = WATCH[way](argv)
                seconds[load][way].append(own)
                if way != UNTRACED:
                    besides[way]["before"].append(before)
                    besides[way]["after"].append(after)
                    seen[way] = looks() if each == rounds - 1 else (set(), set())
            print(f"{load}: round {each + 1} of {rounds}", file=sys.stderr, flush=True)
        missed[load] = compared(seen)
    figures = {
        "rounds": rounds, "kernel": platform.release(), "processors": os.cpu_count(), "ways": WAYS,
        "seconds": seconds, "besides": besides, "missed": missed,
    }  # fmt: skip
    (BENCH / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


def all_loads() -> dict[str, list[str]]:
    """The command of each load that this image can run."""
    program = str(BENCH / "tracing_loads")
    loads = {
        "200,000 stats and opens": [program, "calls", "200000"],
        "500 short processes": [program, "processes", "500", "/bin/true"],
        "200,000 getppid": [program, "getppid", "200000"],
    }
    heavy = next((each for each in ("torch", "scipy.stats", "email.mime.text") if imports(each)), "json")
    first = {f"import {heavy}": ["python3", "-c", f"import {heavy}"]}
    names = r_packages()
    if names:
        words = ", ".join(f'"{name}"' for name in names)
        script = f"for (p in c({words})) suppressMessages(requireNamespace(p, quietly = TRUE))"
        first[f"R loading {len(names)} packages"] = ["Rscript", "-e", script]
    return first | loads


def imports(module: str) -> bool:
    """Whether the image's Python can import it."""
    return subprocess.run(["python3", "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def r_packages() -> list[str]:
    """Fifty packages that can be loaded, in the order of their names."""
    script = (
        "ok <- Filter(function(p) suppressWarnings(suppressMessages(requireNamespace(p, quietly = TRUE))), "
        'head(sort(rownames(installed.packages())), 80)); cat(head(ok, 50), sep = "\\n")'
    )
    try:
        done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return [line for line in done.stdout.split() if re.fullmatch(r"[A-Za-z][A-Za-z0-9.]*", line)][:50]


Measured = tuple[float, float, float, Callable[[], Sets]]


def plainly(argv: list[str]) -> Measured:
    """Unwatched."""
    return 0.0, timed(argv, subprocess.Popen), 0.0, lambda: (set(), set())


def timed(argv: list[str], spawn: Any) -> float:
    """The seconds of a command, by its own clock if it tells them."""
    started = time.monotonic()
    process = spawn(argv, env=ENVIRONMENT, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = process.communicate()[0]
    ended = time.monotonic()
    if process.returncode:
        raise SystemExit(f"{argv} ended with {process.returncode}")
    return float(said) if str(BENCH / "tracing_loads") in argv else ended - started


def by_backend(name: str) -> Callable[[list[str]], Measured]:
    """Watched by a backend of ours."""

    def watch(argv: list[str]) -> Measured:
        began = time.monotonic()
        with Choice(name=name, passed_over=()).watcher() as watcher:
            watcher.step("load")
            ready = time.monotonic()
            own = timed(argv, lambda argv, **how: watcher.spawn(Command(argv, **how)))
            ended = time.monotonic()
        observed = watcher.finish()
        if observed.losses:
            raise SystemExit(f"{name}: losses {observed.losses}")
        done = time.monotonic()
        return ready - began, own, done - ended, lambda: of_backend(observed)

    return watch


def of_backend(observed: Any) -> Sets:
    used = How.OPENED | How.EXECUTED
    return (
        real(path for path, (how, _) in observed.accesses.items() if how & used),
        real(observed.accesses),
    )


def by_strace(options: list[str]) -> Callable[[list[str]], Measured]:
    """Watched by strace, which writes into memory."""

    def watch(argv: list[str]) -> Measured:
        output = Path("/dev/shm/strace") if os.access("/dev/shm", os.W_OK) else WORK / "strace"
        own = timed([str(BENCH / "strace"), *options, "-o", str(output), *argv], subprocess.Popen)
        return 0.0, own, 0.0, lambda: of_strace(output.read_bytes())

    return watch


def of_strace(text: bytes) -> Sets:
    found = [(call, path, int(status)) for call, path, status in CALL.findall(text)]
    found += [(call, path, 0) for call, path in UNFINISHED.findall(text)]
    opened = (unquoted(path) for call, path, status in found if call in OPENING and status >= 0)
    return real(opened), real(unquoted(path) for _, path, _ in found)


def unquoted(text: bytes) -> bytes:
    """The bytes of a string as strace writes it, from `/` where it is relative."""
    path = text.decode("unicode_escape").encode("latin-1") if b"\\" in text else text
    return path if path.startswith(b"/") else b"/" + path


def real(paths: Any) -> set[bytes]:
    """The regular files among them, by their real paths; the load's own and the kernel's file systems are none."""
    return set(_real(paths))


def _real(paths: Any) -> Iterator[bytes]:
    kernels_own = (b"/proc/", b"/sys/", b"/dev/")
    for path in paths:
        there = b"" if path.startswith(kernels_own) else os.path.realpath(path)
        if os.path.isfile(there) and not there.startswith((*kernels_own, b"/bench/")):
            yield there


def compared(seen: dict[str, Sets]) -> dict[str, Any]:
    """How many files of the union of all ways each of them did not see."""
    opened = set().union(*(sets[0] for sets in seen.values()))
    looked_up = set().union(*(sets[1] for sets in seen.values())) - opened
    return {
        "opened": {"all": len(opened), "missed": {way: len(opened - seen[way][0]) for way in seen}},
        "only looked up": {"all": len(looked_up), "missed": {way: len(looked_up - seen[way][1]) for way in seen}},
    }


WATCH: dict[str, Callable[[list[str]], Measured]] = {UNTRACED: plainly}
WATCH |= {name: by_backend(name) for name in BACKENDS}
WATCH |= {name: by_strace(options) for name, options in STRACES.items()}
