"""Which files a plan strips, and which it spares for what lies beside them, their modes and names, or a rule."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import build_library, evidence_for, link, write

from slimagent import documents
from slimagent.errors import UsageError
from slimagent.model.plan import Plan
from slimagent.model.profile import KeepRule, Rules, StripRule
from slimagent.plan.decide import decide
from slimagent.profiles import rules as profile_rules
from slimagent.profiles.table import Table
from slimagent.report.explain import Explainer
from slimagent.report.text import plan_summary

KEPT = KeepRule(pattern="/keep/**", why="test")
LIBRARY = "/keep/libx.so.1.2"


def plan_with(root: Path, architecture: str = "x86_64", level: str = "file", **rules: object) -> Plan:
    """The plan for an image whose directory /keep stays."""
    evidence = evidence_for(root)
    made = Rules(keep=(KEPT,), budget=0, **rules)  # type: ignore[arg-type]
    return decide(replace(evidence, rules=made, trace=replace(evidence.trace, architecture=architecture)), level)


def test_what_stays_is_stripped_and_what_goes_is_not(tmp_path: Path) -> None:
    """Only kept files are in the strip plan, with bytes; it survives its document, and is explained."""
    build_library(tmp_path, LIBRARY, "-g")
    build_library(tmp_path, "/gone/liby.so", "-g")
    plan = plan_with(tmp_path)
    assert [each.path for each in plan.strips] == [LIBRARY.encode()]
    assert plan.strips[0].saves > 0
    assert documents.decode_plan(documents.encode_plan(plan)).strips == plan.strips
    assert "strip saves" in Explainer(plan).explain(LIBRARY.encode()).stripped
    assert any("from 1 kept file" in line for line in plan_summary(plan))


@pytest.mark.parametrize("level", ["file", "package", "cruft"])
def test_every_level_strips(tmp_path: Path, level: str) -> None:
    """What is stripped does not depend on the level, if it stays."""
    build_library(tmp_path, LIBRARY, "-g")
    assert [each.path for each in plan_with(tmp_path, level=level).strips] == [LIBRARY.encode()]


@pytest.mark.parametrize(
    "seal",
    [
        "/keep/.libx.so.1.2.hmac",
        "/keep/libx.so.1.2.hmac",
        "/keep/.libx.so.1.hmac",  # by the name of a link to it
        "/keep/fipscheck/libx.so.1.hmac",
        "/keep/libx.so.1.2.sig",
        "/keep/libx.so.1.2.sha256",
        "/keep/link.chk",  # NSS: libfreebl3.chk is of libfreebl3.so
    ],
)
def test_a_checksum_beside_a_file_spares_it(tmp_path: Path, seal: str) -> None:
    """Whatever name a checksum or a signature uses for the file, the file keeps every byte."""
    build_library(tmp_path, LIBRARY, "-g")
    link(tmp_path, "/keep/libx.so.1", "libx.so.1.2")
    link(tmp_path, "/keep/link.so", "libx.so.1.2")
    write(tmp_path, seal, "0123")
    plan = plan_with(tmp_path)
    assert plan.strips == ()
    assert plan.unstripped == ((LIBRARY.encode(), f"{seal} holds its checksum or signature"),)
    assert "not stripped" in Explainer(plan).explain(LIBRARY.encode()).stripped


def test_gnutls_and_openssl_check_more_than_themselves(tmp_path: Path) -> None:
    """The libraries that GnuTLS checks with itself, and OpenSSL's FIPS provider."""
    for path in ("/keep/libgnutls.so.30", "/keep/libgmp.so.10.4", "/keep/ossl-modules/fips.so", "/keep/libother.so"):
        build_library(tmp_path, path, "-g")
    write(tmp_path, "/keep/.libgnutls.so.30.hmac", "[global]")
    plan = plan_with(tmp_path)
    assert [each.path for each in plan.strips] == [b"/keep/libother.so"]
    assert len(plan.unstripped) == 3


def test_setuid_programs_are_stripped_when_asked(tmp_path: Path) -> None:
    """Set-user-ID and set-group-ID files keep their symbols unless the rules say otherwise."""
    for path, mode in (("/keep/a", 0o4755), ("/keep/b", 0o2755)):
        build_library(tmp_path, path, "-g").chmod(mode)
    plan = plan_with(tmp_path)
    assert not plan.strips
    assert all("setuid" in why for _, why in plan.unstripped)
    assert len(plan_with(tmp_path, strip_setuid=True).strips) == 2


def test_a_rule_spares_a_file_and_every_name_of_it(tmp_path: Path) -> None:
    """A file with several names is stripped once, or not at all if one of them is spared."""
    build_library(tmp_path, LIBRARY, "-g")
    os.link(tmp_path / LIBRARY[1:], tmp_path / "keep/second")
    plan = plan_with(tmp_path)
    assert [each.path for each in plan.strips] == [LIBRARY.encode()]
    plan = plan_with(tmp_path, strip=(StripRule(exclude=("/keep/sec*",), why="read by people"),))
    assert plan.strips == ()
    assert plan.unstripped == ((LIBRARY.encode(), "by rule: read by people"),)


def test_files_of_another_processor_are_left_alone(tmp_path: Path) -> None:
    """A library for a GPU, or for another machine, is nothing for the image's strip."""
    path = build_library(tmp_path, LIBRARY, "-g")
    assert plan_with(tmp_path, architecture="aarch64").unstripped[0][1] == "it is for another processor than the image"
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, 18, 190)  # EM_CUDA
    path.write_bytes(data)
    assert plan_with(tmp_path).strips == ()


def test_a_profile_says_what_is_not_stripped() -> None:
    """The rules are read, the later ones replace the earlier, and nonsense is refused."""
    table = {"strip": [{"exclude": ["/opt/**"], "why": "x"}], "strip_setuid": True}
    rules = profile_rules.read(Table(table, "profile"))
    assert rules.strip == (StripRule(exclude=("/opt/**",), why="x"),)
    assert profile_rules.merge(rules, Rules()).strip_setuid is True
    assert profile_rules.merge(rules, Rules(strip_setuid=False)).strip_setuid is False
    for wrong in ({"why": "x"}, {"exclude": [], "why": "x"}, {"exclude": ["/x"]}, {"exclude": ["x"], "why": "x"}):
        with pytest.raises(UsageError):
            profile_rules.read(Table({"strip": [wrong]}, "profile"))
