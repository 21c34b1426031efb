"""Measure what marking tests costs, and whether planted files are attributed to their tests.

    make agent && python benchmarks/marks.py IMAGE [--rounds 11] [--json FILE]

Needs a Docker engine, a Python of 3.10 or later in IMAGE, and pytest-xdist here. A pytest suite of 300 tests runs
traced in one container of IMAGE, serially and with two workers of pytest-xdist. In each round it runs once with the
plugin that marks tests and once without, in an order that changes from round to round. The ratio is the median over the
rounds, and the least seconds are compared too: other work on the machine only adds. The seconds are those of the suite,
and the processor's seconds of the suite and of the supervisor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent / "build" / "agent"
START = 'import sys; sys.path[:0] = ["/bench", "/.slimagent/lib"]; from marks import measure; measure(int(sys.argv[1]))'
MODES = {"serial": (), "pytest-xdist": ("-n", "2")}


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "tests" / "support"))
    import marked_suite

    with tempfile.TemporaryDirectory() as work:
        bench = Path(work)
        bench.chmod(0o755)
        marked_suite.write_suite(bench / "suite")
        marked_suite.write_site(bench / "site")
        (bench / "marks.py").write_bytes(Path(__file__).read_bytes())
        (bench / "planted.json").write_text(json.dumps(marked_suite.planted()), encoding="utf-8")
        mounts = ["-v", f"{AGENT}:/.slimagent:ro", "-v", f"{bench}:/bench"]
        command = [
            "docker",
            "run",
            "--rm",
            "--network=none",
            "--user=root",
            "--tmpfs=/tmp",
            *mounts,
            "--entrypoint=/usr/bin/env",
        ]
        inside = ["python3", "-I", "-S", "-B", "-c", START, str(options.rounds)]
        subprocess.run([*command, options.image, *inside], check=True)
        figures = json.loads((bench / "figures.json").read_text(encoding="utf-8"))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for mode, rows in figures.items():
        for what in ("seconds", "processor seconds"):
            ratios = [one / other for one, other in zip(rows[what]["marked"], rows[what]["unmarked"], strict=True)]
            middle = {how: statistics.median(each) for how, each in rows[what].items()}
            least = {how: min(each) for how, each in rows[what].items()}
            print(
                f"{mode}: {what} {middle['unmarked']:.2f} without marks, {middle['marked']:.2f} with, "
                f"{100 * (statistics.median(ratios) - 1):+.1f} % (median of {len(ratios)} pairs), "
                f"{100 * (least['marked'] / least['unmarked'] - 1):+.1f} % (the least of each)"
            )
        print(f"{mode}: {rows['right']} of {rows['planted']} planted files attributed right, {rows['tests']} tests")
    return 0


def measure(rounds: int) -> None:
    """Inside the container: run the suite in each way, and leave figures.json."""
    planted = json.loads(Path("/bench/planted.json").read_text(encoding="utf-8"))
    figures: dict[str, Any] = {}
    for mode, options in MODES.items():
        what = ("seconds", "processor seconds")
        rows = figures[mode] = {each: {"marked": [], "unmarked": []} for each in what}
        _run(options, marked=True)  # warm the page cache; not counted
        right = []
        for each in range(rounds):
            for marked in (True, False) if each % 2 else (False, True):
                seconds, busy, observed = _run(options, marked=marked)
                rows["seconds"]["marked" if marked else "unmarked"].append(seconds)
                rows["processor seconds"]["marked" if marked else "unmarked"].append(busy)
                if marked:
                    right.append(sum(_tests(observed, name) == {test} for name, test in planted.items()))
                    rows |= {"right": min(right), "planted": len(planted), "tests": len(observed.tests)}
                elif observed.tests:
                    sys.exit("tests were marked without the plugin")
            print(f"{mode}: round {each + 1} of {rounds}", file=sys.stderr, flush=True)
    Path("/bench/figures.json").write_text(json.dumps(figures), encoding="utf-8")


def _run(options: tuple[str, ...], *, marked: bool) -> tuple[float, float, Any]:
    from slimagent.linux.command import Command
    from slimagent.trace.seccomp.backend import Seccomp
    from slimagent.workflows.marking import marking

    argv = ("python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", *options, "tests")
    env = {**os.environ, "PYTHONPATH": "/bench/site"}
    with Seccomp() as watcher:
        watcher.step("suite")
        before, began = _busy(), time.monotonic()
        process = watcher.spawn(
            Command(
                argv,
                env=marking(env, watcher, asked=True) if marked else env,
                cwd="/bench/suite",
                stdout=subprocess.DEVNULL,
            )
        )
        if process.wait() != 0:
            sys.exit(f"the suite failed: {process.returncode}")
        seconds, busy = time.monotonic() - began, _busy() - before
        return seconds, busy, watcher.finish()


def _busy() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _tests(observed: Any, name: str) -> set[str]:
    """The tests that used a file of the suite, "" for what was used outside of all tests."""
    path = f"/bench/suite/data/{name}".encode()
    row = next((each for each in observed.attributed if each.path == path), None)
    if row is None:
        return {""}
    return {observed.tests[test].name for _, tests in row.by for test in tests} | ({""} if row.steps else set())


if __name__ == "__main__":
    sys.exit(main())
