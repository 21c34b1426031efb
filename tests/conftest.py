"""For all tests: signals as a terminal leaves them, whoever started pytest."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A shell that starts us in the background ignores SIGINT, `nohup` SIGHUP; what we start would inherit that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
