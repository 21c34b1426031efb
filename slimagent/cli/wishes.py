"""What the command line adds to a profile's rules: options that end up in one `Rules`."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from slimagent.errors import UsageError
from slimagent.model.image_config import ImageConfig
from slimagent.model.profile import KeepRule, PackageRule, Profile, Rules, StartRule
from slimagent.paths.algebra import from_text, pattern

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--keep", multiple=True, metavar="PATTERN", help="Keep these paths whatever the trace says, as /opt/x/**."
    ),
    click.option(
        "--keep-package",
        "keep_packages",
        multiple=True,
        metavar="KIND:NAME",
        help="Keep these packages whole, as dpkg:git-lfs or 'python:nvidia-*'.",
    ),
    click.option(
        "--keep-cruft", multiple=True, metavar="RULE", help="Do not apply this cruft rule (see docs/levels.md)."
    ),
    click.option(
        "--start",
        "starts",
        multiple=True,
        metavar="COMMAND",
        help="The image's ENTRYPOINT and CMD, or its health check: what this command line names stays.",
    ),
    click.option(
        "--compiling/--no-compiling",
        default=None,
        help="Whether software is compiled in the image. [default: if the trace saw a compiler]",
    ),
    click.option(
        "--strip-setuid/--no-strip-setuid",
        default=None,
        help="Whether setuid and setgid programs lose their symbols, too. [default: the profile's, else no]",
    ),
    click.option(
        "--budget",
        type=click.IntRange(min=0),
        metavar="BYTES",
        help="At level file: unread files of a used package that are no code stay up to this size.",
    ),
)


def _names() -> frozenset[str]:
    def nothing() -> None:
        pass

    for option in _OPTIONS:
        option(nothing)
    return frozenset(parameter.name for parameter in nothing.__click_params__)  # type: ignore[attr-defined]


NAMES = _names()  # of the parameters that the options become


def wishes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it gets what they say as the argument `wished`, a Rules."""

    @functools.wraps(function)
    def gather(
        *arguments: Any,
        keep: tuple[str, ...],
        keep_packages: tuple[str, ...],
        keep_cruft: tuple[str, ...],
        starts: tuple[str, ...],
        compiling: bool | None,
        strip_setuid: bool | None,
        budget: int | None,
        **others: Any,
    ) -> Any:
        wished = Rules(
            keep=tuple(
                KeepRule(pattern=path_pattern("--keep", text), why="asked for with --keep", follow=True)
                for text in keep
            ),
            packages=tuple(
                PackageRule(pattern=_package(text), why="asked for with --keep-package") for text in keep_packages
            ),
            kept_cruft=keep_cruft,
            start=tuple(StartRule(command=_command(text), why="what the image is started with") for text in starts),
            compiling=compiling,
            strip_setuid=strip_setuid,
            budget=budget,
        )
        return function(*arguments, wished=wished, **others)

    command: Callable[..., Any] = gather
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_wishes(profile: Profile, wished: Rules) -> Profile:
    """The profile with what the command line adds. Raises UsageError for a cruft rule that is not in the profile."""
    rules = profile.rules
    known = {rule.name for rule in rules.cruft}
    unknown = [name for name in wished.kept_cruft if name not in known]
    if unknown:
        raise UsageError(f"--keep-cruft {unknown[0]}: there is no such rule", f"known are {', '.join(sorted(known))}")
    return replace(
        profile,
        rules=replace(
            rules,
            keep=(*rules.keep, *wished.keep),
            packages=(*rules.packages, *wished.packages),
            kept_cruft=(*rules.kept_cruft, *wished.kept_cruft),
            start=(*rules.start, *wished.start),
            strip_setuid=rules.strip_setuid if wished.strip_setuid is None else wished.strip_setuid,
            compiling=rules.compiling if wished.compiling is None else wished.compiling,
            budget=rules.budget if wished.budget is None else wished.budget,
        ),
    )


def starts(image: ImageConfig) -> tuple[StartRule, ...]:
    """What an image's configuration starts: its ENTRYPOINT and CMD, its health check, its shell."""
    commands = (
        (image.started, "the image's ENTRYPOINT and CMD"),
        (image.health_command, "the image's health check"),
        (image.shell, "the image's SHELL"),
    )
    cwd = image.working_dir or "/"
    return tuple(StartRule(command=command, why=why, cwd=cwd) for command, why in commands if command)


def path_pattern(option: str, text: str) -> str:
    """The value of an option that takes a pattern. Raises UsageError if it is not one of absolute paths."""
    try:
        from_text(text)
        pattern(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}", "patterns are paths with *, ** and ?") from None
    if not text.startswith("/"):
        raise UsageError(f"{option} {text}: not an absolute path", "patterns start with /, as /opt/x/**")
    return text


def _package(text: str) -> str:
    kind, colon, name = text.partition(":")
    if not (kind and colon and name):
        raise UsageError(f"--keep-package {text}: not KIND:NAME", "name the kind too, as dpkg:vim or python:torch")
    return text


def _command(text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--start {text}: {error}", "write it as in a shell") from None
    if not words:
        raise UsageError("--start needs a command line", "as --start 'tini -g -- jupyter lab'")
    return tuple(words)
