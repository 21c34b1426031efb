"""The log of an extension host of VS Code's server. Pure: text in, facts out.

The log is not documented. Its lines are in src/vs/workbench/api/common/extHostExtensionService.ts and
.../extHostExtensionActivator.ts of github.com/microsoft/vscode (as of 1.100; until 1.62 the cause was in the line).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \[(\w+)\] (.*)$")
_STARTED = re.compile(r"Extension host (?:with pid \d+ )?started|Eager extensions activated")
_ACTIVATES = re.compile(r"ExtensionService#_doActivateExtension ([^\s,]+), startup: (true|false)")
_FAILED = re.compile(r"Activating extension '?([^\s']+)'? failed(?: due to an error)?:? ?(.*)")
_EAGER = "Eager extensions activated"
_LONGEST = 300  # characters of a cause


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLog:
    """What the log says of an extension host: identities in lower case, `failed` with the cause of each.

    `at_once` are the activated ones that the others wait for; `eager`: all of these have ended.
    """

    started: bool
    activated: frozenset[str]
    at_once: frozenset[str]
    failed: Mapping[str, str]
    eager: bool


def read_log(text: str) -> HostLog:
    """Read a log, which may be cut off anywhere."""
    activated: set[str] = set()
    at_once: set[str] = set()
    failed: dict[str, str] = {}
    started, eager, waiting = False, False, ""
    for line in text.split("\n"):
        parts = _LINE.match(line)
        if parts is None:
            continue
        message = parts[2]
        if waiting:  # the cause is the next message
            failed[waiting], waiting = message.strip()[:_LONGEST], ""
        started = started or _STARTED.match(message) is not None
        eager = eager or message.startswith(_EAGER)
        if activates := _ACTIVATES.match(message):
            activated.add(activates[1].lower())
            if activates[2] == "true":
                at_once.add(activates[1].lower())
        elif wrong := _FAILED.match(message):
            identity, cause = wrong[1].lower(), wrong[2].strip()
            failed[identity] = cause[:_LONGEST]
            waiting = "" if cause else identity
    return HostLog(
        started=started,
        activated=frozenset(activated),
        at_once=frozenset(at_once),
        failed=failed,
        eager=eager,
    )
