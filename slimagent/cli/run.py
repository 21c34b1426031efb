"""`slimagent run`: trace, plan, apply to an export, verify."""

from __future__ import annotations

import os
import resource

import click
import orjson

from slimagent import pipeline
from slimagent.cli import options
from slimagent.cli.console import Console
from slimagent.cli.wishes import wishes
from slimagent.errors import RefusedError
from slimagent.files import make_folder, write
from slimagent.report.text import (
    before_and_after,
    dropped_by_kind,
    exported,
    size,
    table,
    verification_summary,
)
from slimagent.rules import Rules
from slimagent.session import in_container

PROOFS = ("masked", "in-place", "none")


@click.command()
@options.together(options.scope, options.profile, options.level, options.user, wishes, options.backend)
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
@click.option("--force", is_flag=True, help="With --verify in-place: also on / outside a container.")
@options.together(options.accept, options.quiet, options.as_json, options.command)
def run(
    scopes: tuple[str, ...],
    profile: str | None,
    level: str | None,
    user: str | None,
    wished: Rules,
    backend: str,
    out: str,
    proof: str,
    force: bool,
    accepted: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Trace a profile's checks and COMMAND, plan, export the slim root file system, and verify it.

    Leaves trace.json, plan.json, receipt.json, verification.json and rootfs.tar in --out, and in-place.json, the
    receipt of a removal in place.
    """
    chosen = options.chosen_profile(profile, command, user)
    steps = options.steps(chosen, command)
    folder = os.fsencode(os.path.abspath(out))
    session = options.session(
        scopes=scopes, user=user, backend=backend, profile=chosen, wished=wished, outputs=(folder,)
    )
    if proof == "in-place" and session.scopes == (b"/",) and not force and not in_container():
        raise RefusedError(
            "--verify in-place on / outside a container would remove files of this machine",
            "run it in a container of the image, name a folder with --scope, or insist with --force",
        )
    make_folder(folder)
    options.require_writable(os.path.join(out, "trace.json"))
    console = Console(quiet=quiet or as_json, names=[spec.name for spec in steps.checks])
    whole = pipeline.run(
        session,
        steps,
        options.chosen_level(level, chosen),
        frozenset(accepted),
        pipeline.Target(tar=os.path.join(folder, b"rootfs.tar")),
        console,
        lambda name, data: write(os.path.join(folder, os.fsencode(name)), data),
        proof=proof,
    )
    _show(whole, console, as_json=as_json, quiet=quiet)
    return 0 if whole.verification is None or whole.verification.passed else 1


def _show(whole: pipeline.Whole, console: Console, *, as_json: bool, quiet: bool) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if as_json:
        click.echo(orjson.dumps(_summary(whole, console, peak), option=orjson.OPT_INDENT_2).decode())
    elif not quiet:
        phases = [[name, f"{seconds:.1f} s"] for name, seconds in console.seconds.items()]
        parts = [
            before_and_after(whole.receipt) if whole.receipt is not None else [],
            dropped_by_kind(whole.plan) if whole.plan is not None else [],
            exported(whole.receipt) if whole.receipt is not None else [],
            verification_summary(whole.verification) if whole.verification is not None else ["not verified"],
            table([*phases, ["peak memory", size(peak)]], right=(1,)),
        ]
        click.echo("\n\n".join("\n".join(part) for part in parts if part))


def _summary(whole: pipeline.Whole, console: Console, peak: int) -> dict[str, object]:
    receipt, verification = whole.receipt, whole.verification
    return {
        "bytes_before": receipt.bytes_kept + receipt.bytes_dropped if receipt else None,
        "bytes_after": receipt.bytes_kept if receipt else None,
        "tar": {"sha256": receipt.sha256, "bytes": receipt.written} if receipt else None,
        "verified": verification.how if verification else None,
        "passed": verification.passed if verification else None,
        "worse": [each.name for each in verification.comparisons if each.worse] if verification else [],
        "missed": len(verification.missed) if verification else None,
        "seconds": {name: round(seconds, 3) for name, seconds in console.seconds.items()},
        "peak_bytes": peak,
    }


COMMANDS = (run,)
