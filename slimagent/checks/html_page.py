"""What an HTML page refers to. Pure: text in, URLs out."""

from __future__ import annotations

import html.parser
from collections.abc import Set as AbstractSet
from urllib.parse import urljoin

LINKS = frozenset(("stylesheet", "icon", "shortcut", "manifest", "preload", "modulepreload"))


class References(html.parser.HTMLParser):
    """Collects in `found` the references of a page to scripts, or what else has these tags, and to linked files."""

    def __init__(self, *, sources: tuple[str, ...] = ("script",), links: AbstractSet[str] = LINKS) -> None:
        super().__init__()
        self._sources, self._links = sources, links
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a reference of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.tag(tag, values)
        if tag in self._sources:
            self.found.append(values.get("src", ""))
        elif tag == "link" and self._links & set(values.get("rel", "").lower().split()):
            self.found.append(values.get("href", ""))

    def tag(self, name: str, values: dict[str, str]) -> None:
        """Called with each tag and its attributes."""


def joined(base: str, reference: str) -> str:
    """The absolute URL of a reference; empty if it has none, e.g. because it holds its data itself."""
    try:
        url = urljoin(base, reference.strip()) if reference.strip() else ""
    except ValueError:  # e.g. http://[x
        return ""
    return url if url.startswith("http") else ""
