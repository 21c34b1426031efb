"""Runs for tests: small plans in which every byte and every reason is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from slimagent.model.finished_run import FinishedRun
from slimagent.model.inventory import Description, Distribution, Package, PackageKind
from slimagent.model.plan import Entry, Plan, PlannedPackage, Step, Strip
from slimagent.model.proof import Comparison, Verification
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.result import Outcome

KEEP, DROP = Verdict.KEEP, Verdict.DROP
DEBIAN = Distribution(id="debian", version="12", codename="bookworm")


class Pack(NamedTuple):
    """A package of a plan: `kept` of its `size` bytes stay. `requires` are names of others."""

    name: str  # KIND:NAME
    size: int
    kept: int
    version: str = "1"
    place: bytes = b"/"
    requires: tuple[str, ...] = ()
    description: Description = Description()
    section: str = ""
    stripped: int = 0
    stays: bool | None = None  # None: if some of it stays
    essential: bool = False


class Loose(NamedTuple):
    """A file without an owner."""

    path: bytes
    size: int
    stays: bool = True


REASONS = (
    Reason(kind=ReasonKind.USED, source=b"/bin/sh", steps=(0,)),
    Reason(verdict=DROP, kind=ReasonKind.NOT_NEEDED),
    Reason(kind=ReasonKind.OPENED, steps=(0,)),
    Reason(verdict=DROP, kind=ReasonKind.UNUSED),
    Reason(kind=ReasonKind.UNOWNED),
    Reason(verdict=DROP, kind=ReasonKind.CRUFT, detail="caches: fetched again; risk: none"),
)
USED, NOT_NEEDED, OPENED, UNUSED, UNOWNED, CRUFT = range(len(REASONS))


def plan_with(
    packages: Iterable[Pack] = (),
    files: Iterable[Loose] = (),
    *,
    level: str = "package",
    distribution: Distribution = DEBIAN,
    reasons: tuple[Reason, ...] = REASONS,
    image: str = "aa",
) -> Plan:
    """A plan with these packages, each with a file that stays and one that goes."""
    packs = list(packages)
    at = {each.name: number for number, each in enumerate(packs)}
    entries, planned, strips = list[Entry](), list[PlannedPackage](), list[Strip]()
    for number, each in enumerate(packs):
        kind, _, name = each.name.partition(":")
        stays = each.kept > 0 if each.stays is None else each.stays
        root = b"/files/%d" % number
        if each.kept:
            entries.append(Entry(root + b"/kept", OPENED, each.kept, 0, number))
        if each.size > each.kept:
            entries.append(Entry(root + b"/gone", UNUSED, each.size - each.kept, 0, number))
        if each.stripped:
            strips.append(Strip(root + b"/kept", each.stripped))
        package = Package(
            kind=PackageKind(kind),
            name=name,
            version=each.version,
            place=each.place,
            section=each.section,
            essential=each.essential,
        )
        planned.append(
            PlannedPackage(
                package=package,
                reason=USED if stays else NOT_NEEDED,
                files=1,
                size=each.size,
                kept=each.kept,
                requires=tuple(at[other] for other in each.requires),
                description=each.description,
            )
        )
    entries += [Entry(each.path, UNOWNED if each.stays else CRUFT, each.size, 0) for each in files]
    return Plan(
        tool="slimagent 0", level=level, root=b"/", scopes=(b"/",), excluded=(), fingerprints=(image,), traces=(),
        accepted=(), steps=(Step("smoke", "r"),), reasons=reasons, entries=tuple(entries), changes=(),
        packages=tuple(planned), strips=tuple(strips), distribution=distribution,
    )  # fmt: skip


def verification(outcomes: dict[str, Outcome], *, plan: str = "p") -> Verification:
    """A verification in which each check ended so on the slim image."""
    comparisons = tuple(Comparison(name=name, before=Outcome.PASSED, after=after) for name, after in outcomes.items())
    return Verification(
        tool="slimagent 0", plan=plan, how="in-place", backend="seccomp", blind_spots=(), steps=(), losses=(),
        missed=(), passed=all(after is Outcome.PASSED for after in outcomes.values()), comparisons=comparisons,
    )  # fmt: skip


def finished(plan: Plan, path: str = "out", **more: object) -> FinishedRun:
    """A run with this plan, and `more`."""
    return FinishedRun(path=path, plan=plan, digest="d" * 64, **more)  # type: ignore[arg-type]
