"""The page of code-server, and what it and its program name. Pure: text in, names out.

The page is src/vs/code/browser/workbench/workbench.html of github.com/microsoft/vscode with the patches of
github.com/coder/code-server. It names the directory QUALITY-COMMIT, where that version of the editor is served.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from slimagent.checks.answers import array, parsed, string
from slimagent.checks.html_page import References, joined

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

    `program` is the URL of the editor's main script, empty if none has its name.
    """

    prefix: str
    references: tuple[str, ...]
    program: str


def read_page(text: str, base: str) -> Page | None:
    """Read the page at the URL `base`; None if it is not the editor's."""
    parser = _Parser(links=_LINKS)
    parser.feed(text)
    prefix = _PREFIX.search(text)
    if prefix is None or parser.configuration is None:
        return None
    named = [*parser.found, *_configured(parser.configuration)]
    references = tuple(dict.fromkeys(filter(None, (joined(base, each) for each in named[:_MOST]))))
    program = next((each for each in references if _PROGRAM.search(urlsplit(each).path)), "")
    return Page(prefix=prefix[1], references=references, program=program)


def _configured(configuration: Any) -> Iterator[str]:
    """The web view page and the service worker that the page's configuration names."""
    webview = string(configuration, "webviewEndpoint")
    if webview:
        yield f"{webview.rstrip('/')}/index.html"
    yield string(configuration, "productConfiguration", "serviceWorker", "path")


class _Parser(References):
    configuration: Any = None

    def tag(self, name: str, values: dict[str, str]) -> None:
        if name == "meta" and values.get("id") == _CONFIGURATION:
            self.configuration = parsed(values.get("data-settings", "")) or {}


def icons(manifest: Any) -> list[str]:
    """The icons that a web application's manifest names (W3C, Web Application Manifest)."""
    return [path for each in array(manifest, "icons") if (path := string(each, "src"))][:_MOST]


def named_files(program: str) -> dict[str, bool]:
    """What the editor's main script loads later: paths below the static directory, and whether it needs them.

    Some of these files exist in other editions only. Its workers, its pages, the tokenizer and the terminal are in all.
    """
    files = {f"out/{path}": path.endswith(("Main.js", ".html")) for path in _FILE.findall(program)}
    for module, path in _MODULE.findall(program):
        files[f"node_modules/{module}/{path}"] = module in _NEEDED_MODULES
    return dict(list(files.items())[:_MOST])
