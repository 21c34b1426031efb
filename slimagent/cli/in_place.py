"""The options of a removal in place: `--in-place` and what goes with it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from slimagent.bundle.agent_directory import remove, require_removable
from slimagent.cli import options, writing
from slimagent.errors import RefusedError, UsageError
from slimagent.paths.algebra import within
from slimagent.workflows.session import in_container, own_directory

_OPTIONS = (
    click.option("--in-place", is_flag=True, help="Remove the files from this container."),
    click.option("--force", is_flag=True, help="With --in-place: go on even if this is not a container."),
    click.option(
        "--journal",
        metavar="FILE",
        help="With --in-place: journal that lets an interrupted removal go on. [default: PLAN.journal]",
    ),
    click.option(
        "--remove-agent",
        is_flag=True,
        help="With --in-place: also remove the agent's own directory, with the plan and journal in it.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The options of a removal in place.

    `journal` is the file's path, and `own` the agent's directory to remove. `files` are absolute paths: they go, too,
    if they lie in it.
    """

    journal: str
    own: bytes | None
    files: tuple[bytes, ...]

    def leave(self) -> None:
        """Remove the agent's directory if asked to. Do this last: nothing can be imported afterwards."""
        if self.own is not None:
            remove(self.own, self.files)


def in_place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command with PLAN, --root and --output; it gets `here`: a Removal or None.

    Raises UsageError for options that do not go together, RefusedError for / outside a container.
    """

    @functools.wraps(function)
    def gather(
        *arguments: Any, in_place: bool, force: bool, journal: str | None, remove_agent: bool, **others: Any
    ) -> Any:
        if not in_place and (journal is not None or remove_agent):
            raise UsageError("--journal and --remove-agent need --in-place", "add --in-place, or leave them out")
        here = _here(others["plan"], others["root"], force, journal, remove_agent) if in_place else None
        if here is not None and here.own is not None and others["output"] is not None:
            _require_outside(others["output"], here.own)
        return function(*arguments, here=here, **others)

    return options.together(*_OPTIONS)(gather)


def _here(plan: str, root: str, force: bool, journal: str | None, remove_agent: bool) -> Removal:
    is_own_root = os.path.realpath(root) == "/"
    if is_own_root and not force and not in_container():
        raise RefusedError(
            "--in-place on / outside a container would remove this machine's files",
            "run it in a container of the image, name the image's directory with --root, or insist with --force",
        )
    if remove_agent and not is_own_root:
        raise UsageError("--remove-agent and --root cannot be used together", "leave one out")
    path = os.path.abspath(journal if journal is not None else f"{plan}.journal")
    writing.require_writable(path)
    files = tuple(os.path.realpath(os.fsencode(each)) for each in (plan, path))
    return Removal(journal=path, own=_own(files) if remove_agent else None, files=files)


def _require_outside(output: str, own: bytes) -> None:
    if within(os.path.realpath(os.fsencode(output)), own):
        raise UsageError(f"{output} would be removed with the agent's directory", "write the receipt elsewhere")


def _own(files: tuple[bytes, ...]) -> bytes:
    """The agent's directory, which may hold only its own files and these. Raises UsageError if there is none."""
    own = own_directory()
    if own is None:
        raise UsageError(
            "--remove-agent: this slimagent was not started by an agent's entrypoint.sh", "leave out --remove-agent"
        )
    require_removable(own, files)
    return own
