"""Which checks run at the same time, in which order they are reported, and what happens when one is broken off."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimagent import checks
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Outcome
from slimagent.workflows.side_by_side import Job, run

SPREADS = {name for name, kind in checks.KINDS.items() if kind.spreads}
KINDS = ("command", "tools", "jupyterlab", "python-imports", "r-packages", "permissions")


def result(spec: CheckSpec) -> CheckResult:
    return CheckResult(name=spec.name, kind=spec.kind, outcome=Outcome.PASSED, seconds=0.0)


class Log:
    """What ran: the names and jobs of those that ran at one time, as each began."""

    def __init__(self) -> None:
        self.began: list[tuple[str, bool]] = []
        self.ended: list[str] = []
        self.shown: list[str] = []
        self.stopped = 0
        self.most = 0
        self.given: dict[str, int] = {}
        self.beside: dict[str, set[str]] = {}
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self.meet: threading.Barrier | None = None

    def begin(self, spec: CheckSpec, *, beside: bool) -> Job:
        self.began.append((spec.name, beside))

        def job(jobs: int) -> CheckResult:
            with self._lock:
                self._running.add(spec.name)
                self.given[spec.name] = jobs
                self.most = max(self.most, len(self._running))
                for each in self._running:
                    self.beside.setdefault(each, set()).update(self._running - {each})
                    self.beside.setdefault(spec.name, set()).update(self._running - {spec.name})
            if self.meet is not None and spec.kind not in SPREADS and beside:
                self.meet.wait(30)
            with self._lock:
                self._running.discard(spec.name)
            return result(spec)

        return job

    def end(self, spec: CheckSpec, found: CheckResult) -> None:
        assert found.name == spec.name
        self.ended.append(spec.name)

    def stop(self) -> None:
        self.stopped += 1

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        self.shown.append(what)
        yield


def spec(kind: str, name: str, alone: bool | None = None) -> CheckSpec:
    return CheckSpec(kind=kind, name=name, alone=alone, parameters={"shell": "true"} if kind == "command" else {})


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from((None, True, False))), max_size=8),
    st.integers(1, 4),
    st.sampled_from((None, 1)),
)
@settings(deadline=None)
def test_every_check_runs_once_and_is_reported_in_its_place(
    kinds: list[tuple[str, bool | None]], jobs: int, together: int | None
) -> None:
    """In the order of the profile; nothing runs beside one that is alone, and no more than allowed run at a time."""
    specs = [spec(kind, f"{number}", alone) for number, (kind, alone) in enumerate(kinds)]
    log = Log()
    results = run(specs, jobs, log.begin, log.end, log.stop, log.waiting, together=together)
    assert [each.name for each in results] == [each.name for each in specs] == [name for name, _ in log.began]
    assert sorted(log.ended) == sorted(each.name for each in specs)
    assert log.most <= (jobs if together is None else together)
    for each in specs:
        is_alone = checks.KINDS[each.kind].is_alone(each)
        assert not (is_alone and log.beside[each.name])
        assert not (is_alone and (each.name, True) in log.began)
        if each.kind in SPREADS:
            assert log.given[each.name] == jobs
    if jobs == 1 or together == 1:
        assert log.ended == [each.name for each in specs]
    assert not log.stopped


def test_checks_that_may_run_at_the_same_time_do() -> None:
    """Each waits for the other one: one after the other would never end."""
    log = Log()
    log.meet = threading.Barrier(2)
    run([spec("tools", "a"), spec("jupyterlab", "b")], 2, log.begin, log.end, log.stop, log.waiting)
    assert log.beside == {"a": {"b"}, "b": {"a"}}
    assert log.shown[0] == "a, b"
    assert log.given == {"a": 1, "b": 1}


@pytest.mark.parametrize("error", [UsageError("no", "hint"), KeyboardInterrupt()])
def test_an_error_stops_the_others_and_is_passed_on(error: BaseException) -> None:
    """`stop` ends what the others wait for. What has not begun never does."""
    log, over, began = Log(), threading.Event(), list[str]()

    def begin(spec: CheckSpec, *, beside: bool) -> Job:
        def job(jobs: int) -> CheckResult:
            began.append(spec.name)
            if spec.name == "broken":
                raise error
            assert over.wait(30)
            return result(spec)

        return job

    specs = [spec("tools", "waits"), spec("tools", "broken"), spec("tools", "never 1"), spec("tools", "never 2")]
    with pytest.raises(type(error)):
        run([*specs, *(spec("tools", f"never {n}") for n in range(3, 9))], 2, begin, log.end, over.set, log.waiting)
    assert over.is_set()
    assert log.ended == []
    assert len(began) < 9
