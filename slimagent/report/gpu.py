"""What a plan says of GPU code, as lines for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from slimagent.model.plan import GpuHeld, Plan
from slimagent.model.proof import Receipt
from slimagent.report.tables import table
from slimagent.report.undone import undone
from slimagent.text.counted import counted
from slimagent.text.sizes import size

NONE = "none"  # the target of an image that runs without a GPU
_SHOWN = 10  # reasons
_PERMIT = "if you permit it with --gpu-code-of"
_FORMS = {"cubin": "machine code", "ptx": "PTX", "other": "other code", "unknown": "not understood"}


def gpu_plan(plan: Plan, receipt: Receipt | None = None) -> list[str]:
    """What goes of GPU code and what permits it, then what is left alone, with the reason and what it could save.

    With a receipt: what went.
    """
    gpu = plan.gpu
    if gpu is None or not (gpu.files or gpu.left):
        return []
    failed, goes = undone(plan, receipt), "goes" if receipt is None else "went"
    those = [each for each in gpu.files if each.path not in failed or not failed[each.path].code]
    saved = sum(each.saves for each in those) if receipt is None else receipt.bytes_gpu
    count = counted(len(those), "kept file")
    lines = [f"GPU code {goes} from {count}, {size(saved)}: {_why(gpu.target)}" if those else f"no GPU code {goes}"]
    lines += _by(goes, "because", ((each.permitted, each.saves) for each in those))
    could = [each.could_save for each in gpu.left if each.could_save]
    if could:
        files = counted(len(could), "file")
        lines.append(f"{size(sum(could))} more could go from {files}, {_PERMIT}")
    return lines + _by("could go", "left alone because", ((each.why, each.could_save) for each in gpu.left))


def _why(target: str) -> str:
    if target == NONE:
        return "the image runs without a GPU"
    return f"{target.replace(',', ', ')} {'load' if ',' in target else 'loads'} none of it"


def _by(first: str, why: str, files: Iterable[tuple[str, int]]) -> list[str]:
    """A table of files by a sentence, those with the most bytes first."""
    counts, sizes = Counter[str](), Counter[str]()
    for sentence, saves in files:
        counts[sentence] += 1
        sizes[sentence] += saves
    order = sorted(counts, key=lambda each: (-sizes[each], -counts[each], each))
    rows = [[f"  {counts[each]:,}", size(sizes[each]) if sizes[each] else "", each] for each in order[:_SHOWN]]
    lines = table([["  files", first, why], *rows], right=(0, 1)) if rows else []
    return lines if len(order) <= _SHOWN else [*lines, f"  … and {len(order) - _SHOWN} more reasons (in the plan: gpu)"]


class GpuWords:
    """What a plan says of the GPU code in each file; with a receipt, what was done."""

    def __init__(self, plan: Plan, receipt: Receipt | None = None) -> None:
        gpu, failed = plan.gpu, undone(plan, receipt)
        self._said: dict[bytes, str] = {}
        self._held: dict[bytes, list[GpuHeld]] = {}
        if gpu is None:
            return
        for each in gpu.held:
            self._held.setdefault(each.path, []).append(each)
        for path, saves, permitted in gpu.files:
            word = "goes" if receipt is None else "went"
            self._said[path] = f"{size(saves)} {word}, for {gpu.target}: {permitted}"
            if path in failed and failed[path].code:
                self._said[path] = f"{size(saves)} should have gone, for {gpu.target}, and stays: {failed[path].why}"
        for path, why, could_save in gpu.left:
            could = f"; {size(could_save)} could go, {_PERMIT}" if could_save else ""
            self._said[path] = f"left alone: {why}{could}"

    def said(self, path: bytes) -> str:
        """What happens to a file's GPU code; empty if nothing is known of it."""
        return self._said.get(path, "")

    def held(self, path: bytes) -> tuple[GpuHeld, ...]:
        """What GPU code is in a file, by form and architecture, the largest first."""
        return tuple(self._held.get(path, ()))


def held_table(held: Iterable[GpuHeld]) -> list[str]:
    """A table of GPU code, with what of it has to stay for the target."""
    rows = [
        [_FORMS.get(each.form, each.form), each.architecture, size(each.size), f"{each.pieces:,}", _stays(each)]
        for each in held
    ]
    return table([["GPU code", "for", "size", "pieces", "stays"], *rows], right=(2, 3)) if rows else []


def _stays(each: GpuHeld) -> str:
    if each.stays == each.size:
        return "yes"
    return size(each.stays) if each.stays else "no"
