"""The bill of materials of any plan: laws, and each thing that a component says."""

from __future__ import annotations

import uuid
from dataclasses import replace

from document_values import plans
from hypothesis import HealthCheck, given, settings
from run_documents import Loose, Pack, finished, plan_with

from slimagent.model.bill import Bill
from slimagent.model.finished_run import FinishedRun
from slimagent.model.inventory import Description
from slimagent.model.plan import Plan
from slimagent.model.proof import Layer, Receipt
from slimagent.report.bill import bill, is_described

RECEIPT = Receipt(
    tool="slimagent 0", plan="d" * 64, target="oci:/x", kept=1, dropped=1, bytes_kept=1, bytes_dropped=1, written=1,
    sha256="ab", left_alone=(), layers=(Layer(component="system", digest="d", diff_id="t", size=1, paths=1),),
)  # fmt: skip


def both(run: FinishedRun, **more: object) -> tuple[Bill, Bill]:
    """The bills before and after slimming."""
    before, after = (bill(run, before=side, tool="slimagent 0", **more) for side in (True, False))  # type: ignore[arg-type]
    return before, after


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(plans())
def test_what_stays_is_a_part_of_what_was_there(plan: Plan) -> None:
    """By names that are unique and the same on both bills; what is required is on the same bill."""
    before, after = both(finished(plan))
    assert len(before.packages) == len(plan.packages)
    assert [each.reference for each in before.packages if each.stays] == [each.reference for each in after.packages]
    for made in (before, after):
        names = [each.reference for each in made.packages]
        assert len(set(names)) == len(names)
        for each in made.packages:
            assert {*each.requires, *filter(None, [each.part_of])} <= {*names}


def test_a_package_has_its_sizes_and_its_reason() -> None:
    """What stripping saves is not among the bytes that stay."""
    plan = plan_with([Pack("dpkg:tool", 100, 80, stripped=30), Pack("dpkg:gone", 7, 0)])
    before, after = both(finished(plan))
    tool, gone = before.packages
    assert (tool.before, tool.after, tool.stays, tool.reason) == (100, 50, True, "/bin/sh was used in smoke")
    assert (gone.before, gone.after, gone.stays) == (7, 0, False)
    assert gone.reason == "no test used it, nothing that stays requires it, no rule keeps it"
    assert [each.reference for each in after.packages] == ["dpkg:tool@1"]


def test_a_reference_tells_packages_apart() -> None:
    """By version and place; where both are the same, by a number."""
    packs = [
        Pack("r:x", 1, 1),
        Pack("r:x", 1, 1, place=b"/b"),
        Pack("r:x", 1, 1),
        Pack("component:node", 1, 1, version=""),
    ]
    before, _ = both(finished(plan_with(packs)))
    assert [each.reference for each in before.packages] == ["r:x@1#1", "r:x@1 in /b", "r:x@1#2", "component:node"]


def test_what_debian_installed_of_another_manager_is_part_of_its_package() -> None:
    """As long as that stays; and it is not part of what merely requires it."""
    packs = [
        Pack("dpkg:r-cran-mass", 5, 5, requires=("r:MASS", "dpkg:libc6")),
        Pack("r:MASS", 5, 5),
        Pack("dpkg:libc6", 3, 3),
        Pack("r:lme4", 5, 5, requires=("r:MASS",)),
        Pack("dpkg:gone", 5, 0, requires=("python:x",)),
        Pack("python:x", 5, 5),
    ]
    before, after = both(finished(plan_with(packs)))
    part_of = {each.package.name: each.part_of for each in before.packages if each.part_of}
    assert part_of == {"MASS": "dpkg:r-cran-mass@1", "x": "dpkg:gone@1"}
    assert {each.package.name: each.part_of for each in after.packages if each.part_of} == {
        "MASS": "dpkg:r-cran-mass@1"
    }


def test_the_serial_number_follows_from_the_documents() -> None:
    """The same documents, the same number; another plan, side or time, another one."""
    run = finished(plan_with([Pack("dpkg:x", 1, 1)]), image="a", tag="b", ended="2026-01-01T00:00:00Z")
    before, after = both(run)
    assert before == both(run)[0]
    others = [
        both(replace(run, digest="e" * 64))[1],
        both(replace(run, ended=""))[1],
        both(run, identity="x")[1],
        before,
    ]
    assert len({after.serial, *(each.serial for each in others)}) == 5
    assert uuid.UUID(after.serial).version == 5


def test_layers_are_those_of_the_receipt() -> None:
    """Only after slimming, and only of an image that has layers."""
    run = finished(plan_with([Pack("dpkg:x", 1, 1)]), receipt=RECEIPT)
    before, after = both(run, layers=[("system",)])
    assert (before.layers, before.packages[0].layers) == ((), ())
    assert (after.layers, after.packages[0].layers) == ((("system", "t"),), ("system",))
    unlayered = replace(run, receipt=replace(RECEIPT, layers=()))
    assert both(unlayered, layers=[("system",)])[1].packages[0].layers == ()


def test_a_plan_without_descriptions_is_known() -> None:
    """An earlier slimagent made it."""
    assert not is_described(plan_with([Pack("dpkg:x", 1, 1)], [Loose(b"/x", 1)]))
    assert is_described(plan_with([Pack("dpkg:x", 1, 1, description=Description(architecture="all"))]))
