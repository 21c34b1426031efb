"""Options that add to a profile's rules: they end up in one Rules."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from typing import Any

import click

from slimagent.cli import options
from slimagent.errors import UsageError
from slimagent.gpu.architectures import parse
from slimagent.model.inventory import PackageKind
from slimagent.model.profile import DropRule, GpuRule, KeepRule, PackageRule, Rules, StartRule, StripRule
from slimagent.profiles.rules import PTX
from slimagent.text.near import meant


def _known_gpus(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Find a wrong name before anything runs. The text stays as it is: it is passed on to the agent."""
    if text is not None:
        try:
            parse(text)
        except UsageError as error:
            raise UsageError(f"--gpu-arch {text}: {error.message}", error.hint) from None
    return text


_OPTIONS: tuple[options.Decorator, ...] = (
    click.option("--keep", multiple=True, metavar="PATTERN", help="Keep these paths, e.g. /opt/x/**. Can be repeated."),
    click.option(
        "--keep-package",
        "keep_packages",
        multiple=True,
        metavar="KIND:NAME",
        help="Keep these packages whole, e.g. dpkg:git-lfs or 'python:nvidia-*'. Can be repeated.",
    ),
    click.option(
        "--drop",
        multiple=True,
        metavar="KIND:NAME|PATTERN",
        help="Drop these packages or paths, whatever needs them; the proof shows whether the tests do. "
        "Can be repeated.",
    ),
    click.option(
        "--keep-cruft",
        multiple=True,
        metavar="RULE",
        help="Do not apply this cruft rule; see docs/cruft.md. Can be repeated.",
    ),
    click.option(
        "--keep-command",
        "starts",
        multiple=True,
        metavar="COMMAND",
        help="Keep what this command line names, e.g. the image's ENTRYPOINT and CMD.",
    ),
    click.option(
        "--compiling/--no-compiling",
        default=None,
        help="Keep what compiling needs, e.g. headers. [default: if the trace saw a compiler]",
    ),
    click.option(
        "--strip-setuid/--no-strip-setuid",
        default=None,
        help="Strip setuid and setgid programs too. [default: the profile's, else no]",
    ),
    click.option(
        "--strip-except",
        "unstripped",
        multiple=True,
        metavar="PATTERN",
        help="Leave all bytes of these files: take out neither symbols nor GPU code. Can be repeated.",
    ),
    click.option(
        "--gpu-arch",
        callback=_known_gpus,
        metavar="LIST",
        help="Remove GPU code that none of these GPUs would load, e.g. sm_80,h100 or none; see docs/gpu.md.",
    ),
    click.option(
        "--gpu-ptx",
        type=click.Choice(tuple(PTX)),
        help="With --gpu-arch: keep or drop PTX, which newer GPUs can compile. [default: the profile's, else drop]",
    ),
    click.option(
        "--gpu-code-of",
        "gpu_owners",
        multiple=True,
        metavar="KIND:NAME|PATTERN",
        help="With --gpu-arch: rewrite files of these packages or paths although no open licence permits it. "
        "Can be repeated.",
    ),
    click.option(
        "--budget",
        type=click.IntRange(min=0),
        metavar="BYTES",
        help="At level file: keep unread data files of used packages up to this size.",
    ),
)


def _names() -> frozenset[str]:
    def nothing() -> None:
        pass

    for option in _OPTIONS:
        option(nothing)
    return frozenset(parameter.name for parameter in nothing.__click_params__)  # type: ignore[attr-defined]


NAMES = _names()  # names of the options' parameters


def rule_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it gets them as the argument `rules`, a Rules."""

    @functools.wraps(function)
    def gather(
        *arguments: Any,
        keep: tuple[str, ...],
        keep_packages: tuple[str, ...],
        drop: tuple[str, ...],
        keep_cruft: tuple[str, ...],
        starts: tuple[str, ...],
        compiling: bool | None,
        strip_setuid: bool | None,
        unstripped: tuple[str, ...],
        gpu_arch: str | None,
        gpu_ptx: str | None,
        gpu_owners: tuple[str, ...],
        budget: int | None,
        **others: Any,
    ) -> Any:
        rules = Rules(
            keep=tuple(
                KeepRule(pattern=options.path_pattern("--keep", text), why="asked for with --keep", follow=True)
                for text in keep
            ),
            packages=tuple(
                PackageRule(pattern=_package("--keep-package", text), why="asked for with --keep-package")
                for text in keep_packages
            ),
            drop=tuple(DropRule(what=_package_or_path("--drop", text), why="asked for with --drop") for text in drop),
            kept_cruft=keep_cruft,
            start=tuple(StartRule(command=_command(text), why="what the image is started with") for text in starts),
            compiling=compiling,
            strip_setuid=strip_setuid,
            strip=tuple(
                StripRule(exclude=(options.path_pattern("--strip-except", text),), why="asked for with --strip-except")
                for text in unstripped
            ),
            gpu=_gpu(gpu_arch, gpu_ptx, gpu_owners),
            budget=budget,
        )
        return function(*arguments, rules=rules, **others)

    return options.together(*_OPTIONS)(gather)


def _gpu(architectures: str | None, ptx: str | None, owners: tuple[str, ...]) -> GpuRule | None:
    if architectures is None and ptx is None and not owners:
        return None
    return GpuRule(
        architectures=architectures or "",
        ptx=PTX.get(ptx or ""),
        owners=tuple(_package_or_path("--gpu-code-of", text) for text in owners),
    )


def _package_or_path(option: str, text: str) -> str:
    return options.path_pattern(option, text) if text.startswith("/") else _package(option, text)


def _package(option: str, text: str) -> str:
    kind, colon, name = text.partition(":")
    if not (kind and colon and name):
        raise UsageError(f"{option} {text} is not KIND:NAME", "name the kind too, e.g. dpkg:vim or python:torch")
    if kind not in (*PackageKind, "*"):
        raise UsageError(f"{option} {text}: {kind} is not a kind of package", meant(kind, PackageKind))
    return text


def _command(text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--keep-command {text}: {error}", "write it as in a shell") from None
    if not words:
        raise UsageError("--keep-command needs a command line", "e.g. --keep-command 'tini -g -- jupyter lab'")
    return tuple(words)
