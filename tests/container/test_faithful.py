"""What an export carries besides contents, as engines unpack it: each fact is asked for in a container."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from apply_images import ACCESS_LIST, IS_ROOT, exported, plan_for, state, write
from layout_images import export

from slimagent import apply
from slimagent.errors import RefusedError
from slimagent.image.agent import bundle, python
from slimagent.inventory.scan import scan
from tests.container import slimming
from tests.container.conftest import lacking

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not IS_ROOT, reason="access lists and devices need root"),
]

NAMES = ("user.plain", "user.a%b", "user.%", "user.a%2Fb")  # attributes that every route can hold
PATHS = ("/srv", "/srv/file", "/srv/listed", "/srv/directory", "/srv/directory/file")
LOOK = """
import json, os, sys
found = {}
for path in sys.argv[1:]:
    found[path] = {name: os.getxattr(path, name).hex() for name in os.listxattr(path)}
print(json.dumps(found))
"""


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    """A root with attributes and access lists on files and directories."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        lacking("no Docker engine")
    if not (slimming.BUNDLE / "bundle.json").exists():
        lacking("no build/bundle; run `make bundle`")
    root = os.fsencode(tmp_path.resolve() / "root")
    write(root, b"/srv/file")
    write(root, b"/srv/listed", mode=0o660)
    write(root, b"/srv/directory/file", mode=0o600)
    for name in NAMES:
        os.setxattr(root + b"/srv/file", name, name.encode())
    os.setxattr(root + b"/srv/listed", b"system.posix_acl_access", ACCESS_LIST)
    os.setxattr(root + b"/srv", b"system.posix_acl_default", ACCESS_LIST)
    return root


@pytest.fixture
def imported(tree: bytes, tag: str, tmp_path: Path) -> str:
    """The tar export, as `docker import` takes it."""
    inventory, tar = scan(tree), tmp_path / "rootfs.tar"
    apply.export(plan_for(inventory), "digest", inventory, apply.Tar(os.fsencode(tar)))
    slimming.docker("import", str(tar), tag)
    return tag


@pytest.fixture
def loaded(tree: bytes, tag: str, tmp_path: Path) -> str:
    """The layout, as `docker load` takes it."""
    export(tree, tmp_path / "layout", tag=tag)
    with subprocess.Popen(["tar", "-C", tmp_path / "layout", "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "load"], stdin=tar.stdout, check=True, capture_output=True)
    return tag


@pytest.mark.parametrize("route", ["imported", "loaded"])
def test_attributes_and_access_lists_are_as_they_were(request: pytest.FixtureRequest, route: str) -> None:
    """F1: names with a percent sign too, and no access list that a file inherits by being unpacked."""
    found = attributes(request.getfixturevalue(route), *PATHS)
    assert found == {
        "/srv": {"system.posix_acl_default": ACCESS_LIST.hex()},
        "/srv/file": {name: name.encode().hex() for name in NAMES},
        "/srv/listed": {"system.posix_acl_access": ACCESS_LIST.hex()},
        "/srv/directory": {},
        "/srv/directory/file": {},
    }


def test_what_no_image_can_hold_is_in_a_directory_alone(tree: bytes, tag: str, tmp_path: Path) -> None:
    """F2: an engine that imports a tar with such a name or device loses it, so that only `--to` is a way out."""
    write(tree, b"/srv/.wh.odd")
    os.mknod(tree + b"/srv/gone", stat.S_IFCHR | 0o600, 0)
    for path in (b"/srv/.wh.odd", b"/srv/gone"):
        with pytest.raises(RefusedError, match="no image can hold /srv/") as caught:
            export(tree, tmp_path / "layout")
        assert "--to" in caught.value.hint
        inventory = scan(tree)
        apply.export(plan_for(inventory), "digest", inventory, apply.Directory(os.fsencode(tmp_path / "copy")))
        assert state(os.fsencode(tmp_path / "copy")) == state(tree)
        shutil.rmtree(tmp_path / "copy")
        apply.export(plan_for(inventory), "digest", inventory, apply.Tar(os.fsencode(tmp_path / "rootfs.tar")))
        slimming.docker("import", str(tmp_path / "rootfs.tar"), tag)
        assert path[1:] not in exported(tag)
        os.unlink(tree + path)
    export(tree, tmp_path / "layout")


def attributes(image: str, *paths: str) -> dict[str, dict[str, str]]:
    """The extended attributes of paths in a container of an image that need not hold any program."""
    made = bundle(str(slimming.BUNDLE))
    entry, *words = python("/agent", made.loader)
    options = ("--rm", "--network=none", "-v", f"{made.directory}:/agent:ro", "--entrypoint", entry)
    found: dict[str, dict[str, str]] = json.loads(slimming.docker("run", *options, image, *words, "-c", LOOK, *paths))
    return found
