"""Composition from outside: image in, slim image out. Drives an engine; the agent does the work in its containers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from slimagent import documents
from slimagent.apply.image_config import ImageConfig, read_image_config
from slimagent.errors import CheckFailedError
from slimagent.exercise import Reporter
from slimagent.files import make_folder, read, write
from slimagent.image.agent import Bundle
from slimagent.image.engine import Container, Engine, undisturbed
from slimagent.image.history import with_history
from slimagent.image.work import LAYOUT, OUT, Work
from slimagent.model import Plan, Receipt, Verification
from slimagent.traces import Trace

CONFIG, TRACE, PLAN = "image.json", "trace.json", "plan.json"
RECEIPT, VERIFICATION, SUMMARY = "receipt.json", "verification.json", "summary.json"
_DOCUMENTS = (CONFIG, TRACE, PLAN, RECEIPT, VERIFICATION, SUMMARY)
_NOT_PROVED = 1  # the exit status of `verify` for a slim image that does not pass
_ROOTS = ("", "0", "root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody asked for, as options of the agent's commands.

    `steps` say how the image is exercised (for `run` and `verify`), `decision` what may go (`run` and `plan`), `deed`
    how that is done (`run` and `apply`). `files` have to be in the agent's output folder, by name. `container` says how
    containers are started, and of which image.
    """

    tag: str
    out: str
    container: Container
    user: str = ""
    steps: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    decision: tuple[str, ...] = ()
    deed: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    repair: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimmed:
    """What came of it. `repaired` counts the files that the first verification missed and that were brought back.

    `seconds` are those of the agent's phases in the container that made the image.
    """

    config: ImageConfig
    trace: Trace
    plan: Plan
    receipt: Receipt
    verification: Verification
    repaired: int
    seconds: dict[str, float]


def slim(engine: Engine, agent: Bundle, wanted: Wanted, reporter: Reporter, say: Callable[[bytes], None]) -> Slimmed:
    """Trace and export in a container, load, verify in a container of the result, repair once, tag.

    However it ends, no container, volume or image of ours is left behind, and what documents there are by then are in
    `wanted.out`. `say` gets the agent's lines. Raises CheckFailedError if the slim image does not pass what the
    original does: then nothing is tagged.
    """
    image = wanted.container.image
    with reporter.phase("look at the image"):
        described = with_history(engine.inspect(image), engine.history(image))
        config = read_image_config(described, image)
    with contextlib.ExitStack() as rest, Work(engine, agent, wanted.out, wanted.container, say) as work:
        try:
            slimmed = _slim(work, wanted, config, described, reporter)
            if slimmed.verification.passed:
                with reporter.phase("tag"):
                    rest.enter_context(undisturbed())  # from here on there is an image, and no interruption
                    engine.tag(work.pending, wanted.tag)
        finally:
            work.hand_out(_DOCUMENTS)
    if not slimmed.verification.passed:
        raise CheckFailedError(
            f"the slim image does not pass what {image} passes, so there is no {wanted.tag}",
            f"see what is worse in {os.path.join(wanted.out, VERIFICATION)}, and keep what that needs (--keep)",
        )
    return slimmed


def _slim(work: Work, wanted: Wanted, config: ImageConfig, described: bytes, reporter: Reporter) -> Slimmed:
    image = wanted.container.image
    for name, data in {**wanted.files, CONFIG: described}.items():
        make_folder(os.path.dirname(work.path(name)))
        write(work.path(name), data)
    options = _Options(wanted, config)
    with reporter.phase(f"trace, plan and export in a container of {image}"):
        work.run(image, options.run(work.next_pending()))
    verification, repaired = _prove(work, options, reporter), 0
    if verification.missed and wanted.repair:
        repaired = len(verification.missed)
        with reporter.phase(f"repair: {repaired} files were missed"):
            work.run(image, options.repair())
            work.run(image, options.apply(work.next_pending()))
        verification = _prove(work, options, reporter)
    return Slimmed(
        config=config,
        trace=documents.decode_trace(read(work.path(TRACE))),
        plan=documents.decode_plan(read(work.path(PLAN))),
        receipt=documents.decode_receipt(read(work.path(RECEIPT))),
        verification=verification,
        repaired=repaired,
        seconds=orjson.loads(read(work.path(SUMMARY)))["seconds"],
    )


def _prove(work: Work, options: _Options, reporter: Reporter) -> Verification:
    """Load what was exported, and run the steps in a container of it."""
    with reporter.phase("load", "bytes") as progress:
        work.load(progress)
    with reporter.phase("verify in a container of the slim image"):
        work.run(work.pending, options.verify(), allowed=(0, _NOT_PROVED))
    return documents.decode_verification(read(work.path(VERIFICATION)))


class _Options:
    """The agent's command lines. Its documents are where a container sees the output folder."""

    def __init__(self, wanted: Wanted, config: ImageConfig) -> None:
        self._wanted = wanted
        user = wanted.user or ("" if config.user.partition(":")[0] in _ROOTS else config.user)
        self._user = ("--user", user) if user else ()
        self._config = ("--image-config", _at(CONFIG))

    def run(self, tag: str) -> tuple[str, ...]:
        """Trace, plan and export, with nothing proved yet."""
        wanted = self._wanted
        options = (*self._user, *wanted.steps, *wanted.decision, *self._deed(tag), "--out", OUT, "--verify", "none")
        return ("run", *options, "--", *wanted.command)

    def verify(self) -> tuple[str, ...]:
        """Run the steps again where the dropped files are gone."""
        options = (*self._user, *self._wanted.steps, "-o", _at(VERIFICATION))
        return ("verify", *options, _at(PLAN), _at(TRACE), "--", *self._wanted.command)

    def repair(self) -> tuple[str, ...]:
        """Plan again, with what the verification missed."""
        options = (*self._wanted.decision, *self._config, "--repair", _at(VERIFICATION), "-o", _at(PLAN), "--quiet")
        return ("plan", *options, _at(TRACE))

    def apply(self, tag: str) -> tuple[str, ...]:
        """Export what that plan says."""
        return ("apply", *self._deed(tag), "-o", _at(RECEIPT), "--quiet", _at(PLAN))

    def _deed(self, tag: str) -> tuple[str, ...]:
        # Not compressed: an engine would only undo it.
        layout = ("--oci", _at(LAYOUT), "--compression", "none", "--tag", tag)
        return (*self._wanted.deed, *self._config, *layout)


def _at(name: str) -> str:
    return f"{OUT}/{name}"
