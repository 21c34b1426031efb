"""What the engine would refuse later is found out first: a tag that is taken, options that it does not take, a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slimagent.errors import RefusedError, UsageError
from slimagent.image.container import Container
from slimagent.image.engine import Engine, EngineRefusedError
from slimagent.image.labels import identity, made_by_us, source_of
from slimagent.image.work import AGENT, PRIVATE
from slimagent.linux.signals import deferred
from slimagent.model import references

# A program that no image has. To look for it is the last thing that an engine does before a container runs: by then it
# has made the network, the mounts and the devices.
NOTHING = "/.slimagent-nothing"
_OURS = {
    "--name": "slimagent finds its containers by their names",
    "--entrypoint": "slimagent starts its agent in them",
    "--cidfile": "slimagent makes several containers",
    "--rm": "slimagent removes its containers by itself",
    "--user": "slimagent is root in them, and steps run as --user of its own",
    "-u": "slimagent is root in them, and steps run as --user of its own",
}
_OVERWRITE = "choose another tag, or let it be replaced: --overwrite"


def require_free(engine: Engine, image: str, tag: str, overwrite: bool) -> str:
    """Raise RefusedError if an image would lose the name `tag` and slimagent did not make it, unless that is wanted.

    So it is if slimagent made it from another image. `image` is here. Returns the ID of the image that has the name
    now, empty for none. Raises UsageError for a tag that cannot be one.
    """
    references.tag(tag)
    taken = engine.find_image(tag)
    if overwrite:
        return "" if taken is None else identity(taken)
    if references.same(image, tag):
        raise RefusedError(f"the tag {tag} is the image that is to become slim: it would lose its name", _OVERWRITE)
    if taken is None:
        return ""
    if identity(taken) == identity(engine.inspect(image)):
        raise RefusedError(f"{tag} is another name of {image}: that image would lose it", _OVERWRITE)
    if not made_by_us(taken, engine.history(tag)):
        raise RefusedError(f"there is an image {tag} already, and slimagent did not make it", _OVERWRITE)
    source = source_of(taken)
    if source != image and not references.same(source, image):
        raise RefusedError(f"{tag} is the slim image of {source}, not of {image}", _OVERWRITE)
    return identity(taken)


def require_as_before(engine: Engine, tag: str, before: str) -> None:
    """Raise RefusedError if somebody gave the name `tag` to another image than the one that had it before."""
    taken = engine.find_image(tag)
    if taken is not None and identity(taken) != before:
        raise RefusedError(
            f"{tag} was given to another image while this one was made, and stays with that", "run it again"
        )


def require_startable(engine: Engine, container: Container, key: str, user: str = "") -> tuple[str, ...]:
    """Start a container with these options, of a program that is not there, and remove it: the variables that it had.

    `key` is the run's (owner.py). `user` is an account of the image, NAME[:GROUP] or numbers. Raises UsageError, with
    the engine's own sentence, for options that it refuses, and for a user who is not in the image; RefusedError for an
    image with something of its own where our directories are mounted; UnavailableError if it starts no container of
    this image at all.
    """
    _require_our_options(container.run_options)
    try:
        return _try(engine, container, key, user)
    except EngineRefusedError as error:
        given = _given(container)
        if not given:
            raise
        _try(engine, Container(image=container.image), key)  # if this fails, too, it is not for the options
        raise UsageError(
            f"{engine.name} does not start a container with these options: {error.words}",
            f"see what you gave with {', '.join(given)}",
        ) from None


def _try(engine: Engine, container: Container, key: str, user: str = "") -> tuple[str, ...]:
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
        return tuple(engine.inspect_container(name)["Config"].get("Env") or ())
    finally:
        with deferred():
            engine.remove_container(name)


def _require_our_options(options: Sequence[str]) -> None:
    for option in options:
        why = _OURS.get(option.partition("=")[0])
        if why:
            raise UsageError(f"containers cannot be given {option.partition('=')[0]}: {why}", "leave it out")


def _given(container: Container) -> list[str]:
    """The options of `slimagent image` that make this container another one than a plain one."""
    given = {
        "--network": container.network != "none",
        "--volume": container.volumes,
        "--env": container.env,
        "--gpus": container.gpus,
        "--run-option": container.run_options,
    }
    return [option for option, value in given.items() if value]


def _require_places(engine: Engine, name: str, image: str) -> None:
    """Raise RefusedError if the image has something where its containers will see the agent.

    A mount hides what is there, and one over a link what the link points to: the slim image would lack it.
    """
    for place in (AGENT, PRIVATE):
        if engine.holds(name, place):
            raise RefusedError(
                f"{image} has something at {place}, where slimagent mounts what is its own", "remove it from the image"
            )


def _require_user(engine: Engine, name: str, image: str, user: str) -> None:
    """Raise UsageError if the image has no such account, or no such group. Numbers need none (passwd(5), group(5))."""
    account, _, group = user.partition(":")
    for kind, wanted, path in (("user", account, "/etc/passwd"), ("group", group, "/etc/group")):
        if wanted and not wanted.isdecimal() and wanted not in _names(engine.copy_out(name, path)):
            hint = f"name one of its {path}, or give a number"
            raise UsageError(f"there is no {kind} {wanted} in {image}", hint)


def _names(table: bytes | None) -> set[str]:
    return {line.partition(b":")[0].decode("utf-8", "replace") for line in (table or b"").splitlines()}
