"""Find what a browser loads for a page: its scripts, styles, pictures and fonts. Pure.

A test that asks for a page makes its server open the page alone. Nobody sees a browser ask for the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from slimagent.paths.algebra import ancestors, parent
from slimagent.plan.keeper import Keeper

# Pages, templates of pages, and programs that print one.
_PAGE = re.compile(
    rb".*\.(?:x?html?|ejs|hbs|mustache|jinja2?|j2|tmpl|tpl|twig|erb|haml|pug|liquid|njk|vue|svelte|php|phtml|jspx?|cgi)",
    re.DOTALL | re.IGNORECASE,
)
# Web frameworks keep pages in templates/, and what those load in static/ beside it (Flask, Django, Tornado).
_TEMPLATES = re.compile(rb"(.*)/templates(?:/.*)?", re.DOTALL)
_STATIC = b"/static"
MOST = 2000  # budgets: what lies beside a page stays up to so many bytes


def beside_pages(keeper: Keeper, files: Sequence[int], limit: int) -> Iterator[tuple[int, bytes]]:
    """The files of a package that lie beside one of its pages that was opened, or below, each with the page.

    A page beside which more than `limit` bytes lie brings none.
    """
    paths, sizes = keeper.inventory.paths, keeper.inventory.sizes
    pages = _opened_pages(keeper, files)
    beside: defaultdict[bytes, list[int]] = defaultdict(list)
    tops = tuple(directory.rstrip(b"/") + b"/" for directory in pages)
    for at in files if pages else ():
        if paths[at].startswith(tops) and not keeper.goes(at):
            for directory in ancestors(paths[at]):
                if directory in pages:
                    beside[directory].append(at)
    for directory, found in beside.items():
        if sum(sizes[at] for at in found) <= limit:
            yield from ((at, pages[directory]) for at in found)


def _opened_pages(keeper: Keeper, files: Sequence[int]) -> dict[bytes, bytes]:
    """By directory, an opened page that brings what lies in it."""
    pages: dict[bytes, bytes] = {}
    for at in files:
        path = keeper.inventory.paths[at]
        if keeper.was_opened(at) and _PAGE.fullmatch(path):
            templates = _TEMPLATES.fullmatch(parent(path))
            for directory in (parent(path), *([templates[1] + _STATIC] if templates else [])):
                pages.setdefault(directory, path)
    return pages
