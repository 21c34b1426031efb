"""The page of code-server, and what it and its program name. Pure: text in, names out.

The page is src/vs/code/browser/workbench/workbench.html of github.com/microsoft/vscode with the patches of
github.com/coder/code-server; it names the directory QUALITY-COMMIT, below which that version of the editor answers.
"""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

_LINKS = frozenset(("stylesheet", "icon", "apple-touch-icon", "manifest", "preload", "modulepreload"))
_CONFIGURATION = "vscode-workbench-web-configuration"
_PREFIX = re.compile(r"([A-Za-z][\w.]{0,40}-[0-9a-f]{40})/static\b")
_PROGRAM = re.compile(r"/workbench(?:\.web\.main)?(?:\.internal)?\.js$")
_FILE = re.compile(r"""["'`/](vs/[\w/.-]{1,300}\.(?:js|mjs|html|wasm|svg|png))["'`?]""")
_MODULE = re.compile(
    r"""\w\("((?:@[\w.-]{1,100}/)?[\w.-]{1,100})","((?:[\w.-]{1,100}/){1,9}[\w.-]{1,100}\.(?:js|wasm))"\)"""
)
_NEEDED_MODULES = ("vscode-oniguruma", "vscode-textmate", "@xterm/xterm")
_MOST = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the editor. `prefix` is the directory that it names, `references` are absolute URLs, each once.

    `program` is the URL of the editor's main script, empty if it is not known by its name.
    """

    prefix: str
    references: tuple[str, ...]
    program: str


def read_page(text: str, base: str) -> Page | None:
    """Read the page that was found at `base`; None if it is not the editor's."""
    parser = _Parser()
    parser.feed(text)
    prefix = _PREFIX.search(text)
    if prefix is None or parser.configuration is None:
        return None
    named = [*parser.found, *_configured(parser.configuration)]
    references = tuple(dict.fromkeys(filter(None, (joined(base, each) for each in named[:_MOST]))))
    program = next((each for each in references if _PROGRAM.search(urlsplit(each).path)), "")
    return Page(prefix=prefix[1], references=references, program=program)


def joined(base: str, reference: str) -> str:
    """The absolute URL of a reference; empty if it is none, or holds its data itself."""
    try:
        url = urljoin(base, reference.strip()) if reference.strip() else ""
    except ValueError:  # such as http://[x
        return ""
    return url if url.startswith("http") else ""


def _configured(configuration: Any) -> Iterator[str]:
    """The page of web views and the service worker, which the page's configuration names."""
    if not isinstance(configuration, dict):
        return
    webview = configuration.get("webviewEndpoint")
    if isinstance(webview, str) and webview:
        yield f"{webview.rstrip('/')}/index.html"
    product = configuration.get("productConfiguration")
    worker = product.get("serviceWorker") if isinstance(product, dict) else None
    path = worker.get("path") if isinstance(worker, dict) else None
    if isinstance(path, str):
        yield path


class _Parser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.configuration: Any = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "script" and values.get("src"):
            self.found.append(values["src"])
        elif tag == "link" and _LINKS & set(values.get("rel", "").lower().split()):
            self.found.append(values.get("href", ""))
        elif tag == "meta" and values.get("id") == _CONFIGURATION:
            try:
                self.configuration = json.loads(values.get("data-settings", ""))
            except (ValueError, RecursionError):
                self.configuration = {}


def icons(manifest: Any) -> list[str]:
    """The icons that a web application's manifest names (W3C, Web Application Manifest)."""
    every = manifest.get("icons") if isinstance(manifest, dict) else None
    named = [each.get("src") for each in every if isinstance(each, dict)] if isinstance(every, list) else []
    return [each for each in named if isinstance(each, str)][:_MOST]


def named_files(program: str) -> dict[str, bool]:
    """What the editor's main script loads later: paths below the static directory, and whether it cannot do without.

    It names some files that are in other editions only. Its workers, its pages, the tokenizer and the terminal are
    in all.
    """
    files = {f"out/{path}": path.endswith(("Main.js", ".html")) for path in _FILE.findall(program)}
    for module, path in _MODULE.findall(program):
        files[f"node_modules/{module}/{path}"] = module in _NEEDED_MODULES
    return dict(list(files.items())[:_MOST])
