"""Small images on a real disk, and what an audit knows and finds of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from plan_images import Installed, evidence_for, reader, trace_for

from slimagent.audit.known import Known
from slimagent.audit.whole import audit
from slimagent.inventory.contents import Contents
from slimagent.inventory.owners import owners
from slimagent.model.audit import Audit, Finding, Layers
from slimagent.model.profile import Rules
from slimagent.model.trace import Access
from slimagent.paths.algebra import Resolver
from slimagent.plan.decide import decide
from slimagent.plan.permission import Permissions
from slimagent.profiles import shipped


def known_of(
    root: Path,
    packages: Sequence[Installed] = (),
    accesses: Iterable[Access | str] | None = None,
    asked: Mapping[str, str] | None = None,
    layers: Layers | None = None,
    rules: Rules | None = None,
) -> Known:
    """What is known of the image at `root`, without a trace if `accesses` is None. `asked` has names and who asked."""
    evidence = evidence_for(root, accesses or ())
    table = owners(evidence.inventory, (reader(packages),))
    names = {f"{each.kind}:{each.name}": number for number, each in enumerate(table.packages)}
    chosen = shipped.load("base").rules if rules is None else rules
    traced = accesses is not None
    trace = evidence.trace if traced else replace(trace_for(evidence.inventory, ()), runs=())
    made = replace(evidence, owners=table, rules=chosen, trace=trace)
    contents, resolver = Contents(os.fsencode(root.resolve())), Resolver(evidence.inventory.link)
    permissions = Permissions(evidence.inventory, table, resolver, contents, chosen)
    return Known(
        inventory=evidence.inventory,
        owners=table,
        plan=decide(made, "package" if traced else "cruft"),
        rules=chosen,
        asked={names[name]: why for name, why in (asked or {}).items()},
        reader=contents,
        permits=lambda at: bool(permissions.of(at)[0]),
        traced=traced,
        layers=layers or Layers(),
    )


def audit_of(root: Path, *arguments: object, **more: object) -> Audit:
    """The audit of what `known_of` knows."""
    return audit(known_of(root, *arguments, **more), "app")  # type: ignore[arg-type]  # its own arguments


def of_kind(made: Audit, kind: str) -> list[Finding]:
    """The findings of a kind."""
    return [each for each in made.findings if each.kind == kind]


def one(made: Audit, kind: str) -> Finding:
    """The only finding of a kind."""
    (found,) = of_kind(made, kind)
    return found
