"""What `restore` brings back, from a list of what went; the containers are in tests/container."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slimagent import documents
from slimagent.errors import UsageError
from slimagent.model.inventory import Package, PackageKind
from slimagent.model.removed import Gone, GoneKind, Lead, Owner, Removed, Why
from slimagent.workflows.missing import RemovedList
from slimagent.workflows.restoring import rows_of

YAML = Package(kind=PackageKind.PYTHON, name="pyyaml", version="6", place=b"/opt/site-packages")
GONE = (
    Gone(b"/a/l", GoneKind.LINK, 0, 0, target=b"/d/f"),
    Gone(b"/d", GoneKind.LINK, 0, 0, target=b"real"),
    Gone(b"/inc/mysql", GoneKind.LINK, 0, 0, target=b"mariadb"),
    Gone(b"/inc/mariadb", GoneKind.DIRECTORY, 0, 0),
    Gone(b"/inc/mariadb/errmsg.h", GoneKind.FILE, 3, 0),
    Gone(b"/inc/mariadb/server", GoneKind.DIRECTORY, 0, 0),
    Gone(b"/inc/mariadb/server/x.h", GoneKind.FILE, 3, 0),
    Gone(b"/opt/back\\x41", GoneKind.FILE, 1, 0),
    Gone(b"/opt/caf\xe9", GoneKind.FILE, 1, 0),
    Gone(b"/opt/site-packages/yaml", GoneKind.DIRECTORY, 0, 0, 0),
    Gone(b"/opt/site-packages/yaml/a.py", GoneKind.FILE, 1, 0, 0),
    Gone(b"/real/f", GoneKind.FILE, 1, 0),
    Gone(b"/stays/gone", GoneKind.FILE, 1, 0),
    Gone(b"/to-what-stays", GoneKind.LINK, 0, 0, target=b"stays"),
)


@pytest.fixture
def listed(tmp_path: Path) -> RemovedList:
    """A list with links that went, odd names, a package, and a link that stays."""
    head = Removed(
        tool="slimagent 0",
        plan="dd",
        level="file",
        image="app",
        image_id="",
        paths=len(GONE),
        bytes=0,
        owners=(Owner(YAML, True),),
        reasons=(Why("unused", "no test asked for it"),),
        leads=(Lead(b"/short", b"/inc"),),
    )
    path = tmp_path / "removed.jsonl.gz"
    with path.open("wb") as stream:
        documents.write_removed(stream, replace(head, bytes=sum(each.size for each in GONE)), GONE)
    return RemovedList(str(path))


def restored(listed: RemovedList, *things: str) -> set[bytes]:
    return {each.path for each in rows_of(listed, things)[1]}


def test_what_links_lead_to_comes_with_them(listed: RemovedList) -> None:
    """Over other links that went, and with all of a directory that went; but nothing of a directory that stays."""
    assert restored(listed, "/a/l") == {b"/a/l", b"/d", b"/real/f"}
    mariadb = {each.path for each in GONE if each.path.startswith(b"/inc/")}
    assert restored(listed, "/inc/mysql") == mariadb
    assert restored(listed, "/to-what-stays") == {b"/to-what-stays"}


def test_a_path_can_be_given_over_links(listed: RemovedList) -> None:
    """Over one that stays, and over one that went, which is needed then, too."""
    assert restored(listed, "/short/mariadb/errmsg.h") == {b"/inc/mariadb/errmsg.h"}
    assert b"/inc/mysql" in restored(listed, "/inc/mysql/errmsg.h")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/opt/back\\x41", b"/opt/back\\x41"),
        ("/opt/back\\\\x41", b"/opt/back\\x41"),
        ("/opt/caf\\xe9", b"/opt/caf\xe9"),
    ],
)
def test_a_path_can_be_given_as_missing_writes_it(listed: RemovedList, given: str, path: bytes) -> None:
    """And as it is."""
    assert restored(listed, given) == {path}


def test_the_same_can_be_named_twice(listed: RemovedList) -> None:
    """Each name found something."""
    yaml = {b"/opt/site-packages/yaml", b"/opt/site-packages/yaml/a.py"}
    assert (
        restored(listed, "python:pyyaml", "pyyaml", "py*", "/opt/site-packages/yaml/", "/opt/site-packages/yaml")
        == yaml
    )
    with pytest.raises(UsageError, match="/nowhere"):
        restored(listed, "pyyaml", "/nowhere")
