"""Export a whole image, as it is and without the GPU code that some GPUs do not need, and compare the times.

    python benchmarks/gpu_export.py TAR [--root /] [--gpu-arch sm_90] [--rounds 3]

Everything below the root stays but TAR's directory, if that lies there, so the first of both copies the image. The
rounds are interleaved. TAR is overwritten and removed; nothing else is changed. It prints the MB and the median seconds
of both ways, and their ratio. At `/`, in a container of the image, each rewritten library is also loaded, as in a real
export.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from apply_images import plan_for  # noqa: E402

from slimagent.apply.export.exporter import export  # noqa: E402
from slimagent.apply.export.tar import Tar  # noqa: E402
from slimagent.apply.strip.workspace import strip_tools  # noqa: E402
from slimagent.gpu.architectures import parse  # noqa: E402
from slimagent.inventory.contents import Contents  # noqa: E402
from slimagent.inventory.scan import scan  # noqa: E402
from slimagent.model.inventory import Inventory  # noqa: E402
from slimagent.model.plan import GpuCode, GpuFile, Plan  # noqa: E402

MB = 1e6


def rewriting(inventory: Inventory, target: str) -> Plan:
    """A plan that takes GPU code out of all libraries, and does nothing else."""
    contents = Contents(inventory.root, parse(target))
    libraries = [path for path in inventory.paths if b".so" in path and contents.needs(path, executable=True)]
    weights = [(path, weight) for path in libraries if (weight := contents.gpu(path)) is not None and weight.saves]
    files = tuple(GpuFile(path, weight.saves) for path, weight in weights)
    return plan_for(inventory, gpu=GpuCode(target=target, files=files))


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
    begin = time.monotonic()
    plan = rewriting(inventory, asked.gpu_arch)
    print(f"worked out in {time.monotonic() - begin:.1f} s", flush=True)
    tools = strip_tools("none", inventory.root, ())
    ways = {"as it is": plan_for(inventory), f"for {asked.gpu_arch}": plan}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, each in ways.items():
            begin = time.monotonic()
            done = export(each, "", inventory, Tar(out), tools=tools)
            seconds[name].append(time.monotonic() - begin)
            written = os.path.getsize(out) / MB
            os.unlink(out)
            print(
                f"{name}: {seconds[name][-1]:.1f} s, {written:,.0f} MB, {done.gpu} rewritten, {done.loaded} loaded",
                flush=True,
            )
    copy, rewrite = map(statistics.median, seconds.values())
    print(f"copy {copy:.1f} s, with rewriting {rewrite:.1f} s: {rewrite / copy:.2f} times")


if __name__ == "__main__":
    main()
