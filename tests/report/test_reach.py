"""How far the steps went: a thin test is called thin, and what nobody asked for is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_images import Installed, plan_of, write

from slimagent.model import started
from slimagent.model.plan import Plan
from slimagent.model.profile import KeepRule, PackageRule, Rules
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.started import Reached as Came
from slimagent.model.started import Started, Until
from slimagent.model.summary import Reached
from slimagent.report.reach import Configured, unmatched
from slimagent.report.reach import warnings as all_warnings
from slimagent.report.summary import groups

ALL = Configured(starts=True, health_check=True, ports=(80,))
UP = Started(
    waited_for=Until.HEALTHY,
    reached=Came(what=Until.HEALTHY, seconds=2.0, ports=((80, True),)),
    health=(Outcome.PASSED, ""),
)
GOOD = started.steps(UP, 0)


def plan(root: Path, used: int, unused: int) -> Plan:
    """An image of a used, a required, a kept and an unused package."""
    write(root, "/used", b"u" * used)
    write(root, "/required", b"r" * 10)
    write(root, "/kept", b"k" * 20)
    write(root, "/unused", b"x" * unused)
    packages = [
        Installed("dpkg:used", ["/used"], requires=["dpkg:required"]),
        Installed("dpkg:required", ["/required"]),
        Installed("dpkg:kept", ["/kept"]),
        Installed("dpkg:unused", ["/unused"]),
    ]
    rules = Rules(packages=(PackageRule(pattern="dpkg:kept", why="wished"),), budget=0)
    return plan_of(root, packages, ["/used"], rules)


@pytest.fixture(scope="module")
def thick(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan(tmp_path_factory.mktemp("thick"), 1000, 500)


def warnings(
    plan: Plan,
    steps: tuple[CheckResult, ...] = GOOD,
    configured: Configured = ALL,
    asked: frozenset[int] | None = frozenset({80}),
    outside: CheckResult | None = None,
) -> tuple[str, ...]:
    return all_warnings(plan, steps, configured, asked, outside)


def test_each_package_is_in_one_group(thick: Plan) -> None:
    """With the bytes that it has in the image."""
    assert groups(thick) == (
        Reached(how="touched by the steps", packages=1, bytes=1000),
        Reached(how="required by those", packages=1, bytes=10),
        Reached(how="kept by a rule", packages=1, bytes=20),
        Reached(how="not needed", packages=1, bytes=500),
    )
    assert warnings(thick) == ()


@pytest.mark.parametrize(("unused", "thin"), [(48_000, False), (50_000, True)])
def test_a_thin_test_is_called_thin(tmp_path: Path, unused: int, thin: bool) -> None:
    """One that touched less than a fiftieth."""
    found = warnings(plan(tmp_path, 1000, unused))
    assert found == (("the steps touched 2.0 % of the bytes in packages; nothing else is proved",) if thin else ())


def test_an_image_without_packages_is_not_thin(tmp_path: Path) -> None:
    """There is nothing to have a share of."""
    write(tmp_path, "/x")
    found = plan_of(tmp_path)
    assert {(each.packages, each.bytes) for each in groups(found)} == {(0, 0)}
    assert warnings(found, asked=None) == ()


def test_what_was_not_started_is_said(thick: Plan) -> None:
    """Because there is nothing to start, or because nobody wanted it."""
    nothing = Configured(starts=False, health_check=False)
    assert warnings(thick, (), nothing) == ("the image has neither ENTRYPOINT nor CMD: nothing was started",)
    (said,) = warnings(thick, (), replace(ALL, ports=()))
    assert "--no-start" in said


def test_a_start_that_fails_is_said_with_what_the_slim_image_does(thick: Plan) -> None:
    """So that one sees whether it is the same; and the port that did not answer is another sentence."""
    before = started.steps(Started(waited_for=Until.PORT), 3)
    after = started.outcome(None, Until.PORT, 3, before[0])
    configured = Configured(starts=True, health_check=False, ports=(80,))
    start, port = warnings(thick, before, configured, outside=after)
    assert start == "the image does not start on its own: exit status 3; the slim image: exit status 3"
    assert port == "port 80, which the image exposes, did not answer"
    assert warnings(thick, before, configured)[0] == "the image does not start on its own: exit status 3"


def test_a_health_check_that_did_not_pass_is_said(thick: Plan) -> None:
    """Of the image as it was; one that it does not have is not missed."""
    sick = started.steps(replace(UP, health=(Outcome.FAILED, "exit status 1\nwhy")), 0)
    assert warnings(thick, sick) == ("the health check does not pass in the original image: exit status 1",)
    unasked = started.steps(replace(UP, health=None), 0)
    assert warnings(thick, unasked) == ("the health check did not run",)
    assert warnings(thick, unasked, replace(ALL, health_check=False)) == ()
    cut_off = started.steps(replace(UP, reached=None), 3)  # whatever the check had said by then
    assert warnings(thick, cut_off)[1] == "the health check did not run: the image ended by itself"


def test_a_port_that_nobody_asked_is_said(thick: Plan) -> None:
    """That it answers is not enough; who does not know who asked says nothing about it."""
    (said,) = warnings(thick, asked=frozenset({81}))
    assert said.startswith("no check or command connected to port 80")
    assert said.endswith("it answers, and what it serves was exercised by the health check at most")
    unhealthy = started.steps(replace(UP, health=None), 0)
    assert warnings(thick, unhealthy, asked=frozenset())[-1].endswith("what it serves was not exercised")
    assert warnings(thick, asked=None) == ()
    silent = started.steps(replace(UP, reached=Came(what=Until.HEALTHY, seconds=2.0, ports=((80, False),))), 0)
    assert warnings(thick, silent, asked=frozenset()) == (
        "no check or command connected to port 80, which the image exposes",
    )
    assert warnings(thick, silent, asked=None) == ("port 80, which the image exposes, did not answer",)


def test_a_user_s_check_of_the_same_name_is_not_the_start(thick: Plan) -> None:
    """Only a step of that kind is."""
    other = CheckResult(name="start", kind="command", outcome=Outcome.PASSED, seconds=1)
    assert any("--no-start" in each for each in warnings(thick, (other,)))


details = st.text(max_size=30)


@given(detail=details, status=st.integers(0, 255), healthy=st.booleans(), asked=st.none() | st.just(frozenset[int]()))
def test_a_warning_is_one_line(
    thick: Plan, detail: str, status: int, healthy: bool, asked: frozenset[int] | None
) -> None:
    """Whatever a program said. Other control characters are for those to take out who show it."""
    start = CheckResult(name="start", kind="start", outcome=Outcome.FAILED, seconds=1, detail=detail, status=status)
    health = CheckResult(name="health check", kind="start", outcome=Outcome.FAILED, seconds=1, detail=detail)
    steps = (start, health) if healthy else (start,)
    for each in warnings(thick, steps, asked=asked, outside=start):
        assert "\n" not in each


def test_what_is_to_stay_and_is_not_there_is_named(thick: Plan) -> None:
    """A mistyped --keep or --keep-package would be found by the first user; what matches is not mentioned."""
    paths = ("/used", "/us*", "/nope", "/none/**")
    packages = ("dpkg:kept", "dpkg:*", "dpkg:nope", "python:kept")
    rules = Rules(
        keep=tuple(KeepRule(pattern=each, why="asked") for each in paths),
        packages=tuple(PackageRule(pattern=each, why="asked") for each in packages),
    )
    found = unmatched(thick, rules)
    assert [note.split()[1] for note in found] == ["/nope", "/none/**", "dpkg:nope", "python:kept"]
    assert unmatched(thick, Rules()) == ()
