"""A real JupyterLab for the tests, installed once for all their runs; the home folder shows what is left in it."""

from __future__ import annotations

import functools
import os
import subprocess
import venv
from pathlib import Path

import pytest
from checks_context import Place

from slimagent import checks
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult

ENVIRONMENT = Path(__file__).resolve().parents[2] / "build" / "test-env"


@functools.cache
def install() -> str:
    """Install JupyterLab for the tests. Returns why that failed, or nothing."""
    if (ENVIRONMENT / "bin" / "jupyter-lab").exists():
        return ""
    venv.create(ENVIRONMENT, with_pip=True, clear=True, symlinks=True)
    command = (ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries=1", "jupyterlab")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"cannot install JupyterLab: {done.stderr.strip()[-300:]}"


@pytest.fixture
def programs() -> str:
    """The bin folder of an environment with JupyterLab."""
    reason = install()
    if reason:
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") == "1" else pytest.skip)(reason)
    return str(ENVIRONMENT / "bin")


def home_of(place: Place) -> Path:
    """The home folder that checks in a place are given."""
    return place.temporary.parent / "home"


def jupyter_environment(place: Place, programs: str, **env: str) -> dict[str, str]:
    """The variables of an image with JupyterLab."""
    home_of(place).mkdir(exist_ok=True)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home_of(place)), **env}


def check_jupyter(
    place: Place,
    programs: str,
    kind: str,
    seconds: float = 180,
    env: dict[str, str] | None = None,
    **parameters: Parameter,
) -> CheckResult:
    """Run a check of that kind on the real JupyterLab, `env` added to what the image has."""
    spec = CheckSpec(kind=kind, name="it", seconds=seconds, parameters=parameters)
    return checks.run(spec, place.context(**jupyter_environment(place, programs, **(env or {}))))


def outcomes(result: CheckResult) -> list[str]:
    """Each item's name and outcome."""
    return [f"{each.name} {each.outcome.value}" for each in result.items]
