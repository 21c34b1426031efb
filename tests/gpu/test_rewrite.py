"""Libraries without the GPU code that no GPU would choose: what is left, and how they load."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from gpu_shapes import MAKERS, Shapes

from slimagent.apply.strip import proof as stripping
from slimagent.elf.tables import tables
from slimagent.gpu.architectures import Target
from slimagent.gpu.choice import staying
from slimagent.gpu.containers import HEADER, Code, Container, Form, Piece, gpu_code
from slimagent.gpu.proof import difference
from slimagent.gpu.references import References, references
from slimagent.gpu.rewrite import Rewrite, rewrite

from .test_containers import listed, read_code, reader

LOADER = Path(__file__).parents[1] / "support" / "loaded_gpu_code.py"
LIMIT = 60  # seconds
DT_RELASZ, DT_INIT_ARRAY = 8, 25
TARGETS = {
    "sm_80": Target((80,)),
    "sm_90": Target((90,)),
    "sm_75,sm_89": Target((75, 89)),
    "sm_90 and PTX": Target((90,), ptx=True),
    "sm_103": Target((103,)),
    "none": Target(()),
}
# Why each of these is left alone, by the words that it must say.
LEFT = {
    "program": "not a shared library",
    "relocations-kept": "relocations that the linker left",
}


def rewritten(path: Path, target: Target) -> bytes | str:
    """The bytes of the rewritten file, or why it is left alone."""
    data = path.read_bytes()
    found = tables(reader(path))
    assert found is not None
    made = rewrite(reader(path), found, len(data), target)
    return made if isinstance(made, str) else applied(data, made)


def applied(data: bytes, made: Rewrite) -> bytes:
    """A rewrite, as its description says: copies into zeros, then patches."""
    new = bytearray(made.size)
    for begin, to, size in made.copies:
        assert min(begin, to) >= 0 and begin + size <= len(data) and to + size <= made.size
        new[to : to + size] = data[begin : begin + size]
    for at, patch in made.patches:
        assert at >= 0 and at + len(patch) <= made.size
        new[at : at + len(patch)] = patch
    return bytes(new)


def content(read: Any, container: Container, pieces: tuple[Piece, ...]) -> bytes:
    """What a container must be if it keeps these pieces."""
    body = b"".join(read(each.offset, each.size) for each in pieces)
    return bytes(read(container.offset, HEADER.size - 8)) + struct.pack("<Q", len(body)) + body


def loaded(path: Path, *others: Path) -> dict[str, Any]:
    """Load a library in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(LOADER), str(path), *map(str, others)], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def registered(record: Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """What the stand-in for the runtime wrote down: magic number, version and containers of each fat binary."""
    data, at = record.read_bytes(), 0
    while at < len(data):
        magic, version, count = struct.unpack_from("<IIQ", data, at)
        at += 16
        containers = []
        for _ in range(count):
            (following,) = struct.unpack_from("<Q", data, at + 8)
            containers.append(data[at : at + 16 + following])
            at += 16 + following
        yield magic, version, containers


def run(path: Path, shapes: Shapes, record: Path) -> tuple[list[tuple[int, int, list[bytes]]], Any]:
    """Load a library, or run a program, that is linked with the stand-in: what it registers, and what it computes."""
    record.unlink(missing_ok=True)
    os.environ["SLIMAGENT_TEST_REGISTERED"] = str(record)
    try:
        if "program" in path.name:
            numbers = subprocess.run([path], check=True, timeout=LIMIT, capture_output=True).stdout
        else:
            numbers = loaded(path, shapes.stand_in)["numbers"]
    finally:
        del os.environ["SLIMAGENT_TEST_REGISTERED"]
    return list(registered(record)), numbers


def exported(path: Path) -> tuple[Any, ...]:
    """Its dynamic symbols, dynamic section and build id, as pyelftools reads them."""
    with open(path, "rb") as file:
        elf = ELFFile(file)
        symbols = [(each.name, dict(each.entry)) for each in elf.get_section_by_name(".dynsym").iter_symbols()]
        dynamic = [
            dict(each.entry) for s in elf.iter_sections() if isinstance(s, DynamicSection) for each in s.iter_tags()
        ]
        note = elf.get_section_by_name(".note.gnu.build-id")
        return [(name, str(entry)) for name, entry in symbols], str(dynamic), note.data() if note else b""


def stays(path: Path, target: Target) -> list[tuple[Container, tuple[Piece, ...]]]:
    """What must stay of each container: all of one that nothing in the loaded library points to."""
    read = reader(path)
    containers = [each for code in read_code(path) for each in code.containers]
    if not path.name.startswith("lib"):  # ours: each has its wrapper
        return [(each, staying(each, target)) for each in containers]
    known = {digest for _, digest in loaded(path)["wrappers"]}
    assert known
    return [
        (each, staying(each, target) if sha256(read(each.offset, each.size)) in known else each.pieces)
        for each in containers
    ]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pieces(codes: tuple[Code, ...]) -> list[Piece]:
    return [piece for code in codes for each in code.containers for piece in each.pieces]


@pytest.fixture
def new(request: pytest.FixtureRequest, shapes: Shapes, tmp_path: Path) -> tuple[Path, Path, Target]:
    """A shape, its rewritten copy, and the GPUs that it is for. Fails where nothing was saved that could be."""
    name, gpus = request.param
    path, target = shapes.make(name), TARGETS[gpus]
    data = rewritten(path, target)
    assert not isinstance(data, str), data
    copy = tmp_path / f"{name}-copy"
    copy.write_bytes(data)
    copy.chmod(0o755)
    return path, copy, target


LARGE = [name for name in MAKERS if name in ("many", "debugged-host", "relr", "now", "one-segment", "large-pages")]
LARGE += [name for name in MAKERS if name.startswith("by-") or name in ("both-hashes", "stripped")]
LINKED = [(name, gpus) for name in LARGE for gpus in ("sm_80", "none")]
LINKED += [("many", gpus) for gpus in TARGETS if gpus not in ("sm_80", "none")]
NVIDIAS = [("nvjpeg-cuda-11", "sm_80"), ("nvjpeg-cuda-12", "sm_75,sm_89"), ("nvjpeg-cuda-12", "none")]
each_new = pytest.mark.parametrize("new", LINKED + NVIDIAS, indirect=True, ids=lambda row: "-".join(row))
each_linked = pytest.mark.parametrize("new", LINKED, indirect=True, ids=lambda row: "-".join(row))


@each_new
def test_exactly_the_chosen_code_is_left(new: tuple[Path, Path, Target], shapes: Shapes, tmp_path: Path) -> None:
    """Our reader and NVIDIA's list what stays and nothing else; it is the same byte for byte. The file is smaller."""
    path, copy, target = new
    assert copy.stat().st_size < path.stat().st_size
    wanted = [piece for _, parts in stays(path, target) for piece in parts]
    codes = read_code(copy)
    assert [(each.form, each.architecture, each.size) for each in pieces(codes)] == [
        (each.form, each.architecture, each.size) for each in wanted
    ]
    before, after = reader(path), reader(copy)
    assert [after(p.offset, p.size) for p in pieces(codes)] == [before(p.offset, p.size) for p in wanted]
    if path.name != "libnvjpeg.so.11":  # it keeps code for GPUs that cuobjdump no longer supports
        assert sorted(shapes.toolkit.listed(copy)) == sorted(listed(codes))
    old, now = (shapes.toolkit.extracted(each, tmp_path / f"out-{at}") for at, each in enumerate((path, copy)))
    for architecture, parts in now.items():
        assert [each for each in old[architecture] if each in parts] == parts


@each_new
def test_a_loader_sees_what_it_saw(new: tuple[Path, Path, Target]) -> None:
    """The proof says so, other tools can read the file, and what it exports and asks for is the same."""
    path, copy, target = new
    assert difference(reader(path), reader(copy), target) == ""
    assert exported(copy) == exported(path)
    done = subprocess.run(["readelf", "-aW", copy], capture_output=True, text=True, check=True)
    assert "warning" not in done.stderr.lower() and "error" not in done.stderr.lower(), done.stderr


@each_linked
def test_it_registers_the_containers_that_are_left(
    new: tuple[Path, Path, Target], shapes: Shapes, tmp_path: Path
) -> None:
    """The runtime gets each container at its new place: the pointers are right after relocation."""
    path, copy, target = new
    (before, numbers), (after, same) = (run(each, shapes, tmp_path / "record") for each in (path, copy))
    containers = [each for code in read_code(path) for each in code.containers]
    read = reader(path)
    expected = {content(read, each, each.pieces): content(read, each, staying(each, target)) for each in containers}
    assert len(before) == len(containers)
    assert after == [(magic, version, [expected[each] for each in parts]) for magic, version, parts in before]
    assert numbers == same != []


@pytest.mark.parametrize("new", NVIDIAS, indirect=True, ids=lambda row: "-".join(row))
def test_nvidias_library_loads_with_its_containers(new: tuple[Path, Path, Target]) -> None:
    """Its wrappers point to the containers that are left, in the memory of a process that has loaded it."""
    path, copy, target = new
    read = reader(path)
    digests = {
        sha256(read(each.offset, each.size)): sha256(content(read, each, parts)) for each, parts in stays(path, target)
    }
    before, after = loaded(path)["wrappers"], loaded(copy)["wrappers"]
    assert len(before) in (len(digests), len(digests) - 1)  # one is there that nothing points to
    assert after == [[version, digests[digest]] for version, digest in before]


@pytest.mark.parametrize("new", [("by-bfd", "sm_80"), ("relr", "sm_90")], indirect=True, ids=lambda row: "-".join(row))
def test_strip_of_a_rewritten_library_is_refused_by_its_proof(new: tuple[Path, Path, Target], tmp_path: Path) -> None:
    """GNU strip damages a file whose program headers are not at its start. So stripping comes first, or not at all."""
    _, copy, _ = new
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "--strip-unneeded", "-o", stripped, copy], check=True, capture_output=True)
    assert stripping.difference(reader(copy), reader(stripped)) != ""


@pytest.mark.parametrize("new", [("program-pie", "sm_80")], indirect=True, ids=lambda row: "-".join(row))
def test_a_program_runs_and_registers(new: tuple[Path, Path, Target], shapes: Shapes, tmp_path: Path) -> None:
    """A program that can be loaded anywhere is a shared library with an interpreter."""
    path, copy, target = new
    (before, numbers), (after, same) = (run(each, shapes, tmp_path / "record") for each in (path, copy))
    assert len(before) == len(after) == 3
    assert sum(len(each) for *_, parts in after for each in parts) < sum(len(c) for *_, parts in before for c in parts)
    assert numbers == same != b""
    assert difference(reader(path), reader(copy), target) == ""


@pytest.mark.parametrize("name", sorted(LEFT))
@pytest.mark.parametrize("gpus", ["sm_80", "none"])
def test_what_cannot_be_rewritten_is_left_alone(shapes: Shapes, name: str, gpus: str) -> None:
    """And the reason is said."""
    why = rewritten(shapes.make(name), TARGETS[gpus])
    assert isinstance(why, str) and LEFT[name] in why


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("gpus", ["sm_90", "none"])
def test_every_shape_is_proved_or_left_alone(shapes: Shapes, name: str, gpus: str, tmp_path: Path) -> None:
    """Small ones may have nothing to save; where something is saved, as much is registered as before."""
    path, target = shapes.make(name), TARGETS[gpus]
    data = rewritten(path, target)
    if isinstance(data, str):
        assert data and data.isprintable()
        return
    copy = tmp_path / name
    copy.write_bytes(data)
    copy.chmod(0o755)
    assert difference(reader(path), reader(copy), target) == ""
    if name.startswith("nvjpeg"):
        assert len(loaded(copy)["wrappers"]) == len(loaded(path)["wrappers"])
        return
    (before, numbers), (after, same) = (run(each, shapes, tmp_path / "record") for each in (path, copy))
    assert [each[:2] for each in before] == [each[:2] for each in after]
    assert numbers == same


def test_what_is_not_understood_serves_no_gpu_and_stays(shapes: Shapes) -> None:
    """Without a GPU, too."""
    path = shapes.make("concatenated")
    assert rewritten(path, TARGETS["sm_80"]) == "it has no code for sm_80"
    assert "nothing to save" in str(rewritten(path, TARGETS["none"]))


def test_rewriting_again_changes_nothing(shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is what stays. That is known without a search for references, which takes long."""
    data = rewritten(shapes.make("many"), TARGETS["sm_80"])
    assert isinstance(data, bytes)
    (tmp_path / "once").write_bytes(data)
    monkeypatch.delattr("slimagent.gpu.rewrite.references")
    why = rewritten(tmp_path / "once", TARGETS["sm_80"])
    assert isinstance(why, str) and "nothing to save" in why


def test_a_library_without_code_for_a_gpu_is_left_alone(shapes: Shapes) -> None:
    """The GPU is named."""
    path = shapes.make("one-gpu")
    assert all(each.form is Form.CUBIN for each in pieces(read_code(path)))
    assert rewritten(path, Target((80, 90))) == "it has no code for sm_90"


def test_a_copy_that_differs_is_found(shapes: Shapes) -> None:
    """The proof sees each kind of damage that a rewrite could do."""
    path, target = shapes.make("many"), TARGETS["sm_80"]
    data = rewritten(path, target)
    assert isinstance(data, bytes)
    found = tables(lambda offset, size: data[offset : offset + size])
    assert found is not None
    sections = {each.name: each for each in found.sections}
    places = {
        name: sections[name].offset + sections[name].size // 2
        for name in (b".text", b".rodata", b".data", b".dynamic", b".dynsym", b".rela.dyn", b".nv_fatbin", b".dynstr")
    }
    places[b"the pointer of a wrapper"] = sections[b".nvFatBinSegment"].offset + 8
    places[b"a program header"] = found.segments_at + 16
    for name, at in places.items():
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        assert difference(reader(path), lambda offset, size, d=damaged: bytes(d[offset : offset + size]), target), name  # type: ignore[misc]


def test_the_references_that_it_found_come_with_it(shapes: Shapes) -> None:
    """The proof uses them."""
    path = shapes.make("many")
    read, size = reader(path), path.stat().st_size
    found = tables(read)
    assert found is not None
    made = rewrite(read, found, size, TARGETS["sm_80"])
    assert isinstance(made, Rewrite)
    assert made.references == references(read, found, gpu_code(read, found)) != References()


def test_it_is_the_same_twice(shapes: Shapes) -> None:
    """The same file and the same GPUs give the same bytes."""
    path = shapes.make("many")
    assert rewritten(path, TARGETS["sm_90"]) == rewritten(path, TARGETS["sm_90"])


def with_number(path: Path, at: int, number: int, size: int) -> bytes:
    """A library with another number at an offset."""
    data = bytearray(path.read_bytes())
    data[at : at + size] = number.to_bytes(size, "little")
    return bytes(data)


def lies(path: Path) -> dict[str, bytes]:
    """Libraries that lie about themselves, by what the lie is; fuzzing found each."""
    found = tables(reader(path))
    assert found is not None
    sections = {each.name: each for each in found.sections}
    code, dynamic = sections[b".nv_fatbin"], sections[b".dynamic"]
    rows = struct.iter_unpack("<QQ", path.read_bytes()[dynamic.offset : dynamic.offset + dynamic.size])
    place = {tag: dynamic.offset + 16 * number + 8 for number, (tag, _) in enumerate(rows)}
    return {
        "a segment without alignment": with_number(path, found.segments_at + 48, 0, 8),
        "the name of a symbol in GPU code": with_number(path, sections[b".dynsym"].offset + 24, code.address, 4),
        "functions to call in GPU code": with_number(path, place[DT_INIT_ARRAY], code.address + 64, 8),
        "relocations without end": with_number(path, place[DT_RELASZ], 24 << 56, 8),
    }


@pytest.mark.parametrize("at", range(4))
def test_a_library_that_lies_about_itself_is_left_alone(shapes: Shapes, at: int, tmp_path: Path) -> None:
    """Where it is not refused at once, the proof refuses what came out."""
    path, target = shapes.make("many"), TARGETS["sm_80"]
    what, data = list(lies(path).items())[at]
    (tmp_path / "lying").write_bytes(data)
    made = rewritten(tmp_path / "lying", target)
    if isinstance(made, str):
        assert made.isprintable() and "nothing to save" not in made, what
    else:
        assert difference(reader(tmp_path / "lying"), lambda offset, size: made[offset : offset + size], target), what
