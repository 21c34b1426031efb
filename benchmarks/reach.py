"""Hold what `slimagent reach` estimates against the truth: half of the everyday tasks are tests, the others held out.

    python benchmarks/reach.py IMAGE --user jovyan --full-from survival.json --level file --json out.json

The tasks of `benchmarks/everyday/` that pass on IMAGE are divided by `--seed`. (`--full-from` is the JSON of
`benchmarks/survival.py` for it; else they are run.) One half is traced as a test suite in which each task marks itself
as a test, and IMAGE is slimmed by that at each level. `slimagent reach` estimates from the trace alone what a use that
no test does would miss. Then the held-out tasks run on the slim image: the share that fails is the truth.

Two figures each: of all tasks, and of those on software that tests touch. A held-out task is on such software if the
trace touched all that it `needs`. Tasks of class `compile` are left out. The exit status is 1 if an estimate is more
than `--within` points from the truth (10 by default), 2 if nothing could be compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also when a test loads this file from elsewhere
import survival
import touched

from slimagent.documents import decode_reach
from slimagent.report.beyond import share

INSIDE = "/everyday-tests"
RUNNER = """\
# Each task is a test of its own (docs/tests.md), in an empty directory that is its HOME. It may fail.
: > /tmp/failed
while read -r name how; do
  ( [ -e "/.slimagent/test/$name" ]
    HOME=$(mktemp -d); export HOME; cd "$HOME" || exit
    timeout 120 $how "$PLACE/$name" </dev/null >/dev/null 2>&1 || echo "$name" >>/tmp/failed )
done <"$PLACE/.list"
exit 0
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("full", metavar="IMAGE")
    parser.add_argument("--user", default="root")
    parser.add_argument("--level", action="append", choices=("file", "package", "cruft"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full-from", type=Path, help="a JSON of benchmarks/survival.py with the image's outcomes")
    parser.add_argument("--search", default="/opt/venv/bin", help="directories of PATH beside the usual, with :")
    parser.add_argument("--timeout", type=float, default=60, help="seconds per task")
    parser.add_argument("--within", type=float, default=10, help="points")
    parser.add_argument("--json", type=Path)
    parser.set_defaults(jobs=1)
    return parser.parse_args()


def lay_out(tests: list[survival.Task], place: Path) -> None:
    """The tasks, and the script that runs them as tests."""
    place.chmod(0o755)
    for task in tests:
        (place / task.name).write_text(task.body, encoding="utf-8")
    lines = (f"{task.name} {shlex.join(survival.RUN[task.language])}\n" for task in tests)
    (place / ".list").write_text("".join(lines), encoding="utf-8")
    (place / ".run").write_text(RUNNER, encoding="utf-8")


def slimagent(*words: str) -> None:
    """Run a command of this interpreter's slimagent. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "slimagent", *words], check=True)


def estimated(out: Path, level: str) -> tuple[int, int, int]:
    """Of how many tests, how many would miss a package, and how many of the others a file."""
    slimagent("reach", str(out), "--level", level, "--quiet")
    found = decode_reach((out / "reach.json").read_bytes())
    return len(found.chosen), found.levels[0].resting, found.levels[0].broken


def main() -> int:
    """Run everything, print a table."""
    options = arguments()
    options.ids = survival.owner(options.full, options.user)
    tasks = [task for task in survival.load() if task.group != survival.APART]
    with tempfile.TemporaryDirectory() as directory:
        bodies, place = Path(directory, "bodies"), Path(directory, "tests")
        bodies.mkdir()
        place.mkdir()
        bodies.chmod(0o755)
        Path(directory).chmod(0o755)
        for task in tasks:
            (bodies / task.name).write_text(task.body, encoding="utf-8")
        if options.full_from:
            full = survival.earlier(options, tasks)
        else:
            full = survival.measure(options.full, tasks, options, bodies)
        passing = [task for task in tasks if full[task.name].passed]
        if len(passing) < 40:
            print(f"reach: only {len(passing)} tasks pass on {options.full}", file=sys.stderr)
            return 2
        passing.sort(key=lambda task: hashlib.sha256(f"{options.seed} {task.name}".encode()).digest())
        tests, held_out = passing[: len(passing) // 2], passing[len(passing) // 2 :]
        lay_out(tests, place)
        levels = options.level or ("package", "file")
        rows = [compared(options, level, place, bodies, held_out, Path(directory, level)) for level in levels]
    print("| level | estimate, all | truth, all | estimate, touched software | at most | truth, touched software |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        cells = (row["estimate"], row["truth"], row["estimate_touched"], row["most_touched"], row["truth_touched"])
        print(f"| {row['level']} | " + " | ".join(f"{cell:.1f} %" for cell in cells) + " |")
    if options.json:
        options.json.write_text(json.dumps({"image": options.full, "seed": options.seed, "rows": rows}, indent=1))
    kinds = ("", "_touched")
    far = [row for row in rows for kind in kinds if abs(row[f"estimate{kind}"] - row[f"truth{kind}"]) > options.within]
    return 1 if far else 0


def compared(
    options: argparse.Namespace, level: str, place: Path, bodies: Path, held_out: list[survival.Task], out: Path
) -> dict[str, Any]:
    """Slim at a level, estimate, and run the held-out tasks. Percentages."""
    tag = f"reach-benchmark:{level}"
    script = f"PLACE={INSIDE} exec sh {INSIDE}/.run"
    command = ("--volume", f"{place}:{INSIDE}:ro", "--user", options.user, "--", "sh", "-c", script)
    slimagent("image", options.full, "-t", tag, "--overwrite", "--quiet", "--level", level, "--out", str(out), *command)
    try:
        tests, resting, broken = estimated(out, level)
        after = survival.measure(tag, held_out, options, bodies)
    finally:
        subprocess.run(["docker", "rmi", tag], check=False, stdout=subprocess.DEVNULL)
    software = touched.load(out / "plan.json", options.search.split(":"))
    on_touched = [task for task in held_out if software.all(task.needs)]
    lost = [task for task in held_out if not after[task.name].passed]
    part, most = share(broken, tests - resting)
    return {
        "level": level,
        "tests": tests,
        "held_out": len(held_out),
        "held_out_touched": len(on_touched),
        "estimate": 100 * (resting + broken) / tests,
        "truth": 100 * len(lost) / len(held_out),
        "estimate_touched": 100 * part,
        "most_touched": 100 * most,
        "truth_touched": 100 * len([task for task in lost if task in on_touched]) / max(1, len(on_touched)),
        "lost": {task.name: after[task.name].reason for task in lost},
    }


if __name__ == "__main__":
    sys.exit(main())
