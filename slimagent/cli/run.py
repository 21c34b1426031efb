"""`slimagent run`: trace, plan, apply to an export, verify."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from slimagent import documents
from slimagent.apply import Layout, Tar
from slimagent.cli import options, writing
from slimagent.cli.console import Console
from slimagent.cli.ending import Ending, chosen_form, ending, junit, show
from slimagent.cli.gating import Gate, gating_options
from slimagent.cli.help import command
from slimagent.cli.layout import layout_options, require_place
from slimagent.cli.marks import by_test
from slimagent.cli.removing import content_options, require_list
from slimagent.cli.rules import rule_options
from slimagent.documents import encode_summary
from slimagent.errors import RefusedError, SlimagentError, UsageError
from slimagent.linux.files import make_directory, write
from slimagent.model.gate import Rule
from slimagent.model.image_config import ImageConfig
from slimagent.model.profile import Profile, Rules
from slimagent.model.removed import NAME
from slimagent.model.summary import Whole
from slimagent.report.reach import cut, unmatched, unwanted
from slimagent.report.smaller import gpu_notes
from slimagent.report.summary import failure, summarised
from slimagent.workflows.applying import Export, InPlace, Target
from slimagent.workflows.removals import Removals
from slimagent.workflows.run import CHANGED
from slimagent.workflows.run import run as slim_here
from slimagent.workflows.session import Session, in_container

_SUMMARY, _TAR = "summary.json", "rootfs.tar"
_DOCUMENTS = {
    "trace.json": documents.TRACE,
    "plan.json": documents.PLAN,
    "receipt.json": documents.RECEIPT,
    "verification.json": documents.VERIFICATION,
    _SUMMARY: documents.SUMMARY,
}
PROOFS = ("masked", "in-place", "none")
_UNSTARTED = (
    "how the image starts is unknown, so files that only ENTRYPOINT or CMD need may go: "
    "give --image-config or --keep-command"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The command line: each option by its name."""

    scopes: tuple[str, ...]
    profile: str | None
    level: str | None
    user: str | None
    rules: Rules
    gate: Gate
    backend: str
    also: tuple[str, ...]
    jobs: int | None
    by_test: bool
    mounted: tuple[str, ...]
    image: ImageConfig | None
    layout: Layout | None
    out: str
    proof: str
    no_export: bool
    force: bool
    removals: Removals
    strip: str
    accepted: tuple[str, ...]
    accepted_changes: tuple[str, ...]
    report: str | None
    quiet: bool
    form: str | None
    as_json: bool
    command: tuple[str, ...]

    @property
    def directory(self) -> bytes:
        """The output directory."""
        return os.fsencode(os.path.abspath(self.out))

    def session(self, profile: Profile) -> Session:
        return options.session(
            scopes=self.scopes,
            user=self.user,
            backend=self.backend,
            by_test=self.by_test,
            jobs=self.jobs,
            profile=profile,
            rules=self.rules,
            outputs=self._outputs(),
            image=self.image,
            mounted=self.mounted,
        )

    def _outputs(self) -> tuple[bytes, ...]:
        files = (os.fsencode(os.path.abspath(each)) for each in (self.gate.history, self.report) if each is not None)
        return (self.directory, *files, *(() if self.layout is None else (self.layout.path,)))

    def target(self) -> Target:
        if not self.no_export:
            destination = self.layout if self.layout is not None else Tar(os.path.join(self.directory, _TAR.encode()))
            accepted = options.accepted(self.accepted_changes)
            return Export(destination=destination, strip=self.strip, accepted=accepted)
        if self.proof != "in-place" or self.layout is not None:
            raise UsageError(
                "--no-export needs --verify in-place, and excludes --oci", "add --verify in-place, and leave out --oci"
            )
        return InPlace(journal=os.path.join(self.directory, b"plan.json.journal"), strip=self.strip)


@command(example="/agent/entrypoint.sh run --out /out -- pytest -q /app/tests")
@options.together(options.scope, options.profile, options.level, options.user, rule_options)
@options.together(options.backend, options.also, options.jobs, by_test, options.mounted)
@layout_options
@click.option(
    "--out", default="slimagent-out", show_default=True, metavar="DIR", help="Directory for all documents and the tar."
)
@click.option(
    "--verify",
    "proof",
    type=click.Choice(PROOFS),
    default="masked",
    show_default=True,
    help="How to prove it: make dropped files look gone, or remove them from this container.",
)
@click.option("--no-export", is_flag=True, help="With --verify in-place: make no export, e.g. in a stage of a build.")
@click.option("--force", is_flag=True, help="Go on even if this is not a container: its files will be exported.")
@options.together(content_options, options.strip, options.accept, options.accept_change)
@options.together(gating_options, junit, options.quiet, options.form, options.as_json, options.command)
def run(**given: Any) -> int:
    """Slim the container that this runs in: trace, plan, export and verify.

    Runs the checks of a profile and COMMAND. Leaves trace.json, plan.json, receipt.json, removed.jsonl.gz,
    verification.json, summary.json and rootfs.tar in --out; with --oci an image instead of the tar. If COMMAND changed
    or removed a file that stays, nothing is exported until you accept that: changed.txt lists such files, see
    --accept-change.
    """
    asked = _Asked(**given)
    form = chosen_form(asked.form, as_json=asked.as_json)
    with ending("run", form, report=asked.report) as end:
        if not asked.force:
            _require_container(asked.scopes)
        chosen = options.chosen_profile(asked.profile, bool(asked.command or asked.also), asked.user)
        steps = options.steps(chosen, asked.command, asked.also)
        session, target = asked.session(chosen), asked.target()
        require_place(asked.layout, asked.strip, quiet=asked.quiet)
        _prepare(asked.directory)
        removals = replace(asked.removals, path=os.path.join(asked.out, NAME), image=asked.image)
        console = Console(quiet=asked.quiet or form == options.JSON, names=[spec.name for spec in steps.checks])
        decision = options.chosen_level(asked.level, chosen), frozenset(asked.accepted)
        save = functools.partial(_save, asked.directory)
        if not asked.scopes and asked.image is None and not session.profile.rules.start:
            end.summary = replace(end.summary, notes=(_UNSTARTED,))
        with _reported(end, console, asked, form, chosen.gate) as whole:
            slim_here(session, steps, *decision, target, console, save, whole, proof=asked.proof, removals=removals)
        asked.gate.conclude(end.summary, whole.plan, asked.out, quiet=asked.quiet)
    return 0


def _require_container(scopes: tuple[str, ...]) -> None:
    is_whole = not scopes or any(os.path.realpath(each) == "/" for each in scopes)
    if is_whole and not in_container():
        raise RefusedError(
            "this is not a container: `run` on / would trace and export this machine",
            "slim an image with `slimagent image IMAGE -- TEST`, name a directory with --scope, or insist with --force",
        )


def _prepare(directory: bytes) -> None:
    """Create the output directory, and remove an earlier run's summary and list of changes.

    Raises RefusedError if a file with one of our names is not ours.
    """
    make_directory(directory)
    paths = {name: os.path.join(os.fsdecode(directory), name) for name in (*_DOCUMENTS, CHANGED, _TAR)}
    for name, schema in _DOCUMENTS.items():
        writing.require_writable(paths[name], writing.own_document(schema))
    has_run = any(os.path.lexists(paths[name]) for name in _DOCUMENTS)
    require_list(os.path.join(os.fsdecode(directory), NAME))
    for path in (paths[CHANGED], paths[_TAR]):  # nothing in them says who wrote them
        if os.path.lexists(path) and not has_run:
            raise RefusedError(
                f"{path} exists, and no document of a run lies beside it",
                "choose another directory with --out, or move it away",
            )
    for name in (_SUMMARY, CHANGED):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths[name])


def _save(directory: bytes, name: str, data: bytes) -> None:
    write(os.path.join(directory, os.fsencode(name)), data)


@contextlib.contextmanager
def _reported(end: Ending, console: Console, asked: _Asked, form: str, profile: tuple[Rule, ...]) -> Iterator[Whole]:
    """Run a block that makes documents, then write their summary, also if it fails. Show it if verified."""
    end.whole = whole = Whole()
    try:
        yield whole
    except SlimagentError as error:
        with contextlib.suppress(SlimagentError):  # the disk is full: report the first error
            _summarise(end, whole, console, asked, error, ())
        if form == options.TABLE and whole.verification is not None and not asked.quiet:
            show(end.summary, asked.out)
        raise
    _summarise(end, whole, console, asked, None, profile)
    if form == options.TABLE and not asked.quiet:
        show(end.summary, asked.out)


def _summarise(
    end: Ending,
    whole: Whole,
    console: Console,
    asked: _Asked,
    error: SlimagentError | None,
    profile: tuple[Rule, ...],
) -> None:
    missed: tuple[str, ...] = ()
    if whole.plan is not None and whole.trace is not None:
        missed = (*unmatched(whole.plan, asked.rules), *unwanted(whole.plan, whole.trace), *cut(whole.trace))
    made = summarised(end.summary, whole)
    end.summary = replace(
        made,
        notes=(*end.summary.notes, *missed, *gpu_notes(made)),
        failure=None if error is None else failure(error),
        phases=console.phases,
        seconds=console.seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    if error is None:
        end.summary = asked.gate.judged(end.summary, whole.plan, profile, asked.out)
    _save(asked.directory, _SUMMARY, encode_summary(end.summary))


COMMANDS = (run,)
