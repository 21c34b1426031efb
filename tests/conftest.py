"""For all tests: signals as a terminal leaves them, whoever started pytest; no limit of time for an example of a law;

and an engine with a small image.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator

import engine_images
import pytest
from hypothesis import HealthCheck, settings

from slimagent.image.engine import Engine


def pytest_configure() -> None:
    """A shell that starts us in the background ignores SIGINT, `nohup` SIGHUP; what we start would inherit that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # A slow machine is no fault of an example, and what hangs is ended by its test's own limit.
    settings.register_profile("slimagent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("slimagent")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Docker as it is here."""
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
    """A container's name, which is free again afterwards."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    yield name
    engine.remove_container(name)
