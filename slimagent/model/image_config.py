"""An image's configuration, as an engine or an image layout gives it. Pure.

Three forms are read: what `docker image inspect` and `podman image inspect` print (a list with one object, or the
object alone; ImageInspect of Docker's API, ImageData of Podman's pkg/inspect), and the configuration blob of an image
layout (OCI image-spec, config.md; Docker's own is the same with some keys more).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from slimagent.errors import DocumentError
from slimagent.text.json_input import parsed

_HINT = "give it what `docker image inspect IMAGE` prints"
_TCP_PORT, _LARGEST_PORT = re.compile(r"([0-9]{1,5})(?:/(?:tcp)?)?", re.IGNORECASE), 65535
_T = TypeVar("_T")
_D = TypeVar("_D")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a container is found to be well. Times are nanoseconds, 0 for the engine's default; `retries` too."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """A configuration: `config` is its part for containers, verbatim, keys that we do not know among it.

    What is known of it has been checked when it was read, and is given by the properties. `created` is as it was
    written (RFC 3339), or empty. `history` is there in a blob and from Podman, its members as they are in a blob.
    """

    config: dict[str, object]
    architecture: str
    os: str
    variant: str = ""
    author: str = ""
    created: str = ""
    history: tuple[dict[str, object], ...] = ()

    @property
    def user(self) -> str:
        return _optional(self.config, "User", _string, "", "")

    @property
    def working_dir(self) -> str:
        return _optional(self.config, "WorkingDir", _string, "", "")

    @property
    def stop_signal(self) -> str:
        return _optional(self.config, "StopSignal", _string, "", "")

    @property
    def env(self) -> tuple[str, ...]:
        """`NAME=VALUE`, in their order; an engine may have left a name without a value."""
        return _optional(self.config, "Env", _strings, (), "")

    @property
    def entrypoint(self) -> tuple[str, ...] | None:
        """None for no entrypoint; an empty one is something else for some engines."""
        return _optional(self.config, "Entrypoint", _strings, None, "")

    @property
    def command(self) -> tuple[str, ...] | None:
        return _optional(self.config, "Cmd", _strings, None, "")

    @property
    def shell(self) -> tuple[str, ...]:
        """What runs commands in the shell form; empty for the engine's default."""
        return _optional(self.config, "Shell", _strings, (), "")

    @property
    def on_build(self) -> tuple[str, ...]:
        return _optional(self.config, "OnBuild", _strings, (), "")

    @property
    def exposed_ports(self) -> tuple[str, ...]:
        return _optional(self.config, "ExposedPorts", _keys, (), "")

    @property
    def volumes(self) -> tuple[str, ...]:
        return _optional(self.config, "Volumes", _keys, (), "")

    @property
    def labels(self) -> dict[str, str]:
        return _optional(self.config, "Labels", _texts, {}, "")

    @property
    def healthcheck(self) -> HealthCheck | None:
        return _optional(self.config, "Healthcheck", _healthcheck, None, "")

    @property
    def started(self) -> tuple[str, ...]:
        """ENTRYPOINT and CMD: what a container runs."""
        return (*(self.entrypoint or ()), *(self.command or ()))

    @property
    def health_command(self) -> tuple[str, ...]:
        """The command of the health check, a shell's if it has that form; empty for none."""
        kind, *test = self.healthcheck.test if self.healthcheck is not None and self.healthcheck.test else ("NONE",)
        if kind == "CMD-SHELL" and test:
            return (*(self.shell or ("/bin/sh", "-c")), *test)
        return tuple(test) if kind == "CMD" else ()

    @property
    def tcp_ports(self) -> tuple[int, ...]:
        """The TCP ports that are exposed, each once, those of no range (Dockerfile reference, EXPOSE)."""
        found = (_TCP_PORT.fullmatch(port) for port in self.exposed_ports)
        numbers = dict.fromkeys(int(each[1]) for each in found if each is not None)
        return tuple(number for number in numbers if 0 < number <= _LARGEST_PORT)


_KNOWN = (
    *("user", "working_dir", "stop_signal", "env", "entrypoint", "command", "shell", "on_build", "exposed_ports"),
    *("volumes", "labels", "healthcheck"),
)


def read_image_config(data: bytes, document: str = "image configuration") -> ImageConfig:
    """The configuration in one of the three forms; `document` is its name in messages. Raises DocumentError."""
    try:
        whole = parsed(data)
    except ValueError as error:
        raise DocumentError(f"{document}: not a whole JSON document ({error})", _HINT) from None
    try:
        return _read(_only(whole) if isinstance(whole, list) else _object(whole, ""))
    except _UnexpectedError as error:
        where = f" at {error.where}" if error.where else ""
        raise DocumentError(f"{document}{where}: {error}", _HINT) from None


def _only(images: list[Any]) -> dict[str, Any]:
    if len(images) != 1:
        raise _UnexpectedError("", f"speaks of {len(images)} images, not of one")
    return _object(images[0], "")


def _read(whole: Mapping[str, Any]) -> ImageConfig:
    is_blob = "architecture" in whole
    if not is_blob and "Architecture" not in whole:
        raise _UnexpectedError("", "not the configuration of an image: it names no architecture")

    def text(name: str) -> str:
        return _optional(whole, name if is_blob else name.capitalize(), _string, "", "")

    config = dict(_optional(whole, "config" if is_blob else "Config", _object, {}, ""))
    if not is_blob and whole.get("Healthcheck") is not None:  # Podman has it beside, and not in, the rest
        config.setdefault("Healthcheck", whole["Healthcheck"])
    read = ImageConfig(
        config=config,
        architecture=text("architecture"),
        os=text("os"),
        variant=text("variant"),
        author=text("author"),
        created=text("created"),
        history=_optional(whole, "history" if is_blob else "History", _objects, (), ""),
    )
    if not read.architecture or not read.os:
        raise _UnexpectedError("", "names no architecture or no operating system")
    _check(read, "config" if is_blob else "Config")
    return read


def _check(read: ImageConfig, where: str) -> None:
    """Ask for all that the properties give, so that they raise nothing later."""
    for name in _KNOWN:
        try:
            getattr(read, name)
        except _UnexpectedError as error:
            raise _UnexpectedError(f"{where}.{error.where}", str(error)) from None


class _UnexpectedError(Exception):
    """A value that is not of its kind, and where it stands."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(problem)
        self.where = where


def _optional(holder: Mapping[str, Any], key: str, of: Callable[[Any, str], _T], absent: _D, where: str) -> _T | _D:
    """The value at `key`, or `absent` where there is none: engines write null for that, or leave the key out."""
    value = holder.get(key)
    return absent if value is None else of(value, f"{where}.{key}" if where else key)


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _UnexpectedError(where, "expected a string")
    return value


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _UnexpectedError(where, "expected a whole number that is not negative")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _UnexpectedError(where, "expected an object")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _UnexpectedError(where, "expected a list")
    return value


def _strings(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_string(each, f"{where}[{at}]") for at, each in enumerate(_list(value, where)))


def _objects(value: Any, where: str) -> tuple[dict[str, Any], ...]:
    return tuple(_object(each, f"{where}[{at}]") for at, each in enumerate(_list(value, where)))


def _keys(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_object(value, where))


def _texts(value: Any, where: str) -> dict[str, str]:
    return {key: _string(each, f"{where}[{key!r}]") for key, each in _object(value, where).items()}


def _healthcheck(value: Any, where: str) -> HealthCheck:
    found = _object(value, where)

    def number(key: str) -> int:
        return _optional(found, key, _whole, 0, where)

    return HealthCheck(
        test=_optional(found, "Test", _strings, (), where),
        interval=number("Interval"),
        timeout=number("Timeout"),
        start_period=number("StartPeriod"),
        start_interval=number("StartInterval"),
        retries=number("Retries"),
    )
