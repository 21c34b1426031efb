"""`slimagent profiles` and `slimagent detect`: what can be checked, and what is installed here."""

from __future__ import annotations

import click

from slimagent import profiles as shipped
from slimagent.cli import options
from slimagent.rules import Profile
from slimagent.session import environment, user_named


@click.command()
def profiles() -> int:
    """List the profiles known by name."""
    known = shipped.known()
    width = max(map(len, known))
    click.echo(f"{'auto':{width}}  chosen from what is installed (see `slimagent detect`)")
    for name in sorted(known):
        click.echo(f"{name:{width}}  {shipped.load(name).description}")
    return 0


@click.command()
@options.user
def detect(user: str | None) -> int:
    """Say what is installed here, and which checks that brings."""
    whom = user_named(user)
    _show(shipped.detect(environment(whom)))
    return 0


def _show(profile: Profile) -> None:
    click.echo(profile.description)
    for check in profile.checks:
        click.echo(f"  {check.kind:16} {check.name}")


COMMANDS = (profiles, detect)
