"""Measure the whole way on a real image: sizes, seconds for each phase, peak memory, and the overhead of tracing.

    make agent && python benchmarks/image.py IMAGE --user jovyan --pairs 3 -- /opt/lab/smoke

Needs a Docker engine and nothing else: every container is a default one, without network or added capabilities.
The command runs untraced and traced in turn (`--pairs` times, each in a new container); the ratio is taken pair by
pair, on the command's own wall time, and the median is what counts. Machines differ: quote the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

AGENT = Path(__file__).resolve().parent.parent / "build" / "agent"
CLOCK = 'start=$(date +%s.%N); "$@" >/dev/null 2>&1; status=$?; end=$(date +%s.%N); echo "$start $end $status"'


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image")
    parser.add_argument("command", nargs="+")
    parser.add_argument("--user", default="root", help="who runs the command")
    parser.add_argument("--pairs", type=int, default=3, help="untraced and traced runs, in turn")
    parser.add_argument("--level", default="package")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        out = Path(work)
        untraced(options)  # warm the page cache; not counted
        pairs = [(untraced(options), traced(options, out)) for _ in range(options.pairs)]
        report = whole(options, out)
        report["in a new container"] = imported(options, out)
    show(options, pairs, report)
    return 0 if report["passed"] and report["in a new container"] == 0 else 1


def container(image: str, user: str, *rest: str, mounts: tuple[str, ...] = ()) -> str:
    """Run a default container to its end; returns its standard output."""
    volumes = [part for mount in mounts for part in ("-v", mount)]
    command = ["docker", "run", "--rm", "--network=none", "--user", user, *volumes, *rest[:2], image, *rest[2:]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def untraced(options: argparse.Namespace) -> float:
    """Seconds of the command alone."""
    line = container(options.image, options.user, "--entrypoint", "sh", "-c", CLOCK, "sh", *options.command)
    start, end, status = line.split()[-3:]
    if status != "0":
        sys.exit(f"the command fails untraced, with status {status}")
    return float(end) - float(start)


def traced(options: argparse.Namespace, out: Path) -> float:
    """Seconds of the command under trace, as the trace has them."""
    agent(options, out, "trace", "--quiet", "-o", "/out/trace.json", *as_user(options), "--", *options.command)
    trace = json.loads((out / "trace.json").read_bytes())
    return float(trace["runs"][0]["steps"][0]["seconds"])


def whole(options: argparse.Namespace, out: Path) -> dict[str, object]:
    """One `slimagent run`: its summary."""
    text = agent(
        options,
        out,
        "run",
        "--json",
        "--level",
        options.level,
        "--out",
        "/out",
        *as_user(options),
        "--",
        *options.command,
    )
    summary: dict[str, object] = json.loads(text)
    return summary


def imported(options: argparse.Namespace, out: Path) -> int:
    """The command's exit status in a container of the exported root file system, imported with the image's settings."""
    form = "{{range .Config.Env}}ENV {{println .}}{{end}}USER {{.Config.User}}\nWORKDIR {{.Config.WorkingDir}}"
    inspect = ["docker", "image", "inspect", "-f", form, options.image]
    lines = subprocess.run(inspect, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    changes = [part for line in lines if line.split(" ", 1)[1:] for part in ("-c", line)]
    tag = "slimagent-benchmark:slim"
    subprocess.run(["docker", "import", *changes, str(out / "rootfs.tar"), tag], check=True, stdout=subprocess.DEVNULL)
    try:
        command = [
            "docker",
            "run",
            "--rm",
            "--network=none",
            "--user",
            options.user,
            "--entrypoint",
            options.command[0],
        ]
        done = subprocess.run([*command, tag, *options.command[1:]], check=False, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run(["docker", "image", "rm", "-f", tag], check=False, stdout=subprocess.DEVNULL)
    return done.returncode


def agent(options: argparse.Namespace, out: Path, *arguments: str) -> str:
    """Run the agent as root in a default container of the image."""
    mounts = (f"{AGENT}:/agent:ro", f"{out}:/out")
    return container(options.image, "root", "--entrypoint", "/agent/entrypoint.sh", *arguments, mounts=mounts)


def as_user(options: argparse.Namespace) -> tuple[str, ...]:
    """Who runs the command, for the agent."""
    return () if options.user == "root" else ("--user", options.user)


def show(options: argparse.Namespace, pairs: list[tuple[float, float]], report: dict[str, object]) -> None:
    """Print the figures."""
    ratios = [with_trace / without for without, with_trace in pairs]
    print(f"{options.image}, {' '.join(options.command)} as {options.user}, level {options.level}")
    for without, with_trace in pairs:
        print(f"  untraced {without:7.2f} s   traced {with_trace:7.2f} s   ratio {with_trace / without:.3f}")
    print(f"  median ratio {statistics.median(ratios):.3f} of {len(ratios)} pairs")
    before, after = int(str(report["bytes_before"])), int(str(report["bytes_after"]))
    print(f"  {before / 1e9:.2f} GB -> {after / 1e9:.2f} GB, {100 * (before - after) / before:.1f} % smaller")
    missed = report["missed"]
    assert isinstance(missed, list)
    print(f"  verified {report['verified']}: passed {report['passed']}, {len(missed)} missed")
    print(f"  in a new container of the imported image: exit status {report['in a new container']}")
    phases = report["phases"]
    assert isinstance(phases, list)
    for phase in [*phases, {"name": "the whole run", "seconds": report["seconds"], "depth": 0}]:
        print(f"  {'  ' * phase['depth'] + phase['name']:30} {phase['seconds']:7.1f} s")
    print(f"  peak memory {int(str(report['peak_bytes'])) / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
