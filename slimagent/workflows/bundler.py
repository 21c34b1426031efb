"""Composition: make an agent for any Linux container of this machine's architecture, slimmed like an image.

Everything that slimagent may need is laid out as a bundle. Its own commands run there under the tracer, the planner
decides which files stay, and the slim bundle must pass the same commands before anyone gets it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import stat
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent import __version__
from slimagent.apply import Directory
from slimagent.bundle import finish, stage
from slimagent.bundle.agent_directory import contents
from slimagent.bundle.host import Host, host
from slimagent.bundle.workload import Agent, Workload
from slimagent.documents import encode_plan
from slimagent.errors import CheckFailedError, RefusedError
from slimagent.image import agent
from slimagent.linux.files import digest, explained, write
from slimagent.linux.temporary import new_directory, remove_left
from slimagent.model.agent import BUNDLE, PYTHON, STRIP
from slimagent.model.inventory import Description, Inventory, Owners, Package, PackageKind
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Outcome
from slimagent.profiles import shipped as profiles
from slimagent.workflows import pipeline
from slimagent.workflows.applying import Action, Export, export
from slimagent.workflows.exercise import Reporter, checklist
from slimagent.workflows.session import Session
from slimagent.workflows.steps import Steps

PROFILE = "slimagent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A bundle, the size of each part, and the size of all before it was slimmed, in bytes."""

    bundle: agent.Bundle
    parts: dict[str, int]
    before: int
    has_strip: bool


def make(directory: str, reporter: Reporter, *, replace: bool = True) -> Made:
    """Make a bundle in `directory`, which is absent, empty or an earlier bundle. It appears whole or not at all.

    Without `replace`, a bundle that appears there meanwhile stays, and is the one that is returned.
    Raises UnavailableError if this machine cannot make one, RefusedError if the directory holds anything else,
    CheckFailedError if the bundle cannot do what slimagent does.
    """
    target = os.path.abspath(directory)
    _require_ours(target)
    source = host()
    with _beside(target) as work:
        made = _Making(source, work, reporter)
        result = made.make(target)
        _place(made.slim, target, work, replace=replace)
    return result


class _Making:
    def __init__(self, source: Host, work: str, reporter: Reporter) -> None:
        self._host = source
        self._work = work
        self._reporter = _Silent(reporter)
        self._stage = os.path.join(work, "stage")
        self._loader = ""
        self.slim = os.path.join(work, "slim")

    def make(self, target: str) -> Made:
        with self._reporter.phase("collect"):
            self._loader = stage.lay_out(self._host, self._stage)
        before = sum(finish.sizes(self._stage).values())
        self._slim()
        with self._reporter.phase("compile"):
            finish.compile_all(agent.python(self.slim, self._loader), os.path.join(self.slim, PYTHON))
            finish.remove_empty(self.slim)
            bundle, parts = self._record(target)
            finish.tidy(self.slim)
        with self._reporter.phase("prove"):
            workload = self._workload(self.slim)
            workload.prepare()
            self._run((*workload.seed(), *workload.watched(), *workload.alone()))
        return Made(bundle=bundle, parts=parts, before=before, has_strip=self._host.strip is not None)

    def _slim(self) -> None:
        """Trace the workload on the stage, plan, and copy what stays."""
        workload = self._workload(self._stage)
        workload.prepare()
        self._run(workload.seed())
        session = self._session((os.fsencode(self._stage),))
        traced = pipeline.trace(session, Steps(checks=workload.watched()), self._reporter)
        _require_passed(traced.trace.steps)
        owned = _as_one_package(traced.inventory, pipeline.find_owners(traced.inventory, self._reporter))
        made = pipeline.plan(
            session,
            traced.trace,
            (digest(traced.data),),
            "file",
            frozenset(),
            self._reporter,
            traced.inventory,
            owned=owned,
        )
        kept = os.path.join(self._work, "kept")
        action = Action(
            session=session,
            plan=made,
            digest=digest(encode_plan(made)),
            reporter=self._reporter,
            inspect=lambda: traced.inventory,
        )
        export(action, Export(destination=Directory(os.fsencode(kept))))
        os.rename(kept + self._stage, self.slim)  # an export keeps whole paths below its directory
        shutil.rmtree(self._stage)

    def _workload(self, directory: str) -> Workload:
        program = os.path.join(directory, STRIP)
        its = Agent(
            loading=agent.loading(directory, self._loader),
            entry=agent.entry(directory, self._loader),
            interpreter=agent.python(directory, self._loader),
            site=os.path.join(directory, PYTHON, self._host.library, "site-packages"),
            strip=None if self._host.strip is None else program,
        )
        return Workload(its, os.path.join(self._work, "workload"))

    def _session(self, scopes: tuple[bytes, ...]) -> Session:
        env = {"PATH": os.defpath, "HOME": self._work, "LC_ALL": "C.UTF-8"}
        return Session(scopes=scopes, env=env, cwd=self._work, profile=profiles.load(PROFILE))

    def _run(self, specs: tuple[CheckSpec, ...]) -> None:
        _require_passed(checklist(self._session((b"/",)), specs, (), self._reporter))

    def _record(self, target: str) -> tuple[agent.Bundle, dict[str, int]]:
        parts = finish.sizes(self.slim)
        bundle = agent.Bundle(
            directory=target,
            slimagent=__version__,
            architecture=platform.machine(),
            loader=self._loader,
            python=platform.python_version(),
            glibc=self._host.glibc,
            size=sum(parts.values()),
        )
        listed = contents(os.fsencode(self.slim), BUNDLE)
        write(os.path.join(self.slim, BUNDLE), agent.record(bundle, parts, listed))
        return bundle, parts


def _as_one_package(inventory: Inventory, owners: Owners) -> Owners:
    """Let the files of the stage that no package owns be a package's: nobody's files would stay whole.

    We laid them out and know what they are.
    """
    number = len(owners.packages)
    free = array("I", [at for at, owner in enumerate(owners.of) if owner < 0 and stat.S_ISREG(inventory.modes[at])])
    for at in free:
        owners.of[at] = number
    owners.packages.append(Package(kind=PackageKind.DPKG, name="stage"))
    owners.descriptions.append(Description())
    owners.terms.append(())
    owners.files.append(free)
    owners.requires.append(())
    owners.missing.append(())
    owners.records.append(())
    return owners


@dataclass(frozen=True, slots=True)
class _Silent:
    """A reporter that hides the results of checks: these are ours, not the user's."""

    reporter: Reporter

    def waiting(self, what: str) -> contextlib.AbstractContextManager[None]:
        return self.reporter.waiting(what)

    def phase(self, name: str, unit: str = "") -> contextlib.AbstractContextManager[Callable[[int], None]]:
        return self.reporter.phase(name, unit)

    def watching(self) -> None:
        self.reporter.watching()

    def result(self, result: CheckResult, before: CheckResult | None = None) -> None:
        pass


def _require_passed(results: tuple[CheckResult, ...]) -> None:
    for each in results:
        if each.outcome is not Outcome.PASSED:
            raise CheckFailedError(
                f"the bundle cannot do what slimagent does: {each.name}: {each.detail}",
                "nothing was written; please report this error",
            )


def _require_ours(target: str) -> None:
    try:
        names = os.listdir(target)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explained(error, target) from None
    if names and BUNDLE not in names:
        raise RefusedError(f"{target} is not empty, and is not an earlier bundle", "choose a new or an empty directory")


@contextlib.contextmanager
def _beside(target: str) -> Iterator[str]:
    """A private directory beside the target, removed afterwards. Removes what killed runs left there, too."""
    holder = os.fsencode(os.path.dirname(target))
    try:
        remove_left(holder)
        with new_directory(holder) as work:
            yield os.fsdecode(work)
    except OSError as error:
        raise explained(error, target) from None


def _place(made: str, target: str, work: str, *, replace: bool) -> None:
    """Move a bundle to its target. Without `replace`, what came there first stays."""
    try:
        os.chmod(made, 0o755)  # noqa: S103  # every user of the container reads it
        if replace and os.path.isdir(target):
            os.rename(target, os.path.join(work, "earlier"))
        os.rename(made, target)
    except OSError as error:
        if replace or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # the two that rename(2) names
            raise explained(error, target) from None
