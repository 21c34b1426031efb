"""Package managers whose databases slimagent does not read: their packages are unknown, and their files have no owner.

Sources: apk(8), rpm's macros (%_dbpath, also as SUSE and Fedora have it), pacman(8), opkg's and xbps's sources, the
Package Manager Specification of Gentoo, the Nix manual.
"""

from __future__ import annotations

from slimagent.inventory.reader import Image
from slimagent.model.inventory import Found

_RPM = (b"/var/lib/rpm", b"/usr/lib/sysimage/rpm", b"/usr/share/rpm")
_RPM_FILES = (b"rpmdb.sqlite", b"Packages", b"Packages.db")  # SQLite, Berkeley DB, ndb
# A file, or a directory that is empty without packages.
_DATABASES = (
    *(("apk", path) for path in (b"/lib/apk/db/installed", b"/usr/lib/apk/db/installed")),
    *(("rpm", directory + b"/" + file) for directory in _RPM for file in _RPM_FILES),
    ("pacman", b"/var/lib/pacman/local"),
    *(("opkg", directory + b"/opkg/status") for directory in (b"/var/lib", b"/usr/lib")),
    ("xbps", b"/var/db/xbps"),
    ("Portage", b"/var/db/pkg"),
    ("Nix", b"/nix/store"),
)


def find(image: Image) -> list[Found]:
    """No package. Each database that holds something is noted as a problem, once, where it is without links."""
    seen: set[int] = set()
    for manager, path in _DATABASES:
        at = image.end(path)
        if at is None or at in seen:
            continue
        place = image.inventory.paths[at]
        if image.below(place) if image.is_directory(at) else image.inventory.sizes[at]:
            seen.add(at)
            image.problem(place, f"the database of {manager}, which is not read: its packages are unknown")
    return []
