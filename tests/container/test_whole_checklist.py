"""The checklist in default containers of real images: as root for the image's user, and as that user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slimagent import documents
from slimagent.model.result import CheckResult, Outcome, Standing
from slimagent.verify.compare import standing
from tests.container.conftest import AGENT, Image

pytestmark = pytest.mark.container
# Run by a shell that is process 1, so that what a check leaves behind stays and is seen.
_ALONE = '/agent/entrypoint.sh check "$@" > /out/log 2>&1; echo $? > /out/status; echo /proc/[0-9]* > /out/left'


def check(image: Image, out: Path, *arguments: str, user: str, name: str = "") -> tuple[CheckResult, ...]:
    """Run `check` in a container of its own; nothing but the shell may be left when it ends."""
    for each in ("log", "status", "left", "checks.json"):  # another user's, which this one cannot overwrite
        (out / each).unlink(missing_ok=True)
    done = image.run(
        "-c", _ALONE, "sh", *arguments, "-o", "/out/checks.json",
        user=user, mounts=(f"{AGENT}:/agent:ro", f"{out}:/out"), entrypoint="/bin/sh", image=name,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int((out / "status").read_text()) in (0, 1), (out / "log").read_text()
    assert (out / "left").read_text().split() == ["/proc/1"]
    return documents.decode_checks((out / "checks.json").read_bytes())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder that any user of a container may write."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def by_kind(results: tuple[CheckResult, ...]) -> dict[str, CheckResult]:
    return {result.kind: result for result in results}


def test_what_is_detected_passes_and_compares_with_itself(image: Image, out: Path) -> None:
    """`detect` writes a profile; as root for the user, then as the user: nothing is worse or left behind."""
    wrote = image.agent(out, "detect", "-o", "/out/mine.toml", user=image.user)
    assert wrote.returncode == 0, wrote.stderr
    first = check(image, out, "--profile", "/out/mine.toml", "--user", image.user, user="root")
    kinds = by_kind(first)
    assert kinds.keys() >= {"python-imports", "jupyterlab", "r-packages", "tools", "permissions"}
    for kind in ("jupyterlab", "tools", "permissions"):
        assert kinds[kind].outcome is Outcome.PASSED, kinds[kind].detail
    assert sum(item.outcome is Outcome.PASSED for item in kinds["r-packages"].items) > 10
    (out / "checks.json").rename(out / "before.json")
    second = check(image, out, "--profile", "/out/mine.toml", "--baseline", "/out/before.json", user=image.user)
    worse = [new.detail for old, new in zip(first, second, strict=True) if standing(new, old) is Standing.WORSE]
    assert worse == []


def test_the_whole_list_of_a_rocker_image(image: Image, out: Path) -> None:
    """Profile rocker-ml on an image in the shape of rocker/ml: every kind takes place, or says why not.

    A package that is broken in the image as it is fails, and is no failure of ours: most items pass.
    """
    name = os.environ.get("SLIMAGENT_TEST_CODE_SERVER_IMAGE", "")
    if not name:
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(
            "SLIMAGENT_TEST_CODE_SERVER_IMAGE is not set"
        )
    kinds = by_kind(check(image, out, "--profile", "rocker-ml", user="root", name=name))
    assert kinds["rstudio"].outcome is Outcome.SKIPPED
    assert kinds["gpu"].outcome is Outcome.SKIPPED
    for kind in ("jupyterlab", "tools", "permissions", "command", "r-packages"):
        assert kinds[kind].outcome is Outcome.PASSED, kinds[kind].detail
    for kind in ("python-imports", "code-server"):
        passed = sum(item.outcome is Outcome.PASSED for item in kinds[kind].items)
        assert passed > 0.9 * len(kinds[kind].items), kinds[kind].detail
