"""Composition from outside: image in, slim image out. An engine starts containers, and the agent works in them.

Tests run in some containers. Plan and export run in another one that no test has touched. So the slim image has the
image's own bytes, whatever a test writes, changes or removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn

from slimagent import __version__
from slimagent.errors import CheckFailedError, RefusedError, SlimagentError
from slimagent.image import leftovers, owner, preflight
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.history import with_history
from slimagent.image.labels import identity, with_labels
from slimagent.image.output import Output
from slimagent.image.request import CONFIG, PLAN, RECEIPT, REPAIRS, TRACE, VERIFICATION, Request
from slimagent.image.work import Work
from slimagent.linux.signals import undisturbed
from slimagent.model import hosted
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.proof import Repair
from slimagent.model.removed import NAME as REMOVED
from slimagent.model.result import CheckResult
from slimagent.model.summary import Whole
from slimagent.model.trace import FAILED_STEP, Loss, LossKind, Trace
from slimagent.plan.admit import admit, useless
from slimagent.plan.leave_out import without_steps
from slimagent.report.failure import failed_steps
from slimagent.text.counted import counted
from slimagent.workflows import collected_logs
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.image_stages import Original, Stages
from slimagent.workflows.rounds import Rounds
from slimagent.workflows.starts_from_outside import FULL, OUTSIDE

WRITTEN = (
    *(CONFIG, TRACE, PLAN, RECEIPT, REMOVED, VERIFICATION, REPAIRS),
    *("summary.json", "summary.md", "logs/*.log"),
)
_PTRACE = ("SYS_PTRACE",)
_IN_CONTAINER = (
    "it runs in a container of its own, where the image's servers run only if the step starts them (docs/image.md)"
)
_ON_HOST = "it runs on this machine, with the image's container and ports in its environment (docs/from-host.md)"


@dataclass(slots=True, kw_only=True)
class Slimmed:
    """The results so far. `repairs` are the rounds of repair."""

    config: ImageConfig
    whole: Whole = field(default_factory=Whole)
    repairs: list[Repair] = field(default_factory=list)

    @property
    def outside(self) -> CheckResult | None:
        """How the slim image started under `docker run`, None if it was not started."""
        steps = () if self.whole.verification is None else self.whole.verification.steps
        return next((step for step in steps if step.name == OUTSIDE), None)


def slim(
    engine: Engine,
    bundle: Callable[[], Bundle],
    request: Request,
    reporter: Reporter,
    say: Callable[[bytes], None],
    tell: Callable[[str], None],
    finish: Callable[[Output, Slimmed, SlimagentError | None], None],
) -> None:
    """Exercise in containers, export from a new one, load, exercise and start the result, repair it, tag.

    However it ends, no container, volume or image of ours is left, and the documents made so far are in `request.out`.
    `bundle` makes the agent once we know that the image exists and the engine accepts the options. `say` gets the
    agent's lines. `tell` gets what people should read, e.g. why a step failed. `finish` writes the summary, also of a
    failure once `request.out` is ours. Raises CheckFailedError if the slim image does not do what the original does:
    then nothing is tagged.
    """
    key = owner.new_key()
    with reporter.phase("look at the image"):
        found = _look(engine, request, key)
    image = request.container.image
    output = Output(request.out, key=key, image=image, tag=request.tag, version=__version__, names=WRITTEN)
    slimmed = Slimmed(config=found.config)
    with output:
        try:
            _sweep(engine, output, tell)
            output.write(CONFIG, found.described)
            agent = bundle()
            with (
                contextlib.ExitStack() as rest,
                Work(engine, agent, output.path, key, found.container, say, found.env) as work,
            ):
                stages = Stages(work, output, request, found.original, slimmed.whole, reporter, tell)
                _Slimming(stages, slimmed).whole()
                preflight.require_as_before(engine, request.tag, found.taken)
                finish(output, slimmed, None)
                rest.enter_context(undisturbed())  # once the tag exists, nothing may interrupt us
                if not request.held_out:  # else it was only tried how the image does without some steps
                    with reporter.phase("tag"):
                        engine.tag(work.pending, request.tag)
                output.finish("complete")
        except SlimagentError as error:
            with contextlib.suppress(SlimagentError):  # the disk is full: report the first error
                finish(output, slimmed, error)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The image before we start: a container that names it by ID, its description with our labels, its variables.

    `taken` is the ID of the image that has the tag now.
    """

    container: Container
    described: bytes
    config: ImageConfig
    taken: str
    env: tuple[str, ...]

    @property
    def original(self) -> Original:
        """What the stages need of it."""
        return Original(image=self.container.image, config=self.config, described=self.described)


def _look(engine: Engine, request: Request, key: str) -> _Found:
    """Look at the image, and refuse early what would fail later. Changes nothing."""
    image = request.container.image
    inspected = engine.inspect(image)
    # Use its ID from here on: its name may move to another image meanwhile.
    container = replace(request.container, image=identity(inspected) or image)
    described = with_labels(with_history(inspected, engine.history(container.image)), image, __version__)
    return _Found(
        container=container,
        described=described,
        config=read_image_config(described, image),
        taken=preflight.require_free(engine, image, request.tag, request.overwrite),
        env=preflight.require_startable(engine, request.container, key, request.user, request.strip_program),
    )


def _sweep(engine: Engine, output: Output, tell: Callable[[str], None]) -> None:
    """Remove what killed runs left behind, and say so."""
    found = leftovers.find(engine, output.path)
    if found.dead:
        left = leftovers.remove(engine, found)
        tell(f"removed what a killed run had left: {leftovers.describe(found.dead)}")
        for line in leftovers.commands(engine, left):
            tell(f"  could not be removed; run: {line}")
    if found.unknown:
        tell(f"runs that cannot be seen from here left {leftovers.describe(found.unknown)}; if they have ended, run:")
        for line in leftovers.commands(engine, found.unknown):
            tell(f"  {line}")


class _Slimming:
    """Slims one image."""

    def __init__(self, stages: Stages, slimmed: Slimmed) -> None:
        self._stages = stages
        self._slimmed = slimmed
        self._request = stages.request
        self._name = stages.request.container.image

    def whole(self) -> None:
        """Do everything but the tag. Raises CheckFailedError if the slim image is not proved.

        If steps are held out, an image that was planned without them is tried, as it is.
        """
        export = self._stages.begin_export()
        trace = self._trace()
        if self._request.held_out:
            without_steps(trace, self._request.held_out)  # an unknown name is refused before anything is exported
            export()
            self._stages.conclude(self._stages.verified(trace))
            return
        export()
        Rounds(self._stages, trace, self._slimmed.repairs).prove()

    def _trace(self) -> Trace:
        """Start and exercise the image under a watcher; repeat with SYS_PTRACE if some processes were unreadable."""
        stages = self._stages
        trace = stages.traced()
        unreadable = self._unreadable(trace)
        if unreadable is not None and self._request.may_add_privileges:
            example = unreadable.example
            stages.tell(f"some processes cannot be read in a default container ({example}): again with SYS_PTRACE")
            stages.cap_add = _PTRACE
            trace = stages.traced()
            unreadable = self._unreadable(trace)
        failed = [step for step in trace.steps if useless(step)]
        if failed and FAILED_STEP not in self._request.accepted:
            for line in failed_steps(failed, collected_logs.ends(stages.output, FULL, [step.name for step in failed])):
                stages.tell(line)
            names = ", ".join(step.name for step in failed)
            hint = _ON_HOST if all(step.kind == hosted.KIND for step in failed) else _IN_CONTAINER
            raise CheckFailedError(
                f"{names} failed in the unchanged image {self._name}, so no slim image was made",
                f"repair the step, then run again; {hint}",
            )
        if unreadable is not None:
            self._refuse_unreadable(unreadable)
        admit(trace, self._request.accepted)
        return trace

    def _unreadable(self, trace: Trace) -> Loss | None:
        """The loss for processes that could not be read; None if there is none, or if it is accepted."""
        if LossKind.UNREADABLE_PATH in self._request.accepted:
            return None
        return next((loss for loss in trace.losses if loss.kind == LossKind.UNREADABLE_PATH), None)

    def _refuse_unreadable(self, loss: Loss) -> NoReturn:
        way = "leave out --no-privileges, so that SYS_PTRACE is added"
        if self._stages.cap_add:
            way = "SYS_PTRACE was not enough"
        raise RefusedError(
            f"cannot read what some processes need ({counted(loss.count, 'time')}, e.g. {loss.example})",
            f"{way}; or plan anyway with --accept-loss {LossKind.UNREADABLE_PATH}",
        )
