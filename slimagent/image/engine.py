"""Docker and Podman, driven from outside through their command lines, which agree on all that is used here.

Sources: the reference of `docker` and the manual pages of `podman`: create, start, rm, load, tag, rmi, image inspect,
history. No privilege is asked for beyond starting a container, and nothing is fetched from a registry.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from slimagent.errors import SlimagentError, UnavailableError, UsageError

ENGINES = ("docker", "podman")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHORT = 120.0  # seconds: longer than any answer of an engine that lives
_CHUNK = 1 << 20  # bytes
_PATIENCE = 0.2  # seconds until a signal is noticed that came at a bad moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a container is started with. `mounts` are (folder here, place there, writable).

    `volumes`, `env` and `further` are what somebody asked for, in the engine's own words; `gpus` as Docker's `--gpus`.
    """

    image: str
    entry: tuple[str, ...]
    user: str = "0:0"
    network: str = "none"
    mounts: tuple[tuple[str, str, bool], ...] = ()
    volumes: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    gpus: str = ""
    further: tuple[str, ...] = ()


class Engine:
    """One engine, by its program. Every method raises UnavailableError, with the engine's own words, when it fails."""

    def __init__(self, name: str, program: str) -> None:
        self.name = name
        self._program = program

    def inspect(self, image: str) -> bytes:
        """What `image inspect` says, as JSON: a list of one. Raises UsageError for an image that is not here."""
        ended = self._ask("image", "inspect", image)
        if ended.returncode == 0:
            return ended.stdout
        words = _last_line(ended.stderr)
        if "no such image" in words.lower() or "not known" in words.lower():
            raise UsageError(f"there is no image {image} here", f"get it first: {self.name} pull {image}")
        raise self._failed("inspect", words)

    def history(self, image: str) -> bytes:
        """What `history` says: a JSON object per line (Docker) or a list (Podman), the newest first."""
        form = "{{json .}}" if self.name == "docker" else "json"
        return self._need("history", "--no-trunc", "--format", form, image)

    def create(self, name: str, container: Container) -> None:
        """Make a container of that name; it does not run yet. The image must be here: none is pulled."""
        self._need("create", "--name", name, "--pull", "never", *self._options(container))

    def _options(self, container: Container) -> Iterator[str]:
        yield from ("--user", container.user, "--network", container.network, "--entrypoint", container.entry[0])
        # A health check that runs meanwhile is a visitor that nobody asked for.
        yield "--no-healthcheck"
        for here, there, writable in container.mounts:
            yield from ("--mount", f"type=bind,source={here},target={there}" + ("" if writable else ",readonly"))
        for volume in container.volumes:
            yield from ("--volume", volume)
        for variable in container.env:
            yield from ("--env", variable)
        if container.gpus and self.name == "docker":
            yield from ("--gpus", container.gpus)
        elif container.gpus:  # Podman takes the names of the Container Device Interface
            yield from ("--device", f"nvidia.com/gpu={container.gpus}")
        yield from (*container.further, container.image, *container.entry[1:])

    def run(self, name: str, say: Callable[[bytes], None]) -> tuple[int, bytes]:
        """Start a container and wait for its end: its exit status and standard output; `say` gets its errors.

        In a session of its own: the terminal's Ctrl-C is ours to answer.
        """
        argv = [self._program, "start", "--attach", name]
        with _child(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stderr is not None and process.stdout is not None  # noqa: S101  # for the type checker
            output = _Reader("output", process.stdout, lambda line: None)
            errors = _Reader("errors", process.stderr, say)
            try:
                output.wait()
                errors.wait()
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                output.join()  # the streams are closed after this block
                errors.join()
        return status, b"".join(output.lines)

    def remove_container(self, name: str) -> None:
        """Stop and remove a container with its anonymous volumes, if there is one of that name."""
        self._quietly("rm", "--force", "--volumes", name)

    def load(self, layout: str, progress: Callable[[int], None]) -> None:
        """Load the image of an OCI layout that has a `manifest.json` beside it; `progress` gets bytes sent.

        An interruption ends it: the engine drops what came only in part. What came whole it cannot be told to drop, so
        that its end is waited for; the caller then removes the image by its tag.
        """
        argv = [self._program, "load", "--quiet"]
        with _child(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None and process.stderr is not None  # noqa: S101  # for the type checker
            with contextlib.suppress(BrokenPipeError):  # it has said why
                _send(layout, _Counted(process.stdin, progress))
            with deferred():
                words = process.stderr.read()
                status = process.wait()
            if status != 0:
                raise self._failed("load the image", _last_line(words))

    def tag(self, source: str, target: str) -> None:
        """Give an image a further name."""
        self._need("tag", source, target)

    def remove_image(self, name: str) -> None:
        """Take a name off an image; one without another name goes."""
        self._quietly("rmi", "--force", name)

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        with deferred():
            try:
                return subprocess.run(
                    [self._program, *arguments],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_SHORT,
                    check=False,
                    start_new_session=True,
                )
            except subprocess.TimeoutExpired:
                raise self._failed(arguments[0], f"no answer within {_SHORT:.0f} s") from None

    def _need(self, *arguments: str) -> bytes:
        ended = self._ask(*arguments)
        if ended.returncode != 0:
            raise self._failed(arguments[0], _last_line(ended.stderr))
        return ended.stdout

    def _quietly(self, *arguments: str) -> None:
        with contextlib.suppress(SlimagentError):
            self._ask(*arguments)

    def _failed(self, what: str, words: str) -> SlimagentError:
        return UnavailableError(
            f"{self.name} cannot {what}: {words or 'it says nothing'}", f"see that `{self.name} version` works here"
        )


def find(name: str | None) -> Engine:
    """The engine of that name; without one Docker, else Podman. Raises UnavailableError if it is not here."""
    for each in (name,) if name else ENGINES:
        program = shutil.which(each)
        if program:
            return Engine(each, program)
    raise UnavailableError(f"there is no {name or ' and no '.join(ENGINES)} here", "install one, or name it: --engine")


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals that end us wait until the block is over: what an engine has begun must have a known end."""
    if threading.current_thread() is not threading.main_thread():  # no signal is handled in another one
        yield
        return
    caught: list[int] = []
    before = {each: signal.signal(each, lambda number, _: caught.append(number)) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if caught:
            signal.raise_signal(caught[0])


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that end us come to nothing: the work is done, and what is left to do takes no time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, lambda number, _: None) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def _child(argv: list[str], *, stdin: int, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, its errors in a pipe; killed if the block fails."""
    with subprocess.Popen(argv, start_new_session=True, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


class _Reader(threading.Thread):
    """Reads a stream to its end, and hands on each line."""

    def __init__(self, name: str, stream: IO[bytes], say: Callable[[bytes], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.lines: list[bytes] = []
        self._stream = stream
        self._say = say
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self.lines.append(line)
            self._say(line)

    def wait(self) -> None:
        """Wait for the end of the stream, and let signals through.

        Not in one blocking call: a signal that comes just before one only waits for it to return (signal, "Execution
        of Python signal handlers"), and this one may last an hour.
        """
        while self.is_alive():
            self.join(_PATIENCE)


class _Counted:
    """A stream that tells how many bytes it took."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress
        self._done = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._done += len(data)
        self._progress(self._done)
        return len(data)

    def close(self) -> None:
        self._stream.close()


def _send(layout: str, stream: _Counted) -> None:
    """Write a folder as a tar, and close the stream."""
    try:
        with tarfile.open(fileobj=stream, mode="w|", bufsize=_CHUNK, copybufsize=_CHUNK) as archive:  # type: ignore[call-overload]
            for name in sorted(os.listdir(layout)):
                archive.add(os.path.join(layout, name), name)
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def _last_line(words: bytes) -> str:
    lines = [line.strip() for line in words.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
