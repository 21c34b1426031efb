"""GPU code goes out of the files that a plan names, however the plan is applied, and nothing else changes."""

from __future__ import annotations

import ctypes
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apply_images import plan_for
from carried_out import KINDS, carried_out
from gpu_shapes import Shapes

from slimagent.apply.strip import workspace
from slimagent.apply.strip.program import find
from slimagent.apply.strip.workspace import Tools
from slimagent.elf.tables import tables
from slimagent.gpu.architectures import parse
from slimagent.gpu.containers import gpu_code
from slimagent.gpu.proof import difference
from slimagent.gpu.rewrite import Rewrite
from slimagent.inventory.contents import Contents
from slimagent.inventory.scan import scan
from slimagent.model.plan import GpuCode, GpuFile, Plan, Strip

LIBRARY, NAME = b"/opt/lib/libgpu.so", "opt/lib/libgpu.so"
TARGET = "sm_80"


def image(root: Path, library: Path) -> Path:
    """A library with GPU code and symbols, with a second name and an attribute, beside a text."""
    (root / "opt/lib").mkdir(parents=True)
    shutil.copyfile(library, root / NAME)
    os.link(root / NAME, root / "opt/libgpu.so.1")
    (root / "opt/text").write_text("text")
    os.setxattr(root / NAME, "user.mark", b"kept")
    (root / NAME).chmod(0o640)
    for path in (*sorted(root.rglob("*")), root):
        os.utime(path, ns=(10**18 + 7, 10**18 + 7))
    return root


def planned(root: Path, *, strip: bool, target: str = TARGET) -> tuple[Plan, Any]:
    """A plan that takes GPU code out of the library, and the inventory that it is for."""
    inventory = scan(os.fsencode(root))
    contents = Contents(inventory.root)
    contents.needs(LIBRARY, True)
    found = contents.symbols(LIBRARY)
    strips = (Strip(LIBRARY, found.saves),) if strip and found is not None and found.saves else ()
    assert bool(strips) is strip
    code = GpuCode(target=target, files=(GpuFile(LIBRARY, 1, "a test"),))
    return replace(plan_for(inventory, strips=strips), gpu=code), inventory


def reader(data: bytes) -> Any:
    return lambda offset, size: data[offset : offset + size]


def numbers(data: bytes) -> set[str]:
    """The architectures of the GPU code in a library."""
    found = tables(reader(data))
    assert found is not None
    codes = gpu_code(reader(data), found)
    return {str(piece.architecture) for code in codes for each in code.containers for piece in each.pieces}


def tools(**changes: Any) -> Tools:
    return Tools(**({"program": find("auto")} | changes))


@pytest.mark.parametrize("strip", [True, False], ids=["stripped", "only-gpu-code"])
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_code_goes_and_nothing_else(shapes: Shapes, tmp_path: Path, kind: str, strip: bool) -> None:
    """The file is smaller, loads, and has its names, mode, times and attributes; the receipt has the sums."""
    library = shapes.make("debugged-host")
    original = library.read_bytes()
    plan, inventory = planned(image(tmp_path / "root", library), strip=strip)
    out, receipt = carried_out(kind, plan, inventory, tmp_path / "out", tools())
    after = scan(os.fsencode(out))
    assert after.paths == inventory.paths
    for name in ("modes", "uids", "gids", "mtimes", "links"):
        assert list(getattr(after, name)) == list(getattr(inventory, name)), name
    assert os.getxattr(out / NAME, "user.mark") == b"kept"
    data = (out / NAME).read_bytes()
    assert (numbers(data), len(numbers(original)) > 3) == ({TARGET}, True)
    assert (out / "opt/libgpu.so.1").samefile(out / NAME)
    assert (receipt.stripped, receipt.gpu, receipt.unstripped) == (1, 1, ())
    assert receipt.bytes_stripped == len(original) - len(data)
    assert 0 < receipt.bytes_gpu <= receipt.bytes_stripped
    assert (receipt.bytes_gpu < receipt.bytes_stripped) is strip
    if not strip:
        assert difference(reader(original), reader(data), parse(TARGET)) == ""
    os.chmod(out / NAME, 0o755)  # the test's own copy
    ctypes.CDLL(str(shapes.stand_in), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(out / NAME))


def test_without_a_strip_program_gpu_code_still_goes(shapes: Shapes, tmp_path: Path) -> None:
    """It needs no program of the image's or of the machine's."""
    library = shapes.make("debugged-host")
    plan, inventory = planned(image(tmp_path / "root", library), strip=True)
    out, receipt = carried_out("tree", plan, inventory, tmp_path / "out", tools(program=None))
    assert (receipt.gpu, receipt.bytes_gpu) == (1, receipt.bytes_stripped)
    assert numbers((out / NAME).read_bytes()) == {TARGET}


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_rewritten_stays(shapes: Shapes, tmp_path: Path, kind: str) -> None:
    """Of a plan that names a GPU without code: the file is only stripped, and the receipt says why."""
    library = shapes.make("debugged-host")
    plan, inventory = planned(image(tmp_path / "root", library), strip=True, target="sm_61")
    out, receipt = carried_out(kind, plan, inventory, tmp_path / "out", tools())
    assert (receipt.stripped, receipt.gpu, receipt.bytes_gpu) == (1, 0, 0)
    assert receipt.unstripped == ((LIBRARY, "GPU code: it has no code for sm_61"),)
    assert numbers((out / NAME).read_bytes()) == numbers(library.read_bytes())


def test_a_library_that_changed_meanwhile_stays(shapes: Shapes, tmp_path: Path) -> None:
    """What the plan says of it was read from other bytes."""
    library = shapes.make("debugged-host")
    root = image(tmp_path / "root", library)
    plan, _ = planned(root, strip=False)
    data = bytearray((root / NAME).read_bytes())
    (root / NAME).write_bytes(data)
    out, receipt = carried_out("tree", plan, scan(os.fsencode(root)), tmp_path / "out", tools())
    assert (receipt.gpu, [path for path, _ in receipt.unstripped]) == (0, [LIBRARY])
    assert (out / NAME).read_bytes() == data


def test_a_file_that_changes_meanwhile_stays(shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found in it need not be true of it any more, though its time was set back."""
    library = shapes.make("debugged-host")
    root = image(tmp_path / "root", library)
    plan, inventory = planned(root, strip=False)

    def write_to_it(made: Rewrite, base: int, copy: int) -> str:
        status = os.fstat(base)
        with open(root / NAME, "r+b") as file:
            file.write(b"\x7f")
        os.utime(root / NAME, ns=(status.st_atime_ns, status.st_mtime_ns))
        return write(made, base, copy)

    write = workspace._write
    monkeypatch.setattr(workspace, "_write", write_to_it)
    out, receipt = carried_out("tree", plan, inventory, tmp_path / "out", tools())
    assert (receipt.gpu, [why for _, why in receipt.unstripped]) == (0, ["it changed meanwhile"])
    assert (out / NAME).read_bytes() == library.read_bytes()


def test_a_copy_that_is_not_the_same_is_put_back(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is not what a loader saw is thrown away."""
    library = shapes.make("debugged-host")
    plan, inventory = planned(image(tmp_path / "root", library), strip=False)

    def spoil(made: Rewrite, base: int, copy: int) -> str:
        os.truncate(copy, 0)
        os.pwrite(copy, b"\x7fELF" + bytes(60), 0)
        return ""

    monkeypatch.setattr(workspace, "_write", spoil)
    out, receipt = carried_out("tree", plan, inventory, tmp_path / "out", tools())
    assert (receipt.gpu, [why for _, why in receipt.unstripped]) == (0, ["its headers came out damaged"])
    assert (out / NAME).read_bytes() == library.read_bytes()
