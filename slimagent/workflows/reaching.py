"""Composition: leave the tests of a trace out one by one, on all cores; here, or in a container of the image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from slimagent import documents
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.work import OUT
from slimagent.inventory.contents import Contents
from slimagent.linux.forked import computed
from slimagent.model.proof import Repair
from slimagent.model.reach import LeftOut, LevelReach, Reach, Unit
from slimagent.model.trace import Trace
from slimagent.plan.admit import admit, fit
from slimagent.plan.evidence import Evidence
from slimagent.plan.reach import Leaving, Remembered
from slimagent.plan.units import Units
from slimagent.plan.without_gpu import target_of
from slimagent.workflows import pipeline
from slimagent.workflows.asking import Inquiry, ask
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.session import Session, require_readable
from slimagent.workflows.tracing import TOOL

_CONFIG, _TRACE, _REACH = "image.json", "trace.json", "reach.json"
_MOST_PROCESSES = 8  # each may come to need as much memory as one plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A trace of the image at the session's root, the digests of its documents, and what to find out.

    What `repairs` brought back stays whatever is left out. At each of the levels every unit is left out. If there are
    more than `most` units, a sample is.
    """

    trace: Trace
    digests: tuple[str, ...]
    accepted: frozenset[str]
    repairs: tuple[Repair, ...]
    levels: tuple[str, ...]
    most: int


def reach(session: Session, question: Question, reporter: Reporter) -> Reach:
    """Leave out each unit of a trace. Nothing is run.

    The same evidence gives the same result: a sample is drawn with a fixed seed. Raises RefusedError as for a plan, and
    UnavailableError if the image cannot be read.
    """
    inventory = pipeline.inspect(session, reporter)
    require_readable(inventory, "plan")
    owned = pipeline.find_owners(inventory, reporter)
    contents = Remembered(Contents(session.root, target_of(session.profile.rules)))
    trace, accepted = question.trace, question.accepted
    evidence = pipeline.collect(
        session, trace, question.digests, inventory, contents, owned, accepted, question.repairs
    )
    admit(trace, accepted)
    fit(evidence.fingerprint, (trace.before, *trace.afters), "the trace was made")
    return _reach(evidence, question.levels, question.most, reporter)


def _reach(evidence: Evidence, levels: Sequence[str], most: int, reporter: Reporter) -> Reach:
    units = Units(evidence.trace)
    used = units.used()
    chosen = tuple(sorted(sorted(used, key=lambda number: _shuffled(units.units[number]))[:most]))
    adding = units.alone()
    found = []
    for level in levels:
        with reporter.phase(f"plan without each test, level {level}", "tests") as progress:
            leaving = Leaving(evidence, level, units)
            left_out = tuple(_left_out(leaving, [each for each in chosen if each in adding], progress))
            found.append(LevelReach(level=level, kept=leaving.kept, left_out=left_out))
    return Reach(
        tool=TOOL,
        traces=evidence.trace_digests,
        steps=tuple(step.name for step in evidence.trace.steps),
        units=tuple(units.units),
        unused=tuple(each for each in range(len(units.units)) if each not in used),
        chosen=chosen,
        idle=tuple(each for each in chosen if each not in adding),
        levels=tuple(found),
    )


def _shuffled(unit: Unit) -> bytes:
    """A key that puts units in an order that looks random, and is always the same."""
    return hashlib.sha256(f"{unit.step} {unit.name}".encode("utf-8", "surrogatepass")).digest()


def _left_out(leaving: Leaving, chosen: Sequence[int], progress: Callable[[int], None]) -> Iterator[LeftOut]:
    """The units without which something goes, in their order."""
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    found: dict[int, LeftOut | None] = {}
    for number, each in computed(lambda number: leaving.left_out(chosen[number]), len(chosen), processes):
        found[number] = each
        progress(len(found))
    return (each for _, each in sorted(found.items()) if each is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An image, its name for people, a trace of it as a document, options for the agent, and files that they name."""

    image: str
    name: str
    trace: bytes
    options: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def reach_of_image(
    engine: Engine, bundle: Callable[[], Bundle], asked: Asked, reporter: Reporter, say: Callable[[bytes], None]
) -> Reach:
    """Do it in a container of an image. Nothing of the image is run, and nothing is left in the engine.

    Raises UsageError if the engine does not have the image, and what the agent raises.
    """
    words = ("reach", *asked.options, "--quiet", "--image-config", f"{OUT}/{_CONFIG}")
    inquiry = Inquiry(
        container=Container(image=asked.image),
        arguments=(*words, "-o", f"{OUT}/{_REACH}", f"{OUT}/{_TRACE}"),
        files={**asked.files, _CONFIG: engine.inspect(asked.image), _TRACE: asked.trace},
        answers=(_REACH,),
    )
    phase = f"plan without each test in a container of {asked.name}"
    return documents.decode_reach(ask(engine, bundle, inquiry, say, lambda: reporter.phase(phase)).files[_REACH])
