"""The `slimagent` command, and the one place where errors become lines and exit statuses."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from types import FrameType
from typing import Any

import click

from slimagent import __version__
from slimagent.cli import terminal
from slimagent.cli.commands import Commands
from slimagent.cli.terminal import Styled
from slimagent.errors import ERROR_VARIABLE, SlimagentError, UnavailableError

INTERRUPTED = 128


class Ended(BaseException):
    """A signal asked us to end. Not an Exception: only clean-up code may see it pass."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="slimagent")
def group() -> None:
    """Make a container image small, keep it working, and prove it.

    Begin with:  slimagent image IMAGE -t TAG -- YOUR-TEST
    """


def main() -> None:
    """Parse the arguments, run, and exit: 0 done, 1 no, 2 usage, 3 refused, 4 unavailable."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    signal.signal(signal.SIGQUIT, _end)
    # Our parent may ignore it, and we inherit that: the kernel then keeps no exit statuses (wait(2), NOTES), and
    # Python takes each lost one for 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        result: Any = group.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except SlimagentError as error:
        if not _written_down(error):
            _say(error.message, error.hint)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        terminal.lines(shown.getvalue().removesuffix("\n").split("\n"), err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted", "")
        sys.exit(INTERRUPTED + signal.SIGINT)
    except Ended as ended:
        sys.exit(INTERRUPTED + ended.number)
    except BrokenPipeError:
        sys.exit(INTERRUPTED + signal.SIGPIPE)
    except Exception as error:  # a fault of ours: whoever started us must not wait for an answer
        with contextlib.suppress(Exception):  # nothing may hide the error itself
            _written_down(_our_fault(error))
        raise


def _our_fault(error: Exception) -> SlimagentError:
    """A fault of ours as an error, with its place: the traceback stays in the container."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" ({os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno})"
    told = f"slimagent itself failed in the container: {type(error).__name__}: {error}{where}"
    return UnavailableError(told, "run it again; if it fails again, please report this error")


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def _written_down(error: SlimagentError) -> bool:
    """Write the error to the file that our caller named, if any: the caller then reports it."""
    path = os.environ.get(ERROR_VARIABLE)
    if not path:
        return False
    import orjson  # imported only when there is an error

    from slimagent.linux.files import write

    record = {"message": error.message, "hint": error.hint, "status": error.exit_status}
    try:
        write(path, orjson.dumps(record))
    except SlimagentError:
        return False
    return True


def _say(message: str, hint: str) -> None:
    terminal.line(Styled("slimagent: ", "red", bold=True), message, err=True)
    if hint:
        terminal.line(Styled("  hint: ", "cyan"), hint, err=True)
