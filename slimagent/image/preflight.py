"""Check first what the engine would refuse later: a tag that is taken, options, a user that does not exist."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from slimagent.errors import RefusedError, UsageError
from slimagent.image.container import Container
from slimagent.image.engine import Engine, EngineRefusedError
from slimagent.image.labels import identity, made_by_us, source_of
from slimagent.image.work import AGENT, PRIVATE
from slimagent.linux.signals import deferred
from slimagent.model import references

# A program that no image has. An engine looks for the program last, just before a container runs: by then it has
# already set up the network, the mounts and the devices.
NOTHING = "/.slimagent-nothing"
_OURS = {
    "--name": "slimagent finds its containers by their names",
    "--entrypoint": "slimagent uses it to start its agent",
    "--cidfile": "slimagent creates several containers",
    "--rm": "slimagent removes its containers itself",
    "--user": "slimagent's agent runs as root; to set the user of the steps, use slimagent's own --user",
    "-u": "slimagent's agent runs as root; to set the user of the steps, use slimagent's own --user",
}
_OVERWRITE = "choose another tag, or replace it with --overwrite"


def require_free(engine: Engine, image: str, tag: str, overwrite: bool) -> str:
    """Raise RefusedError if an image would lose the name `tag`, unless `overwrite`, or slimagent made it from `image`.

    The engine must have `image`. Returns the ID of the image that has the name now, or an empty string. Raises
    UsageError if the tag is not valid.
    """
    references.tag(tag)
    taken = engine.find_image(tag)
    if overwrite:
        return "" if taken is None else identity(taken)
    if references.same(image, tag):
        raise RefusedError(f"the tag {tag} is the name of the original image: it would lose its name", _OVERWRITE)
    if taken is None:
        return ""
    if identity(taken) == identity(engine.inspect(image)):
        raise RefusedError(f"{tag} is another name of {image}: that image would lose it", _OVERWRITE)
    if not made_by_us(taken, engine.history(tag)):
        raise RefusedError(f"the image {tag} already exists, and slimagent did not make it", _OVERWRITE)
    source = source_of(taken)
    if source != image and not references.same(source, image):
        raise RefusedError(f"{tag} is the slim image of {source}, not of {image}", _OVERWRITE)
    return identity(taken)


def require_as_before(engine: Engine, tag: str, before: str) -> None:
    """Raise RefusedError if the name `tag` now belongs to another image than `before`."""
    taken = engine.find_image(tag)
    if taken is not None and identity(taken) != before:
        raise RefusedError(
            f"{tag} was given to another image while this one was made, and that image keeps it", "run it again"
        )


def require_startable(
    engine: Engine, container: Container, key: str, user: str = "", strip: str = ""
) -> tuple[str, ...]:
    """Try to start a container with these options, then remove it. Returns the variables that it had.

    It starts a program that does not exist. `key` is the run's (owner.py). `user` is an account of the image,
    NAME[:GROUP] or numbers, and `strip` a program of it. Raises UsageError, with the engine's own message, for options
    that the engine refuses, and for a user or a program that the image does not have; RefusedError if the image has
    something at the paths that slimagent mounts; UnavailableError if the engine cannot start any container of it.
    """
    _require_our_options(container.run_options)
    _require_sources(container.volumes)
    try:
        return _try(engine, container, key, user, strip)
    except EngineRefusedError as error:
        given = _given(container)
        if not given:
            raise
        _try(engine, Container(image=container.image), key)  # if this fails, too, the options are not the cause
        raise UsageError(
            f"{engine.name} cannot start a container with these options: {error.words}",
            f"correct what you gave with {', '.join(given)}",
        ) from None


def _try(engine: Engine, container: Container, key: str, user: str = "", strip: str = "") -> tuple[str, ...]:
    name = f"slimagent-{key}-try"
    try:
        with deferred():
            engine.create(name, replace(container, entry=(NOTHING,), arguments=(), user="0:0", mounts=()))
            _require_places(engine, name, container.image)
            try:
                engine.start(name)
            except EngineRefusedError as error:
                if NOTHING not in error.words:
                    raise
        _require_user(engine, name, container.image, user)
        env = tuple(engine.inspect_container(name)["Config"].get("Env") or ())
        if strip:
            _require_program(engine, name, container.image, strip, env)
        return env
    finally:
        with deferred():
            engine.remove_container(name)


def _require_our_options(options: Sequence[str]) -> None:
    for option in options:
        why = _OURS.get(option.partition("=")[0])
        if why:
            raise UsageError(f"the run option {option.partition('=')[0]} is not allowed: {why}", "leave it out")


def _require_sources(volumes: Sequence[str]) -> None:
    """Raise UsageError if a directory to mount does not exist: Docker would create it, empty and as root."""
    for volume in volumes:
        source, colon, _ = volume.partition(":")
        if colon and source.startswith(("/", "./", "../")) and not os.path.lexists(source):
            raise UsageError(
                f"--volume {volume}: {source} does not exist on this machine", "create it, or correct the path"
            )


def _given(container: Container) -> list[str]:
    """The options of `slimagent image` that change this container from the default."""
    given = {
        "--network": container.network != "none",
        "--volume": container.volumes,
        "--env": container.env,
        "--gpus": container.gpus,
        "--run-option": container.run_options,
    }
    return [option for option, value in given.items() if value]


def _require_places(engine: Engine, name: str, image: str) -> None:
    """Raise RefusedError if the image has something at the paths where the agent is mounted.

    A mount hides what is there, or what a link there points to. The slim image would then lack it.
    """
    for place in (AGENT, PRIVATE):
        if engine.holds(name, place):
            raise RefusedError(
                f"{image} has something at {place}, where slimagent mounts its own files", "remove it from the image"
            )


def _require_user(engine: Engine, name: str, image: str, user: str) -> None:
    """Raise UsageError if the image has no such user or group. Numbers need no entry (passwd(5), group(5))."""
    account, _, group = user.partition(":")
    for kind, wanted, path in (("user", account, "/etc/passwd"), ("group", group, "/etc/group")):
        if wanted and not wanted.isdecimal() and wanted not in _names(engine.copy_out(name, path)):
            hint = f"use a name from the image's {path}, or a number"
            raise UsageError(f"no such {kind} in {image}: {wanted}", hint)


def _require_program(engine: Engine, name: str, image: str, program: str, env: Sequence[str]) -> None:
    """Raise UsageError if the image does not have a program, a path or a name to look for in its PATH."""
    path = next((each.partition("=")[2] for each in env if each.startswith("PATH=")), "/usr/bin:/bin")
    places = [program] if "/" in program else [f"{each}/{program}" for each in path.split(":") if each]
    if not any(engine.holds(name, each) for each in places):
        raise UsageError(f"--strip {program}: {image} has no such program", "use --strip auto or --strip none")


def _names(table: bytes | None) -> set[str]:
    return {line.partition(b":")[0].decode("utf-8", "replace") for line in (table or b"").splitlines()}
