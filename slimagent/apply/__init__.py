"""Do what a plan says: export what stays (image, tar, folder), or remove what goes. A deed leaves a receipt."""

from slimagent.apply.altered import altered
from slimagent.apply.export.compression import COMPRESSIONS
from slimagent.apply.export.layers import write_tar
from slimagent.apply.export.oci import Layout, require_possible, write_layout
from slimagent.apply.export.receipt import is_there
from slimagent.apply.export.tree import copy
from slimagent.apply.in_place.alone import alone
from slimagent.apply.in_place.carried_out import is_carried_out
from slimagent.apply.in_place.journal import Journal
from slimagent.apply.in_place.removal import contents, remove
from slimagent.apply.source import Source
from slimagent.apply.strip.stripped import strip_tools

__all__ = [
    "COMPRESSIONS",
    "Journal",
    "Layout",
    "Source",
    "alone",
    "altered",
    "contents",
    "copy",
    "is_carried_out",
    "is_there",
    "remove",
    "require_possible",
    "strip_tools",
    "write_layout",
    "write_tar",
]
