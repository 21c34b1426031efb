"""Which licences permit anybody to change a file: by the names that records give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.plan.open_licences import Said, said

OPEN = ["MIT", "Apache-2.0", "BSD-3-Clause", "GPL-2.0-or-later", "MPL-2.0", "Zlib", "Expat", "GPL-3+"]
CLOSED = ["Proprietary", "NVIDIA Proprietary Software", "Other/Proprietary License", "SSPL-1.0", "(", "MIT AND", "a b"]
RESTRICTED = ["MIT WITH restrictions", "Apache-2.0 WITH Commons-Clause", "MIT WITH AdditionRef-x-exception"]
RESTRICTED += ["Apache-2.0 WITH no-modification-exception", "GPL-2.0-only WITH NVIDIA-driver-exception"]
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


@pytest.mark.parametrize(
    "name",
    [
        *("BSD-3", "Apache2", "APACHE", "Apache Software License 2.0", "Apache v2.0", "The MIT License (MIT)"),
        *('BSD 3-Clause "New" or "Revised" License', "Apache 2.0 License"),
    ],
)
def test_what_people_write_in_place_of_a_name(name: str) -> None:
    """As records of PyTorch (2.4), DGL, DeepSpeed and others have it."""
    assert said([name]) is said([name, "BSD License"]) is Said.OPEN
    assert said([f"{name} (non-commercial)"]) is Said.CLOSED


@pytest.mark.parametrize("exception", ["LLVM-exception", "Classpath-exception-2.0", "Linux-syscall-note", "GPL-CC-1.0"])
def test_exceptions_of_spdx_permit_more(exception: str) -> None:
    """Others may be restrictions, whatever they are called."""
    assert said([f"GPL-2.0-only WITH {exception}"]) is Said.OPEN


@pytest.mark.parametrize("name", OPEN)
def test_open_names(name: str) -> None:
    """Of SPDX and of Debian."""
    assert said([name]) is said([name.lower()]) is Said.OPEN


@pytest.mark.parametrize("name", [*CLOSED, *RESTRICTED, "", "(" * 150, "MIT" * 100])
def test_other_names_are_closed(name: str) -> None:
    """What is not known, and what is no expression."""
    assert said([name]) is Said.CLOSED


def test_a_licence_of_its_own_says_nothing() -> None:
    """Nor does none at all, nor who approves of it."""
    assert said([]) is said(OWN[:1]) is said(OWN) is Said.NOTHING
    assert said(["OSI Approved"]) is said(["DFSG approved", *OWN]) is Said.NOTHING
    assert said(["OSI Approved", "MIT"]) is Said.OPEN
    assert said(["OSI Approved", CLOSED[0]]) is Said.CLOSED
    assert said([*OWN, "MIT"]) is Said.CLOSED


@given(st.text(max_size=250))
def test_any_name_is_answered(name: str) -> None:
    """Never with an error."""
    assert said([name]) in Said
