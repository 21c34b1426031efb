"""Layers are loaded as they become ready, with a real engine: the whole image then needs none of them."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tarfile
import threading
import time
from pathlib import Path

import pytest
from apply_images import root, write
from layout_images import export

from slimagent.image.early import EarlyLoading
from slimagent.image.engine import Engine

__all__ = ["root"]  # a fixture

PLATFORM = {"architecture": "amd64", "os": "linux"}


def layer(folder: Path, name: str) -> tuple[str, bytes]:
    """A layer with one file: its digest and its bytes."""
    (folder / name).write_text(name)
    with tarfile.open(folder / f"{name}.tar", "w") as archive:
        archive.add(folder / name, name)
    data = (folder / f"{name}.tar").read_bytes()
    return hashlib.sha256(data).hexdigest(), data


@pytest.fixture
def name() -> str:
    """How the names of the images begin."""
    return f"slimagent-test-early:{secrets.token_hex(4)}-"


def loading(engine: Engine, folder: Path, name: str) -> tuple[EarlyLoading, threading.Thread]:
    (folder / "ready").mkdir()
    early = EarlyLoading(engine, str(folder / "ready"), str(folder / "place"), PLATFORM, name)
    thread = threading.Thread(target=early.run)
    thread.start()
    return early, thread


def until(early: EarlyLoading, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(early.known) < count and time.monotonic() < deadline:
        time.sleep(0.05)


def test_the_whole_image_needs_no_layer_that_was_loaded_early(engine: Engine, tmp_path: Path, name: str) -> None:
    """Each layer comes once; the last load has the configuration alone, and the image has all of them in order."""
    layers = [layer(tmp_path, each) for each in ("a", "b", "c")]
    early, thread = loading(engine, tmp_path, name)
    tag = f"{name}whole"
    try:
        for number, (digest, data) in enumerate(layers):
            (tmp_path / f"{digest}").write_bytes(data)
            (tmp_path / f"{digest}").rename(tmp_path / "ready" / f"{number:03d}-{digest}")
        until(early, 3)
        early.finish()
        thread.join()
        digests = [digest for digest, _ in layers]
        assert early.known == [f"blobs/sha256/{digest}" for digest in digests]
        config = json.dumps(
            {**PLATFORM, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in digests]}}
        ).encode()
        blob = f"blobs/sha256/{hashlib.sha256(config).hexdigest()}"
        layout = tmp_path / "layout"
        (layout / "blobs/sha256").mkdir(parents=True)
        (layout / blob).write_bytes(config)
        manifest = [{"Config": blob, "RepoTags": None, "Layers": early.known}]
        (layout / "manifest.json").write_text(json.dumps(manifest))
        engine.load(str(layout), tag, lambda count: None, early.known)
        (image,) = json.loads(engine.inspect(tag))
        assert image["RootFS"]["Layers"] == [f"sha256:{each}" for each in digests]
    finally:
        for each in (*early.names, tag):
            engine.remove_image(each)


def test_each_layer_that_an_export_announces_is_loaded(engine: Engine, root: bytes, tmp_path: Path, name: str) -> None:
    """By the names that the export gives them: with other ones nothing would be wrong, but late."""
    for path in (b"/usr/lib/x", b"/opt/venv/pyvenv.cfg", b"/home/j/x"):
        write(root, path)
    early, thread = loading(engine, tmp_path, name)
    try:
        receipt = export(root, tmp_path / "image", compression="none", ready=os.fsencode(tmp_path / "ready"))
        early.finish()
        thread.join()
        assert len(receipt.layers) > 2
        assert early.known == [f"blobs/sha256/{each.digest}" for each in receipt.layers]
    finally:
        for each in early.names:
            engine.remove_image(each)


def test_what_cannot_be_loaded_ends_it_and_nothing_else(engine: Engine, tmp_path: Path, name: str) -> None:
    """A layer whose digest is another one: the engine refuses it, and no later one is tried."""
    digest, data = layer(tmp_path, "a")
    early, thread = loading(engine, tmp_path, name)
    (tmp_path / "ready" / f"000-{digest[::-1]}").write_bytes(data)
    thread.join(60)
    assert not thread.is_alive()
    assert early.known == []
    for each in early.names:
        engine.remove_image(each)


def test_names_of_other_forms_are_left_alone(engine: Engine, tmp_path: Path, name: str) -> None:
    """A later layer waits for the earlier one, and what is not a layer is none."""
    digest, data = layer(tmp_path, "a")
    early, thread = loading(engine, tmp_path, name)
    for odd in (f"001-{digest}", f"000-{digest}.partial", "000-../../x".replace("/", "_"), digest):
        (tmp_path / "ready" / odd).write_bytes(data)
    time.sleep(0.5)
    early.finish()
    thread.join()
    assert (early.known, early.names) == ([], [])


def test_what_is_there_at_the_end_is_loaded_and_after_giving_up_nothing(
    engine: Engine, tmp_path: Path, name: str
) -> None:
    layers = [layer(tmp_path, each) for each in ("a", "b", "c")]
    for finished in (True, False):
        folder = tmp_path / str(finished)
        folder.mkdir()
        (folder / "ready").mkdir()
        early = EarlyLoading(engine, str(folder / "ready"), str(folder / "place"), PLATFORM, f"{name}{finished}-")
        for number, (digest, data) in enumerate(layers):
            (folder / "ready" / f"{number:03d}-{digest}").write_bytes(data)
        early.finish() if finished else early.give_up()
        try:
            early.run()
        finally:
            for each in early.names:
                engine.remove_image(each)
        assert early.known == [f"blobs/sha256/{digest}" for digest, _ in layers if finished]
        assert (early.sent > sum(len(data) for _, data in layers)) == finished
