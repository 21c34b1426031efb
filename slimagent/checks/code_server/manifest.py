"""What an extension of VS Code says of itself: its package.json, and the files that it names. Pure.

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
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
_NESTED = {
    "theme": re.compile(r'"(?:include|tokenColors)"\s*:\s*"([^"\\]{1,500})"'),
    "icon theme": re.compile(r'"(?:path|iconPath|fontPath)"\s*:\s*"([^"\\]{1,500})"'),
}


class ManifestError(Exception):
    """A package.json that is not an extension's; the message says in what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An extension's manifest: `identity` is publisher.name in lower case, `main` its program (empty: none).

    `on_start` says that its program runs when the editor starts; `files` are what else it names, each with its use
    and its path in the extension's directory.
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
        raise ManifestError(f"no JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise ManifestError("no JSON object")
    for key in ("name", "publisher"):
        if not (isinstance(manifest.get(key), str) and manifest[key]):
            raise ManifestError(f"no {key}")
    engines = manifest.get("engines")
    if not isinstance(engines, dict) or not isinstance(engines.get("vscode"), str):
        raise ManifestError("no engines.vscode")
    return Manifest(
        identity=f"{manifest['publisher']}.{manifest['name']}".lower(),
        main=_string(manifest.get("main")),
        on_start=not _ON_START.isdisjoint(_strings(manifest.get("activationEvents"))),
        requires=tuple(each.lower() for each in _strings(manifest.get("extensionDependencies"))),
        files=tuple(dict.fromkeys(_files(manifest, text)))[:_MOST],
    )


def chat_extensions(product: bytes) -> frozenset[str]:
    """The identities, in lower case, of the extensions that a product.json names as the editor's chat.

    The page hands them to the extension host only once somebody has set up chat (defaultChatAgent; VS Code 1.139).
    """
    try:
        agent = json.loads(product)["defaultChatAgent"]
        named = [agent.get(key) for key in ("extensionId", "chatExtensionId")]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return frozenset()
    return frozenset(each.lower() for each in named if isinstance(each, str))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _files(manifest: dict[str, Any], text: str) -> Iterator[tuple[str, str]]:
    if re.search(r'"%[^%"\s]{1,200}%"', text):
        yield "texts", "package.nls.json"
    if not manifest.get("main") and _string(manifest.get("browser")):
        yield "main", script(_string(manifest["browser"]))
    texts = set(_at(manifest.get("contributes"), _ALT_TEXT))
    named = [("icon", _string(manifest.get("icon")))]
    for use, place in _PLACES:
        named.extend((use, each) for each in _at(manifest.get("contributes"), place) if each not in texts)
    for use, path in named:
        if path and not _ELSEWHERE.match(path) and inside(path):
            yield use, inside(path)


def _at(value: Any, place: tuple[str, ...]) -> Iterator[str]:
    """Every string at a place; nothing where something else is there."""
    if not place:
        if isinstance(value, str):
            yield value
    elif place[0] != "*":
        yield from _at(value.get(place[0]), place[1:]) if isinstance(value, dict) else ()
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _at(each, place[1:])


def inside(path: str, base: str = "") -> str:
    """A path from `base`, a directory of an extension, as one from the extension's own; empty if it leads out of it."""
    joined = posixpath.normpath(posixpath.join(base, path.lstrip("/")))
    return "" if joined in (".", "..") or joined.startswith(("../", "/")) or "\0" in joined else joined


def script(path: str) -> str:
    """The file that a program's name without its ending stands for."""
    return path if path.endswith(_SCRIPTS) else f"{path.rstrip('/')}.js"


def programs(main: str) -> list[str]:
    """Where Node.js looks for `main`, a file or a directory, in the order in which it is worth asking.

    The path as it stands comes last unless it has a script's ending: it may be a directory, which no server can serve.
    """
    path = inside(main)
    if not path:
        return []
    if path.endswith(_SCRIPTS):
        return [path]
    files = [] if main.endswith("/") else [f"{path}{ending}" for ending in (".js", ".cjs", ".json", ".node")]
    return [*files, f"{path}/index.js", path]


def nested(use: str, path: str, data: bytes) -> list[tuple[str, str]]:
    """What a contributed file names in turn, with its use: a theme another theme, an icon theme fonts and icons."""
    pattern = _NESTED.get(use)
    if pattern is None:
        return []
    text = _COMMENT.sub("", data.decode("utf-8", "replace"))
    of = "icon" if use == "icon theme" else use
    found = (inside(each, posixpath.dirname(path)) for each in pattern.findall(text) if not _ELSEWHERE.match(each))
    return [(of, each) for each in dict.fromkeys(found) if each][:_MOST]
