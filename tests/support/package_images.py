"""Small images that the real dpkg and update-alternatives fill, for the tests of edits."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from apply_images import IS_ROOT, plan_for, write

from slimagent.apply import Directory, Tar, export
from slimagent.apply.in_place import removal as in_place
from slimagent.inventory.scan import scan
from slimagent.model.edit import Edit
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt

STATUS = b"/var/lib/dpkg/status"
ADMIN = b"/var/lib/dpkg/alternatives/"
LOG = "/var/log/alternatives.log"
EXCLUDES = b"/etc/dpkg/dpkg.cfg.d/slimagent"
TARGETS = ("tar", "tree", "in-place")


def tool(name: str) -> str:
    """The path of a program; skips the test where there is none, fails it where all must be there."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def output(*command: str | bytes | Path) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode()


def dpkg(root: bytes, *arguments: str | Path) -> str:
    """Run dpkg on a root folder."""
    options = ["--force-not-root", "--force-bad-path", "--force-script-chrootless", b"--root=" + root]
    return output(tool("dpkg"), *options, "--log=/dev/null", *arguments)


def build_package(folder: Path, name: str, files: Iterable[str], more: str = "") -> Path:
    """A .deb of architecture `all` with these files."""
    source = folder / f"{name}-source"
    for path in files:
        write(os.fsencode(source), path.encode(), f"{name}: {path}".encode(), 0o755)
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: A B <a@b.c>\n{more}Description: {name}\n"
    write(os.fsencode(source), b"/DEBIAN/control", (control + " A longer text.\n .\n With paragraphs.\n").encode())
    target = folder / f"{name}.deb"
    output(tool("dpkg-deb"), "--build", "--root-owner-group", source, target)
    return target


def empty_root(folder: Path) -> bytes:
    """A root folder with an empty database of dpkg."""
    root = os.fsencode(folder)
    for path in (STATUS, b"/var/lib/dpkg/available"):
        write(root, path, b"")
    for path in (b"/etc/dpkg/dpkg.cfg.d", b"/etc/alternatives", b"/usr/bin", b"/usr/share/man", ADMIN, b"/var/log"):
        os.makedirs(root + path, exist_ok=True)
    for path in (b"info", b"updates", b"triggers"):
        os.makedirs(root + b"/var/lib/dpkg/" + path, exist_ok=True)
    return root


def alternatives(root: bytes, *arguments: str) -> str:
    """Run update-alternatives on a root folder."""
    return output(tool("update-alternatives"), "--root", root, "--log", LOG, "--quiet", *arguments)


def owned(root: bytes, package: str) -> set[bytes]:
    """What goes with a package: its files and its records in info, the folders left out."""
    listed = {line.encode() for line in dpkg(root, "-L", package).split("\n") if line.startswith("/")}
    info = b"/var/lib/dpkg/info/"
    records = {info + name for name in os.listdir(root + info) if name.startswith(package.encode() + b".")}
    return {path for path in listed if not os.path.isdir(root + path)} | records


def plan(root: bytes, drop: Iterable[bytes], *edits: Edit) -> Plan:
    """A plan that drops these paths and edits."""
    return plan_for(scan(root), set(drop), edits=edits)


def edit_of(path: bytes, kind: str, *keys: str) -> Edit:
    return Edit(path=path, kind=kind, keys=keys)


def carry_out(how: str, made: Plan, root: bytes, folder: Path) -> tuple[bytes, Receipt]:
    """Carry out a plan for the image at `root`. Returns where the result is, in `folder` for exports."""
    inventory = scan(root)
    if how == "in-place":
        return root, in_place.remove(made, "digest", inventory)
    result = os.fsencode(folder / how)
    if how == "tree":
        return result, export(made, "digest", inventory, Directory(result))
    receipt = export(made, "digest", inventory, Tar(result + b".tar"))
    unpack(result + b".tar", result)
    return result, receipt


def unpack(archive: bytes, folder: bytes) -> None:
    os.mkdir(folder)
    if IS_ROOT and shutil.which("tar"):
        output(
            "tar", "-xpf", archive, "-C", folder, "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*"
        )
        return
    with tarfile.open(os.fsdecode(archive), errors="surrogateescape") as tar:
        tar.extractall(os.fsdecode(folder))  # noqa: S202  our own archive
