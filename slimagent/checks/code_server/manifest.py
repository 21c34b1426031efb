"""The manifest of a VS Code extension (package.json), and the files that it names. Pure.

Sources: "Extension Manifest", "Contribution Points" and "Activation Events" in VS Code's API documentation
(code.visualstudio.com/api/references); that of icon themes and colour themes in its extension guides.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slimagent.checks.answers import mapping, parsed, string, strings

_ON_START = frozenset(("*", "onStartupFinished"))
_MOST = 5000  # files of one extension
_SCRIPTS = (".js", ".cjs", ".mjs")
# Where contributions name files: each step is a key, or `*` for every member of a list or an object.
_PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("grammar", ("grammars", "*", "path")),
    ("language configuration", ("languages", "*", "configuration")),
    ("language icon", ("languages", "*", "icon", "*")),
    ("theme", ("themes", "*", "path")),
    ("icon theme", ("iconThemes", "*", "path")),
    ("icon theme", ("productIconThemes", "*", "path")),
    ("snippets", ("snippets", "*", "path")),
    ("schema", ("jsonValidation", "*", "url")),
    ("walkthrough", ("walkthroughs", "*", "icon")),
    ("walkthrough", ("walkthroughs", "*", "steps", "*", "media", "*")),
    ("walkthrough", ("walkthroughs", "*", "steps", "*", "media", "image", "*")),
    ("command icon", ("commands", "*", "icon")),
    ("command icon", ("commands", "*", "icon", "*")),
    ("view icon", ("viewsContainers", "*", "*", "icon")),
    ("view icon", ("views", "*", "*", "icon")),
    ("renderer", ("notebookRenderer", "*", "entrypoint")),
    ("renderer", ("notebookRenderer", "*", "entrypoint", "path")),
    ("renderer", ("notebookPreload", "*", "entrypoint")),
    ("preview style", ("markdown.previewStyles", "*")),
    ("preview script", ("markdown.previewScripts", "*")),
    ("debug adapter", ("debuggers", "*", "program")),
    ("translation", ("localizations", "*", "translations", "*", "path")),
    ("icon font", ("icons", "*", "default", "fontPath")),
    ("data", ("css.customData", "*")),
    ("data", ("html.customData", "*")),
)
_ALT_TEXT = ("walkthroughs", "*", "steps", "*", "media", "altText")
_ELSEWHERE = re.compile(r"[A-Za-z][\w+.-]*:|\$\(|%|//")  # a URL, an icon by its name, a placeholder
_COMMENT = re.compile(r"^[ \t]*//.*$", re.MULTILINE)
_NESTED = {
    "theme": re.compile(r'"(?:include|tokenColors)"\s*:\s*"([^"\\]{1,500})"'),
    "icon theme": re.compile(r'"(?:path|iconPath|fontPath)"\s*:\s*"([^"\\]{1,500})"'),
}


class ManifestError(Exception):
    """A package.json that is not an extension's; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An extension's manifest: `identity` is publisher.name in lower case, `main` its program (empty: none).

    `on_start`: the program runs when the editor starts. `files` are the other files that it names: use, and path in
    the extension's directory.
    """

    identity: str
    main: str
    on_start: bool
    requires: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


def read_manifest(data: bytes) -> Manifest:
    """Read a package.json. Raises ManifestError if it is damaged, or lacks what an extension's must have."""
    try:
        text = data.decode("utf-8-sig")
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise ManifestError("not a JSON object")
    for key in ("name", "publisher"):
        if not string(manifest, key):
            raise ManifestError(f"no {key}")
    if not isinstance(mapping(manifest, "engines").get("vscode"), str):
        raise ManifestError("no engines.vscode")
    return Manifest(
        identity=f"{manifest['publisher']}.{manifest['name']}".lower(),
        main=string(manifest, "main"),
        on_start=not _ON_START.isdisjoint(strings(manifest, "activationEvents")),
        requires=tuple(each.lower() for each in strings(manifest, "extensionDependencies")),
        files=tuple(dict.fromkeys(_files(manifest, text)))[:_MOST],
    )


def chat_extensions(product: bytes) -> frozenset[str]:
    """The identities, in lower case, of the extensions that a product.json names as the editor's chat.

    The page hands them to the extension host only after the user has set up chat (defaultChatAgent; VS Code 1.139).
    """
    agent = mapping(parsed(product), "defaultChatAgent")
    return frozenset(name.lower() for key in ("extensionId", "chatExtensionId") if (name := string(agent, key)))


def _files(manifest: dict[str, Any], text: str) -> Iterator[tuple[str, str]]:
    if re.search(r'"%[^%"\s]{1,200}%"', text):
        yield "texts", "package.nls.json"
    if not manifest.get("main") and string(manifest, "browser"):
        yield "main", script(manifest["browser"])
    texts = set(_at(manifest.get("contributes"), _ALT_TEXT))
    named = [("icon", string(manifest, "icon"))]
    for use, place in _PLACES:
        named.extend((use, each) for each in _at(manifest.get("contributes"), place) if each not in texts)
    for use, path in named:
        if path and not _ELSEWHERE.match(path) and inside(path):
            yield use, inside(path)


def _at(value: Any, place: tuple[str, ...]) -> Iterator[str]:
    """Every string at a place."""
    if not place:
        if isinstance(value, str):
            yield value
    elif place[0] != "*":
        yield from _at(value.get(place[0]), place[1:]) if isinstance(value, dict) else ()
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _at(each, place[1:])


def inside(path: str, base: str = "") -> str:
    """A path relative to `base`, a directory of an extension, from the extension's root; empty if it leads out."""
    joined = posixpath.normpath(posixpath.join(base, path.lstrip("/")))
    return "" if joined in (".", "..") or joined.startswith(("../", "/")) or "\0" in joined else joined


def script(path: str) -> str:
    """The file of a program that is named without its extension."""
    return path if path.endswith(_SCRIPTS) else f"{path.rstrip('/')}.js"


def programs(main: str) -> list[str]:
    """Where Node.js looks for `main`, a file or a directory, in the order in which to request them.

    The path itself comes last unless it ends like a script: it may be a directory, which no server can serve.
    """
    path = inside(main)
    if not path:
        return []
    if path.endswith(_SCRIPTS):
        return [path]
    files = [] if main.endswith("/") else [f"{path}{ending}" for ending in (".js", ".cjs", ".json", ".node")]
    return [*files, f"{path}/index.js", path]


def nested(use: str, path: str, data: bytes) -> list[tuple[str, str]]:
    """The files, with their use, that a contributed file names: a theme names themes, an icon theme fonts and icons."""
    pattern = _NESTED.get(use)
    if pattern is None:
        return []
    text = _COMMENT.sub("", data.decode("utf-8", "replace"))
    of = "icon" if use == "icon theme" else use
    found = (inside(each, posixpath.dirname(path)) for each in pattern.findall(text) if not _ELSEWHERE.match(each))
    return [(of, each) for each in dict.fromkeys(found) if each][:_MOST]
