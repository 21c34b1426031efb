"""Try ways around the watchers under every backend, with more and less privileges: no file may be used in silence.

    make agent && python benchmarks/evasions/evasions.py IMAGE [--without default,user] [--json FILE] [WAY …]

Needs a C compiler here, a Docker engine, and an image with a Python. Privileges are those of a default container, of
an ordinary user there, of a container with SYS_ADMIN (sys-admin), and of this machine itself, as who runs this (here).
Each way is a part of evasions.c that uses a file without calling it by its name. In the tables a way is

- seen: the file is in the trace by the name that it has in the image, so that a plan keeps it;
- loss: something is counted as not seen, so that a plan is refused; the kinds of losses are named;
- documented: docs/evasions.md names it as what that backend cannot see, and another one that does;
- refused: the machine does not let a process do that;
- SILENT: none of these. Then the exit status is 1.

Under "seccomp, masked" every file is to look gone: "hidden" is a way that did not get at it, "loss" one that proves
nothing.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent.parent / "build" / "agent"
START = 'import sys; sys.path[:0] = ["/.slimagent/lib", "/evasions"]; from inside import main; main()'
PRIVILEGES: dict[str, list[str] | None] = {
    "default": ["--user=root"],
    "user": ["--user=1000:1000"],
    "sys-admin": ["--user=root", "--cap-add=SYS_ADMIN"],
    "here": None,
}


def main() -> int:
    """Run everything; the exit status is 1 if anything is silent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image")
    parser.add_argument("ways", nargs="*", metavar="WAY", help="only these")
    parser.add_argument("--without", default="", help="privileges to leave out, with commas between")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        folder = Path(work)
        folder.chmod(0o755)
        build(folder)
        for name, arguments in PRIVILEGES.items():
            if name not in options.without.split(","):
                results[name] = tried(folder, arguments, options)
                show(name, results[name])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    silent = [
        f"{way} under {backend} ({name})"
        for name, table in results.items()
        for way, row in table.items()
        for backend, (verdict, _) in row.items()
        if verdict == "SILENT"
    ]
    print(f"{len(silent)} silent" + "".join(f"\n  {each}" for each in silent))
    return 1 if silent else 0


def build(folder: Path) -> None:
    """The C program, without a need of libraries."""
    options = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-pthread", "-static"]
    subprocess.run(["cc", *options, "-o", str(folder / "evasions"), str(HERE / "evasions.c")], check=True)


def tried(folder: Path, arguments: list[str] | None, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What the part inside reports: for each way and backend a verdict and a detail."""
    if arguments is None:
        command = [sys.executable, str(HERE / "inside.py"), str(folder / "evasions"), str(folder), *options.ways]
    else:
        mounts = [f"{AGENT}:/.slimagent:ro", f"{HERE}:/evasions:ro", f"{folder}:/program:ro"]
        command = ["docker", "run", "--rm", "--network=none", "--workdir=/", "--entrypoint=python3", *arguments]
        command += [word for mount in mounts for word in ("-v", mount)]
        command += [options.image, "-I", "-S", "-B", "-c", START, "/program/evasions", "/tmp", *options.ways]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    table: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return table


def show(name: str, table: dict[str, dict[str, Any]]) -> None:
    """A row for each way, and how often each verdict came."""
    backends = list(next(iter(table.values())))
    print(f"\n## {name}: {len(table)} ways\n")
    print("| way | " + " | ".join(backends) + " |")
    print("|---|" + "---|" * len(backends))
    for way, row in table.items():
        cells = [f"{verdict} ({detail})" if detail else verdict for verdict, detail in row.values()]
        print(f"| {way} | " + " | ".join(cells) + " |")
    counts = [collections.Counter(row[backend][0] for row in table.values()) for backend in backends]
    print("| **all** | " + " | ".join(", ".join(f"{n} {v}" for v, n in each.most_common()) for each in counts) + " |")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
