"""A container is made to differ in chosen paths: those, and nothing of the others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from apply_images import CAPABILITY, IS_ROOT, ODD_NAMES, write

from slimagent import apply, documents
from slimagent.errors import DocumentError
from slimagent.model.search import Difference, Form

OLD = 1_000_000_000_123_456_789
Seen = dict[bytes, tuple[object, ...]]


def seen(root: bytes) -> Seen:
    """Everything below a root, with kind, mode, owner, time and bytes."""
    found: Seen = {}
    for base, directories, names in os.walk(root):
        for path in (base, *(os.path.join(base, each) for each in (*names, *directories))):
            status = os.lstat(path)
            data: object = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
            if stat.S_ISREG(status.st_mode):
                data = Path(os.fsdecode(path)).read_bytes()
            found[path[len(root) :] or b"/"] = status.st_mode, status.st_uid, status.st_mtime_ns, data
    return found


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    """Files, links, directories and odd names, all of an old time."""
    root = os.fsencode(tmp_path / "root")
    for name in ODD_NAMES:
        write(root, b"/odd/" + name, name)
    for path in (b"/a/b/c/file", b"/a/b/other", b"/x/one", b"/x/two", b"/stays"):
        write(root, path)
    os.symlink(b"b", root + b"/a/link")
    os.makedirs(root + b"/x/empty")
    write(tmp_path.as_posix().encode() + b"/blobs", b"/7", b"slim bytes")
    for base, directories, names in os.walk(root, topdown=False):
        for name in (*names, *directories):
            os.utime(os.path.join(base, name), ns=(OLD, OLD), follow_symlinks=False)
    os.utime(root, ns=(OLD, OLD))
    return root


def differ(root: bytes, *differences: Difference, beyond: tuple[bytes, ...] = ()) -> int:
    return apply.make_differ(root, differences, os.fsdecode(os.path.dirname(root) + b"/blobs"), beyond)


def gone(*paths: bytes) -> list[Difference]:
    return [Difference(path, Form.NOTHING) for path in paths]


def test_what_is_removed_is_gone_and_the_rest_as_before(root: bytes) -> None:
    """Files, links, odd names and whole directories; times of the directories that held them do not change."""
    before = seen(root)
    odd = [b"/odd/" + name for name in ODD_NAMES[:3]]
    paths = [b"/a/b/c", b"/a/b/c/file", b"/a/link", b"/x/empty", b"/x/one", *odd]
    assert differ(root, *gone(*paths)) == len(paths)
    assert seen(root) == {path: what for path, what in before.items() if path not in paths}


def test_a_directory_with_something_in_it_stays(root: bytes) -> None:
    """Also if it was chosen: a directory goes with the last thing that it holds."""
    before = seen(root)
    assert differ(root, *gone(b"/a/b", b"/a/b/c", b"/a/b/other")) == 1
    assert seen(root) == {path: what for path, what in before.items() if path != b"/a/b/other"}


def test_a_changed_file_has_other_bytes_and_nothing_else(root: bytes) -> None:
    """All its names, its mode, owner and time are as before."""
    os.link(root + b"/x/one", root + b"/x/name")
    os.utime(root + b"/x", ns=(OLD, OLD))
    os.chmod(root + b"/x/one", 0o4711)
    before = seen(root)
    assert differ(root, Difference(b"/x/one", Form.BYTES, "7")) == 1
    changed = {path: (*before[path][:3], b"slim bytes") for path in (b"/x/one", b"/x/name")}
    assert seen(root) == before | changed


@pytest.mark.skipif(not IS_ROOT, reason="capabilities need root")
def test_a_changed_file_keeps_its_capabilities(root: bytes) -> None:
    """The kernel takes them from a file that is written to."""
    os.setxattr(root + b"/x/one", "security.capability", CAPABILITY)
    assert differ(root, Difference(b"/x/one", Form.BYTES, "7")) == 1
    assert os.getxattr(root + b"/x/one", "security.capability") == CAPABILITY


def test_what_is_new_is_made_and_what_leads_elsewhere_leads_there(root: bytes) -> None:
    """A file, a directory, a link in the place of another link, and a file in that of a link."""
    os.symlink(b"nowhere", root + b"/x/becomes-file")
    os.utime(root + b"/x", ns=(OLD, OLD))
    before = seen(root)
    me = os.geteuid()
    common = {"uid": me, "gid": os.getegid(), "mtime_ns": OLD + 1}
    made = [
        Difference(b"/new", Form.DIRECTORY, mode=0o750, **common),
        Difference(b"/new/file", Form.FILE, "7", mode=0o640, **common),
        Difference(b"/a/link", Form.LINK, target=b"b/c", **common),
        Difference(b"/x/becomes-file", Form.FILE, "7", mode=0o600, **common),
    ]
    assert differ(root, *made) == 4
    after = seen(root)
    assert after[b"/new/file"] == (stat.S_IFREG | 0o640, me, OLD + 1, b"slim bytes")
    assert after[b"/x/becomes-file"] == (stat.S_IFREG | 0o600, me, OLD + 1, b"slim bytes")
    assert after[b"/a/link"][2:] == (OLD + 1, b"b/c")
    assert after[b"/new"][:3] == (stat.S_IFDIR | 0o750, me, OLD + 1)
    rest = {path for path in after if path not in {each.path for each in made}}
    assert {path: after[path] for path in rest} == {path: before[path] for path in rest}


def test_no_link_is_followed_and_no_mount_is_entered(root: bytes, tmp_path: Path) -> None:
    """A directory that became a link, a path below a mount point, and what is not there."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("mine")
    os.symlink(os.fsencode(tmp_path / "outside"), root + b"/out")
    os.utime(root, ns=(OLD, OLD))
    before = seen(root)
    wanted = [*gone(b"/out/file", b"/x/one", b"/nothing/here"), Difference(b"/out/file", Form.BYTES, "7")]
    differ(root, *wanted, beyond=(b"/x",))
    assert seen(root) == before
    assert (tmp_path / "outside/file").read_text() == "mine"


def test_a_file_that_replaced_a_directory_does_no_harm(root: bytes) -> None:
    """It is not the file that was chosen."""
    assert differ(root, Difference(b"/x", Form.BYTES, "7"), Difference(b"/x", Form.FILE, "7")) == 0
    assert os.path.isdir(root + b"/x")


def test_the_list_comes_back_as_it_was() -> None:
    """Any name, and any target."""
    found = (
        Difference(b"/odd/\xff\n", Form.NOTHING),
        Difference(b"/a", Form.BYTES, "12"),
        Difference(b"/l", Form.LINK, target=b"x/\xe9", mode=0o777, uid=1, gid=2, mtime_ns=-5),
    )
    assert documents.decode_differences(documents.encode_differences(found)) == found


@pytest.mark.parametrize(
    "row",
    [
        '["/a", "nothing", "../x", "", 0, 0, 0, 0]',
        '["/a/../b", "nothing", "", "", 0, 0, 0, 0]',
        '["a", "nothing", "", "", 0, 0, 0, 0]',
        '["/", "nothing", "", "", 0, 0, 0, 0]',
        '["/a", "other", "", "", 0, 0, 0, 0]',
        '["/a", "nothing", "", "", -1, 0, 0, 0]',
        '["/a"]',
        "{",
    ],
)
def test_a_list_that_nobody_of_us_wrote_is_refused(row: str) -> None:
    """A name that leads elsewhere, an unknown form, half a row."""
    with pytest.raises(DocumentError):
        documents.decode_differences(row.encode())
