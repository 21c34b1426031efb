"""CycloneDX documents, held against the schemas of CycloneDX."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from cyclonedx.validation.xml import XmlValidator
from document_values import plans
from hostile_texts import HOSTILE
from hypothesis import HealthCheck, Phase, given, settings
from run_documents import Pack, finished, plan_with

from slimagent.model.bill import Bill
from slimagent.model.inventory import Description, Distribution
from slimagent.model.plan import Plan
from slimagent.report.bill import bill
from slimagent.report.sbom.cyclonedx import JSON, XML, cyclonedx

NAMESPACE = "{http://cyclonedx.org/schema/bom/1.6}"
COMMENT = "Written by slimagent 0"


@cache
def validators() -> tuple[JsonStrictValidator, XmlValidator]:
    return JsonStrictValidator(SchemaVersion.V1_6), XmlValidator(SchemaVersion.V1_6)


def valid(made: Bill) -> dict[str, Any]:
    """The bill as JSON, if that and the XML are valid."""
    in_json, in_xml = cyclonedx(made, JSON, COMMENT), cyclonedx(made, XML, COMMENT)
    json_validator, xml_validator = validators()
    assert json_validator.validate_str(in_json.decode()) is None
    assert xml_validator.validate_str(in_xml.decode()) is None
    whole: dict[str, Any] = json.loads(in_json)
    listed = ElementTree.fromstring(in_xml).find(f"{NAMESPACE}components")  # noqa: S314  it is ours
    assert len(whole.get("components", ())) == (0 if listed is None else len(listed))
    return whole


def made_of(plan: Plan, *, before: bool = True, **more: object) -> Bill:
    run = finished(plan, image="app:1", tag="slim:1", ended="2026-08-01T10:20:30Z")
    return bill(run, before=before, tool="slimagent 0", **more)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(
    max_examples=20,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)
@given(plans())
def test_any_plan_gives_a_valid_document(plan: Plan) -> None:
    """In both forms, before and after; every package is in it once."""
    for before in (True, False):
        made = made_of(plan, before=before)
        components = valid(made).get("components", [])
        libraries = [each for each in components if each["type"] != "operating-system"]
        assert len(libraries) == len(made.packages)


PACKS = [
    Pack(
        "dpkg:r-cran-mass", 500, 400, "7.3-58", requires=("r:MASS", "dpkg:libc6"), section="gnu-r",
        description=Description(licenses=("GPL-2", "GPL-3"), architecture="amd64", source="mass"),
    ),
    Pack("r:MASS", 500, 400, "7.3-58.2", b"/usr/lib/R/library", description=Description(licenses=("GPL-2 | GPL-3",))),
    Pack("dpkg:libc6", 90, 90, "2.36", description=Description(licenses=("LGPL-2.1-or-later",), architecture="amd64")),
    Pack("python:x", 10, 0, "1.0", b"/opt/venv/site", description=Description(licenses=("MIT OR Apache-2.0",))),
]  # fmt: skip


def named(whole: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["bom-ref"]: each for each in whole["components"]}


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {each["name"].removeprefix("slimagent:"): each["value"] for each in component["properties"]}


def test_a_component_says_what_is_known() -> None:
    """Its URL, its licenses, and in properties its sizes, its verdict with the reason, and what it is part of."""
    found = named(valid(made_of(plan_with(PACKS))))
    mass = found["r:MASS@7.3-58.2 in /usr/lib/R/library"]
    assert (mass["name"], mass["version"], mass["purl"]) == ("MASS", "7.3-58.2", "pkg:cran/MASS@7.3-58.2")
    assert mass["licenses"] == [{"license": {"name": "GPL-2 | GPL-3", "acknowledgement": "declared"}}]
    assert properties(mass) == {
        "kind": "r", "place": "/usr/lib/R/library", "verdict": "keep", "reason": "/bin/sh was used in smoke",
        "bytes-before": "500", "bytes-after": "400", "part-of": "dpkg:r-cran-mass@7.3-58",
    }  # fmt: skip
    assert properties(found["dpkg:r-cran-mass@7.3-58"])["section"] == "gnu-r"
    assert found["slimagent:distribution"]["version"] == "12"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("MIT",), [{"license": {"id": "MIT"}}]),
        (("mit",), [{"license": {"id": "MIT"}}]),
        (("GPL-2+",), [{"license": {"name": "GPL-2+"}}]),
        (("MIT OR Apache-2.0",), [{"expression": "MIT OR Apache-2.0"}]),
        (("MIT OR Apache-2.0", "Zlib"), [{"license": {"name": "MIT OR Apache-2.0"}}, {"license": {"id": "Zlib"}}]),
        (("x" * 500,), [{"license": {"name": "x" * 500}}]),
        ((), []),
    ],
)
def test_licenses_are_spdx_where_they_are(names: tuple[str, ...], expected: list[dict[str, Any]]) -> None:
    """An identifier, an expression that stands alone, or a name."""
    plan = plan_with([Pack("python:x", 1, 1, description=Description(licenses=names))])
    (only,) = [each for each in valid(made_of(plan))["components"] if each["name"] == "x"]

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(each) for key, each in value.items() if key != "acknowledgement"}
        return value

    assert sorted(map(bare, only.get("licenses", [])), key=json.dumps) == sorted(expected, key=json.dumps)


def test_dependencies_are_those_of_the_plan() -> None:
    """The image depends on what nothing else requires; what goes is not in the graph after slimming."""
    before, after = (valid(made_of(plan_with(PACKS), before=each)) for each in (True, False))
    graph = {each["ref"]: set(each.get("dependsOn", ())) for each in before["dependencies"]}
    mass, libc = "r:MASS@7.3-58.2 in /usr/lib/R/library", "dpkg:libc6@2.36"
    gone = "python:x@1.0 in /opt/venv/site"
    assert graph == {
        "slimagent:image": {"dpkg:r-cran-mass@7.3-58", gone}, "dpkg:r-cran-mass@7.3-58": {mass, libc}, mass: set(),
        libc: set(), gone: set(), "slimagent:distribution": set(),
    }  # fmt: skip
    assert gone not in {each["ref"] for each in after["dependencies"]}
    assert gone not in json.dumps(after)


def test_the_same_bill_gives_the_same_bytes() -> None:
    """Whatever the clock says: the time is the run's, and there is none if the run's is not known."""
    made = made_of(plan_with(PACKS), identity="sha256:ab")
    for form in (JSON, XML):
        assert cyclonedx(made, form, COMMENT) == cyclonedx(made, form, COMMENT)
    whole = valid(made)
    assert whole["metadata"]["timestamp"] == "2026-08-01T10:20:30+00:00"
    assert whole["metadata"]["component"]["version"] == "sha256:ab"
    assert whole["serialNumber"] == f"urn:uuid:{made.serial}"
    for ended in ("", "yesterday"):
        assert "timestamp" not in valid(replace(made, ended=ended))["metadata"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_names_give_a_valid_document() -> None:
    """Characters that XML cannot hold are escaped, in every place that takes a text."""
    odd = f"{HOSTILE}\x00\ufffe\ud800"
    described = Description(licenses=(odd, "MIT"), source=odd, architecture=odd, build=odd, channel=odd)
    packs = [
        Pack(f"{kind}:{odd}", 5, 5, odd, b"/\xff\n", description=described, section=odd) for kind in ("dpkg", "npm")
    ]
    made = made_of(plan_with(packs, distribution=Distribution(id=odd, version=odd, codename=odd)), architecture=odd)
    whole = valid(replace(made, image=odd, identity=odd, level=odd))
    assert len(whole["components"]) == 3
    assert json.dumps(whole, ensure_ascii=False).isprintable()


def test_a_document_begins_with_who_wrote_it() -> None:
    """So that the next one may replace it."""
    made = made_of(plan_with(PACKS))
    beginning = cyclonedx(made, JSON, COMMENT)[:256]
    assert beginning.startswith(
        b'{\n  "bomFormat": "CycloneDX",\n  "specVersion": "1.6",\n  "metadata": {\n    "tools"'
    )
    assert b'"name": "slimagent"' in beginning
    assert b"<!-- Written by slimagent 0 -->" in cyclonedx(made, XML, COMMENT)[:100]
