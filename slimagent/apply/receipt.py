"""The receipt of an export, whatever it is written as.."""

from __future__ import annotations

import slimagent
from slimagent.apply.decide import Decision
from slimagent.apply.strip import Stripped
from slimagent.model import Layer, Receipt


def exported(
    plan_digest: str,
    target: str,
    decision: Decision,
    stripped: Stripped,
    *,
    written: int,
    sha256: str = "",
    left_out: tuple[tuple[bytes, str], ...] = (),
    layers: tuple[Layer, ...] = (),
) -> Receipt:
    """What an export of a decision has come to; `left_out` are paths that its format cannot hold, with the reason."""
    return Receipt(
        tool=f"slimagent {slimagent.__version__}",
        plan=plan_digest,
        target=target,
        kept=decision.standing - len(left_out),
        dropped=decision.lost,
        bytes_kept=decision.bytes_kept - stripped.saved,
        bytes_dropped=decision.bytes_dropped,
        written=written,
        sha256=sha256,
        left_alone=decision.left_alone + left_out,
        edited=len(decision.deeds),
        stripped=stripped.count,
        bytes_stripped=stripped.saved,
        loaded=stripped.loaded,
        unstripped=tuple(stripped.left),
        layers=layers,
    )
