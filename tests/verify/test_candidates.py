"""All differences between two images become groups, the likely causes first."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.model.edit import Edit, EditKind
from slimagent.model.inventory import Package, PackageKind
from slimagent.model.plan import Entry, GpuCode, GpuFile, Plan, PlannedPackage, Step, Strip
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.search import Cause, Difference, Form, What
from slimagent.verify.candidates import Candidates
from slimagent.verify.search import most

KEEP, DROP, TREE, USED, UNUSED = range(5)
REASONS = (
    Reason(kind=ReasonKind.OPENED, steps=(0,)),
    Reason(kind=ReasonKind.UNUSED, verdict=Verdict.DROP),
    Reason(kind=ReasonKind.TREE_UNUSED, verdict=Verdict.DROP, detail="/opt/app"),
    Reason(kind=ReasonKind.USED, steps=(0,)),
    Reason(kind=ReasonKind.NOT_NEEDED, verdict=Verdict.DROP),
)
ENTRIES = (
    Entry(b"/etc/status", KEEP, 9, 0),
    Entry(b"/lib/gpu.so", KEEP, 9, 0, 0),
    Entry(b"/lib/lib.so", KEEP, 9, 0, 0),
    Entry(b"/lib/odd", KEEP, 9, 0, 0),
    Entry(b"/opt/app/a", TREE, 9, 0),
    Entry(b"/opt/app/b/c", TREE, 9, 0),
    Entry(b"/srv", DROP, 0, 0),
    Entry(b"/srv/x", DROP, 9, 0),
    Entry(b"/srv/y", DROP, 9, 0),
    Entry(b"/usr/gone", DROP, 9, 0, 1),
    Entry(b"/usr/used", DROP, 9, 0, 0),
)
CHANGED = {b"/etc/status", b"/lib/gpu.so", b"/lib/lib.so", b"/lib/odd"}
NEW = Difference(b"/etc/new", Form.FILE, "3")
ALL = (*(Difference(each.path, Form.BYTES if each.path in CHANGED else Form.NOTHING) for each in ENTRIES), NEW)


def planned(name: str, reason: int) -> PlannedPackage:
    return PlannedPackage(package=Package(kind=PackageKind.DPKG, name=name), reason=reason, files=1, size=9, kept=0)


PLAN = Plan(
    tool="slimagent 0",
    level="file",
    root=b"/",
    scopes=(b"/",),
    excluded=(),
    fingerprints=("aa",),
    traces=("bb",),
    accepted=(),
    steps=(Step("smoke", "1"), Step("other", "1")),
    reasons=REASONS,
    entries=ENTRIES,
    changes=(),
    packages=(planned("used", USED), planned("gone", UNUSED)),
    edits=(Edit(path=b"/etc/status", kind=EditKind.DPKG_STATUS, keys=("x",)),),
    strips=(Strip(b"/lib/lib.so", 5), Strip(b"/lib/gpu.so", 1)),
    gpu=GpuCode(target="sm_80", files=(GpuFile(b"/lib/gpu.so", 4),)),
)


def grouped(named: Sequence[bytes] = (), steps: Sequence[str] = ("smoke",)) -> list[list[bytes]]:
    return [[each.path for each in group.items] for group in Candidates(PLAN, ALL).groups(named, steps)]


def test_every_difference_is_in_one_group() -> None:
    """And in each, what a directory holds comes before the directory."""
    groups = grouped()
    assert sorted(path for group in groups for path in group) == sorted(each.path for each in ALL)
    assert [group for group in groups if b"/srv/x" in group] == [[b"/srv/y", b"/srv/x"]]


def test_the_likely_ones_come_first() -> None:
    """What the error names, what nobody explains, what was changed, what belongs to a package that the step used."""
    order = {path: at for at, group in enumerate(grouped([b"/usr/gone"])) for path in group}
    ranks = (b"/usr/gone", b"/lib/odd", b"/lib/lib.so", b"/usr/used", b"/opt/app/a")
    assert [order[path] for path in ranks] == sorted(order[path] for path in ranks)
    assert len({order[path] for path in ranks}) == len(ranks)
    without = {path: at for at, group in enumerate(grouped(steps=["other"])) for path in group}
    assert without[b"/usr/gone"] > without[b"/lib/lib.so"]
    weights = [group.weight for group in Candidates(PLAN, ALL).groups([b"/usr/gone"], ["smoke"])]
    assert abs(sum(weights) - 5) < 1e-9  # five sorts, as likely as each other


def test_a_tree_is_one_group_and_a_package_is_another() -> None:
    """What nobody owns by directory, or by the tree that goes whole."""
    groups = grouped()
    assert [b"/opt/app/b/c", b"/opt/app/a"] in groups
    assert [b"/usr/gone"] in groups


def test_what_happened_to_each() -> None:
    """As the plan says, with the owner; and what no plan explains."""
    candidates = Candidates(PLAN, ALL)
    found = {each.path: candidates.cause(each) for each in ALL}
    assert found[b"/usr/gone"] == Cause(path=b"/usr/gone", what=What.REMOVED, owner="dpkg:gone")
    assert found[b"/srv/x"] == Cause(path=b"/srv/x", what=What.REMOVED)
    assert found[b"/lib/lib.so"].what is What.STRIPPED
    assert found[b"/lib/gpu.so"].what is What.GPU_CODE
    assert found[b"/etc/status"].what is What.EDITED
    assert found[b"/lib/odd"] == Cause(path=b"/lib/odd", what=What.DIFFERS, owner="dpkg:used")
    assert found[b"/etc/new"].what is What.DIFFERS
    lost = Difference(b"/lib/odd", Form.NOTHING)  # it should be there
    assert Candidates(PLAN, (lost,)).what(lost) is What.DIFFERS


def test_no_differences_make_no_groups() -> None:
    """And then no run is needed for one."""
    assert Candidates(PLAN, ()).groups((), ("smoke",)) == []
    assert most([]) == 5
