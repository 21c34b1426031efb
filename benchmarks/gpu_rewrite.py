"""Take GPU code out of libraries and prove each copy, against copying them whole; both with a thread for each core.

    python benchmarks/gpu_rewrite.py LIBRARY... [--gpu-arch sm_90] [--rounds 3]

The rounds are interleaved. It prints the MB before and after, the median seconds of both ways, their ratio, and the
most memory that the process has had. Nothing is changed; copies go to a temporary directory (TMPDIR) and are removed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from slimagent.elf.tables import Read, tables
from slimagent.gpu.architectures import Target, parse
from slimagent.gpu.proof import difference
from slimagent.gpu.rewrite import rewrite

CHUNK = 1 << 22  # bytes
MB = 1e6


def reader(descriptor: int) -> Read:
    return lambda offset, size: os.pread(descriptor, size, offset)


def send(source: int, begin: int, to: int, copy: int, count: int) -> None:
    os.lseek(copy, to, os.SEEK_SET)
    while count:
        sent = os.sendfile(copy, source, begin, min(CHUNK, count))
        begin, count = begin + sent, count - sent


def copied(source: int, copy: int, size: int, target: Target) -> int:
    """Copy a file whole. Returns its size."""
    send(source, 0, 0, copy, size)
    return size


def rewritten(source: int, copy: int, size: int, target: Target) -> int:
    """Rewrite a file and prove the copy. Returns its size; that of the original if it is left alone."""
    found = tables(reader(source))
    made = "not an ELF file" if found is None else rewrite(reader(source), found, size, target)
    if isinstance(made, str):
        return size
    os.ftruncate(copy, made.size)
    for begin, to, count in made.copies:
        send(source, begin, to, copy, count)
    for to, data in made.patches:
        os.pwrite(copy, data, to)
    why = difference(reader(source), reader(copy), target, made.references)
    if why:
        raise SystemExit(f"not proved: {why}")
    return made.size


def each(work: Callable[[int, int, int, Target], int], paths: list[str], target: Target) -> tuple[float, int]:
    """Do it for all files; seconds, and the sum of the sizes."""

    def one(path: str) -> int:
        with open(path, "rb") as file, tempfile.TemporaryFile() as copy:
            return work(file.fileno(), copy.fileno(), os.fstat(file.fileno()).st_size, target)

    begin = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sizes = sum(pool.map(one, paths))
    return time.monotonic() - begin, sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--gpu-arch", default="sm_90")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    target = parse(asked.gpu_arch)
    paths = sorted({os.path.realpath(path) for path in asked.libraries}, key=os.path.getsize, reverse=True)
    copies, rewrites, before, after = [], [], 0, 0
    for _ in range(asked.rounds):
        seconds, before = each(copied, paths, target)
        copies.append(seconds)
        seconds, after = each(rewritten, paths, target)
        rewrites.append(seconds)
    copy, rewriting = statistics.median(copies), statistics.median(rewrites)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(paths)} files, {before / MB:,.0f} MB; for {target} {after / MB:,.0f} MB")
    print(f"copy {copy:.2f} s, rewrite and prove {rewriting:.2f} s: {rewriting / copy:.2f} times")
    print(f"at most {memory:.0f} MiB of memory")


if __name__ == "__main__":
    main()
