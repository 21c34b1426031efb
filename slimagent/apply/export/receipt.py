"""The receipt of an export, whatever it is written as, and whether what it tells of is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import slimagent
from slimagent.apply.decide import Decision
from slimagent.apply.export.image_documents import blob
from slimagent.apply.strip.stripped import Stripped
from slimagent.model.proof import Layer, Receipt

Save = Callable[[Receipt], None]


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


def is_there(receipt: Receipt, directory: bytes) -> bool:
    """Whether a directory holds what an export to it has made, as far as its receipt says: the manifest, or the bytes.

    A directory appears whole or not at all, so what is there was whole.
    """
    if receipt.sha256:
        return os.path.exists(os.path.join(directory, blob(receipt.sha256).encode()))
    sizes: dict[tuple[int, int], int] = {}
    for base, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(os.path.join(base, name))
            if stat.S_ISREG(status.st_mode):
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values()) == receipt.bytes_kept
