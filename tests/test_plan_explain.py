"""Why a path stays or goes, in words."""

from __future__ import annotations

from pathlib import Path

from plan_images import access, plan_for, write

from slimagent.model import Entry, How, KeepRule, Plan, Reason, Verdict
from slimagent.plan.explain import Explainer, sentence


def plan_with(*reasons: Reason) -> Plan:
    """A plan as a document could hold it: one entry `/N` for each reason."""
    return Plan(
        tool="slimagent test",
        level="file",
        root=b"/",
        scopes=(b"/",),
        excluded=(),
        fingerprints=("a",),
        traces=("b",),
        accepted=(),
        steps=("one", "two", "three", "four"),
        reasons=reasons,
        entries=tuple(Entry(b"/%d" % at, at, 0, 0) for at in range(len(reasons))),
        changes=(),
    )


def keep(kind: str, source: bytes | None = None, detail: str = "", steps: tuple[int, ...] = ()) -> Reason:
    return Reason(verdict=Verdict.KEEP, kind=kind, source=source, detail=detail, steps=steps)


def test_a_chain_is_told_from_the_path_back_to_the_access(tmp_path: Path) -> None:
    """Each line rests on the next; the last one names the step."""
    write(tmp_path, "/bin/tool", "#!/bin/inter\n", 0o755)
    write(tmp_path, "/bin/inter", "#!/bin/sh\n", 0o755)
    write(tmp_path, "/bin/sh")
    explanation = Explainer(plan_for(tmp_path, [access("/bin/tool", How.EXECUTED)])).explain(b"//bin/./sh")
    assert explanation.verdict is Verdict.KEEP
    assert explanation.size == 4
    assert explanation.chain == (
        (b"/bin/sh", "the interpreter of /bin/inter"),
        (b"/bin/inter", "the interpreter of /bin/tool"),
        (b"/bin/tool", "executed in smoke"),
    )


def test_dropped_ruled_and_unknown_paths_are_explained(tmp_path: Path) -> None:
    """A drop, a rule and a path that is not in the plan each have one sentence."""
    write(tmp_path, "/unused")
    write(tmp_path, "/ruled")
    explainer = Explainer(plan_for(tmp_path, rules=(KeepRule(pattern="/ruled", why="we say so"),)))
    assert explainer.explain(b"/unused").chain[0][1].startswith("nothing that was traced asked for it")
    assert explainer.explain(b"/ruled").chain == ((b"/ruled", "by rule: we say so"),)
    unknown = explainer.explain(b"/not/there")
    assert (unknown.verdict, unknown.chain[0][1].split(":")[0]) == (None, "not in the plan")


def test_many_steps_are_counted() -> None:
    """Three are named, the others counted."""
    assert sentence(keep("opened", steps=(0, 1, 2, 3)), ("a", "b", "c", "d")) == "opened in a, b, c and 1 more"


def test_an_odd_name_is_shown_as_text() -> None:
    """Names that are not UTF-8 and names with braces come out readable."""
    assert sentence(keep("hard-link", b"/\xe9{x}"), ()) == "another name of /\\xe9{x}, the same bytes"


def test_a_plan_of_another_hand_does_not_break_it() -> None:
    """Unknown kinds (with braces too), steps that do not exist, absent sources and circles end in a sentence."""
    plan = plan_with(keep("new {kind}"), keep("opened", steps=(-9, 99)), keep("hard-link", b"/3"), keep("x", b"/2"))
    explainer = Explainer(plan)
    assert explainer.explain(b"/0").chain == ((b"/0", "new {kind}"),)
    assert explainer.explain(b"/1").chain == ((b"/1", "opened"),)
    assert [path for path, _ in explainer.explain(b"/2").chain] == [b"/2", b"/3"]
    assert Explainer(plan_with(keep("library", b"/gone", "x.so"))).explain(b"/0").chain == (
        (b"/0", "a library that /gone needs, as x.so"),
    )
