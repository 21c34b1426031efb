"""The configuration of a container that a client asks for: its own, else the image's. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.text.json_input import parsed


def words(value: Any) -> list[str]:
    """A command or a list of variables, which may be one text (`strslice` in Docker's API)."""
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def configured(image: ImageConfig, wanted: dict[str, Any]) -> ImageConfig:
    """The configuration of a container: the request's, else the image's.

    As Docker's daemon merges them (daemon/commit.go, `merge`): an entrypoint of its own makes the image's CMD void, an
    empty list clears the entrypoint, and so does one empty word (daemon/create.go).
    """
    config = dict(image.config)
    entrypoint, command = wanted.get("Entrypoint"), words(wanted.get("Cmd"))
    if entrypoint is not None:
        config["Entrypoint"] = [] if (program := words(entrypoint)) == [""] else program
    if command or (entrypoint is not None and words(entrypoint)):
        config["Cmd"] = command
    for name in ("User", "WorkingDir"):
        if wanted.get(name):
            config[name] = str(wanted[name])
    check = {key: value for key, value in (wanted.get("Healthcheck") or {}).items() if value}
    own = config.get("Healthcheck")
    if check:
        config["Healthcheck"] = {**(own if isinstance(own, dict) else {}), **check}
    given = dict(each.partition("=")[::2] for each in words(wanted.get("Env")))
    rest = [each for each in image.env if each.partition("=")[0] not in given]
    config["Env"] = [*rest, *(f"{name}={value}" for name, value in given.items())]
    return read_image_config(orjson.dumps({"architecture": image.architecture, "os": image.os, "config": config}))


def described_with(described: bytes, config: ImageConfig, *, checks: bool) -> bytes:
    """The image's description with a container's configuration. Without `checks`, nothing asks whether it is up."""
    (whole,) = parsed(described)
    changed = dict(config.config)
    if not checks:
        for name in ("Healthcheck", "ExposedPorts"):
            changed.pop(name, None)
        whole = {key: value for key, value in whole.items() if key != "Healthcheck"}
    return orjson.dumps([{**whole, "Config": changed}])
