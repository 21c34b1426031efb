"""Which records leave it open what packages there are, and which only what a known package has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from plan_images import link, write

from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Owners

SITE = "/usr/lib/python3/dist-packages"
STATUS = b"""Package: libc6
Status: install ok installed
Version: 1
Architecture: amd64

"""
BROKEN = STATUS.replace(b"libc6", b"gcc-12").rstrip(b"\n") + b"\nthis line is of no field\n\n"
R = b"Package: %b\nVersion: 1\nBuilt: R 4.3; ; ; unix\n"
EXTENSION = b'{"name": "x", "publisher": "me", "version": "1", "engines": {"vscode": "*"}%b}'


def read(root: Path, files: dict[str, bytes]) -> Owners:
    for path, data in files.items():
        write(root, path, data)
    return owners(scan(os.fsencode(root.resolve())))


@pytest.mark.parametrize(
    ("kind", "path", "data"),
    [
        ("dpkg", "/var/lib/dpkg/status", STATUS + BROKEN),
        ("dpkg", "/var/lib/dpkg/status", STATUS.rstrip(b"\n")),
        ("dpkg", "/var/lib/dpkg/status.d/base", BROKEN),
        ("dpkg", "/var/lib/dpkg/info/gcc-12.list", b"/.\n"),
        ("dpkg", "/var/lib/dpkg/updates/0001", STATUS),
        ("conda", "/opt/conda/conda-meta/gpl-1-0.json", b'{"name": "gpl", "version": "1", "x": NaN}'),
        ("conda", "/opt/conda/conda-meta/gpl-1-0.json", b'{"version": "1"}'),
        ("conda", "/opt/conda/conda-meta/gpl-1-0.json", b'{"name": "%b", "version": "1"}' % (b"x" * 2000)),
        ("python", f"{SITE}/x-1.egg", b"a zip"),
        ("python", f"{SITE}/!-1.dist-info/METADATA", b"Name: !\n"),
        ("r", "/usr/lib/R/library/x/DESCRIPTION", R % b"y"),
        ("npm", "/srv/node_modules/x/package.json", b"{"),
        ("npm", "/srv/node_modules/x/package.json", b"[]"),
        ("npm", "/srv/node_modules/x/package.json", b'{"dependencies": ["x"]}'),
        ("vscode", "/opt/extensions/me.x-1/package.json", b"{"),
        ("other", "/lib/apk/db/installed", b"P:openssl\n\n"),
        ("other", "/usr/lib/sysimage/rpm/rpmdb.sqlite", b"SQLite"),
        ("other", "/var/lib/pacman/local/openssl-3-1/desc", b"%NAME%\nopenssl\n"),
    ],
)
def test_a_package_that_could_not_be_read_is_missed(kind: str, path: str, data: bytes, tmp_path: Path) -> None:
    """Its kind is known by the record's place; the reason is among the problems."""
    files = {path: data}
    if kind == "vscode":
        files["/opt/extensions/extensions.json"] = b"[]"
    table = read(tmp_path, files)
    assert {each for _, each in table.unread} == {kind}
    noted = {each for each, _ in table.problems}
    assert {each for each, _ in table.unread} <= noted
    assert all(os.fsencode(path).startswith(each) for each in noted)


@pytest.mark.parametrize(
    ("path", "data", "more"),
    [
        ("/var/lib/dpkg/status", STATUS, {}),
        ("/var/lib/dpkg/info/libc6.list", b"half", {"/var/lib/dpkg/status": STATUS}),
        ("/var/lib/dpkg/alternatives/editor", b"half", {"/var/lib/dpkg/status": b""}),
        ("/opt/conda/conda-meta/x.json", b'{"name": "x", "version": 1, "files": 3}', {}),
        ("/opt/conda/conda-meta/x.json", b'{"name": "x", "version": "1", "files": ["../../bin/sh"]}', {"/bin/sh": b""}),
        (f"{SITE}/x-1.dist-info/RECORD", b"", {f"{SITE}/x-1.dist-info/METADATA": b"Name: x\n"}),
        (f"{SITE}/x-1.dist-info/INSTALLER", b"pip\n", {}),
        ("/srv/app/pyproject.toml", b"[", {}),
        ("/srv/node_modules/.package-lock.json", b"[", {"/srv/node_modules/x/package.json": b"{}"}),
        ("/opt/extensions/extensions.json", b"{", {"/opt/extensions/me.x-1/package.json": EXTENSION % b""}),
    ],
)
def test_a_flaw_in_a_record_hides_no_package(path: str, data: bytes, more: dict[str, bytes], tmp_path: Path) -> None:
    """A gate can say what is there; only what it has is in doubt."""
    table = read(tmp_path, {**more, path: data})
    assert table.problems
    assert table.unread == []


def test_a_database_without_packages_hides_none(tmp_path: Path) -> None:
    """The tools alone bring one; and one that two names lead to is one."""
    for path in ("/var/lib/pacman/local", "/var/lib/rpm"):
        (tmp_path / path[1:]).mkdir(parents=True)
    write(tmp_path, "/usr/lib/apk/db/installed", b"")
    assert read(tmp_path, {"/var/lib/rpm/.rpm.lock": b""}).problems == []
    write(tmp_path, "/usr/lib/apk/db/installed", b"P:x\n")
    link(tmp_path, "/lib", "usr/lib")
    table = owners(scan(os.fsencode(tmp_path.resolve())))
    assert table.unread == [(b"/usr/lib/apk/db/installed", "other")]
    ((_, why),) = table.problems
    assert why == "the database of apk, which is not read: its packages are unknown"
