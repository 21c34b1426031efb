"""Kind `gpu`: the graphics driver answers, and each framework that is installed computes something on it.

Parameters: `python` (a program; default the PATH's python3, else python), `seconds_each` (default 120, for one
framework). Without a GPU the check is skipped, and so it is where a driver answers and no framework was exercised:
only a check that passed takes the protection from a profile's GPU packages.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import Finding, of_items, skipped
from slimagent.checks.program import Ended, complete
from slimagent.linux.files import read
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"python": str, "seconds_each": float}
_SECONDS_EACH = 120.0
_SECONDS_DRIVER = 30.0  # a driver that was asleep takes seconds to load
_SECONDS_LIST = 60.0
FRAMEWORKS = ("torch", "cudf", "cupy", "jax", "numba")
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "driver.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vendor:
    """Whose GPUs: the device nodes that the host's driver makes, and programs that ask it, the first on PATH counts."""

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
    """A vendor whose GPU is here, and what its driver says."""

    vendor: str
    outcome: Outcome
    detail: str


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: driver, and each of FRAMEWORKS; those that are not installed, or built for the CPU only, are skipped."""
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory:
        bench = _Bench(context, {**context.env, **_caches(directory)}, directory, deadline)
        cards, absent = bench.cards()
        if not cards:
            return skipped(f"no GPU here: {absent}")
        worst = max((card.outcome for card in cards), key=(Outcome.PASSED, Outcome.SKIPPED, Outcome.FAILED).index)
        driver = Item(name="driver", outcome=worst, detail="; ".join(card.detail for card in cards))
        items = [driver, *_frameworks(bench, spec.parameters, [card.vendor for card in cards])]
    found = of_items(items, log=bench.log)
    if found.outcome is Outcome.PASSED and all(each.outcome is not Outcome.PASSED for each in items[1:]):
        return replace(found, outcome=Outcome.SKIPPED, detail="there is a GPU, and no framework to exercise it")
    return found


def _caches(directory: str) -> dict[str, str]:
    """Where compiled kernels go: not where an earlier run's are found, which would leave the compiler unexercised."""
    names = ("CUDA_CACHE_PATH", "CUPY_CACHE_DIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "PYTORCH_KERNEL_CACHE_PATH")
    caches = {name: os.path.join(directory, name.lower()) for name in names}
    # A GPU that others use as well: JAX would take three quarters of its memory. And no GPU that is a simulator.
    return {**caches, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "NUMBA_ENABLE_CUDASIM": "0"}


@dataclass(slots=True)
class _Bench:
    """Where programs run: environment, directory, deadline of all, and the last output of what failed."""

    context: Context
    env: Mapping[str, str]
    directory: str
    deadline: float
    log: str = ""

    def complete(self, argv: tuple[str, ...], seconds: float) -> Ended:
        """Run a program for so long, or until all must be over. Raises OSError."""
        left = max(0.1, min(seconds, self.deadline - time.monotonic()))
        return complete(self.context, argv, env=self.env, cwd=self.directory, seconds=left)

    def find(self, program: str) -> str | None:
        """A program on the image's PATH."""
        return shutil.which(program, path=self.env.get("PATH", os.defpath))

    def cards(self) -> tuple[list[_Card], str]:
        """The GPUs that are here, by vendor; and why the others are held to be none."""
        found, absent = [], []
        for vendor in VENDORS:
            answer = self._card(vendor)
            if isinstance(answer, _Card):
                found.append(answer)
            elif answer:
                absent.append(answer)
        return found, "; ".join(absent) or "neither a device node nor a program that asks a driver"

    def _card(self, vendor: _Vendor) -> _Card | str:
        """What a vendor's driver says; if it has no GPU here, why it is thought so.

        Device nodes are the host's: where they are, a driver that does not answer is a fault. Where they are not, a
        program that came with the image may say so.
        """
        node = next((path for pattern in vendor.nodes for path in sorted(glob.glob(pattern))), None)
        named = [(path, *words[1:]) for words in vendor.programs if (path := self.find(words[0]))]
        if not named:
            lacking = f"{node} is here, and no {vendor.programs[0][0]} to ask its driver"
            return "" if node is None else _Card(vendor=vendor.name, outcome=Outcome.SKIPPED, detail=lacking)
        ended, why = None, ""
        try:
            ended = self.complete(named[0], _SECONDS_DRIVER)
        except OSError as error:
            why = f"{named[0][0]}: {error.strerror}"
        if ended is not None and ended.well and ended.first:
            return _Card(vendor=vendor.name, outcome=Outcome.PASSED, detail="; ".join(ended.first[:8]))
        if ended is not None:
            why = f"{named[0][0]}: {'it names no GPU' if ended.well else ended.why}"
        return (
            why if node is None else _Card(vendor=vendor.name, outcome=Outcome.FAILED, detail=f"{why} ({node} is here)")
        )


def _frameworks(bench: _Bench, parameters: Mapping[str, Parameter], vendors: list[str]) -> Iterator[Item]:
    given = parameters.get("python")
    names = (str(given),) if given is not None else ("python3", "python")
    python = next((found for found in map(bench.find, names) if found), None)
    if python is None:
        yield from (_item(name, Outcome.SKIPPED, f"{names[0]} is not on PATH") for name in FRAMEWORKS)
        return
    source = read(_DRIVER).decode("utf-8")
    ended = bench.complete((python, "-c", source, json.dumps({"list": FRAMEWORKS})), _SECONDS_LIST)
    installed = _said(ended).get("installed")
    if not isinstance(installed, list):
        bench.log = ended.log()
        yield from (_item(name, Outcome.FAILED, f"{python} could not be asked: {ended.why}") for name in FRAMEWORKS)
        return
    for name in FRAMEWORKS:
        if name in installed:
            yield _exercise(bench, name, (python, "-c", source), vendors, _seconds_each(parameters))
        else:
            yield _item(name, Outcome.SKIPPED, "not installed")


def _exercise(bench: _Bench, name: str, argv: tuple[str, ...], vendors: list[str], seconds: float) -> Item:
    """One framework in a process of its own, which says at its end how it went."""
    if bench.deadline <= time.monotonic():
        return _item(name, Outcome.FAILED, "not reached in the time of the check")
    ended = bench.complete((*argv, json.dumps({"run": name, "vendors": vendors})), seconds)
    said = _said(ended)
    outcomes = {each.value: each for each in Outcome}
    outcome = outcomes.get(str(said.get("outcome")))
    detail = str(said.get("detail", ""))
    if outcome is None or (outcome is Outcome.PASSED and not ended.well):  # it may well crash when it takes itself down
        outcome, detail = Outcome.FAILED, ended.why
    if outcome is Outcome.FAILED:
        bench.log = bench.log or ended.log()
    return _item(name, outcome, detail)


def _said(ended: Ended) -> dict[str, object]:
    """The last line that is the driver's; what a framework prints besides is passed over."""
    for line in reversed(ended.last):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value.get("slimagent") == "gpu":
            return value
    return {}


def _item(name: str, outcome: Outcome, detail: str) -> Item:
    return Item(name=name, outcome=outcome, detail=detail)


def _seconds_each(parameters: Mapping[str, Parameter]) -> float:
    value = parameters.get("seconds_each", _SECONDS_EACH)
    return float(value) if isinstance(value, (int, float)) else _SECONDS_EACH
