"""Try ways around a watcher, one at a time, and tell of each whether it was seen. Runs where the watcher is to work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from slimagent.inventory.scan import scan
from slimagent.linux.command import Command
from slimagent.model.inventory import Inventory
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import BlindSpot, How
from slimagent.paths.algebra import Resolver
from slimagent.trace.select import Choice, choose
from slimagent.workflows.exercise import Watched
from slimagent.workflows.session import Session
from slimagent.workflows.tracing import recorded

BACKENDS = ("seccomp", "fanotify", "inotify", "seccomp+fanotify")
SECONDS = 60
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
FILES = ("d/file", "d/below/file", "d/in-root", "d/program", "other/file", "old/older/file")

# What docs/evasions.md says that a backend cannot see; what is only looked up is its blind spot `lookups`.
DOCUMENTED = {
    "changed-path": ("seccomp",),
    "socket-message": ("seccomp", "seccomp+fanotify"),
    "given-descriptor": BACKENDS,
    "moved-file": ("inotify",),
    "hard-link": ("inotify",),
    "hard-link-of-descriptor": ("inotify",),
    "handle-of-now": ("inotify",),
    "handle-of-before": ("inotify",),
    "overlay-mounted": ("inotify",),
    "overlay-unmounted": ("inotify", "fanotify"),
}
# Linux before 6.5 tells nobody of an open by a descriptor without a name, or of the real file below an overlay (commits
# 7b8c9d7bb457 "fsnotify: move fsnotify_open() hook into do_dentry_open()" and bc2473c90fca "ovl: enable fsnotify events
# on underlying real files").
if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 5):
    DOCUMENTED |= {"execveat-descriptor": ("fanotify", "inotify"), "overlay-mounted": ("inotify", "fanotify")}
FOREIGN = ("mount-namespace", "unseen-open", "unreadable-path")  # where fanotify cannot tell whose a process is


class Result(NamedTuple):
    """What became of a way: seen, loss, documented, refused (this machine does not allow it), or SILENT; and why."""

    verdict: str
    detail: str = ""


def ways(program: str) -> list[str]:
    """The names of all ways."""
    return subprocess.run([program, "-", "list"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def attempt(program: str, way: str, backend: str, work: str, *, masked: bool = False) -> Result:
    """Try one way under one backend, in a directory of its own below `work`.

    `masked`: every file of the image is to look gone. A way that got at one all the same has to be a loss, too.
    """
    place = os.path.realpath(tempfile.mkdtemp(prefix="evasion-", dir=work))
    Path(place).chmod(0o755)
    try:
        subprocess.run([program, place, "prepare"], check=True, stdout=subprocess.DEVNULL)
        before = scan(b"/", (os.fsencode(place),))
        said, watched = _watch(program, place, way, backend, masked)
        after = scan(b"/", (os.fsencode(place),))
        if masked:
            return _hidden(said, way, watched)
        trace = recorded(watched, Session(scopes=(os.fsencode(place),)), before, after)
        return _judge(said, way, watched, _seen(before, trace.accesses), place)
    finally:
        shutil.rmtree(place)


def _watch(program: str, place: str, way: str, backend: str, masked: bool) -> tuple[list[list[str]], Watched]:
    gone = frozenset(os.fsencode(f"{place}/{name}") for name in FILES)
    watcher = Choice(name=backend, passed_over=()).watcher(
        gone.__contains__ if masked else None, (os.fsencode(place), os.fsencode(os.path.dirname(program)))
    )
    with watcher, tempfile.TemporaryFile() as output, open(f"{place}/d/file", "rb") as given:
        watcher.step(way)
        process = watcher.spawn(Command([program, place, way], env=ENVIRONMENT, stdin=given, stdout=output))
        process.wait(timeout=SECONDS)
        observed = watcher.finish()
        output.seek(0)
        said = [line.split("\t", 1) for line in output.read().decode().splitlines()]
    result = CheckResult(
        name=way, kind="command", outcome=Outcome.PASSED, seconds=0.0, detail="", status=process.pid
    )  # the way's process
    watched = Watched(
        results=(result,), observed=observed, backend=backend, passed_over=(), blind_spots=watcher.blind_spots,
        no_new_privileges=watcher.no_new_privileges, asked_ports=(), status=0, interrupted=False,
    )  # fmt: skip
    return said, watched


def _seen(before: Inventory, accesses: Any) -> dict[str, How]:
    """What the accesses of a trace come to: each name, each link on the way, and each end, as a plan follows them."""
    resolver = Resolver(before.link)
    seen: dict[str, How] = {}
    for access in accesses:
        way = resolver.resolve(access.path)
        for name in {access.path, *way.hops, way.end or access.path}:
            text = os.fsdecode(name)
            seen[text] = seen.get(text, How(0)) | access.how
    return seen


def _judge(said: list[list[str]], way: str, watched: Watched, seen: dict[str, How], place: str) -> Result:
    blind = watched.blind_spots
    wanted = {
        "read": How.OPENED,
        "ran": How.OPENED if BlindSpot.EXECUTIONS in blind else How.EXECUTED,
        "used": How.LOOKED_UP | How.OPENED,
    }
    done = [(word, path) for word, path in said if word in wanted]
    if not done:
        return Result("refused", "; ".join(path for _, path in said) or "it said nothing")
    missing = [(word, path) for word, path in done if not seen.get(path, How(0)) & wanted[word]]
    looked_up = BlindSpot.LOOKUPS not in blind and all(path in seen for _, path in missing)
    losses = ", ".join(sorted({loss.kind for loss in watched.observed.losses if _counts(loss, watched, place)}))
    if not missing:
        return Result("seen", losses)
    if losses:
        return Result("loss", losses)
    if looked_up:
        return Result("seen", "looked up")  # a plan keeps it all the same
    if watched.backend in DOCUMENTED.get(way, ()):
        return Result("documented")
    if BlindSpot.LOOKUPS in blind and all(word == "used" for word, _ in missing):
        return Result("documented", "lookups")
    return Result("SILENT", ", ".join(os.path.relpath(path, place) for _, path in missing))


def _counts(loss: Any, watched: Watched, place: str) -> bool:
    """Whether a loss is this way's: other processes of the machine make some for a backend that cannot tell."""
    is_other = "fanotify" in watched.backend and loss.kind in FOREIGN
    ours = (place, f"process {watched.results[0].status} ", "has mounts of its own")
    return not is_other or any(each in loss.example for each in ours)


def _hidden(said: list[list[str]], way: str, watched: Watched) -> Result:
    got = [path for word, path in said if word in ("read", "ran")]
    if not got:
        return Result("hidden")
    losses = ", ".join(sorted(loss.kind for loss in watched.observed.losses))
    if losses:
        return Result("loss", losses)
    return Result("documented") if watched.backend in DOCUMENTED.get(way, ()) else Result("SILENT", ", ".join(got))


def main() -> None:
    """Try everything under every backend that works here; print the results as JSON."""
    program, work, *only = sys.argv[1:]
    table: dict[str, dict[str, Result]] = {}
    for backend in BACKENDS:
        try:
            choose(backend)
        except Exception as error:
            print(f"{backend}: {error}", file=sys.stderr)
            continue
        for way in only or ways(program):
            table.setdefault(way, {})[backend] = attempt(program, way, backend, work)
            if backend == "seccomp":
                table[way]["seccomp, masked"] = attempt(program, way, backend, work, masked=True)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
