"""What is made on the way from an image to a slim one, and taken away again however the way ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from types import TracebackType

from slimagent.errors import (
    CheckFailedError,
    RefusedError,
    SlimagentError,
    UnavailableError,
    UsageError,
)
from slimagent.files import explained, make_folder
from slimagent.image.agent import Bundle
from slimagent.image.engine import Container, Engine, deferred

# Where containers see the agent and its output: names that no image has, since a mount hides what is below it.
AGENT, OUT = "/.slimagent", "/.slimagent-out"
LAYOUT = "layout"
_ERRORS: dict[int, type[SlimagentError]] = {2: UsageError, 3: RefusedError, 4: UnavailableError}
_REMOVE = "import shutil, sys; [shutil.rmtree(each) for each in sys.argv[1:]]"


class Work:
    """Containers, images under pending names, and a folder for what is on its way. Use as a context manager.

    `folder` lies in `out`, so that documents are renamed from one to the other. `container` says how containers are
    started; `say` gets their lines.
    """

    def __init__(
        self, engine: Engine, agent: Bundle, out: str, container: Container, say: Callable[[bytes], None]
    ) -> None:
        self._engine = engine
        self._agent = agent
        self._out = os.path.abspath(out)
        self._container = container
        self._say = say
        self._key = secrets.token_hex(6)
        self._names: list[str] = []
        self._pending: list[str] = []
        self.folder = ""

    def __enter__(self) -> Work:
        make_folder(self._out)
        try:
            self.folder = tempfile.mkdtemp(prefix=".work-", dir=self._out)
            os.chmod(self.folder, 0o755)  # noqa: S103  # checks run as another user read their profile in it
        except OSError as error:
            raise explained(error, self._out) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with deferred():
            for name in self._names:
                self._engine.remove_container(name)
            for name in reversed(self._pending):
                self._engine.remove_image(name)
            self._remove_folder()

    def path(self, name: str) -> str:
        """Where a document is while the work goes on."""
        return os.path.join(self.folder, name)

    def hand_out(self, names: Collection[str]) -> None:
        """Move what is there of these documents to the output folder."""
        for name in filter(lambda each: os.path.exists(self.path(each)), names):
            try:
                os.replace(self.path(name), os.path.join(self._out, name))
            except OSError as error:
                raise explained(error, os.path.join(self._out, name)) from None

    def run(self, image: str, arguments: tuple[str, ...], allowed: Collection[int] = (0,)) -> bytes:
        """Run the agent in a new container of an image, to its end. Returns what it printed.

        Raises what fits the agent's exit status, if that is not among those allowed; it has said itself what was wrong.
        """
        name = f"slimagent-{self._key}-{len(self._names)}"
        self._create(name, image, (*self._agent.entry(AGENT), *arguments))
        status, output = self._engine.run(name, self._say)
        self._engine.remove_container(name)
        if status not in allowed:
            raise _ERRORS.get(status, CheckFailedError)(
                f"`slimagent {arguments[0]}` in a container of {image} ended with status {status}",
                "its own message is above",
            )
        return output

    def _create(self, name: str, image: str, entry: tuple[str, ...]) -> None:
        """Make a container that sees the agent and the folder for its output; it goes at the end, whatever happens."""
        mounts = ((self._agent.folder, AGENT, False), (self.folder, OUT, True))
        self._names.append(name)
        self._engine.create(name, replace(self._container, image=image, entry=entry, mounts=mounts))

    def load(self, progress: Callable[[int], None]) -> None:
        """Load the layout that the agent made, under its pending name; then it is not needed any more."""
        layout = self.path(LAYOUT)
        self._engine.load(layout, progress)
        self._remove(layout)

    @property
    def pending(self) -> str:
        """The name of the image that was loaded last."""
        return self._pending[-1]

    def next_pending(self) -> str:
        """A name for an image that is not proved yet."""
        self._pending.append(f"slimagent-pending:{self._key}-{len(self._pending)}")
        return self._pending[-1]

    def _remove_folder(self) -> None:
        if self.folder:
            self._remove(self.folder)

    def _remove(self, folder: str) -> None:
        """Remove a folder. What a container's root made in it, on an engine that runs as root, only that may remove."""
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError:
            self._remove_as_root()
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_as_root(self) -> None:
        python = self._agent.entry(AGENT)[:-1]
        name = f"slimagent-{self._key}-remove-{len(self._names)}"
        inside = [f"{OUT}/{each}" for each in os.listdir(self.folder)]
        with contextlib.suppress(SlimagentError):
            self._create(name, self._container.image, (*python, "-c", _REMOVE, *inside))
            self._engine.run(name, lambda line: None)
        self._engine.remove_container(name)
