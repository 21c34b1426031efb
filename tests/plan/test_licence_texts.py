"""Which texts are open licences as a whole: with anything beside them that is not known to be harmless, none is."""

from __future__ import annotations

import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from licence_texts import BSD, NOTE_OF_NCCL

from slimagent.plan.licence_texts import LONGEST_TEXT, recognised

RESTRICTIONS = [
    "The grant above covers the Python sources. The compiled libraries (*.so) are property of ACME Corp.; modifying or "
    "redistributing them needs a written permission by ACME Corp.",
    "Free for personal and research use. For business use, a paid licence is needed: sales@acme.com.",
    "This licence covers the source files. Binary kernels in lib/ are licensed under the ACME Binary License, see "
    "https://acme.com/binary-license.",
    "The CUDA libraries in this package are governed by the NVIDIA CUDA Toolkit End User License, "
    "https://docs.nvidia.com/cuda/eula.",
    "Portions of this package are NVIDIA proprietary.",
    "Modification of the binaries is disallowed.",
    "Use is limited to NVIDIA GPUs.",
    "It may only be used on hardware of ACME.",
    "This code also includes files of another project.",
    "MIT License for the sources.",
    "Evaluation Version",
    "Its libraries belong to ACME",
    "(c) The Owners Of ACME GPUs",
    "https://acme.com/eula",
    "禁止修改二进制文件。",
    "word",
]
HOLDERS = [
    "Copyright: 2024 ACME Corp.",
    "(c) 2020 to present, ACME",
    "Copyright (c) 2015-present, ACME, Inc. and its affiliates. All rights reserved.",
    "© Jörg van der Meer <joerg@acme.org>, https://acme.org and other contributors",
    "# Copyright 2001-, the acme-x project contributors.\n# Copyright (C) 2020 hukkin",
    "Copyright (c) 2015 J. R. Smith,\n  Jane Doe\n  and others, see AUTHORS.txt for more information",
    "Copyright [2007] Ann Lee\nPortions Copyright [2007] ACME Inc.",
    "The MIT License (MIT)\n=====\n",
    'BSD 3-Clause "New" or "Revised" License\n',
    "SPDX-License-Identifier: MIT OR Apache-2.0\nSPDX-FileCopyrightText: 2024 ACME",
]


def the_mit_text() -> str:
    """As an installed package has it."""
    texts = Path(sysconfig.get_paths()["purelib"]).glob("*.dist-info/**/LICENSE*")
    return next(each.read_text("utf-8") for each in texts if each.is_file() and recognised(each.read_bytes()) == "MIT")


def test_the_bsd_text_is_recognised() -> None:
    """With its third clause and without, in comments, in other quotes, in one line, and as NCCL has it."""
    assert recognised(BSD.encode()) == "BSD-3-Clause"
    begin, end = BSD.index(" * Neither"), BSD.index("THIS SOFTWARE")
    assert recognised((BSD[:begin] + BSD[end:]).encode()) == "BSD-2-Clause"
    commented = "\n".join(f"// {line}" for line in BSD.replace("``", '"').splitlines())
    assert recognised(commented.encode()) == recognised(" ".join(BSD.split()).encode()) == "BSD-3-Clause"
    assert recognised(f"{BSD}{NOTE_OF_NCCL}".encode()) == "BSD-3-Clause"
    of_nccl = (
        "NVIDIA CORPORATION, Lawrence Berkeley National\n  Laboratory, the U.S. Department of Energy, nor the names"
    )
    assert recognised(BSD.replace("ACME CORPORATION nor the names", of_nccl).encode()) == "BSD-3-Clause"


@pytest.mark.parametrize("holders", HOLDERS)
def test_who_holds_the_copyright_may_stand_beside_it(holders: str) -> None:
    """Titles, names and addresses, before the licence and after it; so may whole other licences."""
    assert recognised(f"{holders}\n{BSD}".encode()) == recognised(f"{BSD}\n{holders}".encode()) == "BSD-3-Clause"
    assert recognised(f"{holders}\n{BSD}\n{the_mit_text()}".encode()) == "BSD-3-Clause AND MIT"


@pytest.mark.parametrize("also", [str.lower, str.upper, str.title, str])
@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_a_sentence_beside_it_is_not_harmless(restriction: str, also: type[str]) -> None:
    """One that is not known word for word may take back what the licence grants, wherever it stands."""
    restriction = also(restriction)
    places = (
        f"{BSD}\n{restriction}\n",
        f"{restriction}\n{BSD}",
        f"{BSD}\n{restriction}\n{the_mit_text()}",
        f"{BSD}\n{NOTE_OF_NCCL}\n{restriction}",
        BSD.replace("All rights reserved.", f"All rights reserved. {restriction}"),
        BSD.replace("ACME CORPORATION.", f"ACME Corp. {restriction}"),
        BSD.replace("ACME CORPORATION nor", f"ACME CORPORATION. {restriction}. ACME nor"),
        BSD.replace("THE COPYRIGHT HOLDERS", f"ACME CORPORATION. {restriction}. ACME"),
    )
    assert [recognised(each.encode()) for each in places] == [""] * len(places)


@pytest.mark.parametrize(
    "text",
    [
        BSD + "word " * 100,
        BSD.replace("with or without modification", "without modification"),
        BSD.replace("with or without modification", "with or without modification ÄÖ"),
        BSD.replace("ACME CORPORATION nor", "ACME, and no modified copy must be passed on, nor"),
        BSD[:600],
        "Licence: BSD",
        "Copyright 2024 ACME",
        "",
        BSD + " " * LONGEST_TEXT,
    ],
)
def test_a_text_that_says_something_else_is_not(text: str) -> None:
    """As a whole."""
    assert recognised(text.encode()) == ""


def test_texts_of_installed_packages_are_recognised() -> None:
    """The MIT and Apache licences as packages have them; an Apache licence with a word changed is not one."""
    site = Path(sysconfig.get_paths()["purelib"])
    texts = [each.read_bytes() for each in site.glob("*.dist-info/**/LICENSE*") if each.is_file()]
    found = {recognised(each): each for each in texts}
    assert {"MIT", "Apache-2.0", "BSD-3-Clause"} <= found.keys()
    apache = found["Apache-2.0"]
    assert recognised(apache.replace(b"perpetual", b"yearly")) == ""
    terms = apache[: apache.index(b"END OF TERMS")]
    assert recognised(terms) == "Apache-2.0"
    assert recognised(terms + b"You shall not change this.") == ""
    assert recognised(found["MIT"].replace(b"modify, ", b"")) == ""
    for restriction in RESTRICTIONS:
        owner = f"archives.\n\n   Copyright 2024 ACME\n   {restriction}\n".encode()
        assert recognised(apache.replace(b"archives.", owner)) == ""
    assert recognised(apache.replace(b"archives.", b"archives.\n\n   Copyright 2024 ACME\n")) == "Apache-2.0"


@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    """Never with an error; beside a licence, too."""
    assert recognised(text.encode("utf-8", "replace")) == ""
    assert recognised(f"{BSD}{text}".encode("utf-8", "replace")) in ("", "BSD-3-Clause")


PIECES = ["Copyright A, \n", "Copyright (c) ", "A\n", "all rights ", "A. and ", "[", "a.", "1", "neither the name "]
PIECES += [
    "terms and conditions for use reproduction and distribution ",
    "permission is hereby granted free of charge ",
]


@pytest.mark.parametrize("piece", [*PIECES, "Copyright A,\nportions ", "spdx license identifier mit and "])
def test_no_text_takes_long(piece: str) -> None:
    """However often something begins that never ends."""
    begin = time.perf_counter()
    recognised(f"{piece * (60_000 // len(piece))}x:".encode())
    recognised(f"{BSD}Copyright {piece * (60_000 // len(piece))}x:".encode())
    assert time.perf_counter() - begin < 3
