"""What the plan takes out of files that stay and apply left in them: symbols, GPU code, or both. Pure."""

from __future__ import annotations

from typing import NamedTuple

from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt

_OF_GPU_CODE = "GPU code: "  # apply begins a reason so where only the GPU code stays (Outcome.partly)


class Undone(NamedTuple):
    """Bytes of symbols and debugging sections, and bytes of GPU code, that a file should have lost, and why not."""

    why: str
    symbols: int
    code: int

    @property
    def expected(self) -> int:
        return self.symbols + self.code


def undone(plan: Plan, receipt: Receipt | None) -> dict[bytes, Undone]:
    """The files that are larger than the plan says, by path; none without a receipt.

    A receipt does not say whether a file that could not be stripped lost its GPU code. It says how many files did:
    if these are all that can have lost some, each of them did.
    """
    if receipt is None:
        return {}
    symbols = dict(plan.strips)
    code = {each.path: each.saves for each in (() if plan.gpu is None else plan.gpu.files)}
    whys = dict(receipt.unstripped)
    keep_code = {path for path, why in whys.items() if path in code and _keeps_code(path, why, symbols)}
    others_lost_code = len(code) - len(keep_code) == receipt.gpu
    found = {}
    for path, why in whys.items():
        of_symbols = 0 if why.startswith(_OF_GPU_CODE) else symbols.get(path, 0)
        of_code = 0 if others_lost_code and path not in keep_code else code.get(path, 0)
        found[path] = Undone(why.removeprefix(_OF_GPU_CODE), of_symbols, of_code)
    return found


def _keeps_code(path: bytes, why: str, symbols: dict[bytes, int]) -> bool:
    """Whether a file that is not as the plan says certainly has its GPU code."""
    return why.startswith(_OF_GPU_CODE) or path not in symbols
