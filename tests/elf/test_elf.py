"""The fast ELF reader against pyelftools, on real files of this machine, made ones, and damaged ones."""

from __future__ import annotations

import glob
import os
import shutil
import struct
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from slimagent.elf import needs as elf
from slimagent.elf.sections import DAMAGED, _why_not, symbols
from slimagent.elf.tables import Section, Segment, Tables, tables
from slimagent.inventory.contents import Contents
from slimagent.model.inventory import Needs

PLACES = ("/usr/lib/*/lib*.so*", "/usr/bin/*", "/usr/lib*/ld-*.so*", "/lib64/*", "/usr/lib/python3*/lib-dynload/*.so")
MOST = 300


def real_files() -> list[str]:
    """Some hundred ELF files of this machine, each once."""
    found = {}
    for place in PLACES:
        for path in sorted(glob.glob(place)):
            real = os.path.realpath(path)
            if os.path.isfile(real) and os.access(real, os.R_OK):
                with open(real, "rb") as file:
                    if file.read(4) == elf.MAGIC:
                        found[real] = None
    paths = list(found)
    return paths[:: max(1, len(paths) // MOST)]


def fast(path: str | Path) -> Needs | None:
    data = Path(path).read_bytes()
    return elf.needs(lambda offset, size: data[offset : offset + size])


def slow(path: str | Path) -> tuple[bytes, list[bytes], list[bytes]]:
    """Interpreter, needed libraries and search directories, as pyelftools reads them."""
    interpreter, needed, search = b"", [], []
    with open(path, "rb") as file:
        for segment in ELFFile(file).iter_segments():
            if segment.header.p_type == "PT_INTERP":
                interpreter = segment.get_interp_name().encode()
            if isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        needed.append(tag.needed.encode())
                    elif tag.entry.d_tag == "DT_RPATH":
                        search += tag.rpath.encode().split(b":")
                    elif tag.entry.d_tag == "DT_RUNPATH":
                        search += tag.runpath.encode().split(b":")
    return interpreter, needed, search


def test_it_reads_what_pyelftools_reads() -> None:
    """On hundreds of programs and libraries of this machine, both readers agree."""
    paths = real_files()
    assert len(paths) > 20
    for path in paths:
        found = fast(path)
        assert found is not None, path
        assert (found.interpreter, list(found.libraries), list(found.search)) == slow(path), path


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)("no C compiler")
    return found


@pytest.mark.parametrize("dtags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_search_directories_keep_their_tokens(compiler: str, tmp_path: Path, dtags: str) -> None:
    """DT_RPATH and DT_RUNPATH come as they stand in the file, `$ORIGIN` included, and the needed library with them."""
    (tmp_path / "part.c").write_text("int part(void) { return 7; }\n")
    (tmp_path / "main.c").write_text("int part(void);\nint main(void) { return part(); }\n")
    library, program = tmp_path / "libpart.so", tmp_path / "main"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "part.c"], check=True)
    link = [f"-Wl,{dtags}", "-Wl,-rpath,$ORIGIN/x:/opt/${LIB}", f"-L{tmp_path}", "-lpart"]
    subprocess.run([compiler, "-o", program, tmp_path / "main.c", *link], check=True)
    found = fast(program)
    assert found is not None
    assert found.search == (b"$ORIGIN/x", b"/opt/${LIB}")
    assert b"libpart.so" in found.libraries
    assert found.interpreter.startswith(b"/lib")
    shared = fast(library)
    assert shared is not None
    assert shared.interpreter == b""


def test_a_static_program_needs_nothing(compiler: str, tmp_path: Path) -> None:
    """A program without dynamic section is an ELF file that needs nothing."""
    (tmp_path / "s.c").write_text("void _start(void) { for (;;) {} }\n")
    subprocess.run([compiler, "-static", "-nostdlib", "-o", tmp_path / "s", tmp_path / "s.c"], check=True)
    found = fast(tmp_path / "s")
    assert found is not None
    assert (found.interpreter, found.libraries, found.search) == (b"", (), ())


def test_the_name_for_users_is_read() -> None:
    """DT_SONAME, as pyelftools reads it."""
    names = set()
    for path in real_files():
        found = fast(path)
        with open(path, "rb") as file:
            segments = [each for each in ELFFile(file).iter_segments() if isinstance(each, DynamicSegment)]
            tags = [tag for each in segments for tag in each.iter_tags("DT_SONAME")]
        expected = tags[-1].soname.encode() if tags else b""
        assert found is None or found.own_name == expected, path
        names.add(expected)
    assert len(names) > 3


SAMPLE = Path(os.path.realpath("/bin/sh")).read_bytes()


@given(st.integers(0, len(SAMPLE)) | st.integers(0, 128))
@settings(max_examples=300, deadline=None)
def test_a_truncated_file_never_raises(length: int) -> None:
    """A file cut off anywhere gives needs or None."""
    data = SAMPLE[:length]
    found = elf.needs(lambda offset, size: data[offset : offset + size])
    assert found is None or isinstance(found, Needs)


@given(st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=500, deadline=None)
def test_a_damaged_header_never_raises_nor_reads_wildly(changes: list[tuple[int, int]]) -> None:
    """Whatever the header says, no read is larger than any loader's table, and nothing is raised."""
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at] = value
    asked: list[int] = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return bytes(data[offset : offset + size])

    found = elf.needs(read)
    assert found is None or isinstance(found, Needs)
    assert max(asked) <= 1 << 24


@pytest.mark.parametrize("length", range(65))
def test_a_file_that_ends_in_its_header_is_none(length: int) -> None:
    """A file that is cut off within its header is not an ELF file; not even its class is known then."""
    data = SAMPLE[: min(length, 63)]
    assert elf.needs(lambda offset, size: data[offset : offset + size]) is None


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) * 8 - 1)), min_size=1, max_size=4), st.data())
@settings(max_examples=200, deadline=None)
def test_flipped_bits_never_raise(flips: list[tuple[int]], data: st.DataObject) -> None:
    """Single bits that flip in the header, or where it says that tables are, give needs or None."""
    damaged = bytearray(SAMPLE)
    for (bit,) in flips:
        bit = data.draw(st.sampled_from((bit, bit % (1024 * 8))))
        damaged[bit // 8] ^= 1 << bit % 8
    found = elf.needs(lambda offset, size: bytes(damaged[offset : offset + size]))
    assert found is None or isinstance(found, Needs)


@pytest.mark.parametrize("offset", [2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_table_beyond_any_file_is_damage_and_no_error_of_the_disk(tmp_path: Path, offset: int) -> None:
    """A header that points where pread(2) answers with an error is damaged; the file is not taken for unreadable."""
    if SAMPLE[4] != 2:
        pytest.skip("a header of 64 bits is needed")
    (tmp_path / "damaged").write_bytes(SAMPLE[:32] + offset.to_bytes(8, "little") + SAMPLE[40:])
    contents = Contents(os.fsencode(tmp_path))
    found = contents.needs(b"/damaged", True)
    assert found is None or found.libraries == ()
    assert contents.unreadable == []


@given(st.binary(max_size=200))
def test_any_bytes_never_raise(data: bytes) -> None:
    """Anything but an ELF file gives None; what begins like one does no harm."""
    for each in (data, elf.MAGIC + data):
        found = elf.needs(lambda offset, size, each=each: each[offset : offset + size])  # type: ignore[misc]
        assert found is None or isinstance(found, Needs)


PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RUNPATH = 1, 5, 10, 29
STRINGS = 4096  # where the strings of a made file begin; its segments begin at 64
DYNSTR = Section(b".dynstr", 3, 2, 0, 10, 10, 0, 0, 1, 0)
MOST_SECONDS, MOST_MEMORY = 5.0, 200 << 20


def made(
    *,
    strings: bytes = b"\0",
    dynamic: list[tuple[int, int]] | None = None,
    segments: list[tuple[int, int, int]] | None = None,
    sections: list[tuple[int, int]] | None = None,
) -> bytes:
    """A library that is all headers: segments as (kind, offset, size), sections as (where the name begins, kind).

    The strings name the libraries, and also the sections; those of the dynamic section follow them.
    """
    entries = b"".join(struct.pack("<qQ", *each) for each in dynamic or [])
    entries += struct.pack("<qQqQqQ", DT_STRTAB, STRINGS, DT_STRSZ, len(strings), 0, 0)
    at = STRINGS + len(strings)
    rows = [(PT_LOAD, 0, at + len(entries)), (PT_DYNAMIC, at, len(entries)), *(segments or [])]
    table = at + len(entries)
    headers = [(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    headers.append((0, 3, 0, 0, STRINGS, len(strings), 0, 0, 1, 0))
    headers += [(name, kind, 0, 0, STRINGS, 0, 0, 0, 1, 0) for name, kind in sections or []]
    start = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    start += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, table, 0, 64, 56, len(rows), 64, len(headers), 1)
    start += b"".join(struct.pack("<IIQQQQQQ", kind, 4, o, o, o, size, size, 4096) for kind, o, size in rows)
    assert len(start) <= STRINGS
    return start.ljust(STRINGS, b"\0") + strings + entries + b"".join(struct.pack("<IIQQQQIIQQ", *h) for h in headers)


def of_bytes(data: bytes) -> Needs | None:
    return elf.needs(lambda offset, size: data[offset : offset + size])


def test_a_made_library_is_read() -> None:
    """So what the tests below change is why theirs are not."""
    data = made(
        strings=b"\0liba.so\0/opt/lib:$ORIGIN\0.text\0",
        dynamic=[(DT_NEEDED, 1), (DT_RUNPATH, 9)],
        segments=[(PT_INTERP, STRINGS + 1, 8)],
        sections=[(26, 1)],
    )
    found = of_bytes(data)
    assert found is not None
    assert (found.interpreter, found.libraries, found.search) == (b"liba.so", (b"liba.so",), (b"/opt/lib", b"$ORIGIN"))
    read = tables(lambda offset, size: data[offset : offset + size])
    assert read is not None and [each.name for each in read.sections] == [b"", b"", b".text"]


LONG = b"\0" + b"a" * 4097 + b"\0"
MANY = b"\0" + b"a" * 4000 + b"\0"
DIRECTORIES = b"\0" + b":".join(b"/%d" % each for each in range(1000)) + b"\0"


def test_a_name_may_be_as_long_as_a_path() -> None:
    """PATH_MAX of <linux/limits.h>."""
    found = of_bytes(made(strings=LONG, dynamic=[(DT_NEEDED, 2), (DT_RUNPATH, 2)]))
    assert found is not None and found.libraries == found.search == (b"a" * 4096,)


@pytest.mark.parametrize(
    "data",
    [
        made(strings=LONG, dynamic=[(DT_NEEDED, 1)]),
        made(strings=LONG, dynamic=[(DT_RUNPATH, 1)]),
        made(strings=MANY, dynamic=[(DT_NEEDED, 1)] * 66),
        made(strings=MANY, dynamic=[(DT_RUNPATH, 1)] * 66),
        made(strings=DIRECTORIES, dynamic=[(DT_RUNPATH, 1)] + [(DT_NEEDED, 0)] * 300),
        made(dynamic=[(2, 0)] * (1 << 16)),
        made(segments=[(PT_DYNAMIC, 64, 0)]),
        made(segments=[(PT_INTERP, STRINGS, 1)] * 2),
        made(segments=[(PT_INTERP, 0, 4097)]),
    ],
    ids=["name", "directory", "names", "paths", "lookups", "entries", "dynamic", "interpreters", "interpreter"],
)
def test_more_than_any_linker_writes_is_damage(data: bytes) -> None:
    """Entries may share a string, so the sum of names has a limit, too. Of two headers of a kind, loaders differ."""
    assert of_bytes(data) is None


@pytest.mark.parametrize("end", [b"", b"\0"], ids=["without-end", "long"])
def test_names_that_share_their_place_cost_little(end: bytes) -> None:
    """A table of names that is one string, which thousands of sections and needed libraries begin in."""
    data = made(
        strings=b"a" * (15 << 20) + end,
        dynamic=[(DT_NEEDED, at) for at in range(30_000)],
        sections=[(at, 1) for at in range(30_000)],
    )
    view = memoryview(data)
    tracemalloc.start()
    try:
        began = time.process_time()
        assert elf.needs(lambda offset, size: bytes(view[offset : offset + size])) is None
        found = symbols(lambda offset, size: bytes(view[offset : offset + size]), len(data))
        assert time.process_time() - began < MOST_SECONDS
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert found is not None and found.why == DAMAGED


def test_names_of_sections_have_a_sum() -> None:
    """Each of them is short enough, and there are many: they would be held all at once."""
    name = b"a" * 4000 + b"\0"
    few, many = (made(strings=name, sections=[(0, 1)] * count) for count in (100, 5000))
    assert tables(lambda offset, size: few[offset : offset + size]) is not None
    assert tables(lambda offset, size: many[offset : offset + size]) is None


def test_many_dynamic_tables_and_segments_are_not_tried_with_each_other() -> None:
    """Each section with a name of a dynamic table is looked for in the writable segments."""
    found = Tables(
        wide=True,
        kind=3,
        machine=62,
        header=64,
        segments_at=64,
        names=0,
        end=100,
        segments=(Segment(PT_LOAD, 6, 50, 50, 10, 10, 1), *(Segment(PT_LOAD, 6, 50, 50, 0, 10, 1),) * 60_000),
        sections=(Section(b".symtab", 2, 0, 0, 0, 0, 0, 0, 1, 0), *(DYNSTR,) * 60_000),
    )
    began = time.process_time()
    assert _why_not(found, 100) == ""
    assert time.process_time() - began < MOST_SECONDS
    inside = found._replace(sections=(*found.sections, DYNSTR._replace(offset=59)))
    assert "patchelf" in _why_not(inside, 100)
    assert _why_not(found._replace(sections=(*found.sections, DYNSTR._replace(offset=60))), 100) == ""
