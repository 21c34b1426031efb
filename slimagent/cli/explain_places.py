"""What `slimagent explain` lists: what is in a directory, and what matches a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slimagent.cli import options
from slimagent.errors import UsageError
from slimagent.model.plan import Plan
from slimagent.paths.algebra import from_text
from slimagent.report.explain import Explainer, reason_sentence
from slimagent.report.explain_places import SORTS, Place, inside, matching, total
from slimagent.report.text import size, table
from slimagent.text.counted import counted

_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class _List:
    """All of a directory or a pattern, and the places in it, in order."""

    whole: Place
    places: list[Place]


class Listing:
    """Lists of places of one plan, each sorted, with at most `most` places shown."""

    def __init__(self, explainer: Explainer, plan: Plan, sort: str, most: int) -> None:
        self._explainer, self._plan, self._sort, self._most = explainer, plan, sort, most
        self._lists: list[_List] = []

    def add_pattern(self, text: str) -> bool:
        """List the paths that match if this is a pattern, and say whether it is. Raises UsageError for no match.

        A path that the plan has is no pattern, whatever is in its name.
        """
        if not text.startswith("/") or not _WILD.search(text):
            return False
        if self._explainer.explain(from_text(text)).verdict is not None:
            return False
        options.path_pattern("explain", text)
        found = matching(self._plan, text)
        whole = total(found, text)
        if whole is None:
            raise UsageError(
                f"no path of the plan matches {text}", "* and ? stay in one directory, ** spans any number"
            )
        self._lists.append(_List(whole, sorted(found, key=SORTS[self._sort])))
        return True

    def add_directory(self, path: str) -> None:
        """List what is in a directory. Anything else adds nothing."""
        if path.startswith("/"):
            found = inside(self._plan, from_text(path))
            whole = total(found, path)
            if whole is not None:
                self._lists.append(_List(whole, sorted(found, key=SORTS[self._sort])))

    def rows(self) -> Iterator[dict[str, object]]:
        """All lists, for JSON: every place, with what would keep what goes."""
        for each in self._lists:
            yield {**self._row(each.whole), "places": [self._row(place) for place in each.places]}

    def lines(self) -> Iterator[str]:
        """All lists as tables, the whole of each in the last line."""
        for each in self._lists:
            shown = each.places[: self._most]
            rows = [["size", "stays", "goes", "", "mostly because"]]
            rows += [self._cells(place) for place in shown]
            if len(shown) < len(each.places):
                rest = total(each.places[self._most :], f"… and {len(each.places) - self._most:,} more")
                if rest is not None:
                    rows.append([*self._cells(rest)[:-1], f"--most {len(each.places)} lists all"])
            rows.append([*self._cells(each.whole)[:-1], f"{counted(each.whole.paths, 'path')} in all"])
            yield ""
            yield from table(rows)

    def _cells(self, place: Place) -> list[str]:
        goes = place.size - place.kept
        return [*(size(each) for each in (place.size, place.kept, goes)), place.what, self._why(place)]

    def _why(self, place: Place) -> str:
        return reason_sentence(self._plan, place.reason)

    def _row(self, place: Place) -> dict[str, object]:
        found = self._explainer.explain(from_text(place.what))
        return {
            "what": place.what,
            "paths": place.paths,
            "size": place.size,
            "kept": place.kept,
            "reason": self._why(place),
            "cost": found.cost,
        }
