"""Export a whole image, as it is and without the GPU code that some GPUs do not need, and compare the times.

    python benchmarks/gpu_export.py TAR [--root /] [--gpu-arch sm_90] [--rounds 3]

Everything below the root stays but TAR's directory, if that lies there, so the first of both copies the image. The
rounds are interleaved. TAR is overwritten and removed; nothing else is changed. It prints the MB and the median seconds
of both ways, and their ratio. At `/`, in a container of the image, each rewritten library is also loaded, as in a real
export.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Sequence

from slimagent.apply.decide import Decision, first_names
from slimagent.apply.export.components import whole
from slimagent.apply.export.exporter import Content
from slimagent.apply.export.tar import Tar
from slimagent.apply.progress import Pace
from slimagent.apply.source import Source
from slimagent.apply.strip.stripped import Stripped
from slimagent.apply.strip.workspace import strip_tools
from slimagent.gpu.architectures import parse
from slimagent.inventory.contents import Contents
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Entry, GpuCode, GpuFile, Plan

MB = 1e6
NOTHING = Plan(
    tool="",
    level="",
    root=b"/",
    scopes=(b"/",),
    excluded=(),
    fingerprints=(),
    traces=(),
    accepted=(),
    steps=(),
    reasons=(),
    entries=(),
    changes=(),
)


def rewriting(inventory: Inventory, target: str) -> Plan:
    """A plan that takes GPU code out of all libraries, and does nothing else."""
    contents = Contents(inventory.root, parse(target))
    files, entries = [], []
    for at, path in enumerate(inventory.paths):
        if b".so" in path and contents.needs(path, executable=True) is not None:
            found = contents.gpu(path)
            if found is not None and found.saves:
                files.append(GpuFile(path, found.saves))
                entries.append(Entry(path, 0, inventory.sizes[at], inventory.mtimes[at]))
    return dataclasses.replace(NOTHING, gpu=GpuCode(target=target, files=tuple(files)), entries=tuple(entries))


def exported(plan: Plan, inventory: Inventory, kept: Sequence[int], tar: Tar) -> tuple[float, int, int, int]:
    """Export what is kept; seconds, bytes written, rewritten libraries, those of them that were loaded."""
    decision = Decision(
        kept=list(kept),
        dropped=[],
        left_alone=(),
        mtimes=inventory.mtimes,
        first=first_names(inventory, list(kept)),
        made=frozenset(),
        lost=0,
        bytes_kept=0,
        bytes_dropped=0,
    )
    tools = strip_tools("none", inventory.root, ())
    pace = Pace(None)
    begin = time.monotonic()
    with Source(inventory) as source:
        stripped = Stripped(plan, inventory, decision, list(kept), tar.holder, tools)
        content = Content(
            plan=plan,
            plan_digest="",
            inventory=inventory,
            decision=decision,
            parts=whole(inventory, decision),
            source=source,
            stripped=stripped,
        )
        with tar.making(content, pace) as make, stripped:
            done = make()
    return time.monotonic() - begin, done.written, stripped.tally.gpu_count, stripped.tally.loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tar")
    parser.add_argument("--root", default="/")
    parser.add_argument("--gpu-arch", default="sm_90")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    asked = parser.parse_args()
    out, root = os.fsencode(os.path.realpath(asked.tar)), os.fsencode(os.path.realpath(asked.root))
    beside, prefix = os.path.dirname(out), root.rstrip(b"/")
    inventory = scan(root, (b"/",), (beside.removeprefix(prefix),) if beside.startswith(prefix + b"/") else ())
    kept = [at for at, path in enumerate(inventory.paths) if path != b"/"]
    begin = time.monotonic()
    plan = rewriting(inventory, asked.gpu_arch)
    print(f"worked out in {time.monotonic() - begin:.1f} s", flush=True)
    ways = {"as it is": NOTHING, f"for {asked.gpu_arch}": plan}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, each in ways.items():
            took, written, count, loaded = exported(each, inventory, kept, Tar(out))
            os.unlink(out)
            seconds[name].append(took)
            print(f"{name}: {took:.1f} s, {written / MB:,.0f} MB, {count} rewritten, {loaded} loaded", flush=True)
    copy, rewrite = map(statistics.median, seconds.values())
    print(f"copy {copy:.1f} s, with rewriting {rewrite:.1f} s: {rewrite / copy:.2f} times")


if __name__ == "__main__":
    main()
