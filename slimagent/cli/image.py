"""`slimagent image`: image in, slim image out, from outside."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import click

from slimagent.cli import options, terminal
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.containers import container_options
from slimagent.cli.ending import Ending, chosen_form, ending, junit, show
from slimagent.cli.gating import Gate, gating_options
from slimagent.cli.help import command
from slimagent.cli.hosts import host_options
from slimagent.cli.marks import by_test
from slimagent.cli.passing import carried_profile, passed_on
from slimagent.cli.planning import hold_out
from slimagent.cli.removing import CONTENT_NAMES, content_options
from slimagent.cli.rules import NAMES as RULE_OPTIONS
from slimagent.cli.rules import rule_options
from slimagent.cli.starting import start_options
from slimagent.documents import encode_summary
from slimagent.errors import SlimagentError
from slimagent.image.container import Container
from slimagent.image.engine import Engine, find
from slimagent.image.labels import identity
from slimagent.image.output import Output
from slimagent.image.request import CONFIG, FromHost, Request
from slimagent.image.starts import Waiting
from slimagent.linux.files import read
from slimagent.model.gate import Rule
from slimagent.model.hosted import KIND as HOST_KIND
from slimagent.model.profile import Rules
from slimagent.model.started import KIND
from slimagent.profiles import shipped as profiles
from slimagent.report.beyond import held_out
from slimagent.report.pull_request import pull_request
from slimagent.report.reach import Configured, cut, unmatched, unwanted, warnings
from slimagent.report.smaller import gpu_notes
from slimagent.report.summary import failure, summarised
from slimagent.workflows.removals import Removals
from slimagent.workflows.slim_image import Slimmed, slim

_STEPS = {"also", "jobs", "by_test"}
_DECISION = {"level", "accepted", *RULE_OPTIONS, *CONTENT_NAMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The command line: each option by its name. Options that are only passed on to the agent were checked, too."""

    container: Container
    tag: str
    overwrite: bool
    profile: str | None
    level: str | None
    rules: Rules
    gate: Gate
    removals: Removals
    strip: str
    accepted: tuple[str, ...]
    user: str | None
    also: tuple[str, ...]
    jobs: int | None
    by_test: bool
    waiting: Waiting | None
    from_host: FromHost | None
    engine: str | None
    no_privileges: bool
    agent: str | None
    out: str
    held_out: tuple[str, ...]
    repair: bool
    search_runs: int
    search_minutes: int
    keep_failed: bool
    report: str | None
    quiet: bool
    form: str | None
    as_json: bool
    command: tuple[str, ...]

    def request(self) -> Request:
        files, steps = carried_profile(self.profile)
        return Request(
            tag=self.tag,
            out=self.out,
            container=self.container,
            user=self.user or "",
            steps=(*steps, *passed_on(_STEPS)),
            command=() if self.from_host is not None else self.command,
            from_host=None if self.from_host is None else replace(self.from_host, command=self.command),
            decision=passed_on(_DECISION),
            strip=self.strip,
            accepted=frozenset(self.accepted),
            files=files,
            held_out=tuple(dict.fromkeys(self.held_out)),
            repair=self.repair,
            search_runs=self.search_runs,
            search_minutes=self.search_minutes,
            start=self.waiting,
            may_add_privileges=not self.no_privileges,
            overwrite=self.overwrite,
            keep_failed=self.keep_failed,
        )


@command(example="slimagent image app:latest -t app:slim -- pytest -q /app/tests")
@click.argument("image", metavar="IMAGE")
@click.option("-t", "--tag", required=True, metavar="TAG", help="The name of the slim image.")
@click.option("--overwrite", is_flag=True, help="Replace TAG even if slimagent did not make that image.")
@options.together(options.profile, options.level, rule_options, options.strip, options.accept, content_options)
@click.option("--user", metavar="NAME", help="Run the checks and COMMAND as this user. [default: the image's user]")
@options.together(options.also, options.jobs, by_test, hold_out)
@host_options
@start_options
@container_options
@click.option("--no-privileges", is_flag=True, help="Never add SYS_PTRACE to a container that needs it.")
@options.agent
@click.option(
    "--out", default="slimagent-out", show_default=True, metavar="DIR", help="Directory for all documents and logs."
)
@click.option(
    "--repair/--no-repair", default=True, show_default=True, help="If files are missed, put them back and try again."
)
@click.option(
    "--search-runs",
    default=60,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="If a step fails and misses no file, run it up to N times to find out why; 0 does not look.",
)
@click.option(
    "--search-minutes",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="And look for at most so long.",
)
@click.option("--keep-failed", is_flag=True, help="If the proof fails, leave the slim image under a name of its own.")
@options.together(gating_options, junit, options.quiet, options.form, options.as_json, options.command)
def image(**given: Any) -> int:
    """Make a slim image TAG from IMAGE, and prove that it still works.

    Starts IMAGE, runs the checks of a profile and COMMAND, and watches which files they need. Leaves out the rest, and
    runs everything again on the slim image. It needs Docker or Podman, no other privilege, and no registry.
    """
    asked = _Asked(**given)
    form = chosen_form(asked.form, as_json=asked.as_json)
    with ending("image", form, image=asked.container.image, tag=asked.tag, report=asked.report) as end:
        options.require_sensible(asked.profile, asked.rules)
        request, console = asked.request(), Console(quiet=asked.quiet, is_alone=True)
        made = _slim(find(asked.engine), request, asked, console, end)
        if form == options.TABLE and not asked.quiet:
            show(end.summary, asked.out)
        image_id = identity(read(os.path.join(asked.out, CONFIG)))
        asked.gate.conclude(end.summary, made.whole.plan, asked.out, image_id, quiet=asked.quiet)
        verification = made.whole.verification
    return int(bool(asked.held_out) and verification is not None and not verification.passed)


def _slim(engine: Engine, request: Request, asked: _Asked, console: Console, end: Ending) -> Slimmed:
    """Make the image. Puts its summary into `end`, and into the output directory as Markdown and JSON."""
    blank, quiet, rules, done = end.summary, asked.quiet, asked.rules, list[Slimmed]()
    profile = _gate(asked.profile)

    def say(line: bytes) -> None:
        if not quiet:
            terminal.heard(line, err=True)

    def tell(line: str) -> None:
        terminal.line(line, err=True)

    def finish(output: Output, slimmed: Slimmed, error: SlimagentError | None) -> None:
        end.whole = slimmed.whole
        made = summarised(blank, slimmed.whole)
        end.summary = replace(
            made,
            tag=None if asked.held_out else asked.tag,
            failure=None if error is None else failure(error),
            repairs=tuple(slimmed.repairs),
            repaired=len(frozenset().union(*(each.needed for each in slimmed.repairs))),
            notes=(*_held_out(slimmed, request.held_out), *_notes(slimmed, rules), *gpu_notes(made)),
            phases=console.phases,
            seconds=console.seconds,
        )
        if error is None:
            end.summary = asked.gate.judged(end.summary, slimmed.whole.plan, profile, asked.out)
        done.append(slimmed)
        output.write("summary.md", "\n".join([*pull_request(end.summary), ""]).encode())
        output.write("summary.json", encode_summary(end.summary))
        if quiet and error is None:
            for note in end.summary.notes:
                tell(f"note: {note}")

    slim(engine, lambda: agent_bundle(asked.agent, console), request, console, say, tell, finish)
    return done[-1]


def _held_out(slimmed: Slimmed, steps: tuple[str, ...]) -> tuple[str, ...]:
    verification = slimmed.whole.verification
    return () if verification is None else held_out(verification, steps)


def _gate(profile: str | None) -> tuple[Rule, ...]:
    """The rules about the result in a profile. `auto` is made of shipped profiles, which have none."""
    return () if profile in (None, profiles.AUTO) else profiles.load(str(profile)).gate


def _notes(slimmed: Slimmed, rules: Rules) -> tuple[str, ...]:
    """Notes on what was not exercised; none for a run that made no plan."""
    config, trace, plan = slimmed.config, slimmed.whole.trace, slimmed.whole.plan
    if trace is None or plan is None:
        return ()
    configured = Configured(
        starts=bool(config.started), health_check=bool(config.health_command), ports=config.tcp_ports
    )
    starts = sum(step.kind == KIND for step in trace.steps)
    own = sum(each.found and any(step >= starts for step in each.steps) for each in trace.accesses)
    missed = (*unmatched(plan, rules), *unwanted(plan, trace), *cut(trace))
    # What the tests on the host connected to was not seen.
    asked = None if any(step.kind == HOST_KIND for step in trace.steps) else trace.asked_ports
    return (*missed, *warnings(plan, trace.steps, configured, asked, slimmed.outside, own))


COMMANDS = (image,)
