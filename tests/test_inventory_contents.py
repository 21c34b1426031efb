"""What a file's first bytes say, and where the loader looks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from slimagent.inventory.contents import Contents, script_needs
from slimagent.inventory.loader import loader, parse_cache
from slimagent.inventory.scan import scan
from slimagent.model import Needs


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
    ],
)
def test_a_script_names_its_interpreter(line: bytes, interpreter: bytes, via_env: bytes) -> None:
    """The program of a `#!` line, and what env(1) would look up."""
    assert script_needs(line) == Needs(interpreter=interpreter, via_env=via_env)


@pytest.mark.parametrize("line", [b"#!\n", b"#!   \n", b"#!relative\n"])
def test_a_line_that_names_no_program_needs_nothing(line: bytes) -> None:
    """An empty or relative interpreter is none that closure could find."""
    assert script_needs(line) is None


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
        pytest.skip("there is no glibc cache here")
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
    """A damaged cache says less or nothing; the loader's folders are searched all the same."""
    if not os.path.exists("/etc/ld.so.cache"):
        pytest.skip("there is no glibc cache here")
    assert isinstance(parse_cache(Path("/etc/ld.so.cache").read_bytes()[:length]), dict)


def test_configuration_names_folders_and_includes_more(tmp_path: Path) -> None:
    """ld.so.conf: folders, comments, includes by pattern, relative to the file, and no circle without end."""
    conf = tmp_path / "etc" / "ld.so.conf.d"
    conf.mkdir(parents=True)
    (tmp_path / "etc/ld.so.conf").write_text(
        "# ours\n/opt/first\ninclude ld.so.conf.d/*.conf\ninclude /etc/ld.so.conf\n"
    )
    (conf / "a.conf").write_text("/opt/a # why\n")
    (conf / "b.conf").write_text("/opt/b\n")
    (conf / "c.other").write_text("/opt/c\n")
    folders = loader(scan(os.fsencode(tmp_path))).folders
    assert folders[:3] == (b"/opt/first", b"/opt/a", b"/opt/b")
    assert b"/opt/c" not in folders
    assert b"/usr/lib" in folders
