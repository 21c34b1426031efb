"""`slimagent start`: start the image as configured, in place of this process."""

from __future__ import annotations

import os

import click

from slimagent.cli import options, terminal
from slimagent.cli.help import command
from slimagent.cli.own_agent import require_own_agent
from slimagent.cli.starting import UNTIL
from slimagent.errors import UsageError
from slimagent.linux.command import Command
from slimagent.linux.files import read
from slimagent.model.image_config import read_image_config
from slimagent.model.started import awaited
from slimagent.workflows import entering, starting
from slimagent.workflows.session import configured_environment, user_named, with_engine_groups


@command(example="/agent/entrypoint.sh start --image-config /out/image.json -o /out/started.jsonl")
@click.option("--image-config", required=True, metavar="FILE", help="What `docker image inspect IMAGE` printed.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Write what happens here, line by line.")
@click.option(
    "--until", type=click.Choice(UNTIL), default="auto", show_default=True, help="When the image counts as started."
)
@click.option("--seconds", default=60.0, show_default=True, help="Wait at most this many seconds.")
@click.option(
    "--settle", default=5.0, show_default=True, help="Seconds that an image without a health check or port has to run."
)
@click.option("--enter", "door", default="", metavar="FILE", help="Let `slimagent enter` come in through this socket.")
def start(image_config: str, output: str, until: str, seconds: float, settle: float, door: str) -> int:
    """Start the image as it is configured, as process 1, and record what it needs.

    Runs ENTRYPOINT and CMD as the image's user in its working directory. Give the output to `slimagent trace
    --started` and `slimagent verify --started`. `slimagent image` does all of this for you.
    """
    require_own_agent((os.fsencode(output),))
    config = read_image_config(read(image_config), image_config)
    asked = starting.Start(config=config, until=awaited(until, config), settle=settle, limit=seconds)
    starting.begin(asked, output, door)
    return 0


@command(example="/agent/entrypoint.sh enter --door /out/door --user app -- pytest -q")
@click.option("--door", required=True, metavar="FILE", help="The socket of `slimagent start --enter`.")
@click.option("--user", metavar="NAME", help="Run COMMAND as this user. [default: the user who runs this]")
@click.option("--keep-home", is_flag=True, help="HOME is set for this container: do not set the user's.")
@click.option("--directory", default="/", show_default=True, metavar="DIR", help="Run COMMAND in this directory.")
@options.command
def enter(door: str, user: str | None, keep_home: bool, directory: str, command: tuple[str, ...]) -> int:
    """Run COMMAND in a running container so that what it needs is recorded with the start.

    `slimagent image --from-host` lets every `docker exec` do this.
    """
    if not command:
        raise UsageError("nothing to run", "add `-- COMMAND`")
    account = with_engine_groups(user_named(user))
    env = configured_environment(account, ("HOME=",) if keep_home else ())
    entering.enter(door, Command(command, env=env, cwd=directory, user=account))
    return 0


@command(example="slimagent ports 80 8080")
@click.argument("numbers", metavar="PORT...", nargs=-1, required=True, type=click.IntRange(1, 65535))
@click.option("--seconds", default=60.0, show_default=True, help="Ask for at most this many seconds.")
def ports(numbers: tuple[int, ...], seconds: float) -> int:
    """Print which of these TCP ports answer in this container.

    Asks until one answers. Exits with 1 if none does.
    """
    found = starting.ask(numbers, seconds)
    terminal.line(" ".join(map(str, found)))
    return 0 if found else 1


COMMANDS = (start, enter, ports)
