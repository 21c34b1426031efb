"""What travels between the stages, as bytes: a trace, a plan, a receipt, a verification, checks, a summary, and so on.

`encode_*` and `decode_*` turn the model into JSON and back. Decoding raises DocumentError for what is no such document.
"""

from slimagent.documents.audit import (
    AUDIT,
    LAYERS,
    decode_audit,
    decode_layers,
    encode_audit,
    encode_layers,
)
from slimagent.documents.checks import CHECKS, decode_checks, encode_checks
from slimagent.documents.comparison import COMPARISON, encode_comparison
from slimagent.documents.differences import decode_differences, encode_differences
from slimagent.documents.gate import GATE, decode_gate, encode_gate
from slimagent.documents.history import HISTORY, decode_line, decode_lines, encode_history, encode_line
from slimagent.documents.package_difference import PACKAGE_DIFFERENCE, encode_package_difference
from slimagent.documents.plan import PLAN, decode_plan, encode_plan
from slimagent.documents.reach import REACH, decode_reach, encode_reach
from slimagent.documents.receipt import RECEIPT, decode_receipt, encode_receipt
from slimagent.documents.removed import REMOVED, decode_removed, encode_removed, read_removed, write_removed
from slimagent.documents.report import REPORT, encode_report
from slimagent.documents.summary import SUMMARY, decode_summary, encode_summary
from slimagent.documents.trace import TRACE, decode_trace, decode_uses, encode_trace, identified
from slimagent.documents.verification import VERIFICATION, decode_verification, encode_verification

__all__ = [
    "AUDIT",
    "CHECKS",
    "COMPARISON",
    "GATE",
    "HISTORY",
    "LAYERS",
    "PACKAGE_DIFFERENCE",
    "PLAN",
    "REACH",
    "RECEIPT",
    "REMOVED",
    "REPORT",
    "SUMMARY",
    "TRACE",
    "VERIFICATION",
    "decode_audit",
    "decode_checks",
    "decode_differences",
    "decode_gate",
    "decode_layers",
    "decode_line",
    "decode_lines",
    "decode_plan",
    "decode_reach",
    "decode_receipt",
    "decode_removed",
    "decode_summary",
    "decode_trace",
    "decode_uses",
    "decode_verification",
    "encode_audit",
    "encode_checks",
    "encode_comparison",
    "encode_differences",
    "encode_gate",
    "encode_history",
    "encode_layers",
    "encode_line",
    "encode_package_difference",
    "encode_plan",
    "encode_reach",
    "encode_receipt",
    "encode_removed",
    "encode_report",
    "encode_summary",
    "encode_trace",
    "encode_verification",
    "identified",
    "read_removed",
    "write_removed",
]
