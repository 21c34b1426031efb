"""The tar export as a real container engine takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from apply_images import IS_ROOT, LONG, ODD_NAMES, exported, fill, plan_for

from slimagent.apply import Tar, export
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif("SLIMAGENT_TEST_IMAGE" not in os.environ, reason="SLIMAGENT_TEST_IMAGE names no image"),
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command"),
    pytest.mark.skipif(not IS_ROOT, reason="owners, devices and capabilities need root"),
]


def docker(*arguments: str | bytes, **options: object) -> bytes:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, timeout=300, **options)  # type: ignore[call-overload]
    return done.stdout  # type: ignore[no-any-return]


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    directory = tmp_path.resolve() / "root"
    directory.mkdir()
    fill(os.fsencode(directory))
    return os.fsencode(directory)


@pytest.fixture
def image(root: bytes, tmp_path: Path) -> Iterator[tuple[str, Inventory]]:
    """An image imported from the export of every corner, and the inventory of what went in."""
    inventory, tar = scan(root), os.fsencode(tmp_path / "rootfs.tar")
    export(plan_for(inventory), "digest", inventory, Tar(tar))
    name = docker("import", tar).decode().strip()
    yield name, inventory
    docker("rmi", "--force", name)


def test_an_imported_export_has_everything(image: tuple[str, Inventory], root: bytes) -> None:
    """Every path is there with its mode, owner, size, link, device and capability; its time to the second."""
    name, inventory = image
    members = exported(name)
    for at, path in enumerate(inventory):
        if path == b"/":
            continue
        member, status = members[path[1:]], os.lstat(root + path)
        assert (member.mode & 0o7777, member.uid, member.gid) == (
            inventory.modes[at] & 0o7777,
            status.st_uid,
            status.st_gid,
        ), path
        if 0 <= status.st_mtime_ns < 2**32 * 10**9:  # what the engine's own file systems and formats can hold
            assert int(member.mtime) == status.st_mtime_ns // 10**9, path
        if at in inventory.targets:
            assert os.fsencode(member.linkname) == inventory.targets[at]
    assert all(b"odd/" + odd in members for odd in ODD_NAMES)
    assert members[LONG + b"/file"].isreg()
    assert members[b"bin/b"].islnk()
    assert members[b"fifo"].isfifo()
    assert (members[b"disk"].devmajor, members[b"disk"].devminor) == (259, 70000)
    capability = os.getxattr(root + b"/bin/ping", "security.capability")
    files = [members[b"bin/ping"], members[b"bin/ping-too"]]
    kept = [file.pax_headers.get("SCHILY.xattr.security.capability") for file in files if file.isreg()]
    assert [os.fsencode(value or "") for value in kept] == [capability]


def test_the_image_runs_from_its_export(tmp_path: Path) -> None:
    """A real image, exported by us and imported again, runs its own programs; its corners are as before."""
    original = os.environ["SLIMAGENT_TEST_IMAGE"]
    root, tar = tmp_path.resolve() / "root", os.fsencode(tmp_path / "rootfs.tar")
    root.mkdir()
    container = docker("create", "--network=none", original, "/none").decode().strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as exported:
            command = ["tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", str(root)]
            subprocess.run(command, stdin=exported.stdout, check=True)
    finally:
        docker("rm", container)
    inventory = scan(os.fsencode(root))
    export(plan_for(inventory), "digest", inventory, Tar(tar))
    shutil.rmtree(root)
    name = docker("import", tar).decode().strip()
    look = "cd /opt/corners; find . -printf '%y %m %U %G %n %l %p\\n' | LC_ALL=C sort; getcap -r /usr/bin"
    try:
        before, after = (
            docker("run", "--rm", "--network=none", "--user=0", "--entrypoint=/bin/sh", each, "-c", look)
            for each in (original, name)
        )
    finally:
        docker("rmi", "--force", name)
    assert before == after
    assert b"latin1-\xe9" in after
