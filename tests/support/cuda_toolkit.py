"""NVIDIA's compiler and its `cuobjdump`, fetched once from PyPI into build/cuda; for tests only.

What they make and say is the measure of what we read: nothing here knows the format of GPU code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from python_images import lacking

PLACE = Path(__file__).parents[2] / "build" / "cuda"
VERSION = "13.5.37"
TOOLS = (
    *(f"nvidia-cuda-{name}=={VERSION}" for name in ("nvcc", "crt", "runtime", "cuobjdump")),
    f"nvidia-nvvm=={VERSION}",
    "nvidia-cuda-cccl==13.3.5.0.6",
)
# Small libraries of NVIDIA, as CUDA 11 and 12 were published.
LIBRARIES = ("nvidia-nvjpeg-cu11==11.9.0.86", "nvidia-nvjpeg-cu12==12.4.0.76")
SUPPORTED = (
    "75",
    "80",
    "86",
    "87",
    "88",
    "89",
    "90",
    "90a",
    "100",
    "100a",
    "103",
    "103a",
    "110",
    "110a",
    "120",
    "120a",
)
LINKERS = ("bfd", "gold", "lld")
_LISTED = re.compile(r"^(ELF|PTX) file +\d+: \S*?(sm_\d+[a-z]?)\.(cubin|ptx)$", re.MULTILINE)
_LIMIT = 300  # seconds


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program that must end well; what it printed."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=_LIMIT, cwd=cwd, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def published(*requirements: str) -> Path:
    """A directory with the files of these wheels. Skips the test if they cannot be had."""
    place = PLACE / "+".join(requirements)
    if place.is_dir():
        return place
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=PLACE) as new:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{new}/files"]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            lacking(f"pip cannot fetch {', '.join(requirements)}: {done.stderr[-300:]}")
        if not place.is_dir():  # another process may have been faster
            os.rename(f"{new}/files", place)
    return place


class Toolkit:
    """The compiler, and the program that lists GPU code."""

    def __init__(self) -> None:
        if shutil.which("g++") is None:
            lacking("there is no C++ compiler, which nvcc needs")
        self._root = published(*TOOLS) / "nvidia" / "cu13"
        self.cuobjdump = self._root / "bin" / "cuobjdump"

    def nvcc(self, *options: str | Path) -> None:
        """Run the compiler."""
        _run(self._root / "bin" / "nvcc", *options)

    def listed(self, file: Path) -> list[tuple[str, str]]:
        """The GPU code in a file as (`cubin` or `ptx`, architecture), section by section, in the order of the file.

        The program refuses a file with code for GPUs that it no longer supports, unless it is asked for one GPU: then
        this is the code for those of SUPPORTED, one after the other.
        """
        said, complaint = self._list(file)
        if "has been removed" in complaint:
            by_gpu = {each: self._list(file, "-arch", f"sm_{each}")[0] for each in SUPPORTED}
            # sm_90 is listed for sm_90a too
            return [row for each, part in by_gpu.items() for row in _rows(part) if row[1] == f"sm_{each}"]
        return _rows(said)

    def _list(self, file: Path, *options: str) -> tuple[str, str]:
        # Its exit status is no guide: a file without PTX is a failure too.
        command = [self.cuobjdump, "-lelf", "-lptx", "-all", *options, file]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        return done.stdout, done.stderr

    def extracted(self, file: Path, folder: Path) -> dict[str, list[bytes]]:
        """The code itself, decompressed: by kind and architecture, in the order of the file."""
        folder.mkdir()
        for option in ("-xelf", "-xptx"):
            subprocess.run(
                [self.cuobjdump, option, "all", "-all", file.resolve()],
                cwd=folder,
                capture_output=True,
                timeout=_LIMIT,
                check=False,
            )
        found: dict[str, list[bytes]] = {}
        for path in sorted(folder.iterdir(), key=lambda each: [int(n) for n in re.findall(r"\.(\d+)\.sm_", each.name)]):
            found.setdefault(path.name[path.name.rindex("sm_") :], []).append(path.read_bytes())
        return found


def _rows(said: str) -> list[tuple[str, str]]:
    return [(kind, architecture) for _, architecture, kind in _LISTED.findall(said)]


def linkers() -> list[str]:
    """The linkers of this machine."""
    return [each for each in LINKERS if shutil.which(f"ld.{each}")]


def gpus(*codes: str) -> list[str]:
    """Options for nvcc: `80` is machine code, `ptx80` PTX, `lto90` LTO-IR."""
    options = []
    for code in codes:
        kind, number = re.fullmatch(r"(ptx|lto|)(\w+)", code).groups()  # type: ignore[union-attr]
        made = {"ptx": "compute", "lto": "lto", "": "sm"}[kind]
        options += ["-gencode", f"arch=compute_{number},code={made}_{number}"]
    return options
