"""`slimagent profiles` and `slimagent detect`: what can be checked, and what is installed here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import click

from slimagent import __version__
from slimagent.cli import options, terminal, writing
from slimagent.cli.asking import Asking, asking_options
from slimagent.cli.help import command
from slimagent.image.work import OUT
from slimagent.linux.files import write
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.profiles import shipped
from slimagent.report.text import table
from slimagent.text.escapes import printable
from slimagent.text.json_output import indented
from slimagent.workflows.session import environment, user_named

_PROFILE = "profile.toml"  # in the container
_FIRST_LINE = f"# {writing.FIRST_LINE} {__version__}, which replaces the file as long as this line is here.\n"


@command(example="slimagent profiles")
@options.as_json
def profiles(as_json: bool) -> int:
    """List the profiles that come with slimagent."""
    found = {name: shipped.load(name).description for name in shipped.known()}
    known = {shipped.AUTO: "the checks for what is installed (see `slimagent detect`)", **found}
    if as_json:
        terminal.json(indented(known))
    else:
        terminal.lines(table([*map(list, known.items())]))
    return 0


@command(example="slimagent detect app:latest -o profile.toml")
@click.argument("image", required=False, metavar="[IMAGE]")
@options.user
@click.option("-o", "--output", metavar="FILE", help="Write the checks here as a profile that you can change.")
@options.overwrite
@options.as_json
@asking_options
def detect(asking: Asking | None, user: str | None, output: str | None, overwrite: bool, as_json: bool) -> int:
    """List what is installed here, or in IMAGE, and which checks `--profile auto` runs for it.

    With -o they become a profile. Its first line lets slimagent replace the file: remove that line when you change it.
    """
    if output is not None:
        writing.require_writable(output, None if overwrite else writing.OWN_TEXT)
    if asking is not None:
        return _outside(asking, user, output, as_json=as_json)
    found = shipped.found(environment(user_named(user)))
    if output is not None:
        _write(output, (_FIRST_LINE + shipped.written(found)).encode())
    if as_json:
        terminal.json(indented(_facts(found)))
    elif output is None:
        for line in _lines(found):
            terminal.lines(_wrapped(printable(line)))
    return 0


def _write(output: str, profile: bytes) -> None:
    write(output, profile)
    terminal.line(f"wrote {output}; use it with --profile {shlex.quote(output)}", err=True)


def _outside(asking: Asking, user: str | None, output: str | None, *, as_json: bool) -> int:
    """Ask in a container of an image, as the image's user."""
    words = ("detect", *asking.user(user))
    if output is not None:
        _write(output, asking.ask((*words, "-o", f"{OUT}/{_PROFILE}"), {}, (_PROFILE,), silent=True).files[_PROFILE])
        if not as_json:
            return 0
    return asking.ask((*words, *(("--json",) if as_json else ()))).status


def _lines(found: shipped.Detected) -> list[str]:
    if not (found.profiles or found.checks):
        return ["nothing known is installed here"]
    checks = [check for name, _ in found.profiles for check in shipped.load(name).checks] + list(found.checks)
    return [
        "found here:",
        *table([["  " + name, why] for name, why in found.profiles]),
        "checks:",
        *table([["  " + check.kind, check.name] for check in _once(checks)]),
        *(f"{spec.name}: {_named(spec.parameters.values())}" for spec in found.checks if spec.parameters),
    ]


def _wrapped(line: str) -> list[str]:
    return click.wrap_text(line, 100, subsequent_indent="    ").split("\n") if len(line) > 100 else [line]


def _named(values: Iterable[Parameter]) -> str:
    return ", ".join(each for value in values if isinstance(value, tuple) for each in value)


def _once(checks: list[CheckSpec]) -> list[CheckSpec]:
    return list({check.name: check for check in checks}.values())


def _facts(found: shipped.Detected) -> dict[str, object]:
    return {
        "profiles": dict(found.profiles),
        "checks": [{"kind": each.kind, "name": each.name, **each.parameters} for each in found.checks],
    }


COMMANDS = (profiles, detect)
