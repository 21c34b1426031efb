"""A pytest suite of 300 tests in a container, as an ordinary user: a planted file belongs to the test that used it."""

from __future__ import annotations

import importlib.metadata
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import marked_suite
import pytest

from slimagent.documents import decode_plan, decode_trace
from slimagent.model.trace import Trace
from slimagent.report.explain import Explainer
from tests.container.conftest import Image, lacking

SCOPES = ("--scope", "/opt/suite", "--scope", "/opt/site")
PYTEST = ("python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=/opt/suite")


@pytest.fixture(scope="module")
def suite(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with the suite and a pytest, and without slimagent."""
    context = tmp_path_factory.mktemp("suite")
    marked_suite.write_suite(context / "suite")
    try:
        marked_suite.write_site(context / "site")
    except importlib.metadata.PackageNotFoundError as error:
        lacking(f"{error} is not installed here")
    lines = (f"FROM {image.name}", "COPY suite /opt/suite", "COPY site /opt/site", "ENV PYTHONPATH=/opt/site")
    (context / "Dockerfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tag = f"slimagent-test-suite:{secrets.token_hex(4)}"
    subprocess.run(["docker", "build", "-q", "--network=none", "-t", tag, str(context)], check=True)
    yield tag
    image.remove(tag)


def traced(image: Image, suite: str, out: Path, *command: str) -> Trace:
    out.mkdir(exist_ok=True)
    out.chmod(0o777)
    agent = ("trace", "--quiet", "--by-test", "--user", image.user, *SCOPES, "-o", "/out/trace.json", "--", *command)
    done = Image(suite, "", image.user).agent(out, *agent)
    assert done.returncode == 0, done.stdout + done.stderr
    return decode_trace((out / "trace.json").read_bytes())


def attributed_to(trace: Trace, path: str) -> set[str]:
    """The tests that used a path, "" for what was used outside of all tests."""
    row = next((each for each in trace.attributed if each.path == path.encode()), None)
    if row is None:
        return {""}
    return {trace.tests[test].name for _, tests in row.by for test in tests} | ({""} if row.steps else set())


@pytest.mark.container
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["serial", "xdist"])
def test_planted_files_belong_to_their_tests(
    image: Image, suite: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Of 300 tests 20 use a planted file each: by themselves, in threads, forks, shells and other programs."""
    trace = traced(image, suite, tmp_path / "out", *PYTEST, *options, "/opt/suite/tests")
    assert len(trace.tests) == marked_suite.TESTS
    assert not trace.tests_cut
    found = {name: attributed_to(trace, f"/opt/suite/data/{name}") for name in marked_suite.planted()}
    assert found == {name: {test} for name, test in marked_suite.planted().items()}
    assert len(attributed_to(trace, "/opt/suite/data/common")) == marked_suite.TESTS - marked_suite.PLANTED
    assert not [each.path for each in trace.accesses if b"slimagent" in each.path]
    assert trace.losses == ()


@pytest.mark.container
def test_a_plan_explains_by_tests(image: Image, suite: str, tmp_path: Path) -> None:
    """`explain` names the tests; a suite that nothing marks gives the same plan without them."""
    out, words = tmp_path / "out", ("--quiet", *SCOPES, "--level", "file", "-o", "/out/plan.json")
    plans = []
    for options in ((), ("-p", "no:slimagent_marks")):
        trace = traced(image, suite, out, *PYTEST, *options, "/opt/suite/tests")
        assert bool(trace.tests) is not bool(options)
        done = Image(suite, "", image.user).agent(out, "plan", "/out/trace.json", *words)
        assert done.returncode == 0, done.stderr
        plans.append(decode_plan((out / "plan.json").read_bytes()))
    told = [Explainer(plan).explain(b"/opt/suite/data/planted-3").chain[0][1] for plan in plans]
    assert told == ["opened in command by tests/test_3.py::test_planted[3]", "opened in command"]
    told = [Explainer(plan).explain(b"/opt/suite/data/common").chain[0][1] for plan in plans]
    assert told[0].endswith("and 278 more")
    verdicts = [{each.path: plan.reasons[each.reason] for each in plan.entries} for plan in plans]
    assert verdicts[0] == verdicts[1]
    assert "used_by" not in json.loads((out / "plan.json").read_bytes())


def test_the_plugin_does_nothing_without_a_tracer(tmp_path: Path) -> None:
    """It is found by its entry point where its directory is on the path, and no test notices it."""
    runners = Path(__file__).resolve().parents[2] / "slimagent" / "trace" / "runners"
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n", encoding="utf-8")
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--trace-config", str(tmp_path)]
    env = {"PYTHONPATH": str(runners), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "slimagent_marks" in done.stdout
    assert "1 passed" in done.stdout
