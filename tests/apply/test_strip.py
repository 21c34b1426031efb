"""What strip would take, what it must not touch, and the proof that a stripped file is what it was: real ELF files."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apply_images import plan_for, state
from carried_out import KINDS, carried_out
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import compiler

from slimagent.apply.in_place.journal import Journal
from slimagent.apply.in_place.removal import remove
from slimagent.apply.strip.load import Child, interpreters, needed
from slimagent.apply.strip.program import find
from slimagent.apply.strip.proof import difference
from slimagent.apply.strip.workspace import Tools
from slimagent.elf.sections import symbols
from slimagent.elf.tables import Read, Symbols, tables
from slimagent.errors import UnavailableError
from slimagent.inventory.contents import Contents
from slimagent.inventory.scan import scan
from slimagent.model.plan import Plan, Strip

SOURCE = """
#include <string.h>
static int table[500] = {1, 2, 3};
__thread int own = 7;
__attribute__((visibility("default"))) int shared_%s(int at) { return table[at %% 500] + own; }
static int hidden(const char *text) { return (int)strlen(text); }
int (*keep)(const char *) = hidden;
%s
"""
MAIN = "int main(void) { return shared_program(0) == 8 ? 0 : 9; }"


def tool(name: str) -> str:
    """A tool that the test needs; it skips the test, or fails it where all must be there."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(f"there is no {name}")
    return found


def build(path: Path, *options: str, main: bool = False) -> Path:
    """A program or a shared library with symbols and debugging information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = SOURCE % ("program" if main else "library", MAIN if main else "")
    kind = [] if main else ["-shared", "-fPIC", f"-Wl,-soname,{path.name}"]
    command = [compiler(), "-g", "-Wl,--build-id", *kind, "-x", "c", "-", *options, "-o", str(path)]
    subprocess.run(command, input=source.encode(), check=True)
    return path


def weighed(path: Path) -> Symbols | None:
    data = path.read_bytes()
    return symbols(lambda offset, size: data[offset : offset + size], len(data))


def reader(data: bytes) -> Read:
    return lambda offset, size: data[offset : offset + size]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("elf") / "liblibrary.so")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("elf") / "program", main=True)


# What strip saves


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-O2",),
        ("-static",),
        ("-no-pie",),
        ("-gz=zlib",),
        ("-Wl,-z,noseparate-code",),
        ("-Wl,-z,max-page-size=65536",),
        ("-fuse-ld=gold",),
        ("-Wl,--hash-style=sysv",),
        ("-ffunction-sections", "-Wl,--gc-sections"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("main", [True, False], ids=["program", "library"])
def test_what_is_planned_comes_out(tmp_path: Path, main: bool, options: tuple[str, ...]) -> None:
    """The bytes that strip saves are those that were computed; only notes that it joins may save some more."""
    if not main and {"-static", "-no-pie"} & set(options):
        pytest.skip("a library is neither")
    path = build(tmp_path / "file", *options, main=main)
    planned = weighed(path)
    assert planned is not None
    assert not planned.why
    before = path.stat().st_size
    with path.open("rb") as file:
        notes = sum(each["sh_size"] for each in ELFFile(file).iter_sections() if "build.attributes" in each.name)
    subprocess.run([tool("strip"), "--strip-unneeded", path], check=True)
    assert 0 <= before - path.stat().st_size - planned.saves <= notes
    assert weighed(path) is None, "what is stripped has nothing left to lose"


def appended(path: Path) -> None:
    """A self-extracting program: a real archive behind a real program, which Python can still open."""
    archive = path.with_name("payload.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("payload", "data")
    path.write_bytes(path.read_bytes() + archive.read_bytes())
    assert zipfile.is_zipfile(path)


def patched(path: Path) -> None:
    """What patchelf makes of it: a search path that needs room, so that tables move."""
    subprocess.run([tool("patchelf"), "--set-rpath", "/a/rather/long/directory" * 20, path], check=True)


def moved(path: Path) -> None:
    """The second segment a page farther in the file, as a tool that makes room in it leaves it."""
    data = bytearray(path.read_bytes())
    found = tables(reader(bytes(data)))
    assert found is not None
    at = next(number for number, each in enumerate(found.segments) if each.kind == 1 and each.offset)
    place = found.segments_at + at * found.segment_row + 8
    struct.pack_into("<Q", data, place, found.segments[at].offset + 4096)
    path.write_bytes(data)


def incongruent(path: Path) -> None:
    """A segment whose place in the file is no longer that in memory, modulo its alignment."""
    data = bytearray(path.read_bytes())
    found = tables(reader(bytes(data)))
    assert found is not None
    at = next(number for number, each in enumerate(found.segments) if each.kind == 1 and each.offset)
    struct.pack_into("<Q", data, found.segments_at + at * found.segment_row + 8, found.segments[at].offset + 8)
    path.write_bytes(data)


def detached(path: Path) -> None:
    subprocess.run([tool("objcopy"), "--only-keep-debug", path], check=True)


def with_section(path: Path) -> None:
    """As PyInstaller puts its archive into a section of its own."""
    subprocess.run([tool("objcopy"), "--add-section", f"pydata={path}", path], check=True)


def with_checksum(path: Path) -> None:
    subprocess.run([tool("objcopy"), "--add-section", f".note.fdo.integrity={__file__}", path], check=True)


def with_relocations(path: Path) -> None:
    build(path, "-Wl,--emit-relocs")


def as_object(path: Path) -> None:
    subprocess.run([compiler(), "-g", "-c", "-x", "c", "-", "-o", path], input=b"int a(void){return 1;}", check=True)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


PLANTED = [
    (appended, "data follow the ELF image"),
    (patched, "its segments would move"),
    (moved, "its segments would move"),
    (incongruent, "p_offset"),
    (detached, "a detached debug file"),
    (with_section, "'pydata' that no compiler makes"),
    (with_checksum, "a checksum of itself"),
    (with_relocations, "relocations that the linker left"),
    (as_object, "an object file"),
    (cut_short, "damaged or cut short"),
]


@pytest.mark.parametrize(("plant", "why"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_what_must_not_be_touched_is_refused(tmp_path: Path, plant: Callable[[Path], None], why: str) -> None:
    """Each planted fault is found in the file's own bytes, and says why."""
    path = build(tmp_path / "lib.so")
    plant(path)
    found = weighed(path)
    assert found is not None
    assert why in found.why
    assert found.saves == 0


@pytest.mark.parametrize("main", [True, False], ids=["program", "library"])
def test_the_tables_are_those_of_pyelftools(library: Path, program: Path, main: bool) -> None:
    """Both readers agree on every header of a program and a library."""
    path = program if main else library
    found = tables(reader(path.read_bytes()))
    assert found is not None
    with path.open("rb") as file:
        other = ELFFile(file)
        assert [(s.name.encode(), s["sh_offset"], s["sh_size"], s["sh_link"]) for s in other.iter_sections()] == [
            (s.name, s.offset, s.size, s.link) for s in found.sections
        ]
        assert [
            (s["p_offset"], s["p_vaddr"], s["p_filesz"], s["p_memsz"], s["p_align"]) for s in other.iter_segments()
        ] == [(s.offset, s.address, s.size, s.memory, s.alignment) for s in found.segments]


def test_damage_never_raises(library: Path) -> None:
    """Cut anywhere, with any bytes of the headers changed: no reader raises, none reads wildly."""
    whole = library.read_bytes()
    headers = [*range(64), *range(64, 64 + 56 * 12), *range(len(whole) - 64 * 30, len(whole))]

    @given(st.integers(0, len(whole)), st.lists(st.tuples(st.sampled_from(headers), st.integers(0, 255)), max_size=6))
    @settings(max_examples=400, deadline=None)
    def check(length: int, changes: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for at, value in changes:
            data[at] = value
        for each in (bytes(data), bytes(data[:length])):
            asked: list[int] = []

            def read(offset: int, size: int, each: bytes = each, asked: list[int] = asked) -> bytes:
                asked.append(size)
                return each[offset : offset + size]

            found = symbols(read, len(each))
            assert found is None or found.saves <= len(each)
            assert difference(reader(whole), read) == "" or each != whole
            assert difference(read, reader(whole)) == "" or each != whole
            needed(read, b"/x")
            assert max(asked, default=0) <= 1 << 24

    check()


def test_a_file_that_is_measured_or_an_archive_is_refused(tmp_path: Path, library: Path) -> None:
    """A static library, and one that the kernel checks, are told by what they are."""
    shutil.copy(library, tmp_path / "a.so")
    (tmp_path / "b.a").write_bytes(b"!<arch>\n" + b"x" * 60)
    contents = Contents(os.fsencode(tmp_path))
    assert contents.symbols(b"/a.so") is None, "nobody asked what it needs"
    for path in (b"/a.so", b"/b.a"):
        contents.needs(path, True)
    archive, plain = contents.symbols(b"/b.a"), contents.symbols(b"/a.so")
    assert archive is not None
    assert "static library" in archive.why
    assert plain is not None
    assert not plain.why


# The proof


def stripped(path: Path, to: Path) -> Path:
    subprocess.run([tool("strip"), "--strip-unneeded", "-o", to, path], check=True)
    return to


def section(data: bytes, name: bytes) -> tuple[int, int]:
    found = tables(reader(data))
    assert found is not None
    each = next(each for each in found.sections if each.name == name)
    return each.offset, each.size


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b".dynamic", "dynamic section"),
        (b".dynsym", "symbols that it exports"),
        (b".dynstr", "symbols that it exports"),
        (b".gnu.version", "symbols that it exports"),
        (b".note.gnu.build-id", "build id"),
        (b".text", "section .text"),
        (b".data", "section .data"),
        (b".nv_fatbin", "GPU code (.nv_fatbin)"),
        (b".hip_fatbin", "GPU code (.hip_fatbin)"),
        (b".comment", "section .comment"),
    ],
)
def test_every_damage_by_strip_is_found(tmp_path: Path, name: bytes, why: str) -> None:
    """One flipped bit in any part that matters is named; without it, there is no difference."""
    sections = "".join(f'.section .{each},\\"a\\"\\n.ascii \\"code\\"\\n' for each in ("nv_fatbin", "hip_fatbin"))
    gpu = f'asm("{sections}.text");'
    path = tmp_path / "lib.so"
    command = [compiler(), "-g", "-shared", "-fPIC", "-Wl,--build-id", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=(SOURCE % ("library", gpu)).encode(), check=True)
    before, after = path.read_bytes(), bytearray(stripped(path, tmp_path / "out.so").read_bytes())
    assert difference(reader(before), reader(bytes(after))) == ""
    offset, size = section(bytes(after), name)
    after[offset + size // 2] ^= 1
    assert why in difference(reader(before), reader(bytes(after)))


def test_damaged_headers_are_found(tmp_path: Path, library: Path) -> None:
    """An entry point, a segment's flags, size or place that is another, and a file cut short."""
    before, after = library.read_bytes(), stripped(library, tmp_path / "out.so").read_bytes()
    for at, why in (
        (24, "ELF header"),
        (64 + 4, "program headers"),
        (64 + 8, "program headers"),
        (64 + 40, "program h"),
    ):
        damaged = bytearray(after)
        damaged[at] ^= 1
        assert why in difference(reader(before), reader(bytes(damaged)))
    assert "damaged" in difference(reader(before), reader(after[:-10]))
    assert difference(reader(before), reader(b"")) != ""


def test_padding_between_sections_counts(tmp_path: Path, library: Path) -> None:
    """A byte of a segment that no section has is loaded, too."""
    before, after = library.read_bytes(), bytearray(stripped(library, tmp_path / "out.so").read_bytes())
    found = tables(reader(bytes(after)))
    assert found is not None
    covered = sorted((each.offset, each.offset + each.stored) for each in found.sections if each.is_loaded)
    gap = next(
        end
        for (_, end), (begin, _) in itertools.pairwise(covered)
        if end < begin
        and any(each.kind == 1 and each.offset <= end < each.offset + each.size for each in found.segments)
    )
    after[gap] ^= 1
    assert "loaded" in difference(reader(before), reader(bytes(after)))


# Carrying it out


def image(root: Path) -> Path:
    """A small image: libraries, a program with a second name, a setuid one, a directory with a strange name."""
    build(root / "usr/lib/liba.so")
    build(root / "usr/lib/\udce9/libb.so")
    build(root / "usr/bin/tool", main=True)
    (root / "opt").mkdir()
    os.link(root / "usr/bin/tool", root / "opt/tool")
    (root / "etc").mkdir()
    (root / "etc/text").write_text("text")
    for path in sorted(root.rglob("*")):
        os.utime(path, ns=(10**18 + 7, 10**18 + 7))
    os.setxattr(root / "usr/lib/liba.so", "user.mark", b"kept")
    (root / "usr/lib/liba.so").chmod(0o640)
    for path in (root / "usr/lib/liba.so", root):
        os.utime(path, ns=(10**18 + 7, 10**18 + 7))
    return root


def planned(root: Path, **changes: Any) -> tuple[Plan, Any]:
    """A plan that keeps everything and strips what can be, and the inventory that it is for."""
    inventory = scan(os.fsencode(root))
    contents = Contents(inventory.root)
    strips, seen = [], set()
    for at, path in enumerate(inventory.paths):
        if stat.S_ISREG(inventory.modes[at]) and inventory.inodes[at] not in seen:
            seen.add(inventory.inodes[at])
            contents.needs(path, True)
            found = contents.symbols(path)
            if found is not None and not found.why:
                strips.append(Strip(path, found.saves))
    return plan_for(inventory, strips=tuple(strips), **changes), inventory


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """A directory whose programs everybody can run, as those of an image: pytest's own are private."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def program_that(directory: Path, text: str) -> str:
    """A strip program that does something else."""
    path = directory / "strip-stand-in"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def tools(**changes: Any) -> Tools:
    return Tools(**({"program": tool("strip")} | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_every_action_strips_and_changes_nothing_else(tmp_path: Path, kind: str) -> None:
    """Stripped files are smaller as planned and still run; times, modes, attributes, names and sums are right."""
    root = image(tmp_path / "root")
    plan, inventory = planned(root)
    before = {path: inventory.sizes[at] for at, path in enumerate(inventory.paths)}
    out, receipt = carried_out(kind, plan, inventory, tmp_path / "out", tools())
    after = scan(os.fsencode(out))
    assert after.paths == inventory.paths
    for name in ("modes", "uids", "gids", "mtimes", "links"):
        assert list(getattr(after, name)) == list(getattr(inventory, name)), name
    assert len(plan.strips) == receipt.stripped == 3
    assert not receipt.unstripped
    for path, saves in plan.strips:
        assert after.sizes[after.index[path]] == before[path] - saves
    assert receipt.bytes_stripped == sum(each.saves for each in plan.strips)
    assert after.inodes[after.index[b"/opt/tool"]] == after.inodes[after.index[b"/usr/bin/tool"]]
    assert os.getxattr(out / "usr/lib/liba.so", "user.mark") == b"kept"
    assert subprocess.run([out / "usr/bin/tool"], check=False).returncode == 0
    assert (out / "etc/text").read_text() == "text"
    whole = {
        (inventory.inodes[at]): size for at, size in enumerate(inventory.sizes) if stat.S_ISREG(inventory.modes[at])
    }
    assert receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped == sum(whole.values())
    again, _ = planned(out)
    assert again.strips == ()
    assert not [each for each in os.listdir(tmp_path) if "slimagent" in each]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            'shift 2; for f; do printf X | dd of="$f" bs=1 seek=4200 conv=notrunc 2>/dev/null; done',
            "not make it smaller",
        ),
        (
            'strip "$@"; shift 2; for f; do printf XXXX | dd of="$f" bs=1 seek=4200 conv=notrunc 2>/dev/null; done',
            "different",
        ),
        (
            'strip "$@"; shift 2; for f; do printf X | dd of="$f" bs=1 seek=26 conv=notrunc 2>/dev/null; done',
            "ELF header",
        ),
        ('shift 2; for f; do : > "$f"; done', "damaged"),
        ('shift 2; for f; do rm "$f"; done', "something else"),
        ('shift 2; for f; do rm "$f"; ln -s /etc/passwd "$f"; done', "something else"),
        ('shift 2; for f; do rm "$f"; mkfifo "$f"; done', "smaller"),
        ('shift 2; for f; do rm "$f"; mkdir "$f"; done', "smaller"),
        ("echo cannot >&2; exit 1", "strip failed: cannot"),
        ("kill -SEGV $$", "signal 11"),
    ],
)
def test_what_strip_spoils_is_put_back(tmp_path: Path, programs: Path, kind: str, text: str, why: str) -> None:
    """Whatever the program does to its copies, the image gets the originals, and the receipt says why."""
    root = image(tmp_path / "root")
    plan, inventory = planned(root)
    originals = {path: (root / os.fsdecode(path[1:])).read_bytes() for path, _ in plan.strips}
    out, receipt = carried_out(kind, plan, inventory, tmp_path / "out", tools(program=program_that(programs, text)))
    assert {path: (out / os.fsdecode(path[1:])).read_bytes() for path in originals} == originals
    assert receipt.stripped == receipt.bytes_stripped == 0
    assert sorted(path for path, _ in receipt.unstripped) == sorted(originals)
    assert all(why in each for _, each in receipt.unstripped), receipt.unstripped


def test_a_program_that_hangs_is_given_up(tmp_path: Path, programs: Path) -> None:
    """Each run ends in time, with what it started, and after some the program is not tried any more."""
    plan, inventory = planned(image(tmp_path / "root"))
    hanging = tools(program=program_that(programs, "sleep 600 & wait"), seconds=0.2)
    _, receipt = carried_out("tar", plan, inventory, tmp_path / "out", hanging)
    reasons = {why for _, why in receipt.unstripped}
    assert receipt.stripped == 0
    assert reasons == {"strip did not end in time", "strip was given up: 3 times it did not end in time"}


def test_one_file_that_strip_refuses_does_not_stop_the_others(tmp_path: Path, programs: Path) -> None:
    """A run that fails is done again file by file."""
    root = image(tmp_path / "root")
    plan, inventory = planned(root)
    size = inventory.sizes[inventory.index[b"/usr/lib/liba.so"]]
    picky = f'shift 2; for f; do [ $(stat -c %s "$f") = {size} ] && exit 3; strip --strip-unneeded "$f"; done'
    (root / "usr/lib/\udce9/libb.so").write_bytes((root / "usr/lib/\udce9/libb.so").read_bytes())
    build(root / "usr/lib/\udce9/libb.so", "-O2")
    plan, inventory = planned(root)
    _, receipt = carried_out("tree", plan, inventory, tmp_path / "out", tools(program=program_that(programs, picky)))
    assert receipt.stripped == 2
    assert [path for path, _ in receipt.unstripped] == [b"/usr/lib/liba.so"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_program_all_stays_and_is_said(tmp_path: Path, kind: str) -> None:
    """No program, no stripping: the receipt lists every file that was to be stripped."""
    plan, inventory = planned(image(tmp_path / "root"))
    _, receipt = carried_out(kind, plan, inventory, tmp_path / "out", tools(program=None))
    assert receipt.stripped == 0
    assert {why for _, why in receipt.unstripped} == {"there is no program to strip it with"}
    assert len(receipt.unstripped) == 3


def test_a_file_that_changed_since_is_left_alone(tmp_path: Path) -> None:
    """What is not as the plan saw it is not stripped."""
    root = image(tmp_path / "root")
    plan, _ = planned(root)
    os.utime(root / "usr/lib/liba.so")
    _, receipt = carried_out("tree", plan, scan(os.fsencode(root)), tmp_path / "out", tools())
    assert receipt.unstripped == ((b"/usr/lib/liba.so", "it was modified after the plan was made"),)
    assert receipt.stripped == 2


def test_little_waits_at_a_time(tmp_path: Path) -> None:
    """With room for nothing, one batch after another is done, and all come."""
    plan, inventory = planned(image(tmp_path / "root"))
    _, receipt = carried_out("tar", plan, inventory, tmp_path / "out", tools(waiting=0))
    assert receipt.stripped == 3


@pytest.mark.parametrize("call", ["rename", "link", "sendfile", "unlink", "setxattr"])
def test_an_interrupted_removal_is_taken_up_and_ends_the_same(tmp_path: Path, call: str) -> None:
    """Killed at any such call, then run again: the tree and the receipt are those of one uninterrupted go."""
    reference = image(tmp_path / "reference")
    plan, inventory = planned(reference)
    whole = remove(plan, "d", inventory, tools=tools())
    expected = state(os.fsencode(reference))
    for number in range(60):
        root = image(tmp_path / f"root-{number}")
        plan, inventory = planned(root)
        journal = os.fsencode(tmp_path / f"journal-{number}")
        child = os.fork()
        if not child:
            try:
                _kill_at(call, number)
                with Journal(journal, "d", inventory.root) as noted:
                    remove(plan, "d", inventory, journal=noted, tools=tools())
                    noted.finish(inventory.root)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        with Journal(journal, "d", inventory.root) as noted:
            if noted.before is None and os.waitstatus_to_exitcode(status) != 77:
                break  # there are no more calls than that
            again = remove(plan, "d", scan(os.fsencode(root)), journal=noted, tools=tools())
            noted.finish(os.fsencode(root))
        assert state(os.fsencode(root)) == expected, number
        assert replace(again, target="") == replace(whole, target=""), number
    assert number > 0, f"{call} was never called"


def _kill_at(call: str, number: int) -> None:
    """End this process at the call of that number, as SIGKILL would: nothing is tidied up."""
    real, left = getattr(os, call), [number]

    def counted(*arguments: Any, **others: Any) -> Any:
        if not left[0]:
            os._exit(77)
        left[0] -= 1
        return real(*arguments, **others)

    setattr(os, call, counted)


# Finding programs, loading libraries


def test_a_named_program_has_to_be_there() -> None:
    """A program that was asked for by name and is not there is an error; none is none."""
    with pytest.raises(UnavailableError):
        find("/no/such/strip")
    assert find("none") is None


def test_the_agents_own_program_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the image's, or this machine's, serves."""
    (tmp_path / "bin").mkdir()
    own = shutil.copy(tool("strip"), tmp_path / "bin/strip")
    assert find("auto") == tool("strip")
    monkeypatch.setenv("SLIMAGENT_HOME", str(tmp_path))
    assert find("auto") == str(own)


@pytest.mark.parametrize("writable", ["the program", "its directory", "the directory above", "what a link leads to"])
def test_a_program_that_others_may_write_is_not_taken(
    programs: Path, monkeypatch: pytest.MonkeyPatch, writable: str
) -> None:
    """I3: first on PATH, and somebody else could put anything there; the next one serves."""
    directory = programs / "above/bin"
    directory.mkdir(parents=True)
    (programs / "elsewhere").mkdir()
    planted = directory / "strip"
    if writable == "what a link leads to":
        planted.symlink_to(programs / "elsewhere/strip")
    shutil.copy(tool("strip"), programs / "elsewhere/strip" if planted.is_symlink() else planted)
    opened = {"the program": planted, "its directory": directory, "the directory above": directory.parent}
    other = tool("strip")
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.delenv("SLIMAGENT_HOME", raising=False)
    assert find("auto") == str(planted)
    opened.get(writable, programs / "elsewhere").chmod(0o777)
    assert find("auto") == other


def everybodys_python() -> str:
    """A Python that everybody can run; without one the test is skipped."""
    whom = {"user": 65533, "group": 65533, "extra_groups": []} if os.geteuid() == 0 else {}
    for each in interpreters():
        with contextlib.suppress(PermissionError):
            if subprocess.run([each, "-I", "-S", "-c", "import ctypes"], check=False, **whom).returncode == 0:
                return each
    pytest.skip("there is no Python in PATH that everybody can run")


def test_a_library_is_loaded_by_the_images_python(tmp_path: Path) -> None:
    """One that is whole loads; one that crashes, hangs, or lacks a symbol does not, and the child lives on."""
    python = everybodys_python()
    tmp_path.chmod(0o755)
    sources = {
        "good": "int good(void) { return 1; }",
        "crash": "__attribute__((constructor)) void go(void) { *(volatile int *)0 = 1; }",
        "exits": "void _exit(int); __attribute__((constructor)) void go(void) { _exit(7); }",
        "hang": "__attribute__((constructor)) void go(void) { for (;;); }",
        "lacks": "void nowhere_to_be_found(void); void go(void) { nowhere_to_be_found(); }",
    }
    with contextlib.closing(Child(python, seconds=1.0)) as child:
        assert child.is_ready
        for name, source in [*sources.items(), ("good", sources["good"])]:
            path = tmp_path / f"{name}.so"
            subprocess.run(
                [compiler(), "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=source.encode(), check=True
            )
            with open(path, "rb") as file:
                assert child.loads(file.fileno(), []) is (name == "good"), name


def test_a_library_that_only_loaded_before_is_put_back(tmp_path: Path) -> None:
    """A library that looks at the size of the file that it comes from: equal to a loader, but not to itself."""
    python = everybodys_python()
    source = """
    #include <stdlib.h>
    #include <sys/stat.h>
    __attribute__((constructor)) static void check(void) {
        struct stat status;
        for (int file = 3; file < 64; file++)
            if (!fstat(file, &status) && S_ISREG(status.st_mode) && status.st_size < LIMIT)
                abort();
    }
    """
    root = tmp_path / "root"
    root.mkdir()
    own = root / "own.so"
    for limit in (1, 2):
        size = own.stat().st_size - 100 if limit == 2 else limit
        command = [compiler(), "-g", "-shared", "-fPIC", f"-DLIMIT={size}", "-x", "c", "-", "-o", str(own)]
        subprocess.run(command, input=source.encode(), check=True)
    for directory in (tmp_path, root):
        directory.chmod(0o755)
    build(root / "other.so")
    plan, inventory = planned(root)
    _, receipt = carried_out("tree", plan, inventory, tmp_path / "out", tools(pythons=(python,)))
    assert receipt.unstripped == ((b"/own.so", "it could be loaded before, and the smaller copy cannot"),)
    assert (receipt.stripped, receipt.loaded) == (1, 1)


# Rights


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_strip_runs_without_rights(tmp_path: Path, programs: Path) -> None:
    """I3: as a user who owns nothing in the image, in no other group, with no capability and no way to get one.

    It can write to its own copies, and to nothing else of ours.
    """
    said = programs / "said"
    said.mkdir()
    said.chmod(0o777)
    victim = programs / "victim"
    victim.write_text("root's")
    text = f"""
    cat /proc/self/status > {said}/status; ls -l /proc/self/fd > {said}/fd
    echo mine > {victim}; ls {tmp_path} > {said}/listed
    exec strip "$@"
    """
    root = image(tmp_path / "root")
    os.chown(root / "etc/text", 65533, 65532)  # an ID of the image is not taken
    plan, inventory = planned(root)
    _, receipt = carried_out("tar", plan, inventory, tmp_path / "out", tools(program=program_that(programs, text)))
    assert receipt.stripped == 3
    status = dict(line.split(":\t", 1) for line in (said / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == ["65531"] * 4
    assert status["Groups"].split() == []
    assert {status[each] for each in ("CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert victim.read_text() == "root's"
    assert not (said / "listed").read_text()
    opened = [line.split(" -> ")[1] for line in (said / "fd").read_text().splitlines() if " -> " in line]
    assert all(each.startswith(("/dev/null", "pipe:", str(said), "/proc/", str(programs))) for each in opened), opened


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_what_strip_goes_on_to_write_does_not_count(tmp_path: Path, programs: Path) -> None:
    """I3: a process that outlives it and keeps its files open changes nothing that is proved or exported."""
    text = """
    strip "$@"; shift 2
    for f; do
        exec 9<>"$f"
        (while test -e "$f"; do sleep 0.01; done; printf EVIL >&9) 2> /dev/null &
    done
    """
    root = image(tmp_path / "root")
    plan, inventory = planned(root)
    spoiled, _ = carried_out("tree", plan, inventory, tmp_path / "a", tools(program=program_that(programs, text)))
    plain, _ = carried_out("tree", plan, inventory, tmp_path / "b", tools())
    for path, _ in plan.strips:
        name = os.fsdecode(path[1:])
        assert (spoiled / name).read_bytes() == (plain / name).read_bytes(), name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_the_python_that_loads_runs_without_rights(tmp_path: Path, programs: Path) -> None:
    """I3: it may be anybody's, so it never runs as root, and neither does a library's constructor."""
    python = everybodys_python()
    said = programs / "said"
    said.mkdir()
    said.chmod(0o777)
    planted = programs / "python3"
    planted.write_text(f'#!/bin/sh\ncat /proc/self/status > {said}/python\nexec {python} "$@"\n')
    planted.chmod(0o755)
    source = f"""
    #include <stdio.h>
    #include <unistd.h>
    __attribute__((constructor)) static void go(void) {{
        FILE *file = fopen("{said}/library", "w");
        fprintf(file, "Uid:\\t%d\\t%d", (int)getuid(), (int)geteuid());
        fclose(file);
    }}
    """
    root = tmp_path / "root"
    root.mkdir()
    command = [compiler(), "-g", "-shared", "-fPIC", "-x", "c", "-", "-o", str(root / "own.so")]
    subprocess.run(command, input=source.encode(), check=True)
    plan, inventory = planned(root)
    _, receipt = carried_out("tree", plan, inventory, tmp_path / "out", tools(pythons=(str(planted),)))
    assert (receipt.stripped, receipt.loaded) == (1, 1)
    told = (said / "python").read_text()
    assert "Uid:\t65533\t65533\t65533\t65533" in told and "NoNewPrivs:\t1" in told
    assert (said / "library").read_text() == "Uid:\t65533\t65533"


@pytest.mark.parametrize("text", ["exec sleep 600", "yes | tr -d '\\n'", "echo ready; cat > /dev/null", "exit 0"])
def test_a_python_that_is_something_else_loads_nothing(tmp_path: Path, programs: Path, text: str) -> None:
    """I3: whatever it says, or if it never says a word, the export goes on and has an end."""
    planted = programs / "python3"
    planted.write_text(f"#!/bin/sh\nexec >&0\n{text}\n")
    planted.chmod(0o755)
    root = image(tmp_path / "root")
    plan, inventory = planned(root)
    _, receipt = carried_out("tar", plan, inventory, tmp_path / "out", tools(pythons=(str(planted),), seconds=2.0))
    assert (receipt.stripped, receipt.loaded) == (3, 0)
