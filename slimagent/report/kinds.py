"""Sort files into kinds by their paths: for tables that people read, never for a decision. Pure."""

from __future__ import annotations

import re

_KINDS: tuple[tuple[str, str], ...] = (
    ("bytecode", r".*\.py[co]"),
    ("static libraries", r".*\.(a|la)"),
    ("headers", r".*/include/.*|.*\.(h|hh|hpp|hxx|cuh|pxd)"),
    ("shared libraries", r".*\.so(\.[0-9.]+)?|.*\.node|.*\.so\.[^/]*"),
    ("package caches and logs", r"/var/(cache|log|lib/apt)/.*|.*/\.cache/.*"),
    ("manuals and documentation", r".*/(man|doc|docs|info|help|html|vignettes)/.*|.*\.(md|rst|Rd|txt)"),
    ("translations", r".*/(locale|locales|i18n|translations)/.*|.*\.(mo|po|pot)"),
    ("tests", r".*/(test|tests|testing|testdata)/.*|.*/(test_[^/]*|conftest)\.py"),
    ("source maps", r".*\.map"),
    ("Python sources", r".*\.pyi?"),
    ("R code and data", r".*\.(rd[abxs]|R|RData)|.*/R/.*"),
    ("JavaScript and web pages", r".*\.(m?js|cjs|ts|tsx|css|html?|wasm|vue|svg|woff2?|ttf)"),
    ("programs", r".*/(bin|sbin|libexec)/[^/]*|.*/lib/gcc/.*/(cc1[^/.]*|lto1|lto-wrapper|collect2)"),
    ("C and Cython sources", r".*\.(c|cc|cpp|cxx|pyx|pxi|cu)"),
)
OTHER = "other"
# One test for all: each kind is a named group, and groups inside a kind do not capture.
_UNION = re.compile(
    "|".join(f"(?P<k{at}>{pattern.replace('(', '(?:')})" for at, (_, pattern) in enumerate(_KINDS)).encode(), re.DOTALL
)


def kind(path: bytes) -> str:
    """The kind of a regular file.

    >>> kind(b"/usr/lib/libfoo.so.1.2")
    'shared libraries'
    """
    match = _UNION.fullmatch(path)
    return OTHER if match is None or match.lastgroup is None else _KINDS[int(match.lastgroup[1:])][0]
