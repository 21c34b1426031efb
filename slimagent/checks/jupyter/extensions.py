"""What `jupyter labextension list` and `jupyter server extension list` report, line by line.

Their output is for people; the lines are those of jupyterlab's commands.py (versions 3 and 4) and of jupyter_server's
extension/serverextension.py (versions 1 and 2), to either stream, with colours. A disabled extension is not a fault.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.finding import all_skipped, judged
from slimagent.checks.output import Output, last_lines
from slimagent.checks.processes import started, wait_until
from slimagent.linux.command import ending
from slimagent.model.result import Item, Outcome

LABEXTENSIONS, SERVER_EXTENSIONS = "labextensions", "server extensions"
_ARGUMENTS = {LABEXTENSIONS: ("labextension", "list"), SERVER_EXTENSIONS: ("server", "extension", "list")}
_PROGRAMS = {LABEXTENSIONS: "jupyter-labextension", SERVER_EXTENSIONS: "jupyter-server"}
_LARGEST = 1 << 20
_MOST = 1000
# E.g. `        @jupyterlab/git v0.55.0 enabled OK (python, jupyterlab-git)`.
_LABEXTENSION = re.compile(r"^\s+(\S+)(?: \S+)? v\S*\s+(enabled|disabled)\s+(OK|X)\*?(?:\s|$)")
# E.g. `    nbdime enabled`, `    - Validating nbdime...`, `      nbdime 4.0.4 OK`, `      X the cause`.
_SERVER_EXTENSION = re.compile(r"^\s+(\S+)\s+(enabled|disabled)\s*$")
_VALID = re.compile(r"^\s+(\S+)(?:\s+\S+)?\s+OK\s*$")
_INVALID = re.compile(r"^\s+X (?:Validation failed: )?(.*)$")
# E.g. `[W 2024-01-01 ServerApp] nbdime | extension failed loading with message: ImportError("x")`.
_NOT_LOADED = re.compile(r"\] (\S+) \| (?:extension failed loading with message: |error linking extension: )(.*)$")


@dataclass(slots=True)
class Listing:
    """One of the two programs, started; it runs in the background."""

    name: str
    output: Output
    process: subprocess.Popen[bytes] | None
    why_not: str

    def text(self, seconds: float) -> tuple[str, str]:
        """Its output, and what is wrong with how it ended, if anything."""
        if self.process is None:
            return "", self.why_not
        returncode = wait_until(self.process, time.monotonic() + seconds, self.output)
        text = last_lines(os.pread(self.output.fileno(), _LARGEST, 0), _LARGEST)
        if returncode == 0:
            return text, ""
        how = f"no end after {seconds:.0f} s" if returncode is None else ending(returncode)
        last = text.rpartition("\n")[2].strip()
        return text, f"{how}: {last[:300]}" if last else how


@contextlib.contextmanager
def listing(
    context: Context, name: str, command: Sequence[str], env: Mapping[str, str], directory: str
) -> Iterator[Listing]:
    """Start one of the two programs; it is stopped when the block ends. `command` is what starts JupyterLab."""
    path = env.get("PATH", os.defpath)
    jupyter = command[0] if os.path.basename(command[0]) == "jupyter" else "jupyter"
    absent = next((each for each in (jupyter, _PROGRAMS[name]) if shutil.which(each, path=path) is None), "")
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(Output())
        process, why_not = None, f"{absent} is not on PATH"
        if not absent:
            argv = (jupyter, *_ARGUMENTS[name])
            try:
                process = stack.enter_context(
                    started(context, argv, env=env, cwd=directory, stdout=output, stderr=output)
                )  # fmt: skip
            except OSError as error:
                why_not = f"{argv[0]}: {error.strerror}"
        yield Listing(name, output, process, why_not)


def items(running: Listing, seconds: float, log: Sequence[str] = ()) -> list[Item]:
    """One item for the list, and one for each extension in it. `log` is the server's: it names what was not loaded."""
    text, wrong = running.text(seconds)
    if running.process is None:
        return all_skipped([running.name], wrong)
    found = labextensions(text) if running.name == LABEXTENSIONS else _with_failures(server_extensions(text), log)
    return [judged(running.name, wrong, f"{len(found)} listed"), *found[:_MOST]]


def labextensions(text: str) -> list[Item]:
    """An item for each extension of a `jupyter labextension list`."""
    found: dict[str, Item] = {}
    for match in filter(None, map(_LABEXTENSION.match, text.splitlines())):
        name = f"labextension {match[1]}"
        if match[2] == "disabled":
            found.setdefault(name, Item(name=name, outcome=Outcome.SKIPPED, detail="disabled"))
        else:  # the cross has only this meaning
            found.setdefault(name, judged(name, "" if match[3] == "OK" else "not compatible with this JupyterLab"))
    return list(found.values())


def server_extensions(text: str) -> list[Item]:
    """An item for each extension of a `jupyter server extension list`; the user's setting comes first, and counts."""
    found: dict[str, Item] = {}
    current = ""
    for line in text.splitlines():
        if match := _SERVER_EXTENSION.match(line):
            current = f"server extension {match[1]}"
            if current in found:
                current = ""
            elif match[2] == "disabled":
                found[current] = Item(name=current, outcome=Outcome.SKIPPED, detail="disabled")
                current = ""
            else:
                found[current] = judged(current, "it was not validated")
        elif current and _VALID.match(line):
            found[current] = judged(current, "")
        elif current and (match := _INVALID.match(line)):
            found[current] = Item(name=current, outcome=Outcome.FAILED, detail=match[1][:300])
    return list(found.values())


def _with_failures(found: list[Item], log: Sequence[str]) -> list[Item]:
    failures = {f"server extension {match[1]}": match[2][:300] for match in map(_NOT_LOADED.search, log) if match}
    return [
        judged(each.name, f"not loaded: {failures[each.name]}")
        if each.name in failures and each.outcome is Outcome.PASSED
        else each
        for each in found
    ]
