"""`slimagent explain`, and the options by which a plan is told what to keep: the program as a user starts it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from plan_images import Installed, access, cruft, link, plan_of, trace_for, write

from slimagent.cli import explain
from slimagent.documents import decode_plan, encode_plan, encode_trace
from slimagent.errors import UsageError
from slimagent.inventory.scan import scan
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import How
from slimagent.report.explain import Explainer


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """The plan of an image with packages of several managers, as a file."""
    root = tmp_path / "root"
    for path in ("/usr/bin/tool", "/usr/lib/one", "/usr/share/two", "/node/x/package.json", "/usr/share/doc/README"):
        write(root, path, b"x" * 1000)
    packages = [
        Installed("dpkg:tool", ["/usr/bin/tool", "/usr/share/doc/README"], requires=["dpkg:one"]),
        Installed("dpkg:one", ["/usr/lib/one"]),
        Installed("dpkg:two", ["/usr/share/two"]),
        Installed("npm:@scope/x", ["/node/x/package.json"]),
    ]
    rules = Rules(cruft=(cruft("/usr/share/doc/**"),))
    plan = plan_of(root, packages, [access("/usr/bin/tool", How.EXECUTED)], rules)
    file = tmp_path / "plan.json"
    file.write_bytes(encode_plan(plan))
    return file


def explained(document: Path, *things: str) -> list[str]:
    done = slimagent("explain", document, *things)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_path_is_explained(document: Path) -> None:
    """Verdict, size, level, owner, then each reason below the one that rests on it."""
    assert explained(document, "/usr/lib/one") == [
        "/usr/lib/one  keep",
        "  size   1.0 kB",
        "  level  package",
        "  owner  dpkg:one 1",
        "  - part of dpkg:one 1, which stays whole",
        "    because dpkg:one 1: dpkg:tool 1 requires it: dpkg:one (>= 1)",
        "      because dpkg:tool 1: /usr/bin/tool was used in smoke",
        "        because /usr/bin/tool: executed in smoke",
    ]


def test_a_package_is_explained(document: Path) -> None:
    """What of it stays, or what it would take to keep it; by its kind and name, its name alone, or a pattern."""
    assert explained(document, "dpkg:tool")[:4] == [
        "dpkg:tool 1  keep",
        "  size in the image  2.0 kB",
        "  stays              1.0 kB",
        "  level              package",
    ]
    for name in ("dpkg:two", "two", "dpkg:tw?"):
        assert explained(document, name)[0] == "dpkg:two 1  drop"
        assert explained(document, name)[-1] == "  --keep-package dpkg:two keeps it, 1.0 kB"
    assert [line for line in explained(document, "dpkg:t*") if line[0] != " "] == [
        "dpkg:tool 1  keep",
        "dpkg:two 1  drop",
    ]
    for name in ("npm:@scope/x", "@scope/x", "npm:@scope/*"):
        assert explained(document, name)[0] == "npm:@scope/x 1  drop"


def test_cruft_is_explained_by_its_rule(document: Path) -> None:
    """Its name, its why and its risk, and how to keep the file or all that the rule drops."""
    *_, why, how = explained(document, "/usr/share/doc/README")
    assert why == "  - cruft, some: of no use; risk: none"
    assert how == "  --keep /usr/share/doc/README keeps it, --keep-cruft some all that this rule drops"


def test_what_is_not_there_is_said(document: Path) -> None:
    """Of several things each is told, once, and after what is known; a path with a package's name is told by ./."""
    done = slimagent("explain", document, "/not/there", "/usr/lib/one", "./tool", "dpkg:tol")
    assert [line for line in done.stdout.splitlines() if line[0] != " "] == ["/usr/lib/one  keep"]
    assert_error(done, 2, "knows nothing of /not/there", "from its root")
    assert_error(done, 2, "/tool (did you mean /usr/bin/tool?", "no package 'dpkg:tol'", "(did you mean dpkg:tool or")
    assert_error(slimagent("explain", document, "dpkg:tol"), 2, "no package 'dpkg:tol'", "did you mean dpkg:tool")
    assert_error(slimagent("explain", document, "qqqqqq"), 2, "no package 'qqqqqq'", "name a package as KIND:NAME")


@pytest.mark.parametrize(
    ("thing", "meant"),
    [
        ("usr/bin/tool", "did you mean /usr/bin/tool? other paths are below the current directory"),
        ("/usr/local/bin/tool", "did you mean /usr/bin/tool?"),
        ("/usr/lib/onee", "did you mean one in /usr/lib?"),
        ("/opt/nothing", "name a path of the image from its root"),
        ("dpkg:vim", "name a package as KIND:NAME"),
        ("toool", "did you mean dpkg:tool?"),
    ],
)
def test_what_may_be_meant_is_named(document: Path, thing: str, meant: str) -> None:
    """Only what is near: a package of the same kind is not."""
    made = decode_plan(document.read_bytes())
    explainer = Explainer(made)
    with pytest.raises(UsageError) as error:
        if explain._explain(explainer, made, thing)[-1].verdict is None:
            raise explain._unknown_path(explainer, made, thing)
    assert meant in error.value.hint


def test_the_directory_of_a_run_is_explained(document: Path, tmp_path: Path) -> None:
    """As its plan is, whatever else lies there; where there is no plan, it is said what was looked for."""
    (document.parent / "receipt.json").write_text("of another run")
    for things in ((), ("dpkg:two", "/usr/lib/one")):
        assert explained(document.parent, *things) == explained(document, *things)
    assert_error(slimagent("explain", tmp_path / "none"), 2, "none does not exist", "--out")
    (tmp_path / "empty").mkdir()
    assert_error(slimagent("explain", tmp_path / "empty", "/a"), 2, "looked for plan.json, trace.json", "make one")
    (tmp_path / "empty" / "trace.json").write_text("{}")
    assert_error(slimagent("explain", tmp_path / "empty"), 2, "empty has no plan.json", "make one")


def test_explanations_as_json(document: Path) -> None:
    """The same as data."""
    done = slimagent("explain", "--json", document, "/usr/lib/one", "two", "/absent")
    path, package, absent = json.loads(done.stdout)
    assert (path["what"], path["verdict"], path["level"], path["owners"], path["size"]) == (
        "/usr/lib/one", "keep", "package", ["dpkg:one 1"], 1000
    )  # fmt: skip
    assert [each["what"] for each in path["chain"]] == ["/usr/lib/one", "dpkg:one 1", "dpkg:tool 1", "/usr/bin/tool"]
    assert (package["verdict"], package["cost"]) == ("drop", "--keep-package dpkg:two keeps it, 1.0 kB")
    assert absent["verdict"] is None


# What a plan is told to keep


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image without package managers, with two components, cruft, and a link."""
    root = tmp_path / "root"
    for path in ("/opt/tool/run", "/opt/tool/data", "/opt/other/run", "/var/log/log", "/usr/include/x.h"):
        write(root, path, b"x" * 100, 0o755)
    link(root, "/usr/bin/tool", "/opt/tool/run")
    return root


def planned(image: Path, *arguments: str, accesses: tuple[str, ...] = ()) -> tuple[Plan, set[str]]:
    """The plan that the command line makes of the image, and what goes of its files."""
    trace = image.parent / "trace.json"
    inventory = scan(os.fsencode(image.resolve()))
    trace.write_bytes(encode_trace(trace_for(inventory, [access(path, How.EXECUTED) for path in accesses])))
    made = image.parent / "plan.json"
    done = slimagent("plan", "--quiet", "--root", image, trace, "-o", made, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    plan = decode_plan(made.read_bytes())
    gone = {entry.path for entry in plan.entries if plan.reasons[entry.reason].verdict is Verdict.DROP and entry.size}
    return plan, set(map(os.fsdecode, gone))


ALL = {"/opt/tool/run", "/opt/tool/data", "/opt/other/run", "/var/log/log", "/usr/include/x.h"}


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ((), set()),
        (("--level", "cruft"), {"/opt/tool/run", "/opt/tool/data", "/opt/other/run"}),
        (("--keep", "/opt/*/data"), {"/opt/tool/data"}),
        (("--keep", "/usr/bin/tool"), {"/opt/tool/run"}),
        (("--keep-package", "component:oth*"), {"/opt/other/run"}),
        (("--keep-package", "dpkg:other"), set()),
        (("--keep-cruft", "logs", "--keep-cruft", "headers"), {"/var/log/log", "/usr/include/x.h"}),
        (("--keep-command", "tool --port 1"), {"/opt/tool/run", "/opt/tool/data"}),
        (("--keep-command", "sh -c 'exec /opt/other/run'"), {"/opt/other/run"}),
        (("--compiling",), {"/usr/include/x.h"}),
        (("--no-compiling",), set()),
        (("--level", "file", "--keep-command", "/opt/tool/run", "--budget", "0"), {"/opt/tool/run", "/opt/tool/data"}),
        (("--level", "file", "--budget", "0"), set()),
    ],
)
def test_what_a_plan_is_told_to_keep(image: Path, arguments: tuple[str, ...], kept: set[str]) -> None:
    """Each option adds to the profile's rules; without any, what nobody used goes with its components."""
    assert planned(image, *arguments)[1] == ALL - kept


def test_the_level_is_package_unless_one_is_named(image: Path) -> None:
    """A component that was used stays whole."""
    plan, gone = planned(image, accesses=("/opt/tool/run",))
    assert (plan.level, gone) == ("package", {"/opt/other/run", "/var/log/log", "/usr/include/x.h"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--keep-package", "vim"), ("--keep-package vim", "KIND:NAME")),
        (("--keep-package", "deb:vim"), ("--keep-package deb:vim", "deb is not a kind of package")),
        (("--keep-package", "dpkg:"), ("--keep-package dpkg:",)),
        (("--keep-package", ":vim"), ("--keep-package :vim",)),
        (("--keep-cruft", "nonsense"), ("--keep-cruft nonsense", "docs/cruft.md")),
        (("--keep-cruft", "man-page"), ("--keep-cruft man-page", "did you mean man-pages")),
        (("--keep-command", "tini 'jupyter"), ("--keep-command tini 'jupyter",)),
        (("--keep-command", " "), ("--keep-command", "jupyter")),
        (("--keep", "relative"), ("--keep relative",)),
    ],
)
def test_an_option_that_cannot_be_understood(image: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    """One line that names it, one that says how it is written; no plan."""
    trace = image.parent / "trace.json"
    trace.write_bytes(encode_trace(trace_for(scan(os.fsencode(image.resolve())), [])))
    output = image.parent / "plan.json"
    assert_error(slimagent("plan", "--quiet", "--root", image, trace, "-o", output, *arguments), 2, *words)
    assert not output.exists()


@pytest.mark.parametrize("budget", ["-1", "many", "1.5"])
def test_a_budget_that_is_none(image: Path, budget: str) -> None:
    """Bytes are a whole number, 0 or more."""
    done = slimagent("plan", "--budget", budget, image)
    assert done.returncode == 2
    assert "--budget" in done.stderr


def test_a_plan_alone_is_explained_by_what_is_largest(document: Path) -> None:
    """What goes and what stays, each with its size and its reason; the same for scripts."""
    shown = slimagent("explain", document).stdout.splitlines()
    gone = shown.index("the largest that go, in bytes that go")
    stays = shown.index("the largest that stay, in bytes that stay")
    assert shown[gone + 1].split() == ["1.0", "kB", "dpkg:two"] and "no test used it" in shown[gone + 2]
    assert any(line.split()[-1] == "dpkg:tool" for line in shown[stays:])
    found = json.loads(slimagent("explain", document, "--json").stdout)
    assert {each["what"] for each in found["drop"]} >= {"dpkg:two"}
    assert all(each["size"] and each["reason"] for verdict in ("drop", "keep") for each in found[verdict])
    sizes = [each["size"] for each in found["keep"]]
    assert sizes == sorted(sizes, reverse=True)


def test_a_directory_lists_what_is_in_it(document: Path) -> None:
    """With all that is below it: what stays, what goes, and the reason of most of its bytes."""
    lines = explained(document, "/usr")
    assert lines[0] == "/usr  keep"
    at = lines.index("")
    assert [line.split()[:7] for line in lines[at + 1 :]] == [
        ["size", "stays", "goes", "mostly", "because"],
        ["2.0", "kB", "0", "B", "2.0", "kB", "/usr/share"],
        ["1.0", "kB", "1.0", "kB", "0", "B", "/usr/bin"],
        ["1.0", "kB", "1.0", "kB", "0", "B", "/usr/lib"],
        ["4.0", "kB", "2.0", "kB", "2.0", "kB", "/usr"],
    ]
    assert lines[-1].endswith("8 paths in all")
    assert "executed in smoke" in lines[at + 3]
    by_name = explained(document, "/usr", "--sort", "name", "--most", "1")
    assert [line.split()[6] for line in by_name[at + 2 :]] == ["/usr/bin", "…", "/usr"]
    assert by_name[-2].endswith("… and 2 more  --most 3 lists all")


def test_a_pattern_lists_what_matches(document: Path) -> None:
    """As in a rule: * stays in one directory, ** spans any number. JSON has every match, and what would keep it."""
    lines = explained(document, "/usr/**/t*o", "/usr/*/tool")
    assert [line.split()[-1] for line in lines if line.startswith("1.0 kB")].count("all") == 2
    (found,) = json.loads(slimagent("explain", document, "/usr/share/**/*", "--json", "--most", "1").stdout)
    assert (found["what"], found["size"], found["kept"]) == ("/usr/share/**/*", 2000, 0)
    assert {each["what"]: each["cost"] for each in found["places"] if each["size"]} == {
        "/usr/share/doc/README": "--keep /usr/share/doc/README keeps it, --keep-cruft some all that this rule drops",
        "/usr/share/two": "--keep-package dpkg:two keeps it, 1.0 kB",
    }
    assert_error(slimagent("explain", document, "/usr/*.so"), 2, "no path of the plan matches /usr/*.so")


def test_a_name_with_a_star_is_a_path(tmp_path: Path) -> None:
    """If the image has it."""
    write(tmp_path / "root", "/usr/a*", b"x")
    plan = plan_of(tmp_path / "root", [], [access("/usr/a*", How.OPENED)], Rules())
    (tmp_path / "plan.json").write_bytes(encode_plan(plan))
    assert explained(tmp_path / "plan.json", "/usr/a*")[0] == "/usr/a*  keep"
