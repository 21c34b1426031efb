"""Quarto and pandoc as RStudio Server bundles them, and as they are on the PATH.

They are in bin/quarto of RStudio's directory (github.com/rstudio/rstudio, src/cpp/CMakeLists.txt; pandoc in its
bin/tools, since Quarto 1.4 in a directory for each machine), before Quarto in bin/pandoc. A shell script alone answers
`quarto --version` (github.com/quarto-dev/quarto-cli, package/scripts/common/quarto). Only rendering a document needs
the rest of Quarto.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent.checks.program import Ended, complete
from slimagent.checks.rstudio.server import DIRECTORIES, Place, locate, number, read_own
from slimagent.model.result import Item, Outcome

_SECONDS = 60.0  # for one program
_DOCUMENT = "# A title\n\nA *word*.\n"
_RENDERED = "<em>word</em>"


class _FaultError(Exception):
    """A program that does not do its work: which, and why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where the tools are looked for, and until when they may run; True says that one must be there, False skips it."""

    place: Place
    rserver: str
    deadline: float
    quarto: bool | None
    pandoc: bool | None

    def items(self) -> Iterator[Item]:
        """Items: quarto, quarto render, pandoc; one copy that fails fails the item."""
        quartos, pandocs = self._found("quarto"), self._found("pandoc")
        for name in ("document.md", "document.qmd"):
            with open(self.place.path(name), "x", encoding="utf-8") as file:
                file.write(_DOCUMENT)
            os.chmod(file.name, 0o644)
        yield self._item("quarto", self.quarto, quartos, self._version)
        yield self._item("quarto render", self.quarto, quartos, self._render)
        yield self._item("pandoc", self.pandoc, pandocs, self._convert)

    def _found(self, name: str) -> list[str]:
        """The copies of a program, each once: those that RStudio bundles, in whatever state, and the PATH's."""
        inside = {
            "quarto": ("quarto/bin/quarto",),
            "pandoc": (
                "quarto/bin/tools/pandoc",
                f"quarto/bin/tools/{os.uname().machine}/pandoc",
                "pandoc/pandoc",
            ),
        }
        directories = (os.path.dirname(os.path.realpath(self.rserver)), *DIRECTORIES)
        bundled = (os.path.join(directory, each) for directory in directories for each in inside[name])
        on_path = locate(name, (), self.place.env)
        places = [each for each in bundled if os.path.lexists(each)] + ([on_path] if on_path else [])
        return list({os.path.realpath(each): each for each in reversed(places)}.values())[::-1]

    def _item(self, name: str, expected: bool | None, paths: list[str], exercise: Callable[[str], str]) -> Item:
        if expected is False:
            return Item(name=name, outcome=Outcome.SKIPPED, detail="left out by the profile")
        if not paths:
            outcome = Outcome.FAILED if expected else Outcome.SKIPPED
            return Item(name=name, outcome=outcome, detail="neither bundled with RStudio nor on PATH")
        told, faults = [], []
        for path in paths:
            try:
                told.append(f"{path} {exercise(path)}".rstrip())
            except _FaultError as fault:
                faults.append(f"{path}: {fault}")
            except OSError as error:
                faults.append(f"{path}: {error.strerror or error}")
        if faults:
            return Item(name=name, outcome=Outcome.FAILED, detail="; ".join(faults))
        return Item(name=name, outcome=Outcome.PASSED, detail=", ".join(told))

    def _version(self, path: str) -> str:
        line = next(iter(self._run(path, "--version").first), "")
        if not any(each.isdigit() for each in line):
            raise _FaultError(f"--version says {line[:100]!r}")
        return line[:60]

    def _render(self, path: str) -> str:
        document = self.place.path("document.html")
        if os.path.lexists(document):
            os.unlink(document)  # another copy's
        self._run(path, "render", "document.qmd", "--to", "html")
        if not read_own(document, number(self.place.context.user)):
            raise _FaultError("render writes no document.html")
        return ""

    def _convert(self, path: str) -> str:
        said = " ".join(self._run(path, "--from=markdown", "--to=html", "document.md").last)
        if _RENDERED not in said:
            raise _FaultError(f"makes of *word* {said[:100]!r}")
        return ""

    def _run(self, path: str, *arguments: str) -> Ended:
        left = min(_SECONDS, self.deadline - time.monotonic())
        if left <= 0:
            raise _FaultError("not reached in the time of the check")
        place = self.place
        ended = complete(place.context, (path, *arguments), env=place.env, cwd=place.directory, seconds=left)
        if not ended.well:
            raise _FaultError(f"{arguments[0]}: {ended.why}")
        return ended
