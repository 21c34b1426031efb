"""Do what a plan says: export what stays (image, tar, folder), or remove what goes. A deed leaves a receipt."""

from slimagent.apply.alone import alone
from slimagent.apply.altered import altered
from slimagent.apply.carried_out import is_carried_out
from slimagent.apply.compression import COMPRESSIONS
from slimagent.apply.in_place import contents, remove
from slimagent.apply.journal import Journal
from slimagent.apply.layers import write_tar
from slimagent.apply.oci import Layout, require_possible, write_layout
from slimagent.apply.receipt import is_there
from slimagent.apply.source import Source
from slimagent.apply.strip import strip_tools
from slimagent.apply.tree import copy

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
