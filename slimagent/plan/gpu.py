"""Decide which kept files lose GPU code, and which are left alone, with the reason. Pure.

`gpu/` says what a file would lose. This module looks at the rest: licences, modes, files beside it, rules.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from slimagent.model.inventory import package_test
from slimagent.model.plan import GpuCode, GpuFile, GpuHeld, GpuLeft
from slimagent.paths.algebra import name
from slimagent.paths.patterns import PathRules
from slimagent.plan.evidence import Evidence
from slimagent.plan.keeper import Keeper
from slimagent.plan.open_licences import LONGEST_TEXT, Said, recognised, said
from slimagent.plan.strip import beside, kept_files, untouchable
from slimagent.plan.without_gpu import target_of

# Libraries under NVIDIA's own agreement. Wheels and archives of others carry copies, whose licence is not theirs.
_OF_NVIDIA = re.compile(
    rb"lib(?:cublas(?:lt|mp)?|cuda|cudart|cudensitymat|cudla|cudnn|cudss|cufft(?:w|mp)?|cufile|cupti|curand|cusolver(?:mg|mp)?"
    rb"|cusparse(?:lt)?|custatevec|cutensor(?:mg|net)?|npp[a-z]{1,4}|nvblas|nvcomp|nvds|nvfatbin|nvidia|nvinfer|nvjitlink"
    rb"|nvjpeg(?:2k)?|nvonnxparser|nvoptix|nvparsers|nvperf|nvptxcompiler|nvrtc|nvshmem|nvtiff|nvvm|nvvpi|optix)"
    rb"(?![a-z]).*",
    re.IGNORECASE | re.DOTALL,
)
# Beside a licence there may be an agreement that restricts it.
_LICENCE_FILE = re.compile(rb"licen[cs]e|copying|eula|agreement|terms|(?<![a-z])sla(?![a-z])", re.IGNORECASE)
_MOST_TEXTS = 64  # licence files of one package that are read


def gpu_code(keeper: Keeper, evidence: Evidence) -> GpuCode | None:
    """What happens to GPU code, file by file; None where nobody named GPUs. Hard links count once."""
    target = target_of(evidence.rules)
    if target is None:
        return None
    files, left, held = list[GpuFile](), list[GpuLeft](), list[GpuHeld]()
    inventory, contents = keeper.inventory, evidence.contents
    spared, permissions = beside(keeper, evidence), _Permissions(keeper, evidence)
    for names in kept_files(keeper, lambda path: contents.gpu(path) is not None):
        path = inventory.paths[names[0]]
        weight = contents.gpu(path)
        if weight is None:
            continue
        held += [GpuHeld(path, *each) for each in weight.held]
        why = weight.why or untouchable(weight.machine, inventory.modes[names[0]], evidence)
        why = why or next((spared[at] for at in names if at in spared), "")
        if why:
            left.append(GpuLeft(path, why))
            continue
        permitted, why = permissions.of(names[0])
        if permitted:
            files.append(GpuFile(path, weight.saves, permitted))
        else:
            left.append(GpuLeft(path, why, weight.saves))
    return GpuCode(target=str(target), ptx=target.ptx, files=tuple(files), left=tuple(left), held=tuple(held))


class _Permissions:
    """What permits changing a file: the user's word, a licence, or that nobody else owns it."""

    def __init__(self, keeper: Keeper, evidence: Evidence) -> None:
        self._inventory, self._owners, self._contents = keeper.inventory, keeper.owners, evidence.contents
        owners = () if evidence.rules.gpu is None else evidence.rules.gpu.owners
        self._packages = [(each, package_test(each)) for each in owners if not each.startswith("/")]
        self._texts = [each for each in owners if each.startswith("/")]
        self._paths = PathRules(self._texts)
        self._known: dict[int, tuple[str, str]] = {}
        self._names: dict[int | tuple[int, ...], list[int]] = {}
        for at, links in enumerate(self._inventory.links):
            if links > 1 and stat.S_ISREG(self._inventory.modes[at]):
                self._names.setdefault(self._inventory.file(at), []).append(at)

    def of(self, at: int) -> tuple[str, str]:
        """What permits changing a file, or why nothing does. All its names count, also those that go."""
        names = self._names.get(self._inventory.file(at), [at])
        paths = [self._inventory.paths[each] for each in names]
        owners = list(dict.fromkeys(owner for each in names for owner in self._owners.owners(each)))
        which = next((rule for path in paths if (rule := self._paths.first(path)) is not None), None)
        if which is not None:
            return f"by your word: {self._texts[which]}", ""
        for each in owners:
            package = self._owners.packages[each]
            for text, fits in self._packages:
                if fits(package):
                    return f"by your word: {text}", ""
        if any(_OF_NVIDIA.fullmatch(name(path)) for path in paths) and not any(
            self._is_of_nvidia(each) for each in owners
        ):
            place = f"in {self._owners.packages[owners[0]].label}" if owners else "of no package"
            return "", f"no open licence: a library {place} that is NVIDIA's by its name"
        found = [self._package(each) for each in owners]
        refused = next((why for permitted, why in found if not permitted), "")
        return ("", refused) if refused else found[0] if found else ("no package owns it", "")

    def _is_of_nvidia(self, package: int) -> bool:
        return self._owners.packages[package].name.lower().startswith("nvidia")

    def _package(self, number: int) -> tuple[str, str]:
        if number not in self._known:
            self._known[number] = self._licensed(number)
        return self._known[number]

    def _licensed(self, number: int) -> tuple[str, str]:
        """What permits changing a package's files by its licence, or why it does not."""
        label, names = self._owners.packages[number].label, self._owners.descriptions[number].licenses
        says = said(names)
        if says is Said.OPEN:
            return f"{label} has an open licence: {', '.join(names)}", ""
        if says is Said.NOTHING:
            texts = list(self._licence_files(number))
            found = [recognised(self._contents.text(path, LONGEST_TEXT + 1)) for path in texts[:_MOST_TEXTS]]
            if found and all(found) and len(texts) <= _MOST_TEXTS:
                return f"{label} has an open licence: {', '.join(dict.fromkeys(found))}, by its text", ""
        of = f" ({', '.join(names)})" if names else ""
        return "", f"no open licence: {label}{of}"

    def _licence_files(self, number: int) -> Iterator[bytes]:
        """The licences that a package's own record holds, e.g. in its dist-info."""
        for at in self._owners.files[number]:
            path = self._inventory.paths[at]
            is_file = stat.S_ISREG(self._inventory.modes[at])
            if is_file and self._owners.weak[at] and _LICENCE_FILE.search(name(path)) and self._inventory.sizes[at]:
                yield path
