"""`slimagent dockerfile`: a multi-stage Dockerfile that slims an image with its own checks."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace

import click

from slimagent import __version__
from slimagent.cli import options, terminal
from slimagent.cli.help import command
from slimagent.errors import UsageError
from slimagent.image.agent import bundle, held_back
from slimagent.image.dockerfile import Recipe, dockerfile, own_place
from slimagent.image.engine import find
from slimagent.image.labels import identity
from slimagent.linux.files import read, write
from slimagent.model.agent import BUNDLE
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.profiles import shipped as profiles
from slimagent.profiles.rules import starts

_ROOT = ("", "0", "root", "0:0", "root:root")


@command("dockerfile", example="slimagent dockerfile app:latest -o Dockerfile.slim -- pytest -q /app/tests")
@click.argument("image", metavar="IMAGE")
@options.together(options.profile, options.level, options.accept, options.also)
@click.option("--user", metavar="NAME", help="Run the checks and COMMAND as this user. [default: the image's user]")
@click.option("--agent", metavar="DIR", help="Directory of the agent in the build context. [default: agent]")
@click.option("--agent-image", metavar="NAME", help="Take the agent from this image instead, which holds nothing else.")
@options.image_config
@click.option("-o", "--output", metavar="FILE", help="Write the Dockerfile here. [default: standard output]")
@options.overwrite
@options.command
def write_dockerfile(
    image: str,
    profile: str | None,
    level: str | None,
    accepted: tuple[str, ...],
    also: tuple[str, ...],
    user: str | None,
    agent: str | None,
    agent_image: str | None,
    image_config: str | None,
    output: str | None,
    overwrite: bool,
    command: tuple[str, ...],
) -> int:
    """Write a Dockerfile that slims IMAGE and proves the result.

    The Dockerfile runs the checks of a profile and COMMAND in one stage, and puts what they need into the last one.
    The image's configuration comes from --image-config, or from Docker or Podman. What a Dockerfile cannot set is
    named on standard error and in the file.
    """
    if output is not None:
        options.require_writable(output, None if overwrite else options.OWN_TEXT)
    if agent is not None and agent_image is not None:
        raise UsageError("--agent and --agent-image cannot be used together", "leave one out")
    data = find(None).inspect(image) if image_config is None else read(image_config)
    config = read_image_config(data, image_config or f"the configuration of {image}")
    only = identity(data).encode() or data  # an image's own description in a file has no ID, but its layers
    if agent_image is None:
        recipe = _with_agent(image, only, agent or "agent")
    else:
        recipe = Recipe(image=image, place=own_place(only), agent_image=agent_image)
    recipe = replace(recipe, run=_accepted(accepted, also), env=held_back(config.env) if recipe.entry else ())
    recipe = _with_profile(recipe, profile)
    recipe = replace(recipe, run=(*recipe.run, *_image_options(config, level, user), *_command(command)))
    made = dockerfile(config, recipe, f"slimagent {__version__}")
    for note in made.notes:
        terminal.line(f"slimagent: not restored: {note}", err=True)
    if output is None:
        terminal.document(made.text)
    else:
        write(output, made.text.encode())
    return 0


def _accepted(accepted: tuple[str, ...], also: tuple[str, ...]) -> tuple[str, ...]:
    said = [("--accept-loss", kind) for kind in accepted] + [("--also", line) for line in also]
    return tuple(word for pair in said for word in pair)


def _with_agent(image: str, only: bytes, directory: str) -> Recipe:
    """A recipe with the agent in `directory`. Only a bundle starts without the image's shell and interpreter."""
    record = os.path.join(directory, BUNDLE)
    if os.path.isfile(record):
        place = own_place(only, read(record))
        return Recipe(image=image, place=place, agent=directory, entry=bundle(directory).entry(place))
    return Recipe(image=image, place=own_place(only), agent=directory)


def _with_profile(recipe: Recipe, profile: str | None) -> Recipe:
    """Add a profile: a shipped one by its name, a file from the build context. Reads it now, to report errors early."""
    if profile is None or profile == profiles.AUTO:
        return replace(recipe, run=(*recipe.run, *(("--profile", profile) if profile else ())))
    profiles.load(profile)
    if profile in profiles.known():
        return replace(recipe, run=(*recipe.run, "--profile", profile))
    return replace(recipe, profile=profile, run=(*recipe.run, "--profile", f"{recipe.place}/profile.toml"))


def _image_options(config: ImageConfig, level: str | None, user: str | None) -> tuple[str, ...]:
    """Options for the level, the user and what the image starts: no container can see its image's configuration."""
    said = [] if level is None else ["--level", level]
    chosen = config.user if user is None else user
    if chosen not in _ROOT:
        said += ["--user", chosen]
    for rule in starts(config):
        said += ["--start", shlex.join(rule.command)]
    return tuple(said)


def _command(command: tuple[str, ...]) -> tuple[str, ...]:
    return ("--", *command) if command else ()


COMMANDS = (write_dockerfile,)
