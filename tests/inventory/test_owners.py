"""Whose file is it: several readers' answers as one table, and the files that no record names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from plan_images import Installed, link, reader, write

from slimagent.inventory.owners import READERS, owners
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found, Owners


def table_of(root: Path, *readers: Callable[[Image], list[Found]]) -> tuple[Owners, dict[str, set[str]]]:
    """The table, and the names of each entry's owners by path, those of unowned ones left out."""
    inventory = scan(os.fsencode(root.resolve()))
    table = owners(inventory, readers)
    named = [f"{each.kind}:{each.name}" for each in table.packages]
    found = {path.decode(): {named[each] for each in table.owners(at)} for at, path in enumerate(inventory.paths)}
    assert_sound(table, len(inventory))
    return table, {path: mine for path, mine in found.items() if mine}


def assert_sound(table: Owners, entries: int) -> None:
    """`of` and `more` say the same as `files`; the columns are as long as they have to be."""
    assert len(table.of) == len(table.weak) == entries
    lengths = {len(column) for column in (table.files, table.requires, table.missing, table.records, table.packages)}
    assert len(lengths) == 1
    by_entry = {at: set(table.owners(at)) for at in range(entries)}
    for number, files in enumerate(table.files):
        assert list(files) == sorted(set(files))
        assert all(number in by_entry[at] for at in files)
    assert sum(map(len, by_entry.values())) == sum(map(len, table.files))
    assert all(
        at < len(table.packages) and at != number for number, each in enumerate(table.requires) for at, _ in each
    )


def test_readers_answers_are_put_one_after_the_other(tmp_path: Path) -> None:
    """Indices count on over the readers; the first to claim an entry is its first owner, the others come after."""
    for path in ("/a", "/b", "/c", "/both"):
        write(tmp_path, path)
    first = reader([Installed("dpkg:a", ["/a", "/both"], requires=["dpkg:b"]), Installed("dpkg:b", ["/b"])])
    second = reader(
        [
            Installed("r:c", ["/c"], ["/both"], requires=["r:d", "r:c"], records=[(b"/x", "kind", "key")]),
            Installed("r:d"),
        ]
    )
    table, found = table_of(tmp_path, first, second)
    assert found == {"/a": {"dpkg:a"}, "/b": {"dpkg:b"}, "/c": {"r:c"}, "/both": {"dpkg:a", "r:c"}}
    both = scan(os.fsencode(tmp_path.resolve())).index[b"/both"]
    assert (table.owners(both), table.weak[both], sum(table.weak)) == ((0, 2), 1, 1)
    assert table.requires == [((1, "dpkg:b (>= 1)"),), (), ((3, "r:d (>= 1)"),), ()]
    assert table.records[2] == ((b"/x", "kind", "key"),)
    assert table.problems == []


def test_problems_are_told_once_and_sorted(tmp_path: Path) -> None:
    """A record that two readers stumble over is one problem."""

    def stumble(image: Image) -> list[Found]:
        image.problem(b"/z", "cut short")
        image.problem(b"/a", "cut short")
        return []

    table, found = table_of(tmp_path, stumble, stumble)
    assert (table.problems, found) == ([(b"/a", "cut short"), (b"/z", "cut short")], {})


def test_byte_code_belongs_with_its_source(tmp_path: Path) -> None:
    """All packages that own the source own it, wherever its directory is; without such a package it has no owner."""
    for path in ("/site/m.py", "/site/n.py", "/site/old.py", "/site/old.pyc", "/site/lone.pyc"):
        write(tmp_path, path)
    for name in ("m", "n", "lost"):
        write(tmp_path, f"/site/__pycache__/{name}.cpython-312.pyc")
    packages = [
        Installed("dpkg:m", ["/site/m.py", "/site/old.py"]),
        Installed("python:n", ["/site/n.py", "/site/m.py"]),
    ]
    _, found = table_of(tmp_path, reader(packages))
    assert found == {
        "/site/m.py": {"dpkg:m", "python:n"},
        "/site/n.py": {"python:n"},
        "/site/old.py": {"dpkg:m"},
        "/site/old.pyc": {"dpkg:m"},
        "/site/__pycache__/m.cpython-312.pyc": {"dpkg:m", "python:n"},
        "/site/__pycache__/n.cpython-312.pyc": {"python:n"},
    }


def test_a_file_made_in_a_package_s_own_directory_is_its(tmp_path: Path) -> None:
    """To the last level; not where another package has files below, and not in an empty directory of a package."""
    for path in (
        "/lib2/own/file", "/lib2/own/made", "/lib2/own/new/deep/made", "/lib2/shared/a/file", "/lib2/shared/made",
        "/lib2/shared/b/file", "/lib2/made", "/var2/empty/state",
    ):  # fmt: skip
        write(tmp_path, path)
    link(tmp_path, "/lib2/own/link", "nowhere")
    packages = [
        Installed("dpkg:own", ["/lib2/own", "/lib2/own/file", "/var2/empty"]),
        Installed("dpkg:a", ["/lib2/shared", "/lib2/shared/a", "/lib2/shared/a/file"]),
        Installed("dpkg:b", ["/lib2/shared/b", "/lib2/shared/b/file"]),
    ]
    _, found = table_of(tmp_path, reader(packages))
    mine = {path for path, names in found.items() if names == {"dpkg:own"}}
    assert mine == {
        "/lib2/own", "/lib2/own/file", "/lib2/own/made", "/lib2/own/new", "/lib2/own/new/deep",
        "/lib2/own/new/deep/made", "/lib2/own/link", "/var2/empty",
    }  # fmt: skip
    assert {"/lib2/shared/made", "/lib2/made", "/lib2", "/var2/empty/state"}.isdisjoint(found)


def test_what_was_unpacked_by_hand_is_a_component(tmp_path: Path) -> None:
    """After all readers: what lies in /opt and nobody has."""
    write(tmp_path, "/opt/tool/bin/run")
    write(tmp_path, "/opt/known/file")
    _, found = table_of(tmp_path, reader([Installed("dpkg:known", ["/opt/known", "/opt/known/file"])]))
    assert found["/opt/tool/bin/run"] == {"component:tool"}
    assert found["/opt/known/file"] == {"dpkg:known"}


def test_a_package_inside_another_is_part_of_it(tmp_path: Path) -> None:
    """All of whose files are the other's too: it is required by that one, not where one file is its own."""
    for path in ("/r/x/DESCRIPTION", "/r/x/code", "/doc/x", "/doc/y", "/r/y/DESCRIPTION", "/r/y/own"):
        write(tmp_path, path)
    packages = [
        Installed("dpkg:r-x", ["/r/x/DESCRIPTION", "/r/x/code", "/doc/x"]),
        Installed("dpkg:r-y", ["/r/y/DESCRIPTION", "/doc/y"]),
        Installed("r:x", ["/r/x", "/r/x/code"], ["/r/x/DESCRIPTION"]),
        Installed("r:y", ["/r/y/own"], ["/r/y/DESCRIPTION"]),
        Installed("r:empty"),
    ]
    table, _ = table_of(tmp_path, reader(packages))
    assert table.requires == [((2, "part of it"),), (), (), (), ()]


def test_an_image_without_packages(tmp_path: Path) -> None:
    """Every reader that there is finds nothing in nothing, nor in a part of an image."""
    write(tmp_path, "/srv/file")
    table, found = table_of(tmp_path, *READERS)
    assert (table.packages, table.problems, found) == ([], [], {})
    table = owners(scan(os.fsencode(tmp_path.resolve()), (b"/srv",)))
    assert table.packages == []


# With dpkg


def tool(name: str) -> str:
    """A program of dpkg's; skips the test where there is none, fails it where all must be there."""
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: install dpkg"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def install(root: Path, package: str, files: Mapping[str, str]) -> None:
    """Have dpkg unpack a package with these files."""
    tree = root.parent / package
    for path, text in files.items():
        write(tree, path, text)
    write(
        tree,
        "/DEBIAN/control",
        f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: for a test\n",
    )
    for each in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / each).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    deb = root.parent / f"{package}.deb"
    subprocess.run([tool("dpkg-deb"), "--build", tree, deb], check=True, capture_output=True)
    subprocess.run(
        [tool("dpkg"), f"--root={root}", "--log=/dev/null", "--force-not-root", "--force-bad-path", "--install", deb],
        check=True,
        capture_output=True,
    )


def test_a_debian_package_of_python_and_r_packages(tmp_path: Path) -> None:
    """What dpkg put there is its first, and the distribution's and R package's besides; each is part of it."""
    root = tmp_path / "root"
    site = "/usr/lib/python3/dist-packages"
    install(
        root,
        "bundle",
        {
            f"{site}/spam/__init__.py": "",
            f"{site}/spam-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: spam\nVersion: 1\n",
            f"{site}/spam-1.dist-info/RECORD": "".join(
                f"{path},,\n" for path in ("spam/__init__.py", "spam-1.dist-info/METADATA", "spam-1.dist-info/RECORD")
            ),
            "/usr/lib/R/library/eggs/DESCRIPTION": "Package: eggs\nVersion: 1.0\nBuilt: R 4.3.1; ; 2024-01-01; unix\n",
            "/usr/lib/R/library/eggs/R/eggs.rdb": "code",
            "/usr/share/doc/bundle/copyright": "free",
        },
    )
    write(root, f"{site}/spam/__pycache__/__init__.cpython-312.pyc", "bytecode")
    table, found = table_of(root, *READERS)
    assert found[f"{site}/spam/__init__.py"] == {"dpkg:bundle", "python:spam"}
    assert found[f"{site}/spam/__pycache__/__init__.cpython-312.pyc"] == {"dpkg:bundle", "python:spam"}
    assert found["/usr/lib/R/library/eggs/R/eggs.rdb"] == {"dpkg:bundle", "r:eggs"}
    assert found["/usr/share/doc/bundle/copyright"] == {"dpkg:bundle"}
    named = [f"{each.kind}:{each.name}" for each in table.packages]
    assert named == ["dpkg:bundle", "python:spam", "r:eggs"]
    assert {named[at] for at, text in table.requires[0] if text == "part of it"} == {"python:spam", "r:eggs"}
    assert table.owners(scan(os.fsencode(root)).index[f"{site}/spam/__init__.py".encode()])[0] == 0
