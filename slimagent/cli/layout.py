"""Options that say where an export goes: those of an image layout end up in one Layout."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from slimagent.apply import COMPRESSIONS, Destination, Directory, Layout, Tar, find_strip
from slimagent.cli import options, terminal, writing
from slimagent.errors import UsageError
from slimagent.model.image_config import ImageConfig

_OPTIONS = (
    options.image_config,
    click.option(
        "--oci",
        metavar="DIR",
        help="Write an image of several layers into a new or empty directory; see docs/layers.md.",
    ),
    click.option(
        "--tag", "oci_tag", metavar="NAME", help="With --oci: name that engines give to the image when they load it."
    ),
    click.option(
        "--compression",
        type=click.Choice(COMPRESSIONS),
        help=f"With --oci: compression of the layers; every engine loads gzip. [default: {COMPRESSIONS[0]}]",
    ),
    click.option(
        "--ready", metavar="DIR", help="With --oci: link each layer into this directory as soon as it is written."
    ),
)


def layout_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command.

    It gets them as the arguments `image` (an ImageConfig or None) and `layout` (a Layout or None).
    """

    @functools.wraps(function)
    def gather(
        *arguments: Any,
        image_config: str | None,
        oci: str | None,
        oci_tag: str | None,
        compression: str | None,
        ready: str | None,
        **others: Any,
    ) -> Any:
        image = options.read_image(image_config)
        return function(*arguments, image=image, layout=_layout(oci, oci_tag, compression, ready, image), **others)

    return options.together(*_OPTIONS)(gather)


def _layout(
    oci: str | None, tag: str | None, compression: str | None, ready: str | None, image: ImageConfig | None
) -> Layout | None:
    if oci is not None:
        return Layout(
            path=os.fsencode(os.path.abspath(oci)),
            tag=tag or "",
            config=image,
            compression=compression or COMPRESSIONS[0],
            ready=b"" if ready is None else os.fsencode(os.path.abspath(ready)),
        )
    for option, said in (("--tag", tag), ("--compression", compression), ("--ready", ready)):
        if said is not None:
            raise UsageError(f"{option} needs --oci", "add --oci DIR")
    return None


overwrite_tar = click.option(
    "--overwrite", is_flag=True, help="With --tar: replace FILE even if slimagent did not write it."
)


def destination(tar: str | None, layout: Layout | None, directory: str | None = None) -> Destination | None:
    """The destination of an export. At most one of the three is given."""
    if tar is not None:
        return Tar(os.fsencode(os.path.abspath(tar)), is_new=not os.path.lexists(tar))
    return layout if directory is None else Directory(os.fsencode(os.path.abspath(directory)))


def require_distinct(paths: Iterable[str | bytes | None]) -> None:
    """Raise UsageError if two of these files, inputs and outputs of a command, are one."""
    seen = set[str]()
    for path in paths:
        real = "" if path is None else os.path.realpath(os.fsdecode(path))
        if real in seen:
            raise UsageError(f"{real} is named twice: one file would replace the other", "name another file")
        seen |= {real} - {""}


def require_place(destination: Destination | None, strip: str, *, quiet: bool, overwrite: bool = False) -> None:
    """Fail early if nothing can be created there, or if the program to strip with does not exist.

    Refuses to replace a tar that slimagent did not write, unless `overwrite`. Warns if the image will not know how it
    starts.
    """
    find_strip(strip)
    if isinstance(destination, Tar):
        writing.require_writable(os.fsdecode(destination.path), None if overwrite else writing.OWN_TAR)
    elif destination is not None:
        writing.require_directory_for(os.fsdecode(destination.path))
    if isinstance(destination, Layout) and destination.config is None and not quiet:
        terminal.lines(
            (
                "slimagent: without --image-config the image has no environment, user, entrypoint or command",
                "  hint: docker image inspect IMAGE > image.json, then add --image-config image.json",
            ),
            err=True,
        )
