"""Who asked for a package by name, as each manager records it."""

from __future__ import annotations

import os
from pathlib import Path

from plan_images import Installed, reader, write
from python_images import tree

from slimagent.inventory.owners import owners
from slimagent.inventory.reader import Image
from slimagent.inventory.requests import requests
from slimagent.inventory.scan import scan

STATUS = """Package: bash
Essential: yes
Status: install ok installed
Priority: required
Version: 5
Architecture: amd64

Package: vim
Status: install ok installed
Priority: optional
Version: 9
Architecture: amd64

Package: libtinfo6
Status: install ok installed
Priority: optional
Version: 6
Architecture: amd64

"""


def asked(root: Path, *installed: Installed) -> dict[str, str]:
    """Who asked for which package, by the real readers, or by one that finds what is installed here."""
    inventory = scan(os.fsencode(root.resolve()))
    table = owners(inventory, (reader(installed),)) if installed else owners(inventory)
    names = [f"{each.kind}:{each.name}" for each in table.packages]
    return {names[number]: why for number, why in requests(Image(inventory), table).items()}


def dpkg(root: Path) -> None:
    write(root, "/var/lib/dpkg/status", STATUS)
    for name in ("bash", "vim", "libtinfo6"):
        write(root, f"/var/lib/dpkg/info/{name}.list", f"/.\n/usr/bin/{name}\n")
        write(root, f"/usr/bin/{name}")


def test_apt_lists_what_came_by_itself(tmp_path: Path) -> None:
    """All others were asked for, but for those that every system has."""
    dpkg(tmp_path)
    write(tmp_path, "/var/lib/apt/extended_states", "Package: libtinfo6\nArchitecture: amd64\nAuto-Installed: 1\n")
    assert asked(tmp_path) == {"dpkg:vim": "apt-mark showmanual"}


def test_without_apt_s_list_nobody_knows(tmp_path: Path) -> None:
    """Nor from a paragraph that is damaged."""
    dpkg(tmp_path)
    assert asked(tmp_path) == {}
    write(tmp_path, "/var/lib/apt/extended_states", "no field\n\nPackage: vim\nAuto-Installed: 1\n")
    assert asked(tmp_path) == {"dpkg:libtinfo6": "apt-mark showmanual"}


def test_conda_s_history_has_what_was_asked_for(tmp_path: Path) -> None:
    """Of each command, with a version or a channel or neither; each environment has its own."""
    specs = "['numpy=1.26', \"conda-forge::gdal[version='>=3']\"]"
    write(tmp_path, "/env/conda-meta/history", f"==> 2026-01-01 <==\n# cmd: conda install\n# update specs: {specs}\n")
    for prefix in ("/env", "/srv/old"):
        for name in ("numpy", "gdal", "libblas"):
            write(
                tmp_path, f"{prefix}/conda-meta/{name}-1-0.json", f'{{"name": "{name}", "version": "1", "files": []}}'
            )
    inventory = scan(os.fsencode(tmp_path.resolve()))
    table = owners(inventory)
    found = requests(Image(inventory), table)
    told = {(each.place, each.name): found.get(number) for number, each in enumerate(table.packages)}
    assert told == {
        (b"/env", "numpy"): "conda's history",
        (b"/env", "gdal"): "conda's history",
        (b"/env", "libblas"): None,
        **{(b"/srv/old", name): "nothing requires it" for name in ("numpy", "gdal", "libblas")},
    }


def test_pip_marks_what_was_asked_for(tmp_path: Path) -> None:
    """In an environment without any mark, what nothing requires counts: an old pip made it."""
    for site, mark in (("new", True), ("old", False)):
        home = tmp_path / f"opt/{site}/lib/python3.12/site-packages"
        for name, needs in (("app", "Requires-Dist: lib\n"), ("lib", "")):
            info = f"{name}{site}-1.dist-info"
            needs = needs.replace("lib", f"lib{site}")
            files = {"METADATA": f"Metadata-Version: 2.1\nName: {name}{site}\nVersion: 1\n{needs}"}
            if mark and name == "app":
                files["REQUESTED"] = ""
            rows = "".join(f"{info}/{each},,\n" for each in (*files, "RECORD"))
            tree(home / info, {**files, "RECORD": rows})
    assert asked(tmp_path) == {"python:appnew": "pip's REQUESTED", "python:appold": "nothing requires it"}


def test_marks_on_everything_say_nothing(tmp_path: Path) -> None:
    """uv marks what it installs for others, too; a list of requirements says what was asked for, and is no package."""
    home = tmp_path / "opt/venv/lib/python3.12/site-packages"
    for name, needs in (("app", "Requires-Dist: lib\n"), ("lib", ""), ("tool", "")):
        info = f"{name}-1.dist-info"
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}"
        tree(home / info, {"METADATA": text, "REQUESTED": "", "RECORD": f"{info}/METADATA,,\n{info}/REQUESTED,,\n"})
    write(tmp_path, "/srv/app/requirements.txt", "tool\napp\n")
    assert asked(tmp_path) == dict.fromkeys(("python:app", "python:tool"), "/srv/app/requirements.txt")


def test_where_nothing_is_recorded_what_nothing_requires_counts(tmp_path: Path) -> None:
    """R packages and extensions; not what an extension needs, and not R's own."""
    packages = [
        Installed("r:ggplot2", requires=["r:rlang"]),
        Installed("r:rlang"),
        Installed("r:base", essential=True),
        Installed("vscode:ms.python", requires=["vscode:ms.debugpy"]),
        Installed("vscode:ms.debugpy"),
        Installed("component:quarto"),
    ]
    assert asked(tmp_path, *packages) == {
        "r:ggplot2": "nothing requires it",
        "vscode:ms.python": "nothing requires it",
        "component:quarto": "unpacked or made by hand",
    }
