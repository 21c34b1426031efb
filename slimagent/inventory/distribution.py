"""The image's Linux distribution, as its os-release(5) names it."""

from __future__ import annotations

import re
import shlex

from slimagent.inventory.reader import Image
from slimagent.model.inventory import Distribution, Inventory

_FILES = (b"/etc/os-release", b"/usr/lib/os-release")  # the first that exists counts (os-release(5))
_LIMIT = 1 << 16  # bytes: real ones have some hundred
_WORD = re.compile(r"[A-Za-z0-9._+~-]{1,100}")


def distribution(inventory: Inventory) -> Distribution:
    """Read the first os-release of the image. A field that is missing, or that is not one word, is empty."""
    image = Image(inventory)
    at = next((found for path in _FILES if (found := image.end(path)) is not None), None)
    if at is None or inventory.sizes[at] > _LIMIT:
        return Distribution()
    fields = _fields(image.read(inventory.paths[at]) or b"")
    return Distribution(
        id=fields.get("ID", "").lower(),
        version=fields.get("VERSION_ID", ""),
        codename=fields.get("VERSION_CODENAME", ""),
    )


def _fields(data: bytes) -> dict[str, str]:
    """The assignments of an os-release that have a word as their value; of several the last one, as a shell has it."""
    found: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, is_one, value = line.strip().partition("=")
        if not is_one or name.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:  # a quotation mark that nothing closes
            continue
        found[name] = words[0] if len(words) == 1 and _WORD.fullmatch(words[0]) else ""
    return found
