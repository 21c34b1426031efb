"""Prove a slim image, and repair it in as many rounds as it takes.

Each round keeps what the steps looked for in vain, with its package, and makes a new slim image. Only the steps
concerned run on that. What did not run on the last slim image runs on it in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from slimagent import documents
from slimagent.errors import CheckFailedError
from slimagent.model.plan import Plan
from slimagent.model.proof import SEARCH, Missed, Repair, Verification
from slimagent.model.search import What
from slimagent.model.trace import BlindSpot, Trace
from slimagent.report.failure import not_proved
from slimagent.report.search import MENDABLE, next_step, search_lines
from slimagent.text.counted import counted
from slimagent.verify import rounds
from slimagent.verify.compare import dropped_files
from slimagent.verify.rounds import Then
from slimagent.workflows import cause, collected_logs
from slimagent.workflows.image_stages import STARTS, Stages
from slimagent.workflows.starts_from_outside import SLIM

_NAMED = 2  # steps beside the first in a line


@dataclass(slots=True)
class _Proof:
    """A verification of the slim image that is loaded now, and the steps that it covers."""

    verification: Verification
    ran: frozenset[str]


@dataclass(slots=True)
class Rounds:
    """Proves the slim image that `stages` has loaded last. `repairs` are the rounds so far."""

    stages: Stages
    trace: Trace
    repairs: list[Repair] = field(default_factory=list)
    _documents: dict[str, bytes] = field(default_factory=dict)  # the verifications that the rounds came from, by name
    _steps: tuple[str, ...] = ()  # the names of all steps

    def prove(self) -> None:
        """Verify and repair until nothing is missed and nothing is worse.

        Raises CheckFailedError, after telling step by step what is worse, if that cannot be reached.
        """
        proof = self._run(())
        while True:
            then = self._then(proof)
            if then is Then.DONE:
                return
            if then is Then.RUN_ALL:
                self.stages.tell("a step is worse and missed nothing; it may depend on others, so all of them run")
                proof = self._run(())
            elif then is Then.RUN_REST:
                rest = self._run(tuple(name for name in self._steps if name not in proof.ran))
                proof = self._joined(proof, rest)
            elif then is Then.REPAIR:
                proof = self._repaired(self._next(proof.verification))
            elif then is Then.UNEXPLAINED:
                proof = self._repaired(self._explained(proof.verification))
            else:
                self._fail(proof.verification)

    def unexplained(self, verification: Verification) -> tuple[Missed, ...]:
        """What to bring back if all steps ran, something is worse, and nothing shows what it needs.

        No removed file was looked for in vain, and the steps concerned use none in the full image. Nothing, if the
        cause is unknown: then the image is not made. This is the one place where that is decided.
        """
        plan, request = self.stages.whole.plan, self.stages.request
        if not request.search_runs or plan is None or not any(each.worse for each in verification.comparisons):
            return ()
        found = cause.find(self.stages, self.trace, plan, verification)
        self.stages.whole.searches.append(found)
        for line in search_lines(found):
            self.stages.tell(line)
        if any(each.what not in MENDABLE for each in found.causes):
            return ()
        if self._known >= {each.path for each in found.causes}:
            return ()  # they are back, and that did not help
        self.stages.unstripped += tuple(each.path for each in found.causes if each.what is not What.REMOVED)
        return tuple(Missed(path=each.path, steps=found.steps) for each in found.causes)

    def _explained(self, verification: Verification) -> Repair:
        """A round for what no lookup explains. Raises CheckFailedError if nothing explains it.

        A program that lists a directory, as Python does to import, looks for no file by its name. The full image shows
        which files it uses.
        """
        if self._may_repair:
            found = self._next(verification, look=True)
            if found.needed:
                return found
        more = self.unexplained(verification)
        if not more or not self._may_repair:
            self._fail(verification)
        return self._next(verification, more, look=False)

    @property
    def _may_repair(self) -> bool:
        return self.stages.request.repair and len(self.repairs) < rounds.MOST

    def _then(self, proof: _Proof) -> Then:
        whole = proof.ran >= set(self._steps)
        return rounds.then(proof.verification, self._known, whole=whole, may_repair=self._may_repair)

    @property
    def _known(self) -> frozenset[bytes]:
        return frozenset().union(*(each.needed for each in self.repairs))

    def _run(self, only: tuple[str, ...]) -> _Proof:
        """Run all steps, or those named, on the slim image."""
        verification = self.stages.verified(self.trace, only)
        named = (*(step.name for step in self.trace.steps), *(step.name for step in verification.steps))
        self._steps = tuple(dict.fromkeys((*self._steps, *named)))
        return self._concluded(_Proof(verification, frozenset(only or self._steps)))

    def _joined(self, first: _Proof, second: _Proof) -> _Proof:
        verification = rounds.united(first.verification, second.verification, self._steps)
        return self._concluded(_Proof(verification, first.ran | second.ran))

    def _concluded(self, proof: _Proof) -> _Proof:
        self.stages.conclude(proof.verification)
        return proof

    def _next(self, verification: Verification, more: Sequence[Missed] = (), *, look: bool | None = None) -> Repair:
        """The next round: what a verification missed, `more`, and what the steps concerned use in the full image.

        In the first round that last look is not needed, unless the backend saw no lookups. `look` says otherwise.
        """
        number = len(self.repairs) + 1
        missed = rounds.fresh(verification.missed, self._known)
        concerning = replace(verification, missed=rounds.all_missed((verification.missed, more)))
        steps = rounds.concerned(concerning, self._steps, STARTS)
        repair = Repair(number=number, steps=steps, missed=missed, found=tuple(more))
        if look is None:
            look = number > 1 or BlindSpot.LOOKUPS in verification.blind_spots
        used = self._used(repair) if look else None
        repair = replace(repair, used=() if used is None else used.missed)
        if more:
            self._note(f"repair-{number}-search.json", replace(verification, how=SEARCH, missed=repair.found))
        elif repair.needed:
            self._note(f"repair-{number}.json", replace(verification, missed=missed))
        if used is not None and used.missed:
            self._note(f"repair-{number}-full.json", used)
        return repair

    def _repaired(self, repair: Repair) -> _Proof:
        """Carry out a round: make a new slim image, and run the steps concerned on it."""
        before = self.stages.whole.plan
        self.repairs.append(repair)
        self.stages.repair(phase(repair, self._steps), self._documents)
        self.repairs[-1] = measured(repair, before, self.stages.whole.plan)
        return self._run(repair.steps if set(repair.steps) < set(self._steps) else ())

    def _used(self, repair: Repair) -> Verification:
        """Run the steps concerned in the full image: one that ended at its first missing file hid the others.

        What they used and neither this round nor an earlier one knew counts as missed.
        """
        found = self.stages.used(repair.steps)
        shows_nothing = not found.missed and not repair.missed
        # Alone they may do less than after the others. A step that fails alone in the full image even ends early.
        if set(repair.steps) < set(self._steps) and (shows_nothing or any(each.worse for each in found.comparisons)):
            found = self.stages.used(())
        return replace(found, missed=rounds.fresh(found.missed, self._known | repair.needed))

    def _note(self, name: str, verification: Verification) -> None:
        self._documents[name] = data = documents.encode_verification(verification)
        self.stages.output.write(name, data)

    def _fail(self, verification: Verification) -> NoReturn:
        """Tell step by step what is worse, and what of it could not be mended. Raises CheckFailedError."""
        stages, request = self.stages, self.stages.request
        names = {each.name for each in verification.comparisons if each.worse}
        for line in not_proved(verification, collected_logs.ends(stages.output, SLIM, sorted(names))):
            stages.tell(line)
        hint = self._hint(verification)
        if request.keep_failed:
            kept = stages.work.keep_pending()
            hint += f"; inspect {kept}, then remove it: {stages.work.engine.name} rmi {kept}"
        else:
            hint += ", or keep the image to inspect it with --keep-failed"
        tag, image = request.tag, request.container.image
        left = f"; {tag} is still the earlier image" if stages.work.engine.find_image(tag) is not None else ""
        after = f" after {counted(len(self.repairs), 'round')} of repair" if self.repairs else ""
        raise CheckFailedError(
            f"the slim image does not do what {image} does{after}, so {tag} was not made{left}", hint
        )

    def _hint(self, verification: Verification) -> str:
        if not verification.missed and self.stages.whole.searches:
            return next_step(self.stages.whole.searches[-1])
        if not verification.missed:
            return "no removed file was needed, so the test fails now and then, or counts what is installed"
        if rounds.fresh(verification.missed, self._known) and len(self.repairs) >= rounds.MOST:
            return f"{rounds.MOST} rounds of repair are the limit; keep what it lacks with --keep PATH"
        return "keep what it lacks with --keep PATH or --keep-package KIND:NAME"


def phase(repair: Repair, steps: Sequence[str]) -> str:
    """What a round does, in words. `steps` are all steps.

    >>> missed = (Missed(path=b"/a", steps=("lab",)),)
    >>> phase(Repair(number=2, steps=("lab", "python"), missed=missed), ["lab", "python", "r"])
    'repair, round 2: 1 removed file was needed; lab and python run again'
    """
    needed = counted(len(repair.needed), "removed file was", "removed files were")
    first, *others = repair.steps or ("nothing",)
    who = "all steps"
    if set(repair.steps) < set(steps):
        more = f"{len(others)} more" if len(others) > _NAMED else ", ".join(others)
        who = f"{first} and {more}" if others else first
    return f"repair, round {repair.number}: {needed} needed; {who} {'run' if others or who != first else 'runs'} again"


def measured(repair: Repair, before: Plan | None, after: Plan | None) -> Repair:
    """The round with what came back: the files that the plan before it drops and the one after it keeps."""
    if before is None or after is None:
        return repair
    back = dropped_files(before)
    for path in dropped_files(after):
        back.pop(path, None)
    return replace(repair, files=len(back), size=sum(back.values()))
