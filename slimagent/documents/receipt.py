"""The receipt as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from typing import Any

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import cells, noted, unsigned
from slimagent.model.proof import Layer, Receipt
from slimagent.paths.algebra import to_text
from slimagent.text.shape import string

RECEIPT = "slimagent/receipt"


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as bytes. Rows of `layers` are [component, digest, diff id, size, paths]."""
    rows = ("left_alone", "unstripped", "layers")
    body = {name: getattr(receipt, name) for name in Receipt.__slots__ if name not in rows}
    return dump(
        RECEIPT,
        body,
        {
            "left_alone": ([to_text(path), why] for path, why in receipt.left_alone),
            "unstripped": ([to_text(path), why] for path, why in receipt.unstripped),
            "layers": ([each.component, each.digest, each.diff_id, each.size, each.paths] for each in receipt.layers),
        },
    )


def _get_layer(row: Any) -> Layer:
    component, digest, diff_id, size, paths = cells(row, 5)
    return Layer(
        component=string(component),
        digest=string(digest),
        diff_id=string(diff_id),
        size=unsigned(size),
        paths=unsigned(paths),
    )


def decode_receipt(data: bytes, document: str = "receipt") -> Receipt:
    """Bytes as a receipt. Raises DocumentError."""
    place = load(data, RECEIPT, document)
    return Receipt(
        tool=place["tool"].text(),
        plan=place["plan"].text(),
        target=place["target"].text(),
        kept=place["kept"].unsigned(),
        dropped=place["dropped"].unsigned(),
        bytes_kept=place["bytes_kept"].unsigned(),
        bytes_dropped=place["bytes_dropped"].unsigned(),
        written=place["written"].unsigned(),
        sha256=place["sha256"].text(),
        edited=place["edited"].unsigned(),
        left_alone=place["left_alone"].rows(noted),
        stripped=place["stripped"].unsigned(),
        bytes_stripped=place["bytes_stripped"].unsigned(),
        loaded=place["loaded"].unsigned(),
        unstripped=place["unstripped"].rows(noted),
        layers=place["layers"].rows(_get_layer),
    )
