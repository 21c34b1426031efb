"""Records that are too large, or whose names and versions are: problems, and nothing of them reaches a plan."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from plan_images import write

from slimagent.inventory.owners import owners
from slimagent.inventory.reader import LARGEST_JSON, LONGEST
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Owners

SITE = "/usr/lib/python3/site-packages"
EXTENSIONS = "/opt/editor/extensions"
STATUS = (
    "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\nSection: {section}\n\n"
)


def records(name: str = "tool", version: str = "1.0", section: str = "libs") -> dict[str, str]:
    """A record of each kind of package, by path. Where a directory gives the name, the record cannot change it."""
    npm = json.dumps({"name": name, "version": version})
    extension = json.dumps({"name": name, "version": version, "publisher": "p", "engines": {"vscode": "*"}})
    return {
        "/var/lib/dpkg/status": STATUS.format(name=name, version=version, section=section),
        "/opt/conda/conda-meta/tool.json": json.dumps({"name": name, "version": version, "files": ["bin/tool"]}),
        f"{SITE}/tool-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n",
        "/usr/lib/R/library/tool/DESCRIPTION": f"Package: tool\nVersion: {version}\nBuilt: R\nPriority: {section}\n",
        "/usr/lib/node_modules/tool/package.json": npm,
        "/srv/app/package.json": npm,
        "/srv/app/node_modules/x/package.json": "{}",
        f"{EXTENSIONS}/tool/package.json": extension,
    }


def found(root: Path, texts: dict[str, str]) -> Owners:
    for path, text in texts.items():
        write(root, path, text)
    return owners(scan(os.fsencode(root.resolve())))


def test_all_kinds_are_found(tmp_path: Path) -> None:
    """So what the tests below change is why theirs are not."""
    seen = found(tmp_path, records("a" * (LONGEST - len("p.")), "1" * LONGEST, "c" * LONGEST))
    kinds = [each.kind for each in seen.packages if each.version == "1" * LONGEST]
    assert sorted(kinds) == ["conda", "dpkg", "npm", "npm", "python", "r", "vscode"]
    assert not [why for _, why in seen.problems if "longer" in why]


@pytest.mark.parametrize("field", ["name", "version", "section"])
def test_long_names_are_problems(field: str, tmp_path: Path) -> None:
    """A plan repeats them for each file."""
    seen = found(tmp_path, records(**{field: ("1" if field == "version" else "a") * (LONGEST + 1)}))
    for each in seen.packages:
        assert max(map(len, (each.name, each.version, each.section))) <= LONGEST, each.kind
    noted = {path for path, why in seen.problems if "longer than 1,000 bytes" in why}
    wrong = {
        "name": ("/var/lib/dpkg/status", "/opt/conda", SITE, EXTENSIONS),
        "version": ("/var", "/opt/conda", SITE, "/usr/lib/R", "/usr/lib/node_modules", "/srv/app", EXTENSIONS),
        "section": ("/var/lib/dpkg/status", "/usr/lib/R"),
    }[field]
    top = os.fsencode(tmp_path.resolve())
    for start in wrong:
        assert any(path.removeprefix(top).startswith(start.encode()) for path in noted), start
    assert len(noted) == len(wrong)
    assert all(len(why) <= LONGEST for _, why in seen.problems)


def test_a_reason_that_quotes_the_record_is_cut(tmp_path: Path) -> None:
    """dpkg's fields may have names of any length."""
    field = "x" * 100_000
    seen = found(tmp_path, {"/var/lib/dpkg/status": f"Package: a\n{field}: 1\n{field}: 2\n\n"})
    assert [len(why) for _, why in seen.problems] == [LONGEST]


@pytest.mark.parametrize(
    "path",
    [
        "/opt/conda/conda-meta/tool.json",
        "/usr/lib/node_modules/.package-lock.json",
        f"{EXTENSIONS}/extensions.json",
        f"{SITE}/tool-1.dist-info/direct_url.json",
    ],
)
def test_large_json_is_not_parsed(path: str, tmp_path: Path) -> None:
    """Parsed, it takes many times its size. It is a problem, and what it owned has no owner."""
    texts = records()
    texts[path] = json.dumps({"name": "tool", "version": "1", "files": ["bin/tool"], "packages": {}})
    texts["/opt/conda/bin/tool"] = "x"
    before = found(tmp_path / "small", texts)
    assert not [why for _, why in before.problems if "large" in why]
    texts[path] += " " * LARGEST_JSON
    after = found(tmp_path / "large", texts)
    top = os.fsencode((tmp_path / "large").resolve())
    noted = [(name.removeprefix(top).decode(), why) for name, why in after.problems if "large" in why]
    assert noted == [(path, "too large for a package record")]
    conda = [sum(each.kind == "conda" for each in seen.packages) for seen in (before, after)]
    assert conda == [1, 0 if "conda" in path else 1]
