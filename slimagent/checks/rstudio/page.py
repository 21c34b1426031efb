"""The page of RStudio Server, and the files that it names.

The page is src/gwt/www/index.htm of github.com/rstudio/rstudio. It loads rstudio/rstudio.nocache.js, which chooses the
program for the browser at hand: a permutation, beside it, by the name HASH.cache.js (HASH.cache.html before GWT 2.6;
github.com/gwtproject/gwt, com/google/gwt/core/linker/CrossSiteIframeLinker.java).
"""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from urllib.parse import quote, urljoin, urlsplit

from slimagent.checks.loopback import Client, RequestError

LOADER = "rstudio/rstudio.nocache.js"
_PERMUTATION = re.compile(rb"(?<![0-9A-Za-z])[0-9A-F]{32}(?![0-9A-Za-z])")
_MOST = 100  # of each: a page that names more is not RStudio's
_PLAIN = "/?%:@!$&'()*+,;=~"
_STYLES = frozenset(("stylesheet", "icon", "shortcut", "manifest", "preload", "modulepreload"))


class _References(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("script", "img"):
            self.found.append(values.get("src", ""))
        elif tag == "link" and _STYLES & set(values.get("rel", "").lower().split()):
            self.found.append(values.get("href", ""))


def references(page: str, url: str) -> list[str]:
    """The paths on its own server of the scripts, styles, icons and images that the page at `url` names, each once."""
    parser = _References()
    parser.feed(page)
    parser.close()
    return list(dict.fromkeys(path for each in parser.found[:_MOST] for path in _own(each, url)))


def _own(reference: str, url: str) -> Iterator[str]:
    try:
        parts, own = urlsplit(urljoin(url, reference)), urlsplit(url)
    except ValueError:  # such as http://[
        return
    if reference.strip() and (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        yield quote(parts.path + (f"?{parts.query}" if parts.query else ""), safe=_PLAIN)  # as a browser sends it


def permutations(loader: bytes) -> list[str]:
    """The names of the programs between which the loader chooses, each once."""
    return [name.decode() for name in dict.fromkeys(_PERMUTATION.findall(loader))][:_MOST]


def permutation_fault(client: Client, loader: str, name: str, seconds: float) -> str:
    """Why the program of that name cannot be had from beside the loader's path, or nothing."""
    directory = loader.rpartition("/")[0]
    faults = [fault(client, f"{directory}/{name}.cache.{kind}", seconds) for kind in ("js", "html")]
    return "" if "" in faults else faults[0]


def fault(client: Client, path: str, seconds: float) -> str:
    """Why a file cannot be had, or nothing."""
    try:
        return "" if client.get(path, seconds).body else f"GET {path}: empty"
    except RequestError as error:
        return str(error)
