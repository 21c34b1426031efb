"""Measure merging: seconds and peak memory for 200 traces of 30,000 paths, against a fold two by two.

    python benchmarks/merge.py                              # some minutes, nearly all of them two by two
    python benchmarks/merge.py --traces 20 --repeat 5

The traces are made in a new folder in `--in` and removed at the end. They are of one image, whose files come in
packages. A trace has the packages that all traces have (`--shared` of its paths) and others by chance, out of
`--image` paths. Its steps are its own run's; a package is used in one to three of them, and a path of it always in
the same way.

`merge` is what `slimagent merge` does: read, decode, merge, encode, write. `two by two` does the same, but merges
each trace with the result so far. Both have to write the same bytes. Each is a process of its own, and they take
turns; the medians count. Memory is the highest that the process ever had (ru_maxrss), the program itself included.

Machines differ, and others use them at the same time: processor seconds suffer least from that. Each is one thread,
so on an idle machine wall seconds are the same.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from random import Random

from slimagent import documents
from slimagent.cli.console import Console
from slimagent.linux.files import digest, read, write
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Access, How, Run, Trace
from slimagent.trace.merge import merge
from slimagent.workflows.tracing import merged

SEED = 20_240_501
STEPS = 10  # of a trace
_MEAN = 60  # paths of a package
_HOWS = (How.LOOKED_UP, How.OPENED, How.OPENED | How.LOOKED_UP, How.OPENED | How.LOOKED_UP, How.LISTED)
_WAYS = ("merge", "two by two")


def packages(paths: int, rng: Random) -> list[list[tuple[bytes, How, bool]]]:
    """An image's packages: for each path how whoever uses it does so, and whether it is there."""
    made: list[list[tuple[bytes, How, bool]]] = []
    held = 0
    while held < paths:
        folder = f"/opt/conda/lib/python3.12/site-packages/package_{len(made)}"
        count = min(paths - held, 1 + int(rng.expovariate(1 / _MEAN)))
        made.append(
            [
                (
                    f"{folder}/part_{at % 7}/__pycache__/module_{at}.cpython-312.pyc".encode(),
                    rng.choice(_HOWS),
                    rng.random() < 0.8,
                )
                for at in range(count)
            ]
        )
        held += count
    return made


def make(folder: str, traces: int, paths: int, shared: float, image: int) -> list[str]:
    """Write the traces. Returns their names."""
    rng = Random(SEED)  # noqa: S311 - to be the same again is the point
    common = packages(round(paths * shared), rng)
    others = packages(image, rng)[len(common) :]  # names of their own
    names = []
    for number in range(traces):
        chosen, held = list(common), sum(map(len, common))
        for package in rng.sample(others, len(others)):
            if held >= paths:
                break
            chosen.append(package[: paths - held])
            held += len(chosen[-1])
        names.append(os.path.join(folder, f"{number}.json"))
        write(names[-1], documents.encode_trace(_trace(number, chosen, rng)))
    return names


def _trace(number: int, chosen: list[list[tuple[bytes, How, bool]]], rng: Random) -> Trace:
    accesses = []
    for package in chosen:
        steps = tuple(sorted(rng.sample(range(STEPS), rng.choice((1, 1, 1, 2, 3)))))
        accesses += [Access(path, how, steps, found) for path, how, found in package]
    run = Run(
        identity="",
        tool="synthetic",
        backend="seccomp",
        passed_over=(),
        blind_spots=(),
        kernel="",
        user=f"user{number % 3}",
        no_new_privileges=True,
        profiles=("base",),
        after=f"{number % 2}",
        steps=tuple(
            CheckResult(name=f"check {at}", kind="command", outcome=Outcome.PASSED, seconds=1.0) for at in range(STEPS)
        ),
        losses=(),
    )
    return documents.identified(
        Trace(
            before="0" * 64,
            scopes=(b"/",),
            excluded=(),
            architecture="x86_64",
            runs=(run,),
            accesses=tuple(sorted(accesses)),
            changes=(),
        )
    )


def measure(way: str, folder: str) -> dict[str, float | str]:
    """Merge the traces of a folder in this process."""
    names = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".json")]
    wall, cpu = time.monotonic(), time.process_time()
    if way == "merge":
        whole, _ = merged(((name, read(name)) for name in names), Console(quiet=True))
    else:
        whole = functools.reduce(
            lambda so_far, other: merge([so_far, other]), (documents.decode_trace(read(name), name) for name in names)
        )
    data = documents.encode_trace(whole)
    write(os.path.join(folder, "merged"), data)
    return {
        "wall": time.monotonic() - wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "paths": len(whole.accesses),
        "size": len(data) / 1e6,
        "digest": digest(data),
    }


def apart(way: str, folder: str) -> dict[str, float | str]:
    """`measure` in a process of its own. Raises CalledProcessError."""
    command = [sys.executable, os.path.abspath(__file__), "--way", way, "--in", folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def table(found: dict[str, list[dict[str, float | str]]]) -> list[str]:
    """A line for each way: medians."""
    lines = [f"{'':12}{'wall s':>8}{'cpu s':>8}{'peak MB':>9}"]
    for way, results in found.items():
        wall, cpu, peak = (statistics.median(float(each[what]) for each in results) for what in ("wall", "cpu", "peak"))
        lines.append(f"{way:12}{wall:8.1f}{cpu:8.1f}{peak:9.0f}")
    return lines


def main() -> None:
    """Make the traces, merge them in both ways in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--traces", type=int, default=200)
    parser.add_argument("--paths", type=int, default=30_000, help="of each trace")
    parser.add_argument("--shared", type=float, default=0.7, help="what part of its paths all traces have")
    parser.add_argument("--image", type=int, default=150_000, help="paths that a trace can have")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--in", dest="folder", help="where the traces go [default: the temporary folder]")
    parser.add_argument("--way", choices=_WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.folder)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        made = make(folder, options.traces, options.paths, options.shared, options.image)
        size = sum(map(os.path.getsize, made)) / 1e6
        print(f"{options.traces} traces of {options.paths:,} paths, {size:.0f} MB")
        found: dict[str, list[dict[str, float | str]]] = {way: [] for way in _WAYS}
        for _ in range(options.repeat):
            for way, results in found.items():
                results.append(apart(way, folder))
    first = found["merge"][0]
    print(f"merged: {first['paths']:,} paths, {first['size']:.0f} MB")
    print("\n".join(table(found)))
    if len({each["digest"] for results in found.values() for each in results}) > 1:
        sys.exit("the ways do not write the same bytes")


if __name__ == "__main__":
    main()
