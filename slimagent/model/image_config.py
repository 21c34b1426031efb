"""Read an image's configuration from an engine or an image layout. Pure.

Three forms are read: what `docker image inspect` and `podman image inspect` print (a list with one object, or the
object alone; ImageInspect of Docker's API, ImageData of Podman's pkg/inspect), and the configuration blob of an image
layout (OCI image-spec, config.md; Docker's own has some more keys).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from slimagent.errors import DocumentError
from slimagent.text.json_input import parsed
from slimagent.text.shape import Place, known

_refused = partial(DocumentError, hint="give it what `docker image inspect IMAGE` prints")
_TCP_PORT, _LARGEST_PORT = re.compile(r"([0-9]{1,5})(?:/(?:tcp)?)?", re.IGNORECASE), 65535
_T = TypeVar("_T")
_D = TypeVar("_D")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How an engine checks a container's health. Times are in nanoseconds. 0 means the engine's default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class _Part(Generic[_T, _D]):
    """A member of an image's `config`; `absent` if it is null or missing. It was checked when it was read."""

    def __init__(self, key: str, read: Callable[[Place], _T], absent: _D) -> None:
        self._key, self._read, self._absent = key, read, absent

    def of(self, config: Place) -> _T | _D:
        return config.optional(self._key, self._read, self._absent)

    def __get__(self, image: ImageConfig, _: object) -> _T | _D:
        return self.of(Place(image.config, "config", "image configuration", _refused))


def _object(place: Place) -> dict[str, Any]:
    return place.of(dict)


def _keys(place: Place) -> tuple[str, ...]:
    return tuple(place.of(dict))


def _texts(place: Place) -> Mapping[str, str]:
    return {key: each.text() for key, each in place.entries().items()}


def _count(place: Place) -> int:
    number = known(int, place.value)
    if number is None or number < 0:
        raise place.fail("expected a whole number that is not negative")
    return number


def _healthcheck(place: Place) -> HealthCheck:
    return HealthCheck(
        test=place.optional("Test", Place.texts, ()),
        interval=place.optional("Interval", _count, 0),
        timeout=place.optional("Timeout", _count, 0),
        start_period=place.optional("StartPeriod", _count, 0),
        start_interval=place.optional("StartInterval", _count, 0),
        retries=place.optional("Retries", _count, 0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """A configuration. `config` is its part for containers, verbatim, with keys that we do not know.

    Known keys were checked when it was read, and have a name below. `created` is verbatim (RFC 3339), or empty.
    Blobs and Podman give a `history`; its members are as in a blob. `identity` is the image's ID, which a blob lacks.
    """

    config: dict[str, object]
    architecture: str
    os: str
    variant: str = ""
    author: str = ""
    created: str = ""
    history: tuple[dict[str, object], ...] = ()
    identity: str = ""

    user = _Part("User", Place.text, "")
    working_dir = _Part("WorkingDir", Place.text, "")
    stop_signal = _Part("StopSignal", Place.text, "")
    env = _Part("Env", Place.texts, ())  # `NAME=VALUE`, in order; an engine may leave a name without a value
    entrypoint = _Part("Entrypoint", Place.texts, None)  # some engines distinguish an empty one from none
    command = _Part("Cmd", Place.texts, None)
    shell = _Part("Shell", Place.texts, ())  # runs commands in the shell form; empty for the engine's default
    on_build = _Part("OnBuild", Place.texts, ())
    exposed_ports = _Part("ExposedPorts", _keys, ())
    volumes = _Part("Volumes", _keys, ())
    labels = _Part("Labels", _texts, _NOTHING)
    healthcheck = _Part("Healthcheck", _healthcheck, None)

    @property
    def started(self) -> tuple[str, ...]:
        """ENTRYPOINT and CMD: what a container runs."""
        return (*(self.entrypoint or ()), *(self.command or ()))

    @property
    def health_command(self) -> tuple[str, ...]:
        """The command of the health check, run by a shell if it has that form; empty if there is none."""
        kind, *test = self.healthcheck.test if self.healthcheck is not None and self.healthcheck.test else ("NONE",)
        if kind == "CMD-SHELL" and test:
            return (*(self.shell or ("/bin/sh", "-c")), *test)
        return tuple(test) if kind == "CMD" else ()

    @property
    def tcp_ports(self) -> tuple[int, ...]:
        """The exposed TCP ports, each once, without ranges (Dockerfile reference, EXPOSE)."""
        found = (_TCP_PORT.fullmatch(port) for port in self.exposed_ports)
        numbers = dict.fromkeys(int(each[1]) for each in found if each is not None)
        return tuple(number for number in numbers if 0 < number <= _LARGEST_PORT)


def read_image_config(data: bytes, document: str = "image configuration") -> ImageConfig:
    """Read a configuration in one of the three forms. `document` names it in messages. Raises DocumentError."""
    try:
        value = parsed(data)
    except ValueError as error:
        raise _refused(f"{document}: not a whole JSON document ({error})") from None
    if isinstance(value, list):
        if len(value) != 1:
            raise _refused(f"{document}: speaks of {len(value)} images, not of one")
        (value,) = value
    return _read(Place(value, "", document, _refused))


def _read(whole: Place) -> ImageConfig:
    is_blob = "architecture" in whole.of(dict)
    if not is_blob and "Architecture" not in whole.value:
        raise whole.fail("not the configuration of an image: it names no architecture")

    def text(name: str) -> str:
        return whole.optional(name if is_blob else name.capitalize(), Place.text, "")

    where = "config" if is_blob else "Config"
    config = dict(whole.optional(where, _object, {}))
    if not is_blob and whole.value.get("Healthcheck") is not None:  # Podman has it beside, and not in, the rest
        config.setdefault("Healthcheck", whole.value["Healthcheck"])
    read = ImageConfig(
        config=config,
        architecture=text("architecture"),
        os=text("os"),
        variant=text("variant"),
        author=text("author"),
        created=text("created"),
        history=whole.optional("history" if is_blob else "History", lambda rows: rows.each(_object), ()),
        identity="" if is_blob else whole.optional("Id", Place.text, ""),
    )
    if not read.architecture or not read.os:
        raise whole.fail("names no architecture or no operating system")
    for part in vars(ImageConfig).values():
        if isinstance(part, _Part):
            part.of(Place(config, where, whole.document, _refused))
    return read
