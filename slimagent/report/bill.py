"""Make the bill of materials of an image from the documents of a run. Pure.

What stays by the plan is on the bill after slimming. A package that goes may leave files behind, e.g. a configuration
that a test read: its record goes, so neither a scanner nor the bill lists it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence

from slimagent.model.bill import Bill, Listed
from slimagent.model.finished_run import FinishedRun
from slimagent.model.inventory import Package, PackageKind
from slimagent.model.plan import Plan, counted_entries, saved_by_package
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.paths.algebra import to_text
from slimagent.report.explain import reason_sentence

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/slimagent/slimagent")
_SYSTEM = (PackageKind.DPKG, PackageKind.CONDA)  # managers that also install packages of others


def bill(
    run: FinishedRun,
    *,
    before: bool,
    tool: str,
    identity: str = "",
    architecture: str = "",
    layers: Sequence[tuple[str, ...]] = (),
) -> Bill:
    """The packages of the image before or after slimming. `layers` has those of each package of the plan, or nothing.

    `identity` is the digest of the image that the bill is about, `architecture` its own.
    """
    receipt = run.receipt
    of_layers = () if before or receipt is None else tuple((each.component, each.diff_id) for each in receipt.layers)
    named = "\n".join(
        (run.digest, "before" if before else "after", identity, run.image if before else run.tag, run.ended)
    )
    return Bill(
        tool=tool,
        serial=str(uuid.uuid5(_NAMESPACE, named)),
        image=(run.image if before else run.tag) or "image",
        identity=identity,
        architecture=architecture,
        level=run.plan.level,
        ended=run.ended,
        distribution=run.plan.distribution,
        packages=_packages(run.plan, before=before, layers=layers if of_layers else ()),
        layers=of_layers,
    )


def _packages(plan: Plan, *, before: bool, layers: Sequence[tuple[str, ...]]) -> tuple[Listed, ...]:
    stays = [plan.reasons[each.reason].verdict is Verdict.KEEP for each in plan.packages]
    references, carriers = _references(plan), _carriers(plan)
    saved, going = saved_by_package(plan), _going(plan)
    listed = {at for at, _ in plan.installed if before or stays[at]}
    return tuple(
        Listed(
            reference=references[at],
            package=each.package,
            description=each.description,
            before=each.size,
            after=each.kept - saved[at],
            goes=going[at],
            stays=stays[at],
            reason=reason_sentence(plan, each.reason),
            requires=tuple(references[other] for other in each.requires if other != at and other in listed),
            part_of=references[carriers[at]] if carriers.get(at) in listed else "",
            layers=layers[at] if layers else (),
        )
        for at, each in plan.installed
        if at in listed
    )


def _references(plan: Plan) -> list[str]:
    """A name for each package that no other one has."""
    names = [_reference(each.package) for each in plan.packages]
    count, taken = Counter(names), Counter[str]()
    found = []
    for name in names:
        taken[name] += 1
        found.append(f"{name}#{taken[name]}" if count[name] > 1 else name)
    return found


def _reference(package: Package) -> str:
    version = f"@{package.version}" if package.version else ""
    place = "" if package.place == b"/" else f" in {to_text(package.place)}"
    return f"{package.label}{version}{place}"


def _going(plan: Plan) -> Counter[int]:
    """The bytes that go with each package: of files that count with it."""
    goes = [each.verdict is Verdict.DROP and each.kind != ReasonKind.CREATED for each in plan.reasons]
    found = Counter[int]()
    for entry in counted_entries(plan):
        if entry.owner >= 0 and goes[entry.reason]:
            found[entry.owner] += entry.size
    return found


def _carriers(plan: Plan) -> dict[int, int]:
    """For each package of another manager that Debian or conda installed, the package that brought it.

    No package of these two requires one of another manager for any other reason.
    """
    return {
        other: at
        for at, each in enumerate(plan.packages)
        if each.package.kind in _SYSTEM
        for other in each.requires
        if plan.packages[other].package.kind not in _SYSTEM
    }


def is_described(plan: Plan) -> bool:
    """Whether the plan has what records say beside names and versions: the first plans of its version do not."""
    return any(each.description.licenses or each.description.architecture for each in plan.packages)
