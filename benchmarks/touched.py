"""Which software a traced run touched, by a plan made from it: the tasks on that are those that must survive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slimagent import documents
from slimagent.model.plan import Plan
from slimagent.paths.algebra import USUAL_PATH, join

# The reasons of a package that the run itself gave, and of a file.
_USED = "used"
_ACCESSED = frozenset({"executed", "opened", "looked-up", "link-on-the-way"})


class Touched:
    """Answers for one plan; `search` are the folders of the image's PATH, first."""

    def __init__(self, plan: Plan, search: Sequence[str] = ()) -> None:
        self._plan = plan
        self._at = {entry.path: at for at, entry in enumerate(plan.entries)}
        self._further = dict(plan.further)
        self._search = (*(folder.encode() for folder in search), *USUAL_PATH)
        self._used = {
            (each.package.kind, _normal(each.package.name))
            for each in plan.packages
            if plan.reasons[each.reason].kind == _USED
        }

    def all(self, needs: Sequence[str]) -> bool:
        """Whether the run touched every one of KIND:NAME."""
        return all(self._one(need) for need in needs)

    def _one(self, need: str) -> bool:
        kind, _, name = need.partition(":")
        if kind in ("python", "r"):
            return (kind, _normal(name)) in self._used
        paths = [name.encode()] if name.startswith("/") else [join(folder, name.encode()) for folder in self._search]
        found = next((self._at[path] for path in paths if path in self._at), None)
        return found is not None and self._program(found)

    def _program(self, at: int) -> bool:
        """A program was touched if it was asked for, or its package was."""
        entry = self._plan.entries[at]
        owners = () if entry.owner < 0 else (entry.owner, *self._further.get(at, ()))
        if any(self._plan.reasons[self._plan.packages[each].reason].kind == _USED for each in owners):
            return True
        return self._plan.reasons[entry.reason].kind in _ACCESSED


def _normal(name: str) -> str:
    """As PEP 503 normalises the names of Python distributions."""
    return name.lower().replace("_", "-").replace(".", "-")


def load(path: Path, search: Sequence[str]) -> Touched:
    """The answers of a plan in a file."""
    return Touched(documents.decode_plan(path.read_bytes(), str(path)), search)
