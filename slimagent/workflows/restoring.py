"""Composition from outside: bring removed paths back from the original image, as a layer, a tar or a directory."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

import orjson

from slimagent import __version__, documents
from slimagent.errors import CheckFailedError, RefusedError, UsageError
from slimagent.image import owner, preflight
from slimagent.image.adding import with_layer
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.directories import open_inside, pieces
from slimagent.image.engine import Engine, EngineRefusedError
from slimagent.image.labels import identity, label
from slimagent.image.saved import unpack
from slimagent.image.shared import Shared
from slimagent.image.work import OUT, Task, Work
from slimagent.linux.descriptors import write_all
from slimagent.linux.files import explaining, make_directory, replacing, write
from slimagent.model.image_labels import PLAN
from slimagent.model.removed import NAME, Gone, GoneKind, Owner, Removed
from slimagent.paths.algebra import Resolver, ancestors, from_text, normalise, to_text
from slimagent.text.counted import counted
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.missing import RemovedList

_TAR, _TREE = "restored.tar", "restored"
_PASSES = 50  # how far links are followed
_LARGEST = 1 << 50  # bytes: the disk is the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to restore, and where to. Exactly one of `tag`, `tar` and `directory` is not empty.

    `things` are paths and packages, `image` is the original image, and `slim` the slim one for a `tag`. `is_new`: no
    file has the name `tar`, and none is replaced.
    """

    listed: RemovedList
    things: tuple[str, ...]
    image: str
    slim: str = ""
    tag: str = ""
    tar: str = ""
    directory: str = ""
    is_new: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back. `along` are the paths that nobody named: what links lead to, and further names of files.

    A directory holds no device nodes: they did not come back, and do not count.
    """

    paths: int
    size: int
    along: tuple[bytes, ...]


def restore(
    engine: Engine, bundle: Callable[[], Bundle], asked: Asked, reporter: Reporter, say: Callable[[bytes], None]
) -> Restored:
    """Restore paths with their bytes, owners, modes, times and attributes, and the directories above them.

    Raises UsageError for something that is not in the list, RefusedError if the image is not the one that the list was
    taken from, or if the slim image was made by another plan. Nothing of an image is run, and nothing is left in the
    engine but the tag.
    """
    head = asked.listed.head
    with reporter.phase("read the list of what went"):
        named, rows = rows_of(asked.listed, asked.things)
    inspected = engine.inspect(asked.image)
    _require_source(asked, head, identity(inspected))
    if asked.tag:
        preflight.require_free(engine, asked.image, asked.tag, asked.overwrite)
        _require_slim(engine.inspect(asked.slim), asked.slim, head, say)
    agent = bundle()
    container = Container(image=identity(inspected) or asked.image)
    with (
        tempfile.TemporaryDirectory(prefix=".slimagent-", dir=_beside(asked)) as out,
        Work(engine, agent, out, owner.new_key(), container, say) as work,
    ):
        shared = _taken(work, container.image, asked, head, rows, reporter)
        left_out = _special_left_out(shared, rows) if asked.directory else 0
        _deliver(work, shared, asked, len(rows), reporter)
    known = {each.path for each in named}
    return Restored(
        paths=len(rows) - left_out,
        size=sum(each.size for each in rows if each.kind is GoneKind.FILE),
        along=tuple(each.path for each in rows if each.path not in known),
    )


def _beside(asked: Asked) -> str | None:
    """Where to work: where a directory can be moved to its place, or else where temporary files are."""
    return os.path.dirname(os.path.abspath(asked.directory)) if asked.directory else None


def rows_of(listed: RemovedList, things: Sequence[str]) -> tuple[list[Gone], list[Gone]]:
    """What was named, paths or packages, and that with all that it needs. Raises UsageError for what is not in it."""
    resolver = listed.resolver()
    named = _named(listed, things, resolver)
    return named, _with_what_they_need(listed, named, resolver)


def _named(listed: RemovedList, things: Sequence[str], resolver: Resolver) -> list[Gone]:
    """The rows of paths, with what is below them, and of packages. Raises UsageError for what is not in it."""
    stay = {each.link for each in listed.head.leads}
    paths, owners = dict[bytes, set[str]](), dict[int, set[str]]()
    for each in things:
        if each.startswith("/"):
            for path in _meant(each, resolver, stay):
                paths.setdefault(path, set()).add(each)
        else:
            for number in _owners(listed.head, each):
                owners.setdefault(number, set()).add(each)
    unknown = set(things).difference(*owners.values())
    found = []
    for row in listed.rows():
        above = [path for path in (row.path, *ancestors(row.path)) if path in paths]
        unknown = unknown.difference(*(paths[path] for path in above))
        if above or row.owner in owners:
            found.append(row)
    if unknown:
        named = ", ".join(f"'{each}'" for each in sorted(unknown))
        raise UsageError(
            f"nothing that was removed is {named}",
            "name an absolute path, or a package as KIND:NAME; `slimagent missing` says what an error needs",
        )
    return found


def _meant(text: str, resolver: Resolver, stay: Set[bytes]) -> Iterator[bytes]:
    """The path that was given, the links on its way, and where it leads over links that stay.

    It can be written as `to_text` does. Where a link leads that went comes later, with all others.
    """
    written = {os.fsencode(text)}
    with contextlib.suppress(ValueError):
        written.add(from_text(text))
    for path in written:
        hops, end = resolver.resolve(path, follow=False)
        if end in stay:
            hops, end = resolver.resolve(path)
        yield from (normalise(path), *hops, *(() if end is None else (end,)))


def _owners(head: Removed, text: str) -> list[int]:
    kind, colon, name = text.partition(":")
    if not colon or kind not in {each.package.kind for each in head.owners}:
        kind, name = "", text

    def fits(each: Owner) -> bool:
        return kind in ("", each.package.kind) and fnmatch.fnmatchcase(each.package.name, name)

    return [number for number, each in enumerate(head.owners) if fits(each)]


def _with_what_they_need(listed: RemovedList, named: list[Gone], resolver: Resolver) -> list[Gone]:
    """The rows with all names of their files, and with what their links lead to. In the order of the list.

    A link leads to what went over other links, and to a directory with all that went from it if it went itself.
    """
    chosen = {row.path for row in named}
    for _ in range(_PASSES):
        files = {row.target if row.kind is GoneKind.HARD_LINK else row.path for row in named}
        wanted = set[bytes]()
        for row in named:
            if row.kind is GoneKind.LINK:
                hops, end = resolver.resolve(row.path)
                wanted.update(hops, () if end is None else (end,))
        trees = {row.path for row in named if row.kind is GoneKind.DIRECTORY and row.path in wanted}
        named = [
            row
            for row in listed.rows()
            if row.path in chosen
            or row.path in files
            or row.path in wanted
            or (row.kind is GoneKind.HARD_LINK and row.target in files)
            or (trees and any(above in trees for above in ancestors(row.path)))
        ]
        if len(named) == len(chosen):
            break
        chosen = {row.path for row in named}
    return named


def _require_source(asked: Asked, head: Removed, found: str) -> None:
    """Refuse another image than the one that the list was taken from; without its ID, digests have to tell."""
    if head.image_id and _hexadecimal(found) != _hexadecimal(head.image_id):
        raise RefusedError(
            f"{asked.image} is not the image that the slim one was made from: its ID is {found}, not {head.image_id}",
            f"name that image with --from{f'; it was called {head.image}' if head.image else ''}",
        )


def _hexadecimal(image_id: str) -> str:
    """An ID without the name of its digest, which Podman leaves out."""
    return image_id.rpartition(":")[2]


def _require_slim(inspected: bytes, slim: str, head: Removed, say: Callable[[bytes], None]) -> None:
    plan = label(inspected, PLAN)
    if not plan:
        say(f"slimagent: note: {slim} does not say which plan it was made by; is it the image of this list?".encode())
    if plan and plan != head.plan:
        raise RefusedError(
            f"the list of what went is of another image than {slim}: they were made by two plans",
            "name the slim image of that run with --image, or another run with --removed",
        )


def _taken(work: Work, image: str, asked: Asked, head: Removed, rows: list[Gone], reporter: Reporter) -> Shared:
    """Export the rows in a container of the original image."""
    shared = work.share("take")
    listing = io.BytesIO()
    size = sum(each.size for each in rows if each.kind is GoneKind.FILE)
    documents.write_removed(listing, replace(head, paths=len(rows), bytes=size), rows)
    shared.give(NAME, listing.getvalue())
    to = ("--to", f"{OUT}/{_TREE}") if asked.directory else ("--tar", f"{OUT}/{_TAR}")
    layer = ("--layer",) if asked.tag else ()
    words = ("take", f"{OUT}/{NAME}", *to, *layer, "--quiet")
    job = work.begin(Task(shared=shared, image=image, arguments=words, bare=True))
    with reporter.phase(f"take {counted(len(rows), 'path')} from a container of {asked.image}"):
        job.result()
    return shared


def _special_left_out(shared: Shared, rows: list[Gone]) -> int:
    """How many special files a directory does not hold; one that cannot be seen is there."""
    count = 0
    for each in rows:
        if each.kind is GoneKind.SPECIAL:
            try:
                os.lstat(os.fsencode(shared.at(_TREE)) + each.path)
            except FileNotFoundError:
                count += 1
            except OSError:
                continue
    return count


def _deliver(work: Work, shared: Shared, asked: Asked, count: int, reporter: Reporter) -> None:
    if asked.directory:
        _move(shared.at(_TREE), asked.directory)
    elif asked.tar:
        with replacing(asked.tar, is_new=asked.is_new) as descriptor:
            for piece in _pieces(shared):
                write_all(descriptor, piece)
    else:
        _add_layer(work, shared, asked, count, reporter)


def _pieces(shared: Shared) -> Iterator[bytes]:
    return pieces(open_inside(shared.path, _TAR, _LARGEST), _TAR, _LARGEST)


def _move(made: str, target: str) -> None:
    if not stat.S_ISDIR(os.lstat(made).st_mode):
        raise RefusedError("a container left no directory of what was restored", "run it again")
    with explaining(target):
        os.rename(made, target)


def _add_layer(work: Work, shared: Shared, asked: Asked, count: int, reporter: Reporter) -> None:
    """Make an image of the slim one and the layer, load it, and give it the tag.

    Docker needs no file of a layer that it has. If the engine wants them all, it saves them first.
    """
    engine = work.engine
    digest = hashlib.sha256()
    for piece in _pieces(shared):
        digest.update(piece)
    note = f"slimagent {__version__} restore: {counted(count, 'path')}"
    added = with_layer(engine.inspect(asked.slim), engine.history(asked.slim), digest.hexdigest(), note)
    layout = work.share("image")
    blobs = layout.at("blobs/sha256")
    make_directory(blobs)
    os.rename(shared.at(_TAR), os.path.join(blobs, digest.hexdigest()))
    config = hashlib.sha256(added.config).hexdigest()
    write(os.path.join(blobs, config), added.config)
    layers = [f"blobs/sha256/{each}" for each in added.layers]
    manifest = [{"Config": f"blobs/sha256/{config}", "RepoTags": None, "Layers": layers}]
    write(layout.at("manifest.json"), orjson.dumps(manifest))
    pending = work.next_pending()
    with reporter.phase("load", "bytes") as progress:
        try:
            engine.load(layout.path, pending, progress, layers[:-1] if engine.name == "docker" else ())
        except (EngineRefusedError, CheckFailedError):
            engine.save(asked.slim, lambda stream: unpack(stream, blobs))
            engine.load(layout.path, pending, progress)
    engine.tag(pending, asked.tag)


def shown(asked: Asked) -> str:
    """Where the restored paths are."""
    return asked.tag or to_text(os.fsencode(asked.tar or asked.directory))
