"""What went out of files that stay, symbols and GPU code, and what did not although the plan says so. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt, Verification
from slimagent.model.result import Outcome
from slimagent.model.summary import GpuGone, Summary, Unstripped
from slimagent.paths.algebra import to_text
from slimagent.report.gpu import NONE
from slimagent.text.counted import counted
from slimagent.text.sizes import size

_CHECK = "gpu"  # the kind of check that computes something on a GPU
_OF_GPU_CODE = "GPU code: "  # apply begins a reason so where only the GPU code stays (Outcome.partly)
_SHOWN = 3  # reasons


def not_saved(plan: Plan, receipt: Receipt) -> dict[bytes, tuple[int, str]]:
    """The files that are larger than the plan says, by path: the bytes that it expected to save, and why not.

    A receipt does not say whether a file that could not be stripped lost its GPU code. It says how many files did:
    if these are all that can have lost some, each of them did.
    """
    symbols = dict(plan.strips)
    code = {each.path: each.saves for each in (() if plan.gpu is None else plan.gpu.files)}
    whys = dict(receipt.unstripped)
    kept_code = {path for path, why in whys.items() if path in code and _keeps_code(path, why, symbols)}
    others_lost_code = len(code) - len(kept_code) == receipt.gpu
    found = {}
    for path, why in whys.items():
        if why.startswith(_OF_GPU_CODE):
            expected = code.get(path, 0)
        elif path in code and path not in kept_code and others_lost_code:
            expected = symbols.get(path, 0)
        else:
            expected = symbols.get(path, 0) + code.get(path, 0)
        found[path] = expected, why.removeprefix(_OF_GPU_CODE)
    return found


def _keeps_code(path: bytes, why: str, symbols: dict[bytes, int]) -> bool:
    """Whether a file that is not as the plan says certainly has its GPU code."""
    return why.startswith(_OF_GPU_CODE) or path not in symbols


def unstripped(plan: Plan, receipt: Receipt) -> tuple[Unstripped, ...]:
    """The same by reason, those with the most bytes first."""
    groups: dict[str, list[tuple[int, bytes]]] = {}
    for path, (expected, why) in not_saved(plan, receipt).items():
        groups.setdefault(why, []).append((expected, path))
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
            "GPU code was removed, and no check ran on a GPU: that the rest of it runs is not proved "
            "(give the containers a GPU, and run the check `gpu`)"
        )


def smaller(summary: Summary) -> Iterator[str]:
    """What went out of files that stay, what more could go, and what should have gone, a sentence each.

    They have no full stop.
    """
    if summary.files_stripped:
        yield _stripped(summary, summary.files_stripped, summary.bytes_stripped or 0)
    gpu = summary.gpu
    if gpu is not None and gpu.more_bytes:
        yield (
            f"{size(gpu.more_bytes)} more of GPU code could go from {counted(gpu.more_files, 'file')}, if you permit "
            "it with --gpu-code-of; `slimagent explain` says of which packages"
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


def _stripped(summary: Summary, files: int, saved: int) -> str:
    """How much smaller the files are, by what went: somebody who removes GPU code wants to see it."""
    code = 0 if summary.gpu is None else summary.gpu.bytes
    if summary.gpu is None or not code:
        return f"{counted(files, 'file was', 'files were')} stripped, which saved {size(saved)}"
    made = counted(files, "file is", "files are")
    of = counted(summary.gpu.files, "of them lost", "of them lost")
    symbols = f"{size(saved - code)} of symbols and debugging sections" if saved > code else "nothing else"
    target = "" if summary.gpu.target == NONE else f" that is not for {summary.gpu.target.replace(',', ', ')}"
    return f"{made} {size(saved)} smaller: {of} {size(code)} of GPU code{target}, and {symbols} went"
