"""Which names of an engine's images stand for the image that is examined, and that they go on doing so.

A name that tests build, pull or tag anew stands for another image from then on. What its containers need is not what
the examined image must have, so nothing would be proved by them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from slimagent.errors import RefusedError
from slimagent.image.engine_api import told
from slimagent.model.references import same

_SHOWN = 19  # characters of an ID


class ImageNames:
    """Names for the image with the ID `original`, as the engine behind the socket `engine` knows them.

    `name` is the user's, and `aliases` are those that the image had when we began. `tell` is for people.
    """

    def __init__(
        self,
        engine: str,
        original: str,
        name: str,
        aliases: Sequence[str],
        layers: Sequence[str],
        tell: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._original = original
        self._name = name
        self._known = {name, *aliases}
        self._layers = list(layers)
        self._tell, self._told = tell, set[str]()
        self._lock = threading.Lock()  # clients ask at the same time
        self._at_first = self._identity(name)

    def stands_for_it(self, name: str) -> bool:
        """Whether a client's name for an image means the one that is examined. Tells once of images built on it.

        Raises RefusedError for a name that meant it once and now means another one.
        """
        found = self._described(name)
        if found is None:
            return False
        with self._lock:
            if found.get("Id") == self._original:
                self._known.add(name)
                return True
            if any(name == each or same(name, each) for each in self._known):
                raise self._moved(name, str(found.get("Id")))
            layers = (found.get("RootFS") or {}).get("Layers") or []
            if self._layers and layers[: len(self._layers)] == self._layers and name not in self._told:
                self._told.add(name)
                self._tell(f"{name} is built on the image: what its containers need of it was not seen, nor proved")
        return False

    def is_now(self, name: str) -> bool:
        """Whether a name means the examined image now, whatever it meant before."""
        return self._identity(name) == self._original

    def see_that_it_stayed(self) -> None:
        """Raise RefusedError if the user's name came to mean another image while the tests ran."""
        now = self._identity(self._name)
        if now and self._at_first and now != self._at_first:
            raise self._moved(self._name, now)

    def _moved(self, name: str, now: str) -> RefusedError:
        return RefusedError(
            f"{name} is no longer the image that slimagent examines: it was {self._original[:_SHOWN]}, and since then "
            f"it became {now[:_SHOWN]}",
            "do not build, pull or tag that name while the tests run (with Compose: leave out `build:`); build it "
            "first, then slim it",
        )

    def _identity(self, name: str) -> str:
        found = self._described(name)
        return "" if found is None else str(found.get("Id", ""))

    def _described(self, name: str) -> dict[str, Any] | None:
        return told(self._engine, f"/images/{name}/json") if name else None
