"""Drive Docker and Podman through their command lines, which agree on everything that is used here.

Sources: the reference of `docker` and the manual pages of `podman`: create, start, wait, kill, stop, logs, cp, ps, rm,
load, tag, rmi, images, inspect, history. It needs no privilege but to start a container, and pulls nothing from a
registry.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from typing import IO, Any, TypeVar

from slimagent.errors import RefusedError, SlimagentError, UnavailableError, UsageError
from slimagent.image.complaint import sentence, why_unreachable
from slimagent.image.container import Container
from slimagent.image.layout import send
from slimagent.image.streams import PATIENCE, Reader, child, first_file, holds_anything, last_bytes
from slimagent.linux.signals import deferred
from slimagent.model.references import is_reference
from slimagent.text.json_input import parsed

ENGINES = ("docker", "podman")
_SHORT = 120.0  # seconds: longer than a working engine takes for any answer
_LOG_LINES = 10_000  # of a container's log: more than anyone reads
_MIB = 1 << 20
_T = TypeVar("_T")


class EngineRefusedError(UnavailableError):
    """The engine works, but refused a request. `words` is its own message."""

    def __init__(self, message: str, hint: str, words: str) -> None:
        super().__init__(message, hint)
        self.words = words


class Engine:
    """One engine, driven by its program.

    Every method raises EngineRefusedError, with the engine's own message, when the engine refuses, and UnavailableError
    when it cannot be reached.
    """

    def __init__(self, name: str, program: str, host: str = "") -> None:
        self.name = name
        self._program = program
        self._command = (program, *(("--host", host) if host else ()))

    def through(self, path: str) -> Engine:
        """The same engine, asked through the Unix socket at `path`."""
        return Engine(self.name, self._program, f"unix://{path}")

    def socket(self) -> str:
        """The path of the Unix socket at which Docker's API answers. Raises RefusedError if it answers elsewhere."""
        if self.name != "docker":
            raise RefusedError(
                f"--from-host needs Docker: {self.name} has no API unless a service runs",
                "use --engine docker, or run the tests in the container",
            )
        form = "{{.Endpoints.docker.Host}}"
        host = os.environ.get("DOCKER_HOST") or self._need("context", "inspect", "--format", form).decode().strip()
        path = host.removeprefix("unix://")
        if path == host or not os.path.exists(path):
            raise RefusedError(f"--from-host needs an engine on this machine, not {host}", "unset DOCKER_HOST")
        return path

    def find_image(self, image: str) -> bytes | None:
        """What `image inspect` prints: a JSON list with one member. None if the engine does not have the image."""
        ended = self._ask("image", "inspect", image)
        if ended.returncode == 0:
            return ended.stdout
        words = sentence(ended.stderr)
        if any(each in words.lower() for each in ("no such image", "not known", "invalid reference format")):
            return None
        raise self._failed("inspect", words)

    def inspect(self, image: str) -> bytes:
        """What `image inspect` prints: a JSON list with one member. Raises UsageError if the image is not here."""
        found = self.find_image(image)
        if found is None:
            if not is_reference(image):
                raise UsageError(f"no such image here: {image!r}", "write NAME, NAME:TAG or the ID of an image")
            raise UsageError(f"no such image here: {image}", f"get it first: {self.name} pull {image}")
        return found

    def history(self, image: str) -> bytes:
        """What `history` prints: a JSON object per line (Docker) or a list (Podman), newest first."""
        form = "{{json .}}" if self.name == "docker" else "json"
        return self._need("history", "--no-trunc", "--format", form, image)

    def image_names(self, repository: str) -> list[str]:
        """The names, with tags, of the images in a repository."""
        return self._lines("images", "--format", "{{.Repository}}:{{.Tag}}", repository)

    def container_names(self, prefix: str) -> list[str]:
        """The names of containers, running or not, that begin with `prefix`."""
        names = self._lines("ps", "--all", "--filter", f"name={prefix}", "--format", "{{.Names}}")
        return [name for name in names if name.startswith(prefix)]

    def create(self, name: str, container: Container) -> None:
        """Create a container without starting it. The image must be here: the engine does not pull it."""
        self._need("create", "--name", name, "--pull", "never", *container.options(self.name))

    def run(self, name: str, say_out: Callable[[bytes], None], say_err: Callable[[bytes], None]) -> int:
        """Start a container, wait until it ends, and return its exit status.

        Passes on its output and its errors line by line, each from its own thread, and keeps nothing. A line of more
        than 64 KiB comes in pieces. Raises at the end what `say_out` or `say_err` raised.
        """
        argv = [*self._command, "start", "--attach", name]
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
        """Raise EngineRefusedError if the container never ran: the exit status of `start` may be the engine's own."""
        try:
            state = self.inspect_container(name)["State"]
        except (EngineRefusedError, KeyError):  # an option made it remove itself, so it has run
            return
        if state.get("Error"):
            raise self._failed("start a container", str(state["Error"]))

    def start(self, name: str) -> None:
        """Start a container and leave it running."""
        self._need("start", name)

    def wait(self, name: str, seconds: float | None = None) -> int | None:
        """Wait until a container ends, and return its exit status. None if it still runs after `seconds`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        argv = [*self._command, "wait", name]
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
        """Stop a container with a signal, by default the image's stop signal. Kill it after `seconds`."""
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
        """The last bytes that a container wrote to its output and its errors, in their order."""
        argv = [*self._command, "logs", "--tail", str(_LOG_LINES), name]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None  # noqa: S101  # for the type checker
            kept = last_bytes(process.stdout, size)
        if process.returncode != 0:
            raise self._failed("logs", sentence(kept))
        return kept

    def inspect_container(self, name: str) -> dict[str, Any]:
        """What `container inspect` prints of a container: `State`, `NetworkSettings`, `Config` and more."""
        try:
            (found,) = parsed(self._need("container", "inspect", name))
            if isinstance(found, dict):
                return found
        except (ValueError, TypeError):
            pass
        raise self._failed("inspect", "its answer is not a description of one container")

    def container_exists(self, name: str) -> bool:
        """Whether there is such a container, running or not."""
        return self._ask("container", "inspect", name).returncode == 0

    def is_healthy(self, name: str) -> bool:
        """Whether a container's own health check passed the last time."""
        if self.name == "podman":  # only a systemd timer runs the check by itself
            return self._ask("healthcheck", "run", name).returncode == 0
        health = self.inspect_container(name)["State"].get("Health") or {}
        return bool(health.get("Status") == "healthy")

    def copy_out(self, name: str, path: str, limit: int = 16 * _MIB) -> bytes | None:
        """Read a regular file in a container, running or not. None if it is not a regular file, or too large."""
        follow = ("--follow-link",) if self.name == "docker" else ()  # Podman follows links by default
        return self._copied(name, path, follow, lambda stream: first_file(stream, limit))

    def holds(self, name: str, path: str) -> bool:
        """Whether a container, running or not, has anything but an empty directory at a path."""
        return self._copied(name, path, (), holds_anything)

    def _copied(self, name: str, path: str, options: tuple[str, ...], look: Callable[[IO[bytes]], _T]) -> _T:
        """Pass the tar that `cp` writes of a path to `look`, and return its result. No such path: an empty tar."""
        argv = [*self._command, "cp", *options, f"{name}:{path}", "-"]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None  # noqa: S101  # for the type checker
            found = look(process.stdout)
            process.kill()  # the rest of the stream is not needed
            words = sentence(process.stderr.read())
        if why_unreachable(words, self.name):
            raise self._failed("cp", words)
        return found

    def save(self, image: str, look: Callable[[IO[bytes]], _T]) -> _T:
        """Pass the archive of an image with all its layers to `look`, which reads it to its end. Returns its result."""
        argv = [*self._command, "save", image]
        with child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None  # noqa: S101  # for the type checker
            try:
                found = look(process.stdout)
            except SlimagentError:
                process.kill()
                words = sentence(process.stderr.read())
                if words:
                    raise self._failed("save", words) from None
                raise
        return found

    def remove_container(self, name: str) -> None:
        """Stop and remove a container and its anonymous volumes, if it exists."""
        self._quietly("rm", "--force", "--volumes", name)

    def load(
        self,
        layout: str,
        tag: str,
        progress: Callable[[int], None],
        known: Collection[str] = (),
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the image of an OCI layout that also has a `manifest.json`. `progress` gets the bytes sent so far.

        `tag` is the only name that the image gets, whatever the layout says. `known` and `wait` are as for
        `layout.send`, and its errors are raised, too.

        An interruption ends the load: the engine drops a partial image. Nothing makes it drop a complete one, so we
        wait until it has loaded it; the caller then removes the image by its tag.
        """
        argv = [*self._command, "load", "--quiet"]
        with child(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None and process.stderr is not None  # noqa: S101  # for the type checker
            with contextlib.suppress(BrokenPipeError):  # its errors say why
                send(layout, tag, process.stdin, progress, known, wait)
            with deferred():
                words = process.stderr.read()
                status = process.wait()
            if status != 0:
                raise self._failed("load the image", sentence(words))

    def tag(self, source: str, target: str) -> None:
        """Give an image another name."""
        self._need("tag", source, target)

    def remove_image(self, name: str) -> None:
        """Remove a name from an image. The image is removed with its last name."""
        self._quietly("rmi", "--force", name)

    def _ask(self, *arguments: str, patience: float = _SHORT) -> subprocess.CompletedProcess[bytes]:
        with deferred():
            try:
                return subprocess.run(
                    [*self._command, *arguments],
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
        message = f"{self.name} cannot {what}: {words or 'it gave no reason'}"
        hint = why_unreachable(words, self.name)
        if hint:
            return UnavailableError(message, hint)
        return EngineRefusedError(message, f"check that `{self.name} info` works here", words)


def find(name: str | None) -> Engine:
    """Find the engine of that name, by default Docker, else Podman. Raises UnavailableError if it is not here."""
    for each in (name,) if name else ENGINES:
        program = shutil.which(each)
        if program:
            return Engine(each, program)
    raise UnavailableError(f"not installed: {name or ' or '.join(ENGINES)}", "install one, or use --engine NAME")
