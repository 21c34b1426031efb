"""For all tests: the signals of a terminal, no time limit for one example, the marker `quick`, and a small image."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import engine_images
import pytest
from hypothesis import HealthCheck, settings

from slimagent.image.engine import Engine

# The rooms that do no I/O: their tests need no engine, no privilege and no software beside ours.
PURE_ROOMS = {"documents", "elf", "gate", "model", "paths", "plan", "report", "text", "verify"}


def pytest_configure() -> None:
    """Reset the signals: a shell ignores SIGINT in background jobs, `nohup` SIGHUP, and children would inherit that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # A slow machine must not fail an example; the time limit of each test ends what hangs.
    settings.register_profile("slimagent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("slimagent")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of pure rooms, and those of the whole tree, as `quick`."""
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0]
        if room in PURE_ROOMS or room == "test_architecture.py":
            item.add_marker(pytest.mark.quick)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The Docker engine of this machine; skips the test without one."""
    return engine_images.docker()


@pytest.fixture(scope="session")
def probe(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image that holds one static program, /probe, and declares a volume."""
    tag = f"slimagent-test-probe:{secrets.token_hex(4)}"
    engine_images.import_probe(tmp_path_factory.mktemp("probe"), tag)
    yield tag
    engine.remove_image(tag)


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name for a container, which is removed afterwards."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    yield name
    engine.remove_container(name)
