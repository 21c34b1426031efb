"""What a file's first bytes say, and where the loader looks."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slimagent.inventory.contents import Contents, script_needs
from slimagent.inventory.loader import loader, parse_cache
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Needs


@pytest.mark.parametrize(
    ("line", "interpreter", "via_env"),
    [
        (b"#!/bin/sh\n", b"/bin/sh", b""),
        (b"#! /bin/sh -e\n", b"/bin/sh", b""),
        (b"#!\t/usr/bin/perl\t-w\n", b"/usr/bin/perl", b""),
        (b"#!/usr/bin/env python3\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -S python3 -u\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -S A=1 B=2 node --flag\n", b"/usr/bin/env", b"node"),
        (b"#!/usr/bin/env -u HOME Rscript\n", b"/usr/bin/env", b"Rscript"),
        (b"#!/bin/sh", b"/bin/sh", b""),
        (b"#!/bin/sh\0garbage\n", b"/bin/sh", b""),
        (b"#!/bin/sh\r\n", b"/bin/sh\r", b""),
        (b"#!/usr/bin/env bash\r\n", b"/usr/bin/env", b"bash"),
        (b"#!/usr/bin/env\n", b"/usr/bin/env", b""),
        (b"#!/usr/bin/env -S\n", b"/usr/bin/env", b""),
        (b"#!/usr/bin/env -Spython3 -u\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -iS A=1 python3\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -vSA=1 python3\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env --split-string=python3 -u\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -S --unset HOME -C /tmp -a name python3\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -S --unset=HOME --chdir=/tmp python3\n", b"/usr/bin/env", b"python3"),
        (b"#!/usr/bin/env -i\n", b"/usr/bin/env", b""),
        (b"#!/opt/bin/environment x\n", b"/opt/bin/environment", b""),
        (b"#!" + b"/x" * 126 + b" \n", b"/x" * 126, b""),
        (b"#!/usr/bin/env " + b"p" * 300, b"/usr/bin/env", b"p" * 240),
    ],
)
def test_a_script_names_its_interpreter(line: bytes, interpreter: bytes, via_env: bytes) -> None:
    """The program of a `#!` line, and what env(1) would look up."""
    assert script_needs(line) == Needs(interpreter=interpreter, via_env=via_env)


@pytest.mark.parametrize(
    "line",
    [b"#!", b"#!\n", b"#!   \n", b"#!relative\n", b"#!\n/bin/sh\n", b"#!\0", b"#!" + b"/x" * 200, b"#!" + b" " * 300],
)
def test_a_line_that_names_no_program_needs_nothing(line: bytes) -> None:
    """An empty or relative interpreter is none that closure could find."""
    assert script_needs(line) is None


def test_the_kernel_cuts_the_first_line_off_there_too(tmp_path: Path) -> None:
    """The longest interpreter that the kernel runs is the longest that is found; one byte more is none."""
    directory = os.fsencode(os.path.realpath(tmp_path))
    for length, runs in ((253, True), (254, False)):
        program = directory + b"/" + b"i" * (length - len(directory) - 1)
        shutil.copy(shutil.which("true") or "/bin/true", program)
        padded = tmp_path / f"padded-{length}"
        padded.write_bytes(b"#!" + program + b" " * 300)
        padded.chmod(0o755)
        try:
            ran = subprocess.run([padded], check=False).returncode == 0
        except OSError:
            ran = False
        assert ran is runs
        found = Contents(directory).needs(os.fsencode(f"/padded-{length}"), True)
        assert found == (Needs(interpreter=program) if runs else None)


@given(st.binary(max_size=300))
def test_any_first_line_is_needs_or_none(line: bytes) -> None:
    """No bytes make the reader fail, and no name that it finds holds a NUL, a line break or, unasked, a blank."""
    found = script_needs(b"#!" + line)
    assert found is None or (found.interpreter[:1] == b"/" and not set(found.interpreter) & set(b"\0\n\t "))


def test_files_are_read_without_following_links(tmp_path: Path) -> None:
    """A link in place of a file is not read, and is reported; plain data needs nothing."""
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "data").write_text("no program\n")
    (tmp_path / "link").symlink_to("script")
    contents = Contents(os.fsencode(tmp_path))
    assert contents.needs(b"/script", True) == Needs(interpreter=b"/bin/sh")
    assert contents.needs(b"/data", True) is None
    assert contents.unreadable == []
    assert contents.needs(b"/link", True) is None
    assert contents.unreadable == [b"/link"]


def test_an_executable_module_is_a_script_all_the_same(tmp_path: Path) -> None:
    """A name that promises plain text is only believed where no mode bit says that it may run."""
    (tmp_path / "tool.py").write_text("#!/usr/bin/env python3\n")
    contents = Contents(os.fsencode(tmp_path))
    assert contents.needs(b"/tool.py", True) == Needs(interpreter=b"/usr/bin/env", via_env=b"python3")
    assert contents.needs(b"/tool.py", False) is None


def test_the_loader_cache_is_what_ldconfig_prints() -> None:
    """Every name and path of this machine's cache, as `ldconfig -p` prints them."""
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig is None or not os.path.exists("/etc/ld.so.cache"):
        pytest.skip("no glibc cache here")
    printed = subprocess.run([ldconfig, "-p"], check=True, capture_output=True, env={"LC_ALL": "C"}).stdout
    expected: dict[bytes, list[bytes]] = {}
    for line in printed.splitlines()[1:]:
        if b" => " in line:
            name, path = line.split(b" => ")
            expected.setdefault(name.split()[0], []).append(path)
    found = parse_cache(Path("/etc/ld.so.cache").read_bytes())
    assert {name: sorted(paths) for name, paths in found.items()} == {
        name: sorted(paths) for name, paths in expected.items()
    }


@pytest.mark.parametrize("length", [0, 1, 20, 48, 60, 100, 1000])
def test_a_cut_off_cache_is_no_error(length: int) -> None:
    """A damaged cache says less or nothing; the loader's directories are searched all the same."""
    if not os.path.exists("/etc/ld.so.cache"):
        pytest.skip("no glibc cache here")
    assert isinstance(parse_cache(Path("/etc/ld.so.cache").read_bytes()[:length]), dict)


def test_configuration_names_directories_and_includes_more(tmp_path: Path) -> None:
    """ld.so.conf: directories, comments, includes by pattern, relative to the file, and no circle without end."""
    conf = tmp_path / "etc" / "ld.so.conf.d"
    conf.mkdir(parents=True)
    (tmp_path / "etc/ld.so.conf").write_text(
        "# ours\n/opt/first\ninclude ld.so.conf.d/*.conf\ninclude /etc/ld.so.conf\n"
    )
    (conf / "a.conf").write_text("/opt/a # why\n")
    (conf / "b.conf").write_text("/opt/b\n")
    (conf / "c.other").write_text("/opt/c\n")
    directories = loader(scan(os.fsencode(tmp_path))).directories
    assert directories[:3] == (b"/opt/first", b"/opt/a", b"/opt/b")
    assert b"/opt/c" not in directories
    assert b"/usr/lib" in directories


def image(root: Path, **files: str) -> bytes:
    """An image with these files in /etc/ld.so.conf.d, and a configuration that includes those that end in .conf."""
    directory = root / "etc/ld.so.conf.d"
    directory.mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    for name, text in files.items():
        (directory / f"{name}.conf").write_text(text)
    return os.fsencode(os.path.realpath(root))


def test_configuration_behind_links_is_read_inside_the_image(tmp_path: Path) -> None:
    """Alternatives make configuration a link: it is followed as the image sees it, and never out of the image."""
    root = image(tmp_path / "image")
    outside, inside = tmp_path / "outside.conf", tmp_path / "image/etc/alternatives"
    outside.write_text("/opt/outside\n")
    inside.mkdir()
    (inside / "gl").write_text("/opt/inside\n")
    directory = tmp_path / "image/etc/ld.so.conf.d"
    (directory / "a.conf").symlink_to("/etc/alternatives/gl")
    (directory / "b.conf").symlink_to("../alternatives/gl")
    (directory / "c.conf").symlink_to(outside)
    (directory / "d.conf").symlink_to("../" * 40 + str(outside).lstrip("/"))
    (directory / "e.conf").symlink_to("e.conf")
    directories = loader(scan(root)).directories
    assert directories[0] == b"/opt/inside"
    assert b"/opt/outside" not in directories


def test_a_directory_of_configuration_may_be_a_link(tmp_path: Path) -> None:
    """A link on the way leads where it does in the image, not where it would on this machine."""
    root = image(tmp_path / "image", a="/opt/a")
    (tmp_path / "image/etc").rename(tmp_path / "image/real-etc")
    (tmp_path / "image/etc").symlink_to("/real-etc")
    assert loader(scan(root)).directories[0] == b"/opt/a"


def test_each_line_is_a_directory(tmp_path: Path) -> None:
    """A directory's name may hold blanks and bytes that are no UTF-8; relative names and hidden files do not count."""
    root = image(tmp_path, a="  /opt/my libs  # a comment\nrelative\nhwcap 0 nosegneg\n\n/opt/x")
    (tmp_path / "etc/ld.so.conf.d/.hidden.conf").write_text("/opt/hidden\n")
    (tmp_path / "etc/ld.so.conf.d/b.conf").write_bytes(b"/opt/latin1-\xe9\n")
    (tmp_path / "etc/ld.so.conf.d/directory.conf").mkdir()
    os.mkfifo(tmp_path / "etc/ld.so.conf.d/fifo.conf")
    directories = loader(scan(root)).directories
    assert directories[:3] == (b"/opt/my libs", b"/opt/x", b"/opt/latin1-\xe9")
    assert b"/opt/hidden" not in directories


def test_files_that_include_each_other_are_read_once(tmp_path: Path) -> None:
    """Twenty files that include all twenty cost twenty reads, not twenty to the power of a depth."""
    root = image(tmp_path, **{f"f{number:02}": f"include *.conf\n/opt/{number:02}\n" for number in range(20)})
    directories = loader(scan(root)).directories
    assert {b"/opt/%02d" % number for number in range(20)} <= set(directories)
    assert len(set(directories)) == len(directories)


def test_an_image_without_configuration_has_the_default_directories(tmp_path: Path) -> None:
    """Where there is no configuration and no cache, the loader's built-in directories remain."""
    found = loader(scan(os.fsencode(os.path.realpath(tmp_path))))
    assert found.cache == {}
    assert {b"/lib", b"/usr/lib", b"/lib64", b"/usr/lib64"} <= set(found.directories)


def test_musl_has_its_own_list(tmp_path: Path) -> None:
    """musl's search path is read too: directories by line break or colon."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld-musl-x86_64.path").write_text("/opt/one:/opt/two\n/opt/three\n")
    found = loader(scan(os.fsencode(os.path.realpath(tmp_path))))
    assert found.directories[:3] == (b"/opt/one", b"/opt/two", b"/opt/three")


CACHE = struct.pack("=20sII4x4x12x", b"glibc-ld.so.cache1.1", 2, 16) + b"".join(
    struct.pack("=iIIIQ", 3, 96, 101, 0, 0) for _ in range(2)
)


@given(st.binary(max_size=120))
@example(b"")
@example(b"a.so\0/lib/a.so\0")
@example(b"\xff" * 48)
def test_any_cache_is_read_or_empty(data: bytes) -> None:
    """No bytes after a cache's header make its reader fail."""
    for each in (data, CACHE + data, CACHE[:48] + data, b"ld.so-1.7.0\0" + data + CACHE):
        assert all(isinstance(path, bytes) for paths in parse_cache(each).values() for path in paths)


def test_a_cache_names_its_libraries() -> None:
    """A library's paths are those of its entries, in their order, wherever in an older cache the newer one begins."""
    whole = CACHE + b"a.so\0/lib/a.so\0"
    assert parse_cache(whole) == {b"a.so": (b"/lib/a.so", b"/lib/a.so")}
    assert parse_cache(b"ld.so-1.7.0\0\0\0\0\0" + whole) == parse_cache(whole)


def test_a_cache_that_says_a_lot_with_little_costs_little() -> None:
    """Entries that share one endless name are damage: no gigabytes are made of a megabyte."""
    entries = 20_000
    head = struct.pack("=20sII4x4x12x", b"glibc-ld.so.cache1.1", entries, 0)
    at = len(head) + entries * 24
    data = head + struct.pack("=iIIIQ", 3, at, at, 0, 0) * entries + b"/" * 1_000_000 + b"\0"
    assert parse_cache(data) == {}
