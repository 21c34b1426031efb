"""JSON documents that JavaScript programs keep beside their code: package.json and its kin.

Sources: npm's manual page package.json(5), RFC 8259.
"""

from __future__ import annotations

from typing import Any

from slimagent.inventory.licenses import licenses, terms
from slimagent.inventory.reader import Image
from slimagent.model.inventory import Description
from slimagent.text.json_input import parsed
from slimagent.text.shape import known

LIMIT = 1 << 22  # bytes of a package.json: the longest real ones have some 100 kB
_MARK = b"\xef\xbb\xbf"  # the byte order mark, which npm and VS Code pass over


def read(image: Image, path: bytes, limit: int = LIMIT, *, is_known: bool = False) -> Any:
    """The document at `path`; None if there is none, and None and a problem if it cannot be understood.

    `is_known` as in `Image.problem`.
    """
    data = image.read(path, limit)
    if data is None:
        return None
    try:
        return parsed(data[len(_MARK) :] if data.startswith(_MARK) else data)
    except ValueError as error:
        image.problem(path, f"not JSON: {error}", is_known=is_known)
        return None


def manifest(image: Image, path: bytes) -> dict[str, Any] | None:
    """The object at `path`; None if there is none, and None and a problem if it is not understood or no object."""
    value = read(image, path)
    found = known(dict, value)
    if found is None and value is not None:
        image.problem(path, "not an object")
    return found


def description(manifest: dict[str, Any], name: str) -> Description:
    """What a manifest says of a package that is called `name`: its licenses, and its own name if that is another one.

    A license is a text; old manifests have an object, or a list of these in `licenses`.
    """
    said = manifest.get("license") or manifest.get("licenses")
    several = said if isinstance(said, list) else [said]
    found = (each.get("type") or each.get("name") if isinstance(each, dict) else each for each in several)
    own = text(manifest.get("name"))
    return Description(licenses=licenses(map(text, found)), source="" if own == name else own)


def license_terms(manifest: dict[str, Any]) -> tuple[str, ...]:
    """All that a manifest says of licenses, in each of the fields; what has no name is not understood."""
    found = list[str | None]()
    for said in (manifest.get("license"), manifest.get("licenses")):
        for each in said if isinstance(said, list) else [said] if said is not None else []:
            value = each.get("type") or each.get("name") if isinstance(each, dict) else each
            found.append(known(str, value))
    return terms(found)


def text(value: object) -> str:
    """A field that has to be text; anything else counts as not given."""
    return known(str, value) or ""
