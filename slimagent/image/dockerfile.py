"""Write a Dockerfile that slims an image, checks it, and restores the image's configuration. Pure.

It has three stages. The first traces and proves: the checks run, the unneeded files are removed in place, and the
checks run again. The second starts from the original image, without anything that the checks left, and removes the same
files. The last copies what is visible of the second, because its layers still contain the removed files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slimagent.errors import RefusedError, UsageError
from slimagent.image.dockerfile_words import (
    EQUALS,
    NEWLINE,
    array,
    comment,
    folded,
    name,
    quoted,
    raw,
    require_text,
    word,
)
from slimagent.model.image_config import HealthCheck, ImageConfig

# A reference as in `distribution/reference`, but less strict: it only has to be one word of these characters.
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_CONTEXT = re.compile(r"(?!/)(?!.*(^|/)\.\.(/|$))[^\x00-\x1f]+")
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/[a-z]+)?")
_KNOWN = frozenset(
    {
        *("User", "WorkingDir", "StopSignal", "Env", "Entrypoint", "Cmd", "Shell", "OnBuild", "ExposedPorts"),
        *("Volumes", "Labels", "Healthcheck", "Image"),  # Image: the ID of the image that this one was built from
    }
)
_UNITS = ((3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms"), (1, "ns"))
_COPIED = """\
The visible files of the slim image in one layer, with the configuration of {image}.
We checked this copy with both of Docker's builders. It keeps owners, modes, times (to the second, as any layer), hard
links, capabilities, empty directories and odd names. BuildKit leaves out FIFOs. `slimagent image` needs no copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of the stages: `image` is the name to pull, `run` are arguments of `slimagent run`, `removal` of
    `slimagent apply`.

    The agent is the directory `agent` of the build context, or the whole image `agent_image`. The stages have it at
    `place` (see `own_place`). `entry` starts it there; without one, its entrypoint.sh does. `env` are variables
    (NAME=VALUE) that replace the image's for the agent. `profile` is a file in the build context.
    """

    image: str
    place: str
    agent: str = "agent"
    agent_image: str = ""
    entry: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    removal: tuple[str, ...] = ()
    profile: str = ""

    @property
    def out(self) -> str:
        """Where the first stage writes its documents."""
        return f"{self.place}/out"

    def starting(self, *arguments: str) -> tuple[str, ...]:
        """The command that starts the agent in a stage."""
        return (*(self.entry or (f"{self.place}/entrypoint.sh",)), *arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """The text, and notes for people on the parts of the configuration that it cannot restore."""

    text: str
    notes: tuple[str, ...]


def own_place(image: bytes, agent: bytes = b"") -> str:
    """A path that cannot exist in the image. `image` is unique to it: its ID, or a description that lists its layers.

    COPY adds to existing directories and follows links, so an image that could guess the path could put files into the
    agent. A name made from the ID changes with every file in the image. `agent` is the agent's record, if there is one.
    The same input gives the same path.
    """
    whole = b"".join(hashlib.sha256(part).digest() for part in (image, agent))
    return f"/.slimagent-{hashlib.sha256(whole).hexdigest()[:32]}"


def dockerfile(config: ImageConfig, recipe: Recipe, tool: str) -> Dockerfile:
    """Write the Dockerfile for an image.

    Raises UsageError for an invalid name, RefusedError for a configuration that no Dockerfile can express.
    """
    _require_names(recipe)
    restored, notes = restore(config)
    base, from_base = _base(config, recipe)
    blocks = [
        [*comment(f"Written by {tool} for {recipe.image}. {_how(recipe)}"), *_newline(restored), *_noted(notes)],
        *base,
        _traced(recipe, from_base),
        [
            *comment("The documents of the run: docker build --target documents -o DIR . (the legacy builder: -t TAG)"),
            "FROM scratch AS documents",
            f"COPY --from=traced {recipe.out}/ /",
        ],
        _slim(recipe, from_base),
        [*comment(_COPIED.format(image=recipe.image)), "FROM scratch", "COPY --from=slim / /", *restored],
    ]
    lines = [line for block in blocks for line in (*block, "")]
    return Dockerfile(text="\n".join(lines[:-1]) + "\n", notes=notes)


_STAGES = ("original", "traced", "documents", "slim")


def _require_names(recipe: Recipe) -> None:
    for each in filter(None, (recipe.image, recipe.agent_image)):
        if not _REFERENCE.fullmatch(each):
            raise UsageError(f"{each!a} is not a valid image name", "write it as for `docker run`")
        if each.lower() in _STAGES or each.isdecimal():  # FROM and COPY would take the stage
            raise UsageError(f"{each} is the name of a stage of this Dockerfile, too", f"write {each}:latest")
    for each in filter(None, (recipe.agent, recipe.profile)):
        if not _CONTEXT.fullmatch(each) or each.startswith("--"):
            raise UsageError(f"{each!a} is not in the build context", "give its path relative to the build context")


def _how(recipe: Recipe) -> str:
    if recipe.agent_image:
        return f"The agent is the image {recipe.agent_image}."
    return f"Build it in the directory that contains the agent's directory {recipe.agent}: docker build -t TAG ."


def _newline(restored: Iterable[str]) -> list[str]:
    if not any(NEWLINE in line for line in restored):
        return []
    return comment(
        "A value has a line break, and a Dockerfile cannot write one: build with\n"
        f"  --build-arg {NEWLINE}=\"$(printf '\\nx')\"   without the x, or with a line break in quotation marks"
    )


def _noted(notes: tuple[str, ...]) -> list[str]:
    return [line for note in notes for line in comment(f"Not restored: {note}")]


def _base(config: ImageConfig, recipe: Recipe) -> tuple[list[list[str]], str]:
    """What the stages start from: the image, or a copy if FROM would run the image's ONBUILD instructions."""
    if not config.on_build:
        return [], recipe.image
    told = "A copy of the image: FROM would run its ONBUILD instructions, which are meant for other images."
    environment = [line for line in restore(config)[0] if not line.startswith("ONBUILD")]
    return [[*comment(told), "FROM scratch AS original", f"COPY --from={recipe.image} / /", *environment]], "original"


def _traced(recipe: Recipe, base: str) -> list[str]:
    arguments = ("run", "--no-export", "--verify", "in-place", "--out", recipe.out, *recipe.run)
    told = (
        "The checks run under trace, the unneeded files are removed in place, and the checks run again. The build\n"
        "fails if a check gets worse. The agent does this in one step: afterwards there may be no shell left here."
    )
    return [
        *comment(told),
        f"FROM {base} AS traced",
        "USER root",
        *_held_back(recipe),
        *_agent(recipe),
        folded_array("RUN", recipe.starting(*arguments)),
    ]


def _slim(recipe: Recipe, base: str) -> list[str]:
    told = "The original image again, untouched by the checks. The agent removes what the plan drops, then itself."
    arguments = ("apply", f"{recipe.place}/plan.json", "--in-place", "--remove-agent", *recipe.removal)
    return [
        *comment(told),
        f"FROM {base} AS slim",
        "USER root",
        *_held_back(recipe),
        *_agent(recipe, with_profile=False),
        f"COPY --from=traced {recipe.out}/plan.json {recipe.place}/plan.json",
        folded_array("RUN", recipe.starting(*arguments)),
    ]


def _held_back(recipe: Recipe) -> list[str]:
    return _pairs("ENV", {key: value for key, _, value in (each.partition("=") for each in recipe.env)})


def _agent(recipe: Recipe, *, with_profile: bool = True) -> list[str]:
    if recipe.agent_image:
        lines = [f"COPY --from={recipe.agent_image} / {recipe.place}/"]
    else:
        lines = [f"COPY {_copied(recipe.agent.rstrip('/') + '/', recipe.place + '/')}"]
    if with_profile and recipe.profile:
        lines.append(f"COPY {_copied(recipe.profile, recipe.place + '/profile.toml')}")
    return lines


def _copied(source: str, target: str) -> str:
    """The arguments of COPY. The source is a pattern of Go's filepath.Match, so special characters are escaped."""
    literal = re.sub(r"([\\*?\[])", r"\\\1", source)
    return f"{source} {target}" if word(source) == source else array([quoted(literal), target])


def folded_array(instruction: str, values: tuple[str, ...]) -> str:
    """An instruction with an array, each option on its own line."""
    whole = f"{instruction} {array(values, ' ' * (len(instruction) + 2))}"
    return "\n".join(folded(line) for line in whole.split("\n"))


def restore(config: ImageConfig) -> tuple[list[str], tuple[str, ...]]:
    """The instructions that give an empty stage this configuration, and notes on what they cannot restore."""
    notes: list[str] = []
    lines = [
        *_pairs("ENV", _environment(config, notes)),
        *_pairs("LABEL", config.labels),
        *_ports(config, notes),
        *_volumes(config),
        *([f"WORKDIR {word(config.working_dir)}"] if config.working_dir else []),
        *([f"USER {word(config.user)}"] if config.user else []),
        *([f"STOPSIGNAL {word(config.stop_signal)}"] if config.stop_signal else []),
        *([f"SHELL {array(config.shell)}"] if config.shell else []),
        *_healthcheck(config, notes),
        *([f"ENTRYPOINT {array(config.entrypoint)}"] if config.entrypoint else []),
        *([f"CMD {array(config.command)}"] if config.command else []),
        *_on_build(config, notes),
        *_author(config, notes),
    ]
    others = sorted(key for key, value in config.config.items() if value and key not in _KNOWN)
    if others:
        notes.append(f"{', '.join(map(ascii, others))}: no instruction sets it")
    arguments = [(NEWLINE, f"ARG {NEWLINE}"), (EQUALS, f'ARG {EQUALS}="="')]
    first = [line for used, line in arguments if any(f"${{{used}" in each for each in lines)]
    return [*first, *map(_folded, lines)], tuple(notes)


def _folded(lines: str) -> str:
    return "\n".join(folded(line) for line in lines.split("\n"))


def _pairs(instruction: str, pairs: Mapping[str, str]) -> list[str]:
    """One instruction with one pair per line."""
    words = [f"{name(key)}={quoted(value)}" for key, value in pairs.items()]
    indent = " " * (len(instruction) + 1)
    return [f"{instruction} " + f" \\\n{indent}".join(words)] if words else []


def _environment(config: ImageConfig, notes: list[str]) -> dict[str, str]:
    """The variables. If a name comes twice, the last value counts."""
    found: dict[str, str] = {}
    for each in config.env:
        key, equals, value = each.partition("=")
        if not key or not equals:
            notes.append(f"the variable {each!a}: it has no name or no equals sign")
            continue
        if key in found:
            notes.append(f"the first of several values of {key!a}: it has no effect")
        found[key] = value
    if "PATH" not in found:
        notes.append("the missing PATH: a builder sets the usual one")
    return found


def _ports(config: ImageConfig, notes: list[str]) -> list[str]:
    good = [port for port in config.exposed_ports if _PORT.fullmatch(port)]
    notes += [f"the exposed port {port!a}: it is not a valid port" for port in config.exposed_ports if port not in good]
    return [f"EXPOSE {' '.join(good)}"] if good else []


def _volumes(config: ImageConfig) -> list[str]:
    return [f"VOLUME {array([word(each) for each in config.volumes])}"] if config.volumes else []


def _healthcheck(config: ImageConfig, notes: list[str]) -> list[str]:
    check = config.healthcheck
    if check is None:
        return []
    if not check.test:
        notes.append("a health check that has no command")
        return []
    if check.test[0] == "NONE":
        return ["HEALTHCHECK NONE"]
    flags = [
        f"--{flag}={_duration(value)}"
        for flag, value in (
            ("interval", check.interval),
            ("timeout", check.timeout),
            ("start-period", check.start_period),
            ("start-interval", check.start_interval),
        )
        if value
    ]
    if check.retries:
        flags.append(f"--retries={check.retries}")
    return [" ".join(("HEALTHCHECK", *flags, "CMD", _test(check, config, notes)))]


def _test(check: HealthCheck, config: ImageConfig, notes: list[str]) -> str:
    kind, *rest = check.test
    if kind == "CMD":
        return array(rest)
    if kind != "CMD-SHELL" or len(rest) != 1:
        raise RefusedError(f"the image's health check has the unknown kind {kind!a}", "use `slimagent image` instead")
    if raw(rest[0]) and not rest[0].startswith("["):
        return require_text(rest[0])
    notes.append("the shell form of the health check: the exec form with the same shell replaces it")
    return array([*(config.shell or ("/bin/sh", "-c")), rest[0]])


def _duration(nanoseconds: int) -> str:
    """Write a duration in the format of Go's time.ParseDuration."""
    return next(f"{nanoseconds // size}{unit}" for size, unit in _UNITS if nanoseconds % size == 0)


def _on_build(config: ImageConfig, notes: list[str]) -> list[str]:
    good = [each for each in config.on_build if raw(each)]
    notes += [f"ONBUILD {each!a}: it is not one line" for each in config.on_build if each not in good]
    return [f"ONBUILD {require_text(each)}" for each in good]


def _author(config: ImageConfig, notes: list[str]) -> list[str]:
    if config.author and not raw(config.author):
        notes.append(f"the author {config.author!a}: it is not one line")
        return []
    return [f"MAINTAINER {require_text(config.author)}"] if config.author else []
