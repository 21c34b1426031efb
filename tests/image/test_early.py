"""Layers are loaded as they become ready, with a real engine: the whole image then needs none of them.

What notices them is tested with real links in a real directory, and needs no engine.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from apply_images import root, write
from layout_images import export
from watchdog.observers import Observer

from slimagent.image import early as module
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


class Loads:
    """Takes the place of an engine: notes the images that it is asked to load."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def load(self, layout: str, tag: str, progress: object, known: object, wait: Callable[[], None]) -> None:
        wait()
        self.names.append(tag)


@pytest.mark.parametrize("watched", [True, False])
def test_a_layer_is_noticed_when_it_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    """At once by the watch, which the interval here is too long for; by looking, where no watch can be had."""
    monkeypatch.setattr(module, "_LOOK_ANYWAY" if watched else "_LOOK_EVERY", 600.0 if watched else 0.05)
    if not watched:

        def start(self: object) -> None:
            raise OSError(errno.EMFILE, "inotify instance limit reached")

        monkeypatch.setattr(Observer, "start", start)
    (tmp_path / "ready").mkdir()
    data = [b"a", b"b", b"c"]
    digests = [hashlib.sha256(each).hexdigest() for each in data]
    for digest, each in zip(digests, data, strict=True):
        (tmp_path / digest).write_bytes(each)

    def link(number: int) -> None:
        os.link(tmp_path / digests[number], tmp_path / "ready" / f"{number:03d}-{digests[number]}")

    link(0)  # is there before the watch begins
    loads = Loads()
    early = EarlyLoading(loads, str(tmp_path / "ready"), str(tmp_path / "place"), PLATFORM, "name")  # type: ignore[arg-type]
    thread = threading.Thread(target=early.run)
    thread.start()
    for number in range(3):
        if number:
            time.sleep(0.3)  # by then nothing but the layer wakes the one who waits
            link(number)
        until(early, number + 1)
        assert loads.names == [f"name{each}" for each in range(number + 1)]
    early.finish()
    thread.join(60)
    assert not thread.is_alive()
    assert early.known == [f"blobs/sha256/{digest}" for digest in digests]
    assert [each.name for each in threading.enumerate() if "Observer" in type(each).__name__] == []


def test_watchdog_is_imported_only_when_layers_are_waited_for() -> None:
    """An agent in a container comes without it."""
    program = "import sys, slimagent.workflows.slim_image; sys.exit('watchdog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
