"""The login shells of the image's accounts."""

from __future__ import annotations

from slimagent.inventory.reader import Image
from slimagent.model.inventory import Inventory

_PASSWD = b"/etc/passwd"


def login_shells(inventory: Inventory) -> tuple[bytes, ...]:
    """The shells that /etc/passwd names (passwd(5): the seventh field; empty means /bin/sh), in its order."""
    found: dict[bytes, None] = {}
    for line in (Image(inventory).read(_PASSWD) or b"").split(b"\n"):
        fields = line.split(b":")
        if len(fields) == 7:
            shell = fields[6].strip() or b"/bin/sh"
            if shell.startswith(b"/") and b"\0" not in shell:
                found[shell] = None
    return tuple(found)
