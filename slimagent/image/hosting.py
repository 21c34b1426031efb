"""Containers that tests on the host start: each gets the agent, and leaves a record of what it needed.

The tests talk to the engine through a socket of ours (engine_api.py). A container of the image that is examined, by
whatever name, runs what it would have run, under the agent; a container of another image is not changed. Commands that
are executed in such a container come in to its agent.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slimagent.errors import ERROR_VARIABLE, RefusedError, SlimagentError
from slimagent.image import owner
from slimagent.image.agent import HELD_BACK, held_back
from slimagent.image.agent_error import ERROR, raise_error
from slimagent.image.configured import configured, described_with, words
from slimagent.image.engine_api import told
from slimagent.image.engine_events import Begun
from slimagent.image.image_names import ImageNames
from slimagent.image.request import CONFIG
from slimagent.image.shared import Shared
from slimagent.image.starts import DIARY, Waiting
from slimagent.image.work import AGENT, OUT, PRIVATE, Work
from slimagent.linux.signals import deferred
from slimagent.model import started
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.image_labels import WATCHED
from slimagent.model.started import Started
from slimagent.text.json_input import parsed

_DOOR = f"{PRIVATE}/door"
LARGEST = 300 << 20  # bytes: more than an agent writes (workflows/starting.py)
_LONGEST_PATH = 107  # bytes
_MOST = 1000  # records of one container
_SHELL = ("/bin/sh", "-c")
_QUICK = Waiting(until="time", seconds=3.0, settle=0.1)  # nobody waits for containers that tests start
_ROOTS = ("", "0", "root")
_OTHER_RUNS = re.compile(rf"slimagent-{owner.PATTERN}-[0-9]+")  # of this run, and of others


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The image that the tests are about.

    `name` is the user's for it, `original` its ID, and `image` that of the image that runs in its place. `described` is
    what the engine printed of the original when the run began.
    """

    name: str
    original: str
    image: str
    described: bytes


@dataclass(slots=True)
class _Hosted:
    """A container of the tests: what it shares with us, its configuration, and its name."""

    shared: Shared
    config: ImageConfig
    name: str
    was_started: bool = False


class Hosting:
    """Changes what the tests ask of the engine. `engine` is the path of its socket, `tell` is for people.

    `main` is the name of the container that we start ourselves: it starts as `waiting` says.
    """

    def __init__(
        self,
        work: Work,
        examined: Examined,
        engine: str,
        main: str,
        waiting: Waiting,
        cap_add: Sequence[str],
        tell: Callable[[str], None],
    ) -> None:
        self._work = work
        self._examined = examined
        self._engine = engine
        self._main_name, self._waiting = main, waiting
        self._cap_add = tuple(cap_add)
        self._config = read_image_config(examined.described)
        self._containers: dict[str, _Hosted] = {}
        self._hosted: list[_Hosted] = []
        self._is_closed = False
        self._tell = tell
        self._names = _names(engine, examined, tell)
        self._refused: SlimagentError | None = None  # the first request that was not let through
        self._builds: list[tuple[int, int | None]] = []  # from when to when, in nanoseconds since the epoch
        self._strays: list[str] = []  # containers of the image that came into being without the agent
        self._main: Shared | None = None
        self.main_has_ended = False  # before the tests began
        self._lock = threading.Lock()  # requests come from several threads

    def create(self, wanted: dict[str, Any], name: str) -> tuple[dict[str, Any] | None, Callable[[str], None]]:
        """See `engine_api.Changes`."""
        try:
            if not self._names.stands_for_it(str(wanted.get("Image") or "")):
                return None, self._see_that_it_is_another
        except SlimagentError as error:
            self.unseen(error)
            raise
        is_main = name == self._main_name
        config = configured(self._config, {**wanted, "Healthcheck": None} if is_main else wanted)
        with self._lock:
            if self._is_closed:
                raise RefusedError("the tests are over", "wait for every process of the tests")
            shared = self._work.share("hosted")
            self._hosted.append(hosted := _Hosted(shared, config, name))
            if is_main:
                self._main = shared
        shared.give(CONFIG, described_with(self._examined.described, config, checks=is_main))

        def made(identity: str) -> None:
            with self._lock:
                hosted.name = hosted.name or identity[:12]
                self._containers[identity] = hosted

        return self._created(wanted, hosted, is_main=is_main), made

    def execute(self, container: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """See `engine_api.Changes`."""
        hosted = self._named(container)
        if hosted is None:
            return None
        given = words(wanted.get("Env"))
        environment = [*(each for each in given if each.partition("=")[0] not in HELD_BACK), *held_back(given)]
        config = replace(
            hosted.config,
            config={
                **hosted.config.config,
                "User": str(wanted.get("User") or hosted.config.user),
                "WorkingDir": str(wanted.get("WorkingDir") or hosted.config.working_dir),
                "Env": [*hosted.config.env, *given],
            },
        )
        command = [*_entering(self._agent, config), *words(wanted.get("Cmd"))]
        # What `enter` cannot do, it tells the client.
        return {**wanted, "User": "0:0", "Cmd": command, "Env": [*environment, f"{ERROR_VARIABLE}="]}

    def started(self, container: str) -> None:
        """See `engine_api.Changes`."""
        with contextlib.suppress(SlimagentError):
            hosted = self._named(container)
            if hosted is not None:
                hosted.was_started = True

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """See `engine_api.Changes`. Docker's own builder runs each step of a Dockerfile in a container."""
        began = time.time_ns()
        self._builds.append((began, None))
        try:
            yield
        finally:
            self._builds[self._builds.index((began, None))] = (began, time.time_ns())

    def _require_all(self, begun: Iterable[Begun]) -> None:
        """Raise RefusedError if a container of the image was started that did not come through our socket."""
        for each in begun:
            is_ours = each.identity in self._containers or _OTHER_RUNS.fullmatch(each.name) or WATCHED in each.labels
            if is_ours or any(start <= each.when <= (end or each.when) for start, end in self._builds):
                continue
            found = told(self._engine, f"/containers/{each.identity}/json")
            if self._names.is_now(each.image) if found is None else found.get("Image") == self._examined.original:
                raise RefusedError(
                    f"the container {each.name} of {self._examined.name} was started while the tests ran, and nobody "
                    "watched it: slimagent was not asked",
                    "let the tests use DOCKER_HOST (not `sudo docker` or `docker --context`), and let nothing else "
                    "start containers of that image meanwhile (docs/from-host.md)",
                )

    def unseen(self, error: SlimagentError) -> None:
        """See `engine_api.Changes`. The run is refused at its end, whatever the tests make of it."""
        with self._lock:
            self._refused = self._refused or error

    def close(self) -> tuple[str, ...]:
        """Refuse containers from now on. Returns the IDs of those so far."""
        with self._lock:
            self._is_closed = True
            return *self._containers, *self._strays

    def _named(self, container: str) -> _Hosted | None:
        """A container of ours, as a client named it. Raises UnavailableError if the engine does not say which it is."""
        known = self._containers.get(container)
        if known is not None or not self._containers:
            return known
        found = told(self._engine, f"/containers/{container}/json")
        return None if found is None else self._containers.get(str(found.get("Id", "")))

    def _see_that_it_is_another(self, identity: str) -> None:
        """Raise RefusedError if a new container is of the image after all: a name may move while it is asked for."""
        found = told(self._engine, f"/containers/{identity}/json")
        if found is not None and found.get("Image") == self._examined.original:
            with self._lock:
                self._strays.append(identity)
            error = RefusedError(
                f"the container {identity[:12]} of the image was created unwatched: its name was given to the image "
                "at that moment",
                "do not build, pull or tag images while the tests run",
            )
            self.unseen(error)
            raise error

    @property
    def original(self) -> str:
        """The ID of the image that is examined."""
        return self._examined.original

    @property
    def main(self) -> Shared | None:
        """What our own container shares with us, once it was created."""
        return self._main

    def needed(self, begun: Iterable[Begun], *, passed: bool) -> Started:
        """What all containers needed. `begun` are all that the engine started meanwhile.

        Raises RefusedError if one ran without leaving a record, if the tests passed and none ran, if one ran past us,
        and if they used another image by a name of this one. What was refused while they ran is raised again. An agent
        that could not do its work is told of: its container ran nothing.
        """
        if self._refused is not None:
            raise self._refused
        self._names.see_that_it_stayed()
        self._require_all(begun)
        return started.united(self._records(passed=passed))

    def _records(self, *, passed: bool) -> Iterator[Started]:
        """One record at a time."""
        ran = 0
        for each in self._hosted:
            before = ran
            for record in _records(each, self._examined.image, self._tell):
                ran += 1
                yield record
            if self.main_has_ended and each.shared is self._main:
                ran = before
                continue
            if each.was_started and ran == before and not each.shared.has(ERROR):
                raise RefusedError(
                    f"the container {each.name} of the tests ran, and what it needed was not recorded",
                    "start it without --cap-drop and --security-opt; see what `docker logs` says of it",
                )
        if passed and not ran:
            raise RefusedError(
                f"no container of {self._examined.name} ran while the tests did, so they prove nothing",
                "let the tests start one by that name, through DOCKER_HOST (docs/from-host.md)",
            )

    @property
    def _agent(self) -> tuple[str, ...]:
        return self._work.agent.entry(AGENT)

    def _created(self, wanted: dict[str, Any], hosted: _Hosted, *, is_main: bool) -> dict[str, Any]:
        host, config = dict(wanted.get("HostConfig") or {}), hosted.config
        mounts = [
            _bind(self._work.agent.directory, AGENT, writable=False),
            {"Type": "tmpfs", "Target": PRIVATE, "TmpfsOptions": {"Mode": 0o700}},
            _bind(hosted.shared.path, OUT, writable=True),
        ]
        host["Mounts"] = [*(host.get("Mounts") or ()), *mounts]
        host["CapAdd"] = list(dict.fromkeys((*(host.get("CapAdd") or ()), *self._cap_add)))
        arguments = ("start", "--image-config", f"{OUT}/{CONFIG}", "-o", f"{OUT}/{DIARY}", "--enter", _DOOR)
        environment = [*words(wanted.get("Env")), *held_back(config.env), f"{ERROR_VARIABLE}={OUT}/{ERROR}"]
        changed = {
            **wanted,
            "Image": self._examined.image,
            "Entrypoint": [*self._agent, *arguments, *(self._waiting if is_main else _QUICK).options()],
            "Cmd": [],
            "User": "0:0",
            "Labels": {**(wanted.get("Labels") or {}), WATCHED: ""},
            "Env": environment,
            "HostConfig": host,
        }
        if config.health_command and not is_main:  # the agent asks our own container by itself
            check = config.config["Healthcheck"]
            command = [*_entering(self._agent, config), *config.health_command]
            changed["Healthcheck"] = {**(check if isinstance(check, dict) else {}), "Test": ["CMD", *command]}
        return changed


def _names(engine: str, examined: Examined, tell: Callable[[str], None]) -> ImageNames:
    (described,) = parsed(examined.described)
    layers = (described.get("RootFS") or {}).get("Layers") or ()
    return ImageNames(engine, examined.original, examined.name, described.get("RepoTags") or (), layers, tell)


def _entering(agent: Sequence[str], config: ImageConfig) -> list[str]:
    by = () if config.user.partition(":")[0] in _ROOTS and ":" not in config.user else ("--user", config.user)
    home = ("--keep-home",) if any(each.startswith("HOME=") for each in config.env) else ()
    return [*agent, "enter", "--door", _DOOR, *by, *home, "--directory", config.working_dir or "/", "--"]


def _bind(here: str, there: str, *, writable: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": here, "Target": there, "ReadOnly": not writable}


def _records(hosted: _Hosted, image: str, tell: Callable[[str], None]) -> Iterator[Started]:
    """The records that the agent of a container left, one for each time that it was started."""
    shared = hosted.shared
    try:
        raise_error(shared, image, "start", 0)
    except SlimagentError as error:
        tell(f"the container {hosted.name} of the tests did not start: {error.message}")
    for number in range(1, _MOST):
        name = DIARY if number == 1 else f"{DIARY}.{number}"
        if not shared.has(name):
            break
        data = shared.read(name, LARGEST)
        if data.count(b"\n"):
            yield started.decode(data[: data.rfind(b"\n") + 1], name)


def short_enough(path: str) -> bool:
    """Whether a Unix socket can have this path (unix(7))."""
    return len(os.fsencode(path)) <= _LONGEST_PATH


def leave(work: Work, identities: Sequence[str]) -> int:
    """Remove the containers that tests left behind. Returns how many there were."""
    left = 0
    with deferred():
        for identity in identities:
            with contextlib.suppress(SlimagentError):
                if work.engine.container_exists(identity):
                    left += 1
                    work.engine.remove_container(identity)
    return left
