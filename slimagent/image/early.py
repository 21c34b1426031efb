"""Load an image's layers while the later ones are still written: an engine takes as long for that as the export does.

Docker does not ask for a layer that it has: `docker load` looks it up, by its digest and those of all below, and opens
its file after that. So each layer that is ready becomes the last one of an image of its own, and the whole image needs
little but its configuration in the end. The form is that of the Docker Image Specification v1.2.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading

import orjson

from slimagent.errors import SlimagentError
from slimagent.files import make_folder, write
from slimagent.image.engine import Engine

_READY = re.compile(r"([0-9]{3})-([0-9a-f]{64})")  # as the agent links layers: their number, and their digest
_LOOK_EVERY = 0.1  # seconds


class EarlyLoading:
    """Loads what appears in the directory `ready`, in its order, until `finish`. `known` are layers that are loaded.

    `place` is a directory of our own on the same file system; `names` are the images' names, which the caller removes.
    What goes wrong here costs nothing but time: the whole image is loaded in the end.
    """

    def __init__(self, engine: Engine, ready: str, place: str, platform: dict[str, str], name: str) -> None:
        self.known: list[str] = []
        self.names: list[str] = []
        self._engine = engine
        self._ready = ready
        self._place = place
        self._platform = platform
        self._name = name
        self._ended = threading.Event()

    def run(self) -> None:
        """Load layers until `finish`, or until one cannot be loaded."""
        with contextlib.suppress(SlimagentError, OSError):
            while not self._ended.wait(_LOOK_EVERY):
                for digest in self._new():
                    self._load(digest)
                    if self._ended.is_set():
                        return

    def finish(self) -> None:
        """Begin with no further layer."""
        self._ended.set()

    def _new(self) -> list[str]:
        found = (match for name in os.listdir(self._ready) if (match := _READY.fullmatch(name)))
        digests = {int(match[1]): match[2] for match in found}
        known = len(self.known)
        return [digests[number] for number in range(known, len(digests)) if number in digests]

    def _load(self, digest: str) -> None:
        number = len(self.known)
        layers = [*self.known, _blob(digest)]
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
        self.names.append(f"{self._name}{number}")
        self._engine.load(layout, self.names[-1], lambda count: None, self.known)
        self.known.append(_blob(digest))


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _diff_id(blob: str) -> str:
    return f"sha256:{blob.rpartition('/')[2]}"
