"""Conda packages: installed by py-rattler from a channel that is made here, and records that lie."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_images import lacking, tree

from slimagent.inventory import conda
from slimagent.inventory.python_dist import find as find_distributions
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found
from slimagent.paths.algebra import within

SITE = "lib/python3.11/site-packages"


def package(
    channel: Path,
    name: str,
    files: Mapping[str, str],
    depends: Sequence[str] = (),
    subdir: str = "linux-64",
    entry_points: Sequence[str] = (),
    version: str = "1.0",
) -> None:
    """Put a package (conda's .tar.bz2, version 1.0) into a channel, and its row into repodata.json."""
    index: dict[str, Any] = {"name": name, "version": version, "build": "0", "build_number": 0, "subdir": subdir}
    index["depends"] = list(depends)
    contents = dict(files)
    if subdir == "noarch":
        index["noarch"] = "python"
        contents["info/link.json"] = json.dumps(
            {"noarch": {"type": "python", "entry_points": list(entry_points)}, "package_metadata_version": 1}
        )
    rows = [
        {"_path": path, "path_type": "hardlink", "sha256": digest(text.encode()), "size_in_bytes": len(text)}
        for path, text in files.items()
    ]
    contents["info/paths.json"] = json.dumps({"paths": rows, "paths_version": 1})
    contents["info/files"] = "\n".join(files) + "\n"
    contents["info/index.json"] = json.dumps(index)
    target = channel / subdir / f"{name}-{version}-0.tar.bz2"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:bz2") as archive:
        for path, text in contents.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    data = target.read_bytes()
    repodata = target.parent / "repodata.json"
    known = json.loads(repodata.read_text()) if repodata.exists() else {"info": {"subdir": subdir}, "packages": {}}
    known["packages"][target.name] = {**index, "sha256": digest(data), "size": len(data)}
    repodata.write_text(json.dumps(known))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prefixes that rattler made, with the package cache beside the first."""
    try:
        import rattler
    except ImportError:
        lacking("no py-rattler: pip install py-rattler")
    base = tmp_path_factory.mktemp("conda")
    channel = base / "channel"
    package(
        channel, "python", {"bin/python3.11": "", f"{SITE}/README.txt": "", "lib/libpython.so": ""}, version="3.11.4"
    )
    package(channel, "tool", {"bin/tool": "x", "share/tool/a/b.txt": "y", "etc/c.d/tool": ""}, ["libx >=1", "__unix"])
    package(channel, "libx", {"lib/libx.so.1": "z", "etc/c.d/libx": "", "include/x/x.h": ""})
    pure = {
        "site-packages/pure/__init__.py": "",
        "site-packages/pure-1.0.dist-info/METADATA": "Name: pure\nVersion: 1.0\n\n",
    }
    pure["site-packages/pure-1.0.dist-info/RECORD"] = "pure/__init__.py,,\n"
    package(channel, "pure", pure, ["python", "tool 1.*"], "noarch", ["pure-it = pure:main"])

    async def install(prefix: Path, *names: str) -> None:
        records = await rattler.solve(
            sources=[rattler.Channel(channel.as_uri())],
            specs=list(names),
            gateway=rattler.Gateway(cache_dir=base / "gateway"),
            platforms=[rattler.Subdir("linux-64"), rattler.Subdir("noarch")],
            virtual_packages=rattler.VirtualPackage.detect(),
        )
        await rattler.install(
            records, target_prefix=prefix, cache_dir=base / "conda" / "pkgs", show_progress=False,
            platform=rattler.Subdir("linux-64"),
        )  # fmt: skip

    asyncio.run(install(base / "conda", "pure"))
    asyncio.run(install(base / "conda" / "envs" / "small", "libx"))
    return base


class Read:
    """What the reader finds below a directory."""

    def __init__(self, root: Path | str, *scopes: Path) -> None:
        whole = os.fsencode(Path(root).resolve())
        self.image = Image(scan(whole, tuple(os.fsencode(scope) for scope in scopes) or (b"/",)))
        self.found = conda.find(self.image)

    def one(self, name: str, prefix: Path | str) -> Found:
        key = (name, os.fsencode(prefix))
        (found,) = (each for each in self.found if (each.package.name, each.package.place) == key)
        return found

    def paths(self, name: str, prefix: Path | str) -> set[str]:
        entries = (self.image.inventory.paths[at] for at in self.one(name, prefix).files)
        return {os.path.relpath(os.fsdecode(path), prefix) for path in entries}

    def requires(self, name: str, prefix: Path | str) -> dict[str, str]:
        return {self.found[at].package.name: text for at, text in self.one(name, prefix).requires}


def test_what_rattler_installed(base: Path) -> None:
    """Files, record and own directories of each package, per prefix; what is hard-linked in the cache is not theirs."""
    prefix = base / "conda"
    read = Read("/", base)
    assert {(each.package.name, each.package.place) for each in read.found} == {
        *((name, os.fsencode(prefix)) for name in ("pure", "python", "tool", "libx")),
        ("libx", os.fsencode(prefix / "envs" / "small")),
    }
    tool = {"bin/tool", "share", "share/tool", "share/tool/a", "share/tool/a/b.txt", "etc/c.d/tool"}
    assert read.paths("tool", prefix) == tool | {"conda-meta/tool-1.0-0.json"}
    libx = read.paths("libx", prefix)
    assert {"lib/libx.so.1", "include/x", "etc/c.d/libx"} <= libx and not {"etc", "etc/c.d", "lib"} & libx
    pure = read.paths("pure", prefix)
    assert {f"{SITE}/pure/__init__.py", f"{SITE}/pure", "bin/pure-it"} <= pure and SITE not in pure
    identity = [read.image.inventory.paths[at] for at in read.one("pure", prefix).identity]
    assert identity == [os.fsencode(prefix / "conda-meta" / "pure-1.0-0.json")]
    assert read.one("pure", prefix).package.version == "1.0" and read.image.problems == []


def test_files_are_those_of_the_records(base: Path) -> None:
    """What is owned, apart from directories and the record, is each record's list."""
    read = Read("/", base)
    for each in read.found:
        (record,) = (read.image.inventory.paths[at] for at in each.identity)
        prefix = os.fsdecode(each.package.place)
        listed = set(json.loads(Path(os.fsdecode(record)).read_text())["files"])
        owned = {
            path for path in read.paths(each.package.name, prefix) if not os.path.isdir(os.path.join(prefix, path))
        }
        assert owned - {os.path.relpath(os.fsdecode(record), prefix)} == listed


def test_dependencies_are_looked_up_in_the_prefix(base: Path) -> None:
    """By name; what the system offers is none."""
    prefix = base / "conda"
    read = Read("/", base)
    assert read.requires("pure", prefix) == {"python": "python", "tool": "tool 1.*"}
    assert read.requires("tool", prefix) == {"libx": "libx >=1"}
    assert all(not each.missing for each in read.found)


def test_a_python_distribution_has_both_owners(base: Path) -> None:
    """The same file is the conda package's and the distribution's; the cache is no environment of Python."""
    read = Read("/", base)
    (pure,) = find_distributions(read.image)
    assert pure.package.place == os.fsencode(base / "conda" / SITE)
    assert set(pure.files) <= set(read.one("pure", base / "conda").files)


def record(**fields: object) -> str:
    return json.dumps({"name": "x", "version": "1", "files": [], "depends": [], **fields})


def test_specs_of_every_form(tmp_path: Path) -> None:
    """A spec begins with a name, behind a channel maybe; a condition that is not met here is not missing."""
    specs = ["a", "b>=1,<2", "conda-forge::c 1.*", "d[version='>=1']", "conda-forge/linux-64::e", "F =1.0", "g==1=py_0"]
    tree(tmp_path / "opt/c/conda-meta", {f"{name}-1-0.json": record(name=name) for name in "abcdefg"})
    tree(
        tmp_path / "opt/c/conda-meta",
        {"x-1-0.json": record(depends=[*specs, "__cuda", "python_abi 3.11.* *_cp311", "z; if __win", "y >2", "%"])},
    )
    read = Read(tmp_path)
    assert list(read.requires("x", "/opt/c").values()) == specs
    assert read.one("x", "/opt/c").missing == ["python_abi 3.11.* *_cp311", "y >2", "%"]


def test_a_record_that_lies_or_is_damaged(tmp_path: Path) -> None:
    """Each is a problem with its path; what lies outside of the prefix is not claimed, the good one is read."""
    files = ["bin/x", "../../etc/passwd", "/etc/passwd", "out/passwd", "bin", "gone", "a\0b", "bin/../bin/y", "back/y"]
    whole = record(name="cut", files=["bin/z"])
    tree(
        tmp_path / "opt/c/conda-meta",
        {
            "x-1-0.json": record(files=files),
            "cut-1-0.json": whole[: len(whole) // 2],
            "list-1-0.json": "[]",
            "nameless-1-0.json": record(name=7),
            "typed-1-0.json": record(name="typed", version=1, files={"bin/x": 1}, depends=["x", 5]),
            "deep-1-0.json": '{"name":' * 100_000,
            "latin-1-0.json": b'{"name": "\xe9"}',
            "history": "==> 2024 <==\n",
        },
    )
    tree(tmp_path, {"etc/passwd": "", "opt/c/bin/x": "", "opt/c/bin/y": "", "opt/c/bin/z": "", "opt/c/etc/passwd": ""})
    (tmp_path / "opt/c/out").symlink_to("/etc")
    (tmp_path / "opt/c/back").symlink_to("bin")
    read = Read(tmp_path)
    assert {each.package.name for each in read.found} == {"x", "typed"}
    assert read.paths("x", "/opt/c") == {"bin/x", "bin/y", "etc", "etc/passwd", "conda-meta/x-1-0.json"}
    assert read.requires("typed", "/opt/c") == {"x": "x"}
    assert read.paths("typed", "/opt/c") == {"conda-meta/typed-1-0.json"}
    where = {os.path.basename(os.fsdecode(path)).partition("-")[0] for path, _ in read.image.problems}
    assert where == {"x", "cut", "list", "nameless", "typed", "deep", "latin"}
    assert any("/etc/passwd and 1 more, outside of /opt/c" in why for _, why in read.image.problems)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["bin/x", "../x", "/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "files"]), inner, max_size=2),
    max_leaves=6,
)
KEYS = st.sampled_from(["name", "version", "files", "depends"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES) | VALUES, st.integers(0, 200))
def test_no_record_breaks_the_reader(tmp_path: Path, document: object, end: int) -> None:
    """Whatever a record holds, whole or cut short: no exception, and nothing outside of the prefix is claimed."""
    tree(tmp_path, {"opt/c/conda-meta/a-1-0.json": json.dumps(document)[:end], "opt/c/bin/x": "", "opt/x": ""})
    read = Read(tmp_path)
    for each in read.found:
        assert all(within(read.image.inventory.paths[at], b"/opt/c") for at in each.files)
        assert each.files == sorted(set(each.files)) and set(each.identity) <= set(each.files)
