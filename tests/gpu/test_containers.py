"""The reader of GPU code against NVIDIA's `cuobjdump`, on files that NVIDIA's compiler makes and on NVIDIA's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cuda_toolkit import SUPPORTED
from gpu_shapes import MAKERS, REFUSED, Shapes

from slimagent.elf.tables import tables
from slimagent.gpu.architectures import FAMILY
from slimagent.gpu.containers import Code, Form, Piece, gpu_code

Read = Callable[[int, int], bytes]


def reader(path: Path) -> Read:
    data = path.read_bytes()
    return lambda offset, size: data[offset : offset + size]


def read_code(path: Path) -> tuple[Code, ...]:
    found = tables(reader(path))
    assert found is not None
    return gpu_code(reader(path), found)


def as_listed(piece: Piece) -> tuple[str, str]:
    """A piece as cuobjdump lists it: it leaves out the suffix of machine code for a family."""
    architecture = piece.architecture
    if piece.form is Form.CUBIN and architecture.suffix == FAMILY:
        architecture = architecture._replace(suffix="")
    return piece.form.value, str(architecture)


def listed(codes: tuple[Code, ...]) -> list[tuple[str, str]]:
    pieces = (piece for code in codes for each in code.containers for piece in each.pieces)
    return [as_listed(piece) for piece in pieces if piece.form is not Form.OTHER]


@pytest.mark.parametrize("name", sorted(MAKERS.keys() - REFUSED.keys()))
def test_it_lists_what_cuobjdump_lists(shapes: Shapes, name: str) -> None:
    """The same code, of the same kind, for the same GPUs, in the same order; nothing is left that is not understood."""
    path = shapes.make(name)
    codes = read_code(path)
    assert codes
    assert [each.why for code in codes for each in (code, *code.containers) if each.why] == []
    expected, found = shapes.toolkit.listed(path), listed(codes)
    if name == "nvjpeg-cuda-11":  # it has code for GPUs that cuobjdump no longer supports
        expected, found = sorted(expected), sorted(each for each in found if each[1].removeprefix("sm_") in SUPPORTED)
    assert expected and sorted(found) == sorted(expected)
    if len(codes) == 1:  # of several sections cuobjdump takes the second first
        for kind in ("cubin", "ptx"):
            assert [each for each in found if each[0] == kind] == [each for each in expected if each[0] == kind]


@pytest.mark.parametrize("name", ["compressed-none", "lines", "program"])
def test_code_that_is_not_compressed_is_the_code_that_cuobjdump_extracts(
    shapes: Shapes, name: str, tmp_path: Path
) -> None:
    """Byte by byte: so a piece lies where we say that it does."""
    path = shapes.make(name)
    read = reader(path)
    extracted = [each for parts in shapes.toolkit.extracted(path, tmp_path / "out").values() for each in parts]
    cubins = [p for code in read_code(path) for each in code.containers for p in each.pieces if p.form is Form.CUBIN]
    whole = [read(each.offset, each.size) for each in cubins]
    plain = [each for each in whole if each.find(b"\x7fELF") >= 64]
    assert plain
    for each in plain:
        code = each[each.index(b"\x7fELF") :]
        assert any(code.startswith(one) and not code[len(one) :].strip(b"\0") for one in extracted)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_kind_that_is_not_known_is_said_to_be_unknown(shapes: Shapes, name: str) -> None:
    """The container's place is known, and nothing is said about what it holds."""
    (code,) = read_code(shapes.make(name))
    assert code.containers and not code.why
    assert all(each.why == "a piece is of an unknown kind, 0x100" and not each.pieces for each in code.containers)


def test_code_for_link_time_is_neither_machine_code_nor_ptx(shapes: Shapes) -> None:
    """LTO-IR, which cuobjdump does not list, has its architecture and its suffix."""
    found = {
        str(piece.architecture)
        for name in ("lto-beside", "separate-lto")
        for code in read_code(shapes.make(name))
        for each in code.containers
        for piece in each.pieces
        if piece.form is Form.OTHER
    }
    assert found == {"sm_90", "sm_100f"}


def test_the_sections_of_separate_compilation_are_read_apart(shapes: Shapes) -> None:
    """The units stand in a section of their own; what was linked from them stands with the other code."""
    path = shapes.make("separate")
    found = tables(reader(path))
    assert found is not None
    names = [found.sections[code.section].name for code in read_code(path)]
    assert sorted(names) == [b".nv_fatbin", b"__nv_relfatbin"]
