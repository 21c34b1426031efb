"""What a terminal gets and what a log gets: colour, a live line, and a sign of life."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import time

import pytest

from slimagent.cli.console import Console

SHOW = """
import time
from slimagent.cli import console, terminal
console._STILL_EVERY = 0.2
with console.Console(is_alone={alone}).phase("work in a container") as progress:
    for at in range(8):
        time.sleep(0.1)
        progress(at)
        if at == 4:
            terminal.line("from [red]inside[/red] ", terminal.Styled("here", "red"), err=True)
"""


def shown(script: str, *, tty: bool, **variables: str) -> str:
    """What a script writes to standard error, which is a terminal or a pipe."""
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    env = {"TERM": "xterm-256color", **known, **variables}
    if not tty:
        return subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        ).stderr
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], env=env, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        data = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # Linux reports EIO when the last writer has gone
                break
            data += more
        assert process.wait() == 0
    os.close(ours)
    return data.decode()


def test_a_phase_in_a_phase_is_part_of_it() -> None:
    """Of those of one name, too, wherever the second one comes; also if it fails. The whole is what it took."""
    made = Console(quiet=True)
    for _ in range(2):
        with made.phase("outer"), made.phase("inner"):
            time.sleep(0.02)
        with made.phase("after"):
            pass
    with contextlib.suppress(KeyError), made.phase("outer"), made.phase("last"):
        raise KeyError
    assert [(each.name, each.depth) for each in made.phases] == [("outer", 0), ("inner", 1), ("last", 1), ("after", 0)]
    outer, inner, last, after = (each.seconds for each in made.phases)
    assert outer >= inner + last and inner >= 0.04
    assert made.seconds >= outer + after


COLOURED = "from slimagent.cli import terminal; terminal.line(terminal.Styled('word', 'red', bold=True), err=True)"


@pytest.mark.parametrize(
    ("tty", "variables", "is_coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_and_for_who_asks(tty: bool, variables: dict[str, str], is_coloured: bool) -> None:
    """NO_COLOR, FORCE_COLOR and TERM=dumb are obeyed."""
    text = shown(COLOURED, tty=tty, **variables)
    assert "word" in text
    assert ("\x1b[" in text) is is_coloured


@pytest.mark.parametrize("alone", [True, False])
def test_a_log_shows_that_work_goes_on(alone: bool) -> None:
    """A phase that takes long says so now and then, and nothing moves the cursor."""
    text = shown(SHOW.format(alone=alone), tty=False)
    assert "s so far\n" in text
    assert "from [red]inside[/red] here\n" in text
    assert text.splitlines()[-1].startswith("slimagent: work in a container  0.")
    assert "\x1b" not in text and "\r" not in text


def test_a_terminal_shows_a_live_line_and_what_is_said_above_it() -> None:
    """The live line makes room for lines, which are not read as markup, and is gone in the end."""
    text = shown(SHOW.format(alone=True), tty=True, TERM="xterm")
    assert "work in a container" in text and "s so far" not in text
    assert "\x1b[2Kfrom [red]inside[/red] " in text
    assert "slimagent: " in text.splitlines()[-1]


def test_a_dumb_terminal_gets_lines() -> None:
    """A terminal that cannot change a line gets what a log gets."""
    text = shown(SHOW.format(alone=True), tty=True, TERM="dumb")
    assert "s so far\r\n" in text and "\x1b" not in text
