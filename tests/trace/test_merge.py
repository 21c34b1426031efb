"""Several traces of one image as one: its laws, what is refused, and what a plan and a verification make of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from hypothesis import given
from hypothesis import strategies as st
from plan_images import evidence_for, run_of
from python_images import record

from slimagent.documents import decode_plan, decode_trace, decode_uses, encode_trace, identified
from slimagent.errors import RefusedError
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import (
    FAILED_STEP,
    Access,
    Attributed,
    BlindSpot,
    ByTests,
    Change,
    ChangeKind,
    How,
    Loss,
    LossKind,
    MarkedTest,
    Run,
    Trace,
    Use,
)
from slimagent.paths.algebra import sort_key
from slimagent.plan.admit import admit
from slimagent.trace.merge import merge
from slimagent.verify.compare import united

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
PATHS = st.sampled_from([b"/a", b"/a/b", b"/a-c", b"/\xe9", b"/d\n"])
ROOT = Path(__file__).resolve().parents[2]


def check(name: str, outcome: Outcome = PASSED, **items: Outcome) -> CheckResult:
    whole = tuple(Item(name=each, outcome=how) for each, how in items.items())
    return CheckResult(name=name, kind="command", outcome=outcome, seconds=1.0, items=whole)


def trace_of(run: Run, *accesses: Access, **more: object) -> Trace:
    """The trace of one run of the image `aa`, with its identity."""
    plain = Trace(
        before="aa", scopes=(b"/",), excluded=(), architecture="x86_64", runs=(run,), accesses=accesses, changes=()
    )
    return identified(dataclasses.replace(plain, **more))  # type: ignore[arg-type]


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A trace of one run of one and the same image, sorted as they are made."""
    steps = tuple(check(name) for name in draw(st.lists(st.sampled_from(["smoke", "page"]), min_size=1, max_size=3)))
    uses = st.tuples(
        st.integers(1, 15).map(How), st.sets(st.sampled_from(range(len(steps))), min_size=1).map(sorted), st.booleans()
    )
    losses = st.dictionaries(st.sampled_from(["queue-overflow", "watch-limit"]), st.integers(1, 3))
    changes = st.dictionaries(PATHS, st.tuples(st.sampled_from(ChangeKind), st.integers(0, 2)))
    used = draw(st.dictionaries(PATHS, uses))
    marked = st.builds(MarkedTest, step=st.sampled_from(range(len(steps))), name=st.sampled_from(["one", "two"]))
    tests = tuple(sorted(draw(st.sets(marked, max_size=3))))
    return trace_of(
        run_of(
            steps,
            draw(st.sampled_from(["bb", "cc"])),
            backend=draw(st.sampled_from(["seccomp", "inotify"])),
            blind_spots=tuple(draw(st.sets(st.sampled_from(BlindSpot)))),
            profiles=tuple(draw(st.permutations(["base", "r"]))),
            volumes=tuple(sorted(draw(st.sets(PATHS)))),
            mounts=tuple(sorted(draw(st.sets(PATHS)))),
            losses=tuple(Loss(kind=kind, count=count, example="x") for kind, count in draw(losses).items()),
        ),
        *(Access(path, how, tuple(at), found) for path, (how, at, found) in sorted(used.items())),
        tests=tests,
        attributed=tuple(draw(attributed(sorted(used), len(tests)))) if tests else (),
        tests_cut=bool(tests) and draw(st.booleans()),
        excluded=tuple(sorted(draw(st.sets(PATHS)))),
        changes=tuple(
            Change(path=path, kind=kind, mtime_ns=mtime)
            for path, (kind, mtime) in sorted(draw(changes).items(), key=lambda item: sort_key(item[0]))
        ),
    )


@st.composite
def attributed(draw: st.DrawFn, paths: list[bytes], tests: int) -> list[Attributed]:
    """What tests did with some of the paths, and what was done with these outside of tests."""
    found = []
    for path in paths:
        hows = draw(st.dictionaries(st.integers(0, tests - 1), st.integers(1, 15).map(How)))
        outside = draw(st.sampled_from([(How(0), ()), (How.OPENED, (0,)), (How.LISTED, (0,))]))
        by = tuple(
            ByTests(how, tuple(sorted(test for test in hows if hows[test] == how))) for how in sorted({*hows.values()})
        )
        found += [Attributed(path, *outside, by)] if by else []
    return found


def document(*several: Trace) -> bytes:
    return encode_trace(merge(several))


# Laws


@given(several=st.lists(traces(), min_size=2, max_size=4))
def test_the_order_of_traces_does_not_matter(several: list[Trace]) -> None:
    """Merging is commutative, to the byte."""
    assert len({document(*each) for each in itertools.permutations(several)}) == 1


@given(one=traces(), two=traces(), three=traces())
def test_what_is_merged_first_does_not_matter(one: Trace, two: Trace, three: Trace) -> None:
    """Merging is associative, to the byte."""
    whole = document(one, two, three)
    assert document(merge([one, two]), three) == document(one, merge([two, three])) == whole
    assert document(merge([one, two]), merge([two, three])) == whole


@given(one=traces(), two=traces())
def test_what_comes_twice_counts_once(one: Trace, two: Trace) -> None:
    """Merging is idempotent, to the byte, for one run and for several."""
    assert document(one, one) == encode_trace(one)
    whole = merge([one, two])
    assert document(whole, two, whole) == encode_trace(whole)
    assert decode_trace(encode_trace(whole)) == whole


@given(several=st.lists(traces(), min_size=1, max_size=4))
def test_a_merged_trace_is_what_any_run_saw(several: list[Trace]) -> None:
    """Of each path: all that was done with it, the very steps of the very runs, and whether it was ever found."""
    whole = merge(several)
    assert [run.identity for run in whole.runs] == sorted({each.runs[0].identity for each in several})
    names = [(run.identity, at) for run in whole.runs for at in range(len(run.steps))]
    assert len(names) == len(whole.steps)
    saw: dict[bytes, tuple[int, set[tuple[str, int]], bool]] = {}
    for trace in several:
        for path, how, steps, found in trace.accesses:
            before = saw.get(path, (0, set(), False))
            own = {(trace.runs[0].identity, at) for at in steps}
            saw[path] = (before[0] | how, before[1] | own, before[2] or found)
    assert {path: (how, {names[at] for at in steps}, found) for path, how, steps, found in whole.accesses} == saw
    assert set(whole.mounts) == {path for trace in several for path in trace.mounts}
    assert set(whole.volumes) == {path for trace in several for path in trace.volumes}
    assert set(whole.excluded) == {path for trace in several for path in trace.excluded}
    assert {change.path for change in whole.changes} == {each.path for trace in several for each in trace.changes}


@given(several=st.lists(traces(), min_size=1, max_size=4))
def test_a_merged_trace_knows_the_tests_of_every_run(several: list[Trace]) -> None:
    """Of each path that a test used: what each test did, and all that was done with it outside of tests."""
    whole = merge(several)
    runs = {each.runs[0].identity: each for each in several}
    places = [(run.identity, at) for run in whole.runs for at in range(len(run.steps))]

    def named(trace: Trace, where: list[tuple[str, int]]) -> dict[bytes, dict[tuple[tuple[str, int], str], How]]:
        return {
            path: {(where[trace.tests[test].step], trace.tests[test].name): how for how, tests in by for test in tests}
            for path, _, _, by in trace.attributed
        }

    saw: dict[bytes, dict[tuple[tuple[str, int], str], How]] = {}
    outside: dict[bytes, tuple[int, set[tuple[str, int]]]] = {}
    for identity, trace in runs.items():
        where = [(identity, at) for at in range(len(trace.runs[0].steps))]
        for path, hows in named(trace, where).items():
            saw.setdefault(path, {}).update(hows)
        by_tests = {each.path: each for each in trace.attributed}
        for path, how, steps, _ in trace.accesses:
            apart = by_tests.get(path)
            used, at = (how, steps) if apart is None else (apart.how, apart.steps)
            before = outside.get(path, (0, set()))
            outside[path] = before[0] | used, before[1] | {where[step] for step in at}
    assert named(whole, places) == saw
    assert {path: (how, {places[at] for at in steps}) for path, how, steps, _ in whole.attributed} == {
        path: outside[path] for path in saw
    }
    assert whole.tests_cut == any(trace.tests_cut for trace in several)


def test_every_run_keeps_what_it_says() -> None:
    """Backend, user, losses and blind spots stay the run's own; the trace sums and unites them."""
    one = trace_of(run_of((check("a"),), "bb", losses=(Loss(kind="watch-limit", count=2, example="/x"),)))
    two = trace_of(
        run_of(
            (check("b"), check("c")),
            "cc",
            backend="inotify",
            user="jovyan",
            blind_spots=(BlindSpot.LOOKUPS,),
            losses=(Loss(kind="watch-limit", count=3, example="/y"), Loss(kind="queue-overflow", count=1, example="")),
        )
    )
    whole = merge([one, two])
    assert sorted(whole.runs, key=lambda run: run.after) == [one.runs[0], two.runs[0]]
    assert {loss.kind: loss.count for loss in whole.losses} == {"queue-overflow": 1, "watch-limit": 5}
    assert whole.blind_spots == (BlindSpot.LOOKUPS,)
    assert sorted(whole.afters) == ["bb", "cc"]


def test_an_identity_is_of_all_that_a_trace_says() -> None:
    """The smallest difference makes another run; the same content is the same run."""
    run = run_of((check("a"),), "bb")
    access = Access(b"/a", How.OPENED, (0,), True)
    one = trace_of(run, access)
    others = [
        trace_of(run, access._replace(found=False)),
        trace_of(run, access, excluded=(b"/x",)),
        trace_of(dataclasses.replace(run, user="jovyan"), access),
        trace_of(run, access, changes=(Change(path=b"/n", kind=ChangeKind.CREATED, mtime_ns=0),)),
    ]
    assert trace_of(run, access) == identified(one) == one
    assert len({each.runs[0].identity for each in (one, *others)}) == 5


def test_the_order_of_profiles_is_theirs_and_not_that_of_identities() -> None:
    """A run made again has another identity; which of two profiles comes last must not change with it."""
    runs = [
        run_of((check("a"),), "bb", profiles=profiles, user=str(number))
        for number, profiles in itertools.product(range(8), [("base", "r"), ("base", "gpu", "auto")])
    ]
    several = [trace_of(run) for run in runs]
    orders = {merge(pair).profiles for pair in zip(several[::2], several[1::2], strict=True)}
    assert orders == {("base", "gpu", "auto", "r")}


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ((ChangeKind.CREATED, 0), (ChangeKind.MODIFIED, 7), (ChangeKind.MODIFIED, 7)),
        ((ChangeKind.CREATED, 0), (ChangeKind.REMOVED, 7), (ChangeKind.REMOVED, 7)),
        ((ChangeKind.MODIFIED, 9), (ChangeKind.REMOVED, 7), (ChangeKind.MODIFIED, 9)),
        ((ChangeKind.MODIFIED, 9), (ChangeKind.MODIFIED, 7), (ChangeKind.MODIFIED, 7)),
        ((ChangeKind.CREATED, 0), (ChangeKind.CREATED, 0), (ChangeKind.CREATED, 0)),
    ],
)
def test_what_runs_changed_differently(
    one: tuple[ChangeKind, int], two: tuple[ChangeKind, int], expected: tuple[ChangeKind, int]
) -> None:
    """What was there before any of them is the image's; of two times the earlier one counts."""
    made = [
        trace_of(
            run_of((check("a"),), "bb", user=user), changes=(Change(path=b"/x", kind=change[0], mtime_ns=change[1]),)
        )
        for user, change in (("root", one), ("jovyan", two))
    ]
    (found,) = merge(made).changes
    assert (found.kind, found.mtime_ns) == expected


# Refused


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"before": "dd" * 32}, ("trace 2", "another image than trace 1", "dddddddddddd", "not aa")),
        ({"scopes": (b"/opt", b"/srv")}, ("trace 2 looked at /opt, /srv", "trace 1 at /")),
        ({"architecture": "aarch64"}, ("trace 2 was made on aarch64", "trace 1 on x86_64")),
    ],
)
def test_what_cannot_be_merged(other: dict[str, object], words: tuple[str, ...]) -> None:
    """Traces of different images, scopes or architectures are refused with both named; status 3."""
    run = run_of((check("a"),), "bb")
    with pytest.raises(RefusedError) as refusal:
        merge([trace_of(run), trace_of(run, **other)])
    for word in words:
        assert word in refusal.value.message
    assert refusal.value.hint


def test_one_run_that_says_two_things_is_refused() -> None:
    """An edited trace is not taken for the run that it was made of."""
    trace = trace_of(run_of((check("a"),), "bb", losses=(Loss(kind="watch-limit", count=1, example=""),)))
    edited = dataclasses.replace(trace, runs=(dataclasses.replace(trace.runs[0], losses=()),))
    with pytest.raises(RefusedError, match="trace 2 contradicts an earlier trace about run"):
        merge([trace, edited])


def test_the_same_scopes_in_another_order_are_the_same() -> None:
    """Scopes are a set."""
    one = trace_of(run_of((check("a"),), "bb"), scopes=(b"/a", b"/b"))
    two = trace_of(run_of((check("b"),), "bb"), scopes=(b"/b", b"/a"))
    assert merge([one, two]).scopes == (b"/a", b"/b")


# Losses

KINDS = frozenset(LossKind) - {LossKind.NOT_WATCHED}  # that one ends the run: there is no trace


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_loss_is_refused_until_it_is_accepted(kind: LossKind) -> None:
    """Of several runs the one that has it is named; accepting the other kinds does not help, its own does."""
    lossy = run_of((check("a"),), "bb", user="jovyan", losses=(Loss(kind=kind, count=3, example="/x"),))
    whole = merge([trace_of(lossy), trace_of(run_of((check("b"),), "bb"))])
    identity = next(run.identity for run in whole.runs if run.losses)
    with pytest.raises(RefusedError) as refusal:
        admit(whole, KINDS - {kind})
    assert f"{kind} (3 times, e.g. /x) in run {identity[:8]} of jovyan under seccomp" in refusal.value.message
    assert re.findall(r"--accept-loss \S+", refusal.value.hint) == [f"--accept-loss {kind}"]
    admit(whole, frozenset({kind}))


def test_losses_of_several_runs_are_one_line() -> None:
    """A kind is counted over all runs; one of them is named, and how many more there are."""
    runs = [
        run_of((check("a"),), "bb", user=user, losses=(Loss(kind=LossKind("x"), count=2, example="/y"),))
        for user in "mno"
    ]
    with pytest.raises(RefusedError) as refusal:
        admit(merge(map(trace_of, runs)), frozenset())
    assert re.search(
        r"x \(6 times, e\.g\. /y\) in run [0-9a-f]{8} of [mno] under seccomp and 2 more$", refusal.value.message
    )


def test_a_step_that_failed_in_one_run_is_refused() -> None:
    """Half a test is no evidence, though another run passed it; the run is named."""
    runs = [run_of((check("smoke", outcome),), "bb", user=outcome.value) for outcome in (PASSED, FAILED)]
    whole = merge(map(trace_of, runs))
    with pytest.raises(RefusedError, match=r"smoke in run [0-9a-f]{8} of failed under seccomp$") as refusal:
        admit(whole, frozenset())
    assert refusal.value.hint.endswith("--accept-loss failed-step")
    admit(whole, frozenset({FAILED_STEP}))


def test_every_kind_of_loss_is_documented() -> None:
    """The table of docs/tracing.md has each kind that a trace can have, and no other."""
    table = re.findall(
        r"^\| `([a-z-]+)` \|", (ROOT / "docs/tracing.md").read_text().split("## Losses")[1], re.MULTILINE
    )
    assert sorted(table) == sorted(KINDS)


# A verification


@pytest.mark.parametrize("order", list(itertools.permutations((PASSED, FAILED, SKIPPED))))
def test_a_check_of_several_runs_counts_as_it_ended_best(order: tuple[Outcome, ...]) -> None:
    """What passed once has been seen to work; a failure tells more than a check that did not take place."""
    (best,) = united([check("x", outcome) for outcome in order])
    assert best.outcome is PASSED
    (best,) = united([check("x", outcome) for outcome in order if outcome is not PASSED])
    assert best.outcome is FAILED


def test_items_of_several_runs_count_one_by_one() -> None:
    """An item that passed in any run has to pass again, and the items of all runs are there."""
    one = check("imports", FAILED, a=PASSED, b=FAILED)
    two = check("imports", FAILED, b=PASSED, c=SKIPPED)
    (best,) = united([one, two])
    assert {item.name: item.outcome for item in best.items} == {"a": PASSED, "b": PASSED, "c": SKIPPED}
    assert united([one, check("other")]) == (one, check("other"))


# The command line


Traced = Callable[..., Path]


@pytest.fixture
def scope(tmp_path: Path) -> Path:
    """Files of a distribution: what nobody owns would stay whole."""
    folder = tmp_path.resolve() / "site-packages"
    names = ("one", "two", "none")
    record(folder, "app", names)
    for name in names:
        (folder / name).write_bytes(name.encode() * 100)
    return folder


@pytest.fixture
def traced(scope: Path, tmp_path: Path) -> Traced:
    """Trace a command that reads one file of the image."""

    def trace(name: str, *command: str) -> Path:
        path = tmp_path / f"{name}.json"
        line = command or ("cat", str(scope / name))
        done = slimagent("trace", "--quiet", "--backend", "seccomp", "--scope", scope, "-o", path, "--", *line)
        assert done.returncode == 0, done.stderr
        return path

    return trace


def test_merged_traces_are_planned_from_and_verified(scope: Path, traced: Traced, tmp_path: Path) -> None:
    """What either run needed stays, and says of which run; the rest goes, and both commands work without it."""
    one, two, whole = traced("one"), traced("two"), tmp_path / "whole.json"
    done = slimagent("merge", two, one, "-o", whole, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert [run["steps"] for run in summary["runs"]] == [{"command": "passed"}] * 2
    assert (summary["losses"], summary["blind_spots"]) == ({}, ["other-processes", "kernel-opens"])
    merged, plan = decode_trace(whole.read_bytes()), tmp_path / "plan.json"
    assert summary["paths"] == len(merged.accesses)
    assert slimagent("plan", "--quiet", "--level", "file", "--budget", "0", whole, "-o", plan).returncode == 0
    made = decode_plan(plan.read_bytes())
    gone = {entry.path for entry in made.entries if made.reasons[entry.reason].verdict.value == "drop"}
    assert gone == {bytes(scope / "none")}
    identity = decode_trace(one.read_bytes()).runs[0].identity
    assert f"opened in command of run {identity[:8]}" in slimagent("explain", plan, scope / "one").stdout
    again = ("verify", "--quiet", plan, whole, "-o", tmp_path / "v.json", "--backend", "seccomp", "--", "cat")
    assert slimagent(*again, scope / "two").returncode == 0
    assert slimagent(*again, scope / "none").returncode == 1


def test_plan_takes_several_traces(traced: Traced, tmp_path: Path) -> None:
    """It is the plan of the merged trace, in whatever order they come; their digests are in it."""
    one, two, whole = traced("one"), traced("two"), tmp_path / "whole.json"
    assert slimagent("merge", "--quiet", one, two, "-o", whole).returncode == 0
    plans = []
    for given_traces in ([one, two], [two, one, two], [whole]):
        assert slimagent("plan", "--quiet", *given_traces, "-o", tmp_path / "plan.json").returncode == 0
        plans.append((tmp_path / "plan.json").read_bytes())
    assert plans[0] == plans[1]
    several, of_whole = map(decode_plan, plans[1:])
    assert len(several.traces) == 2
    assert dataclasses.replace(several, traces=of_whole.traces, excluded=of_whole.excluded) == of_whole


def test_the_output_may_be_an_input(traced: Traced) -> None:
    """All is read before anything is written; the summary in words is short."""
    one, two = traced("one"), traced("two")
    done = slimagent("merge", one, two, "-o", one)
    assert done.returncode == 0
    assert len(decode_trace(one.read_bytes()).runs) == 2
    assert re.match(r"runs +2: 2 of \S+ under seccomp\nsteps +2\npaths ", done.stdout)


def test_traces_of_different_images_are_refused(scope: Path, traced: Traced, tmp_path: Path) -> None:
    """The file is named, status 3, and nothing is written."""
    one = traced("one")
    (scope / "new").write_text("x")
    two, output = traced("two"), tmp_path / "out.json"
    assert_error(
        slimagent("merge", "--quiet", one, two, "-o", output), 3, f"{two} is of another image than {one}", "container"
    )
    assert not output.exists()


def test_a_trace_that_cannot_be_read(traced: Traced, tmp_path: Path) -> None:
    """One bad trace among good ones is named; nothing is written, and none at all is wrong usage."""
    one, bad, output = traced("one"), tmp_path / "bad.json", tmp_path / "out.json"
    bad.write_text("{}")
    assert_error(slimagent("merge", "--quiet", one, bad, "-o", output), 2, str(bad), "not a document")
    assert_error(slimagent("merge", "--quiet", one, tmp_path / "no", "-o", output), 2, "cannot read")
    assert slimagent("merge", "-o", output).returncode == 2
    assert not output.exists()


def test_paths_of_all_traces_are_decoded_once(tmp_path: Path) -> None:
    """What is remembered between documents changes nothing of what they say."""
    evidence = evidence_for(tmp_path)
    known: dict[str, bytes] = {}
    for path in (b"/a\xff", b"/b\\", b"/a\xff"):
        trace = dataclasses.replace(evidence.trace, accesses=(Access(path, How.OPENED, (0,), True),))
        _, (use,), used = decode_uses(encode_trace(trace), "x", known)
        assert (use, used) == (Use(How.OPENED, (0,), True), ((path, 0),))
    assert known == {"/a\\xff": b"/a\xff", "/b\\\\": b"/b\\"}


def test_the_benchmark_merges_in_both_ways(tmp_path: Path) -> None:
    """Run small: both ways write the same bytes, or it fails; nothing is left."""
    small = ("--traces", "4", "--paths", "300", "--image", "1000", "--in", str(tmp_path))
    command = [sys.executable, str(ROOT / "benchmarks/merge.py"), *small]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^two by two +[\d.]+ +[\d.]+ +\d+$", done.stdout, re.MULTILINE)
    assert not list(tmp_path.iterdir())
