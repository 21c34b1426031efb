"""`slimagent compare` of two real images: a Debian package and Python distributions in two versions each."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schemas import problems

from tests.container.conftest import BUNDLE, lacking
from tests.container.slimming import build, ours, remove

SITE = "opt/venv/lib/python3.12/site-packages"
TOOL = b"t" * 500_000  # the content of a program with two names


def wheel(directory: Path, name: str, version: str, size: int) -> Path:
    """A wheel with one module of so many bytes."""
    made = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "#" * size,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(made, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))
    return made


def deb(directory: Path, version: str, size: int) -> Path:
    """A Debian package with a program of two names, and a Python distribution in it."""
    root = directory / f"deb-{version}"
    site = root / "usr/lib/python3/dist-packages"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: python3-inner\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n"
    )
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_bytes(TOOL)
    os.link(root / "usr/bin/tool", root / "usr/bin/tool2")
    (site / "inner-1.dist-info").mkdir(parents=True)
    (site / "inner.py").write_text("#" * size)
    (site / "inner-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: inner\nVersion: 1\n")
    made = directory / f"{version}.deb"
    words = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(made)]
    subprocess.run(words, check=True, capture_output=True)
    return made


def installed(directory: Path, version: str, wheels: list[Path], package: Path) -> Path:
    """The root file system in which pip and dpkg have installed these."""
    root = directory / f"root-{version}"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    (root / "var/lib/dpkg/updates").mkdir()
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-not-root", "-i", str(package)]
    subprocess.run(dpkg, check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "-q"]
    subprocess.run([*pip, "--target", str(root / SITE), *map(str, wheels)], check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def two(small: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two images: a new version of the Debian package and of one distribution, one that went, and one that came."""
    if shutil.which("dpkg-deb") is None:
        lacking("there is no dpkg")
    directory = tmp_path_factory.mktemp("two")
    name = f"slimagent-test-compare:{secrets.token_hex(4)}"
    content = {
        "1": [wheel(directory, "alpha", "1.0", 20_000), wheel(directory, "gone", "3.0", 7_000)],
        "2": [wheel(directory, "alpha", "1.1", 30_000), wheel(directory, "fresh", "0.1", 9_000)],
    }
    tags = []
    for version, wheels in content.items():
        root = installed(directory, version, wheels, deb(directory, f"{version}.0-1", 1000 * int(version)))
        (root / "srv/app").mkdir(parents=True)
        (root / "srv/app/data").write_bytes(b"d" * 4000 * int(version))
        context = directory / f"context-{version}"
        context.mkdir()
        words = ["tar", "--owner=0", "--group=0", "-cf", str(context / "root.tar"), "-C", str(root), "."]
        subprocess.run(words, check=True)
        tags.append(f"{name}-{version}")
        build(tags[-1], context, "FROM scratch\nADD root.tar /\n")
    yield tags[0], tags[1]
    remove(*tags)


def compare(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slimagent", "compare", *words, "--agent", str(BUNDLE), "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def document(*names: str) -> dict[str, Any]:
    done = compare(*names, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert problems("comparison", found) == []
    return found


def test_what_came_went_and_changed(two: tuple[str, str]) -> None:
    """By package with both versions, and by directory; each byte once: of two owners, and of two names."""
    found = document(*two)
    moved = {f"{each['kind']}:{each['name']}": each for each in found["moved"]}
    assert {name: each["movement"] for name, each in moved.items() if name != ":/var/lib"} == {
        "python:alpha": "grew", "python:fresh": "came", "python:gone": "went", "dpkg:python3-inner": "grew",
        ":/srv/app": "grew",
    }  # fmt: skip
    assert (moved["python:alpha"]["a"]["version"], moved["python:alpha"]["b"]["version"]) == ("1.0", "1.1")
    assert moved["python:alpha"]["reason"] == "version 1.0 in A, 1.1 in B"
    assert moved["python:gone"]["reason"].startswith("in A, asked for")
    assert moved["dpkg:python3-inner"]["reason"] == "version 1.0-1 in A, 2.0-1 in B"
    assert moved[":/srv/app"]["difference"] == 4000
    for side in ("a", "b"):
        assert sum(each[f"bytes_{side}"] for each in found["kinds"]) == found[side]["size"]
        (debian,) = (each[f"bytes_{side}"] for each in found["kinds"] if each["kind"] == "dpkg")
        assert len(TOOL) < debian < 1.1 * len(TOOL)  # not twice
    assert sum(each["difference"] for each in found["moved"]) == found["b"]["size"] - found["a"]["size"]
    assert ours() == set()


def test_the_other_forms(two: tuple[str, str]) -> None:
    """A table with the answer last, and a comment with the answer first."""
    done = compare(*two)
    assert done.returncode == 0, done.stderr
    assert any("python:alpha 1.0 -> 1.1" in line for line in done.stdout.splitlines())
    answer = done.stdout.splitlines()[-1]
    assert answer.startswith("B has ")
    comment = compare(*two, "--format", "markdown")
    assert comment.stdout.splitlines()[0].split()[:3] == ["###", "B", "has"]
    assert "`python:alpha 1.0 -> 1.1`" in comment.stdout


def test_an_image_is_the_same_as_itself(two: tuple[str, str]) -> None:
    """Also by two names."""
    found = document(two[0], two[0])
    assert (found["moved"], found["same_image"]) == ([], True)


def test_what_is_neither_a_run_nor_an_image_is_refused(two: tuple[str, str]) -> None:
    """With what to type next."""
    done = compare(two[0], "no-such-image:x")
    assert done.returncode == 2
    assert "neither" in done.stderr and "docker pull no-such-image:x" in done.stderr
