"""The extensions of a code-server: find them, and check that all files in their manifests are served."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from slimagent.checks.answers import array, member, parsed, string
from slimagent.checks.code_server.manifest import Manifest, ManifestError, nested, programs, read_manifest
from slimagent.checks.directory import start_of
from slimagent.checks.finding import first_few, judged
from slimagent.checks.loopback import Client, RequestError
from slimagent.model.result import Item

_DIRECTORY = "extensions"  # below the editor's own
_LIST = "extensions.json"
_LARGEST_LIST = 16 << 20
_DEEPEST = 5  # themes that include themes
_IDENTITY = re.compile(r"([A-Za-z0-9][\w-]*\.[\w.-]+)@\S+")
_NAME = re.compile(rb'"(name|publisher)"\s*:\s*"([\w.-]{1,200})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """An extension in a directory. `identity` is in lower case, empty if unknown.

    `listed`: the server's own scan has it; `built_in`: it came with the editor.
    """

    identity: str
    directory: str
    built_in: bool
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A checked extension: its manifest, if it can be read, and its item."""

    item: Item
    extension: Extension
    manifest: Manifest | None
    missing: tuple[str, ...] = ()


def discover(scanned: Any, root: str, directory: str) -> list[Extension]:
    """The extensions that the server's scan lists, and those that it skipped, in order of their directories.

    `scanned` is the answer to `scanExtensions`, `root` the editor's directory, `directory` that of installed ones.
    """
    found = {each.directory: each for each in _scanned(scanned)}
    for name in _names(os.path.join(root, _DIRECTORY)):
        path = os.path.join(root, _DIRECTORY, name)
        if path not in found and os.path.lexists(os.path.join(path, "package.json")):
            found[path] = Extension(identity="", directory=path, built_in=True, listed=False)
    for path, identity in _installed(directory):
        found.setdefault(path, Extension(identity=identity, directory=path, built_in=False, listed=False))
    return sorted(found.values(), key=lambda each: (not each.built_in, each.directory))


def _scanned(scanned: Any) -> Iterator[Extension]:
    for each in array(scanned):
        path, identity = member(each, "extensionLocation", "path"), member(each, "identifier", "value")
        if isinstance(path, str) and isinstance(identity, str):
            built_in = each.get("isBuiltin") is True
            yield Extension(identity=identity.lower(), directory=path, built_in=built_in, listed=True)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (OSError, ValueError):
        return []


def _installed(directory: str) -> Iterator[tuple[str, str]]:
    """Directory and identity of each entry of a directory's list; nothing if the list is missing or damaged."""
    for entry in array(parsed(start_of(os.path.join(directory, _LIST), _LARGEST_LIST))):
        identity, place = member(entry, "identifier", "id"), string(entry, "relativeLocation")
        if isinstance(identity, str) and place and "\0" not in place:
            yield os.path.join(directory, place), identity.lower()


def listed_by_command(lines: Iterable[str]) -> frozenset[str]:
    """The identities that `code-server --list-extensions --show-versions` wrote, in lower case."""
    matches = (_IDENTITY.fullmatch(line.strip()) for line in lines)
    return frozenset(match[1].lower() for match in matches if match)


class Files:
    """The image's files, as the server gives them to a page. `left` returns the seconds that an answer may take."""

    def __init__(self, client: Client, prefix: str, left: Callable[[], float]) -> None:
        self._client, self._prefix, self._left = client, prefix, left

    def content(self, path: str) -> bytes:
        """A file. Raises RequestError, with the cause alone, if the server does not give it or it is empty."""
        try:
            raw = os.fsencode(path)
        except UnicodeEncodeError:  # a lone surrogate, which JSON can hold and a file name cannot
            raise RequestError("not a valid file name") from None
        url = f"/{self._prefix}/vscode-remote-resource?path={quote(raw, safe='/')}"
        seconds = self._left()
        if seconds <= 0:
            raise RequestError("not reached in time")
        try:
            return self._client.content(url, seconds)
        except RequestError as error:
            raise RequestError(str(error).removeprefix(f"GET {url}: ")) from None


@dataclass(slots=True)
class Inspector:
    """Checks extensions one by one. `identities` are those of all that are listed.

    `command` is what the command line lists, None where it does not work. `names` are the identities of an earlier
    run, by directory name.
    """

    files: Files
    identities: frozenset[str]
    command: frozenset[str] | None
    names: Mapping[str, str]

    def inspect(self, extension: Extension) -> Known | None:
        """Check an extension; None if it is not used, because another one of its name is."""
        manifest, raw, problem = None, b"", ""
        try:
            raw = self.files.content(f"{extension.directory}/package.json")
            manifest = read_manifest(raw)
        except (RequestError, ManifestError) as error:
            problem = f"package.json: {error}"
        identity = extension.identity or (manifest.identity if manifest else self._name(extension, raw))
        if not extension.listed and identity in self.identities:
            return None
        missing = tuple(each for each in manifest.requires if each not in self.identities) if manifest else ()
        problems = [] if extension.listed else ["the server does not list it"]
        problems += [problem] if problem else []
        problems += [f"it requires {each}, which is not there" for each in missing]
        if manifest:
            problems += self._problems(extension, manifest)
        item = judged(f"extension {identity}", first_few(problems))
        return Known(item=item, extension=extension, manifest=manifest, missing=missing)

    def _name(self, extension: Extension, raw: bytes) -> str:
        """A name for an extension with a damaged manifest: its earlier one, else what the manifest's text shows."""
        name = posixpath.basename(extension.directory)
        if name in self.names:
            return self.names[name]
        said = {key: value.decode().lower() for key, value in reversed(_NAME.findall(raw))}
        if len(said) == 2:
            return f"{said[b'publisher']}.{said[b'name']}"
        return name

    def _problems(self, extension: Extension, manifest: Manifest) -> list[str]:
        problems = []
        if not extension.built_in and self.command is not None and manifest.identity not in self.command:
            problems.append("--list-extensions does not name it")
        if manifest.main:
            problems += self._program(extension.directory, manifest.main)
        asked: set[str] = set()
        for use, path in manifest.files:
            faults = self._file(extension.directory, use, path, asked, _DEEPEST)
            if use != "icon" or not extension.built_in:  # the editor is shipped without some of its own
                problems += faults
        return problems

    def _program(self, directory: str, main: str) -> list[str]:
        first = ""
        for path in programs(main):
            try:
                self.files.content(f"{directory}/{path}")
            except RequestError as error:
                first = first or str(error)
            else:
                return []
        return [f"main {main}: {first or 'leads out of the extension'}"]

    def _file(self, directory: str, use: str, path: str, asked: set[str], depth: int) -> list[str]:
        """What is wrong with a contributed file, and with the files that it names."""
        if path in asked:
            return []
        asked.add(path)
        try:
            data = self.files.content(f"{directory}/{path}")
        except RequestError as error:
            return [f"{use} {path}: {error}"]
        further = nested(use, path, data) if depth else []
        return [each for use, path in further for each in self._file(directory, use, path, asked, depth - 1)]
