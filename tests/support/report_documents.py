"""The documents of a run whose image means harm by every name in it, as values and as files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hostile_texts import HOSTILE

from slimagent import documents
from slimagent.model.inventory import Package, PackageKind
from slimagent.model.plan import Entry, Plan, PlannedPackage, Step, Strip
from slimagent.model.proof import Comparison, Layer, Receipt, Verification
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.summary import Phase, Summary, Whole
from slimagent.model.trace import Access, How, Run, Trace
from slimagent.report.summary import summarised

# What would be obeyed in a script, in a tag, in an attribute, in a template, in a path of a URL, in an object's keys.
NAMES = (
    b"</script><script>document.title='PWNED'<",
    b"<img src=x onerror=alert(1)>",
    b'" onfocus=alert(1) autofocus x="',
    b"'; alert(1); '",
    b"{{ 7*7 }}${7*7}",
    b"<!--<script>",
    b"]]>&lt;&#60;",
    b"__proto__",
    b"constructor",
    b"latin1-\xe9-\xff",
    b"line\nbreak\ttab\x1b[31m\x07",
    "\u202ertl \u2028 \u00e9\u4e2d\U0001f600".encode(),
    b"javascript:alert(1)",
    b"back\\slash\\x41",
    b" space ",
    b"it's",
    b"$1$&\\0",
)
TEXT = " ".join(name.decode("utf-8", "replace") for name in NAMES) + HOSTILE
_REASONS = (
    Reason(kind=ReasonKind.OPENED, steps=(0,)),
    Reason(kind=ReasonKind.PACKAGE, package=0),
    Reason(kind=ReasonKind.CRUFT, verdict=Verdict.DROP, detail=f"docs: {TEXT}"),
    Reason(kind=ReasonKind.PACKAGE_GONE, verdict=Verdict.DROP, package=1),
    Reason(kind=ReasonKind.USED, source=b"/usr/lib/x/" + NAMES[0], steps=(0, 1)),
    Reason(kind=ReasonKind.NOT_NEEDED, verdict=Verdict.DROP),
    Reason(kind=ReasonKind.TREE_UNUSED, verdict=Verdict.DROP, detail="/srv/<b>"),
    Reason(kind=ReasonKind.CREATED, verdict=Verdict.DROP),
    Reason(kind=ReasonKind.REQUIRED, package=0, detail=TEXT),
    Reason(kind=ReasonKind.FOLDER),
    Reason(kind=ReasonKind.TOO_LARGE, verdict=Verdict.DROP, detail="data file (3/2 budgets)"),
    Reason(kind=ReasonKind.PACKAGE, package=2),
)


def plan(small: int = 0) -> Plan:
    """A plan of an image with two packages of every fate, files without an owner, and `small` more files."""
    entries = [Entry(b"/", 9, 0, 0), Entry(b"/made", 7, 999, 0)]
    for at, name in enumerate(NAMES):
        entries += [
            Entry(b"/usr/lib/x/" + name, (0, 1)[at % 2], 5000 + at, 1, 0),
            Entry(b"/usr/share/doc/x/" + name, 2, 300 + at, 1, 0),
            Entry(b"/opt/" + name + b"/deep/" + name, 3, 7000 + at, 1, 1),
            Entry(b"/srv/<b>/" + name, 6, 10 + at, 1),
            Entry(b"/var/big/" + name, 10, 4000 + at, 1, 2),
            Entry(b"/lib/" + name, 11, 100_000 * at, 1, 2),
        ]
    entries += [Entry(b"/usr/lib/x/many/%d" % at, 1, 1 + at % 7, 1, 0) for at in range(small)]
    named = (
        Package(kind=PackageKind.DPKG, name=f"x{TEXT}", version=TEXT),
        Package(kind=PackageKind.PYTHON, name="</script>", version="<b>", place=b"/opt/" + NAMES[0]),
        Package(kind=PackageKind(TEXT), name="constructor", version="1"),
    )
    reasons, requires = (4, 5, 8), ((2,), (2,), ())
    return Plan(
        tool="slimagent 0",
        level="package",
        root=b"/",
        scopes=(b"/",),
        excluded=(),
        fingerprints=("aa", "bb"),
        traces=(),
        accepted=(),
        steps=(Step("command", "r"), Step(TEXT, "r")),
        reasons=_REASONS,
        entries=tuple(entries),
        changes=(),
        packages=tuple(_planned(at, named[at], reasons[at], requires[at], entries) for at in range(len(named))),
        further=((2, (1, 2)),),
        strips=(Strip(b"/usr/lib/x/" + NAMES[0], 1234),),
        unstripped=((b"/usr/lib/x/" + NAMES[2], TEXT),),
    )


def _planned(at: int, package: Package, reason: int, requires: tuple[int, ...], entries: list[Entry]) -> PlannedPackage:
    own = [entry for entry in entries if entry.owner == at]
    kept = sum(entry.size for entry in own if _REASONS[entry.reason].verdict is Verdict.KEEP)
    return PlannedPackage(
        package=package, reason=reason, files=len(own), size=sum(entry.size for entry in own), kept=kept,
        requires=requires,
    )  # fmt: skip


def write(directory: Path, made: Plan) -> Summary:
    """The documents of a run of this plan, as files. Returns its summary."""
    whole, digest = documents_of(made)
    assert whole.trace is not None and whole.receipt is not None and whole.verification is not None
    data = documents.encode_plan(made)
    assert hashlib.sha256(data).hexdigest() == digest
    blank = Summary(
        tool="slimagent 0",
        command="image",
        image=TEXT,
        tag=TEXT,
        notes=(TEXT,),
        phases=(Phase(name=TEXT, seconds=1.5),),
    )
    summary = summarised(blank, whole)
    config = {"Cmd": [TEXT], "User": TEXT, "ExposedPorts": {"80/tcp": {}}}
    for name, each in {
        "plan.json": data,
        "trace.json": documents.encode_trace(whole.trace),
        "receipt.json": documents.encode_receipt(whole.receipt),
        "verification.json": documents.encode_verification(whole.verification),
        "summary.json": documents.encode_summary(summary),
        "image.json": json.dumps([{"Config": config, "Architecture": "amd64", "Os": "linux"}]).encode(),
    }.items():
        (directory / name).write_bytes(each)
    return summary


def documents_of(made: Plan) -> tuple[Whole, str]:
    """The values of the other documents of this plan, and the plan's digest."""
    digest = hashlib.sha256(documents.encode_plan(made)).hexdigest()
    passed = CheckResult(name=TEXT, kind="command", outcome=Outcome.PASSED, seconds=1.0, detail=TEXT)
    command = CheckResult(name="command", kind="command", outcome=Outcome.PASSED, seconds=1.0, detail="exit status 0")
    sizes = [(made.reasons[entry.reason], entry.size) for entry in made.entries]
    kept = sum(size for reason, size in sizes if reason.verdict is Verdict.KEEP)
    gone = sum(s for reason, s in sizes if reason.verdict is Verdict.DROP and reason.kind != ReasonKind.CREATED)
    receipt = Receipt(
        tool="slimagent 0", plan=digest, target="oci:/x", kept=10, dropped=20, bytes_kept=kept - 1234,
        bytes_dropped=gone, written=1, sha256="ab", left_alone=((b"/x", TEXT),), stripped=1, bytes_stripped=1234,
        layers=(Layer(component=TEXT, digest="ab", diff_id="ab", size=10, paths=1),),
    )  # fmt: skip
    verification = Verification(
        tool="slimagent 0", plan=digest, how="in-place", backend="seccomp", blind_spots=(), passed=True,
        steps=(command, passed), missed=(), losses=(),
        comparisons=tuple(
            Comparison(name=each.name, before=Outcome.PASSED, after=Outcome.PASSED) for each in (command, passed)
        ),
    )  # fmt: skip
    run = Run(
        identity="r", tool="slimagent 0", backend="seccomp", passed_over=(), blind_spots=(), kernel="6", user="",
        no_new_privileges=False, profiles=(), after="bb", steps=(command, passed), losses=(),
    )  # fmt: skip
    access = Access(path=b"/usr/lib/x/" + NAMES[0], how=How.OPENED, steps=(0,), found=True)
    trace = Trace(
        before="aa", scopes=(b"/",), excluded=(), architecture="x86_64", runs=(run,), accesses=(access,), changes=()
    )
    return Whole(trace=trace, plan=made, receipt=receipt, verification=verification), digest
