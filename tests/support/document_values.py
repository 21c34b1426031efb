"""Values of every kind of document, and JSON values changed at any place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from slimagent import documents
from slimagent.model import audit, edit, gate, history, inventory, plan, proof, reach, reason, removed, search
from slimagent.model import result as results
from slimagent.model import summary as summaries
from slimagent.model import trace as traces

INTEGERS = st.integers(-(2**63), 2**63 - 1)
MOST = 2**53 - 1
COUNTS = st.integers(0, MOST)
MOST_BYTES = MOST // 8  # of a file: the sizes of a few add up to what a document can have, as those of real files do
SIZES = st.integers(0, MOST_BYTES)
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
    used = draw(tuples(accesses))
    tests = draw(st.lists(st.builds(traces.MarkedTest, step=steps, name=TEXTS), max_size=6)) if runs_steps(runs) else []
    return traces.Trace(
        before=draw(TEXTS),
        scopes=draw(tuples(PATHS)),
        excluded=draw(tuples(PATHS)),
        architecture=draw(TEXTS),
        runs=runs,
        accesses=used,
        changes=draw(tuples(CHANGES)),
        tests=tuple(sorted(tests)),
        attributed=tuple(draw(attributed(used, len(tests)))) if tests else (),
        tests_cut=draw(st.booleans()) if tests else False,
    )


def runs_steps(runs: tuple[traces.Run, ...]) -> int:
    """How many steps the runs have."""
    return sum(len(run.steps) for run in runs)


@st.composite
def attributed(draw: st.DrawFn, accesses: tuple[traces.Access, ...], tests: int) -> list[traces.Attributed]:
    """What tests did with some of the paths, each test in one group at most."""
    found = []
    for access in {each.path: each for each in accesses}.values():
        hows = draw(st.dictionaries(st.integers(0, tests - 1), HOWS, max_size=4))
        groups = {how: tuple(sorted(test for test in hows if hows[test] == how)) for how in hows.values()}
        if groups:
            by = tuple(traces.ByTests(how, groups[how]) for how in sorted(groups))
            found.append(traces.Attributed(access.path, access.how, access.steps, by))
    return sorted(found)


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
DESCRIPTIONS = st.builds(
    inventory.Description, licenses=tuples(TEXTS), source=TEXTS, architecture=TEXTS, build=TEXTS, channel=TEXTS
)
STRIPS = st.builds(plan.Strip, path=PATHS, saves=SIZES)
GPU_CODE = st.builds(
    plan.GpuCode,
    target=TEXTS,
    ptx=st.booleans(),
    files=tuples(st.builds(plan.GpuFile, path=PATHS, saves=SIZES, permitted=TEXTS)),
    left=tuples(st.builds(plan.GpuLeft, path=PATHS, why=TEXTS, could_save=SIZES)),
    held=tuples(
        st.builds(plan.GpuHeld, path=PATHS, form=TEXTS, architecture=TEXTS, size=SIZES, pieces=COUNTS, stays=SIZES)
    ),
)
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
    gpu=COUNTS,
    bytes_gpu=COUNTS,
    unstripped=tuples(st.tuples(PATHS, TEXTS)),
    layers=tuples(LAYERS),
)
OUTCOMES = members(results.Outcome)
MISSED = tuples(st.builds(proof.Missed, path=PATHS, steps=tuples(TEXTS)))
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
    missed=MISSED,
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
                size=SIZES,
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
            size=SIZES,
            kept=SIZES,
            requires=numbers,
            description=DESCRIPTIONS,
        )
        for each in owners
    ]
    further = tuples(st.tuples(st.integers(0, len(entries) - 1), numbers)) if entries else st.just(())
    names = st.integers(0, len(entries) - 1)
    links = tuples(st.builds(plan.HardLink, names, names)) if entries else st.just(())
    used = st.builds(plan.UsedBy, tests=COUNTS, names=tuples(TEXTS), outside=st.booleans())
    used_by = tuples(st.tuples(names, used)) if entries else st.just(())
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
        hard_links=draw(links),
        used_by=draw(used_by),
        edits=draw(tuples(EDITS)),
        problems=draw(tuples(st.tuples(PATHS, TEXTS))),
        unread=draw(tuples(st.tuples(PATHS, TEXTS))),
        strips=draw(tuples(STRIPS)),
        unstripped=draw(tuples(st.tuples(PATHS, TEXTS))),
        volumes=draw(tuples(PATHS)),
        mounts=draw(tuples(PATHS)),
        distribution=draw(st.builds(inventory.Distribution, id=TEXTS, version=TEXTS, codename=TEXTS)),
        gpu=draw(st.none() | GPU_CODE),
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
RULINGS = st.builds(
    gate.Ruling,
    rule=TEXTS,
    outcome=members(gate.Outcome),
    message=TEXTS,
    level=members(gate.Level),
    why=TEXTS,
    where=TEXTS,
)
JUDGED = st.builds(gate.Judged, tool=TEXTS, image=st.none() | TEXTS, tag=st.none() | TEXTS, rules=tuples(RULINGS))
TIMES = st.datetimes().map(lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"))
WEIGHTS = tuples(st.builds(history.Weight, TEXTS, COUNTS))
PAST_RUNS = st.builds(
    history.PastRun,
    when=TIMES,
    **dict.fromkeys(("plan", "tool", "image", "image_id", "tag", "digest", "level", "label"), TEXTS),
    **dict.fromkeys(("bytes_before", "bytes_after", "bytes_stripped", "packages_kept"), COUNTS),
    passed=st.none() | st.booleans(),
    worse=st.none() | COUNTS,
    missed=st.none() | COUNTS,
    components=WEIGHTS,
    packages=WEIGHTS,
)
SINCES = st.builds(
    history.Since,
    when=TIMES,
    name=TEXTS,
    change=st.integers(-(2**53) + 1, 2**53 - 1),
    **dict.fromkeys(("grew", "shrank", "new", "gone"), WEIGHTS),
    is_partial=st.booleans(),
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
        slug=st.sampled_from(("check-failed", "gate-failed", "usage", "document", "refused", "unavailable")),
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
    gpu=st.none()
    | st.builds(
        summaries.GpuGone,
        target=TEXTS,
        files=COUNTS,
        bytes=COUNTS,
        more_files=COUNTS,
        more_bytes=COUNTS,
        proved=st.booleans(),
    ),
    unstripped=tuples(st.builds(summaries.Unstripped, why=TEXTS, files=COUNTS, bytes=COUNTS, largest=PATHS)),
    verified=st.none() | TEXTS,
    passed=st.none() | st.booleans(),
    checks=tuples(CHECKED),
    start=tuples(CHECKED),
    worse=tuples(COMPARISONS),
    failed_before=tuples(COMPARISONS),
    missed=st.none() | MISSED,
    repairs=tuples(
        st.builds(
            proof.Repair,
            number=COUNTS,
            steps=tuples(TEXTS),
            missed=MISSED,
            used=MISSED,
            found=MISSED,
            files=st.none() | COUNTS,
            size=st.none() | COUNTS,
        )
    ),
    searches=tuples(
        st.builds(
            search.Search,
            outcome=members(search.Outcome),
            steps=tuples(TEXTS),
            differences=COUNTS,
            runs=COUNTS,
            seconds=SECONDS,
            causes=tuples(
                st.builds(search.Cause, path=PATHS, what=members(search.What), owner=TEXTS, alone=st.booleans())
            ),
            left=COUNTS,
            note=TEXTS,
        )
    ),
    notes=tuples(TEXTS),
    gate=tuples(RULINGS),
    since=st.none() | SINCES,
    phases=tuples(st.builds(summaries.Phase, name=TEXTS, seconds=SECONDS, depth=COUNTS)),
    seconds=st.none() | SECONDS,
)


LAYER = st.builds(audit.Layer, digest=TEXTS, command=TEXTS, size=COUNTS, files=COUNTS)
HIDDEN = st.builds(
    audit.Hidden,
    layer=COUNTS,
    by=COUNTS,
    fate=members(audit.Fate),
    size=COUNTS,
    files=COUNTS,
    examples=tuples(PATHS),
    changed=tuples(TEXTS),
)
FINDINGS = st.builds(
    audit.Finding,
    kind=TEXTS,
    title=TEXTS,
    size=COUNTS,
    risk=members(audit.Risk),
    evidence=tuples(TEXTS),
    file=TEXTS,
    edit=TEXTS,
    comment=TEXTS,
    subjects=tuples(TEXTS),
    layers=tuples(COUNTS),
)
COMPONENTS = st.builds(
    audit.Component,
    package=PACKAGES,
    size=COUNTS,
    shared=COUNTS,
    files=COUNTS,
    touched=st.none() | COUNTS,
    asked=TEXTS,
    required=COUNTS,
    layer=st.none() | COUNTS,
    requirers=tuples(TEXTS),
)
AUDITS = st.builds(
    audit.Audit,
    **dict.fromkeys(("tool", "image"), TEXTS),
    **dict.fromkeys(("size", "files", "carried", "unowned", "together"), COUNTS),
    traced=st.booleans(),
    layers=tuples(LAYER),
    hidden=tuples(HIDDEN),
    components=tuples(COMPONENTS),
    areas=tuples(st.builds(audit.Area, directory=PATHS, size=COUNTS, files=COUNTS)),
    findings=tuples(FINDINGS),
    problems=tuples(st.tuples(PATHS, TEXTS)),
)


@st.composite
def layered(draw: st.DrawFn) -> audit.Layers:
    layers = draw(tuples(LAYER))
    of = draw(st.dictionaries(PATHS, st.integers(0, len(layers) - 1), max_size=4)) if layers else {}
    return audit.Layers(layers=layers, hidden=draw(tuples(HIDDEN)), of=of)


@st.composite
def reached(draw: st.DrawFn) -> reach.Reach:
    steps = draw(tuples(TEXTS))
    units = draw(tuples(st.builds(reach.Unit, st.integers(0, len(steps) - 1), TEXTS, COUNTS))) if steps else ()
    numbers = st.integers(0, len(units) - 1) if units else st.nothing()
    lost = st.builds(
        reach.LeftOut,
        unit=numbers,
        **dict.fromkeys(("files", "size", "missed", "missed_with", "missed_size"), COUNTS),
        packages=tuples(TEXTS),
        examples=tuples(PATHS),
    )
    found = st.builds(reach.LevelReach, level=TEXTS, kept=COUNTS, left_out=tuples(lost) if units else st.just(()))
    return reach.Reach(
        tool=draw(TEXTS),
        traces=draw(tuples(TEXTS)),
        steps=steps,
        units=units,
        unused=draw(tuples(numbers)) if units else (),
        chosen=draw(tuples(numbers)) if units else (),
        idle=draw(tuples(numbers)) if units else (),
        levels=draw(tuples(found)),
    )


REMOVALS = st.builds(
    removed.Removed,
    **dict.fromkeys(("tool", "plan", "level", "image", "image_id"), TEXTS),
    **dict.fromkeys(("paths", "bytes"), COUNTS),
    owners=tuples(
        st.builds(
            removed.Owner,
            st.builds(inventory.Package, kind=TEXTS.map(inventory.PackageKind), name=TEXTS, version=TEXTS, place=PATHS),
            st.booleans(),
        )
    ),
    reasons=tuples(st.builds(removed.Why, TEXTS, TEXTS)),
    leads=tuples(st.builds(removed.Lead, PATHS, PATHS)),
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
    Kind("audit", AUDITS, documents.encode_audit, documents.decode_audit),
    Kind("layers", layered(), documents.encode_layers, documents.decode_layers),
    Kind("gate", JUDGED, documents.encode_gate, documents.decode_gate),
    Kind("history-line", PAST_RUNS, documents.encode_line, documents.decode_line),
    Kind("reach", reached(), documents.encode_reach, documents.decode_reach),
    Kind("removed", REMOVALS, documents.encode_removed, documents.decode_removed),
    Kind("summary", SUMMARIES, documents.encode_summary, documents.decode_summary),
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
DEBIAN = inventory.Distribution(id="debian", version="12", codename="bookworm")
DESCRIPTION = inventory.Description(
    licenses=("Vim", "GPL-2+"), source="vim-source (1)", architecture="amd64", build="h0_0", channel="forge"
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
        plan.PlannedPackage(package=VIM, reason=1, files=1, size=12, kept=3, requires=(1,), description=DESCRIPTION),
        plan.PlannedPackage(package=inventory.Package(kind="r", name="x"), reason=0, files=0, size=0, kept=0),
    ),
    further=((1, (1,)),),
    hard_links=(plan.HardLink(0, 1),),
    edits=(edit.Edit(path=b"/status", kind=edit.EditKind.DPKG_STATUS, keys=("vim:amd64",)),),
    problems=((b"/lib/\xe9", "cut short"),),
    unread=((b"/lib/\xe9", "dpkg"),),
    strips=(plan.Strip(b"/x", 7),),
    unstripped=((b"/lib/y.so", "data follows the ELF image"),),
    volumes=(b"/data",),
    mounts=(b"/etc/hosts", b"/proc"),
    distribution=DEBIAN,
    gpu=plan.GpuCode(
        target="sm_80,sm_90",
        ptx=True,
        files=(plan.GpuFile(b"/x", 5, "its licence: MIT"),),
        left=(plan.GpuLeft(b"/lib/y.so", "it has no code for sm_90", 3),),
        held=(plan.GpuHeld(b"/x", "cubin", "sm_90a", 4, 1, 4),),
    ),
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
    gpu=4,
    bytes_gpu=5,
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
LAYERS_OF = audit.Layers(
    layers=(audit.Layer(digest="sha256:aa", command="RUN x", size=10, files=1),),
    hidden=(
        audit.Hidden(
            layer=0, by=1, fate=audit.Fate.COPIED, size=3, files=1, examples=(b"/x\xe9",), changed=("owner", "mode")
        ),
    ),
    of={b"/x\xe9": 0},
)
AUDIT = audit.Audit(
    tool="slimagent 0",
    image="app",
    size=5,
    files=2,
    carried=7,
    unowned=1,
    together=4,
    traced=True,
    layers=LAYERS_OF.layers,
    hidden=LAYERS_OF.hidden,
    components=(
        audit.Component(
            package=VIM, size=4, shared=1, files=1, touched=2, asked="apt", required=3, requirers=("dpkg:x",), layer=0
        ),
    ),
    areas=(audit.Area(directory=b"/x\xe9", size=1, files=1),),
    findings=(
        audit.Finding(
            kind="unused",
            title="vim",
            size=4,
            risk=audit.Risk.LOW,
            evidence=("no test used it",),
            file="Dockerfile",
            edit="- vim",
            subjects=("dpkg:vim",),
            layers=(0,),
        ),
    ),
    problems=((b"/lib/\xe9", "cut short"),),
)
JUDGEMENT = gate.Judged(
    tool="slimagent 0",
    image="app",
    tag="app:slim",
    rules=(
        gate.Ruling(rule="size < 1 GB", outcome=gate.Outcome.PASSED, message="size is 1 B", why="x", where="--gate"),
    ),
)
PAST_RUN = history.PastRun(
    when="2026-11-20T14:42:47Z",
    plan="dd",
    tool="slimagent 0",
    image="app",
    image_id="sha256:aa",
    tag="app:slim",
    digest="ee",
    level="package",
    label="torch 2.4",
    bytes_before=9,
    bytes_after=5,
    bytes_stripped=1,
    passed=True,
    worse=0,
    missed=None,
    components=(history.Weight("dpkg", 4), history.Weight("", 1)),
    packages=(history.Weight("dpkg:vim", 4),),
    packages_kept=1,
)
CHECK = summaries.Checked(
    name="imports",
    kind="python-imports",
    before=results.Outcome.PASSED,
    after=None,
    items=2,
    items_passed_before=1,
    items_passed_after=None,
    seconds_before=1.5,
    seconds_after=None,
    detail="one of two",
)
SUMMARY = summaries.Summary(
    tool="slimagent 0",
    command="image",
    image="big:1",
    tag="slim:1",
    failure=summaries.Failure(slug="check-failed", status=1, message="it does not work", hint="keep it"),
    level="package",
    accepted=("queue-overflow",),
    plan="dd",
    bytes_before=10,
    bytes_after=3,
    bytes_dropped=4,
    bytes_stripped=3,
    paths_before=3,
    paths_after=1,
    files_stripped=7,
    left_alone=1,
    caution=plan.Caution(paths=1, size=2),
    dropped=(summaries.Dropped(kind="headers", files=1, bytes=2),),
    owners=(summaries.Owner(kind="dpkg", packages=2, packages_kept=1, bytes=9, bytes_kept=3),),
    reached=(summaries.Reached(how="not needed", packages=1, bytes=6),),
    packages_dropped=(summaries.Gone(kind="dpkg", name="vim", version="9", bytes=6),),
    unowned_dropped=(summaries.Place(directory="/srv", files=1, bytes=1),),
    layers=RECEIPT.layers,
    export=summaries.Export(sha256="ee", bytes=5),
    verified="in-place",
    passed=False,
    passing_before=2,
    passing_after=1,
    checks=(CHECK,),
    start=(CHECK,),
    worse=VERIFICATION.comparisons,
    failed_before=VERIFICATION.comparisons,
    missed=VERIFICATION.missed,
    repaired=1,
    repairs=(
        proof.Repair(
            number=1,
            steps=("a",),
            missed=VERIFICATION.missed,
            used=VERIFICATION.missed,
            found=VERIFICATION.missed,
            files=3,
            size=4_000,
        ),
    ),
    searches=(
        search.Search(
            outcome=search.Outcome.FOUND,
            steps=("a",),
            differences=45_000,
            runs=8,
            seconds=99.5,
            causes=(search.Cause(path=b"/usr/lib/latin1-\xe9", what=search.What.STRIPPED, owner="dpkg:vim"),),
        ),
    ),
    notes=("no step asked port 80",),
    phases=(summaries.Phase(name="load", seconds=1.5, depth=1),),
    seconds=2.5,
    peak_bytes=99,
)
REMOVED = removed.Removed(
    tool="slimagent 0",
    plan="dd",
    level="file",
    image="app",
    image_id="sha256:aa",
    paths=1,
    bytes=4,
    owners=(removed.Owner(inventory.Package(kind=inventory.PackageKind.DPKG, name="vim", version="9"), True),),
    reasons=(removed.Why("unused", "no test asked for it"),),
    leads=(removed.Lead(b"/bin", b"/usr/bin"),),
)
REACH = reach.Reach(
    tool="slimagent 0",
    traces=("0" * 64,),
    steps=("tests",),
    units=(reach.Unit(0, "test_plot", 2), reach.Unit(0, "test_read", 1)),
    unused=(),
    chosen=(0, 1),
    idle=(1,),
    levels=(
        reach.LevelReach(
            level="file",
            kept=7,
            left_out=(
                reach.LeftOut(
                    unit=0,
                    files=2,
                    size=9,
                    packages=("dpkg:vim",),
                    missed=2,
                    missed_with=1,
                    missed_size=8,
                    examples=(b"/x\xe9",),
                ),
            ),
        ),
    ),
)
SAMPLES = {
    "trace": TRACE,
    "plan": PLAN,
    "receipt": RECEIPT,
    "verification": VERIFICATION,
    "checks": (RESULT,),
    "audit": AUDIT,
    "layers": LAYERS_OF,
    "gate": JUDGEMENT,
    "history-line": PAST_RUN,
    "reach": REACH,
    "removed": REMOVED,
    "summary": SUMMARY,
}

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
