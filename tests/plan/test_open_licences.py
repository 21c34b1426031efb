"""Which licences permit anybody to change a file: by the names that records give them, and by their whole text."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from licence_texts import BSD

from slimagent.plan.open_licences import LONGEST_TEXT, Said, recognised, said

OPEN = ["MIT", "Apache-2.0", "BSD-3-Clause", "GPL-2.0-or-later", "MPL-2.0", "Zlib", "Expat", "GPL-3+"]
CLOSED = ["Proprietary", "NVIDIA Proprietary Software", "Other/Proprietary License", "SSPL-1.0", "(", "MIT AND", "a b"]
RESTRICTED = ["MIT WITH restrictions", "Apache-2.0 WITH Commons-Clause", "MIT WITH AdditionRef-x-exception"]
OWN = ["LicenseRef-NVIDIA-Proprietary", "LicenseRef-x"]
OPEN_EXPRESSIONS = st.recursive(
    st.sampled_from(OPEN),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(("AND", "and", "OR")), inner)
        | st.builds("{} WITH LLVM-exception".format, st.sampled_from(OPEN))
    ),
    max_leaves=5,
)


@given(OPEN_EXPRESSIONS, st.sampled_from([*CLOSED[:4], *OWN]))
def test_all_of_and_and_one_of_or(expression: str, closed: str) -> None:
    """An expression of open licences is open; a closed one beside it closes it with AND and not with OR."""
    if len(expression) > 150:
        return
    assert said([expression]) is Said.OPEN
    assert said([expression, closed]) is Said.CLOSED
    if " " not in closed:
        assert said([f"{closed} OR {expression}"]) is said([f"{expression} | {closed}"]) is Said.OPEN
        assert said([f"{closed} AND ({expression})"]) is said([f"({expression}) and {closed}"]) is Said.CLOSED


@pytest.mark.parametrize("name", OPEN)
def test_open_names(name: str) -> None:
    """Of SPDX and of Debian."""
    assert said([name]) is said([name.lower()]) is Said.OPEN


@pytest.mark.parametrize("name", [*CLOSED, *RESTRICTED, "", "(" * 150, "MIT" * 100])
def test_other_names_are_closed(name: str) -> None:
    """What is not known, and what is no expression."""
    assert said([name]) is Said.CLOSED


def test_a_licence_of_its_own_says_nothing() -> None:
    """Nor does none at all."""
    assert said([]) is said(OWN[:1]) is said(OWN) is Said.NOTHING
    assert said([*OWN, "MIT"]) is Said.CLOSED


@given(st.text(max_size=250))
def test_any_name_is_answered(name: str) -> None:
    """Never with an error."""
    assert said([name]) in Said


def test_the_bsd_text_is_recognised() -> None:
    """With its third clause and without, in comments, in other quotes, with a note on where other parts come from."""
    assert recognised(BSD.encode()) == "BSD-3-Clause"
    begin, end = BSD.index(" * Neither"), BSD.index("THIS SOFTWARE")
    assert recognised((BSD[:begin] + BSD[end:]).encode()) == "BSD-2-Clause"
    assert (
        recognised("\n".join(f"// {line}" for line in BSD.replace("``", '"').splitlines()).encode()) == "BSD-3-Clause"
    )
    assert recognised(f"{BSD}\nThis code also includes files of another project.\n".encode()) == "BSD-3-Clause"


@pytest.mark.parametrize(
    "text",
    [
        BSD + "\nIt may only be used on hardware of ACME.\n",
        BSD + "\nYou must not modify the binaries.\n",
        BSD + "\nFor noncommercial use.\n",
        BSD + "\n禁止修改二进制文件。\n",
        BSD + "word " * 100,
        BSD.replace("with or without modification", "without modification"),
        BSD.replace("ACME CORPORATION nor", "ACME, and no modified copy must be passed on, nor"),
        BSD[:600],
        "Licence: BSD",
        "",
        BSD + " " * LONGEST_TEXT,
    ],
)
def test_a_text_that_says_something_else_is_not(text: str) -> None:
    """As a whole: one sentence more can take back what it grants."""
    assert recognised(text.encode()) == ""


def test_texts_of_installed_packages_are_recognised() -> None:
    """The MIT and Apache licences as packages have them; an Apache licence with a word changed is not one."""
    site = Path(sysconfig.get_paths()["purelib"])
    texts = [each.read_bytes() for each in site.glob("*.dist-info/**/LICENSE*") if each.is_file()]
    found = {recognised(each): each for each in texts}
    assert {"MIT", "Apache-2.0", "BSD-3-Clause"} <= found.keys()
    assert recognised(found["Apache-2.0"].replace(b"perpetual", b"yearly")) == ""
    assert recognised(found["MIT"].replace(b"modify, ", b"")) == ""
