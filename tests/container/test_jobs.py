"""Checks side by side in a container of a real image: the same results and the same evidence as one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimagent.documents import decode_trace
from slimagent.model.trace import How, Trace
from tests.container.conftest import AGENT, Image

pytestmark = pytest.mark.container

PROFILE = """
name = "both"
description = "checks that run side by side, and one that does not"

[[check]]
kind = "python-imports"
name = "python imports"

[[check]]
kind = "jupyterlab"
name = "JupyterLab"

[[check]]
kind = "r-packages"
name = "R packages"
packages = ["stats", "utils", "tools", "methods", "grid"]

[[check]]
kind = "tools"
name = "tools"
needed = ["git", "curl", "bash", "python3"]

[[check]]
kind = "command"
name = "R"
shell = "Rscript -e 1"
alone = false

[[check]]
kind = "command"
name = "a command"
shell = "cat /etc/os-release"
"""


def traced(image: Image, out: Path, jobs: int) -> Trace:
    out.mkdir()
    out.chmod(0o777)
    (out / "profile.toml").write_text(PROFILE, encoding="utf-8")
    done = image.agent(
        out, "trace", "--quiet", "--profile", "/out/profile.toml", "--user", image.user, "--jobs", str(jobs),
        "-o", "/out/trace.json",
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return decode_trace((out / "trace.json").read_bytes())


def used(trace: Trace) -> dict[tuple[str, bytes], set[str]]:
    """For each step and file of the image's software that it used: the items that did, or nothing."""
    found: dict[tuple[str, bytes], set[str]] = {}
    for access in trace.accesses:
        if access.found and access.path.startswith((b"/opt/", b"/usr/")) and access.how & (How.OPENED | How.EXECUTED):
            for step in access.steps:
                found[trace.steps[step].name, access.path] = set()
    for row in trace.attributed:
        for _, tests in row.by:
            for test in tests:
                key = trace.steps[trace.tests[test].step].name, row.path
                if key in found:
                    found[key].add(trace.tests[test].name)
    return found


def test_the_evidence_is_that_of_one_at_a_time(image: Image, tmp_path: Path) -> None:
    """Each file counts for the same steps and items, but for caches that items share.

    Alone, the first item makes matplotlib's list of fonts; side by side, all that begin before it is there do. These
    were 169 of 5,857 files, with what fc-list uses. One run alone differs from the next in less than a hundredth.
    """
    alone, together = (traced(image, tmp_path / f"{jobs}", jobs) for jobs in (1, 3))
    assert [(each.name, each.kind, each.outcome) for each in alone.steps] == [
        (each.name, each.kind, each.outcome) for each in together.steps
    ]
    for one, other in zip(alone.steps, together.steps, strict=True):
        assert {(item.name, item.outcome) for item in one.items} == {(item.name, item.outcome) for item in other.items}
    first, second = used(alone), used(together)
    assert len(first) > 3000
    differing = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    assert len(differing) <= len(first) / 20, sorted(differing)[:20]


def test_a_signal_ends_all_that_runs(image: Image, tmp_path: Path) -> None:
    """Also what two checks have started side by side: the container ends, with the status of the signal."""
    tmp_path.chmod(0o777)
    profile = "\n".join(
        ['name = "x"', 'description = ""']
        + [
            f'[[check]]\nkind = "command"\nname = "{name}"\nalone = false\nseconds = 900\n'
            f'shell = "touch /out/{name}; sleep 800"'
            for name in ("one", "two", "three")
        ]
    )
    (tmp_path / "profile.toml").write_text(profile, encoding="utf-8")
    script = (
        "/agent/entrypoint.sh check --profile /out/profile.toml -j 2 & agent=$!; "
        "until [ -e /out/one ] && [ -e /out/two ]; do sleep 0.1; done; "
        "kill -TERM $agent; wait $agent; echo $? > /out/status; echo /proc/[0-9]* > /out/left"
    )
    mounts = (f"{AGENT}:/agent:ro", f"{tmp_path}:/out")
    done = image.run("-c", script, mounts=mounts, entrypoint="/bin/sh")
    assert (tmp_path / "left").read_text().split() == ["/proc/1"], done.stdout + done.stderr
    assert int((tmp_path / "status").read_text()) == 143, done.stdout + done.stderr
    assert not (tmp_path / "three").exists()
