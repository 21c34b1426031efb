"""Say whether licences permit anybody to change a file and to pass it on: by their names or their whole text. Pure.

Names are those of SPDX (https://spdx.org/licenses/, its expressions with AND, OR and WITH), of Debian's copyright
files, and of the classifiers of Python packages. A name that is not known here is not open. A text can stand
in place of a name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from slimagent.plan.licence_texts import recognised

_LONGEST_NAME = 200  # characters
_MOST = 100  # names that a description holds (inventory/licenses.py): there may have been more
_PERMISSIVE = (
    "0bsd", "afl-3.0", "apache-1.1", "apache-2.0", "artistic-2.0", "blas", "bsd-1-clause", "bsd-2-clause",
    "bsd-2-clause-patent", "bsd-3-clause", "bsd-3-clause-lbnl", "bsd-4-clause", "bsl-1.0", "cc0-1.0", "curl", "expat",
    "hpnd", "isc", "libpng", "libpng-2.0", "mit", "mit-0", "mit-cmu", "ncsa", "openssl", "postgresql", "psf-2.0",
    "public-domain", "python-2.0", "unicode-3.0", "unlicense", "upl-1.0", "wtfpl", "x11", "zlib", "zpl-2.1",
)  # fmt: skip
_COPYLEFT = re.compile(
    r"(?:a?gpl-[123]|lgpl-[23]|lgpl-2\.[01]|mpl-[12]\.[01]|epl-[12]\.0|cddl-1\.[01]|eupl-1\.[12])(?:\.0)?(?:-only|-or-later)?"
)
# What people write in place of a name of SPDX, in lower case.
_OTHER_NAMES = frozenset(
    (
        "apache 2.0", "apache license 2.0", "apache license, version 2.0", "apache-2.0 license", "apache 2",
        "apache license version 2.0", "the apache license, version 2.0", "bsd", "new bsd", "bsd 3-clause",
        "bsd 2-clause", "3-clause bsd license", "modified bsd", "bsd-3-clause license", "bsd 3-clause license",
        "the mit license", "mit + file license", "gpl (>= 2)", "gpl (>= 3)", "mit licence", "the mit license (mit)",
        "apache", "apache2", "apache-2", "apache 2.0 license", "apache v2.0", "apache software license 2.0",
        "apache software license (http://www.apache.org/licenses/license-2.0)", "bsd-2", "bsd-3", "bsd3",
        'bsd 3-clause "new" or "revised" license',
    )
)  # fmt: skip
# The ends of Python's classifiers (https://pypi.org/classifiers/, "License ::"), in lower case.
_CLASSIFIERS = frozenset(
    (
        "academic free license (afl)", "apache software license",
        "blue oak model license (blueoak-1.0.0)", "boost software license 1.0 (bsl-1.0)", "bsd license",
        "cc0 1.0 universal (cc0 1.0) public domain dedication",
        "common development and distribution license 1.0 (cddl-1.0)", "eclipse public license 1.0 (epl-1.0)",
        "eclipse public license 2.0 (epl-2.0)", "european union public licence 1.1 (eupl 1.1)",
        "european union public licence 1.2 (eupl 1.2)", "gnu affero general public license v3",
        "gnu affero general public license v3 or later (agplv3+)", "gnu general public license (gpl)",
        "gnu general public license v2 (gplv2)", "gnu general public license v2 or later (gplv2+)",
        "gnu general public license v3 (gplv3)", "gnu general public license v3 or later (gplv3+)",
        "gnu lesser general public license v2 (lgplv2)", "gnu lesser general public license v2 or later (lgplv2+)",
        "gnu lesser general public license v3 (lgplv3)", "gnu lesser general public license v3 or later (lgplv3+)",
        "gnu library or lesser general public license (lgpl)",
        "historical permission notice and disclaimer (hpnd)", "isc license (iscl)", "mit license",
        "mit no attribution license (mit-0)", "mozilla public license 1.1 (mpl 1.1)",
        "mozilla public license 2.0 (mpl 2.0)", "public domain", "python license (cnri python license)",
        "python software foundation license", "the unlicense (unlicense)",
        "universal permissive license (upl)", "university of illinois/ncsa open source license",
        "zero-clause bsd (0bsd)", "zlib/libpng license", "zope public license",
    )
)  # fmt: skip
_TOKEN = re.compile(r"\s*([()]|[A-Za-z0-9.+:-]+)")
# Who approves of a licence must have one that it approves of: such a classifier names none.
_APPROVED = frozenset(("osi approved", "dfsg approved"))
# Of SPDX (https://spdx.org/licenses/exceptions-index.html), those for software, in lower case: each only permits more.
_EXCEPTIONS = frozenset(
    (
        "389-exception", "asterisk-exception", "asterisk-linking-protocols-exception", "autoconf-exception-2.0",
        "autoconf-exception-3.0", "autoconf-exception-generic", "autoconf-exception-generic-3.0",
        "autoconf-exception-macro", "bison-exception-1.24", "bison-exception-2.2", "bootloader-exception",
        "cgal-linking-exception", "classpath-exception-2.0", "classpath-exception-2.0-short", "clisp-exception-2.0",
        "cryptsetup-openssl-exception", "digia-qt-lgpl-exception-1.1", "ecos-exception-2.0",
        "erlang-otp-linking-exception", "fawkes-runtime-exception", "fltk-exception", "fmt-exception",
        "font-exception-2.0", "freertos-exception-2.0", "gcc-exception-2.0", "gcc-exception-2.0-note",
        "gcc-exception-3.1", "gmsh-exception", "gnat-exception", "gnome-examples-exception", "gnu-compiler-exception",
        "gnu-javamail-exception", "gpl-3.0-389-ds-base-exception", "gpl-3.0-interface-exception",
        "gpl-3.0-linking-exception", "gpl-3.0-linking-source-exception", "gpl-cc-1.0", "gstreamer-exception-2005",
        "gstreamer-exception-2008", "i2p-gpl-java-exception", "independent-modules-exception",
        "kicad-libraries-exception", "lgpl-3.0-linking-exception", "libpri-openh323-exception", "libtool-exception",
        "linux-syscall-note", "llvm-exception", "lzma-exception", "mif-exception", "mxml-exception",
        "ocaml-lgpl-linking-exception", "occt-exception-1.0", "openjdk-assembly-exception-1.0",
        "openvpn-openssl-exception", "pcre2-exception", "polyparse-exception", "ps-or-pdf-font-exception-20170817",
        "qt-gpl-exception-1.0", "qt-lgpl-exception-1.1", "qwt-exception-1.0", "rrdtool-floss-exception-2.0",
        "rsync-linking-exception", "sane-exception", "simple-library-usage-exception",
        "sqlitestudio-openssl-exception", "stunnel-exception", "swi-exception", "swift-exception",
        "texinfo-exception", "u-boot-exception-2.0", "ubdl-exception", "universal-foss-exception-1.0",
        "vsftpd-openssl-exception", "wxwindows-exception-3.1", "x11vnc-openssl-exception",
    )
)  # fmt: skip
_ITS_OWN = re.compile(r"(?:documentref-[a-z0-9.-]+:)?licenseref-[a-z0-9.-]+", re.IGNORECASE)


class Said(Enum):
    """What it comes to, all that a record says of a package's licences."""

    OPEN = "open"
    CLOSED = "closed"
    NOTHING = "nothing"  # there is none but one that the package itself defines, or that somebody approves of


def said(names: Sequence[str]) -> Said:
    """What names and whole texts say together: all of them must be open.

    >>> said(["Apache-2.0 WITH LLVM-exception AND (MIT OR LicenseRef-x)"])
    <Said.OPEN: 'open'>
    """
    named = [each for each in names if each.lower() not in _APPROVED]
    if len(names) >= _MOST:
        return Said.CLOSED
    if all(_ITS_OWN.fullmatch(each) for each in named):
        return Said.NOTHING
    return Said.OPEN if all(map(is_open, named)) else Said.CLOSED


def is_open(name: str) -> bool:
    """Whether a name or a whole text is that of an open licence."""
    return _is_open_by_name(name) or bool(recognised(name.encode("utf-8", "replace")))


def _is_open_by_name(name: str) -> bool:
    if name.lower() in _OTHER_NAMES or name.lower() in _CLASSIFIERS:
        return True
    try:
        return len(name) <= _LONGEST_NAME and _value(_tokens(name))
    except ValueError:
        return False


def _tokens(text: str) -> list[str]:
    """The words and brackets of an expression, in lower case; one `with` and the exception after it are left out."""
    text, found, at = text.replace("|", " or ").strip().lower(), list[str](), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError("not an expression")
        at = match.end()
        found.append(match[1])
        if found[-2:-1] == ["with"]:
            if found[-1] not in _EXCEPTIONS:
                raise ValueError("not an exception, which permits more, but perhaps a restriction")
            del found[-2:]
    return found


def _value(tokens: list[str]) -> bool:
    """Whether an expression of SPDX is open (its specification, annex "SPDX license expressions").

    Raises ValueError for what is not an expression.
    """
    values, waiting, is_next_a_name = list[bool](), list[str](), True
    for word in tokens:
        if is_next_a_name is not (word not in ("and", "or", ")")):
            raise ValueError("not an expression")
        if word == "(":
            waiting.append(word)
        elif is_next_a_name:
            values.append(_is_open_name(word))
            is_next_a_name = False
        else:
            while waiting and waiting[-1] != "(" and (word != "and" or waiting[-1] == "and"):
                _apply(waiting.pop(), values)
            if word == ")":
                if not waiting:
                    raise ValueError("not an expression")
                waiting.pop()
            else:
                waiting.append(word)
                is_next_a_name = True
    if is_next_a_name or "(" in waiting:
        raise ValueError("not an expression")
    while waiting:
        _apply(waiting.pop(), values)
    return values[0]


def _apply(operator: str, values: list[bool]) -> None:
    last = values.pop()
    values[-1] = (values[-1] and last) if operator == "and" else (values[-1] or last)


def _is_open_name(name: str) -> bool:
    name = name.removesuffix("+")
    return name in _PERMISSIVE or _COPYLEFT.fullmatch(name) is not None
