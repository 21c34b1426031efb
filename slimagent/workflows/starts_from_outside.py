"""Start an image and its slim one from outside, watched and as `docker run` does, and compare the starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from slimagent.image import starts
from slimagent.image.output import Output
from slimagent.image.request import CONFIG, Request
from slimagent.image.starts import Waiting
from slimagent.image.work import Work
from slimagent.model import started
from slimagent.model.image_config import ImageConfig
from slimagent.model.proof import Comparison, Verification
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Trace
from slimagent.report.failure import last_line
from slimagent.verify.compare import compare
from slimagent.workflows import step_logs
from slimagent.workflows.exercise import Reporter

# Which image a log is of; `again` is the full one, run once more for a repair.
FULL, SLIM, AGAIN = "full", "slim", "again"
OUTSIDE = "start-from-outside"


class Starts:
    """The starts of one request. `image` is the original image's ID; what each start prints goes to `output`."""

    def __init__(
        self,
        work: Work,
        output: Output,
        request: Request,
        config: ImageConfig,
        image: str,
        reporter: Reporter,
        tell: Callable[[str], None],
    ) -> None:
        self._work = work
        self._output = output
        self._waiting = request.start
        self._config = config
        self._image = image
        self._name = request.container.image
        self._reporter = reporter
        self._tell = tell
        self._stops = True  # whether the image has a handler for its stop signal

    @property
    def document(self) -> str:
        """The name of the file that records how an image started; empty if it is not started."""
        return "" if self._waiting is None or not self._config.started else "started.jsonl"

    def watched(
        self, image: str, which: str, files: Mapping[str, bytes], cap_add: tuple[str, ...]
    ) -> starts.Watched | None:
        """Start an image as configured, and watch it. Returns None if it is not to be started."""
        if self._waiting is None or not self.document:
            return None
        with self._reporter.phase(f"start {'the slim image' if which == SLIM else self._name} as configured"):
            found = starts.watched(self._work, image, files, CONFIG, self._waiting, cap_add)
        self._stops = found.stops
        self._output.write(f"logs/{which}-{step_logs.log_name(started.START_STEP)}", found.said)
        if which == FULL and found.status:
            self._tell(f"{self._name} does not start on its own: exit status {found.status}; its last line:")
            self._tell(f"    {last_line(found.said)}")
        return found

    def plain(self, image: str, trace: Trace) -> starts.Plain | None:
        """Start an image as `docker run` does, and wait for what its watched start reached."""
        before = _start_of(trace)
        if before is None or self._waiting is None:
            return None
        ports = self._config.tcp_ports
        if before.outcome is Outcome.PASSED:
            ports = tuple(port for port in ports if before.has_passed(f"port {port}"))
        return self._plain(image, ports)

    def verified(self, verification: Verification, trace: Trace, slim: starts.Plain | None) -> Verification:
        """Add the slim image's start as `docker run` does it to the verification, compared with the original's.

        The original is started so, too, if it did not come up when it was watched, or if the slim one does worse: the
        watching or the mounts may have made the difference. A slim one that still runs then is started once more: the
        first time it was not alone, and the machine may have been slow. Without a start, returns the same verification.
        """
        before = _start_of(trace)
        if before is None or slim is None:
            return verification
        after = slim.result(self._until, before)
        self._output.write(f"logs/{OUTSIDE}.log", slim.said)
        if before.outcome is not Outcome.PASSED or _worse(before, after):
            with self._reporter.phase(f"start {self._name} as `{self._work.engine.name} run` does"):
                full = self._plain(self._image, self._config.tcp_ports)
            before = full.result(self._until)
            after = slim.result(self._until, before)
            if _worse(before, after) and slim.reached is not None:
                after = self._again(before)
        return replace(
            verification,
            steps=(*verification.steps, replace(after, name=OUTSIDE)),
            comparisons=(*verification.comparisons, *_compared(before, after)),
            passed=verification.passed and not _worse(before, after),
        )

    def _again(self, before: CheckResult) -> CheckResult:
        """Start the slim image once more, alone as the original was."""
        ports = self._config.tcp_ports
        with self._reporter.phase(f"start the slim image once more as `{self._work.engine.name} run` does"):
            slim = self._plain(self._work.pending, tuple(port for port in ports if before.has_passed(f"port {port}")))
        self._output.write(f"logs/{OUTSIDE}.log", slim.said)
        after = slim.result(self._until, before)
        if not _worse(before, after):
            self._tell(f"the slim image came up only when it was started once more, alone: {after.detail}")
        return after

    def _plain(self, image: str, ports: tuple[int, ...]) -> starts.Plain:
        waiting = self._waiting or Waiting()
        return starts.plain(self._work, image, self._until, ports, waiting, stops=self._stops)

    @property
    def _until(self) -> started.Until:
        """The sign that a start waits for."""
        return started.awaited((self._waiting or Waiting()).until, self._config)


def _start_of(trace: Trace) -> CheckResult | None:
    return next((step for step in trace.steps if step.name == started.START_STEP), None)


def _compared(before: CheckResult, after: CheckResult) -> tuple[Comparison, ...]:
    return compare([replace(before, name=OUTSIDE)], [replace(after, name=OUTSIDE)])


def _worse(before: CheckResult, after: CheckResult) -> bool:
    return any(each.worse for each in _compared(before, after))
