"""npm packages: what the reader finds is what npm itself lists and Node loads; hostile trees never crash it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import link, write

from slimagent.inventory import npm
from slimagent.inventory.reader import Image
from slimagent.inventory.rows import innermost
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found


def image_of(root: Path) -> Image:
    return Image(scan(os.fsencode(root)))


def find(root: Path) -> list[Found]:
    image = image_of(root)
    found = npm.find(image)
    assert image.problems == []
    return found


def by_location(found: list[Found]) -> dict[str, Found]:
    """The packages by their location in the image."""
    return {f"{os.fsdecode(each.package.place).rstrip('/')}/node_modules/{each.package.name}": each for each in found}


def paths(root: Path, each: Found) -> list[str]:
    inventory = scan(os.fsencode(root))
    return [os.fsdecode(inventory.paths[at]) for at in each.files]


def required(found: list[Found], location: str) -> list[str]:
    """The locations of what a package requires."""
    locations = list(by_location(found))
    return [locations[at] for at, _ in by_location(found)[location].requires]


def module(root: Path, directory: str, **manifest: Any) -> Path:
    """A package's directory with its manifest and some code."""
    write(root, f"{directory}/index.js", "module.exports = 1;\n")
    return write(root, f"{directory}/package.json", json.dumps(manifest))


@pytest.fixture(scope="module")
def tool() -> str:
    found = shutil.which("npm")
    if found is None:
        reason = "no npm: install Node.js and npm"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(tool: str, directory: Path, *arguments: str, home: Path) -> str:
    done = subprocess.run(
        [tool, *arguments, "--offline", "--no-audit", "--no-fund", "--no-update-notifier"],
        cwd=directory,
        env={**os.environ, "npm_config_cache": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def pack(tool: str, source: Path, home: Path, **manifest: Any) -> str:
    """A tarball that `npm pack` makes; its path."""
    directory = source / f"{manifest['name'].replace('/', '-')}-{manifest['version']}"
    module(directory, "", **manifest)
    write(directory, "/cli.js", "#!/usr/bin/env node\n", 0o755)
    for name in manifest.get("bundleDependencies", []):
        module(directory, f"/node_modules/{name}", name=name, version="2.0.0")
    made = run(tool, directory, "pack", "--json", f"--pack-destination={source}", home=home)
    return str(source / json.loads(made)[0]["filename"])


@pytest.fixture(scope="module")
def installed(tool: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project into which npm installed tarballs (one bundles another version), a link, and one global package."""
    root, source, home = (tmp_path_factory.mktemp(name) for name in ("image", "source", "home"))
    leaf = pack(tool, source, home, name="leaf", version="1.0.0", bin={"leaf": "cli.js"})
    scoped = pack(tool, source, home, name="@scope/mid", version="1.5.0", dependencies={"leaf": "^1.0.0"})
    keeps = {"dependencies": {"leaf": "^2.0.0"}, "bundleDependencies": ["leaf"]}
    nested = pack(tool, source, home, name="nested", version="3.0.0", **keeps)
    module(root, "/srv/linked", name="linked", version="0.0.1", dependencies={"leaf": "*"}, bin="index.js")
    wanted = {"leaf": f"file:{leaf}", "@scope/mid": f"file:{scoped}", "nested": f"file:{nested}"}
    wanted["linked"] = "file:../linked"
    module(root, "/srv/app", name="app", version="1.0.0", dependencies=wanted)
    run(tool, root / "srv/app", "install", home=home)
    run(tool, root / "srv/app", "install", "--global", f"--prefix={root}/usr/local", leaf, home=home)
    return root


def test_it_finds_what_npm_lists(installed: Path, tool: str, tmp_path: Path) -> None:
    listed = run(tool, installed / "srv/app", "query", "*", home=tmp_path)
    rows = [row for row in json.loads(listed) if row["location"].startswith("node_modules/")]
    assert {(f"/srv/app/{row['location']}", row["version"]) for row in rows if row["name"] != "linked"} == {
        (location, each.package.version)
        for location, each in by_location(find(installed)).items()
        if location.startswith("/srv/app/") and each.package.name != "linked"
    }
    assert len(rows) >= 4


def test_each_file_is_one_packages(installed: Path) -> None:
    found = by_location(find(installed))
    nested, inner = found["/srv/app/node_modules/nested"], found["/srv/app/node_modules/nested/node_modules/leaf"]
    assert inner.package.version == "2.0.0"
    assert inner.package.place == b"/srv/app/node_modules/nested"
    assert paths(installed, nested) == [
        "/srv/app/node_modules/nested",
        "/srv/app/node_modules/nested/cli.js",
        "/srv/app/node_modules/nested/index.js",
        "/srv/app/node_modules/nested/node_modules",
        "/srv/app/node_modules/nested/package.json",
    ]
    assert "/srv/app/node_modules/nested/node_modules/leaf/index.js" in paths(installed, inner)
    assert nested.identity == inner.identity == []
    assert "/srv/app" not in {path for each in found.values() for path in paths(installed, each)}


def test_links_to_programs_belong_to_their_package(installed: Path) -> None:
    found = by_location(find(installed))
    assert "/srv/app/node_modules/.bin/leaf" in paths(installed, found["/srv/app/node_modules/leaf"])
    assert "/usr/local/bin/leaf" in paths(installed, found["/usr/local/lib/node_modules/leaf"])


def test_a_nested_package_has_its_links_inside_another(tmp_path: Path) -> None:
    module(tmp_path, "/srv/node_modules/outer")
    module(tmp_path, "/srv/node_modules/outer/node_modules/inner")
    link(tmp_path, "/srv/node_modules/outer/node_modules/.bin/inner", "../inner/index.js")
    link(tmp_path, "/srv/node_modules/outer/shortcut", "node_modules/inner/index.js")
    outer, inner = find(tmp_path)
    assert "/srv/node_modules/outer/node_modules/.bin/inner" in paths(tmp_path, inner)
    assert "/srv/node_modules/outer/node_modules/.bin/inner" not in paths(tmp_path, outer)
    assert "/srv/node_modules/outer/shortcut" in paths(tmp_path, outer)
    assert "/srv/node_modules/outer/shortcut" not in paths(tmp_path, inner)


def test_a_linked_package_owns_the_link_alone(installed: Path) -> None:
    found = find(installed)
    linked = by_location(found)["/srv/app/node_modules/linked"]
    assert paths(installed, linked) == ["/srv/app/node_modules/.bin/linked", "/srv/app/node_modules/linked"]
    assert linked.missing == ["leaf@*"]  # Node looks from where the link leads to


def test_requirements_are_found_where_node_finds_them(installed: Path) -> None:
    found = find(installed)
    assert required(found, "/srv/app/node_modules/@scope/mid") == ["/srv/app/node_modules/leaf"]
    assert required(found, "/srv/app/node_modules/nested") == ["/srv/app/node_modules/nested/node_modules/leaf"]
    assert by_location(found)["/srv/app/node_modules/nested"].requires[0][1] == "leaf@^2.0.0"


def test_the_lock_file_names_them(installed: Path) -> None:
    lock = "/srv/app/node_modules/.package-lock.json"
    keys = set(json.loads((installed / lock[1:]).read_bytes())["packages"]) - {"../linked"}
    found = by_location(find(installed))
    records = [record for each in found.values() for record in each.records]
    assert {key for path, kind, key in records if (path, kind) == (lock.encode(), "npm-lock")} == keys
    inner = found["/srv/app/node_modules/nested/node_modules/leaf"]
    assert inner.records == [(lock.encode(), "npm-lock", "node_modules/nested/node_modules/leaf")]
    # A global installation has a lock file too: its keys start at the directory above node_modules.
    for path, _, key in found["/usr/local/lib/node_modules/leaf"].records:
        assert (path, key) == (b"/usr/local/lib/node_modules/.package-lock.json", "node_modules/leaf")


def test_optional_dependencies_that_are_there_are_required(tmp_path: Path) -> None:
    both = {"dependencies": {"a": "1", "b": "2", "c": 3}, "optionalDependencies": {"b": "2", "d": "4"}}
    module(tmp_path, "/node_modules/x", name="x", version="1", peerDependencies={"p": "1"}, **both)
    module(tmp_path, "/node_modules/d")
    module(tmp_path, "/node_modules/p")
    found = find(tmp_path)
    assert required(found, "/node_modules/x") == ["/node_modules/d"]
    assert by_location(found)["/node_modules/x"].missing == ["a@1", "c"]
    assert found[0].package.place == b"/"
    assert (found[0].package.name, found[0].package.version) == ("d", "")


def test_a_store_with_links_to_it(tmp_path: Path) -> None:
    """pnpm keeps every package in a directory of its own; what it may use is linked beside it."""
    store = "/app/node_modules/.pnpm"
    module(tmp_path, f"{store}/a@1/node_modules/a", dependencies={"b": "^1"})
    module(tmp_path, f"{store}/b@1/node_modules/b", version="1.0.0")
    module(tmp_path, f"{store}/b@2/node_modules/b", version="2.0.0")
    link(tmp_path, f"{store}/a@1/node_modules/b", "../../b@1/node_modules/b")
    link(tmp_path, "/app/node_modules/a", ".pnpm/a@1/node_modules/a")
    found = find(tmp_path)
    assert list(by_location(found)) == [f"{store}/{x}/node_modules/{x[0]}" for x in ("a@1", "b@1", "b@2")]
    assert required(found, f"{store}/a@1/node_modules/a") == [f"{store}/b@1/node_modules/b"]
    assert "/app/node_modules/a" in paths(tmp_path, found[0])
    assert f"{store}/a@1/node_modules/b" in paths(tmp_path, found[1])


def program(root: Path, directory: str, **manifest: Any) -> None:
    """A program beside its own `node_modules`: its manifest and some code."""
    module(root, directory, **manifest)
    (root / directory.lstrip("/") / "node_modules").mkdir(exist_ok=True)


def named(root: Path) -> dict[str, list[str]]:
    """What each package requires, by name and place; and no program has more than its manifest."""
    found = find(root)
    titles = [f"{each.package.name} in {os.fsdecode(each.package.place)}" for each in found]
    return {title: [titles[at] for at, _ in each.requires] for title, each in zip(titles, found, strict=True)}


def test_a_program_outside_of_node_modules_requires_what_its_manifest_names(tmp_path: Path) -> None:
    """As code-server's archive lays it out: two programs, one in the other, and a third in that, each with its own."""
    top = "/usr/lib/code-server"
    program(tmp_path, top, version="4.139.1", dependencies={"argon2": "^1", "gone": "1"})
    program(tmp_path, f"{top}/lib/vscode", dependencies={"rg": "1"}, devDependencies={"mocha": "1"})
    program(tmp_path, f"{top}/lib/vscode/extensions", dependencies={"typescript": "*", "rg": "1"})
    for location in ("argon2", "mocha", "lib/vscode/node_modules/rg", "lib/vscode/extensions/node_modules/typescript"):
        module(tmp_path, f"{top}/{location if '/' in location else f'node_modules/{location}'}")
    vscode, extensions = f"vscode in {top}/lib", f"extensions in {top}/lib/vscode"
    assert {title: wanted for title, wanted in named(tmp_path).items() if wanted} == {
        "code-server in /usr/lib": [f"argon2 in {top}", vscode],
        vscode: [f"rg in {top}/lib/vscode", extensions],
        extensions: [f"typescript in {extensions.partition(' in ')[2]}/extensions", f"rg in {top}/lib/vscode"],
    }
    whole = next(each for each in find(tmp_path) if each.package.name == "code-server")
    assert (whole.package.version, whole.missing) == ("4.139.1", ["gone@1"])
    assert paths(tmp_path, whole) == [f"{top}/package.json"]


def test_a_program_inside_a_package_is_a_part_of_it(tmp_path: Path) -> None:
    """As npm installs code-server: the package requires what its programs do, and they are no packages."""
    module(tmp_path, "/lib/node_modules/code-server")
    program(tmp_path, "/lib/node_modules/code-server/lib/vscode", dependencies={"rg": "1"})
    module(tmp_path, "/lib/node_modules/code-server/lib/vscode/node_modules/rg")
    assert named(tmp_path) == {
        "code-server in /lib": ["rg in /lib/node_modules/code-server/lib/vscode"],
        "rg in /lib/node_modules/code-server/lib/vscode": [],
    }


def test_a_program_at_the_root_and_one_whose_modules_are_elsewhere(tmp_path: Path) -> None:
    """`npm install` in an image without a working directory, and a `node_modules` that is a link to another place."""
    program(tmp_path, "/", name="x", dependencies={"a": "1"})
    module(tmp_path, "/node_modules/a")
    module(tmp_path, "/srv/app", dependencies={"b": "1"})
    module(tmp_path, "/deps/node_modules/b")
    link(tmp_path, "/srv/app/node_modules", "/deps/node_modules")
    assert named(tmp_path) == {
        "b in /deps": [],
        "a in /": [],
        "/ in /": ["a in /", "app in /srv"],
        "app in /srv": ["b in /deps"],
    }


def test_what_is_no_program(tmp_path: Path) -> None:
    """A manifest without `node_modules` beside it, one that is damaged, and one whose dependencies are no object."""
    module(tmp_path, "/srv/plain", dependencies={"a": "1"})
    program(tmp_path, "/srv/damaged")
    write(tmp_path, "/srv/damaged/package.json", '{"name": "x", "ver')
    program(tmp_path, "/srv/odd", dependencies=["a"])
    image = image_of(tmp_path)
    assert npm.find(image) == []
    assert [path for path, _ in image.problems] == [b"/srv/damaged/package.json", b"/srv/odd/package.json"]


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    for name, target in {"out": "../../../../etc", "loop": "loop", "gone": "gone2", "root": "/"}.items():
        link(tmp_path, f"/app/node_modules/{name}", target)
        link(tmp_path, f"/app/node_modules/.bin/{name}", f"../{name}/cli.js")
    assert find(tmp_path) == []
    write(tmp_path, "/package.json", "{}")
    (found,) = find(tmp_path)
    assert paths(tmp_path, found) == ["/app/node_modules/root"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"name": "x", "ver',
        "[]",
        "1",
        '"x"',
        '{"dependencies": ["a"]}',
        '{"optionalDependencies": 1}',
        "[" * 100000,
    ],
)
def test_a_damaged_manifest_is_a_problem_and_its_files_nobodys(tmp_path: Path, text: str) -> None:
    module(tmp_path, "/node_modules/outer", dependencies={"inner": "*", "fine": "*"})
    module(tmp_path, "/node_modules/outer/node_modules/inner").write_text(text)
    module(tmp_path, "/node_modules/outer/node_modules/inner/node_modules/fine")
    image = image_of(tmp_path)
    found = npm.find(image)
    assert [each.package.name for each in found] == ["outer", "fine"]
    assert [path for path, _ in image.problems] == [b"/node_modules/outer/node_modules/inner/package.json"]
    assert not [path for path in paths(tmp_path, found[0]) if "/inner" in path]
    assert found[0].missing == ["inner@*", "fine@*"]


def test_a_huge_manifest_is_not_read(tmp_path: Path) -> None:
    with module(tmp_path, "/node_modules/x").open("r+b") as file:
        file.truncate(1 << 32)
    image = image_of(tmp_path)
    assert npm.find(image) == []
    assert len(image.problems) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"packages": []}', '{"packages": {"node_modules/x": 1}', "{" * 5000])
def test_a_damaged_lock_file_is_a_problem(tmp_path: Path, text: str) -> None:
    module(tmp_path, "/node_modules/x")
    write(tmp_path, "/node_modules/.package-lock.json", text)
    image = image_of(tmp_path)
    (found,) = npm.find(image)
    assert found.records == []
    assert [path for path, _ in image.problems] == [b"/node_modules/.package-lock.json"]


def test_names_of_any_bytes_and_a_byte_order_mark(tmp_path: Path) -> None:
    directory = os.fsdecode(b"/node_modules/odd-\xff\n")
    module(tmp_path, directory).write_bytes(b'\xef\xbb\xbf{"name": "\\u0000", "version": 7}')
    module(tmp_path, "/node_modules/.cache/x")
    module(tmp_path, "/node_modules/@scope")
    (found,) = find(tmp_path)
    assert found.package.name == "odd-\\xff\\x0a"
    assert found.package.version == ""


def rows() -> st.SearchStrategy[list[tuple[int, int, int]]]:
    """Rows that lie beside or inside each other, as directories do."""

    def cut(start: int, stop: int, depth: int) -> st.SearchStrategy[list[tuple[int, int]]]:
        if depth == 0 or stop - start < 2:
            return st.just([(start, stop)])
        halves = st.integers(start + 1, stop - 1).flatmap(
            lambda at: (
                st.tuples(cut(start + 1, at, depth - 1), cut(at, stop, depth - 1))
                if at > start + 1
                else st.tuples(cut(at, stop, depth - 1))
            )
        )
        return halves.map(lambda parts: [(start, stop), *(row for part in parts for row in part)])

    return cut(0, 40, 4).map(lambda found: [(*row, number) for number, row in enumerate(found)])


@settings(max_examples=200, deadline=None)
@given(rows())
def test_each_entry_is_in_its_innermost_row(found: list[tuple[int, int, int]]) -> None:
    expected: dict[int, int] = {}
    for start, stop, owner in sorted(found, key=lambda row: row[0] - row[1]):  # the longest first, the inner over it
        expected.update(dict.fromkeys(range(start, stop), owner))
    assert {at: owner for start, stop, owner in innermost(found) for at in range(start, stop)} == expected
