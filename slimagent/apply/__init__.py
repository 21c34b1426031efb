"""Do what a plan says: export what stays as a tar or a folder, or remove what goes. A deed leaves a receipt."""

from slimagent.apply.in_place import remove
from slimagent.apply.layers import write_tar
from slimagent.apply.tree import copy

__all__ = ["copy", "remove", "write_tar"]
