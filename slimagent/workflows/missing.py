"""Composition: what was removed that explains an error, or what a command looks for in vain."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from itertools import islice
from typing import IO

from slimagent import documents
from slimagent.errors import DocumentError, UnavailableError, UsageError
from slimagent.image.run_record import NAME as RECORD
from slimagent.linux.descriptors import closing
from slimagent.model.missing import Missing, Wanted, WantedKind
from slimagent.model.removed import INSIDE, NAME, Gone, Removed
from slimagent.model.trace import BlindSpot
from slimagent.paths.algebra import Resolver
from slimagent.report.missing.answers import answered
from slimagent.report.missing.messages import mentioned_in, wanted_in
from slimagent.report.missing.search import links, search
from slimagent.trace.select import choose
from slimagent.workflows.exercise import Reporter, watch
from slimagent.workflows.session import Session, own_directory
from slimagent.workflows.steps import Steps

USUAL = "slimagent-out"  # where a run leaves the list, if nobody says
_TRIED = 300  # removed paths that tell whether this is the slim image
_LONGEST_LINE = 256  # bytes that the kernel reads (BINPRM_BUF_SIZE)
_NO_WAIT = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # do not wait for the writer of a FIFO


class RemovedList:
    """A list of what went, in a file or in the output directory of a run. Everything here raises DocumentError.

    `is_inside`: it is the list of the image in which this runs.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.path = os.path.join(where, NAME) if os.path.isdir(where) else where
        self.is_inside = os.fsencode(os.path.realpath(self.path)) == INSIDE
        with self._opened() as stream:
            self.head: Removed = documents.read_removed(stream, self.path)[0]

    def rows(self) -> Iterator[Gone]:
        """The paths, from the first one."""
        with self._opened() as stream:
            yield from documents.read_removed(stream, self.path)[1]

    def resolver(self) -> Resolver:
        """Follows the links that the image had, as far as the list has them."""
        return Resolver(links(self.head.leads, self.rows()).get)

    def _opened(self) -> IO[bytes]:
        try:
            descriptor = os.open(self.path, _NO_WAIT)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            raise DocumentError(
                f"cannot read {self.path}: {problem}",
                "name the list of what went, or the output directory of a run, with --removed",
            ) from None
        return os.fdopen(descriptor, "rb")


def usual_place(out: str) -> str:
    """Where the list is, if nobody says: in the image that this runs in, or in the output directory of a run."""
    inside = os.fsdecode(INSIDE)
    return inside if os.path.isfile(inside) else out


def explain(listed: RemovedList, text: bytes) -> Missing:
    """What a list says about an error.

    If it has nothing of what is said to be missing, all counts that the text mentions.
    """
    wanted = wanted_in(text)
    if listed.is_inside:  # a program that is there, and cannot run: what its first line names is not
        wanted = tuple(dict.fromkeys((*wanted, *(each for path in wanted for each in _interpreter(path)))))
    made = _answered(listed, wanted, above=True)
    if made.answers or made.vague:
        return made
    mentioned = _answered(listed, mentioned_in(text))
    return mentioned if mentioned.answers else made


def explain_command(listed: RemovedList, session: Session, command: tuple[str, ...], reporter: Reporter) -> Missing:
    """Run a command, and say which removed paths it looked for.

    Raises UnavailableError if lookups cannot be seen here, and UsageError where most of what went is there.
    """
    _require_slim(listed)
    choose(session.backend)
    if not os.path.dirname(command[0]) and shutil.which(command[0], path=session.env.get("PATH")) is None:
        return _answered(listed, (Wanted(WantedKind.COMMAND, os.fsencode(command[0])),))
    watched = watch(session, Steps(command=command), reporter)
    if BlindSpot.LOOKUPS in watched.blind_spots:
        raise UnavailableError(
            f"{watched.backend} sees which files are opened, and not which are looked for in vain",
            "give the error itself: slimagent missing 'TEXT'",
        )
    sought = (path for path in sorted(watched.observed.accesses) if not os.path.lexists(path))
    return _answered(listed, tuple(Wanted(WantedKind.PATH, path) for path in sought))


def _require_slim(listed: RemovedList) -> None:
    """Refuse to run a command where what went is there: on a host, or in the original image."""
    step = max(1, listed.head.paths // _TRIED)
    tried = list(islice(listed.rows(), 0, None, step))
    there = sum(os.path.lexists(each.path) for each in tried)
    if there * 2 > len(tried):
        agent = "-v ./agent:/agent:ro -v ./slimagent-out:/out:ro --entrypoint /agent/entrypoint.sh"
        raise UsageError(
            f"this is not the slim image: of {len(tried):,} removed paths that were tried, {there:,} are here",
            f"run the command there: docker run --rm {agent} SLIM missing --removed /out -- COMMAND",
        )


def _interpreter(wanted: Wanted) -> Iterator[Wanted]:
    """What a script's first line names (execve(2), "Interpreter scripts"): the kernel reports that as the script."""
    if wanted.kind is not WantedKind.PATH or wanted.name[:1] != b"/":
        return
    try:
        with closing(os.open(wanted.name, _NO_WAIT)) as descriptor:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            first, _, _ = (os.read(descriptor, _LONGEST_LINE) if is_file else b"").partition(b"\n")
    except (OSError, ValueError):
        return
    words = first[2:].split() if first[:2] == b"#!" else []
    if words:
        yield Wanted(WantedKind.PATH, words[0])
        yield from (Wanted(WantedKind.COMMAND, word) for word in words[1:2] if words[0].endswith(b"/env"))


def _answered(listed: RemovedList, wanted: tuple[Wanted, ...], *, above: bool = False) -> Missing:
    here = os.path.lexists if listed.is_inside else lambda path: False
    found = search(listed.rows, listed.head.leads, wanted, here, above=above)
    return answered(listed.head, wanted, found, _options(listed))


def _options(listed: RemovedList) -> str:
    """What `slimagent restore` has to be told on the host: where the list is, and what only a run records."""
    if listed.is_inside or listed.where == USUAL or own_directory() is not None:
        return ""
    record = os.path.join(os.path.dirname(listed.path), RECORD)
    return f" --removed {shlex.quote(listed.where)}" + ("" if os.path.isfile(record) else " --image SLIM")
