"""Slim the image of this container in one run: trace, plan, apply, verify."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import replace

from slimagent import apply, documents
from slimagent.errors import CheckFailedError
from slimagent.linux.files import digest
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt, Verification
from slimagent.model.summary import Whole
from slimagent.model.trace import FAILED_STEP
from slimagent.paths.algebra import to_text
from slimagent.plan.admit import useless
from slimagent.trace.select import choose
from slimagent.workflows.applying import Action, Export, InPlace, Target, carry_out, require_unaltered
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.pipeline import Traced, inspect, plan, trace
from slimagent.workflows.proof import verify
from slimagent.workflows.removals import NO_LIST, Removals
from slimagent.workflows.session import Session, require_readable
from slimagent.workflows.steps import Steps

CHANGED = "changed.txt"  # lists the kept files that the test changed or removed
_LATE = ("difflib", "encodings.idna", "linecache", "rich.console", "traceback", "urllib.request", "websocket")


def run(
    session: Session,
    steps: Steps,
    level: str,
    accepted: frozenset[str],
    target: Target,
    reporter: Reporter,
    save: Callable[[str, bytes], None],
    whole: Whole,
    *,
    proof: str,
    removals: Removals,
) -> None:
    """Trace, plan, apply, verify. Each document is saved and put into `whole` as soon as it is made.

    `proof` is masked, in-place or none. `removals` says where the list of what went is written. Raises UnavailableError
    before anything runs if some of the image cannot be read, CheckFailedError if a traced step failed or was
    interrupted, or if the slim image is not proved.
    """
    choose(session.backend, masks=proof == "masked")
    if isinstance(target, Export) and isinstance(target.destination, apply.Layout):
        target.destination.require_possible(session.scopes)
    before = inspect(session, reporter)
    require_readable(before, "run")
    traced = trace(session, steps, reporter, before)
    del before
    whole.trace = traced.trace
    save("trace.json", traced.data)
    _admit_run(traced, accepted)
    made = plan(session, traced.trace, (digest(traced.data),), level, accepted, reporter, traced.inventory)
    whole.plan, data = made, documents.encode_plan(made)
    save("plan.json", data)
    action = _action(session, made, digest(data), reporter, traced, removals)
    del data
    if isinstance(target, Export):
        _require_unaltered_here(made, traced.inventory, target, save)
    whole.receipt = _carry_out(action, target)
    save("receipt.json", documents.encode_receipt(whole.receipt))
    if proof == "in-place" and isinstance(target, Export):
        again = _carry_out(replace(action, removals=NO_LIST), InPlace(strip=target.strip))
        save("in-place.json", documents.encode_receipt(again))
    if proof != "none":
        whole.verification = verify(session, steps, made, action.digest, traced.trace.steps, reporter)
        save("verification.json", documents.encode_verification(whole.verification))
        _require_proved(whole.verification)


def _action(
    session: Session, made: Plan, plan_digest: str, reporter: Reporter, traced: Traced, removals: Removals
) -> Action:
    return Action(
        session=session,
        plan=made,
        digest=plan_digest,
        reporter=reporter,
        inspect=lambda: traced.inventory,
        removals=removals,
    )


def _require_proved(verification: Verification) -> None:
    if not verification.passed:
        worse = sum(each.worse for each in verification.comparisons)
        raise CheckFailedError(
            "the slim image does not do what the image does" + (f": {worse} worse than before" if worse else ""),
            "keep what it lacks with --keep PATH or --keep-package KIND:NAME, or plan again in a new container: "
            "`slimagent plan trace.json --repair verification.json`",
        )


def _require_unaltered_here(
    made: Plan, inventory: Inventory, target: Export, save: Callable[[str, bytes], None]
) -> None:
    changes = apply.altered(made, inventory, target.accepted, traced_here=True)
    if changes:
        save(CHANGED, "".join(f"{each.kind.value}\t{to_text(each.path)}\n" for each in changes).encode())
    require_unaltered(changes, f" (all are in {CHANGED})")


def _carry_out(action: Action, target: Target) -> Receipt:
    """Carry out a plan. Before a removal in place, import what Python may need to report an error.

    If this is the image's Python, its files may go.
    """
    if isinstance(target, InPlace):
        for name in _LATE:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    return carry_out(action, target)


def _admit_run(traced: Traced, accepted: frozenset[str]) -> None:
    if traced.interrupted:
        raise CheckFailedError(
            "the traced run was interrupted", "the trace is written, but no plan was made; run again"
        )
    failed = [step for step in traced.trace.steps if useless(step)]
    if failed and FAILED_STEP not in accepted:
        raise CheckFailedError(
            f"a traced step failed on the full image: {failed[0].name} ({failed[0].first_line})",
            "a slim image is proved by steps that pass on the full image; repair the step, then run again",
        )
