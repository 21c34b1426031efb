"""Measure whether repair brings back needed files that a plan lost, and in how many rounds.

    python benchmarks/repair.py lab:mini --seed 1 --files 50 --test /opt/lab/smoke --user jovyan

Everything runs as `slimagent image` always runs, but two things. After tracing, files are chosen at random among those
that the trace saw in use and that no rule calls cruft. Their accesses are taken out of the trace, and a rule of the
profile calls them cruft, so that no level keeps them for what they are. What the plan keeps even so, e.g. a library
that a program needs, is not chosen: the first slim image really lacks all of them. Then it is for the repair to find
each of them, and to make an image that passes.

Prints a line for each round, then how many of the files were named, and which were not. The exit status is 0 if the
image was made, all files were named, and at most `--rounds` rounds were needed; else 1. It is 2 if no such files were
found. The image and the directory of the run are removed; `--out` keeps the directory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slimagent import documents
from slimagent.cli.main import main as command_line
from slimagent.image.request import CONFIG, PLAN, TRACE
from slimagent.image.shared import Shared
from slimagent.model.plan import Plan
from slimagent.model.reason import ReasonKind
from slimagent.model.trace import Trace
from slimagent.paths.algebra import from_text, to_text
from slimagent.verify.compare import dropped_paths
from slimagent.workflows import slim_image
from slimagent.workflows.image_stages import Stages

_USED = (ReasonKind.EXECUTED, ReasonKind.OPENED, ReasonKind.LOOKED_UP)
_TRIES = 30  # plans
_NAME = "lost.toml"
_PROFILE = f"profile/{_NAME}"  # where the containers see it (cli/passing.py)
_PLAIN = re.compile(rb"[\w./+-]+", re.ASCII)  # a pattern that matches itself alone


@dataclass(frozen=True)
class Asked:
    """What to do: see the options."""

    image: str
    seed: int
    files: int
    rounds: int
    level: str
    user: str
    test: str
    agent: Path


class NoneFoundError(Exception):
    """There are not enough files that a plan drops."""


def without(trace: Trace, paths: frozenset[bytes]) -> Trace:
    """The trace of a run that did not use these paths."""
    return documents.identified(
        replace(
            trace,
            accesses=tuple(each for each in trace.accesses if each.path not in paths),
            attributed=tuple(each for each in trace.attributed if each.path not in paths),
        )
    )


class Planner:
    """Plans from traces in containers of the image, as the export does."""

    def __init__(self, asked: Asked, described: bytes, folder: Path) -> None:
        self._asked, self._folder, self.plans = asked, folder, 0
        (folder / CONFIG).write_bytes(described)

    def plan(self, trace: Trace, lost: frozenset[bytes]) -> Plan:
        """The plan from a trace, with a profile that calls these files cruft."""
        self.plans += 1
        (self._folder / _NAME).write_bytes(profile(lost))
        (self._folder / TRACE).write_bytes(documents.encode_trace(trace))
        mounts = ("-v", f"{self._asked.agent}:/.slimagent:ro", "-v", f"{self._folder}:/.slimagent-out")
        start = ("docker", "run", "--rm", "--network=none", "--user", "0", *mounts)
        agent = ("--entrypoint", "/.slimagent/entrypoint.sh", self._asked.image)
        words = ("plan", f"/.slimagent-out/{TRACE}", "-o", f"/.slimagent-out/{PLAN}", "--level", self._asked.level)
        own = ("--profile", f"/.slimagent-out/{_NAME}", "--image-config", f"/.slimagent-out/{CONFIG}")
        ended = subprocess.run([*start, *agent, *words, *own], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise NoneFoundError(f"cannot plan: {ended.stderr[-2000:]}")
        return documents.decode_plan((self._folder / PLAN).read_bytes())


def used_files(plan: Plan) -> list[bytes]:
    """The files with content that stay because the trace saw them in use, and whose names a rule can have."""
    used = [reason.kind in _USED for reason in plan.reasons]
    return [entry.path for entry in plan.entries if used[entry.reason] and entry.size and _PLAIN.fullmatch(entry.path)]


def cruft(plan: Plan) -> frozenset[bytes]:
    """What a plan drops because a rule calls it cruft."""
    is_cruft = [reason.kind is ReasonKind.CRUFT for reason in plan.reasons]
    return frozenset(entry.path for entry in plan.entries if is_cruft[entry.reason])


def profile(lost: frozenset[bytes]) -> bytes:
    """A profile that calls these files cruft."""
    patterns = ", ".join(json.dumps(to_text(path)) for path in sorted(lost))
    rule = f'[[cruft]]\nname = "lost"\npaths = [{patterns}]\nwhy = "a benchmark lost it"\nrisk = "it is needed"\n'
    return f'description = "files that a benchmark lost"\n{rule if lost else ""}'.encode()


def chosen(planner: Planner, trace: Trace, asked: Asked) -> frozenset[bytes]:
    """So many used files that a plan drops all of them if the trace does not have them. Raises NoneFoundError."""
    chance = random.Random(asked.seed)  # noqa: S311 (not for secrets)
    candidates = used_files(planner.plan(trace, frozenset()))
    candidates = sorted({*candidates} - cruft(planner.plan(without(trace, frozenset(candidates)), frozenset())))
    chance.shuffle(candidates)
    pending, found = list(candidates), frozenset[bytes]()
    while planner.plans < _TRIES:
        more = pending[: asked.files - len(found)]
        pending = pending[len(more) :]
        tried = found | frozenset(more)
        found = tried & dropped_paths(planner.plan(without(trace, tried), tried))
        if len(found) == asked.files == len(tried):
            return found
        if not pending and found == tried:
            break
    raise NoneFoundError(f"only {len(found)} of {len(candidates)} used files were found that a plan drops")


class Robbed(Stages):
    """The stages of an image whose trace lost some files."""

    asked: Asked
    lost: frozenset[bytes] = frozenset()
    _exporting: Shared

    def share(self, name: str, *made: str) -> Shared:
        shared = super().share(name, *made)
        if name == "export":
            self._exporting = shared
        return shared

    def traced(self) -> Trace:
        """The trace, less the accesses to files chosen at random, which the plan calls cruft from then on."""
        whole = super().traced()
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            planner = Planner(self.asked, self.files[CONFIG], Path(folder))
            type(self).lost = lost = chosen(planner, whole, self.asked)
            print(f"{len(lost)} files chosen with {planner.plans} plans, {time.monotonic() - began:.0f} s", flush=True)
        self.files[_PROFILE] = profile(lost)
        self._exporting.give(_PROFILE, self.files[_PROFILE])
        self.whole.trace = robbed = without(whole, lost)
        self.made[TRACE] = documents.encode_trace(robbed)
        self.output.write(TRACE, self.made[TRACE])
        return robbed


def slimmed(asked: Asked, out: Path, tag: str) -> int:
    """Run `slimagent image`, and return its exit status."""
    Robbed.asked = asked
    slim_image.Stages = Robbed  # type: ignore[misc]
    user = ["--user", asked.user] if asked.user else []
    own = out.parent / _NAME
    out.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(profile(frozenset()))
    options = ["--level", asked.level, "--agent", str(asked.agent), "--out", str(out), "--profile", str(own), *user]
    sys.argv = ["slimagent", "image", asked.image, "-t", tag, *options, "--", *asked.test.split()]
    try:
        command_line()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def summarised(directory: Path, tag: str) -> dict[str, Any] | None:
    """The summary of the run that was to make this tag, None if it left none, e.g. because it was interrupted."""
    try:
        found: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    except FileNotFoundError:
        return None
    return found if found["tag"] == tag else None


def ending(directory: Path) -> str:
    """How a run without a summary ended, in the words of its record, e.g. `failed, interrupted`."""
    try:
        record = json.loads((directory / "run.json").read_text())
    except FileNotFoundError:
        return f"the run did not begin: {directory} has no run.json"
    return f"{record['state']}, {record.get('reason') or 'no reason noted'}"


def named(summary: dict[str, Any]) -> frozenset[bytes]:
    """The files that some round of repair names."""
    return frozenset(
        from_text(each["path"]) for repair in summary["repairs"] for each in (*repair["missed"], *repair["used"])
    )


def told(summary: dict[str, Any], lost: frozenset[bytes], asked: Asked, seconds: float, status: int) -> Iterator[str]:
    """What came of it, line by line."""
    for each in summary["repairs"]:
        counts = f"{len(each['missed'])} missed, {len(each['used'])} used in the full image, {each['files']} files back"
        yield f"round {each['number']}: {counts} ({(each['bytes'] or 0) / 1e6:.1f} MB); {', '.join(each['steps'])}"
    if summary["error"] is not None:
        yield f"not made: {summary['error']['message']}"
    unnamed = sorted(lost - named(summary))
    yield from (f"not named: {to_text(path)}" for path in unnamed)
    count = f"{len(lost) - len(unnamed)} of {len(lost)} named, {len(summary['repairs'])} rounds"
    yield f"{asked.image} seed {asked.seed}: {count}, {seconds:.0f} s, status {status}"


def parsed(words: Sequence[str] | None = None) -> tuple[Asked, str]:
    """The options, and the directory to keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--level", default="file")
    parser.add_argument("--user", default="")
    parser.add_argument("--test", required=True)
    parser.add_argument("--agent", type=Path, default=Path(__file__).resolve().parents[1] / "build" / "bundle")
    parser.add_argument("--out", default="")
    given = vars(parser.parse_args(words))
    out = given.pop("out")
    return Asked(**given), out


def main() -> int:
    """Measure once. The exit status is described above."""
    asked, out = parsed()
    tag = f"slimagent-benchmark-repair:{secrets.token_hex(4)}"
    with contextlib.ExitStack() as rest:
        directory = Path(out or rest.enter_context(tempfile.TemporaryDirectory())) / "out"
        began = time.monotonic()
        try:
            status = slimmed(asked, directory, tag)
        except NoneFoundError as error:
            print(error)
            return 2
        finally:
            with contextlib.suppress(FileNotFoundError):  # slimagent has said that there is no Docker
                subprocess.run(["docker", "rmi", "-f", tag], capture_output=True, check=False)
        summary = summarised(directory, tag)
        if summary is None:
            print(f"no image and no summary: {ending(directory)}, status {status}")
            return 1
        for line in told(summary, Robbed.lost, asked, time.monotonic() - began, status):
            print(line)
        good = not status and bool(Robbed.lost) and Robbed.lost <= named(summary)
        return 0 if good and len(summary["repairs"]) <= asked.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
