"""Targets: readers of package databases and configuration, over a small image in which one file is hostile."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from slimagent.inventory.accounts import login_shells
from slimagent.inventory.loader import loader
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.paths.algebra import to_text

from .rules import assert_shown
from .seeds import seeds

_SITE = "/usr/lib/python3/dist-packages"
_NODE = "/usr/lib/node_modules"
_CODE = "/home/u/.vscode/extensions"
PLACES = {
    "dpkg_status": "/var/lib/dpkg/status",
    "dpkg_list": "/var/lib/dpkg/info/vim.list",
    "dpkg_md5sums": "/var/lib/dpkg/info/vim.md5sums",
    "dpkg_diversions": "/var/lib/dpkg/diversions",
    "dpkg_status_d": "/var/lib/dpkg/status.d/base",
    "conda_record": "/opt/conda/conda-meta/x-1-0.json",
    "python_metadata": f"{_SITE}/y-1.dist-info/METADATA",
    "python_record": f"{_SITE}/y-1.dist-info/RECORD",
    "python_direct_url": f"{_SITE}/y-1.dist-info/direct_url.json",
    "python_entry_points": f"{_SITE}/y-1.dist-info/entry_points.txt",
    "python_pth": f"{_SITE}/z.pth",
    "python_venv": "/opt/venv/pyvenv.cfg",
    "r_description": "/usr/lib/R/library/z/DESCRIPTION",
    "vscode_manifest": f"{_CODE}/a.b-1/package.json",
    "vscode_list": f"{_CODE}/extensions.json",
    "npm_manifest": f"{_NODE}/x/package.json",
    "npm_lock": f"{_NODE}/.package-lock.json",
    "loader_configuration": "/etc/ld.so.conf",
    "passwd": "/etc/passwd",
}
_MORE = (
    *("/usr/bin/vim", "/opt/conda/bin/x", f"{_SITE}/y.py", f"{_NODE}/x/index.js", f"{_CODE}/a.b-1/out/main.js"),
    *("/opt/venv/bin/python", "/usr/lib/R/library/z/R/z", "/usr/local/bin/tool", "/opt/t/a"),
)


@functools.cache
def _root() -> str:
    """A small image with packages of every manager, in memory where that is possible. It goes when we end."""
    root = tempfile.mkdtemp(prefix="slimagent-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for name, path in PLACES.items():
        _write(root, path, seeds(name)[0])
    for path in _MORE:
        _write(root, path, b"data")
    return root


def _write(root: str, path: str, data: bytes) -> None:
    target = Path(root + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _target(name: str) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        root = _root()
        _write(root, PLACES[name], data)
        try:
            inventory = scan(os.fsencode(root))
            found = owners(inventory)
            loader(inventory)
            login_shells(inventory)
        finally:
            _write(root, PLACES[name], seeds(name)[0])
        for package, files in zip(found.packages, found.files, strict=True):
            assert package.kind and all(0 <= at < len(inventory) for at in files)
            assert_shown((package.name, package.version, package.section))
        for requires in found.requires:
            assert all(0 <= at < len(found.packages) for at, _ in requires)
        assert_shown(f"{to_text(path)}: {why}" for path, why in found.problems)

    return target


TARGETS: dict[str, Callable[[bytes], None]] = {name: _target(name) for name in PLACES}
