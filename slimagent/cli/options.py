"""Options that several commands share, and the Session that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from slimagent import checks
from slimagent.cli.own_agent import require_own_agent
from slimagent.errors import SlimagentError, UsageError
from slimagent.linux.files import read
from slimagent.model.hosted import STEP as HOST_STEP
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.profile import LEVELS, SECONDS, VARIANTS, CheckSpec, Profile, Rules
from slimagent.model.started import STEPS as START_STEPS
from slimagent.model.trace import FAILED_STEP, LossKind, Trace
from slimagent.paths.algebra import from_text, pattern, within
from slimagent.paths.patterns import PathRules
from slimagent.profiles import shipped as profiles
from slimagent.profiles.rules import known_cruft, merge, starts, unknown_cruft, with_gpus
from slimagent.text.near import meant, nearest
from slimagent.trace.select import NAMES
from slimagent.workflows.session import (
    Session,
    canonical,
    environment,
    own_files,
    own_list,
    seen_from,
    user_named,
    with_mount_points,
)
from slimagent.workflows.steps import ATTACHED_STEP, COMMAND_STEP, Evidence, Steps, require_names

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

root = click.option("--root", default="/", show_default=True, metavar="DIR", help="Root directory of the image.")
scope = click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="DIR",
    help="Look only below this directory. Can be repeated. [default: everywhere]",
)
profile = click.option("--profile", metavar="NAME|FILE", help="Checks and rules to use; see `slimagent profiles`.")
user = click.option("--user", metavar="NAME", help="Run the checks and COMMAND as this user. Needs root.")
backend = click.option(
    "--backend", type=click.Choice(NAMES), default="auto", show_default=True, help="How to watch the processes."
)
jobs = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run up to N checks, or items of a check, side by side. [default: 2; 1 on one core]",
)


def _known_losses(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    known = (*LossKind, FAILED_STEP)
    for name in names:
        if name not in known:
            raise UsageError(f"--accept-loss {name}: no such kind of loss", meant(name, known))
    return names


class _Level(click.Choice[str]):
    """A level, or the name of a variant for one. A hint for another word names what --help names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        hint = nearest(value, LEVELS) or nearest(value, VARIANTS) or f"levels are {', '.join(LEVELS)}"
        raise click.BadParameter(f"{value!r} is not a level; {hint}", ctx, param)


level = click.option(
    "--level",
    type=_Level((*LEVELS, *VARIANTS)),
    metavar="|".join(LEVELS),
    help="How much may go: unread files too, whole packages, or only cruft; see docs/levels.md. "
    "[default: the profile's, else package]",
)
accept = click.option(
    "--accept-loss",
    "accepted",
    multiple=True,
    callback=_known_losses,
    metavar="KIND",
    help="Plan although the trace has losses of this kind. Can be repeated.",
)
image_config = click.option(
    "--image-config",
    metavar="FILE",
    help="Configuration of the image, as `docker image inspect IMAGE` prints it.",
)
mounted = click.option(
    "--mounted",
    multiple=True,
    metavar="PATH",
    help="PATH is a mount of yours and not the image's volume. Everything that the image has there stays.",
)
accept_change = click.option(
    "--accept-change",
    "accepted_changes",
    multiple=True,
    metavar="PATTERN",
    help="Export these paths as the test left them, changed or removed, e.g. /srv/db/**. Can be repeated.",
)
also = click.option("--also", multiple=True, metavar="COMMAND", help="Run COMMAND as one more check. Can be repeated.")
strip = click.option(
    "--strip",
    default="auto",
    show_default=True,
    metavar="auto|none|PROGRAM",
    help="Strip with the agent's own strip or else the image's (auto), not at all, or with this program.",
)
agent = click.option(
    "--agent", metavar="DIR", help="Use this agent, made by `slimagent bundle`. [default: one is made once, and cached]"
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace FILE even if slimagent did not write it.")
quiet = click.option("--quiet", is_flag=True, help="Show no progress, only errors and notes.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
TABLE, MARKDOWN, JSON = FORMS = ("table", "markdown", "json")
form = click.option(
    "--format", "form", type=click.Choice(FORMS), help="How to print the result. [default: table; json with --json]"
)
command = click.argument("command", nargs=-1, type=click.UNPROCESSED)


NO_EVIDENCE = Evidence()
_JOBS = 2


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator, shown in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def session(
    *,
    root: str = "/",
    scopes: tuple[str, ...] = (),
    user: str | None = None,
    backend: str = "auto",
    attach: bool = False,
    by_test: bool = False,
    jobs: int | None = None,
    profile: Profile | None = None,
    rules: Rules | None = None,
    outputs: tuple[bytes, ...] = (),
    image: ImageConfig | None = None,
    mounted: tuple[str, ...] = (),
) -> Session:
    """Make a Session from the command line. `outputs` are ours: never part of the image.

    Without a user, takes the profile's. What `image` starts stays. Its volumes are part of it, unless `mounted` says
    that something else is mounted there. Raises RefusedError if the agent's directory holds files of the image.
    """
    base = canonical(root)
    if base == b"/":
        require_own_agent(outputs)
    chosen = profile if profile is not None else profiles.load("base")
    account = user_named(user or chosen.user or None)
    if image is not None:
        chosen = _with_rules(chosen, Rules(start=starts(image)))
    return Session(
        root=base,
        scopes=tuple(dict.fromkeys(_scope(base, each) for each in scopes)) or (b"/",),
        excluded=tuple(dict.fromkeys((*own_files(), *own_list(base), *_inside(base, with_mount_points(outputs))))),
        user=account,
        env=environment(account),
        cwd=os.getcwd(),
        backend=backend,
        attach=attach,
        by_test=by_test,
        jobs=jobs or min(_JOBS, len(os.sched_getaffinity(0))),
        profile=chosen if rules is None else _with_rules(chosen, rules),
        volumes=() if image is None else tuple(seen_from(base, os.fsencode(each)) for each in image.volumes),
        mounted=tuple(seen_from(base, os.fsencode(each)) for each in mounted),
    )


def _with_rules(profile: Profile, rules: Rules) -> Profile:
    """The profile with the command line's rules. Raises UsageError for those that mean nothing with this profile."""
    for name in unknown_cruft(profile.rules, rules.kept_cruft):
        raise UsageError(f"--keep-cruft {name}: no such rule", known_cruft(profile.rules, name))
    return replace(profile, rules=with_gpus(rules, merge(profile.rules, rules)))


def require_sensible(name: str | None, rules: Rules) -> None:
    """Say at once that an option means nothing with a profile (None: with no special one). Raises UsageError."""
    _with_rules(profiles.load("base" if name in (None, profiles.AUTO) else str(name)), rules)


def path_pattern(option: str, text: str) -> str:
    """Check the value of an option that takes a pattern. Raises UsageError if it is not one of absolute paths."""
    try:
        from_text(text)
        pattern(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}", "patterns are paths with *, ** and ?") from None
    if not text.startswith("/"):
        raise UsageError(f"{option} {text}: not an absolute path", "patterns start with /, e.g. /opt/x/**")
    return text


def accepted(patterns: tuple[str, ...]) -> Callable[[bytes], int | None]:
    """A test for paths that --accept-change names. Raises UsageError if a pattern is not one of absolute paths."""
    return PathRules([path_pattern("--accept-change", text) for text in patterns]).first


def read_image(path: str | None) -> ImageConfig | None:
    """The configuration in a file; None for no file. Raises DocumentError."""
    return None if path is None else read_image_config(read(path), path)


def steps(
    profile: Profile,
    command: tuple[str, ...],
    also: tuple[str, ...] = (),
    *,
    until_signal: bool = False,
    evidence: Evidence = NO_EVIDENCE,
) -> Steps:
    """The steps that exercise the image: a profile's checks, more command lines, a command, then other processes.

    Raises UsageError if there is none or not one that is expected, and for a check that cannot be run.
    """
    specs = (*profile.checks, *(_also(line) for line in dict.fromkeys(also)))
    earlier = evidence.start is not None or evidence.hosted is not None
    if not specs and not command and not until_signal and not earlier:
        raise UsageError(
            "nothing to run: no command, and the profile has no checks", "add `-- COMMAND`, or --profile auto"
        )
    ours = {
        *((COMMAND_STEP,) if command else ()),
        *((ATTACHED_STEP,) if until_signal else ()),
        *(() if evidence.start is None else START_STEPS),
        *(() if evidence.hosted is None else (HOST_STEP,)),
    }
    require_names(evidence.expected, ours.union(spec.name for spec in specs))
    for spec in specs:
        checks.validate(spec)
        if spec.name in ours:
            raise UsageError(
                f"profile {profile.name}: {spec.name!r} is the name of one of slimagent's own steps", "rename the check"
            )
    return Steps(
        checks=specs,
        command=command,
        until_signal=until_signal,
        logs=evidence.logs,
        start=evidence.start,
        hosted=evidence.hosted,
    )


def _also(line: str) -> CheckSpec:
    """A command line as a check, run by a shell, with the default time limit of a check."""
    return CheckSpec(kind="command", name=line, seconds=SECONDS, parameters={"shell": line})


def chosen_profile(name: str | None, exercised: bool, user: str | None) -> Profile:
    """The named profile. Without a name, `base` if something else exercises the image, or else `auto`."""
    if name is None:
        name = "base" if exercised else "auto"
    if name == "auto":
        return profiles.detect(environment(user_named(user)))
    return profiles.load(name)


def profile_of(evidence: Trace) -> Profile:
    """The profile of a trace, which gives the plan its rules. Raises UsageError if it is not found here."""
    try:
        return profiles.together(evidence.profiles)
    except SlimagentError as error:
        raise UsageError(
            f"the trace was made with profile {', '.join(evidence.profiles)}: {error.message}",
            "name that profile or another one with --profile",
        ) from None


def chosen_level(said: str | None, profile: Profile) -> str:
    """The requested level, or else the profile's, or else `package`."""
    if said is not None:
        return VARIANTS.get(said, said)
    return profile.level or "package"


def _scope(base: bytes, directory: str) -> bytes:
    if base == b"/":
        return canonical(directory)
    whole = canonical(os.path.join(os.fsdecode(base), directory.lstrip("/")))
    if not within(whole, base):
        raise UsageError(
            f"--scope {directory} leads out of the image's root", "name a directory of the image, without links"
        )
    return whole[len(base) :] or b"/"


def _inside(base: bytes, outputs: tuple[bytes, ...]) -> list[bytes]:
    """The outputs that lie in the image at `base`, as its paths."""
    found = []
    for output in outputs:
        path = os.path.realpath(output)
        if base == b"/":
            found.append(path)
        elif path.startswith(base + b"/"):
            found.append(path[len(base) :])
    return found
