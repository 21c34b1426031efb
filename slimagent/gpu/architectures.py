"""GPUs by name, and which code of a container runs on each. Pure.

The rules are those of the CUDA loader (CUDA C++ Programming Guide, "Application Compatibility" and "Feature Set
Compiler Targets"; CUDA Binary Utilities). Machine code (a cubin) runs on GPUs of its major version whose minor version
is not below its own. Code for an architecture with the suffix "a" runs on that architecture alone. Code with the
suffix "f" runs on its family: the same major version, and a minor version not below its own. PTX is compiled when it is
loaded, for every architecture that is not below its own, with the same rules for the suffixes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from slimagent.errors import UsageError

EXACT, FAMILY = "a", "f"
NONE = "none"
_LONGEST = 60  # characters of a name that are looked at and shown


class Architecture(NamedTuple):
    """A GPU architecture as its compute capability without the dot, e.g. 90, and its suffix: "", "a" or "f"."""

    number: int
    suffix: str = ""

    @property
    def major(self) -> int:
        return self.number // 10

    def __str__(self) -> str:
        return f"sm_{self.number}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Target:
    """The GPUs that an image is for, as numbers in ascending order; empty: no GPU. `ptx`: keep PTX for GPUs to come."""

    architectures: tuple[int, ...]
    ptx: bool = False

    def __str__(self) -> str:
        return ",".join(f"sm_{each}" for each in self.architectures) or NONE


# NVIDIA's list of compute capabilities, https://developer.nvidia.com/cuda-gpus
_NAMES = {
    "p100": 60, "p4": 61, "p40": 61, "gtx-1080": 61, "v100": 70, "titan-v": 70, "xavier": 72, "t4": 75, "rtx-2080": 75,
    "rtx-2080-ti": 75, "gtx-1660": 75, "a100": 80, "a30": 80, "a2": 86, "a10": 86, "a10g": 86, "a16": 86, "a40": 86,
    "rtx-3060": 86, "rtx-3070": 86, "rtx-3080": 86, "rtx-3090": 86, "rtx-a4000": 86, "rtx-a5000": 86, "rtx-a6000": 86,
    "orin": 87, "l4": 89, "l20": 89, "l40": 89, "l40s": 89, "rtx-4060": 89, "rtx-4070": 89, "rtx-4080": 89,
    "rtx-4090": 89, "rtx-6000-ada": 89, "h100": 90, "h200": 90, "h800": 90, "h20": 90, "gh200": 90, "b100": 100,
    "b200": 100, "gb200": 100, "b300": 103, "gb300": 103, "thor": 110, "rtx-5060": 120, "rtx-5070": 120,
    "rtx-5080": 120, "rtx-5090": 120, "rtx-pro-6000": 120, "gb10": 121, "dgx-spark": 121,
}  # fmt: skip
# Systems on a chip. Their code and that of other GPUs with the same major version are not promised to be compatible,
# so it never takes the place of other code.
_ON_CHIP = frozenset({53, 62, 72, 87, 88, 101, 110, 121})
_KNOWN = frozenset({30, 32, 35, 37, 50, 52, 60, 61, 70, 75, 80, 86, 89, 90, 100, 103, 120}) | _ON_CHIP
_LOOSE = re.compile(r"(?:sm|compute)?[-_]*(\d{1,2})[._]?(\d)([af]?)", re.ASCII)  # how people write a number
_NUMBERED = re.compile(r"(?:sm_|compute_)?(\d{2,3})[af]?|(\d{1,2})\.(\d)", re.ASCII)


def parse(text: str, ptx: bool = False) -> Target:
    """A list of GPUs, e.g. `sm_80,h100`, or `none`. Raises UsageError for a name that is not known."""
    words = [each.strip().lower().replace(" ", "-") for each in text.split(",")]
    if "" in words:
        where = " before or after a comma" if len(words) > 1 else ""
        raise UsageError(f"not a GPU architecture: a name is missing{where}", f"name GPUs, e.g. sm_80,h100, or {NONE}")
    if words == [NONE]:
        return Target(())
    if NONE in words:
        raise UsageError(
            f"not a GPU architecture: {NONE!r}, which stands alone", f"name GPUs, e.g. sm_80,h100, or only {NONE}"
        )
    return Target(tuple(sorted({_number(each) for each in words})), ptx)


def _number(word: str) -> int:
    if word in _NAMES:
        return _NAMES[word]
    match = _NUMBERED.fullmatch(word)
    number = int(match[1] or match[2] + match[3]) if match else 0
    if number not in _KNOWN:
        raise UsageError(
            f"not a GPU architecture: {word[:_LONGEST]!r}",
            _meant(word) or "name GPUs by architecture (sm_80, 8.0) or model (a100, h100, l4, rtx-4090), or say none",
        )
    return number


def _meant(word: str) -> str:
    """A hint for a name that is not known; empty if none is near."""
    parts = word.split("-")
    if len(parts) > 1 and all(each in _NAMES or _NUMBERED.fullmatch(each) for each in parts):
        return f"commas separate GPUs: {','.join(parts)}"
    match = _LOOSE.fullmatch(word)
    if match and int(match[1] + match[2]) in _KNOWN:
        return f"did you mean sm_{match[1]}{match[2]}{match[3]}?"
    if match:
        known = ", ".join(f"sm_{each}" for each in sorted(_KNOWN))
        return f"no GPU that is known here has it; known are {known}, and models (a100, h100, l4, rtx-4090)"
    plain = {name.replace("-", ""): name for name in _NAMES}
    near = difflib.get_close_matches(re.sub(r"[-_]", "", word[:_LONGEST]).removeprefix("nvidia"), plain, 1, 0.8)
    return f"did you mean {plain[near[0]]}?" if near else ""


def runs(code: Architecture, gpu: int) -> bool:
    """Whether a GPU can run machine code for an architecture."""
    if code.suffix == EXACT:
        return code.number == gpu
    return code.major == gpu // 10 and code.number <= gpu


def is_promised(code: Architecture, gpu: int) -> bool:
    """Whether NVIDIA promises that machine code which `runs` on a GPU does: with systems on a chip it does not."""
    return code.number == gpu or not _ON_CHIP.intersection((code.number, gpu))


def compiles(code: Architecture, gpu: int) -> bool:
    """Whether PTX for an architecture can be compiled for a GPU."""
    return runs(code, gpu) if code.suffix else code.number <= gpu


def best(codes: Iterable[Architecture]) -> frozenset[Architecture]:
    """The architectures that a loader may choose, among those of one container that can be used on a GPU.

    It takes the highest. Which it prefers of one number with and without a suffix is not published, so all of these
    count. Code for a system on a chip counts beside the highest other code.
    """
    codes = frozenset(codes)
    highest = max((each.number for each in codes if each.number not in _ON_CHIP), default=0)
    on_chip = max((each.number for each in codes if each.number in _ON_CHIP), default=0)
    return frozenset(each for each in codes if each.number in (highest, on_chip) and each.number >= highest)
