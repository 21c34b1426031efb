"""Hold rewritten libraries against the original ones with NVIDIA's `cuobjdump` (PyPI: nvidia-cuda-cuobjdump).

    python benchmarks/gpu_kept.py CUOBJDUMP BEFORE AFTER --gpu-arch sm_90

BEFORE and AFTER are one directory of an image and of its slim image, e.g. as `docker cp` copies it. For each library
that is in both and has another size: its MB, how many pieces of GPU code it had and has, whether cuobjdump lists what
should stay and nothing else, whether all code that it extracts from it is the same as in the original, and whether the
exported symbols and the build id are equal. Extracted code goes to a temporary directory (TMPDIR) of some GB. Exits
with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gpu import SUPPORTED, Names, libraries, listed, named

from slimagent.gpu.architectures import Target, parse
from slimagent.gpu.choice import staying
from slimagent.gpu.containers import Form, gpu_code
from slimagent.gpu.references import references

MB = 1e6


def kept(path: Path, target: Target) -> tuple[int, Names]:
    """How many pieces of GPU code a library has, and those that should stay, as cuobjdump lists them.

    All of a container stay if anything but a wrapper refers to it, or nothing that is known.
    """
    pieces, stay = 0, Names()
    for _, read, found in libraries([str(path)]):
        codes = gpu_code(read, found)
        whole = references(read, found, codes).whole if codes else set()
        for code in codes:
            section = found.sections[code.section]
            for each in code.containers:
                is_whole = each.offset - section.offset + section.address in whole
                pieces += len(each.pieces)
                some = each.pieces if is_whole else staying(each, target)
                stay.update(named(piece) for piece in some if piece.form is not Form.OTHER)
    return pieces, stay


def extracted(cuobjdump: str, path: Path) -> Counter[tuple[str, str]]:
    """The code itself, decompressed: kind and architecture with the digest."""
    found: Counter[tuple[str, str]] = Counter()
    for option in ("-xelf", "-xptx"):
        with tempfile.TemporaryDirectory() as directory:
            command = [cuobjdump, option, "all", "-all", str(path.resolve())]
            # Its exit status is no guide: a file without PTX is a failure, too.
            subprocess.run(command, cwd=directory, capture_output=True, check=False)
            for each in Path(directory).iterdir():
                digest = hashlib.sha256(each.read_bytes()).hexdigest()
                found[each.name[each.name.rindex("sm_") :], digest] += 1
    return found


def said(path: Path) -> list[str]:
    """What readelf says of the symbols that a library exports, and its build id."""
    command = ["readelf", "--wide", "--dyn-syms", "--notes", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "GLOBAL" in line or "WEAK" in line or "Build ID" in line]


def row(cuobjdump: str, before: Path, after: Path, target: Target) -> bool:
    """Print the row of a library; whether all is as it should be."""
    pieces, stay = kept(before, target)
    names, only = listed(cuobjdump, after)
    if only:
        stay = Counter({each: n for each, n in stay.items() if each[1].removeprefix("sm_") in SUPPORTED})
    old, new = extracted(cuobjdump, before), extracted(cuobjdump, after)
    verdicts = (names == stay, new <= old, said(before) == said(after))
    sizes = [each.stat().st_size / MB for each in (before, after)]
    shown = " | ".join("equal" if each else "DIFFERENT" for each in verdicts)
    print(
        f"| {before.name} | {sizes[0]:,.1f} | {sizes[1]:,.1f} | {pieces:,} | {names.total():,}{only} "
        f"| {new.total():,} of {old.total():,} | {shown} |",
        flush=True,
    )
    return all(verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuobjdump")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--gpu-arch", default="sm_90")
    asked = parser.parse_args()
    target, right, count = parse(asked.gpu_arch), True, 0
    print("| library | MB | after, MB | pieces | listed after | extracted | list | code | symbols and build id |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path, _, _ in libraries([str(asked.before)]):
        after = asked.after / path.relative_to(asked.before)
        if after.is_file() and after.stat().st_size != path.stat().st_size and kept(path, target)[0]:
            right &= row(asked.cuobjdump, path, after, target)
            count += 1
    print(f"\n{count} libraries, {'all as they should be' if right else 'NOT ALL AS THEY SHOULD BE'}")
    return int(not right or not count)


if __name__ == "__main__":
    sys.exit(main())
