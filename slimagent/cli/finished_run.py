"""Read what a run left behind: its output directory, or its plan alone."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import TypeVar

from slimagent import documents
from slimagent.errors import DocumentError
from slimagent.image.run_record import NAME as RECORD
from slimagent.image.run_record import decode_record
from slimagent.linux.files import digest, read
from slimagent.model.finished_run import FinishedRun

_PLAN, _SUMMARY = "plan.json", "summary.json"
_T = TypeVar("_T")


def is_run(path: str) -> bool:
    """Whether a run wrote into this directory, or this is a file, which has to be a plan."""
    return os.path.isfile(path) or any(os.path.exists(os.path.join(path, name)) for name in (RECORD, _SUMMARY, _PLAN))


def read_run(path: str) -> FinishedRun:
    """Read a run's documents from its directory; from a file only the plan. Raises DocumentError."""
    if not os.path.exists(path):
        raise DocumentError(f"{path} does not exist: a directory that a run wrote, or a plan, is expected", _make(path))
    if not os.path.isdir(path):
        return _with_plan(path, path)
    plan = os.path.join(path, _PLAN)
    if not os.path.exists(plan):
        raise DocumentError(
            f"{path} has no {_PLAN}, so no run wrote it, or the run failed before its plan", _make(path)
        )
    return _with_others(_with_plan(path, plan))


def _make(path: str) -> str:
    return f"make one: slimagent image IMAGE -t TAG --out {shlex.quote(path)} -- YOUR-TEST"


def _with_plan(path: str, file: str) -> FinishedRun:
    data = read(file)
    try:
        plan = documents.decode_plan(data, file)
    except DocumentError as error:
        if error.message.startswith(f"{file}: this is a {documents.TRACE}"):
            raise DocumentError(
                error.message, f"make a plan of it: slimagent plan {shlex.quote(file)} -o plan.json"
            ) from None
        raise
    return FinishedRun(path=path, plan=plan, digest=digest(data))


def _with_others(run: FinishedRun) -> FinishedRun:
    """The run with the documents beside its plan. Raises DocumentError if they are of another plan."""
    receipt = _optional(run.path, "receipt.json", documents.decode_receipt)
    verification = _optional(run.path, "verification.json", documents.decode_verification)
    for name, of in (("receipt.json", receipt), ("verification.json", verification)):
        if of is not None and of.plan != run.digest:
            raise DocumentError(
                f"{os.path.join(run.path, name)} belongs to another plan than the {_PLAN} beside it",
                f"run again, or name the plan alone: {shlex.quote(os.path.join(run.path, _PLAN))}",
            )
    record = _optional(run.path, RECORD, lambda data, _: decode_record(data))
    return FinishedRun(
        path=run.path,
        plan=run.plan,
        digest=run.digest,
        receipt=receipt,
        verification=verification,
        image="" if record is None else record.image,
        tag="" if record is None else record.tag,
        ended="" if record is None else record.ended or record.started,
        described=_optional(run.path, "image.json", lambda data, _: data) or b"",
    )


def _optional(directory: str, name: str, decode: Callable[[bytes, str], _T]) -> _T | None:
    """A document of a directory; None if it is not there."""
    path = os.path.join(directory, name)
    return decode(read(path), path) if os.path.exists(path) else None
