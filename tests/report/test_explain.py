"""Why a path stays or goes, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import Installed, access, plan_for, plan_of, write

from slimagent.model.inventory import Package
from slimagent.model.plan import Entry, Plan, PlannedPackage, Step
from slimagent.model.profile import KeepRule
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.trace import How
from slimagent.report.explain import Explainer
from slimagent.report.sentences import sentence


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
        steps=tuple(Step(name, "r" * 64) for name in ("one", "two", "three", "four")),
        reasons=reasons,
        entries=tuple(Entry(b"/%d" % at, at, 0, 0) for at in range(len(reasons))),
        changes=(),
    )


def keep(kind: str, source: bytes | None = None, detail: str = "", steps: tuple[int, ...] = ()) -> Reason:
    return Reason(verdict=Verdict.KEEP, kind=ReasonKind(kind), source=source, detail=detail, steps=steps)


def test_a_chain_is_told_from_the_path_back_to_the_access(tmp_path: Path) -> None:
    """Each line rests on the next; the last one names the step."""
    write(tmp_path, "/bin/tool", "#!/bin/inter\n", 0o755)
    write(tmp_path, "/bin/inter", "#!/bin/sh\n", 0o755)
    write(tmp_path, "/bin/sh")
    explanation = Explainer(plan_for(tmp_path, [access("/bin/tool", How.EXECUTED)])).explain(b"//bin/./sh")
    assert explanation.verdict is Verdict.KEEP
    assert explanation.size == 4
    assert explanation.chain == (
        ("/bin/sh", "the interpreter of /bin/inter"),
        ("/bin/inter", "the interpreter of /bin/tool"),
        ("/bin/tool", "executed in smoke"),
    )


def test_dropped_ruled_and_unknown_paths_are_explained(tmp_path: Path) -> None:
    """A drop, a rule and a path that is not in the plan each have one sentence."""
    write(tmp_path, "/unused")
    write(tmp_path, "/ruled")
    explainer = Explainer(plan_for(tmp_path, rules=(KeepRule(pattern="/ruled", why="we say so"),)))
    assert explainer.explain(b"/unused").chain[0][1].startswith("no test asked for it")
    assert explainer.explain(b"/ruled").chain == (("/ruled", "by rule: we say so"),)
    unknown = explainer.explain(b"/not/there")
    assert (unknown.verdict, unknown.chain[0][1].split(":")[0]) == (None, "not in the plan")


def test_many_steps_are_counted() -> None:
    """Three are named, the others counted."""
    steps = tuple(Step(name, "r" * 64) for name in "abcd")
    assert sentence(keep("opened", steps=(0, 1, 2, 3)), steps) == "opened in a, b, c and 1 more"


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ((0,), "smoke of run aaaaaaaa"),
        ((0, 3), "smoke of 2 runs"),
        ((0, 1, 2, 3), "smoke of all 3 runs, page"),
        ((1,), "page"),
    ],
)
def test_a_step_that_several_runs_have_says_of_which(at: tuple[int, ...], expected: str) -> None:
    """Each step's name is there once: with its run, or with how many; alone where no other run has such a step."""
    steps = (Step("smoke", "a" * 64), Step("page", "a" * 64), Step("smoke", "b" * 64), Step("smoke", "c" * 64))
    assert sentence(keep("opened", steps=at), steps) == f"opened in {expected}"


def test_what_nothing_used_is_needed() -> None:
    """A login shell stays without an access; compiled Python has the name of its module."""
    assert sentence(keep("used", b"/bin/bash"), ()) == "/bin/bash is needed"
    assert sentence(keep("used", b"/bin/bash", steps=(0,)), (Step("a", "r"),)) == "/bin/bash was used in a"
    compiled = keep("used", b"/p/uv/__pycache__/__init__.cpython-311.opt-1.pyc")
    assert sentence(compiled, ()) == "/p/uv/__init__.py (compiled) is needed"


def test_an_odd_name_is_shown_as_text() -> None:
    """Names that are not UTF-8 and names with braces come out readable."""
    assert sentence(keep("hard-link", b"/\xe9{x}"), ()) == "another name of /\\xe9{x}, the same bytes"


def test_a_plan_of_another_hand_does_not_break_it() -> None:
    """Unknown kinds (with braces too), steps that do not exist, absent sources and circles end in a sentence."""
    plan = plan_with(keep("new {kind}"), keep("opened", steps=(-9, 99)), keep("hard-link", b"/3"), keep("x", b"/2"))
    explainer = Explainer(plan)
    assert explainer.explain(b"/0").chain == (("/0", "new {kind}"),)
    assert explainer.explain(b"/1").chain == (("/1", "opened"),)
    assert [path for path, _ in explainer.explain(b"/2").chain] == ["/2", "/3"]
    assert Explainer(plan_with(keep("library", b"/gone", "x.so"))).explain(b"/0").chain == (
        ("/0", "a library that /gone needs, as x.so"),
    )


# Packages


def made(root: Path) -> Plan:
    """An image with a used package, what it requires, and two that go."""
    for path in ("/usr/bin/tool", "/usr/lib/one", "/usr/lib/both", "/usr/share/two", "/usr/share/three"):
        write(root, path, b"x" * 1_000_000)
    packages = [
        Installed("dpkg:tool", ["/usr/bin/tool", "/usr/lib/both"], requires=["dpkg:one"]),
        Installed("dpkg:one", ["/usr/lib/one"]),
        Installed("dpkg:two", ["/usr/share/two"], requires=["r:three", "dpkg:one"]),
        Installed("r:three", ["/usr/share/three", "/usr/lib/both"], requires=["dpkg:two"]),
    ]
    return plan_of(root, packages, [access("/usr/bin/tool", How.EXECUTED)])


def test_a_path_is_told_with_its_level_and_every_owner(tmp_path: Path) -> None:
    """The chain goes from the path to its package, to what requires that, to the access."""
    explainer = Explainer(made(tmp_path))
    told = explainer.explain(b"/usr/lib/one")
    assert (told.level, told.owners, told.verdict) == ("package", ("dpkg:one 1",), Verdict.KEEP)
    assert told.chain == (
        ("/usr/lib/one", "part of dpkg:one 1, which stays whole"),
        ("dpkg:one 1", "dpkg:tool 1 requires it: dpkg:one (>= 1)"),
        ("dpkg:tool 1", "/usr/bin/tool was used in smoke"),
        ("/usr/bin/tool", "executed in smoke"),
    )
    assert explainer.explain(b"/usr/lib/both").owners == ("dpkg:tool 1", "r:three 1")
    assert explainer.explain(b"/usr").owners == ()
    gone = explainer.explain(b"/usr/share/two")
    assert gone.chain == (
        ("/usr/share/two", "part of dpkg:two 1, which goes"),
        ("dpkg:two 1", "no test used it, nothing that stays requires it, no rule keeps it"),
    )


def test_a_package_is_told_with_what_it_would_take(tmp_path: Path) -> None:
    """One that stays has its chain and no cost; one that goes the bytes that would come back, requirements included."""
    explainer = Explainer(made(tmp_path))
    stays = explainer.explain_package(0)
    assert (stays.what, stays.verdict, stays.size, stays.kept, stays.cost) == (
        "dpkg:tool 1", Verdict.KEEP, 2_000_000, 2_000_000, ""
    )  # fmt: skip
    goes = explainer.explain_package(2)
    assert (goes.verdict, goes.size, goes.kept) == (Verdict.DROP, 1_000_000, 0)
    # Its own megabyte and that of r:three; the file that r:three shares stays as it is.
    assert goes.cost == "--keep-package dpkg:two keeps it and 1 package that it requires, 2.0 MB"
    assert explainer.explain_package(3).kept == 1_000_000


def test_packages_are_found_by_name(tmp_path: Path) -> None:
    """By kind and name, or by name alone; `*` and `?` match; a name may hold a colon."""
    plan = made(tmp_path)
    foreign = replace(plan.packages[0], package=replace(plan.packages[0].package, name="libc6:i386"))
    explainer = Explainer(replace(plan, packages=(*plan.packages, foreign)))
    assert [explainer.packages(text) for text in ("dpkg:tool", "tool", "r:tool", "t*", "dpkg:t*", "*:tool")] == [
        [0], [0], [], [0, 2, 3], [0, 2], []
    ]  # fmt: skip
    assert explainer.packages("libc6:i386") == explainer.packages("dpkg:libc6:*") == [4]
    assert explainer.packages("") == explainer.packages("TOOL") == []


def test_packages_of_one_name_in_two_places_are_two(tmp_path: Path) -> None:
    """Each is told with its place, and a chain goes through both."""
    plan = made(tmp_path)
    keeps = Reason(verdict=Verdict.KEEP, kind=ReasonKind.REQUIRED, detail="a", package=1)
    there = [
        PlannedPackage(package=Package(kind="npm", name="a", place=place), reason=at, files=0, size=0, kept=0)
        for at, place in ((len(plan.reasons), b"/n/a"), (plan.packages[0].reason, b"/n/b/\xff"))
    ]
    explainer = Explainer(replace(plan, packages=tuple(there), reasons=(*plan.reasons, keeps)))
    assert [explainer.explain_package(at).what for at in (0, 1)] == ["npm:a in /n/a", "npm:a in /n/b/\\xff"]
    assert [what for what, _ in explainer.explain_package(0).chain] == ["npm:a", "npm:a", "/usr/bin/tool"]


ON_THE_WAY = "a symbolic link on the way to a requested path"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Reason(verdict=Verdict.DROP, kind=ReasonKind.CRUFT, detail="logs: w {x}"), "cruft, logs: w {x}"),
        (keep("protected", detail="no GPU"), "its check did not pass, so it stays whole: no GPU"),
        (keep("start", detail="w"), "the image is started with it: w"),
        (keep("link-on-the-way", detail="/bin/x", steps=(0,)), f"{ON_THE_WAY} in one as /bin/x"),
        (keep("link-on-the-way", b"/y"), f"{ON_THE_WAY} by /y"),
    ],
)
def test_reasons_in_words(told: Reason, expected: str) -> None:
    """What a rule says is told as it is."""
    assert sentence(told, (Step("one", "r" * 64),)) == expected
