"""Say where a package is asked for, and in words how that file asks for it no longer. Pure.

A line of a requirements.txt can only go if there is one: pip's REQUESTED or a list of requirements in the image says
that.
"""

from __future__ import annotations

import posixpath
import re

from packaging.utils import canonicalize_name

from slimagent.audit import edits
from slimagent.audit.known import Known
from slimagent.model.inventory import Package, PackageKind
from slimagent.paths.algebra import ancestors, to_text

DOCKERFILE, REQUIREMENTS = "Dockerfile", "requirements.txt"
UNRECORDED = "nothing requires it"
_FILES = {
    PackageKind.CONDA: "environment.yml",
    PackageKind.PYTHON: REQUIREMENTS,
    PackageKind.R: "install.R",
    PackageKind.VSCODE: "extensions.json",
    PackageKind.NPM: "package.json",
}
_BY_LINE = (PackageKind.CONDA, PackageKind.PYTHON)
_VERSION = re.compile(rb"/python3\.(\d+)(?:/|$)")  # in the path of a site directory
_WITHOUT_SETUPTOOLS = 12  # the first minor version of Python 3 whose ensurepip brings pip alone (PEP 453)
_MARK = b"/pyvenv.cfg"


def where(package: Package) -> str:
    """The file in which a person asks for a package of this kind."""
    return _FILES.get(package.kind, DOCKERFILE)


def unasked(package: Package) -> str:
    """A comment that says what is to be taken out of the file where a package is asked for.

    In words: a sign before the name would be a line of its own there, which asks for the package.
    """
    if package.kind in _BY_LINE:
        return edits.line("# remove the line {}", package.name)
    return edits.line("# do not install {} by name", package.name)


def is_recorded(known: Known, number: int) -> bool:
    """Whether a record says that somebody asked for a package by name."""
    return known.asked.get(number, UNRECORDED) != UNRECORDED


def is_of_venv(known: Known, number: int) -> bool:
    """Whether a distribution came with its virtual environment, for all that anybody knows.

    Some versions of ensurepip mark what they install with REQUESTED, as if somebody had asked for it by name. So only
    a list of requirements says that somebody did.
    """
    package = known.owners.packages[number]
    return _brings(package) and bool(_venv(known, package)) and not _is_listed(known, number)


def _brings(package: Package) -> bool:
    """Whether ensurepip installs a distribution of this name into an environment of this Python."""
    called = canonicalize_name(package.name)
    if called != "setuptools":
        return called == "pip"
    version = _VERSION.search(package.place)
    return version is None or int(version[1]) < _WITHOUT_SETUPTOOLS


def _is_listed(known: Known, number: int) -> bool:
    """Whether a list of requirements in the image names a package: then its path is who asked."""
    return "/" in known.asked.get(number, "")


def without(known: Known, number: int) -> tuple[str, str]:
    """The file where a package is asked for, and what to do there: leave out its line, if anybody knows of one."""
    package = known.owners.packages[number]
    if is_of_venv(known, number):
        venv = _venv(known, package)
        return DOCKERFILE, "\n".join(
            (
                edits.line("# python3 -m venv --without-pip {}", venv),
                edits.line("# what installs there then needs: python3 -m pip --python {}/bin/python install ...", venv),
            )
        )
    if package.kind != PackageKind.PYTHON:
        return where(package), unasked(package)
    if is_recorded(known, number):
        listed = _is_listed(known, number)
        return (posixpath.basename(known.asked[number]) if listed else REQUIREMENTS), unasked(package)
    told = "# leave out what installs {} in {}: nothing in the image says in which file it is asked for"
    return DOCKERFILE, edits.line(told, package.name, to_text(package.place))


def _venv(known: Known, package: Package) -> bytes:
    """The virtual environment that a distribution is in; empty if it is in none."""
    if package.kind != PackageKind.PYTHON:
        return b""
    return venv_of(known, package.place)


def venv_of(known: Known, path: bytes) -> bytes:
    """The virtual environment that a path is or lies in; empty if it is in none."""
    index = known.inventory.index
    return next((each for each in (path, *ancestors(path)) if each + _MARK in index), b"")
