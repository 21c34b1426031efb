"""The page of RStudio Server, and the files that it names.

The page is src/gwt/www/index.htm of github.com/rstudio/rstudio. It loads rstudio/rstudio.nocache.js, which chooses the
program for the browser: a permutation, in the same directory, named HASH.cache.js (HASH.cache.html before GWT 2.6;
github.com/gwtproject/gwt, com/google/gwt/core/linker/CrossSiteIframeLinker.java).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from slimagent.checks.html_page import References, joined
from slimagent.checks.loopback import Client, RequestError

LOADER = "rstudio/rstudio.nocache.js"
_PERMUTATION = re.compile(rb"(?<![0-9A-Za-z])[0-9A-F]{32}(?![0-9A-Za-z])")
_MOST = 100  # of each: a page that names more is not RStudio's
_PLAIN = "/?%:@!$&'()*+,;=~"


def references(page: str, url: str) -> list[str]:
    """The paths, on the same server, of the scripts, styles, icons and images of the page at `url`, each once."""
    parser = References(sources=("script", "img"))
    parser.feed(page)
    parser.close()
    return list(dict.fromkeys(path for each in parser.found[:_MOST] for path in _own(each, url)))


def _own(reference: str, url: str) -> Iterator[str]:
    parts, own = urlsplit(joined(url, reference)), urlsplit(url)
    if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        yield quote(parts.path + (f"?{parts.query}" if parts.query else ""), safe=_PLAIN)  # as a browser sends it


def permutations(loader: bytes) -> list[str]:
    """The names of the programs from which the loader chooses, each once."""
    return [name.decode() for name in dict.fromkeys(_PERMUTATION.findall(loader))][:_MOST]


def permutation_fault(client: Client, loader: str, name: str, seconds: float) -> str:
    """Why the program of that name, beside the loader, is not served; empty if it is."""
    directory = loader.rpartition("/")[0]
    faults = [fault(client, f"{directory}/{name}.cache.{kind}", seconds) for kind in ("js", "html")]
    return "" if "" in faults else faults[0]


def fault(client: Client, path: str, seconds: float) -> str:
    """Why a file is not served; empty if it is."""
    try:
        client.content(path, seconds)
    except RequestError as error:
        return str(error)
    return ""
