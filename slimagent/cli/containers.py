"""Options for the containers that an engine starts, in the engine's own words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from slimagent.cli import options
from slimagent.image.container import Container
from slimagent.image.engine import ENGINES

_OPTIONS = (
    click.option(
        "--engine", type=click.Choice(ENGINES), help="Engine that runs the containers. [default: docker, else podman]"
    ),
    click.option("--network", default="none", show_default=True, metavar="NAME", help="Network of the containers."),
    click.option(
        "-v",
        "--volume",
        "volumes",
        multiple=True,
        metavar="SPEC",
        help="Mount this for the tests, as in `docker run -v`.",
    ),
    click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable in the containers."),
    click.option("--gpus", default="", metavar="SPEC", help="GPUs to give to the containers, e.g. `all`."),
    click.option(
        "--run-option",
        "run_options",
        multiple=True,
        metavar="OPTION",
        help="Any other option of `docker run`, e.g. --shm-size=2g.",
    ),
)


def container_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command with an argument `image`, which may be None.

    It gets them as the arguments `container`, a Container of that image or of none, and `engine`, a name or None.
    """

    @functools.wraps(function)
    def gather(
        *arguments: Any,
        image: str | None,
        network: str,
        volumes: tuple[str, ...],
        env: tuple[str, ...],
        gpus: str,
        run_options: tuple[str, ...],
        **others: Any,
    ) -> Any:
        container = Container(
            image=image or "", network=network, volumes=volumes, env=env, gpus=gpus, run_options=run_options
        )
        return function(*arguments, container=container, **others)

    return options.together(*_OPTIONS)(gather)
