"""Prepare what the planning commands share: the evidence, the rules, and the traces' view of the image."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import click

from slimagent import documents
from slimagent.cli import options
from slimagent.linux.files import read
from slimagent.model.image_config import ImageConfig
from slimagent.model.inventory import Inventory, Owners
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.proof import FULL, SEARCH, Repair
from slimagent.model.trace import Trace
from slimagent.workflows import pipeline
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.session import Session
from slimagent.workflows.tracing import merged

hold_out = click.option(
    "--hold-out",
    "held_out",
    multiple=True,
    metavar="STEP",
    help="Plan as if this step had not run, to see what it would miss. Can be repeated; see docs/reach.md.",
)
repair = click.option(
    "--repair",
    multiple=True,
    metavar="FILE",
    help="Keep what this verification of an earlier plan found missing; can be repeated, in the order of rounds.",
)


class Changes(TypedDict):
    """What changes the evidence of a plan: see `Asked`."""

    repair: tuple[str, ...]
    held_out: tuple[str, ...]


def evidence_changes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it gets them as the argument `changes`."""

    @functools.wraps(function)
    def gather(*arguments: Any, repair: tuple[str, ...], held_out: tuple[str, ...], **others: Any) -> Any:
        return function(*arguments, changes=Changes(repair=repair, held_out=held_out), **others)

    return options.together(repair, hold_out)(gather)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command line asks of a plan.

    Its traces, a level and a profile by name (None: those of the traces), rules beside the profile's, accepted kinds
    of losses, and verifications (`repair`), in the order in which they were made: what they missed stays. The steps
    `held_out` do not count as evidence.
    """

    traces: Sequence[str]
    level: str | None
    profile: str | None
    rules: Rules
    accepted: tuple[str, ...]
    repair: Sequence[str] = ()
    held_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that a plan is made from, but the inventory. `digests` are the traces'; what `repairs` bring back stays."""

    evidence: Trace
    digests: tuple[str, ...]
    repairs: tuple[Repair, ...]
    level: str
    accepted: frozenset[str]
    session: Session

    def plan(self, reporter: Reporter, inventory: Inventory | None = None, owned: Owners | None = None) -> Plan:
        """Make the plan, with an inventory and its owners if already known. Raises as `pipeline.plan` does."""
        return pipeline.plan(
            self.session,
            self.evidence,
            self.digests,
            self.level,
            self.accepted,
            reporter,
            inventory,
            self.repairs,
            owned,
        )


def prepare(
    asked: Asked,
    reporter: Reporter,
    *,
    root: str = "/",
    scopes: tuple[str, ...] = (),
    outputs: tuple[bytes, ...],
    image: ImageConfig | None,
) -> Prepared:
    """Read the request's files, and take the traces' view of the image. Without `scopes`, take theirs, too.

    Raises DocumentError and UsageError.
    """
    evidence, digests = merged(((trace, read(trace)) for trace in asked.traces), reporter, asked.held_out)
    by_name = asked.profile
    profile = options.profile_of(evidence) if by_name is None else options.chosen_profile(by_name, False, None)
    session = options.session(
        root=root,
        scopes=scopes or tuple(os.fsdecode(scope) for scope in evidence.scopes if scope != b"/"),
        profile=replace(profile, user=""),  # nothing is run
        rules=asked.rules,
        outputs=outputs,
        image=image,
    )
    return Prepared(
        evidence=evidence,
        digests=digests,
        repairs=_repairs(asked.repair),
        level=options.chosen_level(asked.level, profile),
        accepted=frozenset(asked.accepted),
        session=pipeline.seen_as(session, evidence),
    )


def _repairs(names: Sequence[str]) -> tuple[Repair, ...]:
    """The rounds of repair that these verifications led to.

    One of the full image belongs to the round of the verification before it, of the slim image. What a search found is
    a round of its own.
    """
    rounds: list[Repair] = []
    for name in names:
        found = documents.decode_verification(read(name), name)
        if found.how == SEARCH:
            rounds.append(Repair(number=len(rounds) + 1, found=found.missed))
        elif found.how != FULL:
            rounds.append(Repair(number=len(rounds) + 1, missed=found.missed))
        elif rounds:
            rounds[-1] = replace(rounds[-1], used=(*rounds[-1].used, *found.missed))
        else:
            rounds.append(Repair(number=1, used=found.missed))
    return tuple(rounds)
