"""Strip what a plan strips, and nothing else: bytes as planned and as they came out, seconds on one core and on all.

    python benchmarks/strip.py ROOT PLAN [FOLDER]

ROOT is an image's root folder (`/` in a container of it), PLAN a plan for it, FOLDER a place for temporary copies.
Nothing in ROOT is changed. Files are read once beforehand, so that no time is the disk's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from slimagent import documents
from slimagent.apply.decide import decide
from slimagent.apply.strip.stripped import Stripped
from slimagent.apply.strip.workspace import strip_tools
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import to_text
from slimagent.report.text import size, strip_plan


def once(plan: Plan, inventory: Inventory, folder: bytes, cores: set[int]) -> tuple[Stripped, dict[bytes, int], float]:
    """Strip everything; what each file lost in bytes, and the seconds that it took."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        decision = decide(plan, inventory)
        tools = strip_tools("auto", inventory.root, plan.excluded)
        lost, begin = {}, time.monotonic()
        with Stripped(plan, inventory, decision, decision.kept, folder, tools) as stripped:
            for at in decision.kept:
                taken = stripped.take(at)
                if taken is not None:
                    os.close(taken[0])
                    lost[inventory.paths[at]] = inventory.sizes[at] - taken[1]
        return stripped, lost, time.monotonic() - begin
    finally:
        os.sched_setaffinity(0, every)


def main(root: str, document: str, folder: str = tempfile.gettempdir()) -> int:
    plan = documents.decode_plan(Path(document).read_bytes(), document)
    inventory = scan(os.path.realpath(os.fsencode(root)), plan.scopes, plan.excluded)
    print("\n".join(strip_plan(plan)))
    for path, _ in plan.strips:
        Path(os.fsdecode((b"" if inventory.root == b"/" else inventory.root) + path)).read_bytes()
    every = os.sched_getaffinity(0)
    for cores in ({min(every)}, every):
        stripped, lost, seconds = once(plan, inventory, os.fsencode(folder), cores)
        print(f"{len(cores)} cores: {seconds:.1f} s")
    planned = dict(plan.strips)
    errors = Counter(lost[path] - planned[path] for path in lost)
    print(f"planned {size(sum(planned.values()))} of {len(planned):,} files, {sum(planned.values()):,} bytes")
    print(f"came out {size(stripped.tally.saved)} of {stripped.tally.count:,} files, {stripped.tally.saved:,} bytes")
    print(f"of these, {stripped.tally.loaded:,} libraries were loaded before and can be loaded after")
    more = sorted(errors.elements())
    if more:
        exact = 100 * errors[0] / len(more)
        middle = more[len(more) // 2]
        print(f"more than planned, in bytes: least {more[0]}, median {middle}, most {more[-1]}; {exact:.0f} % exact")
    for path, why in stripped.tally.left:
        print(f"left: {to_text(path)}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
