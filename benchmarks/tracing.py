"""Compare the ways of watching: what each costs against an untraced run, and which files it does not see.

    make agent && python benchmarks/tracing.py IMAGE [--rounds 5] [--json FILE]

Needs a Docker engine, strace and a C compiler here. Everything runs in one container of IMAGE, in one go: in each
round a load runs once under each way of watching, in an order that is another one each round, so that what disturbs
the machine disturbs all alike. The ratio of a way is the median over the rounds of its seconds to the untraced seconds
of the same round. A command's seconds are its own, from its start to its end; what a way needs before (watches, marks)
and after (events that are still queued) stands in lines of its own.

The container has SYS_ADMIN (fanotify wants it) and SYS_PTRACE (strace does); seccomp and inotify need neither.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent / "build" / "agent"
START = (
    'import sys; sys.path.insert(0, "/bench"); sys.path.insert(0, sys.argv.pop(1)); '
    "from tracing_inside import main; main()"
)


def main() -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loads", nargs="*", default=[], help="only these")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        prepare(folder)
        figures = measured(options, folder)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    show(figures)
    return 0


def prepare(folder: Path) -> None:
    """The loads, compiled without a need of libraries, and strace with those it needs."""
    source, target = HERE / "tracing_loads.c", folder / "tracing_loads"
    subprocess.run(["cc", "-O2", "-static", "-o", str(target), str(source)], check=True)
    shutil.copy(HERE / "tracing_inside.py", folder)
    strace = shutil.which("strace")
    if strace is None:
        sys.exit("no strace here to compare with")
    shutil.copy(strace, folder / "strace.bin")
    found = subprocess.run(["ldd", strace], check=True, stdout=subprocess.PIPE, text=True).stdout
    for library in re.findall(r"(/\S+\.so\S*)", found):
        shutil.copy(library, folder)
        if Path(library).name.startswith("ld-linux"):
            loader = Path(library).name
    script = f'#!/bin/sh\nexec /bench/{loader} --inhibit-cache --library-path /bench /bench/strace.bin "$@"\n'
    (folder / "strace").write_text(script, encoding="ascii")
    (folder / "strace").chmod(0o755)


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the part inside the container reports."""
    mounts = ["-v", f"{AGENT}:/.slimagent:ro", "-v", f"{folder}:/bench"]
    rights = ["--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"]
    command = ["docker", "run", "--rm", "--network=none", "--user=root", *rights, *mounts, "--entrypoint=/usr/bin/env"]
    inside = ["python3", "-I", "-S", "-B", "-c", START, "/.slimagent/lib", str(options.rounds), *options.loads]
    subprocess.run([*command, options.image, *inside], check=True)
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return figures


def show(figures: dict[str, Any]) -> None:
    """One table of ratios, one of what was not seen."""
    ways = figures["ways"]
    print(f"{figures['rounds']} rounds, Linux {figures['kernel']}, {figures['processors']} processors\n")
    print("| ratio to untraced | " + " | ".join(ways[1:]) + " | untraced |")
    print("|---|" + "---:|" * len(ways))
    for load, runs in figures["seconds"].items():
        cells = []
        for way in ways[1:]:
            pairs = zip(runs[way], runs[ways[0]], strict=True)
            cells.append(f"{statistics.median(seconds / alone for seconds, alone in pairs):.2f}")
        alone = statistics.median(runs[ways[0]])
        print(f"| {load} | " + " | ".join(cells) + f" | {alone:.2f} s |")
    print()
    print("| files not seen | " + " | ".join(ways[1:]) + " | all |")
    print("|---|" + "---:|" * len(ways))
    for load, missed in figures["missed"].items():
        for what in ("opened", "only looked up"):
            cells = [f"{missed[what]['missed'][way]:,}" for way in ways[1:]]
            print(f"| {load}: {what} | " + " | ".join(cells) + f" | {missed[what]['all']:,} |")
    print()
    print("| seconds besides | " + " | ".join(ways[1:]) + " |")
    print("|---|" + "---:|" * (len(ways) - 1))
    for what in ("before", "after"):
        cells = [f"{statistics.median(figures['besides'][way][what]):.2f}" for way in ways[1:]]
        print(f"| {what} the command | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    raise SystemExit(main())
