"""What a JupyterLab page and its scripts refer to. Pure: text in, names out.

The page's configuration data: jupyterlab_server's handlers.py. The scripts are built by webpack 5 or Rspack. Their
runtime finds the file of a part with a function `.u` (RuntimeGlobals.getChunkScriptFilename in webpack's source code).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from slimagent.checks.answers import array, mapping, parsed, string
from slimagent.checks.html_page import References, joined

_KEY = r"(\d{1,10}|[A-Za-z_$][\w$]{0,200}|\"[^\"]{1,200}\"|'[^']{1,200}')"
_FUNCTION = re.compile(r"\.u\s*=\s*(?:function\b|\(\w+\)\s*=>|\w+\s*=>)")
_LONGEST_FUNCTION = 1 << 18  # characters
_HASHES = re.compile(_KEY + r"\s*:\s*[\"']([0-9a-f]{8,64})[\"']")
_NAMES = re.compile(_KEY + r"\s*:\s*[\"']([^\"']{1,200})[\"']")
_ONE_HASH = re.compile(r"\b([0-9a-f]{8,64})[\"']?(?:\s*\+\s*[\"'])?$")
_NAMED = re.compile(rf"{_KEY}\s*===\s*{_KEY}\s*\?\s*[\"']([^\"']{{1,200}})[\"']")
_LOADED = re.compile(rf"\.e\(\s*(?:/\*[^*]*\*/\s*)?{_KEY}\s*\)")
_NOT_LOADED = re.compile(r"/\^([\w|()\[\]-]{1,100000})\$/\.test\(")
_NOT_LOADED_ONE = re.compile(r"(?:\b(\d{1,10})!==?\w+|\b\w+!==?(\d{1,10})\b|[\"']([\w-]{1,200})[\"']!==?\w+)")
_MOST_ALTERNATIVES = 10_000
_FILES = re.compile(r"\.p\s*\+\s*[\"']([\w./@-]{1,200}\.\w{1,8})[\"']")
_THEMES = re.compile(r"[\"'`]((?:@[\w.-]{1,100}/)?[\w-][\w.-]{0,100})/index\.css[\"'`]")
_IN_STYLE = re.compile(r"url\(\s*[\"']?([^)\"'\s]{1,300})[\"']?\s*\)")


@dataclass(frozen=True, slots=True)
class Page:
    """A JupyterLab page: absolute URLs of what it refers to, and its configuration data.

    `extensions` are the entry scripts of JupyterLab extensions by their names.
    """

    references: tuple[str, ...]
    extensions: dict[str, str]
    configuration: dict[str, Any]

    def url(self, name: str, default: str) -> str:
        """A URL that the configuration names, else `default`."""
        return string(self.configuration, name) or default


def read_page(text: str, base: str) -> Page:
    """Read the HTML page at the URL `base`. References are scripts, styles and icons, in order, each once."""
    parser = _Parser()
    parser.feed(text)
    configuration = mapping(parsed(parser.configuration))
    references = dict.fromkeys(filter(None, (joined(base, each) for each in parser.found)))
    return Page(tuple(references), _extensions(configuration, base), configuration)


def _extensions(configuration: dict[str, Any], base: str) -> dict[str, str]:
    found = {}
    directory = str(configuration.get("fullLabextensionsUrl", "")).rstrip("/")
    for each in array(configuration, "federated_extensions"):
        if isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("load"), str):
            found[each["name"]] = joined(base, f"{directory}/{each['name']}/{each['load']}")
    return found


class _Parser(References):
    configuration = ""
    _in_configuration = False

    def tag(self, name: str, values: dict[str, str]) -> None:
        if name == "script":
            self._in_configuration = values.get("id") == "jupyter-config-data"

    def handle_endtag(self, tag: str) -> None:
        self._in_configuration = False

    def handle_data(self, data: str) -> None:
        if self._in_configuration:
            self.configuration += data


@dataclass(frozen=True, slots=True)
class Parts:
    """The files that a script loads when they are needed, relative to its public path.

    `unloaded` are those in its list that its code never loads: they stand for modules of another script.
    """

    files: tuple[str, ...] = ()
    unloaded: frozenset[str] = field(default_factory=frozenset)


def parts(script: str) -> Parts:
    """The parts of a bundle, read from its entry script; empty if it has none or has another form."""
    for start in _FUNCTION.finditer(script):
        end = script.find(".js", start.end(), start.end() + _LONGEST_FUNCTION)
        if end >= 0:
            body = script[start.end() : end]
            hashes = _hashes(body, script)
            if hashes:
                names = _names(body)
                files = {key: f"{names.get(key, key)}.{value}.js" for key, value in hashes.items()}
                idle = _not_loaded(script)
                return Parts(tuple(files.values()), frozenset(files[key] for key in files.keys() & idle))
    return Parts()


def _hashes(body: str, script: str) -> dict[str, str]:
    """The hash of each part by its key: from the last object of the function, or one for all parts."""
    last = body.rfind("{")
    found = {_bare(key): value for key, value in _HASHES.findall(body[last:])} if last >= 0 else {}
    one = _ONE_HASH.search(body)
    if found or not one:
        return found
    return {_bare(key): one[1] for key in _LOADED.findall(script)}


def _names(body: str) -> dict[str, str]:
    """The names of parts that have a file name other than their key."""
    first, last = body.find("{"), body.rfind("{")
    names = {_bare(key): value for key, value in _NAMES.findall(body[first:last])} if first < last else {}
    return names | {_bare(key): name for left, right, name in _NAMED.findall(body) for key in (left, right)}


def _bare(key: str) -> str:
    return key.strip("\"'")


def _not_loaded(script: str) -> frozenset[str]:
    """The keys of parts that the runtime considers loaded from the start (`/^(1|2)$/.test(e)`, `3!=e`)."""
    alone = {key for found in _NOT_LOADED_ONE.findall(script) for key in found if key}
    return frozenset(alone.union(*(alternatives(each) for each in _NOT_LOADED.findall(script))))


def alternatives(expression: str) -> frozenset[str]:
    """The strings that an expression of `|`, `()` and `[]` matches, e.g. `1(2|[34])`; empty if there are too many."""
    outer: list[tuple[set[str], set[str]]] = []
    done, here = set[str](), {""}
    for character in _one_kind_of_group(expression):
        if character == "(":
            outer.append((done, here))
            done, here = set(), {""}
        elif character == "|":
            done |= here
            here = {""}
        elif character == ")":
            if not outer:
                return frozenset()
            inner = done | here
            done, here = outer.pop()
            if len(here) * len(inner) > _MOST_ALTERNATIVES:
                return frozenset()
            here = {start + end for start in here for end in inner}
        else:
            here = {start + character for start in here}
        if len(done) > _MOST_ALTERNATIVES:
            return frozenset()
    return frozenset() if outer else frozenset(done | here)


def _one_kind_of_group(expression: str) -> str:
    """The expression with each `[12]` written as `(1|2)`."""
    return re.sub(r"\[(\w*)\]", lambda found: f"({'|'.join(found[1])})", expression)


def files(script: str) -> tuple[str, ...]:
    """The images and fonts that a script names, relative to its public path."""
    return tuple(dict.fromkeys(_FILES.findall(script)))


def themes(script: str) -> tuple[str, ...]:
    """The names of possible themes: a script names the path of their style sheet."""
    return tuple(dict.fromkeys(_THEMES.findall(script)))


def in_style(sheet: str) -> tuple[str, ...]:
    """The references of a style sheet to files, as they are written."""
    return tuple(each for each in dict.fromkeys(_IN_STYLE.findall(sheet)) if not each.startswith(("data:", "#")))
