"""Which packages stay, and why: use, requirements, rules, and what the image is started with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import (
    STEP,
    Installed,
    access,
    cruft,
    evidence_for,
    kinds,
    link,
    paths_with,
    plan_of,
    reader,
    reason,
    staying,
    with_run,
    write,
)

from slimagent.inventory.owners import owners
from slimagent.model.finished_run import FinishedRun
from slimagent.model.image_config import ImageConfig
from slimagent.model.plan import counted_entries
from slimagent.model.profile import KeepRule, PackageRule, ProtectRule, Rules, StartRule
from slimagent.model.proof import Missed, Repair
from slimagent.model.reason import Verdict
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Change, ChangeKind, How
from slimagent.plan.compilers import is_compiling
from slimagent.plan.decide import decide
from slimagent.profiles.rules import starts
from slimagent.report import summary
from slimagent.report.explain import Explainer
from slimagent.report.fates import Fates
from slimagent.report.run_comparison import compare_runs
from slimagent.report.text import plan_summary

# Packages


def test_a_touched_package_stays_whole_with_what_it_requires(tmp_path: Path) -> None:
    """One opened file keeps the package, its requirements to the last, and nothing else; each says why."""
    for path in ("/usr/bin/tool", "/usr/share/tool/data", "/usr/lib/one", "/usr/lib/two", "/usr/lib/three"):
        write(tmp_path, path)
    packages = [
        Installed("dpkg:tool", ["/usr/bin/tool", "/usr/share/tool/data"], requires=["dpkg:one"]),
        Installed("dpkg:one", ["/usr/lib/one"], requires=["dpkg:two"]),
        Installed("dpkg:two", ["/usr/lib/two"], requires=["dpkg:one"]),
        Installed("dpkg:three", ["/usr/lib/three"], requires=["dpkg:tool"]),
    ]
    plan = plan_of(tmp_path, packages, ["/usr/bin/tool"])
    assert paths_with(plan, Verdict.DROP) == {b"/usr/lib/three"}
    assert kinds(plan, "/usr/bin/tool", "/usr/share/tool/data", "/usr/lib/two") == ["opened", "package", "package"]
    why = staying(plan)
    assert why.keys() == {"dpkg:tool", "dpkg:one", "dpkg:two"}
    assert (why["dpkg:tool"].kind, why["dpkg:tool"].source, why["dpkg:tool"].steps) == ("used", b"/usr/bin/tool", (0,))
    assert (why["dpkg:two"].kind, why["dpkg:two"].detail, why["dpkg:two"].package) == (
        "required", "dpkg:two (>= 1)", 1
    )  # fmt: skip
    assert reason(plan, "/usr/lib/three").package == 3


def test_what_a_kept_file_needs_keeps_its_package(tmp_path: Path) -> None:
    """An interpreter's package stays as the file does that names it, whatever any record says."""
    write(tmp_path, "/usr/bin/script", "#!/usr/bin/inter\n", 0o755)
    write(tmp_path, "/usr/bin/inter", "x", 0o755)
    write(tmp_path, "/usr/lib/inter/module")
    packages = [Installed("dpkg:inter", ["/usr/bin/inter", "/usr/lib/inter/module"])]
    plan = plan_of(tmp_path, packages, ["/usr/bin/script"])
    assert kinds(plan, "/usr/bin/inter", "/usr/lib/inter/module") == ["interpreter", "package"]
    assert staying(plan)["dpkg:inter"].kind == "reached"


def test_what_a_verification_missed_stays_with_its_package(tmp_path: Path) -> None:
    """Over links, and with what the package requires; the reason names the steps that looked for it in vain."""
    for path in ("/usr/bin/tool", "/usr/share/tool/data", "/usr/lib/one", "/usr/lib/two"):
        write(tmp_path, path)
    link(tmp_path, "/opt/tool", "/usr/bin/tool")
    packages = [
        Installed("dpkg:tool", ["/usr/bin/tool", "/usr/share/tool/data"], requires=["dpkg:one"]),
        Installed("dpkg:one", ["/usr/lib/one"]),
        Installed("dpkg:two", ["/usr/lib/two"]),
    ]
    evidence = replace(
        evidence_for(tmp_path),
        repairs=(
            Repair(
                number=1,
                missed=(Missed(path=b"/opt/tool", steps=("imports", "r")), Missed(path=b"/none", steps=("r",))),
            ),
        ),
    )
    plan = decide(replace(evidence, owners=owners(evidence.inventory, (reader(packages),))), "package")
    assert paths_with(plan, Verdict.DROP) == {b"/usr/lib/two"}
    assert kinds(plan, "/opt/tool", "/usr/bin/tool", "/usr/share/tool/data") == ["missed", "missed", "package"]
    assert reason(plan, "/usr/bin/tool").detail == "imports, r looked for it in vain, round 1"
    assert staying(plan).keys() == {"dpkg:tool", "dpkg:one"}


def test_to_read_who_a_package_is_is_not_to_use_it(tmp_path: Path) -> None:
    """A record that was opened goes with its package, and one that stays with its package stays unread."""
    for name in ("used", "listed"):
        write(tmp_path, f"/site-packages/{name}.py")
        write(tmp_path, f"/site-packages/{name}.dist-info/METADATA")
    packages = [
        Installed(f"python:{name}", [f"/site-packages/{name}.py"], [f"/site-packages/{name}.dist-info/METADATA"])
        for name in ("used", "listed")
    ]
    plan = plan_of(
        tmp_path, packages, ["/site-packages/used.py", "/site-packages/listed.dist-info/METADATA"], level="file"
    )
    records = [f"/site-packages/{name}.dist-info" for name in ("used", "listed")]
    assert kinds(plan, *(f"{each}/METADATA" for each in records)) == ["identity", "record-gone"]
    assert kinds(plan, "/site-packages/listed.py", *records, "/site-packages") == [
        "package-gone", "folder", "folder-gone", "folder"
    ]  # fmt: skip


def test_several_owners_each_stay_with_their_file(tmp_path: Path) -> None:
    """A file of two packages keeps both; it goes only with the last of them."""
    for path in ("/both", "/first", "/second"):
        write(tmp_path, path)
    packages = [Installed("dpkg:one", ["/both", "/first"]), Installed("r:one", ["/both", "/second"])]
    assert staying(plan_of(tmp_path, packages, ["/both"])).keys() == {"dpkg:one", "r:one"}
    plan = plan_of(tmp_path, packages, ["/second"])
    assert paths_with(plan, Verdict.DROP) == {b"/first"}
    assert plan.further == ((1, (1,)),)
    assert paths_with(plan_of(tmp_path, packages), Verdict.DROP) == {b"/both", b"/first", b"/second"}


def test_essential_packages(tmp_path: Path) -> None:
    """dpkg's essential ones always stay; another manager's stay if anything of its kind does."""
    for path in ("/dash", "/base", "/stats"):
        write(tmp_path, path)
    packages = [
        Installed("dpkg:dash", ["/dash"], essential=True),
        Installed("r:base", ["/base"], essential=True),
        Installed("r:stats", ["/stats"]),
    ]
    why = staying(plan_of(tmp_path, packages))
    assert (list(why), why["dpkg:dash"].kind) == (["dpkg:dash"], "essential")
    why = staying(plan_of(tmp_path, packages, ["/stats"]))
    assert (why["r:base"].kind, why["r:base"].package) == ("essential", 2)


def test_a_directory_that_was_looked_at_does_not_use_its_package(tmp_path: Path) -> None:
    """A listed directory stays itself; its package goes, and what was in it."""
    write(tmp_path, "/opt2/x/file")
    packages = [Installed("dpkg:x", ["/opt2/x", "/opt2/x/file"])]
    plan = plan_of(tmp_path, packages, [access("/opt2/x", How.LISTED)])
    assert kinds(plan, "/opt2/x", "/opt2/x/file") == ["listed", "package-gone"]


def test_what_the_run_made_uses_no_package(tmp_path: Path) -> None:
    """A file that the run put into a package's directory is no reason to keep the package."""
    write(tmp_path, "/site/m/module.py")
    write(tmp_path, "/site/m/made")
    changes = (Change(path=b"/site/m/made", kind=ChangeKind.CREATED, mtime_ns=0),)
    packages = [Installed("python:m", ["/site/m", "/site/m/module.py", "/site/m/made"])]
    plan = plan_of(tmp_path, packages, ["/site/m/made"], changes=changes)
    assert not staying(plan)
    assert kinds(plan, "/site/m/made", "/site/m/module.py") == ["created", "package-gone"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (PackageRule(pattern="dpkg:g++*", why="w"), {"dpkg:g++"}),
        (PackageRule(pattern="*:g*", why="w"), {"dpkg:g++", "dpkg:git", "r:glue"}),
        (PackageRule(pattern="*:*", why="w", section="libdevel"), {"dpkg:libx-dev"}),
        (PackageRule(pattern="r:git", why="w"), set()),
        (PackageRule(pattern="dpkg:git", why="w", when="compiling"), set()),
    ],
)
def test_a_package_rule(tmp_path: Path, rule: PackageRule, expected: set[str]) -> None:
    """By kind, by name with wildcards, by section; one for compiling holds only there."""
    names = ("dpkg:g++", "dpkg:git", "dpkg:libx-dev", "r:glue")
    packages = []
    for name in names:
        write(tmp_path, f"/{name}")
        packages.append(Installed(name, [f"/{name}"], section="libdevel" if name.endswith("-dev") else ""))
    assert staying(plan_of(tmp_path, packages, rules=Rules(packages=(rule,)))).keys() == expected
    if rule.when:
        why = staying(plan_of(tmp_path, packages, rules=Rules(packages=(rule,), compiling=True)))
        assert (list(why), why["dpkg:git"].kind) == (["dpkg:git"], "compiling")


def test_a_package_that_a_rule_names_is_whole_at_level_file(tmp_path: Path) -> None:
    """Its large data stay, less cruft; what it requires stays as that level keeps it."""
    for path in ("/share/a/data", "/share/a/doc", "/share/b/data"):
        write(tmp_path, path, b"x" * 100)
    packages = [
        Installed("dpkg:a", ["/share/a/data", "/share/a/doc"], requires=["dpkg:b"]),
        Installed("dpkg:b", ["/share/b/data"]),
    ]
    rules = Rules(packages=(PackageRule(pattern="dpkg:a", why="w"),), cruft=(cruft("/share/*/doc"),), budget=10)
    plan = plan_of(tmp_path, packages, rules=rules, level="file")
    assert kinds(plan, "/share/a/data", "/share/a/doc", "/share/b/data") == ["package", "cruft", "too-large"]


# What is kept for its own sake


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("tini", "-g", "--", "jupyter", "lab"), {"/usr/bin/tini", "/opt/env/bin/jupyter"}),
        (("/usr/local/bin/start.sh", "--x"), {"/usr/local/bin/start.sh"}),
        (("sh", "-c", "exec jupyter lab"), {"/usr/bin/sh", "/opt/env/bin/jupyter"}),
        (("sh", "-c", "cd /tmp; tini|| jupyter"), {"/usr/bin/sh", "/usr/bin/tini", "/opt/env/bin/jupyter"}),
        (("sh", "-c", "sh -c 'exec tini -- x'"), {"/usr/bin/sh", "/usr/bin/tini"}),
        (("sh", "-c", "unclosed 'tini"), {"/usr/bin/sh"}),
        (("./tini", "-tini", "bin/tini", ""), set()),
        (("//usr/./local/bin/start.sh",), {"/usr/local/bin/start.sh"}),
    ],
)
def test_what_the_image_is_started_with(tmp_path: Path, command: tuple[str, ...], expected: set[str]) -> None:
    """Each word that is an absolute path, or a program by PATH, the first one; a shell's command line word by word."""
    programs = ("/usr/bin/tini", "/usr/bin/sh", "/usr/local/bin/start.sh", "/opt/env/bin/jupyter", "/usr/bin/jupyter")
    for path in programs:
        write(tmp_path, path, "x", 0o755)
    packages = [Installed(f"dpkg:{path[1:].replace('/', '-')}", [path]) for path in programs]
    rules = Rules(start=(StartRule(command=command, why="entry point"),))
    plan = plan_of(tmp_path, packages, rules=rules)
    assert {path for path in programs if reason(plan, path).kind == "start"} == expected
    assert {each.kind for each in staying(plan).values()} <= {"used"}
    assert len(staying(plan)) == len(expected)


@pytest.mark.parametrize(
    ("command", "cwd", "expected"),
    [
        (("./app",), "/srv", {"/srv/app"}),
        (("python", "app"), "/srv", {"/usr/bin/python", "/srv/app"}),
        (("python", "lib/app.py"), "/srv/", {"/usr/bin/python", "/srv/lib/app.py"}),
        (("python", "../srv/./app"), "/etc2", {"/usr/bin/python", "/srv/app"}),
        (("sh", "-c", "exec ./app --config=x"), "/srv", {"/srv/app"}),
        (("python",), "/srv/bin", {"/usr/bin/python"}),  # one of that name is there, too; PATH comes first
        (("./python",), "/srv/bin", {"/srv/bin/python"}),
        (("app",), "/link", {"/srv/app"}),
        (("app", "lib/app.py"), "", set()),
        (("-app", ""), "/srv", set()),
        (("srv/app",), "/", {"/srv/app"}),
    ],
)
def test_words_are_seen_from_where_the_image_is_started(
    tmp_path: Path, command: tuple[str, ...], cwd: str, expected: set[str]
) -> None:
    """A word that is no program on PATH can be a file in WORKDIR: it stays, over links too. Where unknown: none."""
    files = ("/srv/app", "/srv/lib/app.py", "/srv/bin/python", "/usr/bin/python", "/etc2/x")
    for path in files:
        write(tmp_path, path, "x", 0o755)
    link(tmp_path, "/link", "srv")
    plan = plan_of(tmp_path, rules=Rules(start=(StartRule(command=command, why="entry point", cwd=cwd),)))
    assert {path for path in files if reason(plan, path).kind == "start"} == expected


@pytest.mark.parametrize(("workdir", "kept"), [("/srv", "/srv/app"), ("", "/app")])
def test_the_working_directory_is_the_images(tmp_path: Path, workdir: str, kept: str) -> None:
    """`/` where the image names none."""
    for path in ("/srv/app", "/app"):
        write(tmp_path, path)
    config: dict[str, object] = {"Cmd": ["python", "app"], "WorkingDir": workdir}
    plan = plan_of(tmp_path, rules=Rules(start=starts(ImageConfig(config=config, architecture="amd64", os="linux"))))
    assert [path for path in ("/srv/app", "/app") if reason(plan, path).kind == "start"] == [kept]


def test_login_shells_stay_through_their_links(tmp_path: Path) -> None:
    """The shell of an account stays with its package; one that is not there harms nothing."""
    write(tmp_path, "/usr/bin/zsh5", "x", 0o755)
    write(tmp_path, "/usr/share/zsh/function")
    link(tmp_path, "/usr/bin/zsh", "zsh5")
    link(tmp_path, "/bin", "usr/bin")
    packages = [Installed("dpkg:zsh", ["/usr/bin/zsh5", "/usr/bin/zsh", "/usr/share/zsh/function"])]
    plan = plan_of(tmp_path, packages, shells=(b"/bin/zsh", b"/bin/absent"))
    assert kinds(plan, "/bin", "/usr/bin/zsh", "/usr/bin/zsh5", "/usr/share/zsh/function") == [
        "login-shell", "login-shell", "login-shell", "package"
    ]  # fmt: skip


@pytest.mark.parametrize("check", ["server", "rstudio"])
@pytest.mark.parametrize(
    ("outcome", "stays"),
    [(Outcome.PASSED, False), (Outcome.FAILED, True), (Outcome.SKIPPED, True), (None, True)],
)
def test_what_was_not_exercised_is_protected(tmp_path: Path, check: str, outcome: Outcome | None, stays: bool) -> None:
    """Unless a check of that kind or name passed, packages stay whole, paths with their packages, and why is said."""
    for path in ("/srv/rstudio", "/srv/needed", "/etc2/rstudio.conf", "/etc2/other", "/unowned"):
        write(tmp_path, path, b"x" * 100)
    packages = [
        Installed("dpkg:rstudio-server", ["/srv/rstudio"], requires=["dpkg:needed"]),
        Installed("dpkg:needed", ["/srv/needed"]),
        Installed("dpkg:conf", ["/etc2/rstudio.conf", "/etc2/other"]),
    ]
    rule = ProtectRule(check=check, why="no licence", packages=("dpkg:rstudio*",), paths=("/etc2/*.conf", "/unowned"))
    steps = (STEP,)
    if outcome is not None:
        steps = (STEP, CheckResult(name="rstudio", kind="server", outcome=outcome, seconds=1))
    evidence = Rules(protect=(rule,), budget=0)
    if outcome is Outcome.FAILED:  # a step that failed as a whole has to be accepted to be planned from
        inventory = evidence_for(tmp_path)
        made = replace(
            inventory,
            owners=owners(inventory.inventory, (reader(packages),)),
            trace=with_run(inventory.trace, steps=steps),
            rules=evidence,
            accepted=frozenset({"failed-step"}),
        )
        plan = decide(made, "file")
    else:
        plan = plan_of(tmp_path, packages, rules=evidence, level="file", steps=steps)
    expected = {"dpkg:rstudio-server", "dpkg:needed", "dpkg:conf"} if stays else set()
    assert staying(plan).keys() == expected
    assert kinds(plan, "/srv/rstudio", "/etc2/rstudio.conf", "/unowned") == (
        ["package", "protected", "protected"] if stays else ["package-gone", "package-gone", "unused"]
    )
    if stays:
        assert staying(plan)["dpkg:rstudio-server"].detail == "no licence"


@pytest.mark.parametrize(
    ("path", "how", "said", "expected"),
    [
        ("/usr/libexec/gcc/x/13/cc1", How.EXECUTED, None, True),
        ("/usr/lib/gcc/x/13/cc1plus", How.EXECUTED | How.OPENED, None, True),
        ("/usr/lib/gcc/x/13/f951", How.EXECUTED, None, True),
        ("/usr/bin/clang-17", How.EXECUTED, None, True),
        ("/usr/lib/gcc/x/13/cc1", How.OPENED | How.LOOKED_UP, None, False),
        ("/usr/bin/gcc", How.EXECUTED, None, False),
        ("/usr/lib/gcc/x/13/cc1", How.EXECUTED, False, False),
        ("/usr/bin/gcc", How.OPENED, True, True),
    ],
)
def test_compiling_is_seen_by_a_compiler_that_ran(
    tmp_path: Path, path: str, how: How, said: bool | None, expected: bool
) -> None:
    """Not by its driver, which is also asked for its version; the profile's word counts more."""
    evidence = evidence_for(tmp_path, [access(path, how, found=False)])
    assert is_compiling(replace(evidence, rules=Rules(compiling=said))) is expected


def test_a_rule_for_kept_packages_only(tmp_path: Path) -> None:
    """It keeps a file of a package that stays, at level file and though it is cruft, and of no other."""
    for name in ("used", "gone"):
        write(tmp_path, f"/{name}/plugins/p", b"x" * 100)
        write(tmp_path, f"/{name}/main.py")
    packages = [Installed(f"dpkg:{name}", [f"/{name}/plugins/p", f"/{name}/main.py"]) for name in ("used", "gone")]
    rules = Rules(
        keep=(KeepRule(pattern="/*/plugins/*", why="listed at run time", of_kept=True),),
        cruft=(cruft("/**/p"),),
        budget=0,
    )
    plan = plan_of(tmp_path, packages, ["/used/main.py"], rules, level="file")
    assert kinds(plan, "/used/plugins/p", "/gone/plugins/p") == ["rule", "package-gone"]
    assert (reason(plan, "/used/plugins/p").detail, reason(plan, "/used/plugins/p").package) == (
        "listed at run time",
        0,
    )


def test_a_file_counts_once_for_all_of_its_names(tmp_path: Path) -> None:
    """In its package, and in every sum over the plan's entries; with the name that stays, and that a step asked for."""
    write(tmp_path, "/bin/first", b"x" * 700)
    write(tmp_path, "/srv/other", b"y" * 30)
    os.link(tmp_path / "bin/first", tmp_path / "bin/second")
    os.link(tmp_path / "bin/first", tmp_path / "bin/third")
    packages = [Installed("dpkg:tool", ["/bin/first", "/bin/second"]), Installed("r:tool", ["/bin/third"])]
    plan = plan_of(tmp_path, packages, ["/bin/second"])
    at = {entry.path: number for number, entry in enumerate(plan.entries)}
    used = at[b"/bin/second"]
    assert plan.hard_links == ((at[b"/bin/first"], used), (at[b"/bin/third"], used))
    assert [(each.package.label, each.size, each.kept) for each in plan.packages] == [
        ("dpkg:tool", 700, 700), ("r:tool", 700, 700)
    ]  # fmt: skip
    sizes = {entry.path: entry.size for entry in counted_entries(plan) if entry.size}
    assert sizes == {b"/bin/second": 700, b"/srv/other": 30}
    by_owner = {each.kind: (each.bytes, each.bytes_kept) for each in summary.owners(plan)}
    assert (by_owner["dpkg"], by_owner["r"]) == ((700, 700), (0, 0))
    assert sum(whole for whole, _ in by_owner.values()) == 730
    run = FinishedRun(path="out", plan=plan, digest="d")
    found = compare_runs(run, run, "slimagent 0")
    assert (found.a.before, found.a.after) == (730, sum(kept for _, kept in by_owner.values()))
    assert sum(part.bytes for part in Fates(plan).parts(plan)) == 730
    explained = Explainer(plan)
    listed = explained.largest(Verdict.KEEP, 9) + explained.largest(Verdict.DROP, 9)
    assert sum(length for _, length, _ in listed) == 730
    assert " of 730 B stays" in plan_summary(plan)[0]
