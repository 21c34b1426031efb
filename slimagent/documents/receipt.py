"""The receipt as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from typing import Any

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import (
    COUNT,
    NOTE,
    TEXT,
    Form,
    cells,
    get_members,
    get_rows,
    put_members,
    put_rows,
    unsigned,
)
from slimagent.model.proof import Layer, Receipt
from slimagent.text.shape import string

RECEIPT = "slimagent/receipt"


def _get_layer(row: Any) -> Layer:
    component, digest, diff_id, size, paths = cells(row, 5)
    return Layer(
        component=string(component),
        digest=string(digest),
        diff_id=string(diff_id),
        size=unsigned(size),
        paths=unsigned(paths),
    )


_MEMBERS = {
    **dict.fromkeys(("tool", "plan", "target"), TEXT),
    **dict.fromkeys(("kept", "dropped", "bytes_kept", "bytes_dropped", "written"), COUNT),
    "sha256": TEXT,
    **dict.fromkeys(("edited", "stripped", "bytes_stripped", "loaded"), COUNT),
}
_GPU = dict.fromkeys(("gpu", "bytes_gpu"), COUNT)  # absent where no GPU code went
_ROWS = {
    "left_alone": NOTE,
    "unstripped": NOTE,
    "layers": Form(lambda each: [each.component, each.digest, each.diff_id, each.size, each.paths], _get_layer),
}


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as bytes. Rows of `layers` are [component, digest, diff id, size, paths]."""
    gpu = put_members(_GPU, receipt) if receipt.gpu or receipt.bytes_gpu else {}
    return dump(RECEIPT, {**put_members(_MEMBERS, receipt), **gpu}, put_rows(_ROWS, receipt))


def decode_receipt(data: bytes, document: str = "receipt") -> Receipt:
    """Bytes as a receipt. Raises DocumentError."""
    place = load(data, RECEIPT, document)
    gpu = get_members(_GPU, place) if "gpu" in place.value else {}
    return Receipt(**get_members(_MEMBERS, place), **gpu, **get_rows(_ROWS, place))
