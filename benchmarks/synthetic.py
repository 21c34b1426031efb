"""Make a synthetic image tree of any size, and a trace that fits it; `scale.py` measures with it.

    python benchmarks/synthetic.py FOLDER FILES

FOLDER/root becomes the tree: FILES files and links, a hundred more of the system's own, and about a tenth as many
folders. FOLDER/trace.json becomes the trace: about 8 % of the files were opened, in a quarter of the packages.
The shares are those of a big image for data science: 45 % Debian packages, 30 % Python distributions, 15 % npm
packages, 5 % R packages, 5 % that no package owns. Contents are a line or two; about 2 % of the files are larger than
64 kB, of which all but the first line is a hole. The same seed gives the same tree, on any number of processors.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from synthetic_packages import SYSTEM_LIBRARIES, debian, npm, python, r, system, unowned
from synthetic_part import Part

from slimagent import documents
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Access, Change, ChangeKind, How, Run, Trace

TREE, TRACE = "root", "trace.json"
SEED = 20_240_501
_CHUNK = 4_000  # files that a process makes at a time


@dataclass(frozen=True)
class _Share:
    """What a kind of package has of all files; `mean` and `least` are files of one package."""

    part: float
    mean: int
    least: int
    build: Callable[[Part], None]


_SHARES = {
    "debian": _Share(0.45, 90, 10, debian),
    "python": _Share(0.30, 200, 24, python),
    "npm": _Share(0.15, 16, 6, npm),
    "r": _Share(0.05, 45, 20, r),
    "unowned": _Share(0.05, 300, 10, unowned),
}


@dataclass
class Made:
    """What packages leave behind beside their files, in their order: see `Part`."""

    status: list[bytes] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    accesses: list[tuple[str, int, bool]] = field(default_factory=list)
    created: list[str] = field(default_factory=list)

    def add(self, other: Part | Made) -> None:
        """Append what another one has."""
        self.status += other.status
        self.libraries += other.libraries
        self.accesses += other.accesses
        self.created += other.created


def make(folder: str, files: int, seed: int = SEED, jobs: int = 0) -> None:
    """Make FOLDER/root and FOLDER/trace.json; FOLDER must be there and empty. `jobs` processes, 0 for one a processor.

    Raises OSError.
    """
    root = os.path.join(folder, TREE)
    made = Made()
    base = Part(root, 0, 1, 0, _random(str(seed)))
    system(base)
    made.add(base)
    todo = [job for kind, share in _SHARES.items() for job in _jobs(root, seed, kind, int(files * share.part))]
    with multiprocessing.Pool(jobs or os.cpu_count()) as pool:
        for each in pool.imap(_build, todo):
            made.add(each)
    with open(os.path.join(root, "var/lib/dpkg/status"), "wb") as file:
        file.write(b"".join(made.status))
    with open(os.path.join(root, "etc/ld.so.cache"), "wb") as file:
        file.write(_cache([*SYSTEM_LIBRARIES, *made.libraries]))
    with open(os.path.join(folder, TRACE), "wb") as file:
        file.write(documents.encode_trace(_trace(made)))


_Job = tuple[str, int, str, int, int, list[int]]  # root, seed, kind, packages in all, first package, their files


def _jobs(root: str, seed: int, kind: str, quota: int) -> list[_Job]:
    """A kind's packages, with so many files in all, in rows of some thousand files."""
    share, rng = _SHARES[kind], _random(f"{seed}/{kind}")
    counts: list[int] = []
    while quota >= share.least:
        count = min(quota, share.least + int(rng.expovariate(1 / (share.mean - share.least))))
        if quota - count < share.least:
            count = quota
        counts.append(count)
        quota -= count
    jobs: list[_Job] = []
    start = held = 0
    for at, count in enumerate(counts, 1):
        held += count
        if held >= _CHUNK or at == len(counts):
            jobs.append((root, seed, kind, len(counts), start, counts[start:at]))
            start, held = at, 0
    return jobs


def _random(seed: str) -> Random:
    return Random(seed)  # noqa: S311 - to be the same again is the point


def _build(job: _Job) -> Made:
    root, seed, kind, total, first, counts = job
    made, folders = Made(), set[str]()
    for number, count in enumerate(counts, first):
        part = Part(root, number, total, count, _random(f"{seed}/{kind}/{number}"), folders)
        _SHARES[kind].build(part)
        made.add(part)
    return made


def _cache(paths: list[str]) -> bytes:
    """An ld.so.cache with the libraries at `paths` (glibc's sysdeps/generic/dl-cache.h, `struct cache_file_new`)."""
    header, entry = struct.Struct("=20sII4x4x12x"), struct.Struct("=iIIIQ")
    strings, rows = bytearray(), bytearray()
    start = header.size + entry.size * len(paths)
    for path in sorted(paths, reverse=True):
        at = start + len(strings)
        rows += entry.pack(0x0303, at + path.rindex("/") + 1, at, 0, 0)  # FLAG_ELF_LIBC6 | FLAG_X8664_LIB64
        strings += path.encode() + b"\0"
    return header.pack(b"glibc-ld.so.cache1.1", len(paths), len(strings)) + bytes(rows + strings)


def _trace(made: Made) -> Trace:
    """The evidence of one step. Its fingerprints are empty: `scale.py` puts the tree's own in their place."""
    found: dict[str, tuple[int, bool]] = {}
    for path, how, there in made.accesses:
        found[path] = (how | found.get(path, (0, there))[0], there)
    step = CheckResult(name="command", kind="command", outcome=Outcome.PASSED, seconds=1.0, status=0)
    run = Run(
        identity="0" * 64,
        tool="synthetic",
        backend="synthetic",
        passed_over=(),
        blind_spots=(),
        kernel="",
        user="root",
        no_new_privileges=False,
        profiles=("base",),
        after="",
        steps=(step,),
        losses=(),
    )
    return Trace(
        before="",
        scopes=(b"/",),
        excluded=(),
        architecture="x86_64",
        runs=(run,),
        accesses=tuple(
            Access(path=path.encode(), how=How(how), steps=(0,), found=there)
            for path, (how, there) in sorted(found.items())
        ),
        changes=tuple(Change(path=path.encode(), kind=ChangeKind.CREATED, mtime_ns=0) for path in sorted(made.created)),
    )


def main() -> None:
    """Make a tree as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", help="an empty folder, or one to make")
    parser.add_argument("files", type=int, help="files and links, without folders")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=0, help="processes; default: one for each processor")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    make(options.folder, options.files, options.seed, options.jobs)


if __name__ == "__main__":
    main()
