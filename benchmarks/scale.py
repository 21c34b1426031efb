"""Measure whether planning is linear: seconds and peak memory on synthetic images of 100,000 to 1,000,000 files.

    python benchmarks/scale.py                              # three sizes, both levels: some ten minutes, 6 GB
    python benchmarks/scale.py 100000 300000 --level package --in /dev/shm
    python benchmarks/scale.py --tree EXTRACTED --trace trace.json

The trees are those of `synthetic.py`, made in a new folder in `--in` and removed at the end. Each run is a process of
its own that reads the trace, scans, finds the owners, plans (closure, verdicts) and encodes the plan, as `slimagent
plan` does but for writing the plan to disk. Its memory is the highest that it ever had (ru_maxrss), the program
itself included. The runs of all levels take turns; the medians count. The kernel has the folders in its cache by then.
Put the trees on a fast file system (`--in /dev/shm`, 5 GB for a million files): some take ten minutes to make them.

With `--tree` it is a real image that is measured, extracted to a folder. Its trace need not fit: the fingerprints in
the trace are replaced by the tree's own, and its losses and failed steps are accepted, for what is asked here is how
long planning takes, not whether the plan is right.

Machines differ, and others use them at the same time: processor seconds suffer least from that. Each run is one
thread, so on an idle machine wall seconds are the same. "growth" is what a file costs in the largest tree over what it
costs in the smallest: 1.00 is linear.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import os
import pstats
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimagent.model.plan import Plan
    from slimagent.model.result import CheckResult

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = (100_000, 300_000, 1_000_000)
PHASES = ("trace", "scan", "owners", "plan", "encode")
_COLUMNS = (*PHASES, "sum")
_NAMES = {"scan the image": "scan", "find the owners of files": "owners"}  # of pipeline's phases
_PROFILED = ("owners", "plan")


class Clock:
    """A `slimagent.workflows.exercise.Reporter` that measures each phase: wall and processor seconds, and peak memory.

    The peak is in MiB, at the phase's end.
    """

    def __init__(self, hot: int) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.hot: dict[str, str] = {}
        self._hot = hot

    @contextlib.contextmanager
    def phase(self, name: str, unit: str = "") -> Iterator[Callable[[int], None]]:
        """Measure what is done inside."""
        name = _NAMES.get(name, name)
        profile = cProfile.Profile() if self._hot and name in _PROFILED else None
        start, used = time.perf_counter(), time.process_time()
        with profile or contextlib.nullcontext():
            yield lambda done: None
        self.wall[name], self.cpu[name] = time.perf_counter() - start, time.process_time() - used
        self.peaks[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if profile is not None:
            text = io.StringIO()
            pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(self._hot)
            self.hot[name] = text.getvalue()

    def waiting(self, what: str) -> contextlib.AbstractContextManager[None]:
        """No check is run here."""
        return contextlib.nullcontext()

    def watching(self) -> None:
        """It does not."""

    def result(self, result: CheckResult, before: CheckResult | None = None) -> None:
        """No check is run here."""


def measure(tree: str, trace: str, level: str, profile: str, hot: int = 0) -> dict[str, Any]:
    """Plan once, in this process. `hot`: so many lines of a profile of owners and plan (it is slower then).

    Raises SlimagentError for a tree or trace that cannot be read.
    """
    # Not at the top: what started us must stay small, as its peak memory is handed down to its children (execve(2)).
    from dataclasses import replace

    from slimagent import documents
    from slimagent.inventory.fingerprint import fingerprint
    from slimagent.linux.files import digest, read
    from slimagent.model.trace import FAILED_STEP
    from slimagent.profiles import shipped as profiles
    from slimagent.workflows import pipeline
    from slimagent.workflows.session import Session, canonical

    clock = Clock(hot)
    session = Session(root=canonical(tree), profile=profiles.load(profile))
    with clock.phase("trace"):
        data = read(trace)
        traced = documents.decode_trace(data, trace)
    session = pipeline.seen_as(session, traced)
    inventory = pipeline.inspect(session, clock)
    own = fingerprint(inventory, (*traced.mounts, *session.excluded))  # outside of the phases: planning takes its own
    traced = replace(traced, before=own)
    accepted = frozenset({FAILED_STEP, *(loss.kind for loss in traced.losses)})
    made = pipeline.plan(session, traced, (digest(data),), level, accepted, clock, inventory)
    with clock.phase("encode"):
        encoded = documents.encode_plan(made)
    return {
        "level": level,
        "files": sum(mode & 0o170000 != 0o040000 for mode in inventory.modes),
        **_of_plan(made),
        "plan_bytes": len(encoded),
        "wall": {**clock.wall, "sum": sum(clock.wall.values())},
        "cpu": {**clock.cpu, "sum": sum(clock.cpu.values())},
        "peaks": clock.peaks,
        "hot": clock.hot,
    }


def _of_plan(made: Plan) -> dict[str, Any]:
    """What tells whether the tree was understood."""
    return {
        "paths": len(made.entries),
        "owned": sum(entry.owner >= 0 for entry in made.entries),
        "packages": dict(Counter(each.package.kind for each in made.packages)),
        "kept": sum(made.reasons[entry.reason].verdict.value == "keep" for entry in made.entries),
        "problems": len(made.problems),
        "unresolved": len(made.unresolved),
    }


def run(tree: str, trace: str, level: str, options: argparse.Namespace, hot: int = 0) -> dict[str, Any]:
    """`measure` in a process of its own. Exits if that fails."""
    task = json.dumps([tree, trace, level, options.profile, hot])
    done = subprocess.run([sys.executable, __file__, "--one", task], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"measuring {tree} failed with status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def runs(tree: str, trace: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The median run of each level (by column), the levels taking turns."""
    found: dict[str, list[dict[str, Any]]] = {level: [] for level in options.level}
    for _ in range(options.repeat):
        for level in options.level:
            found[level].append(run(tree, trace, level, options))
    medians = []
    for level, several in found.items():
        result = several[0]
        for column in ("wall", "cpu", "peaks"):
            result[column] = {key: statistics.median(each[column][key] for each in several) for key in result[column]}
        if options.hot:
            result["hot"] = run(tree, trace, level, options, options.hot)["hot"]
        medians.append(result)
    return medians


def synthetic(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Make each size, measure it, remove it."""
    results = []
    place = tempfile.mkdtemp(prefix="slimagent-scale-", dir=options.place)
    try:
        for size in options.sizes:
            folder, start = os.path.join(place, str(size)), time.perf_counter()
            maker = [sys.executable, os.path.join(HERE, "synthetic.py"), folder, str(size), "--seed", str(options.seed)]
            subprocess.run(maker, check=True)
            print(f"{size:,} files made in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
            results += runs(os.path.join(folder, "root"), os.path.join(folder, "trace.json"), options)
            if not options.keep:
                shutil.rmtree(folder)
    finally:
        if options.keep:
            print(f"the trees are in {place}", file=sys.stderr)
        else:
            shutil.rmtree(place, ignore_errors=True)
    return results


def show(results: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The tables: seconds by the wall and of the processor, the latter and the memory per 100,000 files as well."""
    lines = [f"profile {options.profile}, medians of {options.repeat}; seconds, and MiB at most"]
    for level in options.level:
        mine = sorted((each for each in results if each["level"] == level), key=lambda each: int(each["files"]))
        for what, clock, base in (("wall", "wall", 0), ("processor", "cpu", 0), ("per 100,000", "cpu", 100_000)):
            lines += ["", f"{f'level {level}, {what}':<26}" + "".join(f"{name:>8}" for name in (*_COLUMNS, "MiB"))]
            lines += [_row(each, clock, base / each["files"] if base else 1) for each in mine]
        if len(mine) > 1:
            lines.append(_growth(mine[0], mine[-1]))
    for each in results:
        for phase, text in each["hot"].items():
            lines += ["", f"{each['files']:,} files, level {each['level']}: {phase}", text.strip()]
    return "\n".join(lines)


def _row(result: dict[str, Any], clock: str, factor: float) -> str:
    numbers = "".join(f"{result[clock][column] * factor:8.2f}" for column in _COLUMNS)
    return f"{result['files']:20,} files{numbers}{max(result['peaks'].values()) * factor:8.0f}"


def _growth(small: dict[str, Any], large: dict[str, Any]) -> str:
    scale = small["files"] / large["files"]
    ratios = [large["cpu"][each] / max(small["cpu"][each], 1e-9) * scale for each in _COLUMNS]
    ratios.append(max(large["peaks"].values()) / max(small["peaks"].values()) * scale)
    return f"{'growth':>26}" + "".join(f"{each:8.2f}" for each in ratios)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="files of each synthetic tree")
    parser.add_argument("--in", dest="place", metavar="DIR", help="where to make the trees (default: TMPDIR, or /tmp)")
    parser.add_argument("--level", nargs="+", default=["package", "file"], choices=("file", "package", "cruft"))
    parser.add_argument("--profile", default="base", help="the profile whose rules hold (default: base)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size and level")
    parser.add_argument("--seed", type=int, default=20_240_501)
    parser.add_argument("--keep", action="store_true", help="leave the trees there")
    parser.add_argument("--tree", metavar="DIR", help="measure this extracted image instead; wants --trace")
    parser.add_argument("--trace", metavar="FILE", help="a trace of --tree")
    parser.add_argument("--hot", type=int, default=0, metavar="LINES", help="run once more under cProfile, and show it")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if bool(options.tree) != bool(options.trace):
        parser.error("--tree and --trace go together")
    if options.repeat < 1 or any(size < 1_000 for size in options.sizes):
        parser.error("at least one run, and 1000 files")
    return options


def main() -> None:
    """Run the benchmark and print its tables."""
    options = arguments()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trees are removed then, too
    results = runs(options.tree, options.trace, options) if options.tree else synthetic(options)
    print(show(results, options))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
