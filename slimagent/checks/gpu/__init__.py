"""Kind `gpu`: the graphics driver answers, and each installed framework computes something on the GPU.

Parameters: `python` (a program; default the PATH's python3, else python), `seconds_each` (default 120, for one
framework). The check is skipped without a GPU, and also if a driver answers and no framework was exercised: only a
check that passed removes the protection from a profile's GPU packages.
"""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from slimagent.checks import parameters
from slimagent.checks.answers import member, parsed
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import FaultError, Finding, all_skipped, judged, of_items, skipped
from slimagent.checks.program import Ended, Workspace
from slimagent.linux.files import read
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"python": str, "seconds_each": float}
_SECONDS_EACH = 120.0
_SECONDS_DRIVER = 30.0  # an unloaded driver takes seconds to load
_SECONDS_LIST = 60.0
FRAMEWORKS = ("torch", "cudf", "cupy", "jax", "numba")
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "driver.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vendor:
    """A vendor of GPUs: the device nodes of the host's driver, and programs that query it; the first on PATH counts."""

    name: str
    nodes: tuple[str, ...]
    programs: tuple[tuple[str, ...], ...]


# Device nodes: NVIDIA driver README, "Frequently asked questions"; WSL's /dev/dxg (drivers/hv/dxgkrnl); AMD's /dev/kfd
# (drivers/gpu/drm/amd/amdkfd). The programs come with the driver (nvidia-smi), or with ROCm.
VENDORS = (
    _Vendor(
        name="nvidia",
        nodes=("/dev/nvidia[0-9]*", "/dev/dxg"),
        programs=(("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),),
    ),
    _Vendor(name="amd", nodes=("/dev/kfd",), programs=(("rocm-smi", "--showproductname"), ("rocminfo",))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """A vendor of a GPU that is here, and its driver's answer."""

    vendor: str
    outcome: Outcome
    detail: str


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: driver, and each of FRAMEWORKS; those that are not installed, or built for the CPU only, are skipped."""
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory:
        workspace = _Workspace(context, {**context.env, **_caches(directory)}, directory, deadline)
        cards, absent = workspace.cards()
        if not cards:
            return skipped(f"no GPU here: {absent}")
        worst = max((card.outcome for card in cards), key=(Outcome.PASSED, Outcome.SKIPPED, Outcome.FAILED).index)
        driver = Item(name="driver", outcome=worst, detail="; ".join(card.detail for card in cards))
        items = [driver, *_frameworks(workspace, spec, [card.vendor for card in cards])]
    found = of_items(items, log="\n".join(workspace.logs[:1]))
    if found.outcome is Outcome.PASSED and all(each.outcome is not Outcome.PASSED for each in items[1:]):
        return replace(found, outcome=Outcome.SKIPPED, detail="there is a GPU, and no framework to exercise it")
    return found


def _caches(directory: str) -> dict[str, str]:
    """Where compiled kernels go: to an empty directory, as kernels of an earlier run would spare the compiler."""
    names = ("CUDA_CACHE_PATH", "CUPY_CACHE_DIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "PYTORCH_KERNEL_CACHE_PATH")
    caches = {name: os.path.join(directory, name.lower()) for name in names}
    # The GPU may be shared, and JAX would take three quarters of its memory. And no simulated GPU.
    return {**caches, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "NUMBA_ENABLE_CUDASIM": "0"}


@dataclass(frozen=True, slots=True)
class _Workspace(Workspace):
    """A workspace that can ask for GPUs, and the last output of what failed."""

    logs: list[str] = field(default_factory=list)

    def cards(self) -> tuple[list[_Card], str]:
        """The GPUs that are here, by vendor; and why there are no others."""
        found, absent = [], []
        for vendor in VENDORS:
            answer = self._card(vendor)
            if isinstance(answer, _Card):
                found.append(answer)
            elif answer:
                absent.append(answer)
        return found, "; ".join(absent) or "neither a device node nor a program that asks a driver"

    def _card(self, vendor: _Vendor) -> _Card | str:
        """The answer of a vendor's driver; if there is no GPU of that vendor, the reason.

        Device nodes come from the host. With them a driver that does not answer is a fault. Without them a program of
        the image may report that there is none.
        """
        node = next((path for pattern in vendor.nodes for path in sorted(glob.glob(pattern))), None)
        named = [(path, *words[1:]) for words in vendor.programs if (path := self.find(words[0]))]
        if not named:
            lacking = f"{node} is here, and no {vendor.programs[0][0]} to ask its driver"
            return "" if node is None else _Card(vendor=vendor.name, outcome=Outcome.SKIPPED, detail=lacking)
        ended, why = None, ""
        try:
            ended = self.complete(named[0], _SECONDS_DRIVER)
        except FaultError as fault:
            why = str(fault)
        except OSError as error:
            why = f"{named[0][0]}: {error.strerror}"
        if ended is not None and ended.well and ended.first:
            return _Card(vendor=vendor.name, outcome=Outcome.PASSED, detail="; ".join(ended.first[:8]))
        if ended is not None:
            why = f"{named[0][0]}: {'it names no GPU' if ended.well else ended.why}"
        return (
            why if node is None else _Card(vendor=vendor.name, outcome=Outcome.FAILED, detail=f"{why} ({node} is here)")
        )


def _frameworks(workspace: _Workspace, spec: CheckSpec, vendors: list[str]) -> Iterator[Item]:
    given = parameters.string(spec, "python")
    names = (given,) if given else ("python3", "python")
    python = next(filter(None, map(workspace.find, names)), "")
    if not python:
        yield from all_skipped(FRAMEWORKS, f"{names[0]} is not on PATH")
        return
    source = read(_DRIVER).decode("utf-8")
    try:
        ended = workspace.complete((python, "-c", source, json.dumps({"list": FRAMEWORKS})), _SECONDS_LIST)
    except FaultError as fault:
        yield from (judged(name, str(fault)) for name in FRAMEWORKS)
        return
    installed = _said(ended).get("installed")
    if not isinstance(installed, list):
        workspace.logs.append(ended.log())
        yield from (judged(name, f"{python} could not be asked: {ended.why}") for name in FRAMEWORKS)
        return
    seconds = parameters.number(spec, "seconds_each", _SECONDS_EACH)
    for name in FRAMEWORKS:
        if name in installed:
            yield _exercise(workspace, name, (python, "-c", source), vendors, seconds)
        else:
            yield from all_skipped([name], "not installed")


def _exercise(workspace: _Workspace, name: str, argv: tuple[str, ...], vendors: list[str], seconds: float) -> Item:
    """One framework in a process of its own, which reports the result at its end."""
    try:
        ended = workspace.complete((*argv, json.dumps({"run": name, "vendors": vendors})), seconds)
    except FaultError as fault:
        return judged(name, str(fault))
    said = _said(ended)
    outcomes = {each.value: each for each in Outcome}
    outcome = outcomes.get(str(said.get("outcome")))
    detail = str(said.get("detail", ""))
    if outcome is None or (outcome is Outcome.PASSED and not ended.well):  # e.g. a crash at its exit
        outcome, detail = Outcome.FAILED, ended.why
    if outcome is Outcome.FAILED:
        workspace.logs.append(ended.log())
    return Item(name=name, outcome=outcome, detail=detail)


def _said(ended: Ended) -> dict[str, object]:
    """The last line of the driver; other output of a framework is ignored."""
    values = map(parsed, reversed(ended.last))
    return next((value for value in values if member(value, "slimagent") == "gpu"), {})
