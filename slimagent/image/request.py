"""The request to `slimagent image`, and the agent's command lines for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slimagent.image.container import Container
from slimagent.image.starts import Waiting
from slimagent.image.work import GIVEN, LAYOUT, LOGS, OUT, READY
from slimagent.model.removed import NAME as REMOVED
from slimagent.paths.algebra import to_text

CONFIG, TRACE, PLAN = "image.json", "trace.json", "plan.json"
RECEIPT, VERIFICATION = "receipt.json", "verification.json"
REPAIRS = "repair-*.json"  # what each round of repair brought back
DIFFERENCES, BYTES = "differences.jsonl", "bytes"  # how a slim image differs
CHOSEN, CHECKS = "chosen.jsonl", "checks.json"  # with some of that, and the results
_AUTO, _NONE = "auto", "none"  # as for the agent's --strip
_ROOTS = ("", "0", "root")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromHost:
    """Tests that run on this machine, against containers of the image.

    `probes` are requests to a running image: method, port or None for the first exposed one, path. `compose` are the
    files of a Compose project that runs meanwhile, in place of one container. Then `command` runs. The image has
    started before that as `waiting` says.
    """

    command: tuple[str, ...] = ()
    probes: tuple[tuple[str, int | None, str], ...] = ()
    compose: tuple[str, ...] = ()
    waiting: Waiting = field(default_factory=Waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for, as options of the agent's commands.

    `steps` say how to exercise the image (for `trace` and `verify`), `decision` what may go, `strip` how to strip.
    `files` are put where the agent writes its output, by name. `container` says how to start containers, and from
    which image. If `start` is None, the image is not started. `from_host` are tests that do not run in a container.
    `accepted` are the kinds of loss that do not matter. The steps `held_out` do not count as evidence: the run shows
    what they miss, and tags nothing. `search_runs` is how often the steps may run to find out why one is worse, and
    `search_minutes` how long that may take.
    """

    tag: str
    out: str
    container: Container
    user: str = ""
    steps: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    decision: tuple[str, ...] = ()
    strip: str = _AUTO
    accepted: frozenset[str] = frozenset()
    files: Mapping[str, bytes] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    repair: bool = True
    search_runs: int = 60
    search_minutes: int = 60
    start: Waiting | None = field(default_factory=Waiting)
    from_host: FromHost | None = None
    may_add_privileges: bool = True
    overwrite: bool = False
    keep_failed: bool = False

    @property
    def strip_program(self) -> str:
        """The image's program to strip with, or an empty string if it need not have one."""
        return "" if self.strip in (_AUTO, _NONE) else self.strip


def user_option(asked: str, image: str) -> tuple[str, ...]:
    """The agent's option for who runs the checks: the user that was asked for, else the one that the image sets.

    The agent runs as root, so root as the image's user takes no option.
    """
    user = asked or ("" if image.partition(":")[0] in _ROOTS else image)
    return ("--user", user) if user else ()


class Commands:
    """The agent's command lines. Its documents are in the output directory, at its path in the container."""

    def __init__(self, request: Request, user: str) -> None:
        """`user` is the user that the image sets."""
        self._request = request
        self._user = user_option(request.user, user)
        self._config = ("--image-config", _at(CONFIG))
        self.mounted: tuple[str, ...] = ()

    def trace(self, started: str, hosted: str) -> tuple[str, ...]:
        """Run the steps, and record what they need.

        `started` is the diary of a start to wait for, `hosted` the record of tests on the host; empty for none.
        """
        mounted = (word for path in self.mounted for word in ("--mounted", path))
        expected = (f"--expect={name}" for name in self._request.held_out)
        steps = *self._user, *self._request.steps, *expected
        options = (*steps, *self._config, *mounted, *_awaiting(started, hosted), "--logs", _at(LOGS))
        return ("trace", *options, "-o", _at(TRACE), "--", *self._request.command)

    def export(self, tag: str, when: str) -> tuple[str, ...]:
        """Look at the image, plan from the trace once the file `when` exists, and export what stays."""
        return ("export", *self._exporting(tag), "--when", _at(when), _at(TRACE))

    def repair(self, tag: str, repairs: Sequence[str], unstripped: Sequence[bytes] = ()) -> tuple[str, ...]:
        """Plan and export again, with the files that these verifications missed, in the order of the rounds.

        `unstripped` are files whose bytes are left alone.
        """
        missed = (word for name in repairs for word in ("--repair", _at(name)))
        whole = (word for path in unstripped for word in ("--strip-except", to_text(path)))
        return ("export", *self._exporting(tag), *missed, *whole, _at(TRACE))

    def verify(self, started: str, hosted: str, only: Sequence[str] = (), *, full: bool = False) -> tuple[str, ...]:
        """Run the steps again without the dropped files, or with them if `full`. The records are as for `trace`.

        With names in `only`, only these steps run.
        """
        chosen = (*(f"--only={name}" for name in only), *(("--full",) if full else ()))
        options = (*self._user, *self._request.steps, *chosen, *_awaiting(started, hosted), "--logs", _at(LOGS))
        return ("verify", *options, "-o", _at(VERIFICATION), _at(PLAN), _at(TRACE), "--", *self._request.command)

    def differences(self) -> tuple[str, ...]:
        """List how the slim image differs from the image of the plan."""
        return ("differences", "--quiet", "-o", _at(DIFFERENCES), "--bytes", _at(BYTES), _at(PLAN))

    def trial(self, steps: Sequence[str]) -> tuple[str, ...]:
        """Make the container differ as chosen, then run some steps. GIVEN is what `differences` left."""
        mounted = (word for path in self.mounted for word in ("--mounted", path))
        only = (f"--only={name}" for name in steps)
        options = (*self._user, *self._request.steps, *mounted, *only, "--bytes", f"{GIVEN}/{BYTES}", "--quiet")
        return ("trial", *options, "-o", _at(CHECKS), _at(CHOSEN), _at(TRACE), "--", *self._request.command)

    def _exporting(self, tag: str) -> tuple[str, ...]:
        # Not compressed: an engine would only undo it.
        layout = ("--oci", _at(LAYOUT), "--compression", "none", "--tag", tag, "--ready", _at(READY))
        written = ("--plan", _at(PLAN), "--receipt", _at(RECEIPT), "--removed", _at(REMOVED), "--quiet")
        held_out = (f"--hold-out={name}" for name in self._request.held_out)
        return (*self._request.decision, *held_out, "--strip", self._request.strip, *self._config, *layout, *written)


def _at(name: str) -> str:
    return f"{OUT}/{name}"


def _awaiting(started: str, hosted: str) -> tuple[str, ...]:
    return (*(("--started", _at(started)) if started else ()), *(("--hosted", _at(hosted)) if hosted else ()))
