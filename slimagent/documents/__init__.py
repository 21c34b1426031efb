"""What travels between the stages, as bytes: a trace, a plan, a receipt, a verification, checks, a summary.

`encode_*` and `decode_*` turn the model into JSON and back. Decoding raises DocumentError for what is no such document.
"""

from slimagent.documents.checks import CHECKS, decode_checks, encode_checks
from slimagent.documents.plan import PLAN, decode_plan, encode_plan
from slimagent.documents.receipt import RECEIPT, decode_receipt, encode_receipt
from slimagent.documents.summary import SUMMARY, encode_summary
from slimagent.documents.trace import TRACE, decode_trace, decode_uses, encode_trace, identified
from slimagent.documents.verification import VERIFICATION, decode_verification, encode_verification

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
