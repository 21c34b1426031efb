"""Numbers of things in words. Pure."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """A number of things.

    >>> counted(1, "file"), counted(2000, "file"), counted(0, "library", "libraries")
    ('1 file', '2,000 files', '0 libraries')
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"
