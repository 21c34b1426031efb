"""What a run left behind: its output directory, or its plan alone. Every command that reads one does it here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from slimagent import documents
from slimagent.errors import DocumentError
from slimagent.image.labels import identity
from slimagent.image.run_record import NAME as RECORD
from slimagent.image.run_record import Record, decode_record
from slimagent.linux.files import digest, read
from slimagent.model.finished_run import FinishedRun
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt, Verification
from slimagent.model.reach import NAME as REACH
from slimagent.model.reach import Reach
from slimagent.model.references import is_reference
from slimagent.model.report import Found
from slimagent.model.summary import Summary, Whole
from slimagent.model.trace import Trace
from slimagent.report.summary import summarised
from slimagent.workflows.facts import as_time

PLAN, TRACE, RECEIPT, VERIFICATION, SUMMARY, IMAGE = NAMES = (
    *("plan.json", "trace.json", "receipt.json"),
    *("verification.json", "summary.json", "image.json"),
)
_T = TypeVar("_T")


def is_run(path: str) -> bool:
    """Whether a run wrote into this directory, or this is a file, which has to be a plan."""
    return os.path.isfile(path) or any(os.path.exists(os.path.join(path, name)) for name in (RECORD, SUMMARY, PLAN))


class Finished:
    """The documents of one run. Each is read when it is first asked for, and is None if it does not exist.

    `path` is the run's output directory, or its plan alone. Another document stands for the directory that it lies in,
    and so does the plan for who needs the `whole` run. If a document belongs to another run, that is an error; with
    `lenient` the document is left out, and `found` says so. Everything here raises DocumentError.
    """

    def __init__(self, path: str, *, lenient: bool = False, whole: bool = False) -> None:
        self.path = path = _home(path, whole=whole)
        self._lenient = lenient
        self._digests: dict[str, str] = {}
        self._left_out: dict[str, str] = {}
        if not os.path.exists(path):
            or_plan = "" if whole else ", or its plan"
            raise DocumentError(f"{path} does not exist: expected the output directory of a run{or_plan}", _make(path))
        self._is_directory = os.path.isdir(path)
        if self._is_directory and not any(map(self._has, NAMES)):
            raise DocumentError(
                f"{path} has no document of a run: looked for {', '.join(NAMES[:-1])} and {NAMES[-1]}", _make(path)
            )

    @cached_property
    def plan(self) -> Plan | None:
        return self._document(PLAN, self._decode_plan)

    @cached_property
    def trace(self) -> Trace | None:
        return self._document(TRACE, documents.decode_trace)

    @cached_property
    def receipt(self) -> Receipt | None:
        return self._document(RECEIPT, documents.decode_receipt)

    @cached_property
    def verification(self) -> Verification | None:
        return self._document(VERIFICATION, documents.decode_verification)

    @cached_property
    def summary(self) -> Summary | None:
        """The summary as the run wrote it."""
        return self._document(SUMMARY, documents.decode_summary)

    @cached_property
    def reach(self) -> Reach | None:
        """What `slimagent reach` found out about the run's trace; None also if it was another trace."""
        if not self._is_directory or not self._has(REACH):
            return None
        path = self._at(REACH)
        made = documents.decode_reach(read(path), path)
        return made if self.plan is not None and made.traces == self.plan.traces else None

    @cached_property
    def image(self) -> ImageConfig | None:
        return self._document(IMAGE, read_image_config)

    @cached_property
    def described(self) -> bytes:
        """What the engine said about the image; empty if unknown."""
        return read(self._at(IMAGE)) if self._has(IMAGE) else b""

    @cached_property
    def record(self) -> Record | None:
        """The record of a run of `image`. None also if slimagent did not write it."""
        return decode_record(read(self._at(RECORD))) if self._has(RECORD) else None

    @property
    def image_id(self) -> str:
        """The ID of the image; empty if unknown."""
        return identity(self.described) if self.described else ""

    @property
    def whole(self) -> Whole:
        """The documents of the run in one."""
        return Whole(plan=self.plan, trace=self.trace, receipt=self.receipt, verification=self.verification)

    def require_plan(self) -> Plan:
        """The plan. Raises DocumentError if it does not exist."""
        if self.plan is None:
            message = f"{self.path} has no {PLAN}: no run wrote this directory, or the run failed before its plan"
            raise DocumentError(message, _make(self.path))
        return self.plan

    def run(self) -> FinishedRun:
        """The run as reports take it. Raises DocumentError if it has no plan."""
        plan, record = self.require_plan(), self.record
        return FinishedRun(
            path=self.path,
            plan=plan,
            digest=self._digest(PLAN),
            receipt=self.receipt,
            verification=self.verification,
            image="" if record is None else record.image,
            tag="" if record is None else record.tag,
            ended="" if record is None else record.ended or record.started,
            described=self.described,
        )

    @cached_property
    def result(self) -> Summary:
        """What the run came to, also if its steps were done by hand: then no summary was written.

        Raises DocumentError if that is unknown.
        """
        summary = self.summary
        if summary is None:
            if self.receipt is None:
                raise DocumentError(
                    f"{self.path} has no result of a run: looked for {SUMMARY} and {RECEIPT}",
                    "name the directory that was --out of `slimagent image` or `slimagent run`",
                )
            plan, blank = self.require_plan(), Summary(tool=self.receipt.tool, command="apply")
            summary = summarised(blank, Whole(plan=plan, receipt=self.receipt))
        if summary.plan is not None and self.verification is not None:  # perhaps a later one, made by hand
            proved = summarised(summary, Whole(verification=self.verification))
            summary = replace(proved, checks=summary.checks, start=summary.start)
        return summary

    @property
    def when(self) -> str:
        """When the run ended, as RFC 3339 in UTC."""
        if self.record is not None:
            return self.record.ended or self.record.started
        return as_time(os.stat(self._at(SUMMARY if self._has(SUMMARY) else RECEIPT)).st_mtime)

    def found(self) -> tuple[Found, ...]:
        """Which documents there are. Reads all of them."""
        _ = self.whole, self.summary, self.image
        return tuple(
            Found(name=name, sha256=self._digests.get(name), missing=self._left_out.get(name, "")) for name in NAMES
        )

    def _at(self, name: str) -> str:
        return os.path.join(self.path, name) if self._is_directory else self.path

    def _has(self, name: str) -> bool:
        return os.path.exists(self._at(name)) if self._is_directory else name == PLAN

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = digest(read(self._at(name)))
        return self._digests[name]

    def _document(self, name: str, decode: Callable[[bytes, str], _T]) -> _T | None:
        """A document that is of this run."""
        if not self._has(name):
            self._left_out[name] = "no such file"
            return None
        path = self._at(name)
        data = read(path)
        made, own = decode(data, path), digest(data)
        wrong = self._of_another(name, own, getattr(made, "plan", None))
        if not wrong:
            self._digests[name] = own
            return made
        if self._lenient:
            self._left_out[name] = f"it {wrong}"
            return None
        raise DocumentError(
            f"{path} {wrong}", f"run slimagent again, or name the plan alone: {shlex.quote(self._at(PLAN))}"
        )

    def _of_another(self, name: str, own: str, plan: str | None) -> str:
        """Say that a document is of another run; "" if it is of this one. `plan` is the digest that it names."""
        if name == TRACE:
            traces = () if self.plan is None else self.plan.traces
            return f"is not the trace that {PLAN} was made from" if traces and own not in traces else ""
        first, expected = self._first(name)
        if None in (plan, expected) or plan == expected:
            return ""
        if first == PLAN:
            # One that was cut off has another digest, too: then that is what is wrong, and reading it raises.
            _ = self.plan
        return f"belongs to another plan than {first}"

    def _first(self, name: str) -> tuple[str, str | None]:
        """The document that says which plan this run had, and the plan's digest. It comes before `name`."""
        if self._has(PLAN):
            return PLAN, self._digest(PLAN)
        if name != SUMMARY and self.summary is not None and self.summary.plan is not None:
            return SUMMARY, self.summary.plan
        if name == VERIFICATION and self.receipt is not None:
            return RECEIPT, self.receipt.plan
        return name, None

    def _decode_plan(self, data: bytes, path: str) -> Plan:
        try:
            return documents.decode_plan(data, path)
        except DocumentError as error:
            if error.message.startswith(f"{path}: this is a {documents.TRACE}"):
                raise DocumentError(
                    error.message, f"make a plan of it: slimagent plan {shlex.quote(path)} -o {PLAN}"
                ) from None
            raise


def _home(path: str, *, whole: bool) -> str:
    """The directory of a run for the path of one of its documents; any other path as it is."""
    home, name = os.path.split(path)
    has = {each for each in NAMES if os.path.isfile(os.path.join(home, each))}
    if name not in has:
        return path
    is_whole = bool(has & {SUMMARY, RECEIPT}) if name == PLAN else PLAN in has or name == SUMMARY
    return home or os.curdir if is_whole and (whole or name != PLAN) else path


def _make(path: str) -> str:
    if ":" in path and is_reference(path):
        audit = shlex.join(["slimagent", "audit", path])
        return f"to look at the image {path}: {audit}; a run is named by its directory, e.g. slimagent-out"
    return f"make one: slimagent image IMAGE -t TAG --out {shlex.quote(path)} -- YOUR-TEST"
