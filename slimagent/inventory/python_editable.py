"""Source trees of distributions that were installed in place ("editable").

Found by direct_url.json (PEP 610 and 660), .pth lines, the finders of setuptools, and .egg-link files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from slimagent.inventory.python_metadata import editable_root, finder_mapping, path_lines
from slimagent.inventory.python_sites import Site
from slimagent.inventory.reader import LARGEST_JSON, Image
from slimagent.paths.algebra import join, name, parent, to_text, within
from slimagent.paths.hierarchy import is_shared

# What a project's directory may hold but does not own: version control, and packages of another manager.
_FOREIGN = frozenset({b".git", b".hg", b".svn", b".bzr", b"node_modules"})


class Sources:
    """Finds the source trees of editable distributions, and what belongs to each."""

    def __init__(self, image: Image, sites: Collection[Site]) -> None:
        self._image = image
        self._sites = {site.directory for site in sites}
        self._prefixes = {site.prefix for site in sites}

    def trees(self, site: Site, info: bytes, own: Iterable[bytes], link: bytes | None) -> list[bytes]:
        """The trees of one distribution, without links in their paths; none is in its site directory.

        `own` are its files directly in the site directory, `link` is the target of its .egg-link. A directory too wide
        to be a project is noted as a problem, and is not a tree.
        """
        found: dict[bytes, None] = {}
        for target in self._targets(site, info, own, link):
            at = self._image.end(target)
            tree = target if at is None else self._image.inventory.paths[at]
            if at is None or tree in self._sites or within(tree, site.directory):
                continue
            if is_shared(tree) or tree in self._prefixes:
                why = f"its source, {to_text(tree)}, is too wide to be one project's"
                self._image.problem(info, why, is_known=True)
                continue
            found[tree] = None
        return list(found)

    def _targets(self, site: Site, info: bytes, own: Iterable[bytes], link: bytes | None) -> list[bytes]:
        found = [link] if link is not None else []
        data = self._image.read(info + b"/direct_url.json", LARGEST_JSON)
        try:
            root = editable_root(data) if data is not None else None
        except ValueError:
            self._image.problem(info + b"/direct_url.json", "not a direct_url.json", is_known=True)
            root = None
        if root is not None and root.startswith(b"/"):
            found.append(root)
        for path in own:
            if path.endswith(b".pth"):
                found += path_lines(self._image.read(path) or b"")
            elif name(path).startswith(b"__editable__") and path.endswith(b"_finder.py"):
                found += finder_mapping(self._image.read(path) or b"")
        return [join(site.directory, each) for each in found if b"\0" not in each]

    def entries(self, tree: bytes, others: Collection[bytes]) -> list[int]:
        """What belongs to a tree: all but version control, environments, and `others`, the trees of others in it.

        A directory counts if everything below it belongs to the tree.
        """
        image, paths = self._image, self._image.inventory.paths
        at = image.inventory.index[tree]
        if not image.is_directory(at):
            return [at]
        found, shared = {at}, set()
        end, at = image.below(tree).stop, at + 1
        while at < end:
            path = paths[at]
            if name(path) not in _FOREIGN and path not in self._prefixes and path not in others:
                found.add(at)
                at += 1
                continue
            at = image.below(path).stop
            while len(path) > len(tree) and path not in shared:
                path = parent(path)
                shared.add(path)
        return sorted(found.difference(image.inventory.index[path] for path in shared))
