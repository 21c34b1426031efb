"""JupyterLab's page, as a browser loads it: the page itself, and every file that it may load later."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import urljoin

from slimagent.checks.answers import array
from slimagent.checks.finding import FaultError, UnexercisedError, first_few
from slimagent.checks.jupyter import bundle
from slimagent.checks.jupyter.server import Asking
from slimagent.checks.loopback import RequestError
from slimagent.model.result import Item

NAMES = ("page", "assets", "chunks", "settings", "themes")


class Loaded:
    """A page that is loaded step by step: a file that several steps need is requested once."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._page: bundle.Page | None = None
        self._texts: dict[str, str] = {}
        self._themes: dict[str, None] = {}

    def items(self) -> Iterator[Item]:
        """Items of NAMES, of the parts of each extension, and of each theme."""
        attempt = self._asking.attempt
        yield attempt("page", self._load)
        yield attempt("assets", self._assets)
        yield attempt("chunks", self._own_parts)
        for name, url in self._page.extensions.items() if self._page else ():
            yield attempt(f"chunks {name}", partial(self._parts, url))
        yield attempt("settings", self._settings)
        yield attempt("themes", self._any_theme)
        for name in self._themes:
            yield attempt(f"theme {name}", partial(self._theme, name))

    def _whole(self) -> bundle.Page:
        if self._page is None:
            raise UnexercisedError("no page")
        return self._page

    def _load(self) -> str:
        answer = self._asking.get("/lab")
        text = answer.body.decode("utf-8", "replace")
        if 'id="jupyter-config-data"' not in text:
            raise RequestError(f"GET /lab: {answer.url} is not JupyterLab's page")
        self._page = bundle.read_page(text, urljoin(self._asking.client.root, "/lab"))
        return ""

    def _text(self, url: str) -> str:
        """A file of the server. Raises RequestError, for an empty one too."""
        if url not in self._texts:
            self._texts[url] = self._asking.content(self._asking.client.path(url)).decode("utf-8", "replace")
        return self._texts[url]

    def _served(self, urls: Iterator[str]) -> tuple[int, list[str]]:
        """How many of the URLs are this server's, and what is wrong with them."""
        count, wrong = 0, []
        for url in dict.fromkeys(urls):
            if self._asking.client.serves(url):
                count += 1
                try:
                    self._text(url)
                except RequestError as error:
                    wrong.append(str(error))
        return count, wrong

    def _assets(self) -> str:
        page = self._whole()
        count, wrong = self._served(iter((*page.references, *page.extensions.values())))
        return _all(count, wrong, "scripts and styles")

    def _own_parts(self) -> str:
        found = [url for url in self._whole().references if url.partition("?")[0].endswith(".js")]
        known = [url for url in found if self._asking.client.serves(url) and bundle.parts(self._text(url)).files]
        if not known:
            raise UnexercisedError("the page's script names no parts that can be read")
        return "; ".join(self._parts(url) for url in known)

    def _parts(self, entry: str) -> str:
        """Every part that an entry script may load, and the images and fonts that these name."""
        listed = bundle.parts(self._text(entry))
        if not listed.files:
            raise UnexercisedError("its entry script names no parts that can be read")
        wanted = [each for each in listed.files if each not in listed.unloaded]
        count, wrong = self._served(urljoin(entry, each) for each in wanted)
        scripts = [self._texts.get(url, "") for url in (entry, *(urljoin(entry, each) for each in wanted))]
        more, wrong_too = self._served(urljoin(entry, each) for script in scripts for each in bundle.files(script))
        self._themes.update(dict.fromkeys(name for script in scripts for name in bundle.themes(script)))
        return _all(count + more, wrong + wrong_too, "parts")

    def _settings(self) -> str:
        """What the page needs before it shows anything: every schema with its settings, and the languages."""
        page, client = self._whole(), self._asking.client
        path = client.path(urljoin(client.root, page.url("settingsUrl", "/lab/api/settings")))
        every = array(self._asking.json("GET", path), "settings")
        if not every:
            raise RequestError(f"GET {path}: no settings")
        languages = page.url("translationsApiUrl", "")
        if languages:
            self._asking.json("GET", client.path(urljoin(client.root, languages)))
        return f"of {len(every)} plugins"

    def _any_theme(self) -> str:
        self._whole()
        if not self._themes:
            raise UnexercisedError("no part names a theme")
        return ", ".join(self._themes)

    def _theme(self, name: str) -> str:
        """The style sheet of a theme, with all files that it refers to."""
        directory = self._whole().url("themesUrl", "/lab/api/themes").rstrip("/")
        url = urljoin(self._asking.client.root, f"{directory}/{name}/index.css")
        try:
            sheet = self._text(url)
        except RequestError as error:
            if name.startswith("@jupyterlab/") or ": 404 " not in str(error):
                raise
            raise UnexercisedError("no theme of this name") from None
        count, wrong = self._served(urljoin(url, each) for each in bundle.in_style(sheet))
        return _all(count + 1, wrong, "files")


def _all(count: int, wrong: list[str], what: str) -> str:
    if wrong:
        raise FaultError(first_few(wrong))
    return f"{count} {what}"
