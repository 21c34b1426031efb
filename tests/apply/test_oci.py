"""The image layout: read back by the specification, by Python, gzip and GNU tar, from real files."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import package_images
import pytest
import python_images
from apply_images import IS_ROOT, add_socket, as_ordinary_user, fill, open_folder, root, small_disk, state, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_images import (
    attributes,
    blob,
    config_of,
    document,
    export,
    manifest_of,
    members,
    owned_plan,
    stacked,
    tars,
    unzstd,
)

from slimagent import apply
from slimagent.apply.export import blobs, oci
from slimagent.apply.export.blobs import Blob
from slimagent.apply.export.compression import COMPRESSIONS, compression
from slimagent.apply.export.image_documents import config, plain_config
from slimagent.apply.progress import Pace
from slimagent.errors import DocumentError, RefusedError, UnavailableError, UsageError
from slimagent.inventory.scan import scan
from slimagent.model.image_config import read_image_config
from slimagent.model.profile import COMPONENTS
from slimagent.model.proof import Receipt
from slimagent.report.text import receipt_summary

__all__ = ["open_folder", "root", "small_disk"]  # fixtures

CONFIG = {
    "User": "jovyan",
    "ExposedPorts": {"8888/tcp": {}},
    "Env": ["PATH=/opt/venv/bin:/usr/bin", "EMPTY=", "QUOTES=\"'\\\n"],
    "Entrypoint": ["tini", "--"],
    "Cmd": ["start.sh"],
    "Volumes": {"/data": {}},
    "WorkingDir": "/home/jovyan",
    "Labels": {"a.b": "c d"},
    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1000000000},
    "StopSignal": "SIGINT",
    "Shell": ["/bin/bash", "-c"],
    "OnBuild": ["RUN true"],
    "ArgsEscaped": True,
    "of.the.future": [1, {"x": None}],
}
INSPECTED = {
    "Id": "sha256:0",
    "Architecture": "arm64",
    "Variant": "v8",
    "Os": "linux",
    "Author": "somebody",
    "Created": "2024-02-29T01:02:03.123456789Z",
    "Config": CONFIG,
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path.resolve() / "out"
    directory.mkdir()
    return directory / "image"


def fill_all(root: bytes) -> None:
    """Every corner, and something of every component."""
    fill(root)
    for path in (b"/usr/lib/x", b"/opt/venv/pyvenv.cfg", b"/usr/lib/R/etc/x", b"/etc/rstudio/x", b"/home/j/x"):
        write(root, path)
    write(root, b"/var/lib/dpkg/status", b"")


def test_the_layers_together_are_the_tree(root: bytes, target: Path) -> None:
    """Read in order they say of every path what the one tar says: kind, mode, owner, time, size, link, attributes."""
    fill_all(root)
    receipt = export(root, target)
    inventory, tar = scan(root), os.fsencode(target.with_name("rootfs.tar"))
    whole = apply.export(owned_plan(inventory), "digest", inventory, apply.Tar(tar))
    with tarfile.open(os.fsdecode(tar), encoding="utf-8", errors="surrogateescape") as archive:
        assert stacked(target) == {member.name: attributes(member) for member in archive}
    assert [layer.component for layer in receipt.layers] == ["system", "ide", "r", "python", "rest", "shared"]
    assert (receipt.kept, receipt.bytes_kept, receipt.edited) == (whole.kept, whole.bytes_kept, whole.edited)
    assert sum(layer.paths for layer in receipt.layers) == receipt.kept


@pytest.mark.skipif(not IS_ROOT, reason="owners, devices and capabilities need root")
@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
def test_gnu_tar_unpacks_the_layers_to_the_same_tree(root: bytes, target: Path, tmp_path: Path) -> None:
    """Contents too, hard links as one inode, and times to the nanosecond: the directories' as well."""
    fill_all(root)
    export(root, target)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    command = ["tar", "-xp", "-C", unpacked, "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*"]
    for tar in tars(target):
        subprocess.run([*command, "--overwrite"], input=tar, check=True, capture_output=True)
    assert state(os.fsencode(unpacked)) == state(root)


def test_a_layer_can_be_unpacked_without_those_below_it(root: bytes, target: Path) -> None:
    """Every directory above its members comes before them, with mode and owner; a shared one without time."""
    fill_all(root)
    os.chmod(root + b"/home", 0o700)
    receipt = export(root, target)
    seen: dict[str, int] = {}
    for layer, tar in zip(receipt.layers, tars(target), strict=True):
        there = set[str]()
        for name, member in members(tar).items():
            assert os.path.dirname(name) in {*there, ""}
            there.add(name)
            seen[name] = int(member.mtime)
            if name == "usr":
                assert (member.mtime == 0) is (layer.component != "shared")
            if name == "home":
                assert member.mode == 0o700
    assert all(seen.values())


def test_the_documents_are_as_the_specification_says(root: bytes, target: Path) -> None:
    """Fields, media types, digests and sizes of OCI image-spec 1.0; no blob that nothing names."""
    fill_all(root)
    receipt = export(root, target, tag="lab/slim:one", config=read_image_config(json.dumps([INSPECTED]).encode()))
    assert document(target, "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    index = document(target)
    assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
    (descriptor,) = index["manifests"]
    assert descriptor["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert descriptor["digest"] == f"sha256:{receipt.sha256}"
    assert descriptor["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert descriptor["annotations"] == {
        "io.containerd.image.name": "docker.io/lab/slim:one",
        "org.opencontainers.image.ref.name": "one",
    }
    manifest = manifest_of(target)
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, descriptor["mediaType"])
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert {each["mediaType"] for each in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    sizes = [len(blob(target, each)) for each in (descriptor, manifest["config"], *manifest["layers"])]
    assert receipt.written == sum(sizes)
    assert len(list((target / "blobs" / "sha256").iterdir())) == len(sizes)
    assert [layer.digest for layer in receipt.layers] == [each["digest"][7:] for each in manifest["layers"]]
    assert {path.name for path in target.iterdir()} == {"oci-layout", "index.json", "manifest.json", "blobs"}


def test_the_configuration_is_the_originals(root: bytes, target: Path) -> None:
    """What a container starts with is verbatim, keys that nobody knows among it; layers and history are ours."""
    fill_all(root)
    export(root, target, config=read_image_config(json.dumps(INSPECTED).encode()))
    found = config_of(target)
    labels = found["config"].pop("Labels")
    assert found["config"] == {key: value for key, value in CONFIG.items() if key != "Labels"}
    assert {name: value for name, value in labels.items() if not name.startswith("io.slimagent.")} == CONFIG["Labels"]
    assert (found["architecture"], found["variant"], found["os"]) == ("arm64", "v8", "linux")
    assert (found["author"], found["created"]) == ("somebody", "2024-02-29T01:02:03.123456789Z")
    assert found["rootfs"]["type"] == "layers"
    assert [each["created_by"].partition("layer ")[2] for each in found["history"]] == [
        "operating system",
        "IDEs",
        "R",
        "Python environment",
        "the rest",
        "shared directories and package records",
    ]
    assert all("level file" in each["comment"] and "empty_layer" not in each for each in found["history"])


def test_the_layers_are_shown(root: bytes, target: Path) -> None:
    """A line for each, by the name that people have for it, with its size, paths and digest."""
    fill_all(root)
    receipt = export(root, target)
    lines = "\n".join(receipt_summary(receipt))
    for layer in receipt.layers:
        assert re.search(rf"{COMPONENTS[layer.component]} .* {layer.paths}  {layer.digest[:12]}", lines)


def test_manifest_json_names_the_same_blobs(root: bytes, target: Path) -> None:
    """What older engines read is the very image that the index has."""
    fill_all(root)
    export(root, target, tag="slim")
    (whole,) = document(target, "manifest.json")
    manifest = manifest_of(target)
    assert whole["RepoTags"] == ["slim:latest"]
    assert whole["Config"] == "blobs/" + manifest["config"]["digest"].replace(":", "/")
    assert whole["Layers"] == ["blobs/" + each["digest"].replace(":", "/") for each in manifest["layers"]]


def test_without_a_name_there_is_no_annotation(root: bytes, target: Path) -> None:
    write(root, b"/etc/x")
    export(root, target)
    assert "annotations" not in document(target)["manifests"][0]
    assert document(target, "manifest.json")[0]["RepoTags"] is None


def test_an_originals_history_is_kept_without_its_layers(root: bytes, target: Path) -> None:
    """As many entries with a layer as there are layers; what an engine could not read in an entry is left out."""
    write(root, b"/etc/x")
    past = [
        {"created": "2020-01-01T00:00:00Z", "created_by": "ADD x", "comment": "buildkit"},
        {"created": "yesterday", "created_by": 5, "author": "me", "empty_layer": False, "more": {}},
    ]
    blob_form = {"architecture": "amd64", "os": "linux", "config": {}, "history": past}
    receipt = export(root, target, config=read_image_config(json.dumps(blob_form).encode()))
    history = config_of(target)["history"]
    assert history[:2] == [past[0] | {"empty_layer": True}, {"author": "me", "empty_layer": True}]
    assert sum("empty_layer" not in each for each in history) == len(receipt.layers) == 2


def test_the_date_is_the_originals_or_the_builds(root: bytes, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the clock's: the original's, else SOURCE_DATE_EPOCH, else the epoch."""
    write(root, b"/etc/x")
    export(root, target)
    assert config_of(target)["created"] == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    export(root, target.with_name("second"))
    assert config_of(target.with_name("second"))["created"] == "2023-11-14T22:13:20Z"
    for wrong in ("soon", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
            export(root, target.with_name("third"))


@pytest.mark.parametrize("date", ["yesterday", "2020-01-01", "2020-13-01T00:00:00Z", "2020-01-01T00:00:00"])
def test_a_date_that_no_engine_reads_is_refused(root: bytes, target: Path, date: str) -> None:
    write(root, b"/etc/x")
    with pytest.raises(DocumentError, match="is not a date"):
        export(root, target, config=replace(plain_config("x86_64"), created=date))
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("x86_64", ("amd64", "")), ("aarch64", ("arm64", "v8")), ("riscv64", ("riscv64", "")), ("armv7l", ("arm", "v7"))],
)
def test_a_plain_configuration_has_the_platform(machine: str, expected: tuple[str, str]) -> None:
    plain = plain_config(machine)
    assert (plain.architecture, plain.variant) == expected
    assert json.loads(config(plain, "1970-01-01T00:00:00Z", (), ()))["config"] == {}


def test_what_is_not_a_name_is_refused(root: bytes, target: Path) -> None:
    write(root, b"/etc/x")
    with pytest.raises(UsageError, match="not a valid image name"):
        export(root, target, tag="a b")


@pytest.mark.parametrize("way", COMPRESSIONS)
def test_the_same_content_gives_the_same_bytes(
    root: bytes, target: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of threads, in another directory, and made again; and what is in the layers is the tree."""
    if way == "zstd":
        require_zstandard()
    fill_all(root)
    for number in range(5):
        write(root, b"/opt/venv/lib/%d" % number, os.urandom(700_000) + bytes(900_000))
    trees, digests = [], set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(oci, "cores", lambda threads=threads: threads)
        directory = target.with_name(f"{way}-{threads}")
        digests.add(export(root, directory, compression=way).sha256)
        trees.append({path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()})
    assert trees[0] == trees[1] == trees[2]
    assert len(digests) == 1
    assert stacked(target.with_name(f"{way}-1"))


def test_the_diff_ids_do_not_depend_on_the_compression(root: bytes, target: Path) -> None:
    fill_all(root)
    plain, packed = export(root, target, compression="none"), export(root, target.with_name("gzip"))
    assert [each.diff_id for each in plain.layers] == [each.diff_id for each in packed.layers]
    assert [each.digest for each in plain.layers] == [each.diff_id for each in plain.layers]


CHUNK = 1 << 20


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-3, 3), st.integers(0, 4), st.integers(1, 4), st.sampled_from([b"", b"abc", os.urandom(4096)]))
def test_gzip_is_one_stream_for_any_number_of_threads(
    tmp_path: Path, off: int, chunks: int, threads: int, pattern: bytes
) -> None:
    """Around the borders of chunks: it unpacks to what went in, and its bytes are those of one thread."""
    length = max(0, chunks * CHUNK + off)
    data = (pattern * (length // len(pattern) + 1))[:length] if pattern else bytes(length)
    streams = [packed(tmp_path / "x", "gzip", data, each) for each in (1, threads)]
    assert streams[0] == streams[1]
    assert gzip.decompress(streams[0]) == data
    assert streams[0].count(b"\x1f\x8b\x08\0\0\0\0\0\0\xff") == 1


def packed(path: Path, way: str, data: bytes, threads: int) -> bytes:
    """A blob's bytes, checked against what it says of itself."""
    with open(path, "wb") as file, Blob(file.fileno(), compression(way), Pace(None), threads) as output:
        for at in range(0, len(data), 300_007):
            output.put(data[at : at + 300_007])
        written = output.finish()
    found = path.read_bytes()
    assert (written.digest, written.size) == (hashlib.sha256(found).hexdigest(), len(found))
    assert written.diff_id == hashlib.sha256(data).hexdigest()
    return found


def test_gzip_itself_reads_it(tmp_path: Path) -> None:
    package_images.tool("gzip")
    data = os.urandom(CHUNK) + bytes(3 * CHUNK) + b"end"
    packed(tmp_path / "x.gz", "gzip", data, 3)
    subprocess.run(["gzip", "-t", tmp_path / "x.gz"], check=True)
    assert subprocess.run(["gzip", "-dc", tmp_path / "x.gz"], check=True, capture_output=True).stdout == data


def test_zstd_itself_reads_it(tmp_path: Path) -> None:
    package_images.tool("zstd")
    require_zstandard()
    data = os.urandom(CHUNK) + bytes(9 * CHUNK) + b"end"
    found = packed(tmp_path / "x.zst", "zstd", data, 3)
    subprocess.run(["zstd", "-tq", tmp_path / "x.zst"], check=True)
    assert unzstd(found) == data


def test_without_a_library_for_zstd_it_is_said_at_once(
    root: bytes, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, b"/etc/x")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(UnavailableError, match="zstd") as caught:
        export(root, target, compression="zstd")
    assert "slimagent[zstd]" in caught.value.hint
    assert list(target.parent.iterdir()) == []


# What changes when something is added


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An image with a real virtual environment, RStudio's directory, an R library, and a home."""
    base = tmp_path_factory.mktemp("venv").resolve()
    root = base / "root"
    python_images.command(sys.executable, "-m", "venv", "--copies", root / "opt" / "venv")
    for path in ("usr/lib/libx.so", "usr/lib/rstudio-server/bin/rserver", "home/j/x"):
        write(os.fsencode(root), b"/" + path.encode())
    write(os.fsencode(root), b"/usr/lib/R/library/dplyr/DESCRIPTION", b"Package: dplyr\nVersion: 1\nBuilt: R 4.3\n")
    write(os.fsencode(root), b"/usr/lib/R/library/dplyr/Meta/package.rds", b"x")
    yield root


def digests(receipt: Receipt) -> dict[str, tuple[str, str]]:
    return {layer.component: (layer.digest, layer.diff_id) for layer in receipt.layers}


def test_one_python_package_more_changes_only_the_layer_that_holds_it(environment: Path, target: Path) -> None:
    """Installed by pip into a real environment: the digests of all other layers are the same."""
    wheel = python_images.wheel(target.parent, "quick", {"quick/__init__.py": "x = 1\n"}, scripts=["quick"])
    before = digests(export(os.fsencode(environment), target))
    python_images.pip_install(environment / "opt" / "venv" / "bin" / "python", wheel)
    after = digests(export(os.fsencode(environment), target.with_name("after")))
    assert set(before) == {"system", "ide", "r", "python", "rest", "shared"}
    assert {name for name in before if before[name] != after[name]} == {"python"}
    assert "opt/venv/bin/quick" in stacked(target.with_name("after"))


@pytest.mark.parametrize(
    ("name", "path", "changed"),
    [
        ("r-cran-quick", "/usr/lib/R/site-library/quick/file", "r"),
        ("libquick", "/usr/lib/quick.so", "system"),
        ("code-server", "/usr/lib/code-server/file", "ide"),
    ],
)
def test_one_debian_package_more_changes_its_layer_and_the_records(
    environment: Path, tmp_path: Path, target: Path, name: str, path: str, changed: str
) -> None:
    """Installed by dpkg: what it rewrites for every package, its `status`, is in the last and small layer."""
    root, packages = tmp_path / "root", tmp_path / "packages"
    shutil.copytree(environment, root, symlinks=True)
    package_images.empty_root(root)
    package_images.dpkg(os.fsencode(root), "--install", package_images.build_package(packages, "old", ["/usr/lib/old"]))
    before = digests(export(os.fsencode(root), target))
    package_images.dpkg(os.fsencode(root), "--install", package_images.build_package(packages, name, [path]))
    after = digests(export(os.fsencode(root), target.with_name("after")))
    assert set(before) == set(after)
    assert {layer for layer in after if before[layer] != after[layer]} == {changed, "shared"}


# What is refused, and what is left behind


def test_a_directory_in_use_is_refused(root: bytes, target: Path) -> None:
    write(root, b"/etc/x")
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(RefusedError, match="is not empty"):
        export(root, target)
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_a_directory_in_the_image_is_refused(root: bytes) -> None:
    write(root, b"/etc/x")
    with pytest.raises(RefusedError, match="lies in the image"):
        export(root, Path(os.fsdecode(root)) / "image")
    assert os.listdir(root) == [b"etc"]


def test_a_part_of_an_image_is_refused(root: bytes, target: Path) -> None:
    write(root, b"/opt/x")
    inventory = scan(root, (b"/opt",))
    with pytest.raises(RefusedError, match="whole root file system"):
        apply.export(owned_plan(inventory), "digest", inventory, apply.Layout(path=os.fsencode(target)))


@pytest.mark.parametrize("path", [b"/etc/.wh.passwd", b"/etc/.wh..wh..opq", b"/etc/.wh.d/file"])
def test_a_name_that_would_remove_lower_files_is_refused(root: bytes, target: Path, path: bytes) -> None:
    """A layer has no way to hold it: engines take it for the mark of a removal."""
    write(root, path)
    with pytest.raises(RefusedError, match=r"no image can hold /etc/\.wh\."):
        export(root, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
def test_a_device_that_would_hide_lower_files_is_refused(root: bytes, target: Path) -> None:
    """F: engines that stack directories take a character device 0:0 for a removal; other devices are no matter."""
    os.mknod(root + b"/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root + b"/disk", stat.S_IFBLK | 0o600, 0)
    export(root, target)
    assert {"null", "disk"} <= stacked(target).keys()
    try:
        os.mknod(root + b"/gone", stat.S_IFCHR | 0o600, 0)
    except PermissionError:
        pytest.skip("this container's rules for devices forbid to make 0:0")
    with pytest.raises(RefusedError, match=r"no image can hold /gone: a character device 0:0"):
        export(root, target.with_name("other"))


def test_an_attribute_that_engines_cannot_read_is_refused(root: bytes, target: Path) -> None:
    """F1: they end its name at the equals sign. Names with a percent sign are in a layer as they are."""
    write(root, b"/file")
    try:
        os.setxattr(root + b"/file", b"user.a%25b%3D%", b"x")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    export(root, target)
    assert members(tars(target)[0])["file"].pax_headers["SCHILY.xattr.user.a%25b%3D%"] == "x"
    os.setxattr(root + b"/file", b"user.a=b", b"x")
    with pytest.raises(RefusedError, match=r"no layer can hold the attribute user\.a=b of /file"):
        export(root, target.with_name("other"))
    assert list(target.parent.iterdir()) == [target]


def test_a_socket_is_left_out_and_said_so(root: bytes, target: Path) -> None:
    add_socket(root)
    receipt = export(root, target)
    assert receipt.left_alone == ((b"/socket", "a tar cannot hold a socket"),)
    assert receipt.kept == 1
    assert list(stacked(target)) == ["."]


@pytest.mark.parametrize("way", ["gzip", "none"])
def test_a_file_that_changes_meanwhile_leaves_nothing(root: bytes, target: Path, way: str) -> None:
    write(root, b"/etc/a", bytes(9_000_000))
    write(root, b"/etc/log", b"12345")
    inventory = scan(root)
    os.truncate(root + b"/etc/log", 2)
    with pytest.raises(RefusedError, match="/etc/log"):
        apply.export(
            owned_plan(inventory), "digest", inventory, apply.Layout(path=os.fsencode(target), compression=way)
        )
    assert list(target.parent.iterdir()) == []
    assert not [each for each in threading.enumerate() if each.name.startswith(("blob", "compress"))]


@pytest.mark.parametrize("way", ["gzip", "none"])
def test_a_full_disk_leaves_nothing_behind(root: bytes, target: Path, way: str) -> None:
    """A limit on file size is hit as a full disk is: in the middle of a write, in another thread."""
    write(root, b"/etc/big", os.urandom(25_000_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, hard))
    try:
        with pytest.raises(UnavailableError, match="cannot write"):
            export(root, target, compression=way)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(target.parent.iterdir()) == []
    assert not [each for each in threading.enumerate() if each.name.startswith(("blob", "compress"))]


def test_a_really_full_disk_is_said_and_left_empty(root: bytes, small_disk: bytes) -> None:
    write(root, b"/etc/big", os.urandom(6_000_000))
    with pytest.raises(UnavailableError, match="No space left") as caught:
        export(root, Path(os.fsdecode(small_disk)) / "image")
    assert "free some space" in caught.value.hint
    assert os.listdir(small_disk) == []


def test_an_error_in_a_thread_is_raised_and_ends_all_threads(tmp_path: Path) -> None:
    """A compressor that fails is not waited for forever, however much comes after."""

    class Broken(type(compression("gzip"))):  # type: ignore[misc]
        def pack(self, data: memoryview, before: bytes, *, last: bool) -> bytes:
            raise ValueError("broken")

    def write_much() -> None:
        with open(tmp_path / "x", "wb") as file, Blob(file.fileno(), Broken(), Pace(None), 2) as output:
            for _ in range(40):
                output.put(bytes(CHUNK))
            output.finish()

    with pytest.raises(ValueError, match="broken"):
        write_much()
    assert not [each for each in threading.enumerate() if each.name.startswith(("blob", "compress"))]


def test_an_ordinary_user_can_export(open_folder: bytes) -> None:
    """No right is needed for the layout of a tree that can be read."""
    write(open_folder, b"/root/etc/x")
    assert as_ordinary_user(lambda: none(export(open_folder + b"/root", Path(os.fsdecode(open_folder)) / "image")))
    assert os.path.exists(open_folder + b"/image/index.json")


def none(_: object) -> None:
    """Nothing, from something."""


def test_others_see_what_the_umask_allows(root: bytes, target: Path) -> None:
    write(root, b"/etc/x")
    for umask, directory, file in ((0o022, 0o755, 0o644), (0o077, 0o700, 0o600)):
        before = os.umask(umask)
        try:
            export(root, target.with_name(oct(umask)))
        finally:
            os.umask(before)
        assert target.with_name(oct(umask)).stat().st_mode & 0o777 == directory
        assert (target.with_name(oct(umask)) / "index.json").stat().st_mode & 0o777 == file


def test_progress_counts_what_goes_in(root: bytes, target: Path) -> None:
    write(root, b"/etc/x", bytes(3_000_000))
    write(root, b"/opt/x", bytes(3_000_000))
    inventory, seen = scan(root), list[int]()
    apply.export(owned_plan(inventory), "digest", inventory, apply.Layout(path=os.fsencode(target)), seen.append)
    assert seen[-1] == sum(map(len, tars(target)))


def test_memory_is_bounded_by_threads() -> None:
    assert 1 <= blobs.cores() <= 16


def test_skopeo_reads_the_layout(root: bytes, target: Path, tmp_path: Path) -> None:
    """It inspects it, by name too, and copies it, which checks every digest."""
    package_images.tool("skopeo")
    fill_all(root)
    receipt = export(root, target, tag="lab/slim:one", config=read_image_config(json.dumps(INSPECTED).encode()))
    for name in (f"oci:{target}", f"oci:{target}:one"):
        done = skopeo("inspect", name)
        assert done["Digest"] == f"sha256:{receipt.sha256}"
        assert done["Env"] == CONFIG["Env"]
        assert len(done["Layers"]) == 6
    skopeo("copy", f"oci:{target}", f"dir:{tmp_path / 'copy'}")
    archive(target, tmp_path / "archive.tar")
    old = skopeo("inspect", f"docker-archive:{tmp_path / 'archive.tar'}")
    assert (old["Env"], len(old["Layers"])) == (CONFIG["Env"], 6)


def skopeo(*arguments: str) -> Any:
    command = ["skopeo", "--insecure-policy", "--override-arch", "arm64", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout) if arguments[0] == "inspect" else None


def archive(layout: Path, tar: Path) -> None:
    subprocess.run(["tar", "-C", layout, "-cf", tar, "."], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="Podman unpacks owners and devices as root only")
@pytest.mark.parametrize("way", COMPRESSIONS)
@pytest.mark.parametrize("form", ["archive", "layout"])
def test_podman_loads_it(root: bytes, target: Path, tmp_path: Path, way: str, form: str) -> None:
    """As an archive and as a directory; its storage is in a directory of the test's, so that nothing stays."""
    package_images.tool("podman")
    if way == "zstd":
        require_zstandard()
    write(root, b"/etc/x")
    write(root, b"/opt/x")
    config = replace(plain_config(os.uname().machine), config=CONFIG)
    export(root, target, tag="lab/slim:one", config=config, compression=way)
    with tempfile.TemporaryDirectory() as run:  # a short path, as Podman wants it
        storage = ("podman", "--root", tmp_path / "storage", "--runroot", run, "--storage-driver", "vfs")
        if form == "archive":
            archive(target, tmp_path / "archive.tar")
            package_images.output(*storage, "load", "-i", tmp_path / "archive.tar")
        else:
            package_images.output(*storage, "pull", "-q", f"oci:{target}:one")
        (found,) = json.loads(package_images.output(*storage, "images", "--format", "json"))
        assert form == "layout" or found["Names"] == ["docker.io/lab/slim:one"]
        (seen,) = json.loads(package_images.output(*storage, "image", "inspect", found["Id"]))
    assert (seen["Config"]["Env"], seen["User"]) == (CONFIG["Env"], "jovyan")
    assert len(seen["RootFS"]["Layers"]) == 3


def require_zstandard() -> None:
    try:
        compression("zstd")
    except UnavailableError:
        python_images.lacking("no library for zstd: pip install 'slimagent[zstd]'")
