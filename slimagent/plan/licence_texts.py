"""Recognise the BSD, MIT and Apache licences by their text: a package can name no licence and come with one. Pure.

A sentence beside a licence can take back what it grants, in words that no list foresees. So nothing may stand there
but what is known to do no harm: titles, who holds the copyright, and further licences that are recognised themselves.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator

LONGEST_TEXT = 1 << 16  # bytes
_LAST_LATIN = "\u024f"  # of the block Latin Extended-B
_WORD = re.compile(r"[^\W_]+")
_BULLET = r"(?: [0-9abc])?"
_HOLDERS = r"(?P<holders_{}>(?: [^ ]+){{0,40}}?)"  # names of people and firms, which are looked at by themselves
_BSD = re.compile(
    "redistribution and use in source and binary forms with or without modification are permitted provided "
    f"that the following conditions are met{_BULLET} redistributions of source code must retain the above "
    f"copyright notice this list of conditions and the following disclaimer{_BULLET} redistributions in binary"
    " form must reproduce the above copyright notice this list of conditions and the following disclaimer in "
    f"the documentation and or other materials provided with the distribution(?P<third>{_BULLET} neither the "
    f"name{_HOLDERS.format(1)} may be used to endorse or promote products derived from this software without "
    f"specific prior written permission)? this software is provided by the{_HOLDERS.format(2)} as is and any express "
    "or implied warranties including but not limited to the implied warranties of merchantability and fitness for a "
    f"particular purpose are disclaimed in no event shall{_HOLDERS.format(3)} be liable for any direct indirect "
    "incidental special exemplary or consequential damages including but not limited to procurement of substitute "
    "goods or services loss of use data or profits or business interruption however caused and on any theory of "
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
    f"particular purpose and noninfringement in no event shall{_HOLDERS.format(1)} be liable for any claim damages "
    "or other liability whether in an action of contract tort or otherwise arising from out of or in connection with "
    "the software or the use or other dealings in the software"
)
# The words of the terms of the Apache License 2.0, in lower case, with a space between two.
_APACHE = re.compile(
    "(?P<terms>terms and conditions for use reproduction and distribution .*? such warranty or additional liability)"
    "(?: end of terms and conditions)?(?![^ ])"
)
_APACHE_TERMS = "30e4fead14bea27559ab87df4b7e795f30238bd249aae20bc792ba6615939d57"
_KNOWN = (("MIT", _MIT), ("BSD", _BSD), ("Apache-2.0", _APACHE))


def _phrase(words: str) -> str:
    """A pattern of a phrase: between its words there may be any signs, e.g. those of a comment."""
    return r"[\W_]+".join(words.split(" "))


# What may stand beside a licence word for word. The last two are in the licence file of NCCL.
_HARMLESS = re.compile(
    r"(?<![^\W_])(?:"
    + "|".join(
        _phrase(each)
        for each in (
            "all rights reserved",
            r"(?:the )?mit licen[cs]e(?: mit)?",
            r"(?:the )?(?:(?:new|modified|revised|simplified) )?(?:bsd [234] clause|[234] clause bsd|bsd)"
            r"(?: new or revised| new| revised| simplified)? licen[cs]e",
            r"apache license version 2 0(?: january 2004)?(?: https? www apache org licenses)?",
            r"https? (?:www )?opensource org licenses (?:mit|bsd [23] clause)(?: license)?(?: php| html)?",
            r"spdx license identifier (?:mit|bsd [23] clause|apache 2 0)"
            r"(?: (?:and|or) (?:mit|bsd [23] clause|apache 2 0))*",
            "appendix how to apply the apache license to your work to apply the apache license to your work attach "
            "the following boilerplate notice with the fields enclosed by brackets replaced with your own identifying"
            " information don t include the brackets the text should be enclosed in the appropriate comment syntax "
            "for the file format we also recommend that a file or class name and description of purpose be included "
            "on the same printed page as the copyright notice for easier identification within third party archives",
            "yyyy name of copyright owner",
            "licensed under the apache license version 2 0 the license you may not use this file except in compliance"
            " with the license you may obtain a copy of the license at https? www apache org licenses license 2 0 "
            "unless required by applicable law or agreed to in writing software distributed under the license is "
            "distributed on an as is basis without warranties or conditions of any kind either express or implied "
            "see the license for the specific language governing permissions and limitations under the license",
            "as shown by the authors file",
            r"see (?:the )?authors(?: txt| md| rst)?(?: file)?(?: for more information)?",
            "the u s department of energy funded the development of this software under subcontract [0-9]+ with "
            "lawrence berkeley national laboratory",
            "this code also includes files from the nvidia tools extension sdk project see https github com nvidia "
            "nvtx for more information and license details",
        )
    )
    + r")(?![^\W_])",
    re.IGNORECASE,
)
_PART = re.compile(
    r"(?P<line>\n)|(?P<place>https?://[^\s<>()]+|[\w.+-]{1,64}@[\w.-]+)|(?P<and>&)|(?P<comma>,)|(?P<stop>[:;!?])"
    r"|(?P<mark>©|(?:copyrights?|spdx-filecopyrighttext)\b:?(?:\s*\(c\))?|\(c\)(?=\W*[0-9]{4}))"
    r"|(?P<year>[0-9]{4}(?:\s*(?:-|to\b)\s*(?:[0-9]{2,4}|present\b)|-)?(?!\w))|(?P<word>[^\W_][\w.'+-]*)",
    re.IGNORECASE,
)
_SIGNS = {"line": "L", "mark": "M", "and": "j", "comma": "c", "year": "Y"}
_JOINING = frozenset(("and", "or", "nor"))
_SMALL = frozenset(
    (
        "the", "of", "by", "its", "their", "other", "de", "la", "du", "der", "van", "von", "portions", "present",
        "respective",
    )
)  # fmt: skip
_GROUPS = frozenset(
    (
        "affiliates", "author", "authors", "community", "contributor", "contributors", "developers", "holder",
        "holders", "maintainers", "name", "names", "others", "owner", "owners", "project", "team",
    )
)  # fmt: skip
# Words of sentences, and hardly of names: in capitals a sentence looks like a name.
_OF_SENTENCES = re.compile(
    r"(?<![^\W_])(?:(?:academic|agree|allow|belong|binar|commerc|compil|condition|confiden|consent|disallow|distribut"
    r"|educat|evaluat|licen|modif|noncommerc|permi|prohib|propriet|redistrib|requir|restrict|revok|terminat)[a-z]*"
    r"|(?:alter(?:ed|ing)?|are|be|cannot|chang(?:ed?|es|ing)|clause|do|eula|except|for|forbid(?:den|s)?|governed|in"
    r"|internal|is|it|may|must|never|no|non|not|notwithstanding|on|only|paid|personal|provided|see|shall|subject|terms?"
    r"|this|to|trial|under|unless|us(?:age|e|ed|es|ing)|was|with|within|without|you|your)(?![^\W_]))",
    re.IGNORECASE,
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
# Statements of copyright, with a letter for each part (_letter). A name that ends with a stop ends the statement,
# unless more follows that cannot be a sentence. One line more is part of it if it continues a list.
_STATEMENTS = re.compile(
    r"(?:L|p(?=M)|M(?:[YNIgejc]|p(?!M)|u(?=g)|(?:(?<=[MYp])|(?<=Yc))u(?=[Lecj]|\Z)|S(?=[jecLM]|\Z)"
    r"|L(?=[jY])|(?<=[jc])L(?=[NIgueS]|p(?!M))){0,40})*"
)


def recognised(text: bytes) -> str:
    """The licences that a text is as a whole, by their SPDX names; empty if it is not those that are known here."""
    if len(text) > LONGEST_TEXT:
        return ""
    whole = text.decode("utf-8", "replace")
    if any(each > _LAST_LATIN and each.isalpha() for each in whole):  # what it says in another script counts, too
        return ""
    words = [each.span() for each in _WORD.finditer(whole)]
    one_line = " ".join(whole[begin:end].lower() for begin, end in words)
    starts = [0, *(at + 1 for at, each in enumerate(one_line) if each == " ")]

    def between(begin: int, end: int) -> str:
        """What the text has between two places of the line of words, with the signs around it."""
        first, last = bisect_left(starts, begin), bisect_left(starts, end)
        return whole[words[first - 1][1] if first else 0 : words[last][0] if last < len(words) else len(whole)]

    found = sorted(_licences(one_line), key=lambda each: each[1].start())
    for _, match in found:
        gaps = (match.span(each) for each in match.re.groupindex if each.startswith("holders"))
        if not all(_names_holders(" ".join(between(*each).split()), "M") for each in gaps):
            return ""
    edges = [0, *(edge for _, match in found for edge in match.span()), len(one_line) + 1]
    beside = (between(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True))
    if not all(_names_holders(_HARMLESS.sub("\n", each)) for each in beside):
        return ""
    return " AND ".join(dict.fromkeys(name for name, _ in found))


def _licences(words: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Each licence in a line of words, with its name."""
    for name, pattern in _KNOWN:
        for match in pattern.finditer(words):
            if name == "BSD":
                yield "BSD-3-Clause" if match["third"] else "BSD-2-Clause", match
            elif name == "MIT" or hashlib.sha256(f"{match['terms']} ".encode()).hexdigest() == _APACHE_TERMS:
                yield name, match


def _names_holders(text: str, before: str = "") -> bool:
    """Whether a text says only who holds the copyright."""
    return _STATEMENTS.fullmatch(before + "".join(map(_letter, _PART.finditer(text)))) is not None


def _letter(part: re.Match[str]) -> str:
    """What a part of a statement of copyright is; x for what does not belong to one."""
    kind, text = part.lastgroup or "", part[0]
    if kind == "place":
        return "x" if _OF_SENTENCES.search(text) else "e"
    if kind != "word":
        return _SIGNS.get(kind, "x")
    word = text.lower()
    for letter, known in (("j", _JOINING), ("p", _SMALL), ("g", _GROUPS)):
        if word.rstrip(".") in known:
            return letter
    if _INITIALS.fullmatch(text):
        return "I"
    if _OF_SENTENCES.search(text):
        return "x"
    return "S" if text.endswith(".") else "N" if text[0].isupper() or text[0].isdigit() else "u"
