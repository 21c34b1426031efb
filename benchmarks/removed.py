"""Measure the list of what went: its size, and what its digests cost. Nothing is removed.

    python benchmarks/removed.py ROOT PLAN

ROOT is the unpacked image that PLAN was made from; in a container of it, `/`.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from slimagent import apply, documents
from slimagent.apply.decide import decide
from slimagent.inventory.scan import scan
from slimagent.linux.files import digest
from slimagent.workflows.removals import Removals


def main(root: str, plan: str) -> None:
    """Write the list with digests and without, and print a line for each."""
    data = Path(plan).read_bytes()
    made, inventory = documents.decode_plan(data), scan(os.fsencode(os.path.realpath(root)))
    decision = decide(made, inventory)
    print(f"{len(decision.dropped)} paths go, {decision.bytes_dropped / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as home, apply.Source(inventory) as source:
        for digests in (False, True):
            path = os.path.join(home, "removed.jsonl.gz")
            began, used = time.perf_counter(), time.process_time()
            Removals(path=path, digests=digests).leave(made, digest(data))(inventory, decision, source)
            size = os.path.getsize(path)
            name, share = "with" if digests else "without", 100 * size / decision.bytes_dropped
            seconds, used = time.perf_counter() - began, time.process_time() - used
            print(f"{name} digests: {size:,} bytes, {share:.3f} %; {seconds:.1f} s, {used:.1f} processor s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:3])
