"""Kind `permissions`: owners, groups and permissions in the image are what they were.

The first run, on the original image, takes a snapshot; a later run is compared with it. The user can still write what
they could write, and nothing else. Parameters: `writable` and `not_writable` (directories; `~`, `$NAME` and `${NAME}`
as in the image's environment; the home directory must be writable unless `not_writable` names it), `folders` (where to
look; default the whole image), `leave_out` (path patterns that are not compared).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from slimagent.checks import parameters
from slimagent.checks.context import Context
from slimagent.checks.finding import Finding, all_skipped, failed, first_few, judged, of_items
from slimagent.checks.permissions.compare import ASPECTS, compared
from slimagent.checks.permissions.places import Place, places
from slimagent.checks.permissions.snapshot import SnapshotError, decode, encode
from slimagent.checks.permissions.walk import Snapshot, TooSlowError, attributes_of, look, usually_left_out
from slimagent.checks.permissions.writable import Trial, Tried, attempt, obstacle, writable
from slimagent.errors import UsageError
from slimagent.linux.posix_acl import Identity, describe
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.user import User
from slimagent.paths.algebra import from_text, normalise, to_text, within
from slimagent.paths.patterns import PathRules
from slimagent.text.counted import counted

PARAMETERS: dict[str, type] = {"writable": tuple, "not_writable": tuple, "folders": tuple, "leave_out": tuple}
_WRITABLE, _NOT_WRITABLE = "writable", "not writable"
_STILL, _ELSEWHERE = "still writable", "nowhere else"
_ROOT = "root writes everywhere"
_UNREADABLE = "the snapshot of the earlier run cannot be read"
_MOST_NAMED = 50  # writable directories that get an item of their own


@dataclass(frozen=True, slots=True)
class _Looks:
    """The image now and, if known, before; `problem` if the earlier snapshot cannot be read.

    `me` is the user of this run. `who` is the user to compare: that of the earlier run if there was one.
    """

    now: Snapshot
    before: Snapshot | None
    problem: str
    me: Identity
    who: Identity


@dataclass(frozen=True, slots=True)
class _Request:
    """A directory that must, or must not, be `writable`. `given` by the profile, else found on the first run."""

    place: Place
    writable: bool
    given: bool

    @property
    def name(self) -> str:
        return f"{_WRITABLE if self.writable else _NOT_WRITABLE} {self.place.name}"


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: `owner`, `group`, `mode`, `capabilities`, `ACLs`; one for each requested directory; two for the rest."""
    deadline = time.monotonic() + spec.seconds
    me = _identity(context.user)
    homes = [each for each in (context.env.get("HOME"), context.user and context.user.home) if each]
    try:
        now = look(_directories(spec), me, usually_left_out(homes, _left_out(spec)), deadline)
    except TooSlowError as slow:
        return failed(f"no end after {spec.seconds:g} s: {counted(slow.paths, 'path')} read")
    looks = _looks(now, context.before, me)
    requests = _requests(spec, context, looks)
    tried = [request.place.path for request in requests if request.place.path and _is_tried(request, looks)]
    trials = attempt(context, tuple(dict.fromkeys(tried)), deadline)
    items = [*_compared(looks), *(_judged(request, trials, looks) for request in requests), *_everywhere(looks)]
    finding = of_items(items)
    unreadable = f", {len(now.unreadable)} unreadable" if now.unreadable else ""
    return replace(
        finding,
        detail=f"{finding.detail}; {counted(now.count(), 'path')}{unreadable}",
        snapshot=encode(now) if looks.before is None and not looks.problem else "",
    )


def _is_tried(request: _Request, looks: _Looks) -> bool:
    """Whether to ask the kernel: not for another user, and not for root, who can write everywhere."""
    return (request.given or looks.me == looks.who) and (request.writable or looks.me.uid != 0)


def _identity(user: User | None) -> Identity:
    if user is None:
        return Identity(os.geteuid(), frozenset((os.getegid(), *os.getgroups())))
    return Identity(user.uid, frozenset((user.gid, *user.groups)))


def _directories(spec: CheckSpec) -> list[bytes]:
    """Where to look, without directories inside others. Raises UsageError for a relative path."""
    found = set()
    for text in parameters.strings(spec, "folders") or ("/",):
        if not text.startswith("/") or "\0" in text:
            raise UsageError(f"check {spec.name}: folders has {text!r}", "name directories by their absolute paths")
        found.add(os.path.realpath(normalise(os.fsencode(text))))
    return [directory for directory in found if not any(within(directory, other) for other in found - {directory})]


def _left_out(spec: CheckSpec) -> Callable[[bytes], int | None] | None:
    """A test of paths for `leave_out`. Raises UsageError for an invalid pattern."""
    patterns = parameters.strings(spec, "leave_out")
    try:
        return PathRules(patterns).first if patterns else None
    except ValueError as error:
        raise UsageError(f"check {spec.name}: leave_out: {error}", "write patterns of absolute paths") from None


def _looks(now: Snapshot, earlier: CheckResult | None, me: Identity) -> _Looks:
    before, problem = None, ""
    if earlier is not None and earlier.snapshot:
        try:
            before = decode(earlier.snapshot)
        except SnapshotError as error:
            problem = str(error)
    who = before.identity if before is not None and before.identity.uid != 0 else me
    return _Looks(now, before, problem, me, who)


def _compared(looks: _Looks) -> Iterator[Item]:
    if looks.before is not None:
        yield from compared(looks.before, looks.now)
    elif looks.problem:
        yield from (judged(name, f"{_UNREADABLE}: {looks.problem}") for name in ASPECTS)
    else:
        yield from (judged(name, "", f"snapshot of {counted(looks.now.count(), 'path')}") for name in ASPECTS)


def _requests(spec: CheckSpec, context: Context, looks: _Looks) -> list[_Request]:
    """The profile's directories, the home directory, and those found writable by the first run."""
    closed = places(parameters.strings(spec, "not_writable"), context.env)
    ordinary = looks.me.uid != 0
    opened = places([*parameters.strings(spec, "writable"), *(["~"] if ordinary else [])], context.env)
    named = {place.name for place in closed}
    requests = {
        place.name: _Request(place, True, True) for place in opened if place.name not in named or place.path is None
    }
    for path in _found(context.before, looks):
        place = Place(to_text(path), path)
        if place.name not in named:
            requests.setdefault(place.name, _Request(place, True, False))
    return [*requests.values(), *(_Request(place, False, True) for place in closed)]


def _found(earlier: CheckResult | None, looks: _Looks) -> Iterable[bytes]:
    """Directories found to be writable for the user. A later run uses those of the first run, by their names."""
    if earlier is not None and (looks.problem or (looks.before is not None and looks.before.identity.uid != 0)):
        return _named_by(earlier.items)
    return writable(looks.now if looks.before is None else looks.before, looks.who).named[:_MOST_NAMED]


def _named_by(items: Iterable[Item]) -> Iterator[bytes]:
    for item in items:
        what, _, name = item.name.partition(" ")
        if what == _WRITABLE and name.startswith("/"):
            with contextlib.suppress(ValueError):
                yield from_text(name)


def _judged(request: _Request, trials: Mapping[bytes, Trial], looks: _Looks) -> Item:
    """The result of a request: the kernel's answer, or, if it was not asked, by owner, mode and access control list."""
    path = request.place.path
    if path is None:
        outcome = Outcome.SKIPPED if request.place.unset else Outcome.FAILED
        return Item(name=request.name, outcome=outcome, detail=request.place.why)
    if not request.writable and looks.who.uid == 0:
        return Item(name=request.name, outcome=Outcome.SKIPPED, detail=_ROOT)
    trial = trials.get(path, Trial(Tried.NOT, "we do not run as the user of the earlier run"))
    if trial.how is Tried.BROKEN:
        return judged(request.name, trial.why)
    why = obstacle(path, looks.me if path in trials else looks.who)
    can = not why if trial.how is Tried.NOT else trial.how is Tried.WRITTEN
    reasons = [trial.why] if trial.how is not Tried.WRITTEN else []
    if trial.how is Tried.NOT:
        reasons = [why or "by owner and mode it can be written", f"not tried: {trial.why}"]
    elif why not in ("", trial.why):
        reasons.append(why if not can else f"a file can be made there, although {why}")
    elif not why:
        reasons.append("a file can be made there" if can else "by owner and mode it could be written")
    outcome = Outcome.PASSED if can is request.writable else Outcome.FAILED
    return Item(name=request.name, outcome=outcome, detail="; ".join(reasons))


def _everywhere(looks: _Looks) -> Iterator[Item]:
    """What the user could write and still exists is still writable; nothing else that existed has become writable."""
    if looks.who.uid == 0:
        yield from all_skipped((_STILL, _ELSEWHERE), _ROOT)
    elif looks.problem:
        yield from (judged(name, _UNREADABLE) for name in (_STILL, _ELSEWHERE))
    else:
        now = writable(looks.now, looks.who).every
        before = now if looks.before is None else writable(looks.before, looks.who).every
        there = looks.now.listings.keys() & before
        known = now if looks.before is None else looks.before.listings.keys() & now
        yield _all_of(_STILL, len(now), sorted(there - now), lambda path: obstacle(path, looks.who))
        yield _all_of(_ELSEWHERE, len(now), sorted(known - before), _rights)


def _all_of(name: str, count: int, wrong: Sequence[bytes], why: Callable[[bytes], str]) -> Item:
    faults = first_few(wrong, lambda path: f"{to_text(path)}: {why(path)}")
    return judged(name, faults, f"{count} directories can be written")


def _rights(path: bytes) -> str:
    try:
        return f"can be written now, it has {describe(attributes_of(path))}"
    except OSError as error:
        return f"can be written now ({error.strerror})"
