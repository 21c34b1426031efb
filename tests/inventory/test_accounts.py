"""The login shells of an image's accounts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import link, write

from slimagent.inventory.accounts import login_shells
from slimagent.inventory.scan import scan


def shells(root: Path, passwd: bytes) -> tuple[bytes, ...]:
    write(root, "/etc/passwd", passwd)
    return login_shells(scan(os.fsencode(root.resolve())))


@pytest.mark.parametrize(
    ("passwd", "expected"),
    [
        (b"root:x:0:0:root:/root:/bin/bash\njo:x:1000:100::/home/jo:/usr/bin/zsh\n", (b"/bin/bash", b"/usr/bin/zsh")),
        (b"a:x:1:1::/:/bin/sh\nb:x:2:2::/:/bin/sh\nc:x:3:3::/:/sbin/nologin", (b"/bin/sh", b"/sbin/nologin")),
        (b"a:x:1:1::/:\n", (b"/bin/sh",)),
        (b"a:x:1:1::/:/bin/ba", (b"/bin/ba",)),
        (b"a:x:1:1::/\nnonsense\n\n:::::::::\na:x:1:1::/:relative\n", ()),
        (b"a:x:1:1:\xe9:/:/bin/\xe9\nb:x:1:1::/:/bin/\0sh\n", (b"/bin/\xe9",)),
        (b"a:x:1:1::/:/bin/bash\r\n", (b"/bin/bash",)),
        (b"", ()),
    ],
)
def test_the_shells_of_passwd(tmp_path: Path, passwd: bytes, expected: tuple[bytes, ...]) -> None:
    """Each one once, in order; an empty field is /bin/sh (passwd(5)); what is no account is passed over."""
    assert shells(tmp_path, passwd) == expected


def test_the_system_s_own_accounts(tmp_path: Path) -> None:
    """What Python's pwd reads from the same text."""
    import pwd

    text = "".join(":".join(map(str, each)) + "\n" for each in pwd.getpwall())
    expected = dict.fromkeys(each.pw_shell or "/bin/sh" for each in pwd.getpwall())
    assert shells(tmp_path, text.encode()) == tuple(each.encode() for each in expected)


def test_without_accounts_there_are_no_shells(tmp_path: Path) -> None:
    """No file, a link out of the image, a directory in its place."""
    (tmp_path / "a").mkdir()
    assert login_shells(scan(os.fsencode(tmp_path / "a"))) == ()
    link(tmp_path, "/b/etc/passwd", "../../../../../../../../../etc/passwd")
    assert login_shells(scan(os.fsencode(tmp_path / "b"))) == ()
    (tmp_path / "c/etc/passwd").mkdir(parents=True)
    assert login_shells(scan(os.fsencode(tmp_path / "c"))) == ()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b":", b"::::::", b"/bin/x", b"\n", b"\0", b"\xff", b" "]), max_size=30).map(
        b"".join
    )
)
def test_any_bytes_are_read(passwd: bytes) -> None:
    """Whatever it holds, the answer is absolute paths, each once."""
    with tempfile.TemporaryDirectory() as directory:
        found = shells(Path(directory), passwd)
    assert all(each.startswith(b"/") and b"\0" not in each for each in found)
    assert len(set(found)) == len(found)
