"""What went out of files that stay, symbols and GPU code, and what did not although the plan says so. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt, Verification
from slimagent.model.result import Outcome
from slimagent.model.summary import GpuGone, Summary, Unstripped
from slimagent.paths.algebra import to_text
from slimagent.report.gpu import NONE
from slimagent.report.undone import undone
from slimagent.text.counted import counted
from slimagent.text.sizes import size

_CHECK = "gpu"  # the kind of check that computes something on a GPU
_SHOWN = 3  # reasons


def unstripped(plan: Plan, receipt: Receipt) -> tuple[Unstripped, ...]:
    """The files that should have become smaller, by the reason why they did not, those with the most bytes first."""
    groups: dict[str, list[tuple[int, bytes]]] = {}
    for path, each in undone(plan, receipt).items():
        groups.setdefault(each.why, []).append((each.expected, path))
    rows = [
        Unstripped(
            why=why,
            files=len(those),
            bytes=sum(expected for expected, _ in those),
            largest=min(those, key=lambda each: (-each[0], each[1]))[1],
        )
        for why, those in groups.items()
    ]
    return tuple(sorted(rows, key=lambda each: (-each.bytes, each.why)))


def gpu_gone(plan: Plan, receipt: Receipt) -> GpuGone | None:
    """What went of GPU code, and what more could go. Whether a GPU proved it is not known yet."""
    if plan.gpu is None:
        return None
    could = [each.could_save for each in plan.gpu.left if each.could_save]
    return GpuGone(
        target=plan.gpu.target, files=receipt.gpu, bytes=receipt.bytes_gpu, more_files=len(could), more_bytes=sum(could)
    )


def ran_on_gpu(verification: Verification) -> bool:
    """Whether the slim image computed something on a GPU. The check is skipped without one."""
    return any(step.kind == _CHECK and step.outcome is Outcome.PASSED for step in verification.steps)


def gpu_notes(summary: Summary) -> Iterator[str]:
    """A sentence, if GPU code went and nothing says that the rest of it runs. An image without GPUs needs no proof."""
    gpu = summary.gpu
    if gpu is not None and gpu.files and gpu.target != NONE and not gpu.proved:
        yield (
            "GPU code was removed, and no check of kind gpu passed in the slim image: that the rest of it runs on a "
            "GPU is not proved (give the containers one, e.g. with --gpus all, and run that check)"
        )


def smaller(summary: Summary, directory: str = "") -> Iterator[str]:
    """What went out of files that stay, what more could go, and what should have gone, a sentence each.

    They have no full stop. `directory` has the documents, if it is known where they are read.
    """
    gpu = summary.gpu
    if summary.files_stripped:
        saved = summary.bytes_stripped or 0
        yield went(summary.files_stripped, saved, *(() if gpu is None else (gpu.files, gpu.bytes, gpu.target)))
    if gpu is not None and gpu.more_bytes:
        ask = shlex.join(["slimagent", "explain", directory or "OUT"])
        yield (
            f"{size(gpu.more_bytes)} more of GPU code could go from {counted(gpu.more_files, 'file')}, if you permit "
            f"it with --gpu-code-of; {ask} says of which packages"
        )
    for each in summary.unstripped[:_SHOWN]:
        whose = to_text(each.largest)
        if each.files > 1:
            whose = f"{counted(each.files, 'file')}, the largest {whose}"
        yield f"{size(each.bytes)} less went than planned, out of {whose}: {each.why}"
    rest = summary.unstripped[_SHOWN:]
    if rest:
        files = counted(sum(each.files for each in rest), "more file")
        yield f"{files}, {size(sum(each.bytes for each in rest))}, could not be made smaller: receipt.json says why"


def went(files: int, saved: int, lost_code: int = 0, code: int = 0, target: str = NONE) -> str:
    """How much smaller files are, by what went. `lost_code` of them lost `code` bytes of GPU code.

    >>> went(9, 5_000_000, 1, 5_000_000, "sm_90")
    '9 files are 5.0 MB smaller: 5.0 MB of GPU code that is not for sm_90 (1 file)'
    """
    if not code:
        return f"{counted(files, 'file was', 'files were')} stripped, which saved {size(saved)}"
    only = "" if target == NONE else f" that is not for {target.replace(',', ', ')}"
    parts = [f"{size(code)} of GPU code{only} ({counted(lost_code, 'file')})"]
    parts += [f"{size(saved - code)} of symbols and debugging sections"] if saved > code else []
    return f"{counted(files, 'file is', 'files are')} {size(saved)} smaller: {', '.join(parts)}"
