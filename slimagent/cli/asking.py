"""Options of commands that work here, or in a container of an image that the command line names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from slimagent.cli import options, terminal
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.containers import container_options
from slimagent.errors import UsageError
from slimagent.image.container import Container
from slimagent.image.engine import Engine, find
from slimagent.image.request import user_option
from slimagent.model.image_config import read_image_config
from slimagent.workflows.asking import Answer, Inquiry, ask

_SETTINGS = ("engine", "network", "volumes", "env", "gpus", "run_options", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """An image to ask: in which engine, in what kind of container, with which agent."""

    engine: Engine
    container: Container
    agent: str | None

    def user(self, name: str | None) -> tuple[str, ...]:
        """The option that names the user of the checks: the image's own, if none was named."""
        image = self.container.image
        return user_option(name or "", read_image_config(self.engine.inspect(image), image).user)

    def ask(
        self,
        arguments: tuple[str, ...],
        files: Mapping[str, bytes] | None = None,
        answers: tuple[str, ...] = (),
        *,
        silent: bool = False,
    ) -> Answer:
        """Run this command of the agent. What it says goes to standard output, unless it is `silent`."""

        def say(line: bytes) -> None:
            if not silent:
                terminal.heard(line)

        inquiry = Inquiry(container=self.container, arguments=arguments, files=files or {}, answers=answers, bare=False)
        return ask(self.engine, lambda: agent_bundle(self.agent, Console(is_alone=True)), inquiry, say)


def asking_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command with an argument `image`, which may be None.

    The command gets an argument `asking`, None without an image. Raises UsageError for a setting without an image.
    """

    @functools.wraps(function)
    def gather(*arguments: Any, container: Container, engine: str | None, agent: str | None, **others: Any) -> Any:
        if not container.image:
            _require_none(click.get_current_context())
            return function(*arguments, asking=None, **others)
        asking = Asking(engine=find(engine), container=container, agent=agent)
        return function(*arguments, asking=asking, **others)

    return options.together(container_options, options.agent)(gather)


def _require_none(context: click.Context) -> None:
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        if parameter.name in _SETTINGS and given:
            raise UsageError(f"{parameter.opts[-1]} is only used with IMAGE", "name the image, or leave the option out")
