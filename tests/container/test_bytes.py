"""What a slim image keeps has the image's bytes, owners, modes, times and attributes, whatever the smoke test did."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.container.conftest import LARGE
from tests.container.slimming import Derive, bytes_of, contents, differences, slim, started

pytestmark = pytest.mark.usefixtures("nothing_left")

OLD = 1_000_000_000  # a time of modification
MADE = "token-of-the-test"
# cap_net_raw=ep: struct vfs_cap_data, version 2 (linux/capability.h); whoever writes to a file takes it away
CAPABILITY = "SCHILY.xattr.security.capability"
NET_RAW = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
# Each of these is read first: all of them stay.
SMOKE = f"""
cat /srv/* /var/app/* /data/seed /opt/directory/inner > /dev/null
cd /opt
cat odd capable one other link unchanged > /dev/null
ls /opt/directory /var/app > /dev/null
busybox=/bin/busybox
echo more >> /srv/needed
$busybox truncate -s 5 /srv/later
$busybox rm /srv/unneeded
$busybox chmod 777 /opt/odd
$busybox chown 5:5 /opt/odd
$busybox touch /opt/odd
echo more >> /opt/capable
$busybox mv /opt/one /opt/moved
$busybox rm /opt/link
echo {MADE} > /opt/link
$busybox touch /opt/unchanged
$busybox chmod 777 /opt/directory
$busybox rm /opt/directory/inner
echo {MADE} > /srv/token
$busybox mkdir /srv/made
echo {MADE} > /srv/made/token
echo {MADE} >> /data/seed
echo {MADE} > /data/token
"""
START = """
cd /var/app
if test -e config.default; then
  /bin/busybox mv config.default config
  /bin/busybox rm seed
fi
echo first=$?
cat config
"""


def archive() -> bytes:
    """Files with owners, modes and times of their own, a second name of one, a link, a file capability."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, content: bytes = b"", **others: object) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), OLD, 0o644
            for key, value in others.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))

        add("opt/directory", type=tarfile.DIRTYPE, mode=0o1750, uid=7)
        add("opt/directory/inner", LARGE)
        add("opt/odd", LARGE, mode=0o6711, uid=1000, gid=1000)
        add("opt/capable", LARGE, mode=0o755, pax_headers={CAPABILITY: NET_RAW})
        add("opt/one", LARGE, mode=0o640, gid=1000)
        add("opt/other", type=tarfile.LNKTYPE, linkname="opt/one", mode=0o640, gid=1000)
        add("opt/link", type=tarfile.SYMTYPE, linkname="odd", mode=0o777)
        add("opt/unchanged", LARGE)
        add("var/app", type=tarfile.DIRTYPE, mode=0o755, uid=1000)
        add("var/app/config.default", b"settings\n", mode=0o600, uid=1000)
        add("var/app/seed", LARGE)
        add("var/app/start", START.encode(), mode=0o755)
    return data.getvalue()


@pytest.fixture(scope="module")
def image(derive: Derive) -> str:
    """An image whose start script makes its configuration of a default, and removes what it needs only once."""
    lines = 'USER root\nADD more.tar /\nCOPY smoke /smoke\nENTRYPOINT ["/bin/sh", "/var/app/start"]\nCMD []'
    return derive(lines, {"more.tar": archive(), "smoke": SMOKE})


def test_what_a_test_changes_moves_and_removes_is_as_in_the_image(image: str, tag: str, tmp_path: Path) -> None:
    """Content, owner, mode, time and attributes of each kept path; and nothing that the test made, in no layer."""
    ended = slim(image, tag, tmp_path / "out", "--no-start", "--", "/bin/sh", "-e", "/smoke")
    assert ended.returncode == 0, ended.stderr
    full, made = contents(image), contents(tag)
    kept = {"srv/needed", "srv/later", "opt/odd", "opt/capable", "opt/one", "opt/other", "opt/link", "opt/unchanged"}
    assert kept | {"opt/directory/inner", "srv/unneeded", "var/app/config.default", "var/app/seed"} <= made.keys()
    assert full["opt/capable"].attributes and full["opt/odd"].modified == OLD  # the comparison compares something
    assert differences(full, made) == []
    assert MADE not in bytes_of(tag).replace(SMOKE.encode(), b"").decode("latin-1")


def test_a_start_script_that_moves_a_default_away_can_start_again(image: str, tag: str, tmp_path: Path) -> None:
    """The start is watched, in which it moves and removes; the slim image has what the first start of all needs."""
    ended = slim(image, tag, tmp_path / "out", "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    for _ in range(2):
        assert started(tag).stdout == "first=0\nsettings\n"
    full, made = contents(image), contents(tag)
    assert {"var/app/config.default", "var/app/seed"} <= made.keys()
    assert not {"srv/later", "srv/unneeded", "opt/odd"} & made.keys()
    assert differences(full, made) == []
