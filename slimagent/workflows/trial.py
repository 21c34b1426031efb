"""Composition: list how a slim image differs, and run the steps in a full image that differs in some of that.

A run that hides files by their names cannot do this: a listing still shows them, and a changed file cannot be hidden.
So a trial really removes and changes files, in a container that is thrown away.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from slimagent import apply
from slimagent.errors import RefusedError
from slimagent.inventory.scan import mount_points
from slimagent.linux.files import explaining, make_directory
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.reason import ReasonKind
from slimagent.model.result import CheckResult
from slimagent.model.search import Difference, Form
from slimagent.paths.algebra import within_any
from slimagent.verify.compare import united
from slimagent.workflows import pipeline
from slimagent.workflows.exercise import Reporter, unwatched
from slimagent.workflows.session import Session, in_container, require_readable
from slimagent.workflows.steps import COMMAND_STEP, Steps

_MADE = {stat.S_IFREG: Form.FILE, stat.S_IFLNK: Form.LINK, stat.S_IFDIR: Form.DIRECTORY}


def differences(session: Session, made: Plan, blobs: str, reporter: Reporter) -> tuple[Difference, ...]:
    """How this slim image differs from the one that the plan was made for, in the order of the plan.

    Copies the bytes of files that are not the same to the directory `blobs`. A file counts as the same if it has the
    size that the plan saw, and the plan does not change it. Directories count only by whether they exist.
    Raises UnavailableError.
    """
    inventory = pipeline.inspect(session, reporter)
    require_readable(inventory, "compare")
    make_directory(blobs)
    with reporter.phase("compare with the full image", "paths"), apply.Source(inventory) as source:

        def copy(at: int) -> str:
            blob = str(at)
            with open(source.open(at), "rb") as file, explaining(blobs), open(os.path.join(blobs, blob), "wb") as to:
                shutil.copyfileobj(file, to, 1 << 20)
            return blob

        return tuple(_differences(inventory, made, copy))


def _differences(inventory: Inventory, made: Plan, copy: Callable[[int], str]) -> Iterator[Difference]:
    hidden = (*made.mounts, *inventory.mount_points)
    changed = {*(each.path for each in made.edits), *made.savings}
    others = {made.entries[at].path for at, _ in made.hard_links}  # names of files that count under their first
    created = {number for number, reason in enumerate(made.reasons) if reason.kind == ReasonKind.CREATED}
    planned = set()
    for path, reason, size, _, _ in made.entries:
        planned.add(path)
        at = inventory.index.get(path)
        if reason in created or within_any(path, hidden):
            continue
        if at is None:
            yield Difference(path, Form.NOTHING)
        elif stat.S_ISREG(inventory.modes[at]):
            if (inventory.sizes[at] != size or path in changed) and path not in others:
                yield Difference(path, Form.BYTES, copy(at))
        elif stat.S_ISLNK(inventory.modes[at]) and path in changed:
            yield _made(inventory, at, copy)
    for at, path in enumerate(inventory.paths):
        is_new = path not in planned and not within_any(path, hidden)
        if is_new and stat.S_IFMT(inventory.modes[at]) in _MADE:
            yield _made(inventory, at, copy)


def _made(inventory: Inventory, at: int, copy: Callable[[int], str]) -> Difference:
    form = _MADE[stat.S_IFMT(inventory.modes[at])]
    return Difference(
        path=inventory.paths[at],
        form=form,
        blob=copy(at) if form is Form.FILE else "",
        target=inventory.targets.get(at, b""),
        mode=stat.S_IMODE(inventory.modes[at]),
        uid=inventory.uids[at],
        gid=inventory.gids[at],
        mtime_ns=inventory.mtimes[at],
    )


def trial(
    session: Session,
    steps: Steps,
    only: Collection[str],
    baseline: Sequence[CheckResult],
    chosen: Sequence[Difference],
    blobs: str,
    reporter: Reporter,
) -> tuple[CheckResult, ...]:
    """Make this container differ in the chosen paths, then run the steps named in `only`, unwatched.

    Changes the container's own file system, and nothing that is mounted in it, not even the image's volumes: which of
    them is the user's own is not certain from here. Raises RefusedError if this is not a container.
    """
    if not in_container():
        raise RefusedError(
            "this is not a container: `trial` would remove files of this machine",
            "let `slimagent image` call it, in a container that is thrown away",
        )
    with reporter.phase(f"remove or change {len(chosen)} paths"):
        apply.make_differ(session.root, chosen, blobs, mount_points(session.root))
    some = replace(
        steps,
        checks=tuple(each for each in steps.checks if each.name in only),
        command=steps.command if COMMAND_STEP in only else (),
    )
    return unwatched(session, some, united(baseline), reporter)
