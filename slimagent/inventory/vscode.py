"""Extensions of VS Code, code-server and related editors: the built-in ones, and those installed for a user.

Sources: "Extension Manifest" and "Extension Host" in VS Code's API documentation (package.json with `engines.vscode`;
the directory PUBLISHER.NAME-VERSION). `extensions.json` beside them, the list of what is installed, has no
documentation: it is a JSON array of objects with `identifier.id` and, since 2022, `relativeLocation`, a directory name.
"""

from __future__ import annotations

import re
from typing import Any

from slimagent.inventory import package_json
from slimagent.inventory.reader import LARGEST_JSON, Image, too_long
from slimagent.model.edit import EditKind
from slimagent.model.inventory import Found, Package, PackageKind
from slimagent.paths.algebra import name, parent

_MANIFEST = b"/package.json"
_LIST = b"/extensions.json"
_BUILT_IN = b"/extensions"
_INSTALLED = re.compile(rb"[^./][^./]*\.[^/]+-[0-9]+\.[0-9]+\.[0-9]+[^/]*")
_NO_PUBLISHER = "undefined_publisher"  # what VS Code itself puts in the place of one


def find(image: Image) -> list[Found]:
    """Every extension, by path: named PUBLISHER.NAME in lower case, its place the directory of extensions.

    It owns everything below its directory, npm packages too (they have two owners). Nothing counts as identity: reading
    the manifest of an extension offers it to the user.
    """
    found: list[Found] = []
    manifests: list[dict[str, Any]] = []
    directories: dict[bytes, int] = {}
    paths, end = image.inventory.paths, 0
    candidates = [path[: -len(_MANIFEST)] for path in paths if path.endswith(_MANIFEST)]
    index = image.inventory.index
    for directory in sorted((path for path in candidates if path in index), key=index.__getitem__):
        if index[directory] < end or not _may_be(image, directory):  # what lies in an extension is the extension's
            continue
        manifest = _manifest(image, directory)
        if manifest is None:
            continue
        below = image.below(directory)
        end = below.stop
        directories[directory] = len(found)
        found.append(_extension(manifest, parent(directory), [index[directory], *below]))
        manifests.append(manifest)
    _links(image, found, manifests, directories)
    _require(found, manifests)
    _record(image, found)
    return found


def _may_be(image: Image, directory: bytes) -> bool:
    """Whether a directory can be an extension, by its name and what is beside it."""
    if directory.count(b"/") < 2:
        return False
    place = parent(directory)
    listed = place + _LIST in image.inventory.index
    return listed or place.endswith(_BUILT_IN) or _INSTALLED.fullmatch(name(directory)) is not None


def _manifest(image: Image, directory: bytes) -> dict[str, Any] | None:
    """The manifest of the extension in a directory; None if it is missing, None and a problem if it is damaged."""
    manifest = package_json.manifest(image, directory + _MANIFEST)
    if manifest is None:
        return None
    engines = manifest.get("engines")
    if not isinstance(engines, dict) or not isinstance(engines.get("vscode"), str):
        return None  # another program's directory of this name
    wrong = [key for key in ("extensionDependencies", "extensionPack") if not isinstance(manifest.get(key) or [], list)]
    if not package_json.text(manifest.get("name")) or wrong:
        image.problem(directory + _MANIFEST, f"not an extension's: {wrong[0]} is not a list" if wrong else "no name")
        return None
    why = too_long(name=_title(manifest), version=package_json.text(manifest.get("version")))
    if why:
        image.problem(directory + _MANIFEST, why)
        return None
    return manifest


def _title(manifest: dict[str, Any]) -> str:
    """PUBLISHER.NAME in lower case."""
    return f"{package_json.text(manifest.get('publisher')) or _NO_PUBLISHER}.{manifest['name']}".lower()


def _extension(manifest: dict[str, Any], place: bytes, files: list[int]) -> Found:
    package = Package(
        kind=PackageKind.VSCODE,
        name=_title(manifest),
        version=package_json.text(manifest.get("version")),
        place=place,
    )
    described = package_json.description(manifest, package_json.text(manifest.get("name")))
    return Found(package=package, description=described, files=files, terms=package_json.license_terms(manifest))


def _links(image: Image, found: list[Found], manifests: list[dict[str, Any]], directories: dict[bytes, int]) -> None:
    """Links among the extensions: a known extension owns links to it; a link elsewhere is an extension of its own."""
    places = {each.package.place for each in found}
    for at in sorted(image.inventory.targets):
        path = image.inventory.paths[at]
        if path.count(b"/") < 2 or (parent(path) not in places and parent(path) + _LIST not in image.inventory.index):
            continue
        end = image.end(path)
        directory = path if end is None else image.inventory.paths[end]
        if directory in directories:
            found[directories[directory]].files.append(at)
        elif end is not None and directory + _MANIFEST in image.inventory.index:
            manifest = _manifest(image, directory)
            if manifest is not None:
                found.append(_extension(manifest, parent(path), [at]))
                manifests.append(manifest)


def _require(found: list[Found], manifests: list[dict[str, Any]]) -> None:
    """Fill in what each extension requires, looked up among its neighbours and then among the built-in ones.

    The members of a pack are required only if they are installed: they can be removed one by one.
    """
    places: dict[tuple[bytes, str], int] = {}
    built_in: dict[str, int] = {}
    for at, each in enumerate(found):
        places.setdefault((each.package.place, each.package.name), at)
        if each.package.place.endswith(_BUILT_IN):
            built_in.setdefault(each.package.name, at)
    for at, (each, manifest) in enumerate(zip(found, manifests, strict=True)):
        taken = {at}
        for field in ("extensionDependencies", "extensionPack"):
            for wanted in manifest.get(field) or []:
                key = package_json.text(wanted).lower()
                there = places.get((each.package.place, key), built_in.get(key))
                if there is None and key and field == "extensionDependencies":
                    each.missing.append(key)
                elif there is not None and there not in taken:
                    taken.add(there)
                    each.requires.append((there, key))


def _record(image: Image, found: list[Found]) -> None:
    """Note the extensions' places in the `extensions.json` of their directories."""
    lists: dict[bytes, dict[tuple[str, bytes], str]] = {}
    for each in found:
        place = each.package.place
        if place not in lists:
            lists[place] = _listed(image, place + _LIST)
        directory = name(image.inventory.paths[each.files[0]])
        for key in ((each.package.name, directory), (each.package.name, b"")):
            if key in lists[place]:
                each.records.append((place + _LIST, EditKind.VSCODE_EXTENSIONS, lists[place][key]))
                break


def _listed(image: Image, path: bytes) -> dict[tuple[str, bytes], str]:
    """The ids in an `extensions.json` as they are written, by id in lower case and directory (empty if it has none)."""
    entries = package_json.read(image, path, LARGEST_JSON, is_known=True)
    if entries is None:
        return {}
    if not isinstance(entries, list):
        image.problem(path, "not a list of extensions", is_known=True)
        return {}
    listed: dict[tuple[str, bytes], str] = {}
    for entry in entries:
        identifier = entry.get("identifier") if isinstance(entry, dict) else None
        key = package_json.text(identifier.get("id")) if isinstance(identifier, dict) else ""
        if not key:
            image.problem(path, "an entry has no id", is_known=True)
            continue
        listed[key.lower(), package_json.text(entry.get("relativeLocation")).encode()] = key
    return listed
