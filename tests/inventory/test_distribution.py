"""The image's distribution, from the os-release of real ones and of none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_images import link, write

from slimagent.inventory.distribution import distribution
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Distribution

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""


def found(root: Path) -> Distribution:
    return distribution(scan(os.fsencode(root)))


def test_debian_is_known(tmp_path: Path) -> None:
    """/etc/os-release is a link to /usr/lib/os-release."""
    write(tmp_path, "/usr/lib/os-release", DEBIAN)
    link(tmp_path, "/etc/os-release", "../usr/lib/os-release")
    assert found(tmp_path) == Distribution(id="debian", version="12", codename="bookworm")


def test_the_file_in_etc_counts_first(tmp_path: Path) -> None:
    """And the other one only where there is none."""
    write(tmp_path, "/usr/lib/os-release", DEBIAN)
    assert found(tmp_path).id == "debian"
    write(tmp_path, "/etc/os-release", "ID='alpine'\nVERSION_ID=3.20.1\n")
    assert found(tmp_path) == Distribution(id="alpine", version="3.20.1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("ID=Ubuntu\n", "ubuntu"),
        ("#ID=debian\n", ""),
        ("ID=one\nID=two\n", "two"),
        ("ID='unclosed\n", ""),
        ("ID=two words\n", ""),
        ('ID="a/b"\n', ""),
        ("ID=" + "x" * 101, ""),
        ("ID=\x1b[31m\n", ""),
    ],
)
def test_what_is_no_word_is_not_taken(tmp_path: Path, text: str, expected: str) -> None:
    """The image chooses the text, and it goes into package URLs."""
    write(tmp_path, "/etc/os-release", text)
    assert found(tmp_path).id == expected


def test_an_image_without_one_has_none(tmp_path: Path) -> None:
    """Nor has one in which it is a directory, or a file of many megabytes."""
    assert found(tmp_path) == Distribution()
    (tmp_path / "etc/os-release").mkdir(parents=True)
    assert found(tmp_path) == Distribution()
    write(tmp_path, "/usr/lib/os-release", "ID=debian\n" + "#" * 70_000)
    assert found(tmp_path) == Distribution()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read(tmp_path: Path, data: bytes) -> None:
    """No error, and nothing but short words."""
    write(tmp_path, "/etc/os-release", b"ID=" + data)
    assert all(len(each) <= 100 and " " not in each for each in (found(tmp_path).id, found(tmp_path).version))
