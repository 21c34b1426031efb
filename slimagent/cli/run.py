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

from slimagent.apply import Layout, Tar
from slimagent.cli import options, terminal
from slimagent.cli.console import Console
from slimagent.cli.ending import Ending, ending
from slimagent.cli.layout import layout_options, require_place
from slimagent.cli.rules import rule_options
from slimagent.documents import TRACE, encode_summary
from slimagent.errors import RefusedError, SlimagentError, UsageError
from slimagent.linux.files import make_folder, write
from slimagent.model.image_config import ImageConfig
from slimagent.model.profile import Profile, Rules
from slimagent.model.summary import Summary, Whole
from slimagent.report.summary import failure, summarised
from slimagent.report.text import (
    before_and_after,
    caution,
    dropped_by_kind,
    exported,
    size,
    stripped_files,
    table,
    verification_summary,
)
from slimagent.workflows.applying import Export, InPlace, Target
from slimagent.workflows.run import CHANGED
from slimagent.workflows.run import run as slim_here
from slimagent.workflows.session import Session, in_container

_SUMMARY = "summary.json"
PROOFS = ("masked", "in-place", "none")
_UNSTARTED = (
    "how the image starts is not known here: what ENTRYPOINT and CMD need stays only if the test used it; "
    "give --image-config or --start"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the command line says: each option by its name."""

    scopes: tuple[str, ...]
    profile: str | None
    level: str | None
    user: str | None
    rules: Rules
    backend: str
    also: tuple[str, ...]
    mounted: tuple[str, ...]
    image: ImageConfig | None
    layout: Layout | None
    out: str
    proof: str
    no_export: bool
    force: bool
    strip: str
    accepted: tuple[str, ...]
    accepted_changes: tuple[str, ...]
    quiet: bool
    as_json: bool
    command: tuple[str, ...]

    @property
    def folder(self) -> bytes:
        """The output directory."""
        return os.fsencode(os.path.abspath(self.out))

    def session(self, profile: Profile) -> Session:
        return options.session(
            scopes=self.scopes,
            user=self.user,
            backend=self.backend,
            profile=profile,
            rules=self.rules,
            outputs=(self.folder,) if self.layout is None else (self.folder, self.layout.path),
            image=self.image,
            mounted=self.mounted,
        )

    def target(self) -> Target:
        if not self.no_export:
            destination = self.layout if self.layout is not None else Tar(os.path.join(self.folder, b"rootfs.tar"))
            accepted = options.accepted(self.accepted_changes)
            return Export(destination=destination, strip=self.strip, accepted=accepted)
        if self.proof != "in-place" or self.layout is not None:
            raise UsageError(
                "--no-export goes with --verify in-place, and not with --oci", "see `slimagent run --help`"
            )
        return InPlace(journal=os.path.join(self.folder, b"plan.json.journal"), strip=self.strip)


@click.command()
@options.together(options.scope, options.profile, options.level, options.user, rule_options)
@options.together(options.backend, options.also, options.mounted)
@layout_options
@click.option(
    "--out", default="slimagent-out", show_default=True, metavar="DIR", help="Where every document and the tar go."
)
@click.option(
    "--verify",
    "proof",
    type=click.Choice(PROOFS),
    default="masked",
    show_default=True,
    help="How to prove it: make dropped files look gone, or remove them from this very image.",
)
@click.option("--no-export", is_flag=True, help="With --verify in-place: make no export (in a stage of a build).")
@click.option("--force", is_flag=True, help="Also on / outside a container: this machine is meant.")
@options.together(options.strip, options.accept, options.accept_change, options.quiet, options.as_json, options.command)
def run(**given: Any) -> int:
    """Trace a profile's checks and COMMAND, plan, export the slim root file system, and verify it.

    A file that stays and that the test changed or removed is not exported: see --accept-change, and changed.txt.

    Leaves trace.json, plan.json, receipt.json, verification.json, rootfs.tar and summary.json (what --json prints)
    in --out, and in-place.json, the receipt of a removal in place. With --oci there is an image and no rootfs.tar.
    """
    asked = _Asked(**given)
    with ending("run", as_json=asked.as_json) as end:
        if not asked.force:
            _require_container(asked.scopes)
        chosen = options.chosen_profile(asked.profile, bool(asked.command or asked.also), asked.user)
        steps = options.steps(chosen, asked.command, asked.also)
        session, target = asked.session(chosen), asked.target()
        _prepare(asked.folder)
        require_place(asked.layout, quiet=asked.quiet)
        console = Console(quiet=asked.quiet or asked.as_json, names=[spec.name for spec in steps.checks])
        decision = options.chosen_level(asked.level, chosen), frozenset(asked.accepted)
        save = functools.partial(_save, asked.folder)
        if not asked.scopes and asked.image is None and not session.profile.rules.start:
            end.summary = replace(end.summary, notes=(_UNSTARTED,))
        with _reported(end, console, asked.folder, shown=not (asked.as_json or asked.quiet)) as whole:
            slim_here(session, steps, *decision, target, console, save, whole, proof=asked.proof)
    return 0


def _require_container(scopes: tuple[str, ...]) -> None:
    is_whole = not scopes or any(os.path.realpath(each) == "/" for each in scopes)
    if is_whole and not in_container():
        raise RefusedError(
            "this is not a container: `run` on / would trace and export this machine",
            "slim an image with `slimagent image IMAGE -- TEST`, name a directory with --scope, or insist with --force",
        )


def _prepare(folder: bytes) -> None:
    """Make the output directory, and take away what an earlier run said of itself."""
    make_folder(folder)
    options.require_writable(os.path.join(os.fsdecode(folder), "trace.json"), options.own_document(TRACE))
    for name in (_SUMMARY, CHANGED):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name.encode()))


def _save(folder: bytes, name: str, data: bytes) -> None:
    write(os.path.join(folder, os.fsencode(name)), data)


@contextlib.contextmanager
def _reported(end: Ending, console: Console, folder: bytes, *, shown: bool) -> Iterator[Whole]:
    """Run a block that makes documents, then write what they come to, also if it fails; show it if it was verified."""
    whole = Whole()
    try:
        yield whole
    except SlimagentError as error:
        with contextlib.suppress(SlimagentError):  # the disk is full: what is said is the first error
            _summarise(end, whole, console, folder, error)
        if shown and whole.verification is not None:
            _show(whole, end.summary)
        raise
    _summarise(end, whole, console, folder, None)
    if shown:
        _show(whole, end.summary)


def _summarise(end: Ending, whole: Whole, console: Console, folder: bytes, error: SlimagentError | None) -> None:
    end.summary = replace(
        summarised(end.summary, whole),
        failure=None if error is None else failure(error),
        seconds=console.seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    _save(folder, _SUMMARY, encode_summary(end.summary))


def _show(whole: Whole, summary: Summary) -> None:
    phases = [[name, f"{seconds:.1f} s"] for name, seconds in summary.seconds.items()]
    parts = [
        before_and_after(whole.receipt) if whole.receipt is not None else [],
        [*dropped_by_kind(whole.plan), *caution(whole.plan)] if whole.plan is not None else [],
        exported(whole.receipt) if whole.receipt is not None else [],
        stripped_files(whole.receipt, whole.plan) if whole.receipt is not None and whole.plan is not None else [],
        verification_summary(whole.verification) if whole.verification is not None else ["not verified"],
        table([*phases, ["peak memory", size(summary.peak_bytes or 0)]], right=(1,)),
    ]
    parts.append([f"note: {note}" for note in summary.notes])
    terminal.lines(line for at, part in enumerate(filter(None, parts)) for line in (*([""] if at else []), *part))


COMMANDS = (run,)
