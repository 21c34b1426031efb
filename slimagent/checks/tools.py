"""Kind `tools`: each named tool exists and answers to its version option.

Parameters: `needed` and `optional` (command lines, split as by a shell: "git", "java -version"), `seconds_each`
(default 20, for one try). A single word is tried with the usual options until one ends with status 0.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from slimagent.checks import parameters
from slimagent.checks.answers import mapping, parsed
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import FaultError, Finding, of_items, skipped
from slimagent.checks.program import Workspace
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"needed": tuple, "optional": tuple, "seconds_each": float}
_SECONDS_EACH = 20.0
# From the most usual one to the one that only shows that the program starts.
_OPTIONS = ("--version", "-version", "version", "-V", "--help")
_NO_SUCH_OPTION = 125  # 126 and 127 are the shell's "cannot run" (POSIX.1-2017, XCU 2.8.2), higher ones are signals'
_VERSION = re.compile(r"(?<![\d:.])\d+\.\d")  # not the seconds of a time
# No display and no pager: nobody is watching.
_SURROUNDINGS = {"TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat", "MANPAGER": "cat", "AWS_PAGER": ""}
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
# The message of sudo where execution gives no privileges, e.g. under a tracer without CAP_SYS_ADMIN.
_NO_PRIVILEGES = '"no new privileges" flag is set'
_LOGGED = 3  # tools whose last lines are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tool:
    """A tool of the profile: the item's name, the words of its command line, and whether it must exist."""

    name: str
    words: tuple[str, ...]
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The result for a tool; `option` is the one that a single word answered to."""

    item: Item
    option: str = ""
    log: str = ""


def run(spec: CheckSpec, context: Context) -> Finding:
    """An item per tool. The snapshot has the option that each answered to, so that a later run uses the same.

    Raises UsageError for an invalid command line.
    """
    tools = list(_tools(spec))
    if not tools:
        return skipped("the profile names no tool")
    known = _known(context)
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory:
        env = {name: value for name, value in context.env.items() if name not in _DISPLAYS}
        workspace = Workspace(context, {**env, **_SURROUNDINGS}, directory, deadline)
        trials = _Trials(workspace, parameters.number(spec, "seconds_each", _SECONDS_EACH), known)
        answers = [trials.answer(tool) for tool in tools]
    if all(each.item.outcome is Outcome.SKIPPED for each in answers):
        return replace(skipped("none of the tools is installed"), items=tuple(each.item for each in answers))
    logs = [each.log for each in answers if each.log]
    found = of_items((each.item for each in answers), log="\n".join(logs[:_LOGGED]))
    options = {each.item.name: each.option for each in answers if each.option}
    return replace(found, snapshot=json.dumps(options, sort_keys=True))


def _tools(spec: CheckSpec) -> Iterator[_Tool]:
    """Every tool once; if an earlier one has the same first word, it is named by its whole command line."""
    seen: set[str] = set()
    for parameter in ("needed", "optional"):
        for entry in parameters.strings(spec, parameter):
            words = _words(spec, parameter, entry)
            whole = shlex.join(words)
            name = whole if words[0] in seen else words[0]
            if name in seen or whole in seen:
                continue
            seen |= {name, whole}
            yield _Tool(name=name, words=words, needed=parameter == "needed")


def _words(spec: CheckSpec, parameter: str, entry: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(entry))
    except ValueError as error:
        raise UsageError(
            f"check {spec.name}: {parameter} has {entry!r}: {error}", "write it as for a shell, e.g. java -version"
        ) from None
    if not words or not words[0] or "\0" in entry:
        raise UsageError(f"check {spec.name}: {parameter} has {entry!r}", "name a program, with or without an option")
    return words


def _known(context: Context) -> dict[str, str]:
    """The options that tools answered to on the original image."""
    pairs = mapping(parsed(context.before.snapshot)).items() if context.before is not None else ()
    return {name: option for name, option in pairs if option in _OPTIONS}


@dataclass(frozen=True, slots=True)
class _Trials:
    """Tries tools: where, the seconds for one try, and the options known from an earlier run."""

    workspace: Workspace
    seconds: float
    known: Mapping[str, str]

    def answer(self, tool: _Tool) -> _Answer:
        """Find a tool and try it."""
        path, lacking = locate(tool.words[0], self.workspace.env.get("PATH", os.defpath).split(os.pathsep))
        if path:
            return self._try(tool, path)
        if lacking or tool.needed:
            return _fate(tool, Outcome.FAILED, lacking or "not on PATH")
        return _fate(tool, Outcome.SKIPPED, "not installed")

    def _try(self, tool: _Tool, path: str) -> _Answer:
        """Try a tool with its options, or the usual ones; the first failure is reported."""
        known = self.known.get(tool.name)
        tries: Iterable[tuple[str, ...]] = (tool.words[1:],)
        if len(tool.words) == 1:
            tries = ((known,),) if known else ((option,) for option in _OPTIONS)
        first: _Answer | None = None
        for options in tries:
            answer, again = self._once(tool, path, options)
            if answer.item.outcome is not Outcome.FAILED:
                return answer
            first = first or answer
            if not again:
                break
        return first or _fate(tool, Outcome.FAILED, "")

    def _once(self, tool: _Tool, path: str, options: tuple[str, ...]) -> tuple[_Answer, bool]:
        """One try, and whether another option may work: not if the program hung, crashed or was not loaded."""
        try:
            ended = self.workspace.complete((path, *options), self.seconds)
        except FaultError as fault:
            return _fate(tool, Outcome.FAILED, str(fault)), False
        except OSError as error:
            # execve(2) fails so if the interpreter of a script, or the loader of a program, does not exist.
            lost = isinstance(error, FileNotFoundError) and os.path.exists(path)
            why = "its interpreter or loader does not exist" if lost else error.strerror
            return _fate(tool, Outcome.FAILED, f"{path}: {why}"), False
        if ended.well:
            option = options[0] if len(tool.words) == 1 else ""
            return _fate(tool, Outcome.PASSED, version_line(ended.first), option=option), False
        if any(_NO_PRIVILEGES in line for line in ended.last):
            return _fate(tool, Outcome.SKIPPED, "it needs privileges, which a traced program cannot get here"), False
        line = shlex.join((tool.words[0], *options))
        answer = _fate(tool, Outcome.FAILED, f"{line}: {ended.why}", log=f"$ {line}\n{ended.log(5)}".rstrip())
        return answer, ended.returncode is not None and 0 < ended.returncode <= _NO_SUCH_OPTION


def _fate(tool: _Tool, outcome: Outcome, detail: str, *, option: str = "", log: str = "") -> _Answer:
    return _Answer(item=Item(name=tool.name, outcome=outcome, detail=detail), option=option, log=log)


def locate(program: str, directories: Iterable[str]) -> tuple[str, str]:
    """The first executable file of that name, or else what is wrong with the first one found.

    `program` with a slash is a path. Both are empty if there is nothing of that name.
    """
    places = (
        [program] if "/" in program else [os.path.join(directory, program) for directory in directories if directory]
    )
    wrong = ""
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place, ""
        if not wrong and os.path.islink(place) and not os.path.exists(place):
            wrong = f"{place} leads to {os.path.realpath(place)}, which does not exist"
        elif not wrong and os.path.isfile(place):
            wrong = f"{place} is not executable"
    return "", wrong


def version_line(lines: Iterable[str]) -> str:
    """The first line with a version, as warnings may come before it; else the first line."""
    every = list(lines)
    return next((line for line in every if _VERSION.search(line)), every[0] if every else "").strip()[:200]
