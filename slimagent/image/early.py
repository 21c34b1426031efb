"""Load an image's layers while later ones are still being written, so that loading ends soon after the export.

`docker load` does not open the file of a layer that Docker already has. It looks the layer up by its digest and the
digests of all layers below. So each finished layer is loaded as the top of its own image, and in the end the whole
image needs little more than its configuration. The format is that of the Docker Image Specification v1.2.

Docker writes a layer twice: as it arrives, and then as files. So we send the next layer while Docker unpacks the
previous one. We hold back its manifest, which names the layers below, until those are loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import orjson

from slimagent.errors import SlimagentError
from slimagent.image.engine import Engine
from slimagent.linux.files import make_directory, write

logging.getLogger("watchdog").addHandler(logging.NullHandler())  # it logs that a watch has ended; we know
_READY = re.compile(r"([0-9]{3})-([0-9a-f]{64})")  # the agent's link to a layer: its number and digest
_LOOK_EVERY, _LOOK_ANYWAY = 0.1, 2.0  # seconds: without and with a watch (some file systems report nothing)
_AT_A_TIME = 2


class EarlyLoading:
    """Loads the layers that appear in the directory `ready`, in order. `known` are the layers loaded so far.

    `place` is a private directory on the same file system. The caller removes the images in `names`. A failure here
    only costs time: the whole image is loaded in the end.
    """

    def __init__(self, engine: Engine, ready: str, place: str, platform: dict[str, str], name: str) -> None:
        self.known: list[str] = []
        self.names: list[str] = []
        self._engine = engine
        self._ready = ready
        self._place = place
        self._platform = platform
        self._name = name
        self._news = threading.Event()  # look again: a layer appeared, a load ended, or no more layers will come
        self._all_there = self._given_up = False
        self._sent: list[int] = []
        self._loads: list[Future[None]] = []

    @property
    def sent(self) -> int:
        """Bytes sent to the engine so far."""
        return sum(self._sent)

    def run(self) -> None:
        """Load layers until the end, or until one cannot be loaded."""
        with contextlib.suppress(SlimagentError, OSError), ThreadPoolExecutor(_AT_A_TIME, "layer") as pool:
            try:
                self._load_all(pool)
            except BaseException:
                self.give_up()
                raise

    def finish(self) -> None:
        """Say that no more layers will come: it loads what is there, then ends."""
        self._all_there = True
        self._news.set()

    def give_up(self) -> None:
        """Start no more loads."""
        self._given_up = True
        self.finish()

    def _load_all(self, pool: ThreadPoolExecutor) -> None:
        layers: list[str] = []
        ended = False
        with _watched(self._ready, self._news.set) as seconds:
            while not ended:
                self._news.clear()
                ended = self._all_there  # read first, so that no layer is missed
                for digest in self._new(len(layers)):
                    before = self._loads[-1].result if self._loads else lambda: None
                    self._sent.append(0)
                    self._loads.append(pool.submit(self._load, tuple(layers), digest, before))
                    self._loads[-1].add_done_callback(lambda _: self._news.set())
                    layers.append(_blob(digest))
                for load in self._loads:
                    if ended or load.done():
                        load.result()
                if not ended:
                    self._news.wait(seconds)

    def _new(self, known: int) -> list[str]:
        found = (match for name in os.listdir(self._ready) if (match := _READY.fullmatch(name)))
        digests = {int(match[1]): match[2] for match in found}
        new: list[str] = []
        while known + len(new) in digests:
            new.append(digests[known + len(new)])
        return new

    def _load(self, below: tuple[str, ...], digest: str, before: Callable[[], None]) -> None:
        """Load a layer on top of the layers `below`, which are all loaded when `before` returns."""
        if self._given_up:
            return
        number = len(below)
        layers = [*below, _blob(digest)]
        config = orjson.dumps(
            {**self._platform, "rootfs": {"type": "layers", "diff_ids": [_diff_id(each) for each in layers]}}
        )
        layout = os.path.join(self._place, f"{number}")
        make_directory(os.path.join(layout, "blobs/sha256"))
        os.link(os.path.join(self._ready, f"{number:03d}-{digest}"), os.path.join(layout, _blob(digest)))
        config_name = _blob(hashlib.sha256(config).hexdigest())
        write(os.path.join(layout, config_name), config)
        manifest = [{"Config": config_name, "RepoTags": None, "Layers": layers}]
        write(os.path.join(layout, "manifest.json"), orjson.dumps(manifest))

        def progress(count: int) -> None:
            self._sent[number] = count

        self.names.append(f"{self._name}{number}")
        self._engine.load(layout, f"{self._name}{number}", progress, below, before)
        self.known.append(_blob(digest))


@contextlib.contextmanager
def _watched(directory: str, tell: Callable[[], None]) -> Iterator[float]:
    """Call `tell` when a name appears in a directory. Yields the seconds after which the caller should look anyway."""
    seconds = _LOOK_EVERY
    with contextlib.ExitStack() as rest:
        with contextlib.suppress(ImportError, OSError):  # e.g. this user has no inotify instance left
            # Imported only here: the agent in containers has no watchdog (model/agent.py).
            from watchdog.events import FileSystemEvent, FileSystemEventHandler
            from watchdog.observers import Observer

            logging.getLogger("watchdog").setLevel(logging.ERROR)  # a warning of its own when it is stopped at work

            class Appeared(FileSystemEventHandler):
                def on_created(self, event: FileSystemEvent) -> None:
                    tell()

                on_moved = on_created

            observer = Observer()
            observer.schedule(Appeared(), directory)
            observer.start()
            rest.callback(observer.join)
            rest.callback(observer.stop)
            seconds = _LOOK_ANYWAY
        yield seconds


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _diff_id(blob: str) -> str:
    return f"sha256:{blob.rpartition('/')[2]}"
