"""The stages of slimming an image from outside, each in a container of its own. Documents go from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from slimagent import documents
from slimagent.errors import RefusedError
from slimagent.image.hosting import Examined
from slimagent.image.labels import identity
from slimagent.image.output import Output
from slimagent.image.request import CONFIG, PLAN, RECEIPT, TRACE, VERIFICATION, Commands, Request
from slimagent.image.shared import Shared
from slimagent.image.starts import Plain, Watched
from slimagent.image.work import Job, Task, Work
from slimagent.linux.files import digest
from slimagent.model import hosted, started
from slimagent.model.image_config import ImageConfig
from slimagent.model.proof import FULL as FULL_IMAGE
from slimagent.model.proof import SEARCH, Verification
from slimagent.model.removed import NAME as REMOVED
from slimagent.model.summary import Whole
from slimagent.model.trace import Trace
from slimagent.workflows import collected_logs, step_logs
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.from_host import HostTests
from slimagent.workflows.starts_from_outside import AGAIN, FULL, OUTSIDE, SLIM, Starts

GO = "go"  # an export waits for this file
STARTS = (*started.STEPS, OUTSIDE)  # steps of one start: all of them run, or none
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """An image by its ID, its configuration, and what the engine says about it."""

    image: str
    config: ImageConfig
    described: bytes


class Stages:
    """What can be done with one image, and the documents that it left: `whole` has them decoded."""

    def __init__(
        self,
        work: Work,
        output: Output,
        request: Request,
        original: Original,
        whole: Whole,
        reporter: Reporter,
        tell: Callable[[str], None],
    ) -> None:
        self.work, self.output, self.request, self.whole = work, output, request, whole
        self.reporter, self.tell = reporter, tell
        self.cap_add: tuple[str, ...] = ()
        self.unstripped: tuple[bytes, ...] = ()  # files that the next plan leaves as they are
        self._config, self.image = original.config, original.image
        self._name = request.container.image
        self.commands = Commands(request, original.config.user)
        self.commands.mounted = work.mounted(original.image, original.config.volumes)
        self.files = {**request.files, CONFIG: original.described}  # every container gets these
        self.made: dict[str, bytes] = {}  # the containers' documents, as first read
        self._starts = Starts(work, output, request, original.config, original.image, reporter, tell)
        self._described = original.described
        self._from_host: HostTests | None = None
        if request.from_host is not None:
            self._from_host = HostTests(work, request.from_host, original.config, self._name, tell)

    def traced(self) -> Trace:
        """Start and exercise the image under a watcher."""
        shared = self.share("trace")
        task = self._task(shared, self.image, self.commands.trace(self._starts.document, self._hosted))

        def start() -> None:
            self._hand_on(self._starts.watched(self.image, FULL, self.files, self.cap_add), shared)
            self._test_from_host(shared, self.image, FULL)

        self._run_beside(task, start, TRACE, f"trace in a container of {self._name}")
        collected_logs.take(self.output, shared, FULL)
        self.whole.trace = trace = documents.decode_trace(self._take(shared, TRACE))
        return trace

    def begin_export(self) -> Callable[[], None]:
        """Begin to export. Call the result once the trace is there: it plans, exports and loads."""
        shared = self.share("export")
        exporting = self._begin_export(shared, self.commands.export(self.work.next_pending(), GO))

        def finish() -> None:
            shared.give(TRACE, self.made[TRACE])
            shared.give(GO, b"")
            self._export("plan and export in a new container", shared, exporting)

        return finish

    def repair(self, phase: str, repairs: Mapping[str, bytes]) -> None:
        """Plan and export again, and load. `repairs` are the verifications of all rounds so far, by file name."""
        shared = self.share("repair", TRACE)
        for name, data in repairs.items():
            shared.give(name, data)
        exporting = self._begin_export(
            shared, self.commands.repair(self.work.next_pending(), tuple(repairs), self.unstripped)
        )
        self._export(phase, shared, exporting)

    def verified(self, trace: Trace, only: Sequence[str] = ()) -> Verification:
        """Run the steps in a container of the slim image, which is also started, watched and as `docker run` does.

        With names in `only`, only these steps run.
        """
        shared = self.share("verify", PLAN, TRACE)
        starts = not only or any(name in only for name in STARTS)
        task = self._verifying(shared, self.work.pending, only, full=False)

        def start() -> Plain | None:
            outside = self._start_both(shared, trace) if starts else None
            if not only or hosted.STEP in only:
                self._test_from_host(shared, self.work.pending, SLIM)
            return outside

        outside = self._run_beside(task, start, VERIFICATION, "verify in a container of the slim image")
        collected_logs.take(self.output, shared, SLIM)
        verification = documents.decode_verification(shared.read(VERIFICATION))
        if verification.plan != digest(self.made[PLAN]) or verification.how in (FULL_IMAGE, SEARCH):
            raise RefusedError(
                f"{VERIFICATION} is not that of this plan", "did a step write to the agent's directory? see SECURITY.md"
            )
        return self._starts.verified(verification, trace, outside)

    def used(self, only: Sequence[str]) -> Verification:
        """Run steps again in a container of the original image. What they use and the plan drops counts as missed.

        Without names in `only`, all steps run.
        """
        shared = self.share("again", PLAN, TRACE)

        def start() -> None:
            if not only or any(name in only for name in STARTS):
                self._hand_on(self._starts.watched(self.image, AGAIN, self.files, self.cap_add), shared)
            if not only or hosted.STEP in only:
                self._test_from_host(shared, self.image, AGAIN)

        task = self._verifying(shared, self.image, only, full=True)
        self._run_beside(task, start, VERIFICATION, f"run again in a container of {self._name}")
        collected_logs.take(self.output, shared, AGAIN)
        return documents.decode_verification(shared.read(VERIFICATION))

    def conclude(self, verification: Verification) -> None:
        """Make a verification that of the last slim image, also in the output."""
        self.whole.verification = verification
        self.output.write(VERIFICATION, documents.encode_verification(verification))

    def _verifying(self, shared: Shared, image: str, only: Sequence[str], *, full: bool) -> Task:
        starts = not only or any(name in only for name in STARTS)
        inside = tuple(name for name in only if name != OUTSIDE)  # what the agent knows of
        if any("\0" in name for name in inside):  # no argument can be that; a test wrote it into its trace
            inside = ()
        document = self._starts.document if starts else ""
        record = self._hosted if not only or hosted.STEP in only else ""
        return self._task(shared, image, self.commands.verify(document, record, inside, full=full))

    def share(self, name: str, *made: str) -> Shared:
        """A directory for one container, with the files that all get, and documents of earlier containers."""
        shared = self.work.share(name)
        for each, data in {**self.files, **{each: self.made[each] for each in made}}.items():
            shared.give(each, data)
        return shared

    def _take(self, shared: Shared, name: str) -> bytes:
        """Read a container's document once: later containers get exactly these bytes."""
        self.made[name] = data = shared.read(name)
        self.output.write(name, data)
        return data

    def _task(self, shared: Shared, image: str, arguments: tuple[str, ...]) -> Task:
        return Task(shared=shared, image=image, arguments=arguments, cap_add=self.cap_add)

    def _run_beside(self, task: Task, start: Callable[[], _T], leaves: str, phase: str) -> _T:
        """Run a task, and start an image at the same time, or before it if both may need the same ports."""
        work = self.work
        job = work.begin(task, leaves=leaves) if work.can_run_together else None
        came = start()
        job = job or work.begin(task, leaves=leaves)
        with self.reporter.phase(phase):
            job.result()
        return came

    def _begin_export(self, shared: Shared, command: tuple[str, ...]) -> Job[int]:
        config = self._config
        platform = {"architecture": config.architecture, "os": config.os, "variant": config.variant}
        self.work.load_early(shared, {key: value for key, value in platform.items() if value})
        return self.work.begin(Task(shared=shared, image=self.image, arguments=command, bare=True))

    def _export(self, phase: str, shared: Shared, exporting: Job[int]) -> None:
        with self.reporter.phase(phase):
            exporting.result()
        self.whole.verification = None  # it belonged to an earlier plan
        self.whole.plan = documents.decode_plan(self._take(shared, PLAN))
        self.whole.receipt = documents.decode_receipt(self._take(shared, RECEIPT))
        self.output.adopt(shared.path, REMOVED)
        with self.reporter.phase("load", "bytes") as progress:
            self.work.load(shared, progress)

    def _start_both(self, shared: Shared, trace: Trace) -> Plain | None:
        """Start the slim image watched and as `docker run` does: together, unless both may need the same ports.

        No step runs meanwhile.
        """
        work = self.work
        plainly = work.aside(lambda: self._starts.plain(work.pending, trace)) if work.can_run_together else None
        start = self._starts.watched(work.pending, SLIM, self.files, self.cap_add)
        outside = self._starts.plain(work.pending, trace) if plainly is None else plainly.result()
        self._hand_on(start, shared)
        return outside

    @property
    def _hosted(self) -> str:
        """The name of the record of tests on the host; empty if there are none."""
        return "" if self._from_host is None else "hosted.jsonl"

    def _test_from_host(self, shared: Shared, image: str, which: str) -> None:
        """Run the tests on the host against an image, and give their record to the container that waits for it."""
        if self._from_host is None:
            return
        engine = self.work.engine
        examined = Examined(
            name=self._name,
            original=identity(engine.inspect(self.image)),
            image=identity(engine.inspect(image)),
            described=self._described,
        )
        slim = which == SLIM
        with self.reporter.phase(f"test {'the slim image' if slim else self._name} from this machine"):
            ran = self._from_host.run(examined, which, self.cap_add)
        self.output.write(f"logs/{which}-{step_logs.log_name(hosted.STEP)}", ran.said)
        shared.give(self._hosted, hosted.encode(ran.hosted))

    def _hand_on(self, start: Watched | None, shared: Shared) -> None:
        """Give the record of a start to the container that waits for it, so that it runs its steps."""
        if start is not None:
            shared.give(self._starts.document, start.diary)
