"""Tar headers, read back by Python's tarfile."""

from __future__ import annotations

import io
import os
import re
import tarfile

from apply_images import ACCESS_LIST
from hypothesis import given
from hypothesis import strategies as st

from slimagent.apply.export import pax

NAMES = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"_").strip(b"/")).filter(bool)
UNDONE = re.compile("%(25|3D)")  # the escapes that GNU tar undoes (xheader.c, xattr_decode_keyword)
TIMES = st.integers(min_value=-(10**18), max_value=2 * 10**19)


def read(data: bytes) -> tarfile.TarInfo:
    """The first member, as tarfile sees it."""
    with tarfile.open(fileobj=io.BytesIO(data + pax.END), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        member = tar.next()
    assert member is not None
    return member


@given(
    NAMES,
    NAMES,
    TIMES,
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.dictionaries(st.text("abc=%.é", min_size=1, max_size=9).map(str.encode), st.binary(max_size=200), max_size=3),
)
def test_what_goes_in_comes_out(
    name: bytes, link: bytes, mtime_ns: int, mode: int, owner: int, attributes: dict[bytes, bytes]
) -> None:
    """Any name, link, time, mode, owner and attribute is read back as it was, in whole blocks."""
    data = pax.header(
        pax.Member(
            name=name,
            kind=pax.SYMBOLIC_LINK,
            mode=mode,
            uid=owner,
            gid=owner,
            mtime_ns=mtime_ns,
            link=link,
            attributes=tuple(attributes.items()),
        )
    )
    assert len(data) % pax.BLOCK == 0
    member = read(data)
    assert os.fsencode(member.name) == name
    assert os.fsencode(member.linkname) == link
    assert (member.mode, member.uid, member.gid) == (mode, owner, owner)
    text = member.pax_headers.get("mtime", str(int(member.mtime)))
    whole, _, fraction = text.lstrip("-").partition(".")
    nanoseconds = int(whole) * 10**9 + int(fraction.ljust(9, "0"))
    assert (-nanoseconds if text.startswith("-") else nanoseconds) == mtime_ns
    found = {
        UNDONE.sub(lambda escape: chr(int(escape[1], 16)), key[len("SCHILY.xattr.") :]).encode(): os.fsencode(value)
        for key, value in member.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    }
    assert found == attributes


@given(st.dictionaries(st.text("ab%253D", min_size=1, max_size=9).map(str.encode), st.binary(max_size=9), max_size=3))
def test_engines_get_the_names_of_attributes_as_they_are(attributes: dict[bytes, bytes]) -> None:
    """F1: Go's archive/tar, as Python's tarfile, undoes no escape, so that a layer has none."""
    member = pax.Member(
        name=b"f", kind=pax.FILE, mode=0, uid=0, gid=0, mtime_ns=0, attributes=tuple(attributes.items())
    )
    found = read(pax.header(member, escape=False)).pax_headers
    assert {f"SCHILY.xattr.{name.decode()}": value for name, value in attributes.items()} == {
        key: os.fsencode(value) for key, value in found.items()
    }


def test_an_access_list_is_written_for_both_kinds_of_readers() -> None:
    """As an attribute and as text with numbers; what is no list has no text."""
    lists = ((b"system.posix_acl_access", ACCESS_LIST), (b"system.posix_acl_default", b"no list"))
    member = pax.Member(name=b"f", kind=pax.FILE, mode=0o660, uid=0, gid=0, mtime_ns=0, attributes=lists)
    headers = read(pax.header(member)).pax_headers
    assert headers["SCHILY.acl.access"] == "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"
    assert os.fsencode(headers["SCHILY.xattr.system.posix_acl_access"]) == ACCESS_LIST
    assert "SCHILY.acl.default" not in headers
    assert headers["SCHILY.xattr.system.posix_acl_default"] == "no list"


@given(st.text("abc/é", min_size=1, max_size=300).map(lambda name: name.strip("/")).filter(bool), st.integers(0, 2**40))
def test_ordinary_members_are_the_bytes_that_tarfile_writes(name: str, size: int) -> None:
    """For UTF-8 names, whole seconds and any size our header is tarfile's, byte for byte."""
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime, info.size = 0o644, 1000, 2_097_152, 1_700_000_000, size
    expected = info.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")
    member = pax.Member(
        name=name.encode(),
        kind=pax.FILE,
        mode=0o644,
        uid=1000,
        gid=2_097_152,
        mtime_ns=1_700_000_000 * 10**9,
        size=size,
    )
    assert pax.header(member) == expected


def test_a_name_that_is_not_utf8_is_announced_as_binary() -> None:
    """The record that says so comes before the name, and only where it is needed."""
    latin = pax.Member(name=b"latin1-\xe9", kind=pax.FILE, mode=0o644, uid=0, gid=0, mtime_ns=0)
    assert b"21 hdrcharset=BINARY\n17 path=latin1-\xe9\n" in pax.header(latin)
    utf8 = pax.Member(name="utf8-é".encode(), kind=pax.FILE, mode=0o644, uid=0, gid=0, mtime_ns=0)
    assert b"hdrcharset" not in pax.header(utf8)


def test_a_short_plain_member_is_one_block() -> None:
    """No extended header is written where ustar has room for everything."""
    plain = pax.Member(name=b"bin/sh", kind=pax.FILE, mode=0o755, uid=0, gid=0, mtime_ns=10**18, size=5)
    assert len(pax.header(plain)) == pax.BLOCK


def test_a_file_of_more_than_eight_gibibytes_has_its_size_in_a_record() -> None:
    """Eleven octal digits end at 8 GiB."""
    large = pax.Member(name=b"large", kind=pax.FILE, mode=0o644, uid=0, gid=0, mtime_ns=0, size=2**33)
    assert read(pax.header(large)).size == 2**33
    assert b"size=8589934592\n" in pax.header(large)


def test_device_numbers_are_those_of_the_device() -> None:
    """Major and minor number are read back, the largest that Linux has too."""
    device = pax.Member(name=b"d", kind=pax.BLOCK_DEVICE, mode=0o600, uid=0, gid=0, mtime_ns=0, device=(4095, 1048575))
    member = read(pax.header(device))
    assert (member.devmajor, member.devminor) == (4095, 1048575)
