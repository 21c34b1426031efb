"""Run the contract suite and one whole `slimagent image` on other architectures and kernels, under full emulation.

    python -m tests.machines [NAME]... [--work DIR] [--out DIR] [--test PATH]... [--no-image]

Each machine is a Debian with a kernel of Debian, started by qemu-system. Needs root, qemu-system, debootstrap, kmod,
cpio, mke2fs, the registries of Debian and PyPI, 10 GB, and for aarch64 qemu-user-static, which unpacks that Debian.
A machine takes an hour or more on two cores. The log, the results of the tests (JUnit) and the documents of the run
are in `--out`/NAME. The exit status is 1 if a test failed or if no proved image was made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.machines.boot import boot
from tests.machines.debian import kernel, root_disk, work_disk
from tests.machines.outcome import Outcome, read
from tests.machines.which import MACHINES

TESTS = ("tests/contract", "tests/linux", "tests/trace", "tests/elf", "tests/apply/test_strip.py")


def main() -> int:
    """Run the machines one after the other; 1 if something failed on one."""
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(MACHINES)}")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/slimagent-machines"), help="what is kept")
    parser.add_argument("--out", type=Path, default=Path("build/machines"), help="logs and results")
    parser.add_argument("--test", action="append", default=[], help="a path of tests; repeatable")
    parser.add_argument("--no-image", action="store_true", help="only the tests; the exit status is 1")
    parser.add_argument("--hours", type=float, default=4, help="how long one machine may take")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(MACHINES))
    if unknown:
        parser.error(f"no such machine: {', '.join(unknown)}; there are {', '.join(MACHINES)}")
    asked.work.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for name in asked.names or MACHINES:
        machine, out = MACHINES[name], (asked.out / name).resolve()
        out.mkdir(parents=True, exist_ok=True)
        at_start = kernel(machine, asked.work)
        todo = [*(["no image"] if asked.no_image else []), *(asked.test or TESTS)]
        disks = root_disk(machine, asked.work), work_disk(machine, asked.work, at_start, todo)
        print(f"{name}: Linux {at_start.version}; its console is {out / 'console.log'}", flush=True)
        boot(machine, at_start, disks, out, asked.hours * 3600)
        outcomes.append(read(name, out))
        print(outcomes[-1], flush=True)
    print("\n".join(["", *map(str, outcomes)]))
    return int(not all(each.is_good for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
