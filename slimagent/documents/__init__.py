"""What travels between the stages, as bytes: a trace, a plan, a receipt, a verification, checks, a summary.

`encode_*` and `decode_*` turn the model into JSON and back. Decoding raises DocumentError for what is no such document.
"""

from slimagent.documents.codec import (
    CHECKS,
    RECEIPT,
    SUMMARY,
    TRACE,
    VERIFICATION,
    decode_checks,
    decode_receipt,
    decode_trace,
    decode_uses,
    decode_verification,
    encode_checks,
    encode_receipt,
    encode_summary,
    encode_trace,
    encode_verification,
    identified,
)
from slimagent.documents.plan import PLAN, decode_plan, encode_plan

__all__ = [
    "CHECKS",
    "PLAN",
    "RECEIPT",
    "SUMMARY",
    "TRACE",
    "VERIFICATION",
    "decode_checks",
    "decode_plan",
    "decode_receipt",
    "decode_trace",
    "decode_uses",
    "decode_verification",
    "encode_checks",
    "encode_plan",
    "encode_receipt",
    "encode_summary",
    "encode_trace",
    "encode_verification",
    "identified",
]
