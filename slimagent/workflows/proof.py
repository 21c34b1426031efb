"""Composition: run the steps again on the slim image, and compare the results with those of the full one."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from slimagent.errors import RefusedError
from slimagent.inventory.fingerprint import changing
from slimagent.inventory.scan import mount_points
from slimagent.model import started
from slimagent.model.plan import Plan
from slimagent.model.proof import FULL, Verification
from slimagent.model.reason import ReasonKind
from slimagent.model.result import CheckResult
from slimagent.paths.algebra import to_text, within_any
from slimagent.verify.compare import compare, dropped_paths, finder, lacking, missed, united, unmasked, unproved
from slimagent.workflows.exercise import Reporter, watch
from slimagent.workflows.session import Session
from slimagent.workflows.steps import COMMAND_STEP, Steps, Watched, require_names
from slimagent.workflows.tracing import TOOL, read_link

STILL_LISTED = frozenset({ReasonKind.RECORD_GONE, ReasonKind.FOLDER_GONE})  # what a masked run finds in listings only
_BY_WORD = frozenset({ReasonKind.UNWANTED})
_TOLERATED = 100  # one in this many kept files may be missing from an image that is verified


def verify(
    session: Session,
    steps: Steps,
    made: Plan,
    plan_digest: str,
    baseline: Sequence[CheckResult],
    reporter: Reporter,
    *,
    only: Collection[str] = (),
    full: bool = False,
) -> Verification:
    """Run the steps again on the slim image, and find every dropped file that they looked for.

    If the dropped files are gone, this is the slim image itself ("in-place"). If they are still there, they are hidden
    from the watched processes ("masked"): each call that names one gets ENOENT, as it will in the slim image. Only
    directory listings still show them. So the records of dropped packages are not masked: no image ever lists a
    record that does not exist.

    With `full`, dropped files stay in sight, and those that the steps use count as missed: a step that would end at its
    first missing file so shows all of them. That is not a proof. With names in `only`, only these steps run.

    Raises RefusedError if this is neither the image that the plan was made for nor the slim one, or with `full` not the
    former. Raises UsageError for an unknown name in `only`.
    """
    foreign = mount_points(session.root).difference(made.volumes)
    dropped = _in_front(dropped_paths(made), foreign)
    there = _require_verifiable(session, made, dropped, foreign, full=full)
    baseline = united(baseline)
    if only:
        _require_known(only, steps, baseline)
        steps, baseline = steps.only(only), tuple(each for each in baseline if each.name in only)
    if there:
        dropped = _in_front(dropped_paths(made, STILL_LISTED), foreign)
    steps = steps.awaited()
    with reporter.phase(f"run again on the {'full' if full else 'slim'} image"):
        watched = watch(session, steps, reporter, dropped.__contains__ if there and not full else None, baseline)
    return _judged(watched, baseline, made, plan_digest, FULL if full else "masked" if there else "in-place", dropped)


def _judged(
    watched: Watched,
    baseline: Sequence[CheckResult],
    made: Plan,
    plan_digest: str,
    how: str,
    dropped: frozenset[bytes],
) -> Verification:
    """Compare what was watched with the baseline. Only a run without the dropped files can pass."""
    comparisons = compare(baseline, watched.results)
    accesses = ((path, at) for path, (_, at) in watched.observed.accesses.items())
    return Verification(
        tool=TOOL,
        plan=plan_digest,
        how=how,
        backend=watched.backend,
        blind_spots=watched.blind_spots,
        passed=how != FULL
        and not watched.interrupted
        and not any(each.worse for each in comparisons)
        and not unproved(baseline, watched.results)
        and not (how == "masked" and unmasked(watched.observed.losses, made.accepted)),
        steps=watched.results,
        comparisons=comparisons,
        # What goes by the user's word was to be missed: only the results count.
        missed=missed(
            finder(dropped & dropped_paths(made, _BY_WORD), read_link),
            accesses,
            [result.name for result in watched.results],
        ),
        losses=watched.observed.losses,
    )


def _in_front(paths: frozenset[bytes], mounts: frozenset[bytes]) -> frozenset[bytes]:
    """The paths that no mount hides."""
    return frozenset(path for path in paths if not within_any(path, mounts))


def _require_known(only: Collection[str], steps: Steps, baseline: Sequence[CheckResult]) -> None:
    """Raise UsageError for the name of a step that neither this image nor the original has."""
    known = {*(spec.name for spec in steps.checks), *(each.name for each in baseline), COMMAND_STEP, *started.STEPS}
    require_names(only, known)


def _require_verifiable(
    session: Session, made: Plan, dropped: frozenset[bytes], foreign: frozenset[bytes], *, full: bool
) -> bool:
    """Whether the dropped files are still there. Raises RefusedError for any image with only some of them."""
    prefix = b"" if session.root == b"/" else session.root
    outside = (*foreign, *made.mounts, *made.excluded, *changing(made.scopes))
    gone, kept = lacking(made, outside, lambda path: _is_there(prefix + path))
    if len(gone) * _TOLERATED > kept:  # a service that runs here may have removed a file or two
        raise RefusedError(
            f"this is not the image that the plan was made for: {len(gone)} of {kept} kept files are missing, "
            f"e.g. {to_text(gone[0])}",
            "verify in a new container of the slim image, or of the image that was traced",
        )
    there = sum(_is_there(prefix + path) for path in dropped)
    if there and there != len(dropped):
        raise RefusedError(
            f"this is neither the image that the plan was made for nor the slim one: {there} of {len(dropped)} dropped "
            "files are here",
            "verify in a new container of the slim image, or of the image that was traced",
        )
    if full and dropped and not there:
        raise RefusedError(
            "this is the slim image: the files that its steps would use are gone",
            "use --full in a new container of the image that was traced",
        )
    return there > 0


def _is_there(path: bytes) -> bool:
    """Whether a path exists. Where this process may not look, assume that it does."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
