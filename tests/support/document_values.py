"""Values of every kind of document, and JSON values changed at any place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from slimagent import documents
from slimagent.model import edit, inventory, plan, proof, reason
from slimagent.model import result as results
from slimagent.model import summary as summaries
from slimagent.model import trace as traces

INTEGERS = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.integers(0, 2**53 - 1)
TEXTS = st.text(max_size=12)
PATHS = st.binary(max_size=16).map(lambda name: b"/" + name.replace(b"\0", b"\xff"))
SECONDS = st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)
STEPS = st.lists(st.integers(0, 40), max_size=3).map(tuple)
HOWS = st.integers(1, 15).map(traces.How)


def tuples(of: st.SearchStrategy[Any], size: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=size).map(tuple)


def members(of: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(of))


ITEMS = st.builds(results.Item, name=TEXTS, outcome=members(results.Outcome), detail=TEXTS)
RESULTS = st.builds(
    results.CheckResult,
    name=TEXTS,
    kind=TEXTS,
    outcome=members(results.Outcome),
    seconds=SECONDS,
    detail=TEXTS,
    status=st.none() | INTEGERS,
    items=tuples(ITEMS),
)
LOSSES = st.builds(traces.Loss, kind=TEXTS.map(traces.LossKind), count=COUNTS, example=TEXTS)
CHANGES = st.builds(traces.Change, path=PATHS, kind=members(traces.ChangeKind), mtime_ns=INTEGERS)
RUNS = st.builds(
    traces.Run,
    identity=TEXTS,
    tool=TEXTS,
    backend=TEXTS,
    passed_over=tuples(st.tuples(TEXTS, TEXTS)),
    blind_spots=tuples(members(traces.BlindSpot)),
    kernel=TEXTS,
    user=TEXTS,
    no_new_privileges=st.booleans(),
    profiles=tuples(TEXTS),
    after=TEXTS,
    steps=tuples(RESULTS),
    losses=tuples(LOSSES),
    volumes=tuples(PATHS),
    mounts=tuples(PATHS),
    asked_ports=tuples(st.integers(1, 65535)),
)


@st.composite
def recorded(draw: st.DrawFn) -> traces.Trace:
    """A trace of several runs whose accesses are in steps that there are."""
    runs = draw(tuples(RUNS))
    steps = st.sampled_from(range(sum(len(run.steps) for run in runs)) or (None,))
    accesses = st.builds(
        traces.Access,
        path=PATHS,
        how=HOWS,
        steps=st.lists(steps, max_size=3).map(lambda found: tuple(each for each in found if each is not None)),
        found=st.booleans(),
    )
    return traces.Trace(
        before=draw(TEXTS),
        scopes=draw(tuples(PATHS)),
        excluded=draw(tuples(PATHS)),
        architecture=draw(TEXTS),
        runs=runs,
        accesses=draw(tuples(accesses)),
        changes=draw(tuples(CHANGES)),
    )


TRACES = recorded()
PACKAGES = st.builds(
    inventory.Package,
    kind=TEXTS.map(inventory.PackageKind),
    name=TEXTS,
    version=TEXTS,
    place=PATHS,
    section=TEXTS,
    essential=st.booleans(),
)
STRIPS = st.builds(plan.Strip, path=PATHS, saves=COUNTS)
LAYERS = st.builds(proof.Layer, component=TEXTS, digest=TEXTS, diff_id=TEXTS, size=COUNTS, paths=COUNTS)
EDITS = st.builds(edit.Edit, path=PATHS, kind=TEXTS.map(edit.EditKind), keys=tuples(TEXTS))
RECEIPTS = st.builds(
    proof.Receipt,
    tool=TEXTS,
    plan=TEXTS,
    target=TEXTS,
    kept=COUNTS,
    dropped=COUNTS,
    bytes_kept=COUNTS,
    bytes_dropped=COUNTS,
    written=COUNTS,
    sha256=TEXTS,
    left_alone=tuples(st.tuples(PATHS, TEXTS)),
    edited=COUNTS,
    stripped=COUNTS,
    bytes_stripped=COUNTS,
    unstripped=tuples(st.tuples(PATHS, TEXTS)),
    layers=tuples(LAYERS),
)
OUTCOMES = members(results.Outcome)
COMPARISONS = st.builds(proof.Comparison, name=TEXTS, before=OUTCOMES, after=OUTCOMES, detail=TEXTS)
VERIFICATIONS = st.builds(
    proof.Verification,
    tool=TEXTS,
    plan=TEXTS,
    how=TEXTS,
    backend=TEXTS,
    blind_spots=tuples(members(traces.BlindSpot)),
    passed=st.booleans(),
    steps=tuples(RESULTS),
    comparisons=tuples(COMPARISONS),
    missed=tuples(st.builds(proof.Missed, path=PATHS, steps=tuples(TEXTS))),
    losses=tuples(LOSSES),
)


@st.composite
def plans(draw: st.DrawFn) -> plan.Plan:
    """A plan whose entries and packages have reasons that it has, and packages that it has."""
    owners = draw(st.lists(PACKAGES, max_size=3))
    numbers = tuples(st.integers(0, len(owners) - 1)) if owners else st.just(())
    reasons = draw(
        st.lists(
            st.builds(
                reason.Reason,
                verdict=members(reason.Verdict),
                kind=TEXTS.map(reason.ReasonKind),
                detail=TEXTS,
                source=st.none() | PATHS,
                steps=STEPS,
                package=st.none() | st.integers(0, len(owners) - 1) if owners else st.none(),
            ),
            min_size=1,
            max_size=3,
        )
    )
    some_reason = st.integers(0, len(reasons) - 1)
    entries = draw(
        tuples(
            st.builds(
                plan.Entry,
                path=PATHS,
                reason=some_reason,
                size=COUNTS,
                mtime_ns=st.integers(-(2**63), 2**64 - 1),  # ext4 has times up to 2446, and 63 bits end in 2262
                owner=st.integers(-1, len(owners) - 1),
            )
        )
    )
    planned = [
        st.builds(
            plan.PlannedPackage,
            package=st.just(each),
            reason=some_reason,
            files=COUNTS,
            size=COUNTS,
            kept=COUNTS,
            requires=numbers,
        )
        for each in owners
    ]
    further = tuples(st.tuples(st.integers(0, len(entries) - 1), numbers)) if entries else st.just(())
    return plan.Plan(
        tool=draw(TEXTS),
        level=draw(TEXTS),
        root=draw(PATHS),
        scopes=draw(tuples(PATHS)),
        excluded=draw(tuples(PATHS)),
        fingerprints=draw(tuples(TEXTS)),
        traces=draw(tuples(TEXTS)),
        accepted=draw(tuples(TEXTS)),
        steps=draw(tuples(st.builds(plan.Step, name=TEXTS, run=TEXTS))),
        reasons=tuple(reasons),
        entries=entries,
        changes=draw(tuples(CHANGES)),
        unresolved=draw(tuples(st.tuples(PATHS, TEXTS))),
        packages=draw(st.tuples(*planned)),
        further=draw(further),
        edits=draw(tuples(EDITS)),
        problems=draw(tuples(st.tuples(PATHS, TEXTS))),
        strips=draw(tuples(STRIPS)),
        unstripped=draw(tuples(st.tuples(PATHS, TEXTS))),
        volumes=draw(tuples(PATHS)),
        mounts=draw(tuples(PATHS)),
    )


CHECKED = st.builds(
    summaries.Checked,
    name=TEXTS,
    kind=TEXTS,
    before=st.none() | OUTCOMES,
    after=st.none() | OUTCOMES,
    items=COUNTS,
    items_passed_before=st.none() | COUNTS,
    items_passed_after=st.none() | COUNTS,
    seconds_before=st.none() | SECONDS,
    seconds_after=st.none() | SECONDS,
    detail=TEXTS,
)
SUMMARIES = st.builds(
    summaries.Summary,
    tool=TEXTS,
    command=st.sampled_from(("image", "run")),
    image=st.none() | TEXTS,
    tag=st.none() | TEXTS,
    failure=st.none()
    | st.builds(
        summaries.Failure,
        slug=st.sampled_from(("check-failed", "usage", "document", "refused", "unavailable")),
        status=st.integers(1, 4),
        message=TEXTS,
        hint=TEXTS,
    ),
    level=st.none() | TEXTS,
    accepted=tuples(TEXTS),
    plan=st.none() | TEXTS,
    **dict.fromkeys(
        (
            *("bytes_before", "bytes_after", "bytes_dropped", "bytes_stripped", "paths_before", "paths_after"),
            *("files_stripped", "left_alone", "passing_before", "passing_after", "repaired", "peak_bytes"),
        ),
        st.none() | COUNTS,
    ),
    caution=st.none() | st.builds(plan.Caution, paths=COUNTS, size=COUNTS),
    dropped=tuples(st.builds(summaries.Dropped, kind=TEXTS, files=COUNTS, bytes=COUNTS)),
    owners=tuples(
        st.builds(summaries.Owner, kind=TEXTS, packages=COUNTS, packages_kept=COUNTS, bytes=COUNTS, bytes_kept=COUNTS)
    ),
    reached=tuples(
        st.builds(
            summaries.Reached,
            how=st.sampled_from(("touched by the steps", "required by those", "kept by a rule", "not needed")),
            packages=COUNTS,
            bytes=COUNTS,
        )
    ),
    packages_dropped=tuples(st.builds(summaries.Gone, kind=TEXTS, name=TEXTS, version=TEXTS, bytes=COUNTS)),
    unowned_dropped=tuples(st.builds(summaries.Place, directory=TEXTS, files=COUNTS, bytes=COUNTS)),
    layers=tuples(LAYERS),
    export=st.none() | st.builds(summaries.Export, sha256=TEXTS, bytes=COUNTS),
    verified=st.none() | TEXTS,
    passed=st.none() | st.booleans(),
    checks=tuples(CHECKED),
    start=tuples(CHECKED),
    worse=tuples(COMPARISONS),
    failed_before=tuples(COMPARISONS),
    missed=st.none() | tuples(st.builds(proof.Missed, path=PATHS, steps=tuples(TEXTS))),
    notes=tuples(TEXTS),
    seconds=st.dictionaries(TEXTS, SECONDS, max_size=3),
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of document: values of it, and its way to bytes and back."""

    name: str
    values: st.SearchStrategy[Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


KINDS = (
    Kind("trace", TRACES, documents.encode_trace, documents.decode_trace),
    Kind("plan", plans(), documents.encode_plan, documents.decode_plan),
    Kind("receipt", RECEIPTS, documents.encode_receipt, documents.decode_receipt),
    Kind("verification", VERIFICATIONS, documents.encode_verification, documents.decode_verification),
    Kind("checks", tuples(RESULTS), documents.encode_checks, documents.decode_checks),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)

RESULT = results.CheckResult(
    name="imports",
    kind="python-imports",
    outcome=results.Outcome.FAILED,
    seconds=1.5,
    detail="one of two",
    status=1,
    items=(
        results.Item(name="numpy", outcome=results.Outcome.PASSED),
        results.Item(name="x", outcome=results.Outcome.FAILED),
    ),
)
ACCESS = traces.Access(path=b"/usr/lib/latin1-\xe9", how=traces.How.OPENED, steps=(0,), found=True)
LOSS = traces.Loss(kind=traces.LossKind.QUEUE_OVERFLOW, count=3, example="/x")
CHANGE = traces.Change(path=b"/new", kind=traces.ChangeKind.CREATED, mtime_ns=0)
RUN = traces.Run(
    identity="cc",
    tool="slimagent 0",
    backend="seccomp",
    passed_over=(("fanotify", "it needs CAP_SYS_ADMIN"),),
    blind_spots=(traces.BlindSpot.KERNEL_OPENS,),
    kernel="6.18",
    user="jovyan",
    no_new_privileges=True,
    profiles=("base",),
    after="bb",
    steps=(RESULT,) * 4,
    losses=(LOSS,),
    volumes=(b"/data",),
    mounts=(b"/etc/hosts", b"/proc"),
)
TRACE = traces.Trace(
    before="aa",
    scopes=(b"/",),
    excluded=(b"/agent",),
    architecture="x86_64",
    runs=(RUN,),
    accesses=(ACCESS,) * 18,
    changes=(CHANGE,),
)
REASON = reason.Reason(
    verdict=reason.Verdict.KEEP,
    kind=reason.ReasonKind.LIBRARY,
    detail="libx.so",
    source=b"/bin/x",
    steps=(1, 2),
    package=0,
)
VIM = inventory.Package(kind="dpkg", name="vim", version="2:9.0", place=b"/", section="editors", essential=True)
PLAN = plan.Plan(
    tool="slimagent 0",
    level="file",
    root=b"/",
    scopes=(b"/",),
    excluded=(b"/out",),
    fingerprints=("aa", "bb"),
    traces=("cc",),
    accepted=("overflow",),
    steps=(plan.Step("imports", "dd"),),
    reasons=(REASON, dataclasses.replace(REASON, verdict=reason.Verdict.DROP)),
    entries=(plan.Entry(b"/", 0, 0, 1), plan.Entry(b"/x", 1, 12, 2, 0)),
    changes=(CHANGE,),
    unresolved=((b"/bin/x", "libgone.so"),),
    packages=(
        plan.PlannedPackage(package=VIM, reason=1, files=1, size=12, kept=3, requires=(1,)),
        plan.PlannedPackage(package=inventory.Package(kind="r", name="x"), reason=0, files=0, size=0, kept=0),
    ),
    further=((1, (1,)),),
    edits=(edit.Edit(path=b"/status", kind=edit.EditKind.DPKG_STATUS, keys=("vim:amd64",)),),
    problems=((b"/lib/\xe9", "cut short"),),
    strips=(plan.Strip(b"/x", 7),),
    unstripped=((b"/lib/y.so", "data follows the ELF image"),),
    volumes=(b"/data",),
    mounts=(b"/etc/hosts", b"/proc"),
)
RECEIPT = proof.Receipt(
    tool="slimagent 0",
    plan="dd",
    target="tar:/out/x.tar",
    kept=1,
    dropped=2,
    bytes_kept=3,
    bytes_dropped=4,
    written=5,
    sha256="ee",
    left_alone=((b"/y", "it changed"),),
    edited=6,
    stripped=7,
    bytes_stripped=8,
    unstripped=((b"/z", "strip failed"),),
    layers=(proof.Layer(component="system", digest="ff", diff_id="gg", size=9, paths=10),),
)
VERIFICATION = proof.Verification(
    tool="slimagent 0",
    plan="dd",
    how="masked",
    backend="seccomp",
    blind_spots=(traces.BlindSpot.KERNEL_OPENS,),
    passed=False,
    steps=(RESULT,),
    comparisons=(
        proof.Comparison(name="imports", before=results.Outcome.PASSED, after=results.Outcome.FAILED, detail="gone"),
    ),
    missed=(proof.Missed(path=b"/usr/lib/z", steps=("imports",)),),
    losses=(LOSS,),
)
SAMPLES = {"trace": TRACE, "plan": PLAN, "receipt": RECEIPT, "verification": VERIFICATION, "checks": (RESULT,)}

FOREIGN = (None, True, 7, 7.5, "word", "/a", [], ["/a", "word"], [1, 2, 3], {}, {"opened": 1}, {"/a": "b", "c": 1})
FOREIGN_BYTES = (b"123456789012345678901234567890", b"-1", b'"\\\\x41"', b'"\\u0000"', b'"a\\nb"')


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a JSON value, as keys and indices."""
    inside: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inside = [place for key, each in value.items() for place in places(each, (*at, key))]
    elif isinstance(value, list):
        inside = [place for index, each in enumerate(value) for place in places(each, (*at, index))]
    return [at, *inside]


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    if not place:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], by)
    return copy


def without(value: Any, place: tuple[Any, ...]) -> Any:
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = without(value[place[0]], place[1:])
    return copy
