"""Extensions of VS Code and code-server.

Without code-server, the directories are stand-ins in its layout; where it is installed, it installs an extension.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from plan_images import link, write

from slimagent.inventory import vscode
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found

USER = "/root/.local/share/code-server/extensions"
BUILT_IN = "/usr/lib/code-server/lib/vscode/extensions"


def image_of(root: Path) -> Image:
    return Image(scan(os.fsencode(root)))


def find(root: Path) -> list[Found]:
    image = image_of(root)
    found = vscode.find(image)
    assert image.problems == []
    return found


def paths(root: Path, each: Found) -> list[str]:
    inventory = scan(os.fsencode(root))
    return [os.fsdecode(inventory.paths[at]) for at in each.files]


def manifest(publisher: str, name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    return {"publisher": publisher, "name": name, "version": version, "engines": {"vscode": "^1.70.0"}, **more}


def extension(root: Path, directory: str, *arguments: str, **more: Any) -> Path:
    """An extension's directory: its manifest and its program."""
    write(root, f"{directory}/out/main.js")
    return write(root, f"{directory}/package.json", json.dumps(manifest(*arguments, **more)))


def listed(root: Path, *entries: dict[str, Any]) -> None:
    write(root, f"{USER}/extensions.json", json.dumps(entries))


def entry(name: str, directory: str) -> dict[str, Any]:
    """An entry of extensions.json as code-server 4 writes it."""
    return {
        "identifier": {"id": name, "uuid": "0"},
        "version": "1.0.0",
        "location": {"$mid": 1, "path": f"{USER}/{directory}", "scheme": "file"},
        "relativeLocation": directory,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Built-in extensions, and those of a user: one depends on another, one is a pack."""
    extension(tmp_path, f"{BUILT_IN}/git", "vscode", "git", extensionDependencies=["vscode.git-base"])
    extension(tmp_path, f"{BUILT_IN}/git-base", "vscode", "git-base")
    extension(
        tmp_path, f"{USER}/acme.tool-1.0.0", "Acme", "Tool", extensionDependencies=["ACME.base", "vscode.git", "x.y"]
    )
    extension(tmp_path, f"{USER}/acme.base-1.0.0-linux-x64", "acme", "base", extensionPack=["acme.tool", "gone.gone"])
    write(tmp_path, f"{USER}/acme.base-1.0.0-linux-x64/node_modules/left/package.json", "{}")
    write(tmp_path, f"{BUILT_IN}/package.json", "{}")
    return tmp_path


def test_names_places_and_versions(root: Path) -> None:
    assert [(os.fsdecode(each.package.place), each.package.name, each.package.version) for each in find(root)] == [
        (USER, "acme.base", "1.0.0"),
        (USER, "acme.tool", "1.0.0"),
        (BUILT_IN, "vscode.git", "1.0.0"),
        (BUILT_IN, "vscode.git-base", "1.0.0"),
    ]


def test_all_below_is_its_own_and_nothing_is_identity(root: Path) -> None:
    base = find(root)[0]
    directory = f"{USER}/acme.base-1.0.0-linux-x64"
    assert paths(root, base) == [
        directory,
        *(f"{directory}/{each}" for each in ("node_modules", "node_modules/left", "node_modules/left/package.json")),
        *(f"{directory}/{each}" for each in ("out", "out/main.js", "package.json")),
    ]
    assert base.identity == []


def test_what_they_require(root: Path) -> None:
    base, tool, git, _ = find(root)
    assert tool.requires == [(0, "acme.base"), (2, "vscode.git")]
    assert tool.missing == ["x.y"]
    assert base.requires == [(1, "acme.tool")]
    assert base.missing == []
    assert git.requires == [(3, "vscode.git-base")]


def test_their_place_in_the_list(root: Path) -> None:
    listed(
        root, entry("Acme.Tool", "acme.tool-1.0.0"), {"identifier": {"id": "acme.base"}}, entry("no.more", "no.more-1")
    )
    base, tool, git, _ = find(root)
    path = os.fsencode(f"{USER}/extensions.json")
    assert tool.records == [(path, "vscode-extensions", "Acme.Tool")]
    assert base.records == [(path, "vscode-extensions", "acme.base")]
    assert git.records == []


def test_an_older_version_that_is_not_listed_any_more(root: Path) -> None:
    extension(root, f"{USER}/acme.tool-0.9.0", "acme", "tool", "0.9.0")
    listed(root, entry("acme.tool", "acme.tool-1.0.0"))
    assert [(e.package.version, len(e.records)) for e in find(root) if e.package.name == "acme.tool"] == [
        ("0.9.0", 0),
        ("1.0.0", 1),
    ]


def test_other_directories_are_not_extensions(tmp_path: Path) -> None:
    extension(tmp_path, "/srv/project", "me", "mine")  # an extension's source
    write(tmp_path, "/usr/share/shell/extensions/x/package.json", '{"name": "x"}')
    write(tmp_path, "/package.json", "{}")
    extension(tmp_path, "/extensions", "a", "b")
    extension(tmp_path, f"{USER}/a.b-1.0.0", "a", "b")
    extension(tmp_path, f"{USER}/a.b-1.0.0/test/extensions/inner", "c", "d")
    extension(tmp_path, "/srv/custom/pub.name-2.0.1", "pub", "name", "2.0.1")
    assert [each.package.name for each in find(tmp_path)] == ["a.b", "pub.name"]


def test_extensions_that_are_links(root: Path) -> None:
    extension(root, "/srv/project", "me", "mine")
    link(root, f"{USER}/me.mine", "/srv/project")
    link(root, f"{USER}/again", "acme.tool-1.0.0")
    link(root, f"{USER}/loop", "loop")
    link(root, f"{USER}/out", "../../../../../../../../..")
    found = find(root)
    assert paths(root, found[-1]) == [f"{USER}/me.mine"]
    assert found[-1].package.name == "me.mine"
    assert paths(root, found[1])[-1] == f"{USER}/again"
    assert len(found) == 5


@pytest.mark.parametrize(
    "text",
    [
        *("", '{"na', "[]", "[" * 5000, '{"engines": {"vscode": "1"}}', '{"name": 1, "engines": {"vscode": "1"}}'),
        '{"name": "x", "engines": {"vscode": "1"}, "extensionPack": "x"}',
    ],
)
def test_a_damaged_manifest_is_a_problem(root: Path, text: str) -> None:
    write(root, f"{USER}/bad.bad-1.0.0/package.json", text)
    image = image_of(root)
    assert len(vscode.find(image)) == 4
    assert [path for path, _ in image.problems] == [os.fsencode(f"{USER}/bad.bad-1.0.0/package.json")]


@pytest.mark.parametrize(
    "text", ["", '[{"identifier": {"id": "acme.to', "{}", "[1]", '[{"identifier": []}]', "[" * 5000]
)
def test_a_damaged_list_is_a_problem(root: Path, text: str) -> None:
    write(root, f"{USER}/extensions.json", text)
    image = image_of(root)
    assert [each.records for each in vscode.find(image)] == [[]] * 4
    assert [path for path, _ in image.problems] == [os.fsencode(f"{USER}/extensions.json")]


def test_fields_of_any_type(tmp_path: Path) -> None:
    text = {
        "name": "x",
        "version": 1,
        "publisher": None,
        "engines": {"vscode": "*"},
        "extensionDependencies": [1, {}, ""],
    }
    write(tmp_path, f"{BUILT_IN}/x/package.json", json.dumps(text))
    (found,) = find(tmp_path)
    assert (found.package.name, found.package.version) == ("undefined_publisher.x", "")
    assert found.requires == found.missing == []


def test_what_code_server_installs(tmp_path: Path) -> None:
    tool = shutil.which("code-server")
    if tool is None:
        pytest.skip("no code-server on this machine")
    package = tmp_path / "x.vsix"
    with zipfile.ZipFile(package, "w") as file:
        file.writestr("extension/package.json", json.dumps(manifest("acme", "real", main="./main.js")))
        file.writestr("extension/main.js", "")
        file.writestr(
            "extension.vsixmanifest",
            '<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011"><Metadata>'
            '<Identity Language="en-US" Id="real" Version="1.0.0" Publisher="acme"/></Metadata></PackageManifest>',
        )
    directory = tmp_path / "image/extensions"
    directory.mkdir(parents=True)
    command = [tool, f"--extensions-dir={directory}", f"--user-data-dir={tmp_path}/data", "--config=/dev/null"]
    subprocess.run([*command, f"--install-extension={package}"], check=True, env={**os.environ, "HOME": str(tmp_path)})
    (found,) = find(tmp_path / "image")
    assert (found.package.name, found.package.version) == ("acme.real", "1.0.0")
    assert found.records == [(b"/extensions/extensions.json", "vscode-extensions", "acme.real")]
