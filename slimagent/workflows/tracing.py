"""Composition: make a trace from what was watched, and merge several traces into one."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
from collections.abc import Callable, Collection, Iterable, Iterator

from slimagent import __version__, documents
from slimagent.inventory.changes import changes
from slimagent.inventory.fingerprint import fingerprint
from slimagent.linux.files import digest
from slimagent.model.inventory import Inventory
from slimagent.model.trace import RESERVED_PLACE, TESTS_PLACE, Access, Attributed, How, Run, Trace
from slimagent.paths.algebra import Resolver, within_any
from slimagent.plan.leave_out import without_steps
from slimagent.trace.by_test import Attributions
from slimagent.trace.merge import Merging
from slimagent.trace.watcher import Observed
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.session import Session, user_name
from slimagent.workflows.steps import Watched

TOOL = f"slimagent {__version__}"
_KERNEL = (b"/proc", b"/sys", b"/dev")  # file systems that the kernel fills in every container


def recorded(watched: Watched, session: Session, before: Inventory, after: Inventory) -> Trace:
    """The trace of one run, sorted like a merge: merging it with itself gives the same document."""
    run = Run(
        identity="",
        tool=TOOL,
        backend=watched.backend,
        passed_over=watched.passed_over,
        blind_spots=watched.blind_spots,
        kernel=platform.release(),
        user=user_name(session.user),
        no_new_privileges=watched.no_new_privileges,
        profiles=session.profile.parts,
        after=fingerprint(after, session.excluded),
        steps=watched.results,
        losses=watched.observed.losses,
        volumes=tuple(sorted(session.volumes)),
        mounts=tuple(sorted(before.mount_points)),
        asked_ports=watched.asked_ports,
    )
    accesses, attributed = _accesses(watched.observed, before, session)
    trace = Trace(
        before=fingerprint(before, session.excluded),
        scopes=tuple(sorted(session.scopes)),
        excluded=tuple(sorted(session.excluded)),
        architecture=platform.machine(),
        runs=(run,),
        accesses=accesses,
        changes=changes(before, after),
        tests=watched.observed.tests,
        attributed=attributed,
        tests_cut=watched.observed.tests_cut,
    )
    return documents.identified(trace)


def _accesses(
    observed: Observed, before: Inventory, session: Session
) -> tuple[tuple[Access, ...], tuple[Attributed, ...]]:
    """Accesses to the image, and those by tests, without the kernel's file systems, the agent and paths out of scope.

    Both are sorted. A path below another mount counts: the image may have a file of that name there.
    """
    resolver = Resolver(_link_reader(before))
    found: dict[bytes, Access] = {}
    reserved = tuple(place for place in (RESERVED_PLACE, TESTS_PLACE) if place not in before.index)
    by_tests = Attributions(observed)
    for path, how, steps, seen_as in _uses(observed, before):
        hops, end = resolver.resolve(path)
        if end is None or within_any(end, session.excluded) or within_any(path, reserved):
            continue
        to_kernel = within_any(end, _KERNEL)
        if to_kernel and not any(hop in before.index for hop in hops):
            continue  # a link of the image that leads there (a log to /dev/stdout) still counts as the image's
        for each in (path,) if to_kernel else _names(path, hops, end, before):
            uses, at = how, steps
            known = found.get(each)  # by its own name, and over links
            if known is not None:
                uses, at = how | known.how, tuple(sorted({*steps, *known.steps}))
            found[each] = Access(path=each, how=uses, steps=at, found=end in before.index)
            by_tests.add(each, seen_as)
    return tuple(found[path] for path in sorted(found)), by_tests.result()


def _uses(observed: Observed, before: Inventory) -> Iterator[tuple[bytes, How, tuple[int, ...], bytes]]:
    """The observed uses of paths, also under the names that the image has for the same files.

    Each ends with the path as it was observed.

    A file that the run moved, mounted elsewhere or gave a second name is recognised by its device and inode.
    """
    for path, (how, steps) in observed.accesses.items():
        yield path, how, steps, path
    strange = {identity: path for identity, path in observed.files.items() if _identity(before, path) != identity}
    if strange:
        for path, *identity in zip(before.paths, before.devices, before.inodes, strict=True):
            seen_as = strange.get((identity[0], identity[1]))
            if seen_as is not None and seen_as in observed.accesses:
                yield path, *observed.accesses[seen_as], seen_as


def _identity(inventory: Inventory, path: bytes) -> tuple[int, int] | None:
    at = inventory.index.get(path)
    return None if at is None else (inventory.devices[at], inventory.inodes[at])


def _names(path: bytes, hops: tuple[bytes, ...], end: bytes, before: Inventory) -> Iterable[bytes]:
    """The image's names for a path: its own, and those that it leads to over links that the image lacks."""
    scopes = before.scopes
    is_own = within_any(path, scopes)
    if is_own and all(hop in before.index for hop in hops):
        return (path,)
    return dict.fromkeys(each for each in (path, *hops, end) if within_any(each, scopes))


def _link_reader(inventory: Inventory) -> Callable[[bytes], bytes | None]:
    """Read links from the inventory, or from the disk outside its scopes and below mounts."""
    mounts = tuple(inventory.mount_points.difference(_KERNEL))

    def link(path: bytes) -> bytes | None:
        if path in inventory.index:
            return inventory.link(path)
        is_other = within_any(path, mounts) or not within_any(path, inventory.scopes)
        return read_link(path) if is_other and not within_any(path, _KERNEL) else None

    return link


def read_link(path: bytes) -> bytes | None:
    """The target of the symbolic link at `path` on this disk, or None."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def merged(
    traces: Iterable[tuple[str, bytes]], reporter: Reporter, held_out: Collection[str] = ()
) -> tuple[Trace, tuple[str, ...]]:
    """Merge traces, each with its name for messages, into one. Also returns the digests of all, sorted.

    The steps `held_out` are left out of the result. Reads the traces one by one, and drops each before the next. Raises
    as `decode_trace` and `Merging.add` do, and UsageError for a step that no trace has.
    """
    merging, digests = Merging(), set[str]()
    known: dict[str, bytes] = {}
    with reporter.phase("read the traces", "traces") as progress, _uncollected():
        for number, (name, data) in enumerate(traces, 1):
            merging.add_uses(*documents.decode_uses(data, name, known), name)
            digests.add(digest(data))
            progress(number)
        whole = merging.result()
        return without_steps(whole, held_out) if held_out else whole, tuple(sorted(digests))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Switch off garbage collection, which looks for cycles in all that is in memory, again and again.

    Traces have none, and the search took nearly half of the time of a merge.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
