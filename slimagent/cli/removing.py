"""Options for the list of what an apply takes from the image: where it goes, and what is in it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from slimagent.cli import options, writing
from slimagent.documents.removed import BEGINNING
from slimagent.model.image_config import ImageConfig
from slimagent.model.removed import INSIDE, NAME
from slimagent.paths.algebra import to_text
from slimagent.workflows.removals import Removals

OWN_LIST = writing.Own("a list of what went that slimagent wrote", BEGINNING)
_CONTENT = (
    click.option(
        "--removed-inside", is_flag=True, help=f"Put the list of what went into the image, too: {to_text(INSIDE)}."
    ),
    click.option(
        "--removed-digests/--no-removed-digests",
        default=True,
        show_default=True,
        help="List what went with SHA-256 digests, which takes reading all of it.",
    ),
)
_FILE = click.option(
    "--removed", metavar="FILE", help=f"Write the list of what went here. [default: {NAME} beside the receipt]"
)
CONTENT_NAMES = {"removed_inside", "removed_digests"}


def content_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for what is in a list to a command; it gets them as `removals`, without a path."""

    @functools.wraps(function)
    def gather(*arguments: Any, removed_inside: bool, removed_digests: bool, **others: Any) -> Any:
        return function(*arguments, removals=Removals(inside=removed_inside, digests=removed_digests), **others)

    return options.together(*_CONTENT)(gather)


def removal_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options for a list to a command; it gets them as `removals`. The path is empty if none was given."""

    @functools.wraps(function)
    def gather(*arguments: Any, removed: str | None, removals: Removals, **others: Any) -> Any:
        return function(*arguments, removals=replace(removals, path=removed or ""), **others)

    return _FILE(content_options(gather))


def beside(receipt: str) -> str:
    """The list beside a receipt."""
    return os.path.join(os.path.dirname(receipt), NAME)


def placed(removals: Removals, path: str, image: ImageConfig | None) -> Removals:
    """The list at a path, of an image. Fails early as `require_list` does."""
    require_list(path)
    return replace(removals, path=path, image=image)


def require_list(path: str) -> None:
    """Fail early if a list cannot be written there. Raises UnavailableError, and RefusedError for another file."""
    if path:
        writing.require_writable(path, OWN_LIST)
