"""`slimagent start`: start the image as it is configured, in our own place."""

from __future__ import annotations

import os

import click

from slimagent.cli import terminal
from slimagent.cli.own_agent import require_own_agent
from slimagent.cli.starting import UNTIL
from slimagent.linux.files import read
from slimagent.model.image_config import read_image_config
from slimagent.model.started import Until, best_sign
from slimagent.workflows import starting


@click.command(short_help="Become the image's own first process, watched.")
@click.option("--image-config", required=True, metavar="FILE", help="What `docker image inspect IMAGE` printed.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the start is written down, line by line.")
@click.option("--until", type=click.Choice(UNTIL), default="auto", show_default=True, help="What to wait for.")
@click.option("--seconds", default=60.0, show_default=True, help="How long to wait at most.")
@click.option("--settle", default=5.0, show_default=True, help="How long an image that shows nothing has to run.")
def start(image_config: str, output: str, until: str, seconds: float, settle: float) -> int:
    """Become what the image starts: its ENTRYPOINT and CMD as its user, in its working directory, as process 1.

    A watcher goes on beside it, and writes to the output which files are needed and what the start comes to. Give that
    to `slimagent trace --started` and `verify --started`. `slimagent image` does all of this.
    """
    require_own_agent((os.fsencode(output),))
    config = read_image_config(read(image_config), image_config)
    sign = best_sign(health_check=bool(config.health_command), port=bool(config.tcp_ports))
    waited_for = sign if until == "auto" else Until(until)
    starting.begin(starting.Start(config=config, until=waited_for, settle=settle, limit=seconds), output)
    return 0


@click.command(short_help="Say which TCP ports answer here.")
@click.argument("numbers", metavar="PORT...", nargs=-1, required=True, type=click.IntRange(1, 65535))
@click.option("--seconds", default=60.0, show_default=True, help="How long to ask at most, until one answers.")
def ports(numbers: tuple[int, ...], seconds: float) -> int:
    """Ask each PORT of this container until one answers, and print those that do. Exit 1 if none does."""
    found = starting.ask(numbers, seconds)
    terminal.line(" ".join(map(str, found)))
    return 0 if found else 1


COMMANDS = (start, ports)
