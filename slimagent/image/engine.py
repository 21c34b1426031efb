"""Docker and Podman, driven from outside through their command lines, which agree on all that is used here.

Sources: the reference of `docker` and the manual pages of `podman`: create, start, wait, kill, stop, logs, cp, ps, rm,
load, tag, rmi, images, inspect, history. No privilege is asked for beyond starting a container, and nothing is fetched
from a registry.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from typing import IO, Any, TypeVar

from slimagent.errors import SlimagentError, UnavailableError, UsageError
from slimagent.image.complaint import sentence, why_unreachable
from slimagent.image.container import Container
from slimagent.image.layout import send
from slimagent.image.streams import PATIENCE, Reader, child, first_file, holds_anything, last_bytes
from slimagent.linux.signals import deferred
from slimagent.model.references import is_reference
from slimagent.text.json_input import parsed

ENGINES = ("docker", "podman")
_SHORT = 120.0  # seconds: longer than any answer of an engine that lives
_LOG_LINES = 10_000  # of a container's log: more than anybody reads
_MIB = 1 << 20
_T = TypeVar("_T")


class EngineRefusedError(UnavailableError):
    """The engine works, and does not do what it was asked for. `words` are its own."""

    def __init__(self, message: str, hint: str, words: str) -> None:
        super().__init__(message, hint)
        self.words = words


class Engine:
    """One engine, by its program.

    Every method raises EngineRefusedError, with the engine's own sentence, when the engine refuses, and
    UnavailableError when it cannot be reached.
    """

    def __init__(self, name: str, program: str) -> None:
        self.name = name
        self._program = program

    def find_image(self, image: str) -> bytes | None:
        """What `image inspect` says, as JSON: a list of one. None if there is no such image here."""
        ended = self._ask("image", "inspect", image)
        if ended.returncode == 0:
            return ended.stdout
        words = sentence(ended.stderr)
        if any(each in words.lower() for each in ("no such image", "not known", "invalid reference format")):
            return None
        raise self._failed("inspect", words)

    def inspect(self, image: str) -> bytes:
        """What `image inspect` says, as JSON: a list of one. Raises UsageError for an image that is not here."""
        found = self.find_image(image)
        if found is None:
            if not is_reference(image):
                raise UsageError(f"there is no image {image!r} here", "write NAME, NAME:TAG or the ID of an image")
            raise UsageError(f"there is no image {image} here", f"get it first: {self.name} pull {image}")
        return found

    def history(self, image: str) -> bytes:
        """What `history` says: a JSON object per line (Docker) or a list (Podman), the newest first."""
        form = "{{json .}}" if self.name == "docker" else "json"
        return self._need("history", "--no-trunc", "--format", form, image)

    def image_names(self, repository: str) -> list[str]:
        """The names, with their tags, that images have in a repository."""
        return self._lines("images", "--format", "{{.Repository}}:{{.Tag}}", repository)

    def container_names(self, prefix: str) -> list[str]:
        """The names of containers, running or not, that begin so."""
        names = self._lines("ps", "--all", "--filter", f"name={prefix}", "--format", "{{.Names}}")
        return [name for name in names if name.startswith(prefix)]

    def create(self, name: str, container: Container) -> None:
        """Make a container of that name; it does not run yet. The image must be here: none is pulled."""
        self._need("create", "--name", name, "--pull", "never", *container.options(self.name))

    def run(self, name: str, say_out: Callable[[bytes], None], say_err: Callable[[bytes], None]) -> int:
        """Start a container and wait for its end: its exit status.

        Its output and its errors are handed on line by line, each in a thread of its own; a line of more than 64 KiB
        comes in pieces, and nothing is kept. What `say_out` or `say_err` raises is raised at the end.
        """
        argv = [self._program, "start", "--attach", name]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stderr is not None and process.stdout is not None  # noqa: S101  # for the type checker
            readers = (Reader("output", process.stdout, say_out), Reader("errors", process.stderr, say_err))
            try:
                for reader in readers:
                    reader.wait()
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                for reader in readers:
                    reader.join()  # the streams are closed after this block
        for reader in readers:
            if reader.error is not None:
                raise reader.error
        if status != 0:
            self._see_that_it_started(name)
        return status

    def _see_that_it_started(self, name: str) -> None:
        """The exit status of `start` may be the engine's own. Raises EngineRefusedError if the container never ran."""
        try:
            state = self.inspect_container(name)["State"]
        except (EngineRefusedError, KeyError):  # an option says that it removes itself: then it has run
            return
        if state.get("Error"):
            raise self._failed("start a container", str(state["Error"]))

    def start(self, name: str) -> None:
        """Start a container and leave it running."""
        self._need("start", name)

    def wait(self, name: str, seconds: float | None = None) -> int | None:
        """Wait until a container has ended: its exit status. None if it still runs after so many seconds."""
        deadline = None if seconds is None else time.monotonic() + seconds
        argv = [self._program, "wait", name]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            while True:
                try:
                    told, errors = process.communicate(timeout=PATIENCE)
                    break
                except subprocess.TimeoutExpired:
                    if deadline is not None and time.monotonic() >= deadline:
                        process.kill()
                        return None
        if process.returncode != 0:
            raise self._failed("wait", sentence(errors))
        return int(told)

    def stop(self, name: str, with_signal: str = "", seconds: int = 10) -> None:
        """Ask a container to end, with a signal or else with the image's own; after so many seconds kill it."""
        if not with_signal:
            self._need("stop", "--time", str(seconds), name, patience=_SHORT + seconds)
            return
        try:
            self._need("kill", "--signal", with_signal, name)
            if self.wait(name, seconds) is None:
                self._need("kill", "--signal", "KILL", name)
                self.wait(name)
        except EngineRefusedError:
            if self.inspect_container(name)["State"]["Running"]:
                raise

    def logs(self, name: str, size: int = 64 << 10) -> bytes:
        """The last bytes that a container wrote, to its output and to its errors, as they came."""
        argv = [self._program, "logs", "--tail", str(_LOG_LINES), name]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None  # noqa: S101  # for the type checker
            kept = last_bytes(process.stdout, size)
        if process.returncode != 0:
            raise self._failed("logs", sentence(kept))
        return kept

    def inspect_container(self, name: str) -> dict[str, Any]:
        """What `container inspect` says of one: `State`, `NetworkSettings`, `Config` and more."""
        try:
            (found,) = parsed(self._need("container", "inspect", name))
            if isinstance(found, dict):
                return found
        except (ValueError, TypeError):
            pass
        raise self._failed("inspect", "its answer is not a description of one container")

    def is_healthy(self, name: str) -> bool:
        """Whether a container's own health check has passed last."""
        if self.name == "podman":  # a timer of systemd's runs it, where there is one
            return self._ask("healthcheck", "run", name).returncode == 0
        health = self.inspect_container(name)["State"].get("Health") or {}
        return bool(health.get("Status") == "healthy")

    def copy_out(self, name: str, path: str, limit: int = 16 * _MIB) -> bytes | None:
        """The bytes of a regular file in a container, which need not run. None for what is not one, or is larger."""
        follow = ("--follow-link",) if self.name == "docker" else ()  # Podman follows links without being told
        return self._copied(name, path, follow, lambda stream: first_file(stream, limit))

    def holds(self, name: str, path: str) -> bool:
        """Whether a container, which need not run, has anything at a path but an empty directory."""
        return self._copied(name, path, (), holds_anything)

    def _copied(self, name: str, path: str, options: tuple[str, ...], look: Callable[[IO[bytes]], _T]) -> _T:
        """What `look` makes of the tar that `cp` writes of a path in a container; it is empty if there is none."""
        argv = [self._program, "cp", *options, f"{name}:{path}", "-"]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None  # noqa: S101  # for the type checker
            found = look(process.stdout)
            process.kill()  # what follows in the stream is not read
            words = sentence(process.stderr.read())
        if why_unreachable(words, self.name):
            raise self._failed("cp", words)
        return found

    def remove_container(self, name: str) -> None:
        """Stop and remove a container with its anonymous volumes, if there is one of that name."""
        self._quietly("rm", "--force", "--volumes", name)

    def load(
        self,
        layout: str,
        tag: str,
        progress: Callable[[int], None],
        known: Collection[str] = (),
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the image of an OCI layout that has a `manifest.json` beside it; `progress` gets bytes sent.

        `tag` is the only name that it gets, whatever the layout says. `known` and `wait` as for `layout.send`, which
        raises, too.

        An interruption ends it: the engine drops what came only in part. What came whole it cannot be told to drop, so
        that its end is waited for; the caller then removes the image by its tag.
        """
        argv = [self._program, "load", "--quiet"]
        with child(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None and process.stderr is not None  # noqa: S101  # for the type checker
            with contextlib.suppress(BrokenPipeError):  # it has said why
                send(layout, tag, process.stdin, progress, known, wait)
            with deferred():
                words = process.stderr.read()
                status = process.wait()
            if status != 0:
                raise self._failed("load the image", sentence(words))

    def tag(self, source: str, target: str) -> None:
        """Give an image a further name."""
        self._need("tag", source, target)

    def remove_image(self, name: str) -> None:
        """Take a name off an image; one without another name goes."""
        self._quietly("rmi", "--force", name)

    def _ask(self, *arguments: str, patience: float = _SHORT) -> subprocess.CompletedProcess[bytes]:
        with deferred():
            try:
                return subprocess.run(
                    [self._program, *arguments],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=patience,
                    check=False,
                    start_new_session=True,
                )
            except subprocess.TimeoutExpired:
                raise self._failed(arguments[0], f"no answer within {patience:.0f} s") from None

    def _need(self, *arguments: str, patience: float = _SHORT) -> bytes:
        ended = self._ask(*arguments, patience=patience)
        if ended.returncode != 0:
            what = next(each for each in arguments if each != "container")
            raise self._failed(what, sentence(ended.stderr))
        return ended.stdout

    def _lines(self, *arguments: str) -> list[str]:
        return self._need(*arguments).decode("utf-8", "replace").split()

    def _quietly(self, *arguments: str) -> None:
        with contextlib.suppress(SlimagentError):
            self._ask(*arguments)

    def _failed(self, what: str, words: str) -> UnavailableError:
        message = f"{self.name} cannot {what}: {words or 'it says nothing'}"
        hint = why_unreachable(words, self.name)
        if hint:
            return UnavailableError(message, hint)
        return EngineRefusedError(message, f"see that `{self.name} info` works here", words)


def find(name: str | None) -> Engine:
    """The engine of that name; without one Docker, else Podman. Raises UnavailableError if it is not here."""
    for each in (name,) if name else ENGINES:
        program = shutil.which(each)
        if program:
            return Engine(each, program)
    raise UnavailableError(f"there is no {name or ' and no '.join(ENGINES)} here", "install one, or name it: --engine")
