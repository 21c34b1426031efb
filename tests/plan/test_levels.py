"""What stays of packages, of what nobody owns, and of cruft, at each level: rules one by one, on real small trees."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import (
    Installed,
    access,
    build_library,
    cruft,
    evidence_for,
    files_kept,
    kinds,
    link,
    paths_with,
    plan_of,
    reason,
    staying,
    write,
)

from slimagent.inventory.owners import owners
from slimagent.model.edit import Edit
from slimagent.model.profile import CruftRule, KeepRule, LevelRule, PackageRule, Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import How
from slimagent.plan.decide import decide
from slimagent.plan.packages import EXCLUDES
from slimagent.plan.parts import Part, part
from slimagent.profiles import shipped as profiles

# Level file


def test_level_file_keeps_code_identity_and_what_is_small(tmp_path: Path) -> None:
    """Data stays up to the budget, code far beyond, extras not; of a Python package that is only required as well."""
    files = {"code.py": 50, "large.dat": 50, "small.bin": 10, "page.html": 10, "empty": 0, "read.tab": 50}
    packages = []
    for name, requires in (("used", ["python:needed"]), ("needed", [])):
        for path, length in (*files.items(), ("dist-info/METADATA", 5000)):
            write(tmp_path, f"/site/{name}/{path}", b"x" * length)
        mine = [f"/site/{name}/{path}" for path in files]
        packages.append(Installed(f"python:{name}", mine, [f"/site/{name}/dist-info/METADATA"], requires))
    plan = plan_of(tmp_path, packages, ["/site/used/read.tab"], Rules(budget=10), level="file")
    assert kinds(plan, *(f"/site/used/{each}" for each in (*files, "dist-info/METADATA"))) == [
        "code", "too-large", "small", "unused", "small", "opened", "identity"
    ]  # fmt: skip
    assert kinds(plan, *(f"/site/needed/{each}" for each in (*files, "dist-info/METADATA"))) == [
        "code", "too-large", "small", "unused", "small", "too-large", "identity"
    ]  # fmt: skip
    write(tmp_path, "/site/used/code.py", b"x" * 400)
    tight = plan_of(tmp_path, packages, ["/site/used/read.tab"], Rules(budget=1), level="file")
    assert kinds(tight, "/site/used/code.py", "/site/used/large.dat") == ["too-large", "too-large"]


def test_a_debian_package_that_is_only_required_can_do_its_job(tmp_path: Path) -> None:
    """It keeps its programs, its code and what that loads, but no data, plugins or programs in its own place.

    An essential one keeps its programs, too.
    """
    loaded, plugin = "/usr/share/b/auto/x/x.so", "/usr/lib/b/plugin.so"
    of_b = ("/usr/bin/b", "/usr/share/b/x.pm", "/usr/share/b/x.dat", "/usr/lib/b/own", loaded, plugin)
    for path in ("/usr/bin/a", *of_b, "/usr/bin/c"):
        write(tmp_path, path, b"x" * 50, 0o644 if "share" in path else 0o755)
    packages = [
        Installed("dpkg:a", ["/usr/bin/a"], requires=["dpkg:b"]),
        Installed("dpkg:b", list(of_b)),
        Installed("dpkg:c", ["/usr/bin/c"], essential=True),
    ]
    plan = plan_of(tmp_path, packages, ["/usr/bin/a"], Rules(budget=10), level="file")
    assert kinds(plan, "/usr/bin/a", "/usr/bin/b", "/usr/bin/c") == ["opened", "binary", "binary"]
    assert kinds(plan, *of_b[1:]) == ["code", "too-large", "too-large", "binary", "too-large"]


def test_an_unread_plugin_is_weighed_with_what_only_it_needs(tmp_path: Path) -> None:
    """Of two plugins as small, the one whose library is large goes, unless something else needs that library too."""
    small = build_library(tmp_path, "/lib/libsmall.so")
    large = build_library(tmp_path, "/lib/liblarge.so")
    with large.open("ab") as file:
        file.truncate(3_000_000)
    build_library(tmp_path, "/p/with_small.so", needs=["/lib/libsmall.so"])
    build_library(tmp_path, "/p/with_large.so", needs=["/lib/liblarge.so"])
    write(tmp_path, "/p/read")
    mine = ["/p/read", "/p/with_small.so", "/p/with_large.so", "/lib/libsmall.so", "/lib/liblarge.so"]
    budget = (small.stat().st_size * 4) // 1000 + 1
    packages = [Installed("dpkg:p", mine)]
    plan = plan_of(tmp_path, packages, ["/p/read"], Rules(budget=budget), level="file")
    assert kinds(plan, *mine[1:]) == ["binary", "too-large", "binary", "too-large"]
    plan = plan_of(tmp_path, packages, ["/p/read", "/lib/liblarge.so"], Rules(budget=budget), level="file")
    assert kinds(plan, *mine[1:]) == ["binary", "binary", "binary", "opened"]


def test_what_several_gone_distributions_shared_cannot_be_imported(tmp_path: Path) -> None:
    """A namespace directory is nobody's and goes with the last of them, its site directory does not."""
    for name in ("one", "two"):
        write(tmp_path, f"/env/site-packages/space/{name}/m.py")
    packages = [
        Installed(f"python:{name}", [f"/env/site-packages/space/{name}", f"/env/site-packages/space/{name}/m.py"])
        for name in ("one", "two")
    ]
    plan = plan_of(tmp_path, packages)
    assert kinds(plan, "/env/site-packages/space", "/env/site-packages") == ["folder-gone", "folder"]
    plan = plan_of(tmp_path, packages, ["/env/site-packages/space/two/m.py"])
    assert kinds(plan, "/env/site-packages/space/one", "/env/site-packages/space") == ["folder-gone", "folder"]


@pytest.mark.parametrize(
    ("budget", "expected"), [(0, "unused"), (99, "unused"), (100, "small-unowned"), (None, "small-unowned")]
)
def test_what_nobody_owns_stays_at_level_file_if_it_is_small(tmp_path: Path, budget: int | None, expected: str) -> None:
    """Up to the budget, which has a default."""
    write(tmp_path, "/etc/file", b"x" * 100)
    assert kinds(plan_of(tmp_path, rules=Rules(budget=budget), level="file"), "/etc/file") == [expected]


@pytest.mark.parametrize(
    ("path", "mode", "kind", "expected"),
    [
        (b"/x/m.py", 0o644, "python", Part.CODE),
        (b"/x/m.pyc", 0o644, "python", Part.DATA),
        (b"/x/libm.so.1.2", 0o644, "dpkg", Part.BINARY),
        (b"/x/libm.so.txt", 0o644, "dpkg", Part.DATA),
        (b"/usr/bin/tool", 0o755, "dpkg", Part.BINARY),
        (b"/usr/share/data", 0o644, "dpkg", Part.DATA),
        (b"/env/lib/python3.12/site-packages/torch/bin/protoc", 0o755, "python", Part.DATA),
        (b"/env/bin/tool", 0o755, "python", Part.BINARY),
        (b"/env/lib/python3.12/site-packages/x/logo.PNG", 0o644, "python", Part.EXTRA),
        (b"/env/lib/python3.12/site-packages/x/templates/report.html", 0o644, "python", Part.SINGLE),
        (b"/env/lib/python3.12/site-packages/x/descr/iris.rst", 0o644, "python", Part.SINGLE),
        (b"/usr/lib/R/site-library/x/htmlwidgets/x.js", 0o644, "r", Part.SINGLE),
        (b"/env/lib/python3.12/site-packages/x/labextension/static/x.js", 0o644, "python", Part.EXTRA),
        (b"/env/lib/python3.12/site-packages/jupyterlab/static/x.js", 0o644, "python", Part.EXTRA),
        (b"/env/share/jupyter/lab/static/x.js", 0o644, "python", Part.EXTRA),
        (b"/lib/R/library/x/R/x.rdb", 0o644, "r", Part.CODE),
        (b"/lib/R/library/x/help/x.rdb", 0o644, "r", Part.DATA),
        (b"/n/node_modules/x/lib/x.js", 0o644, "npm", Part.CODE),
        (b"/n/node_modules/x/dist/x.min.js", 0o644, "npm", Part.EXTRA),
        (b"/n/node_modules/x/umd/x.js", 0o644, "npm", Part.EXTRA),
        (b"/n/node_modules/x/x.js.map", 0o755, "npm", Part.EXTRA),
        (b"/odd\n\xff.py", 0o644, "dpkg", Part.CODE),
    ],
)
def test_code_is_told_from_data_and_extras(path: bytes, mode: int, kind: str, expected: Part) -> None:
    """By name and mode, as each kind of package has its code."""
    assert part(path, mode, kind) is expected


# Levels by directory


def test_a_level_for_a_directory(tmp_path: Path) -> None:
    """Each file has the level of the last rule that matches it, or else the plan's."""
    for path in ("/a/one", "/b/two", "/b/c/three"):
        write(tmp_path, path, b"x" * 100)
    rules = Rules(
        levels=(
            LevelRule(pattern="/b/**", level="package", why="w"),
            LevelRule(pattern="/b/c/**", level="file", why="w"),
        ),
        budget=0,
    )
    assert kinds(plan_of(tmp_path, rules=rules, level="file"), "/a/one", "/b/two", "/b/c/three") == [
        "tree-unused", "unowned", "tree-unused"
    ]  # fmt: skip
    reverse = replace(rules, levels=rules.levels[::-1])
    assert kinds(plan_of(tmp_path, rules=reverse, level="cruft"), "/a/one", "/b/two", "/b/c/three") == [
        "no-cruft", "unowned", "unowned"
    ]  # fmt: skip


@pytest.mark.parametrize(("level", "kind"), [("file", "unowned"), ("package", "unowned"), ("cruft", "no-cruft")])
def test_at_least_a_level(tmp_path: Path, level: str, kind: str) -> None:
    """A shipped profile can ask for more than the level keeps, and never for less."""
    write(tmp_path, "/b/two", b"x" * 100)
    rules = Rules(levels=(LevelRule(pattern="/b/**", level="package", why="w", at_least=True),), budget=0)
    assert kinds(plan_of(tmp_path, rules=rules, level=level), "/b/two") == [kind]


def test_level_cruft_takes_no_package_away(tmp_path: Path) -> None:
    """Untouched packages stay with their records, those without a file too; only cruft goes."""
    write(tmp_path, "/usr/bin/tool")
    write(tmp_path, "/usr/share/doc/tool/README")
    write(tmp_path, "/usr/share/tool/empty", "")
    packages = [
        Installed(
            "dpkg:tool",
            ["/usr/bin/tool", "/usr/share/doc/tool/README", "/usr/share/tool/empty"],
            records=[(b"/status", "dpkg-status", "tool:amd64")],
        ),
        Installed("dpkg:meta", records=[(b"/status", "dpkg-status", "meta:amd64")]),
    ]
    rules = Rules(cruft=(cruft("/usr/share/doc/**"),))
    plan = plan_of(tmp_path, packages, rules=rules, level="cruft")
    assert {name: why.kind for name, why in staying(plan).items()} == {"dpkg:tool": "no-cruft", "dpkg:meta": "no-cruft"}
    assert paths_with(plan, Verdict.DROP) == {b"/usr/share/doc/tool/README"}
    assert plan.edits == ()
    by_directory = Rules(levels=(LevelRule(pattern="/usr/bin/**", level="cruft", why="w"),))
    plan = plan_of(tmp_path, packages, rules=by_directory)
    assert staying(plan).keys() == {"dpkg:tool"}
    assert [each.keys for each in plan.edits] == [("meta:amd64",)]


# Cruft


def test_the_conditions_of_cruft(tmp_path: Path) -> None:
    """Excepted paths stay; bytecode needs its source; some rules are for packages' files only."""
    for path in (
        "/p/a.txt",
        "/p/keep.txt",
        "/u/a.txt",
        "/p/m.py",
        "/p/m.pyc",
        "/p/lone.pyc",
        "/p/__pycache__/m.c-1.pyc",
    ):
        write(tmp_path, path)
    owned = [f"/p/{each}" for each in ("a.txt", "keep.txt", "m.py", "m.pyc", "lone.pyc")]
    packages = [Installed("dpkg:p", owned)]
    rules = Rules(
        cruft=(
            CruftRule(
                name="text", patterns=("/**/*.txt",), excepted=("/**/keep.*",), when="of-package", why="w", risk="r"
            ),
            CruftRule(name="byte-code", patterns=("/**/*.pyc",), when="has-source", why="made again", risk="r"),
        )
    )
    plan = plan_of(tmp_path, packages, ["/p/m.py"], rules)
    assert paths_with(plan, Verdict.DROP) == {b"/p/a.txt", b"/p/m.pyc", b"/p/__pycache__/m.c-1.pyc"}
    assert reason(plan, "/p/m.pyc").detail == "byte-code: made again; risk: r"
    opted_out = plan_of(tmp_path, packages, ["/p/m.py"], replace(rules, kept_cruft=("text",)))
    assert paths_with(opted_out, Verdict.DROP) == {b"/p/m.pyc", b"/p/__pycache__/m.c-1.pyc"}


def test_a_second_copy_is_cruft_where_the_first_one_is(tmp_path: Path) -> None:
    """The same name and size in share/jupyter of the same environment; a file of another size or place is none."""
    inside = "/e/lib/python3.12/site-packages/x/labextension"
    for path, text in {
        f"{inside}/same.js": "abc",
        f"{inside}/other.js": "abcd",
        f"{inside}/lone.js": "abc",
        "/e/share/jupyter/labextensions/x/same.js": "xyz",
        "/e/share/jupyter/labextensions/x/other.js": "xyz",
        "/f/share/jupyter/labextensions/x/lone.js": "xyz",
        "/away/labextension/same.js": "abc",
    }.items():
        write(tmp_path, path, text)
    copies = CruftRule(name="copies", patterns=("/**/labextension/**",), when="has-copy", why="w", risk="r")
    plan = plan_of(tmp_path, rules=Rules(cruft=(copies,)))
    assert paths_with(plan, Verdict.DROP) == {f"{inside}/same.js".encode()}


@pytest.mark.parametrize(("name", "dropped"), [("nbclassic", False), ("voila", False), ("jupyterlab", True)])
def test_a_package_in_the_image_refutes_a_rule(tmp_path: Path, name: str, dropped: bool) -> None:
    """What an installed package reads is no cruft, whether anything used the package or not."""
    write(tmp_path, "/n/x.js")
    write(tmp_path, "/p/code.py")
    rule = CruftRule(
        name="pages", patterns=("/n/**",), unless_packages=("python:nbclassic", "*:voila*"), why="w", risk="r"
    )
    plan = plan_of(tmp_path, [Installed(f"python:{name}", ["/p/code.py"])], rules=Rules(cruft=(rule,)))
    assert (b"/n/x.js" in paths_with(plan, Verdict.DROP)) is dropped


@pytest.mark.parametrize("level", ["file", "package", "cruft"])
def test_what_was_used_is_no_cruft(tmp_path: Path, level: str) -> None:
    """Read, needed by what was read, or kept by a rule: it stays at every level."""
    write(tmp_path, "/c/read")
    write(tmp_path, "/c/script", "#!/c/inter\n", 0o755)
    write(tmp_path, "/c/inter", "x", 0o755)
    write(tmp_path, "/c/ruled")
    write(tmp_path, "/c/other")
    link(tmp_path, "/c/link", "other")
    rules = Rules(cruft=(cruft("/c/**"),), keep=(KeepRule(pattern="/c/ruled", why="w"),))
    plan = plan_of(tmp_path, accesses=["/c/read", "/c/script"], rules=rules, level=level)
    assert paths_with(plan, Verdict.DROP) == {b"/c/other", b"/c/link"}


def test_where_software_is_compiled_some_cruft_is_none(tmp_path: Path) -> None:
    """A rule can say so, and then it is as if it were not there."""
    write(tmp_path, "/usr/include/x.h")
    rules = Rules(cruft=(cruft("/usr/include/**", unless="compiling"),))
    assert kinds(plan_of(tmp_path, rules=rules), "/usr/include/x.h") == ["cruft"]
    assert kinds(plan_of(tmp_path, rules=replace(rules, compiling=True)), "/usr/include/x.h") == ["unowned"]


@pytest.mark.parametrize("level", ["file", "package", "cruft"])
def test_what_says_who_a_package_is_is_no_cruft(tmp_path: Path, level: str) -> None:
    """A rule that matches it by mistake takes it from no package that stays."""
    write(tmp_path, "/site/m.py")
    write(tmp_path, "/site/m.dist-info/tests/METADATA")
    packages = [Installed("python:m", ["/site/m.py"], ["/site/m.dist-info/tests/METADATA"])]
    rules = Rules(cruft=(cruft("/**/tests/**"),))
    plan = plan_of(tmp_path, packages, ["/site/m.py"], rules, level=level)
    assert paths_with(plan, Verdict.DROP) == set()


def test_a_hard_link_in_a_cache_goes(tmp_path: Path) -> None:
    """The installed name stays, the cache's goes: the bytes are there once more than needed by nobody."""
    write(tmp_path, "/env/lib/a")
    write(tmp_path, "/pkgs/a-1/lib/x")
    os.link(tmp_path / "env/lib/a", tmp_path / "pkgs/a-1/lib/a")
    os.link(tmp_path / "env/lib/a", tmp_path / "env/lib/twin")
    rules = Rules(cruft=(cruft("/pkgs/**"),), budget=0)
    plan = plan_of(tmp_path, accesses=["/env/lib/a"], rules=rules, level="file")
    assert kinds(plan, "/env/lib/a", "/env/lib/twin", "/pkgs/a-1/lib/a") == ["opened", "hard-link", "cruft"]
    assert kinds(plan_of(tmp_path, accesses=["/pkgs/a-1/lib/a"], rules=rules, level="file"), "/env/lib/a") == [
        "hard-link"
    ]


# Directories, links and empty files


def test_a_python_directory_whose_content_was_cruft_goes(tmp_path: Path) -> None:
    """An empty directory is a package to Python; with something in it, or in other software, it stays."""
    for path in ("/site/m/__init__.py", "/site/m/tests/sub/test_a.py", "/site/m/mixed/test_b.py", "/site/m/mixed/data"):
        write(tmp_path, path)
    write(tmp_path, "/lib2/x/tests/test_c")
    write(tmp_path, "/var/log/app/log")
    directories = ["/site/m", "/site/m/tests", "/site/m/tests/sub", "/site/m/mixed"]
    files = ["/site/m/__init__.py", "/site/m/tests/sub/test_a.py", "/site/m/mixed/test_b.py", "/site/m/mixed/data"]
    packages = [
        Installed("python:m", [*directories, *files]),
        Installed("dpkg:x", ["/lib2/x", "/lib2/x/tests", "/lib2/x/tests/test_c"]),
    ]
    rules = Rules(cruft=(cruft("/**/test_*", "/var/log/**"),), packages=(PackageRule(pattern="*:*", why="w"),))
    for level in ("file", "package", "cruft"):
        plan = plan_of(tmp_path, packages, rules=rules, level=level)
        assert kinds(plan, "/site/m/tests/sub", "/site/m/tests", "/site/m/mixed", "/site/m") == [
            "folder-gone", "folder-gone", "folder", "folder"
        ]  # fmt: skip
        assert [reason(plan, each).verdict for each in ("/lib2/x/tests", "/var/log/app")] == [Verdict.KEEP] * 2
    seen = plan_of(tmp_path, packages, [access("/site/m/tests", How.LISTED)], rules)
    assert reason(seen, "/site/m/tests").verdict is Verdict.KEEP


def test_of_a_gone_package_directories_links_and_empty_files_go(tmp_path: Path) -> None:
    """A package's own directories go to the last level; those that are nobody's stay, links to nowhere too."""
    for path in ("/R/ggplot2/DESCRIPTION", "/R/ggplot2/R/code", "/node_modules/x/package.json", "/R/dplyr/DESCRIPTION"):
        write(tmp_path, path)
    write(tmp_path, "/node_modules/x/__init__.py", "")
    write(tmp_path, "/node_modules/x/none/__init__.py", "")
    link(tmp_path, "/bin/x", "../node_modules/x/package.json")
    link(tmp_path, "/bin/unowned", "../node_modules/x/package.json")
    packages = [
        Installed("r:ggplot2", ["/R/ggplot2", "/R/ggplot2/R", "/R/ggplot2/R/code"], ["/R/ggplot2/DESCRIPTION"]),
        Installed("r:dplyr", ["/R/dplyr"], ["/R/dplyr/DESCRIPTION"]),
        Installed(
            "npm:x",
            [
                "/node_modules/x",
                "/node_modules/x/__init__.py",
                "/node_modules/x/none",
                "/node_modules/x/none/__init__.py",
                "/bin/x",
            ],
            ["/node_modules/x/package.json"],
        ),
    ]
    rules = Rules(packages=(PackageRule(pattern="r:dplyr", why="w"),))
    plan = plan_of(tmp_path, packages, rules=rules)
    assert kinds(plan, "/R/ggplot2", "/R/ggplot2/R", "/node_modules/x", "/node_modules/x/none") == ["folder-gone"] * 4
    assert (
        kinds(plan, "/node_modules/x/__init__.py", "/node_modules/x/none/__init__.py", "/bin/x") == ["package-gone"] * 3
    )
    assert kinds(plan, "/R", "/node_modules", "/bin/unowned", "/bin") == ["folder", "folder", "symbolic-link", "folder"]
    assert reason(plan, "/R/dplyr").verdict is Verdict.KEEP


@pytest.mark.parametrize("seen", [True, False])
def test_a_node_program_that_is_used_keeps_its_dependencies(tmp_path: Path, seen: bool) -> None:
    """One that nothing used loses them, and no more: its author's manifest stays as the code beside it does."""
    write(tmp_path, "/srv/app/main.js")
    write(tmp_path, "/srv/app/package.json", '{"dependencies": {"used": "1"}}')
    for name in ("used", "stray"):
        write(tmp_path, f"/srv/app/node_modules/{name}/package.json", "{}")
        write(tmp_path, f"/srv/app/node_modules/{name}/lib.js", "1")
    evidence = evidence_for(tmp_path, ["/srv/app/package.json"] if seen else [])
    plan = decide(replace(evidence, owners=owners(evidence.inventory), rules=Rules()), "package")
    kept = {"/srv/app/main.js", "/srv/app/package.json"}
    needed = {f"/srv/app/node_modules/used/{each}" for each in ("package.json", "lib.js")} if seen else set()
    assert files_kept(plan, tmp_path) == kept | needed


@pytest.mark.parametrize("packed", [True, False])
def test_what_rstudio_brings_for_copilot_stays_with_a_debian_package_alone(tmp_path: Path, packed: bool) -> None:
    """Of a package that is used all stays; unpacked by hand, Node and Copilot are components that nothing requires."""
    directory = "/usr/lib/rstudio-server/bin"
    needed = {f"{directory}/rserver", f"{directory}/rsession", f"{directory}/quarto/bin/quarto"}
    extra = {f"{directory}/node/bin/node", f"{directory}/copilot-language-server/main.js"}
    for path in needed | extra:
        write(tmp_path, path)
    packages = [Installed("dpkg:rstudio-server", sorted(needed | extra))] if packed else []
    plan = plan_of(tmp_path, packages, [f"{directory}/rserver"])
    assert files_kept(plan, tmp_path) == needed | (extra if packed else set())


# Edits


def test_the_records_of_gone_packages(tmp_path: Path) -> None:
    """Each database loses the keys of what goes, by file and kind, sorted."""
    for name in ("a", "b", "c", "d"):
        write(tmp_path, f"/{name}")
    packages = [
        Installed("dpkg:c", ["/c"], records=[(b"/status", "dpkg-status", "c:amd64")]),
        Installed("dpkg:a", ["/a"], records=[(b"/status", "dpkg-status", "a:amd64")]),
        Installed("dpkg:b", ["/b"], records=[(b"/status", "dpkg-status", "b:amd64")]),
        Installed("vscode:d", ["/d"], records=[(b"/x/extensions.json", "vscode-extensions", "p.d")]),
    ]
    assert plan_of(tmp_path, packages, ["/b"]).edits == (
        Edit(path=b"/status", kind="dpkg-status", keys=("a:amd64", "c:amd64")),
        Edit(path=b"/x/extensions.json", kind="vscode-extensions", keys=("p.d",)),
    )


def test_alternatives_lose_what_is_gone(tmp_path: Path) -> None:
    """A choice goes with its file: where the package goes, and where only the file does; by a path over links too."""
    for name in ("vim.basic", "vim.tiny", "nano", "ed"):
        write(tmp_path, f"/usr/bin/{name}", b"x" * 100)
    link(tmp_path, "/bin", "usr/bin")
    group = b"/var/lib/dpkg/alternatives/editor"
    packages = [
        Installed("dpkg:vim", ["/usr/bin/vim.basic"], records=[(group, "dpkg-alternatives", "/usr/bin/vim.basic")]),
        Installed("dpkg:tiny", ["/usr/bin/vim.tiny"], records=[(group, "dpkg-alternatives", "/usr/bin/vim.tiny")]),
        Installed(
            "dpkg:nano",
            ["/usr/bin/nano", "/usr/bin/ed"],
            records=[(group, "dpkg-alternatives", f"/bin/{name}") for name in ("nano", "ed")],
        ),
    ]
    plan = plan_of(tmp_path, packages, ["/usr/bin/vim.basic", "/usr/bin/nano"], Rules(budget=0), level="file")
    assert paths_with(plan, Verdict.DROP) == {b"/usr/bin/vim.tiny", b"/usr/bin/ed"}
    assert plan.edits == (Edit(path=group, kind="dpkg-alternatives", keys=("/bin/ed", "/usr/bin/vim.tiny")),)


def test_what_dpkg_leaves_out_from_now_on(tmp_path: Path) -> None:
    """Lines for the rules by which files of kept dpkg packages went, and for no others."""
    write(tmp_path, "/usr/share/man/man1/tool.1")
    write(tmp_path, "/usr/share/doc/tool/copyright")
    write(tmp_path, "/usr/share/doc/gone/README")
    write(tmp_path, "/site/doc/README")
    packages = [
        Installed("dpkg:tool", ["/usr/share/man/man1/tool.1", "/usr/share/doc/tool/copyright"]),
        Installed("dpkg:gone", ["/usr/share/doc/gone/README"]),
        Installed("python:m", ["/site/doc/README"]),
    ]
    documentation = CruftRule(
        name="documentation",
        patterns=("/**/doc/**",),
        excepted=("/**/doc/**/copyright*",),
        why="w",
        risk="r",
        keep_out=True,
    )
    rules = Rules(
        cruft=(
            CruftRule(
                name="man",
                patterns=("/**/share/man/**", "/usr/man/**", "/usr/share/[odd]/**/x?"),
                excepted=("/usr/share/man/**/keep*",),
                why="w",
                risk="r",
                keep_out=True,
            ),
            documentation,
        ),
        packages=(PackageRule(pattern="dpkg:tool", why="w"), PackageRule(pattern="python:m", why="w")),
    )
    plan = plan_of(tmp_path, packages, rules=rules)
    assert paths_with(plan, Verdict.DROP) >= {b"/usr/share/man/man1/tool.1", b"/site/doc/README"}
    (edit,) = plan.edits
    assert (edit.path, edit.kind) == (EXCLUDES, "dpkg-exclude")
    assert edit.keys == (
        "path-exclude=/*/share/man/*",
        "path-exclude=/usr/man/*",
        "path-exclude=/usr/share/[[]odd]/*/x?",
        "path-include=/usr/share/man/*/keep*",
    )
    not_kept_out = replace(rules, cruft=tuple(replace(rule, keep_out=False) for rule in rules.cruft))
    assert plan_of(tmp_path, packages, rules=not_kept_out).edits == ()


@pytest.mark.parametrize("compiling", [True, False])
def test_where_software_is_compiled_all_that_compiling_needs_stays(tmp_path: Path, compiling: bool) -> None:
    """By the shipped rules: also headers that nothing in the test was compiled against, and a compiler."""
    paths = ["/usr/include/x.h", "/usr/lib/libx.a", "/usr/bin/cxx", "/usr/bin/editor"]
    for path in paths:
        write(tmp_path, path)
    packages = [
        Installed("dpkg:libx-dev", paths[:2], section="libdevel"),
        Installed("dpkg:cxx", paths[2:3], section="devel"),
        Installed("dpkg:editor", paths[3:], section="editors"),
    ]
    rules = replace(profiles.load("base").rules, compiling=compiling)
    for level in ("package", "file"):
        plan = plan_of(tmp_path, packages, rules=rules, level=level)
        assert kinds(plan, *paths) == ([*["package"] * 3] if compiling else ["package-gone"] * 3) + ["package-gone"]
