"""Run tests on the host, as their authors run them, against watched containers of an image."""

from __future__ import annotations

import collections
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from slimagent.errors import UnavailableError, UsageError
from slimagent.image.agent_error import raise_error
from slimagent.image.engine import Engine
from slimagent.image.engine_api import Proxy
from slimagent.image.engine_events import Beginnings
from slimagent.image.hosting import LARGEST, Examined, Hosting, leave, short_enough
from slimagent.image.request import FromHost
from slimagent.image.shared import Shared
from slimagent.image.starts import DIARY, await_reached
from slimagent.image.streams import Reader
from slimagent.image.work import Work
from slimagent.linux.command import Command, shell_status
from slimagent.linux.family import Family
from slimagent.model import hosted, started
from slimagent.model.hosted import Hosted
from slimagent.model.image_config import ImageConfig
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.started import Reached, Until
from slimagent.text.counted import counted
from slimagent.workflows.probes import LOOPBACK, ask

_LOG = 8 << 20  # bytes of the end of what the tests print
_PAUSE = 0.05  # seconds
_AWAITED = {
    Until.HEALTHY: "healthy",
    Until.PORT: "answering at a port",
    Until.EXIT: "at its end",
    Until.TIME: "running",
}
_ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of it, and the end of what the tests printed."""

    hosted: Hosted
    said: bytes


class HostTests:
    """The tests of one request, and how to run them on an image."""

    def __init__(
        self,
        work: Work,
        tests: FromHost,
        config: ImageConfig,
        name: str,
        tell: Callable[[str], None],
    ) -> None:
        """`name` is what the tests call the image."""
        self._work = work
        self._tests = tests
        self._config = config
        self._name = name
        self._waiting = tests.waiting
        self._tell = tell

    def run(self, examined: Examined, which: str, cap_add: Sequence[str]) -> Ran:
        """Run all of them against the image that `examined` names. `which` is what the tests are told of it.

        Raises RefusedError if the engine's API cannot be reached through a socket of ours, UnavailableError if what the
        containers need could not be seen.
        """
        work, began = self._work, time.monotonic()
        main = work.new_name()
        log = _Log(work.say)
        with _own_socket() as path, Beginnings(work.engine.socket()) as beginnings:
            hosting = Hosting(work, examined, work.engine.socket(), main, self._waiting, cap_add, self._tell)
            with Proxy(path, work.engine.socket(), hosting):
                engine = work.engine.through(path)
                env = _environment(path, {"IMAGE": self._name, "RUN": which})
                try:
                    with self._up(engine, main, hosting, env, log) as variables:
                        items, status = self._exercised(variables, log)
                finally:
                    left = leave(work, hosting.close())
            begun = beginnings.seen()
        if left:
            self._tell(f"removed {counted(left, 'container')} that the tests had left behind")
        result = _result(self._tests.command, items, status, time.monotonic() - began)
        seen = hosting.needed(begun, passed=result.outcome is Outcome.PASSED)
        if seen.unwatched:
            raise UnavailableError(
                f"what the containers of the tests need was not seen: {seen.unwatched}", "see docs/tracing.md"
            )
        return Ran(hosted=Hosted(seen=seen, result=result), said=log.said)

    @contextlib.contextmanager
    def _up(
        self, engine: Engine, main: str, hosting: Hosting, env: dict[str, str], log: _Log
    ) -> Iterator[dict[str, str]]:
        """Bring up what the tests talk to until the block ends. Yields their environment."""
        if self._tests.compose:
            with _composed(self._tests.compose, env, log, self._tell):
                yield env
            return
        try:
            yield env | self._start(engine, main, hosting)
        finally:
            with contextlib.suppress(UnavailableError):
                engine.stop(main)
            engine.remove_container(main)

    def _start(self, engine: Engine, main: str, hosting: Hosting) -> dict[str, str]:
        """Start the image as it is configured, and wait until it is up. Returns variables that say where it is."""
        if not self._config.started:
            return {}
        container = self._work.container
        is_private = container.network == "none"
        network = "bridge" if is_private else container.network
        published = [word for port in self._config.tcp_ports for word in ("-p", f"{LOOPBACK}::{port}")]
        options = (*container.run_options, *(() if network == "host" else published))
        wanted = replace(container, image=hosting.original, user="", network=network, run_options=options)
        engine.create(main, wanted)
        engine.start(main)
        assert hosting.main is not None  # noqa: S101  # it was created a moment ago
        ended = await_reached(engine, main, hosting.main, self._waiting)
        raise_error(hosting.main, self._name, "start", 0)  # any other status is the image's own
        if ended is not None:
            self._tell(f"{self._name} ended by itself with exit status {ended}: the tests find no container of ours")
            hosting.main_has_ended = True
            return {}
        state = _reached(hosting.main)
        until = started.awaited(self._waiting.until, self._config)
        if state is not None and state.what is not until:
            self._tell(f"{self._name} is not {_AWAITED[until]} after {state.seconds:.0f} s; the tests begin anyway")
        return _where(engine, main, _answering_first(self._config.tcp_ports, state), network)

    def _exercised(self, env: dict[str, str], log: _Log) -> tuple[list[Item], int]:
        """Ask the probes, then run the command. Returns the results of the probes, and the command's exit status."""
        items = [ask(method, port, path, env) for method, port, path in self._tests.probes]
        return items, _run(self._tests.command, env, log) if self._tests.command else 0


def _result(command: Sequence[str], items: Sequence[Item], status: int, seconds: float) -> CheckResult:
    failed = [each for each in items if each.outcome is not Outcome.PASSED]
    details = [f"{each.name}: {each.detail}" for each in failed]
    if command:
        details.insert(0, f"exit status {status}: {' '.join(command)}")
    return CheckResult(
        name=hosted.STEP,
        kind=hosted.KIND,
        outcome=Outcome.FAILED if failed or status else Outcome.PASSED,
        seconds=seconds,
        status=status,
        detail="; ".join(details),
        items=tuple(items),
    )


class _Log:
    """Passes on what the tests print, line by line, and keeps the end of it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._lines, self._size = collections.deque[bytes](), 0
        self._say = say

    @property
    def said(self) -> bytes:
        """The end of it."""
        return b"".join(self._lines)

    def line(self, line: bytes) -> None:
        """Hear a line."""
        self._lines.append(line)
        self._size += len(line)
        while self._size > _LOG:
            self._size -= len(self._lines.popleft())
        self._say(line.decode("utf-8", "replace"))


@contextlib.contextmanager
def _own_socket() -> Iterator[str]:
    """A path for a socket in a directory that only we can enter."""
    with tempfile.TemporaryDirectory(prefix="slimagent-") as directory:
        path = os.path.join(directory, "docker.sock")
        if not short_enough(path):
            raise UnavailableError(f"{path} is too long for a socket", "set TMPDIR to a shorter path")
        yield path


def _environment(path: str, words: Mapping[str, str]) -> dict[str, str]:
    """Our own environment, with the engine behind a socket, and variables of ours."""
    env = {name: value for name, value in os.environ.items() if name not in _ENGINE_VARIABLES}
    return env | {"DOCKER_HOST": f"unix://{path}"} | {f"SLIMAGENT_{name}": value for name, value in words.items()}


def _reached(shared: Shared) -> Reached | None:
    """What the start of a container that still runs has reached."""
    data = shared.read(DIARY, LARGEST)
    return started.decode(data[: data.rfind(b"\n") + 1], DIARY).reached


def _answering_first(ports: Sequence[int], state: Reached | None) -> list[int]:
    """The exposed ports, those first that answered when the image had started."""
    answers = {} if state is None else dict(state.ports)
    return sorted(ports, key=lambda port: not answers.get(port, False))


def _where(engine: Engine, main: str, ports: Sequence[int], name: str) -> dict[str, str]:
    """The variables that say where the running image is. Raises UnavailableError for a port that is not published."""
    network = engine.inspect_container(main)["NetworkSettings"]
    found = {"SLIMAGENT_CONTAINER": main, "SLIMAGENT_HOST": LOOPBACK}
    for each in (network.get("Networks") or {}).values():
        if each.get("IPAddress"):
            found["SLIMAGENT_ADDRESS"] = str(each["IPAddress"])
    for port in ports:
        published = (network.get("Ports") or {}).get(f"{port}/tcp")
        if not published and name != "host":
            raise UnavailableError(
                f"{engine.name} does not publish port {port} of a container in the network {name}",
                f"name another network: `{engine.name} network create NAME`, then --network NAME; or --network host",
            )
        found[f"SLIMAGENT_PORT_{port}"] = str(published[0]["HostPort"] if published else port)
    if ports:
        found["SLIMAGENT_PORT"] = found[f"SLIMAGENT_PORT_{ports[0]}"]
        found["SLIMAGENT_URL"] = f"http://{LOOPBACK}:{found['SLIMAGENT_PORT']}"
    return found


def _run(argv: Sequence[str], env: Mapping[str, str], log: _Log) -> int:
    """Run a command here, and return its exit status as a shell would. Nothing that it started is left."""
    with Family() as family:
        try:
            process = family.spawn(
                Command(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            )
        except OSError as error:
            hint = "name a program of this machine; for shell syntax, use sh -c '...'"
            raise UsageError(f"cannot run {argv[0]}: {error.strerror}", hint) from None
        assert process.stdout is not None  # noqa: S101  # for the type checker
        with process.stdout:
            reader = Reader("tests", process.stdout, log.line)
            try:
                while process.poll() is None:  # short waits: a signal is noticed at once
                    family.reap()
                    time.sleep(_PAUSE)
            finally:
                family.stop()
                reader.wait()
    return shell_status(process.returncode)


@contextlib.contextmanager
def _composed(files: Sequence[str], env: Mapping[str, str], log: _Log, tell: Callable[[str], None]) -> Iterator[None]:
    """Bring up a Compose project until the block ends. Raises UnavailableError if that fails."""
    project = f"slimagent-{secrets.token_hex(4)}"
    program, wait = _compose(env)
    base = [*program, "--project-name", project, *(word for each in files for word in ("--file", each))]
    try:
        _must([*base, "up", "--detach", *wait], env, log)
        yield
    finally:
        try:
            _must([*base, "down", "--volumes"], env, log)
        except UnavailableError as error:
            tell(f"the Compose project {project} may still be there: {error.message}")


def _compose(env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The program that runs Compose projects, and its option to wait until all is healthy, which an old one lacks."""
    asked = ["docker", "compose", "version"]
    if shutil.which("docker") and subprocess.run(asked, env=env, capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"], ["--wait"]
    if shutil.which("docker-compose"):
        return ["docker-compose"], []
    raise UnavailableError("not installed: docker compose", "install Docker's Compose plugin")


def _must(argv: Sequence[str], env: Mapping[str, str], log: _Log) -> None:
    status = _run(argv, env, log)
    if status:
        last = log.said.rstrip().rsplit(b"\n", 1)[-1].decode("utf-8", "replace")
        raise UnavailableError(f"{' '.join(argv[:2])} ended with status {status}: {last}", "correct the Compose file")
