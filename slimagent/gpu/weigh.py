"""Say what GPU code a file holds, and what it would lose for a target. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from slimagent.elf.tables import Read, Tables, tables
from slimagent.gpu.architectures import Target
from slimagent.gpu.choice import by_architecture, staying, unserved
from slimagent.gpu.containers import HEADER, SECTIONS, Code, gpu_code
from slimagent.gpu.rewrite import rewrite

UNKNOWN = "unknown"  # the form of code that is not understood
_HIP = b".hip_fatbin"  # where clang puts code for AMD's GPUs


class Held(NamedTuple):
    """GPU code of one form and architecture in a file: its bytes and pieces, and the bytes that a target needs."""

    form: str
    architecture: str
    size: int
    pieces: int
    stays: int


class Weight(NamedTuple):
    """The GPU code of a file for the processor `machine`: rewriting saves `saves` bytes, none if `why` forbids it."""

    saves: int
    why: str
    machine: int
    held: tuple[Held, ...]


def weigh(read: Read, size: int, target: Target) -> Weight | None:
    """What a file of `size` bytes holds and would lose; None if it has no GPU code."""
    found = tables(read)
    if found is None:
        return None
    codes = gpu_code(read, found)
    other = sum(each.stored for each in found.sections if each.name == _HIP)
    if not codes and not other:
        return None
    held = tuple(inventory(codes, found, target))
    if other:
        return Weight(0, "its GPU code is AMD's, which is not understood", found.machine, held)
    made = rewrite(read, found, size, target)
    if isinstance(made, str):
        return Weight(0, made, found.machine, held)
    return Weight(max(0, size - made.size), "", found.machine, held)


def inventory(codes: tuple[Code, ...], found: Tables, target: Target) -> Iterator[Held]:
    """The GPU code of a file by form and architecture, the largest first."""
    sizes: dict[tuple[str, str], tuple[int, int, int]] = {}
    for each in _single(codes, found, target):
        size, pieces, stays = sizes.get(each[:2], (0, 0, 0))
        sizes[each.form, each.architecture] = size + each.size, pieces + each.pieces, stays + each.stays
    for kind, numbers in sorted(sizes.items(), key=lambda each: (-each[1][0], each[0])):
        yield Held(*kind, *numbers)


def _single(codes: tuple[Code, ...], found: Tables, target: Target) -> Iterator[Held]:
    """The pieces one by one, then each part that is not understood."""
    unknown = [section.size for section in found.sections if section.name == _HIP and section.stored]
    for code in codes:
        section = found.sections[code.section]
        end = section.offset
        for container in code.containers:
            end = container.offset + container.size
            kept = set(staying(container, target))
            for piece in container.pieces:
                stays = piece.size if piece in kept else 0
                yield Held(piece.form.value, str(piece.architecture), piece.size, 1, stays)
            if container.why:
                unknown.append(container.size)
        if code.why:
            unknown.append(section.offset + section.size - end)
    for size in unknown:
        yield Held(UNKNOWN, "", size, 1, size)


class Inside(NamedTuple):
    """The GPU code in a file: `size` bytes of its sections, CUDA's and AMD's, and what there is of CUDA's."""

    size: int
    codes: tuple[Code, ...]

    def by_kind(self) -> dict[tuple[str, str], int]:
        """The bytes by form and architecture; those that are not understood have no architecture."""
        found = {
            (form, str(architecture)): size for (form, architecture), (size, _) in by_architecture(self.codes).items()
        }
        rest = self.size - sum(found.values()) - sum(HEADER.size for code in self.codes for _ in code.containers)
        if rest > 0:
            found[UNKNOWN, ""] = rest
        return found

    def saves(self, target: Target) -> int:
        """About how many bytes a target does not need; 0 if the file has no code for a GPU of it."""
        if unserved(self.codes, target):
            return 0
        containers = [each for code in self.codes for each in code.containers]
        return sum(piece.size for each in containers for piece in {*each.pieces}.difference(staying(each, target)))


def inside(read: Read) -> Inside | None:
    """The GPU code in a file; None if it has none."""
    found = tables(read)
    size = 0 if found is None else sum(each.stored for each in found.sections if each.name in (*SECTIONS, _HIP))
    return None if found is None or not size else Inside(size, gpu_code(read, found))
