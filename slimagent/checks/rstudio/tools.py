"""Quarto and pandoc as RStudio Server bundles them, and as they are on the PATH.

They are in bin/quarto of RStudio's directory (github.com/rstudio/rstudio, src/cpp/CMakeLists.txt; pandoc in its
bin/tools, since Quarto 1.4 in a directory for each machine), before Quarto in bin/pandoc. A shell script alone answers
`quarto --version` (github.com/quarto-dev/quarto-cli, package/scripts/common/quarto). Only rendering a document needs
the rest of Quarto.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent.checks.directory import end_of
from slimagent.checks.finding import LEFT_OUT, FaultError, all_skipped, judged
from slimagent.checks.program import Ended, Workspace
from slimagent.checks.rstudio.server import DIRECTORIES, Place, locate, number
from slimagent.model.result import Item

_SECONDS = 60.0  # for one program
_DOCUMENT = "# A title\n\nA *word*.\n"
_RENDERED = "<em>word</em>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where to look for the tools, and their deadline; True: the tool must be there, False: it is skipped."""

    place: Place
    rserver: str
    deadline: float
    quarto: bool | None
    pandoc: bool | None

    def items(self) -> Iterator[Item]:
        """Items: quarto, quarto render, pandoc. An item fails if one copy fails."""
        quartos, pandocs = self._found("quarto"), self._found("pandoc")
        for name in ("document.md", "document.qmd"):
            with open(self.place.path(name), "x", encoding="utf-8") as file:
                file.write(_DOCUMENT)
            os.chmod(file.name, 0o644)
        yield _item("quarto", self.quarto, quartos, self._version)
        yield _item("quarto render", self.quarto, quartos, self._render)
        yield _item("pandoc", self.pandoc, pandocs, self._convert)

    def _found(self, name: str) -> list[str]:
        """The copies of a program, each once: those that RStudio bundles, even if broken, and that on PATH."""
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

    def _version(self, path: str) -> str:
        line = next(iter(self._run(path, "--version").first), "")
        if not any(each.isdigit() for each in line):
            raise FaultError(f"--version prints {line[:100]!r}")
        return line[:60]

    def _render(self, path: str) -> str:
        document = self.place.path("document.html")
        if os.path.lexists(document):
            os.unlink(document)  # another copy's
        self._run(path, "render", "document.qmd", "--to", "html")
        if not end_of(document, 1, number(self.place.context.user)):
            raise FaultError("render writes no document.html")
        return ""

    def _convert(self, path: str) -> str:
        said = " ".join(self._run(path, "--from=markdown", "--to=html", "document.md").last)
        if _RENDERED not in said:
            raise FaultError(f"converts *word* to {said[:100]!r}")
        return ""

    def _run(self, path: str, *arguments: str) -> Ended:
        workspace = Workspace(self.place.context, self.place.env, self.place.directory, self.deadline)
        ended = workspace.complete((path, *arguments), _SECONDS)
        if not ended.well:
            raise FaultError(f"{arguments[0]}: {ended.why}")
        return ended


def _item(name: str, expected: bool | None, paths: list[str], exercise: Callable[[str], str]) -> Item:
    if expected is False:
        return all_skipped([name], LEFT_OUT)[0]
    if not paths:
        absent = "neither bundled with RStudio nor on PATH"
        return judged(name, absent) if expected else all_skipped([name], absent)[0]
    good, faults = [], []
    for path in paths:
        try:
            good.append(f"{path} {exercise(path)}".rstrip())
        except FaultError as fault:
            faults.append(f"{path}: {fault}")
        except OSError as error:
            faults.append(f"{path}: {error.strerror or error}")
    return judged(name, "; ".join(faults), ", ".join(good))
