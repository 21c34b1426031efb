"""Containers that tests on the host start: each gets the agent, and leaves a record of what it needed.

The tests talk to the engine through a socket of ours (engine_api.py). A container of the image that is examined, by
whatever name, runs what it would have run, under the agent; a container of another image is not changed. Commands that
are executed in such a container come in to its agent.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from slimagent.errors import ERROR_VARIABLE, SlimagentError
from slimagent.image.agent import held_back
from slimagent.image.agent_error import ERROR, raise_error
from slimagent.image.engine_api import told_id
from slimagent.image.request import CONFIG
from slimagent.image.shared import Shared
from slimagent.image.starts import DIARY, Waiting
from slimagent.image.work import AGENT, OUT, PRIVATE, Work
from slimagent.model import started
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.started import Started
from slimagent.text.json_input import parsed

_DOOR = f"{OUT}/door"
_LARGEST = 300 << 20  # bytes: more than an agent writes (workflows/starting.py)
_LONGEST_PATH = 107  # bytes
_MOST = 1000  # records of one container
_SHELL = ("/bin/sh", "-c")
_QUICK = Waiting(until="time", seconds=3.0, settle=0.1)  # nobody waits for containers that tests start
_ROOTS = ("", "0", "root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The image that the tests are about.

    `names` are all its names and IDs. `image` is the ID of the image that runs in its place, `described` what the
    engine prints of the original.
    """

    names: frozenset[str]
    image: str
    described: bytes


@dataclass(slots=True)
class _Hosted:
    """A container of the tests: what it shares with us, and the user and the directory of its commands."""

    shared: Shared
    user: str
    directory: str


class Hosting:
    """Changes what the tests ask of the engine. `engine` is the path of its socket, `say` tells what went wrong.

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
    ) -> None:
        self._work = work
        self._examined = examined
        self._engine = engine
        self._main, self._waiting = main, waiting
        self._cap_add = tuple(cap_add)
        self._config = read_image_config(examined.described)
        self._containers: dict[str, _Hosted] = {}
        self._shared: list[Shared] = []
        self._of_main: Shared | None = None
        self._lock = threading.Lock()  # requests come from several threads

    def create(self, wanted: dict[str, Any], name: str) -> tuple[dict[str, Any], Callable[[str], None]] | None:
        """See `engine_api.Changes`."""
        if str(wanted.get("Image", "")) not in self._examined.names:
            return None
        config = _configured(self._config, wanted)
        is_main = name == self._main
        with self._lock:
            shared = self._work.share("hosted")
            self._shared.append(shared)
            if is_main:
                self._of_main = shared
        shared.give(CONFIG, _described(self._examined.described, config, checks=is_main))
        hosted = _Hosted(shared, config.user, config.working_dir or "/")

        def made(identity: str) -> None:
            with self._lock:
                self._containers[identity] = hosted

        return self._created(wanted, config, hosted, self._waiting if is_main else _QUICK), made

    def execute(self, container: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """See `engine_api.Changes`."""
        hosted = self._containers.get(container) or self._containers.get(told_id(self._engine, container))
        if hosted is None:
            return None
        user = str(wanted.get("User") or hosted.user)
        command = _entering(self._agent, user, str(wanted.get("WorkingDir") or hosted.directory))
        return {**wanted, "User": "0:0", "Cmd": [*command, *_words(wanted.get("Cmd"))]}

    @property
    def identities(self) -> tuple[str, ...]:
        """The IDs of the containers so far."""
        with self._lock:
            return tuple(self._containers)

    @property
    def main(self) -> Shared | None:
        """What our own container shares with us, once it was created."""
        return self._of_main

    def needed(self, tell: Callable[[str], None]) -> Started:
        """What all containers needed. An agent that could not do its work is told of: its container ran nothing."""
        return started.united(each for shared in self._shared for each in _records(shared, self._examined.image, tell))

    @property
    def _agent(self) -> tuple[str, ...]:
        return self._work.agent.entry(AGENT)

    def _created(
        self, wanted: dict[str, Any], config: ImageConfig, hosted: _Hosted, waiting: Waiting
    ) -> dict[str, Any]:
        host = dict(wanted.get("HostConfig") or {})
        mounts = [
            _bind(self._work.agent.directory, AGENT, writable=False),
            {"Type": "tmpfs", "Target": PRIVATE, "TmpfsOptions": {"Mode": 0o700}},
            _bind(hosted.shared.path, OUT, writable=True),
        ]
        host["Mounts"] = [*(host.get("Mounts") or ()), *mounts]
        host["CapAdd"] = list(dict.fromkeys((*(host.get("CapAdd") or ()), *self._cap_add)))
        arguments = ("start", "--image-config", f"{OUT}/{CONFIG}", "-o", f"{OUT}/{DIARY}", "--enter", _DOOR)
        environment = [*_words(wanted.get("Env")), *held_back(config.env), f"{ERROR_VARIABLE}={OUT}/{ERROR}"]
        changed = {
            **wanted,
            "Image": self._examined.image,
            "Entrypoint": [*self._agent, *arguments, *waiting.options()],
            "Cmd": [],
            "User": "0:0",
            "Env": environment,
            "HostConfig": host,
        }
        if config.health_command:
            check = config.config["Healthcheck"]
            command = [*_entering(self._agent, config.user, hosted.directory), *config.health_command]
            changed["Healthcheck"] = {**(check if isinstance(check, dict) else {}), "Test": ["CMD", *command]}
        return changed


def _entering(agent: Sequence[str], user: str, directory: str) -> list[str]:
    by = () if user.partition(":")[0] in _ROOTS and ":" not in user else ("--user", user)
    return [*agent, "enter", "--door", _DOOR, *by, "--directory", directory, "--"]


def _bind(here: str, there: str, *, writable: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": here, "Target": there, "ReadOnly": not writable}


def _words(value: Any) -> list[str]:
    """A command or a list of variables, which may be one text (`strslice` in Docker's API)."""
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def _configured(image: ImageConfig, wanted: dict[str, Any]) -> ImageConfig:
    """The configuration of a container: the request's, else the image's.

    As Docker's daemon merges them (daemon/commit.go, `merge`): an entrypoint of its own makes the image's CMD void.
    """
    config = dict(image.config)
    if wanted.get("Entrypoint"):
        entrypoint = _words(wanted["Entrypoint"])
        config["Entrypoint"] = [] if entrypoint == [""] else entrypoint
        config["Cmd"] = _words(wanted.get("Cmd"))
    elif wanted.get("Cmd"):
        config["Cmd"] = _words(wanted["Cmd"])
    for name in ("User", "WorkingDir"):
        if wanted.get(name):
            config[name] = str(wanted[name])
    if (wanted.get("Healthcheck") or {}).get("Test"):
        config["Healthcheck"] = wanted["Healthcheck"]
    given = dict(each.partition("=")[::2] for each in _words(wanted.get("Env")))
    own = [each for each in image.env if each.partition("=")[0] not in given]
    config["Env"] = [*own, *(f"{name}={value}" for name, value in given.items())]
    return read_image_config(orjson.dumps({"architecture": image.architecture, "os": image.os, "config": config}))


def _described(described: bytes, config: ImageConfig, *, checks: bool) -> bytes:
    """The image's description with a container's configuration. Without `checks`, nothing asks whether it is up."""
    (whole,) = parsed(described)
    changed = dict(config.config)
    if not checks:
        for name in ("Healthcheck", "ExposedPorts"):
            changed.pop(name, None)
        whole = {key: value for key, value in whole.items() if key != "Healthcheck"}
    return orjson.dumps([{**whole, "Config": changed}])


def _records(shared: Shared, image: str, tell: Callable[[str], None]) -> list[Started]:
    """The records that the agent of a container left, one for each time that it was started."""
    try:
        raise_error(shared, image, "start", 0)
    except SlimagentError as error:
        tell(f"a container of the tests did not start: {error.message}")
    found = []
    for number in range(1, _MOST):
        name = DIARY if number == 1 else f"{DIARY}.{number}"
        if not shared.has(name):
            break
        data = shared.read(name, _LARGEST)
        found.append(started.decode(data[: data.rfind(b"\n") + 1], name))
    return found


def names_of(inspected: bytes) -> frozenset[str]:
    """All names and IDs by which the engine knows an image, from what `image inspect` prints."""
    (image,) = parsed(inspected)
    tags = [str(each) for each in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))]
    identity = str(image.get("Id", ""))
    number = identity.removeprefix("sha256:")
    plain = [each.removesuffix(":latest") for each in tags]
    return frozenset({*tags, *plain, identity, number, number[:12]} - {""})


def short_enough(path: str) -> bool:
    """Whether a Unix socket can have this path (unix(7))."""
    return len(os.fsencode(path)) <= _LONGEST_PATH


def leave(work: Work, identities: Sequence[str]) -> int:
    """Remove the containers that tests left behind. Returns how many there were."""
    left = 0
    for identity in identities:
        with contextlib.suppress(SlimagentError):
            if work.engine.container_exists(identity):
                left += 1
                work.engine.remove_container(identity)
    return left
