"""`slimagent restore`: what comes back is what was there, as containers of both images see it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from apply_images import ACCESS_LIST, CAPABILITY, IS_ROOT, ODD_NAMES, plan_for, write
from layout_images import export as export_layout

from slimagent import apply, documents
from slimagent.image.agent import bundle, python
from slimagent.image.labels import with_labels
from slimagent.inventory.scan import scan
from slimagent.linux.files import digest
from slimagent.model.image_config import read_image_config
from slimagent.workflows.removals import Removals
from tests.container import slimming
from tests.container.conftest import lacking

pytestmark = [pytest.mark.container, pytest.mark.skipif(not IS_ROOT, reason="owners and devices need root")]

OLD = 1_000_000_000_123_456_789  # nanoseconds
LOOK = """
import hashlib, json, os, stat, sys
found, files = {}, {}
for base, directories, names in os.walk(b"/srv"):
    for path in (base, *(base + b"/" + name for name in (*names, *directories))):
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        data = b""
        if kind == stat.S_IFREG:
            with open(path, "rb") as file:
                data = file.read()
        attributes = {} if kind == stat.S_IFLNK else {
            name: os.getxattr(path, name, follow_symlinks=False).hex()
            for name in os.listxattr(path, follow_symlinks=False)
            if not name.startswith("trusted.")
        }
        first = files.setdefault((status.st_dev, status.st_ino), path) if kind == stat.S_IFREG else path
        found[path.hex()] = [
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, hashlib.sha256(data).hexdigest(),
            os.readlink(path).hex() if kind == stat.S_IFLNK else "", attributes, first.hex(), status.st_rdev,
        ]
print(json.dumps(found, sort_keys=True))
"""
GONE = b"/srv/gone"


@dataclass(frozen=True)
class Slimmed:
    """An image, a slim one that lacks `/srv/gone` and some files of `/srv/part`, and the list of what went."""

    full: str
    slim: str
    listed: Path

    def restore(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "slimagent", "restore", *words]
        command += ["--from", self.full, "--agent", str(slimming.BUNDLE), "--removed", str(self.listed)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def fill(root: bytes) -> None:
    """Everything that a path can have: below a directory that goes, and below one that stays."""
    for home in (GONE, b"/srv/part"):
        write(root, home + b"/plain", os.urandom(100_000), mode=0o640)
        write(root, home + b"/setuid", b"#!/x", mode=0o644)
        write(root, home + b"/capable", b"program", mode=0o755)
        write(root, home + b"/listed", mode=0o660)
        write(root, home + b"/deep/er/file", b"deep", mode=0o400)
        for name in ODD_NAMES:
            write(root, home + b"/" + name, name)
        os.link(root + home + b"/plain", root + home + b"/deep/other-name")
        os.symlink(b"deep/er/file", root + home + b"/link")
        os.mkfifo(root + home + b"/fifo", 0o600)
        os.mknod(root + home + b"/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.makedirs(root + home + b"/empty")
        for path, owner in ((b"/plain", 1234), (b"/deep", 33), (b"/setuid", 7), (b"/link", 99)):
            os.chown(root + home + path, owner, owner + 1, follow_symlinks=False)
        os.chmod(root + home + b"/setuid", 0o6755)
        os.chmod(root + home + b"/deep", 0o2750)
        os.setxattr(root + home + b"/plain", "user.note", b"\x00\xff")
        os.setxattr(root + home + b"/capable", "security.capability", CAPABILITY)
        os.setxattr(root + home + b"/listed", "system.posix_acl_access", ACCESS_LIST)
        os.setxattr(root + home + b"/empty", "system.posix_acl_default", ACCESS_LIST)
    for base, directories, names in os.walk(root, topdown=False):
        for name in (*names, *directories):
            os.utime(os.path.join(base, name), ns=(OLD, OLD + len(name)), follow_symlinks=False)


def load(layout: Path) -> None:
    with subprocess.Popen(["tar", "-C", layout, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "load"], stdin=tar.stdout, check=True, capture_output=True)


@pytest.fixture
def slimmed(tag: str, tmp_path: Path) -> Iterator[Slimmed]:
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        lacking("there is no Docker engine")
    if not (slimming.BUNDLE / "bundle.json").exists():
        lacking("there is no build/bundle; run `make bundle`")
    root, full = os.fsencode(tmp_path.resolve() / "root"), f"{tag}-full"
    os.makedirs(root)
    fill(root)
    export_layout(root, tmp_path / "full", tag=full)
    load(tmp_path / "full")
    described = with_labels(slimming.docker("image", "inspect", full).encode(), full, "0")
    image, inventory = read_image_config(described), scan(root)
    part = (b"/plain", b"/deep/other-name", b"/capable", b"/link", b"/deep/er/file", b"/deep/er", b"/fifo")
    drop = {path for path in inventory.paths if path.startswith(GONE)} | {b"/srv/part" + each for each in part}
    plan = plan_for(inventory, drop)
    plan_digest, listed = digest(documents.encode_plan(plan)), tmp_path / "removed.jsonl.gz"
    apply.export(
        plan,
        plan_digest,
        inventory,
        apply.Layout(path=os.fsencode(tmp_path / "slim"), tag=tag, config=image),
        leave=Removals(path=str(listed), image=image).leave(plan, plan_digest),
    )
    load(tmp_path / "slim")
    yield Slimmed(full=full, slim=tag, listed=listed)
    slimming.remove(full)


def seen(image: str) -> dict[str, list[object]]:
    """Everything below /srv, as a container of an image without any program has it."""
    made = bundle(str(slimming.BUNDLE))
    entry, *words = python("/agent", made.loader)
    options = ("--rm", "--network=none", "-v", f"{made.directory}:/agent:ro", "--entrypoint", entry)
    found: dict[str, list[object]] = json.loads(slimming.docker("run", *options, image, *words, "-c", LOOK))
    return found


def test_a_layer_brings_everything_back_as_it_was(slimmed: Slimmed) -> None:
    """Bytes, owners, modes, times, attributes, access lists, hard links, links, special files, and the directories."""
    before, slim = seen(slimmed.full), seen(slimmed.slim)
    assert {path for path in before if path not in slim} >= {GONE.hex(), (GONE + b"/plain").hex()}
    ended = slimmed.restore("/srv/gone", "/srv/part", "--image", slimmed.slim, "-t", slimmed.slim)
    assert ended.returncode == 0, ended.stderr
    assert seen(slimmed.slim) == before
    history = slimming.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", slimmed.slim).splitlines()
    assert " restore: " in history[0]
    assert " apply: layer " in history[1]
    again = slimmed.restore("/srv/part/capable", "--image", slimmed.slim, "-t", slimmed.slim)
    assert again.returncode == 0, again.stderr
    assert seen(slimmed.slim) == before


def test_what_a_path_needs_comes_with_it(slimmed: Slimmed) -> None:
    """All names of a file, and what a link leads to; nothing else."""
    before, slim = seen(slimmed.full), seen(slimmed.slim)
    ended = slimmed.restore("/srv/part/deep/other-name", "/srv/part/link", "--image", slimmed.slim, "-t", slimmed.slim)
    assert ended.returncode == 0, ended.stderr
    part = [b"/srv/part" + each for each in (b"/plain", b"/deep/other-name", b"/link", b"/deep/er/file", b"/deep/er")]
    assert seen(slimmed.slim) == {**slim, **{path.hex(): before[path.hex()] for path in part}}
    assert "/srv/part/plain" in ended.stdout
    assert "/srv/part/deep/er/file" in ended.stdout


def test_a_tar_and_a_directory(slimmed: Slimmed, tmp_path: Path) -> None:
    """The same, for other tools."""
    ended = slimmed.restore("/srv/part/plain", "--tar", str(tmp_path / "x.tar"))
    assert ended.returncode == 0, ended.stderr
    with tarfile.open(tmp_path / "x.tar") as archive:
        names = {member.name for member in archive}
    assert names == {"srv", "srv/part", "srv/part/deep", "srv/part/deep/other-name", "srv/part/plain"}
    ended = slimmed.restore("/srv/gone", "--to", str(tmp_path / "x"))
    assert ended.returncode == 0, ended.stderr
    assert "1 path was left out (a device node): /srv/gone/device" in ended.stderr
    assert "of 3 paths were cleared: /srv/gone/capable, /srv/gone/deep, /srv/gone/setuid" in ended.stderr
    assert "--tar and --tag keep them" in ended.stderr
    assert not (tmp_path / "x/srv/gone/device").exists()
    assert "security.capability" not in os.listxattr(tmp_path / "x/srv/gone/capable")
    root = tmp_path / "root/srv/gone"
    for path in [root, *root.rglob("*")]:
        if path.name == "device":
            continue
        one, other = (os.lstat(each) for each in (path, tmp_path / "x" / path.relative_to(tmp_path / "root")))
        plain = one.st_mode if stat.S_ISLNK(one.st_mode) else one.st_mode & ~(stat.S_ISUID | stat.S_ISGID)
        assert other.st_mode == plain, path
        assert [getattr(one, f"st_{each}") for each in ("uid", "gid", "mtime_ns", "nlink", "size")] == [
            getattr(other, f"st_{each}") for each in ("uid", "gid", "mtime_ns", "nlink", "size")
        ], path


def test_another_image_is_refused(slimmed: Slimmed, tmp_path: Path) -> None:
    """By its ID; and if the list has none, by the contents. Nothing is made."""
    root, other = os.fsencode(tmp_path / "other-root"), f"{slimmed.slim}-other"
    shutil.copytree(tmp_path / "root/srv/part", tmp_path / "other-root/srv/part", ignore=lambda *_: ["fifo", "device"])
    write(root, b"/srv/part/capable", b"another")
    export_layout(root, tmp_path / "other", tag=other)
    load(tmp_path / "other")
    try:
        words = ("/srv/part/capable", "--tar", str(tmp_path / "x.tar"))
        ended = Slimmed(full=other, slim=slimmed.slim, listed=slimmed.listed).restore(*words)
        assert (ended.returncode, "is not the image that the slim one was made from" in ended.stderr) == (3, True)
        nameless = tmp_path / "nameless.jsonl.gz"
        with open(slimmed.listed, "rb") as stream, open(nameless, "wb") as copy:
            head, rows = documents.read_removed(stream)
            documents.write_removed(copy, replace(head, image_id=""), rows)
        ended = Slimmed(full=other, slim=slimmed.slim, listed=nameless).restore(*words)
        assert (ended.returncode, "/srv/part/capable is not what was removed" in ended.stderr) == (3, True)
        assert not (tmp_path / "x.tar").exists()
    finally:
        slimming.remove(other)


def test_what_was_never_removed_is_a_usage_error(slimmed: Slimmed) -> None:
    """It is named, and the way to find the right name is."""
    ended = slimmed.restore("/srv/part/setuid", "dpkg:vim", "--tar", "x.tar")
    assert ended.returncode == 2
    assert "'/srv/part/setuid'" in ended.stderr
    assert "'dpkg:vim'" in ended.stderr
    assert "slimagent missing" in ended.stderr
