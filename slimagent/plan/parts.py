"""What a file is to its package: code, data, or an extra. Pure, by name and mode.

Only level `file` uses it. It keeps unread files of packages that stay up to a size, which depends on how likely a
program is to open them by name.
"""

from __future__ import annotations

import enum
import re
import stat
from collections.abc import Iterable

from slimagent.model.inventory import EDITABLE, Inventory, Package, PackageKind
from slimagent.paths.algebra import ancestors, parent

EXECUTABLE = 0o111


class Part(enum.Enum):
    """From the most to the least likely to be opened."""

    BINARY = "binary"  # a program, an extension module, a shared library: one of few, large, and started by name
    CODE = "code"  # what an interpreter loads by name
    DATA = "data"  # what a program may open: tables, schemas, profiles
    SINGLE = "single"  # as data, but each for itself: parts of its own pages and reports
    EXTRA = "extra"  # what people, browsers, editors and compilers read, but not the package's programs


# A stub is for type checkers, but a package's stub can list its lazy imports (SPEC 1 of Scientific Python).
_CODE = re.compile(
    rb".*/__init__\.pyi|.*\.(?:py|pth|pm|pl|al|ph|rb|lua|tcl|tm|sh|bash|awk|sed|el|elc|m4|R|r|S|q|jl|php|scm|go|jar|class|whl|egg|pyz|phar|beam|dll|cmxs|so(?:\.[0-9.]+)?)",
    re.DOTALL,
)
_LIBRARY = re.compile(rb".*\.(?:so(?:\.[0-9.]+)?|node)", re.DOTALL)
_CODE_OF_NODE = re.compile(rb".*\.(?:js|cjs|mjs|json|wasm)", re.DOTALL)
# Builds for a web browser, which Node itself never loads; minified copies of files that are also there in plain.
_FOR_BROWSERS = re.compile(
    rb".*(?:/(?:umd|browser|bundles?|cdn)/.*|[.-]min\.[cm]?js|\.(?:umd|iife|global)\.[cm]?js)", re.DOTALL
)
# R's lazy-load databases (R Internals, "Lazy loading"): code in R/, data sets in data/; those in help/ are neither.
_CODE_OF_R = re.compile(rb".*/(?:R|data)/[^/]+", re.DOTALL)
_SITE = re.compile(rb".*/(?:site|dist)-packages/.*", re.DOTALL)
# A Python or R program has the parts of its own pages and reports (small templates, styles, texts) in its package,
# beside its code. Files for the pages of JupyterLab or the Notebook do not count.
_TEMPLATE = re.compile(
    rb".*/(?:(?:site|dist)-packages|R/[^/]*library)/(?!(?:.*/)?(?:labextensions?|nbextensions?|jupyterlab/static)/)"
    rb".*\.(?:html?|css|s[ac]ss|js|svg|rst)",
    re.DOTALL,
)
_BIN = re.compile(rb".*/s?bin/[^/]+", re.DOTALL)
_EXTRA = re.compile(
    rb".*\.(?:[cm]?js|jsx|tsx?|css|scss|sass|less|html?|svg|png|jpe?g|gif|ico|webp|woff2?|ttf|otf|eot|mp3|wav|ogg|mp4|map"
    rb"|pyi|typed|rst|md|markdown|adoc|pod|pdf|h|hh|hpp|hxx|cuh|cu|c|cc|cpp|cxx|f|f90|pyx|pxd|pxi|in|tp|cmake|proto|po|pot)",
    re.DOTALL | re.IGNORECASE,
)


def part(path: bytes, mode: int, kind: PackageKind | None) -> Part:
    """What a regular file is to its package of this kind; `mode` is its st_mode."""
    if _LIBRARY.fullmatch(path) is not None:
        return Part.BINARY
    if kind in (PackageKind.NPM, PackageKind.VSCODE):
        if _CODE_OF_NODE.fullmatch(path) is not None and _FOR_BROWSERS.fullmatch(path) is None:
            return Part.CODE
    elif _CODE.fullmatch(path) is not None or (kind == PackageKind.R and _CODE_OF_R.fullmatch(path) is not None):
        return Part.CODE
    if _TEMPLATE.fullmatch(path) is not None:
        return Part.SINGLE
    if _EXTRA.fullmatch(path) is not None:
        # Completers and checkers need the standard library's types, as a program needs a library.
        return Part.CODE if b"/typeshed/stdlib/" in path else Part.EXTRA
    # A program, but not one inside a wheel for the wheel's own use: users start those in bin/. There even data often
    # has the execute bits.
    return Part.BINARY if mode & EXECUTABLE and _SITE.fullmatch(path) is None else Part.DATA


def does_its_job(path: bytes, what: Part) -> bool:
    """Whether a package cannot do its job without a file: its code, and the programs that others start by name."""
    return what is Part.CODE or (what is Part.BINARY and _BIN.fullmatch(path) is not None)


def extension_modules(inventory: Inventory, files: Iterable[int], kind: PackageKind) -> frozenset[int]:
    """The libraries among the entries of a package that its code loads by name, e.g. those of Perl modules.

    Such a library lies in or below a directory in which code of the package lies.
    """
    paths, modes = inventory.paths, inventory.modes
    regular = [at for at in files if stat.S_ISREG(modes[at])]
    libraries = [at for at in regular if _LIBRARY.fullmatch(paths[at]) is not None]
    if not libraries:
        return frozenset()
    homes = {parent(paths[at]) for at in regular if part(paths[at], modes[at], kind) is Part.CODE}
    return frozenset(at for at in libraries if any(above in homes for above in ancestors(paths[at])))


def is_own(package: Package) -> bool:
    """Whether a package may be the user's own application: installed in place, or unpacked into /opt or /usr/local.

    RStudio Server is a component too, with a place of its own (inventory/component.py).
    """
    return package.section == EDITABLE or (package.kind == PackageKind.COMPONENT and package.place == b"/")
