"""Read the GPU code of libraries, and hold it against NVIDIA's `cuobjdump` (PyPI: nvidia-cuda-cuobjdump).

    python benchmarks/gpu.py CUOBJDUMP DIRECTORY... [--gpu-arch sm_90]

For each library with GPU code below the directories: its MB, those of its GPU code, how many containers and pieces that
is, the seconds to read them, whether cuobjdump lists the same, and the MB that stay for the named GPUs with the seconds
to work that out. Nothing is changed. Exits with 1 if a list differs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from slimagent.elf.tables import Tables, tables
from slimagent.gpu.architectures import FAMILY, Target, parse
from slimagent.gpu.containers import Code, Form, Piece, gpu_code
from slimagent.gpu.rewrite import rewrite

Read = Callable[[int, int], bytes]
Names = Counter[tuple[str, str]]
LISTED = re.compile(r"^(?:ELF|PTX) file +\d+: \S*?(sm_\d+[a-z]?)\.(cubin|ptx)$", re.MULTILINE)
# cuobjdump refuses a file with code for GPUs that it no longer supports, unless it is asked for one that it does.
SUPPORTED = ("75", "80", "86", "87", "89", "90", "90a", "100", "100a", "103", "103a", "110", "110a", "120", "120a")
MB = 1e6


def libraries(directories: list[str]) -> Iterator[tuple[Path, Read, Tables]]:
    """The ELF files below the directories, or given, each once."""
    seen = set()
    places = [Path(place) for place in directories]
    for path in sorted(each for place in places for each in ([place] if place.is_file() else place.rglob("*.so*"))):
        status = path.lstat()
        if path.is_symlink() or not path.is_file() or (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with open(path, "rb") as file:

            def read(offset: int, size: int, number: int = file.fileno()) -> bytes:
                return os.pread(number, size, offset)

            found = tables(read)
            if found is not None:
                yield path, read, found


def listed(cuobjdump: str, path: Path) -> tuple[Names, str]:
    """What cuobjdump lists, and its word where it lists only what it supports."""

    def run(*options: str) -> tuple[list[tuple[str, str]], str]:
        command = [cuobjdump, "-lelf", "-lptx", "-all", *options, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return [(kind, name) for name, kind in LISTED.findall(done.stdout)], done.stderr

    rows, complaint = run()
    if "has been removed" not in complaint:
        return Counter(rows), ""
    some = {each: run("-arch", f"sm_{each}")[0] for each in SUPPORTED}
    return Counter(row for each, part in some.items() for row in part if row[1] == f"sm_{each}"), " from sm_75 on"


def named(piece: Piece) -> tuple[str, str]:
    """A piece as cuobjdump lists it: it leaves out the suffix of machine code for a family."""
    is_family = piece.form is Form.CUBIN and piece.architecture.suffix == FAMILY
    return piece.form.value, str(piece.architecture._replace(suffix="") if is_family else piece.architecture)


def row(cuobjdump: str, path: Path, read: Read, found: Tables, codes: tuple[Code, ...], target: Target) -> bool:
    """Print the row of a library; whether cuobjdump agrees."""
    begin = time.monotonic()
    gpu_code(read, found)
    reading, size = time.monotonic() - begin, path.stat().st_size
    pieces = [piece for code in codes for each in code.containers for piece in each.pieces]
    unknown = sum(bool(each.why) for code in codes for each in (code, *code.containers))
    ours = Counter(named(each) for each in pieces if each.form is not Form.OTHER)
    theirs, only = listed(cuobjdump, path)
    if only:
        ours = Counter({each: n for each, n in ours.items() if each[1].removeprefix("sm_") in SUPPORTED})
    begin = time.monotonic()
    made = rewrite(read, found, size, target)
    working = time.monotonic() - begin
    code = sum(found.sections[each.section].size for each in codes)
    print(
        f"| {path.name} | {size / MB:,.1f} | {code / MB:,.1f} | {sum(len(each.containers) for each in codes):,} "
        f"| {len(pieces):,}{f', {unknown} unknown' if unknown else ''} | {reading:.2f} "
        f"| {'equal' if ours == theirs else 'DIFFERENT'}{only} "
        f"| {made if isinstance(made, str) else f'{made.size / MB:,.1f}'} | {working:.2f} |",
        flush=True,
    )
    return ours == theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuobjdump")
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--gpu-arch", default="sm_90")
    asked = parser.parse_args()
    target, equal = parse(asked.gpu_arch), True
    print(
        f"| library | MB | GPU code, MB | containers | pieces | read, s | cuobjdump | MB for {target} | worked out, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    count = 0
    for path, read, found in libraries(asked.directories):
        codes = gpu_code(read, found)
        if codes:
            equal &= row(asked.cuobjdump, path, read, found, codes, target)
            count += 1
    print(f"\n{count} libraries, {'all equal' if equal else 'NOT ALL EQUAL'}")
    return int(not equal)


if __name__ == "__main__":
    sys.exit(main())
