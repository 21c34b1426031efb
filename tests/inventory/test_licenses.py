"""Licenses by name: what records say, and nothing that is a whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.inventory.licenses import copyright_licenses, copyright_terms, licenses, terms
from slimagent.model.inventory import UNCLEAR

FORMAT = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"


@given(st.lists(st.text(max_size=250), max_size=120))
def test_names_are_kept_once_and_in_order(names: list[str]) -> None:
    """Each is one line; doing it twice changes nothing; a name that was there is still there unless it says nothing."""
    found = licenses(names)
    assert licenses(found) == found
    assert len(set(found)) == len(found) <= 100
    assert all(0 < len(each) <= 200 and each == " ".join(each.split()) for each in found)
    for name in names:
        line = " ".join(name.split())
        if line.lower() not in ("", "unknown", "none", "n/a") and len(line) <= 200 and len(found) < 100:
            assert line in found


def test_a_machine_readable_copyright_file_names_the_licenses_of_its_files() -> None:
    """Those of the package and of its files, sorted, each once. Stand-alone paragraphs are texts of the same names."""
    data = FORMAT + (
        b"License: GPL-2+\n\nFiles: *\nCopyright: 2020 Ann\nLicense: GPL-2+\n\n"
        b"Files: debian/*\nCopyright: 2021 Bob\nLicense: Expat or BSD-3-clause\n On a Debian system \xe2\x80\xa6\n\n"
        b"License: Apache-2.0\n A text that nothing names.\n"
    )
    assert copyright_licenses(data) == ("Expat or BSD-3-clause", "GPL-2+")
    assert copyright_licenses(data.replace(b"\n", b"\r\n")) == ("Expat or BSD-3-clause", "GPL-2+")


def test_a_copyright_file_for_people_names_none() -> None:
    """Even if a line in it looks like a field."""
    assert copyright_licenses(b"This package was debianized by Ann.\n\nFiles: *\nLicense: GPL\n") == ()
    assert copyright_licenses(b"") == ()


def test_what_was_written_before_1_0_is_read_too() -> None:
    """With the address of the draft, and of the field's old name."""
    files = b"\nFiles: *\nLicense: Artistic\n"
    assert copyright_licenses(b"Format-Specification: http://dep.debian.net/deps/dep5/\n" + files) == ("Artistic",)
    assert copyright_licenses(b"Format: http://example.org/other\n" + files) == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    """As a copyright file: no error, whatever follows the first line."""
    assert isinstance(copyright_licenses(FORMAT + data), tuple)


FILES = b"\nFiles: *\nCopyright: Ann\nLicense: %b\n"
DEBIAN = b"\nFiles: debian/*\nCopyright: Bob\nLicense: Expat\n"


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (FILES % b"GPL-2+", ("Expat", "GPL-2+")),
        (b"\nFiles:\n *\nLicense: GPL-2+\n", ("Expat", "GPL-2+")),
        (b"\nFiles: a\n b ./* c\nLicense: GPL-2+\n", ("Expat", "GPL-2+")),
        (b"License: Zlib\n\nFiles: a\nLicense: GPL-2+\n", ("Expat", "GPL-2+", "Zlib")),
        (FILES % b"none", ("Expat", "none")),
        (FILES % b"\n No changes.", ("Expat", UNCLEAR)),
        (FILES % (b"no " * 80), ("Expat", " ".join(["no"] * 80))),
        (FILES % b"GPL-2+\nLicense: Other", ("Expat", "GPL-2+", "Other")),
        (b"\nFiles: *\nCopyright: Ann\nDisclaimer: no changes\n", ("Expat", UNCLEAR)),
        (b"\nFiles: src/*\nLicense: GPL-2+\n", ("Expat", "GPL-2+", UNCLEAR)),
        (b"Disclaimer: not part of Debian\n" + FILES % b"GPL-2+", ("Expat", "GPL-2+", UNCLEAR)),
        (b"", ("Expat", UNCLEAR)),
    ],
)
def test_nothing_that_a_copyright_file_says_is_lost(upstream: bytes, expected: tuple[str, ...]) -> None:
    """Each paragraph of files has a license with a name, and all files are named; all else is not understood."""
    for data in (FORMAT + upstream + DEBIAN, (FORMAT + upstream + DEBIAN).replace(b"\n", b"\r\n")):
        assert copyright_terms(data) == expected
        assert set(copyright_licenses(data)) <= {*expected}
    assert copyright_terms(upstream + DEBIAN) == ()


@given(st.lists(st.one_of(st.none(), st.text(max_size=250)), max_size=90))
def test_all_statements_are_kept(statements: list[str | None]) -> None:
    """In one line each; what is no text is there, too."""
    found = terms(statements)
    assert terms(found) == found
    for each in statements:
        line = UNCLEAR if each is None else " ".join(each.split())
        assert line in found or not line
    assert set(licenses(each for each in statements if each is not None)) <= {*found}
