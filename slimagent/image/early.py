"""Load an image's layers while the later ones are still written: an engine takes as long for that as the export does.

Docker does not ask for a layer that it has: `docker load` looks it up, by its digest and those of all below, and opens
its file after that. So each layer that is ready becomes the last one of an image of its own, and the whole image needs
little but its configuration in the end. The form is that of the Docker Image Specification v1.2.

Docker writes a layer down twice: as it comes, and then as files. So the next one is on its way while one becomes files:
what says which layers it lies on, the manifest, is held back until those are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import orjson

from slimagent.errors import SlimagentError
from slimagent.image.engine import Engine
from slimagent.linux.files import make_folder, write

_READY = re.compile(r"([0-9]{3})-([0-9a-f]{64})")  # as the agent links layers: their number, and their digest
_LOOK_EVERY = 0.1  # seconds
_AT_A_TIME = 2


class EarlyLoading:
    """Loads what appears in the directory `ready`, in its order, until the end. `known` are layers that are loaded.

    `place` is a directory of our own on the same file system; `names` are the images' names, which the caller removes;
    `sent` counts bytes. What goes wrong here costs nothing but time: the whole image is loaded in the end.
    """

    def __init__(self, engine: Engine, ready: str, place: str, platform: dict[str, str], name: str) -> None:
        self.known: list[str] = []
        self.names: list[str] = []
        self._engine = engine
        self._ready = ready
        self._place = place
        self._platform = platform
        self._name = name
        self._all_there, self._given_up = threading.Event(), threading.Event()
        self._sent: list[int] = []
        self._loads: list[Future[None]] = []

    @property
    def sent(self) -> int:
        """Bytes that the engine has been sent so far."""
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
        """No further layer will come: end when those that are there are loaded."""
        self._all_there.set()

    def give_up(self) -> None:
        """Begin with no further layer."""
        self._given_up.set()
        self._all_there.set()

    def _load_all(self, pool: ThreadPoolExecutor) -> None:
        layers: list[str] = []
        ended = False
        while not ended:
            ended = self._all_there.wait(_LOOK_EVERY)
            for digest in self._new(len(layers)):
                before = self._loads[-1].result if self._loads else lambda: None
                self._sent.append(0)
                self._loads.append(pool.submit(self._load, tuple(layers), digest, before))
                layers.append(_blob(digest))
            for load in self._loads:
                if ended or load.done():
                    load.result()

    def _new(self, known: int) -> list[str]:
        found = (match for name in os.listdir(self._ready) if (match := _READY.fullmatch(name)))
        digests = {int(match[1]): match[2] for match in found}
        new: list[str] = []
        while known + len(new) in digests:
            new.append(digests[known + len(new)])
        return new

    def _load(self, below: tuple[str, ...], digest: str, before: Callable[[], None]) -> None:
        """Load a layer that lies on others, each of which is loaded when `before` returns."""
        if self._given_up.is_set():
            return
        number = len(below)
        layers = [*below, _blob(digest)]
        config = orjson.dumps(
            {**self._platform, "rootfs": {"type": "layers", "diff_ids": [_diff_id(each) for each in layers]}}
        )
        layout = os.path.join(self._place, f"{number}")
        make_folder(os.path.join(layout, "blobs/sha256"))
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


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _diff_id(blob: str) -> str:
    return f"sha256:{blob.rpartition('/')[2]}"
