"""Say whether licences permit anybody to change a file and to pass it on: by their names or their whole text. Pure.

Names are those of SPDX (https://spdx.org/licenses/, its expressions with AND, OR and WITH), of Debian's copyright
files, and of the classifiers of Python packages. A name that is not known here is not open. The texts are the BSD, MIT
and Apache licences: a package can name no licence, or one of its own, and come with one of these.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import Enum

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
        "the mit license", "mit + file license", "gpl (>= 2)", "gpl (>= 3)", "mit licence",
    )
)  # fmt: skip
# The ends of Python's classifiers (https://pypi.org/classifiers/, "License ::"), in lower case. Who approves of a
# licence does so only if it permits changes (the Open Source Definition, 3; Debian's guidelines, 3).
_CLASSIFIERS = frozenset(
    (
        "osi approved", "dfsg approved", "academic free license (afl)", "apache software license",
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
# Of SPDX (https://spdx.org/licenses/exceptions-index.html); nearly all are named so.
_EXCEPTION = re.compile(r"(?!additionref-)[a-z0-9.-]+-exception(?:-[a-z0-9.-]+)?|linux-syscall-note|gpl-cc-1\.0")
_ITS_OWN = re.compile(r"(?:documentref-[a-z0-9.-]+:)?licenseref-[a-z0-9.-]+", re.IGNORECASE)


class Said(Enum):
    """What it comes to, all that a record says of a package's licences."""

    OPEN = "open"
    CLOSED = "closed"
    NOTHING = "nothing"  # there is none, or only one that the package itself defines


def said(names: Sequence[str]) -> Said:
    """What names and whole texts say together: all of them must be open.

    >>> said(["Apache-2.0 WITH LLVM-exception AND (MIT OR LicenseRef-x)"])
    <Said.OPEN: 'open'>
    """
    if not names or all(_ITS_OWN.fullmatch(each) for each in names):
        return Said.NOTHING
    return Said.OPEN if len(names) < _MOST and all(map(is_open, names)) else Said.CLOSED


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
            if _EXCEPTION.fullmatch(found[-1]) is None:
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


_WORD = re.compile(r"[a-z0-9]+")
_LAST_LATIN = "\u024f"  # of the block Latin Extended-B
# Beside or inside a licence these may take back what it grants.
_TAKES_BACK = frozenset(
    (
        "academic", "agree", "agreement", "cannot", "clause", "commercial", "condition", "conditions", "confidential",
        "consent", "educational", "eula", "evaluation", "except", "forbidden", "internal", "must", "never", "no",
        "noncommercial", "not", "notwithstanding", "only", "prohibited", "proprietary", "provided", "require",
        "required", "restrict", "restricted", "restriction", "restrictions", "revoked", "shall", "subject",
        "terminate", "terminated", "terminates", "trial", "unless",
    )
)  # fmt: skip
# Names of people and firms.
_SOME = rf"(?: (?!(?:{'|'.join(sorted(_TAKES_BACK))})\b)[a-z0-9]+){{0,40}}?"
_BULLET = r"(?: [0-9abc])?"
_BSD = re.compile(
    "redistribution and use in source and binary forms with or without modification are permitted provided "
    f"that the following conditions are met{_BULLET} redistributions of source code must retain the above "
    f"copyright notice this list of conditions and the following disclaimer{_BULLET} redistributions in binary"
    " form must reproduce the above copyright notice this list of conditions and the following disclaimer in "
    f"the documentation and or other materials provided with the distribution(?P<third>{_BULLET} neither the "
    f"name{_SOME} may be used to endorse or promote products derived from this software without specific prior"
    f" written permission)? this software is provided by the{_SOME} as is and any express or implied "
    "warranties including but not limited to the implied warranties of merchantability and fitness for a "
    f"particular purpose are disclaimed in no event shall{_SOME} be liable for any direct indirect incidental "
    "special exemplary or consequential damages including but not limited to procurement of substitute goods "
    "or services loss of use data or profits or business interruption however caused and on any theory of "
    "liability whether in contract strict liability or tort including negligence or otherwise arising in any "
    "way out of the use of this software even if advised of the possibility of such damage"
)
_MIT = re.compile(
    "permission is hereby granted free of charge to any person obtaining a copy of this software and "
    "associated documentation files the software to deal in the software without restriction including "
    "without limitation the rights to use copy modify merge publish distribute sublicense and or sell copies "
    "of the software and to permit persons to whom the software is furnished to do so subject to the "
    "following conditions the above copyright notice and this permission notice shall be included in all "
    "copies or substantial portions of the software the software is provided as is without warranty of any "
    "kind express or implied including but not limited to the warranties of merchantability fitness for a "
    f"particular purpose and noninfringement in no event shall{_SOME} be liable for any claim damages or other"
    " liability whether in an action of contract tort or otherwise arising from out of or in connection with "
    "the software or the use or other dealings in the software"
)
_APACHE = re.compile("terms and conditions for use reproduction and distribution .* end of terms and conditions")
# The words of the terms of the Apache License 2.0, in lower case, with a space between two.
_APACHE_TERMS = "30e4fead14bea27559ab87df4b7e795f30238bd249aae20bc792ba6615939d57"
_END_OF_TERMS = "end of terms and conditions"
_APPENDIX = re.compile(
    "appendix how to apply the apache license to your work to apply the apache license to your work attach "
    "the following boilerplate notice with the fields enclosed by brackets replaced with your own identifying"
    " information don t include the brackets the text should be enclosed in the appropriate comment syntax "
    "for the file format we also recommend that a file or class name and description of purpose be included "
    "on the same printed page as the copyright notice for easier identification within third party "
    f"archives{_SOME} licensed under the apache license version 2 0 the license you may not use this file "
    "except in compliance with the license you may obtain a copy of the license at https? www apache org "
    "licenses license 2 0 unless required by applicable law or agreed to in writing software distributed "
    "under the license is distributed on an as is basis without warranties or conditions of any kind either "
    "express or implied see the license for the specific language governing permissions and limitations under"
    " the license"
)
_TITLE = re.compile(
    r"(?:the )?(?:bsd [1234] clause|[1234] clause bsd) licen[cs]e\b"
)  # `clause` is a word that takes back
LONGEST_TEXT = 1 << 16  # bytes
_REST = 80  # words beside the licence: who holds the copyright, where other parts come from


def recognised(text: bytes) -> str:
    """The licence that a text is as a whole, by its SPDX name; empty if it is not one that is known here."""
    if len(text) > LONGEST_TEXT:
        return ""
    whole = text.decode("utf-8", "replace").lower()
    if any(each > _LAST_LATIN and each.isalpha() for each in whole):  # what it says in another script counts, too
        return ""
    words = " ".join(_WORD.findall(whole))
    for name, pattern in (("MIT", _MIT), ("BSD", _BSD), ("Apache-2.0", _APACHE)):
        match = pattern.search(words)
        if match is None or (name == "Apache-2.0" and not _is_apache(match[0])):
            continue
        before = words[: match.start()].removeprefix(title[0] if (title := _TITLE.match(words)) else "")
        rest = _APPENDIX.sub("", f"{before} {words[match.end() :]}").split()
        if len(rest) > _REST or not _TAKES_BACK.isdisjoint(rest):
            return ""
        return name if name != "BSD" else "BSD-3-Clause" if match["third"] else "BSD-2-Clause"
    return ""


def _is_apache(words: str) -> bool:
    terms = words.removesuffix(_END_OF_TERMS)
    return hashlib.sha256(terms.encode()).hexdigest() == _APACHE_TERMS
