"""`slimagent dockerfile`: a multi-stage Dockerfile that slims an image with its own checks."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from typing import Any

import click

from slimagent import __version__
from slimagent.cli import options, terminal, writing
from slimagent.cli.help import command
from slimagent.cli.passing import passed_on
from slimagent.cli.removing import CONTENT_NAMES, content_options
from slimagent.cli.rules import NAMES as RULE_OPTIONS
from slimagent.cli.rules import rule_options
from slimagent.errors import UsageError
from slimagent.image.agent import bundle, held_back
from slimagent.image.dockerfile import Recipe, dockerfile, own_place
from slimagent.image.engine import find
from slimagent.image.labels import identity
from slimagent.linux.files import read, write
from slimagent.model.agent import BUNDLE
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.profile import Rules
from slimagent.profiles import shipped as profiles
from slimagent.profiles.rules import starts
from slimagent.workflows.removals import Removals

_PASSED_ON = {"level", "accepted", "also", "jobs", "strip", "removed_digests", *RULE_OPTIONS}
_ROOT = ("", "0", "root", "0:0", "root:root")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The command line: each option by its name. Options that are only passed on to the agent were checked, too."""

    image: str
    profile: str | None
    level: str | None
    rules: Rules
    removals: Removals
    strip: str
    accepted: tuple[str, ...]
    also: tuple[str, ...]
    jobs: int | None
    user: str | None
    agent: str | None
    agent_image: str | None
    image_config: str | None
    output: str | None
    overwrite: bool
    command: tuple[str, ...]


@command("dockerfile", example="slimagent dockerfile app:latest -o Dockerfile.slim -- pytest -q /app/tests")
@click.argument("image", metavar="IMAGE")
@options.together(
    options.profile,
    options.level,
    rule_options,
    options.strip,
    content_options,
    options.accept,
    options.also,
    options.jobs,
)
@click.option("--user", metavar="NAME", help="Run the checks and COMMAND as this user. [default: the image's user]")
@click.option("--agent", metavar="DIR", help="Directory of the agent in the build context. [default: agent]")
@click.option("--agent-image", metavar="NAME", help="Take the agent from this image instead, which holds nothing else.")
@options.image_config
@click.option("-o", "--output", metavar="FILE", help="Write the Dockerfile here. [default: standard output]")
@options.overwrite
@options.command
def write_dockerfile(**given: Any) -> int:
    """Write a Dockerfile that slims IMAGE and proves the result.

    The Dockerfile runs the checks of a profile and COMMAND in one stage, and puts what they need into the last one.
    The image's configuration comes from --image-config, or from Docker or Podman. What a Dockerfile cannot set is
    named on standard error and in the file.
    """
    asked = _Asked(**given)
    output = asked.output
    if output is not None:
        writing.require_writable(output, None if asked.overwrite else writing.OWN_TEXT)
    if asked.agent is not None and asked.agent_image is not None:
        raise UsageError("--agent and --agent-image cannot be used together", "leave one out")
    options.require_sensible(asked.profile, asked.rules)
    data = find(None).inspect(asked.image) if asked.image_config is None else read(asked.image_config)
    config = read_image_config(data, asked.image_config or f"the configuration of {asked.image}")
    recipe = _recipe(asked, data, config)
    made = dockerfile(config, recipe, f"slimagent {__version__}")
    for note in made.notes:
        terminal.line(f"slimagent: not restored: {note}", err=True)
    if output is None:
        terminal.document(made.text)
    else:
        write(output, made.text.encode())
        terminal.lines(_next(recipe, output), err=True)
    return 0


def _recipe(asked: _Asked, described: bytes, config: ImageConfig) -> Recipe:
    """The settings of the stages for an image with this description, which has `config` in it."""
    only = identity(described).encode() or described  # a description in a file has no ID, but it lists the layers
    if asked.agent_image is None:
        recipe = _with_agent(asked.image, only, asked.agent or "agent")
    else:
        recipe = Recipe(image=asked.image, place=own_place(only), agent_image=asked.agent_image)
    env = held_back(config.env) if recipe.entry else ()
    recipe = replace(recipe, run=passed_on(_PASSED_ON), removal=passed_on(("strip", *CONTENT_NAMES)), env=env)
    recipe = _with_profile(recipe, asked.profile)
    return replace(recipe, run=(*recipe.run, *_image_options(config, asked.user), *_command(asked.command)))


def _next(recipe: Recipe, output: str) -> list[str]:
    """What to type next, in the directory that the paths in the Dockerfile start from."""
    lines = [f"wrote {output}; next:"]
    if not recipe.agent_image and not os.path.isdir(recipe.agent):
        lines.append(f"  slimagent bundle {shlex.quote(recipe.agent)}")
    build = f"  docker build -f {shlex.quote(output)}"
    return [*lines, f"{build} -t TAG .", f"{build} --target documents -o slim-documents .    # the plan and the proof"]


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
    if len(profiles.files(profile)) > 1:
        raise UsageError(f"profile {profile} extends other files, and the build gets only this one", "put all into one")
    if profile in profiles.known():
        return replace(recipe, run=(*recipe.run, "--profile", profile))
    return replace(recipe, profile=profile, run=(*recipe.run, "--profile", f"{recipe.place}/profile.toml"))


def _image_options(config: ImageConfig, user: str | None) -> tuple[str, ...]:
    """Options for the user and what the image starts: no container can see its image's configuration."""
    said: list[str] = []
    chosen = config.user if user is None else user
    if chosen not in _ROOT:
        said += ["--user", chosen]
    for rule in starts(config):
        said += ["--keep-command", shlex.join(rule.command)]
    return tuple(said)


def _command(command: tuple[str, ...]) -> tuple[str, ...]:
    return ("--", *command) if command else ()


COMMANDS = (write_dockerfile,)
