"""Rights by owner, group, mode and access control list: our answer is the kernel's, and our words are getfacl's."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checks_context import IS_ROOT, NOBODY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from permissions_helpers import as_user, lacking, required

from slimagent.checks.permissions import file_capabilities
from slimagent.checks.permissions.walk import attributes_of
from slimagent.checks.permissions.writable import obstacle
from slimagent.linux import posix_acl
from slimagent.linux.posix_acl import READ, SEARCH, WRITE, Attributes, Identity, permits
from slimagent.model.user import User

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away and become another user")
_NOT = 0xFFFFFFFF  # ACL_UNDEFINED_ID
_NUMBERS = st.sampled_from([1, 2, 3])  # few, so that they meet
_BITS = st.integers(0, 7)


def encoded(entries: list[tuple[int, int, int]]) -> bytes:
    """A list as the kernel takes it: entries of tag, bits and number, in its order."""
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *each) for each in sorted(entries, key=lambda each: (each[0], each[2]))
    )


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    """An access control list with some users and groups named, or b""."""
    users = draw(st.dictionaries(_NUMBERS, _BITS, max_size=3))
    groups = draw(st.dictionaries(_NUMBERS, _BITS, max_size=3))
    if not users and not groups:
        return b""
    owners = [(0x01, draw(_BITS), _NOT), (0x04, draw(_BITS), _NOT), (0x20, draw(_BITS), _NOT)]
    named = [(0x02, bits, number) for number, bits in users.items()]
    named += [(0x08, bits, number) for number, bits in groups.items()]
    return encoded([*owners, *named, (0x10, draw(_BITS), _NOT)])


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    """A folder that everybody may search, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_root
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cases=st.lists(st.tuples(st.integers(0, 0o777), _NUMBERS, _NUMBERS, lists()), min_size=30, max_size=60),
    uid=_NUMBERS,
    gid=_NUMBERS,
    groups=st.sets(_NUMBERS),
)
def test_what_is_permitted_is_what_the_kernel_permits(
    reachable: Path, cases: list[tuple[int, int, int, bytes]], uid: int, gid: int, groups: set[int]
) -> None:
    """For any owner, group, mode and list, and any user: what a child that became him may do is what we say he may."""
    user = User(name="x", uid=uid, gid=gid, groups=tuple(groups), home="/")
    who = Identity(uid, frozenset((gid, *groups)))
    place = reachable / "law"
    place.mkdir(mode=0o755)
    folders = [os.fsencode(place / str(number)) for number in range(len(cases))]
    try:
        for folder, (mode, owner, group, listed) in zip(folders, cases, strict=True):
            os.mkdir(folder)
            os.chown(folder, owner, group)
            os.chmod(folder, mode)
            if listed:
                set_list(folder, listed)
        wanted = [READ, WRITE, SEARCH, WRITE | SEARCH, READ | WRITE | SEARCH]
        kernel = as_user(user, lambda: [[os.access(folder, each) for each in wanted] for folder in folders])
        every = [attributes_of(folder) for folder in folders]
        assert [[permits(each, who, bits) for bits in wanted] for each in every] == kernel
        assert [not obstacle(folder, who) for folder in folders] == [each[3] for each in kernel]
    finally:
        shutil.rmtree(place)


def set_list(path: bytes, listed: bytes) -> None:
    """Give a file a list; skips the test where the file system has none."""
    try:
        os.setxattr(path, "system.posix_acl_access", listed)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        lacking("this file system has no access control lists")


@given(listed=lists().filter(bool))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lists_are_shown_as_getfacl_shows_them(reachable: Path, listed: bytes) -> None:
    """The words of a list are those of `getfacl --numeric`, entry by entry."""
    getfacl = required("getfacl", "acl")
    path = reachable / "shown"
    path.write_bytes(b"")
    with contextlib.ExitStack() as stack:
        stack.callback(path.unlink)
        set_list(os.fsencode(path), listed)
        command = [getfacl, "--numeric", "--omit-header", "--no-effective", str(path)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert posix_acl.text(attributes_of(os.fsencode(path)).access).split(",") == said.split()


@needs_root
@pytest.mark.parametrize(
    "capabilities",
    ["cap_net_raw=ep", "cap_chown,cap_setuid=p", "cap_checkpoint_restore=eip", "cap_kill=ei cap_net_raw=eip", "="],
)
def test_capabilities_are_shown_as_getcap_shows_them(tmp_path: Path, capabilities: str) -> None:
    """The words are those of `getcap`, but for its order and its plus sign for several groups."""
    setcap, getcap = required("setcap", "libcap2-bin"), required("getcap", "libcap2-bin")
    program = tmp_path / "program"
    program.write_bytes(b"")
    subprocess.run([setcap, capabilities, str(program)], check=True)
    said = subprocess.run([getcap, str(program)], check=True, capture_output=True, text=True).stdout.split(" ", 1)[1]
    shown = file_capabilities.text(attributes_of(os.fsencode(program)).capability)
    assert sorted(shown.split()) == sorted(capabilities.split())
    assert sorted(said.replace("+", "=").split()) == sorted(shown.split())


def test_a_capability_of_a_user_name_space_names_its_root() -> None:
    """The third layout has the number of the user who is root where it holds."""
    data = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 1000)
    assert file_capabilities.text(data) == "cap_net_raw=ep [user 1000]"
    assert file_capabilities.text(b"") == "none"


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: struct.pack("<I", 2) + rest))
def test_any_bytes_are_shown(data: bytes) -> None:
    """What is no list and no set of capabilities is shown all the same, and is no list."""
    assert posix_acl.text(data).isprintable()
    assert file_capabilities.text(data).isprintable()
    with contextlib.suppress(ValueError):
        assert all(entry.bits <= 7 for entry in posix_acl.parse(data))


def test_an_obstacle_is_named_by_the_folder_that_it_is(tmp_path: Path) -> None:
    """What is not there, what is no folder, a loop of links, and whom nothing stops."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    here = os.fsencode(tmp_path)
    root, other = Identity(0, frozenset({0})), Identity(NOBODY.uid, frozenset({NOBODY.gid}))
    assert obstacle(here, root) == ""
    assert obstacle(b"/", root) == ""
    assert obstacle(here + b"/none/x", root) == "no such directory"
    assert obstacle(here + b"/file", root) == "it is not a directory"
    assert obstacle(here + b"/file/x", root) == "no such directory"
    assert obstacle(here + b"/loop", root).startswith("it cannot be read: Too many levels")
    assert obstacle(here + b"/a\0b", root).startswith("it cannot be read: ")
    tmp_path.chmod(0o700)
    assert "has mode 0700" in obstacle(here, other)


def test_the_order_of_a_lists_entries_does_not_count() -> None:
    """The kernel takes several users in any order, and two lists that grant the same are the same."""
    ends = [(0x01, 7, _NOT), (0x04, 5, _NOT), (0x10, 7, _NOT), (0x20, 0, _NOT)]
    named = [(0x02, 6, 9), (0x02, 4, 8)]
    packed = [
        struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in (ends[0], *order, *ends[1:]))
        for order in (named, named[::-1])
    ]
    assert packed[0] != packed[1]
    assert posix_acl.meaning(packed[0]) == posix_acl.meaning(packed[1]) != posix_acl.meaning(encoded(ends))
    assert (posix_acl.meaning(b""), posix_acl.meaning(b"x")) == (b"", b"x")


def test_a_description_says_what_decides() -> None:
    """Mode, owner, group and the list."""
    listed = encoded([(0x01, 7, _NOT), (0x04, 5, _NOT), (0x20, 0, _NOT), (0x02, 6, 9), (0x10, 7, _NOT)])
    found = posix_acl.describe(Attributes(0o42775, 1, 2, b"", listed))
    assert found == "mode 2775, owner 1, group 2, ACL user::rwx,user:9:rw-,group::r-x,mask::rwx,other::---"
