"""Decide which kept files lose GPU code, and which are left alone, with the reason. Pure.

`gpu/` says what a file would lose. This module looks at the rest: modes, files beside it, rules. `permission.py`
looks at licences.
"""

from __future__ import annotations

from slimagent.model.plan import GpuCode, GpuFile, GpuHeld, GpuLeft
from slimagent.plan.evidence import Evidence
from slimagent.plan.keeper import Keeper
from slimagent.plan.permission import Permissions
from slimagent.plan.strip import beside, kept_files, untouchable
from slimagent.plan.without_gpu import target_of


def gpu_code(keeper: Keeper, evidence: Evidence) -> GpuCode | None:
    """What happens to GPU code, file by file; None where nobody named GPUs. Hard links count once."""
    target = target_of(evidence.rules)
    if target is None:
        return None
    files, left, held = list[GpuFile](), list[GpuLeft](), list[GpuHeld]()
    inventory, contents = keeper.inventory, evidence.contents
    spared = beside(keeper, evidence)
    permissions = Permissions(inventory, keeper.owners, keeper.resolver, contents, evidence.rules)
    for names in kept_files(keeper, lambda path: contents.gpu(path) is not None):
        path = inventory.paths[names[0]]
        weight = contents.gpu(path)
        if weight is None:
            continue
        held += [GpuHeld(path, *each) for each in weight.held]
        why = weight.why or untouchable(weight.machine, inventory.modes[names[0]], evidence)
        why = why or next((spared[at] for at in names if at in spared), "")
        if why:
            left.append(GpuLeft(path, why))
            continue
        permitted, why = permissions.of(names[0])
        if permitted:
            files.append(GpuFile(path, weight.saves, permitted))
        else:
            left.append(GpuLeft(path, why, weight.saves))
    return GpuCode(target=str(target), ptx=target.ptx, files=tuple(files), left=tuple(left), held=tuple(held))
