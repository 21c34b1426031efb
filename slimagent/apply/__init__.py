"""Do what a plan says: export what stays (image, tar, directory), or remove what goes. Both give a receipt."""

from slimagent.apply.decide import Decision, altered
from slimagent.apply.export.chosen import export_chosen
from slimagent.apply.export.compression import COMPRESSIONS
from slimagent.apply.export.exporter import Destination, Exported, export
from slimagent.apply.export.oci import Layout
from slimagent.apply.export.tar import Tar
from slimagent.apply.export.tree import Directory
from slimagent.apply.going import Leave, digested, lost, nothing_left
from slimagent.apply.in_place.between import is_carried_out
from slimagent.apply.in_place.differing import make_differ
from slimagent.apply.in_place.journal import Journal, alone
from slimagent.apply.in_place.removal import contents, remove
from slimagent.apply.source import Source
from slimagent.apply.strip.program import find as find_strip
from slimagent.apply.strip.workspace import Tools, strip_tools

__all__ = [
    "COMPRESSIONS",
    "Decision",
    "Destination",
    "Directory",
    "Exported",
    "Journal",
    "Layout",
    "Leave",
    "Source",
    "Tar",
    "Tools",
    "alone",
    "altered",
    "contents",
    "digested",
    "export",
    "export_chosen",
    "find_strip",
    "is_carried_out",
    "lost",
    "make_differ",
    "nothing_left",
    "remove",
    "strip_tools",
]
