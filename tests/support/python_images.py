"""Python environments made by the real installers from wheels and source trees that are written here: no network."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from slimagent.inventory.python_dist import find
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything must be there."""
    if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def uv() -> str:
    """The program `uv`, of its distribution or on PATH."""
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        return str(find_uv_bin())
    return shutil.which("uv") or lacking("no uv: pip install uv")


def command(*words: str | Path, **variables: str) -> str:
    """Run a program that must end well; what it printed. The user's own settings of pip and uv do not count."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "PYTHON"))}
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1"}
    result = subprocess.run(
        [str(word) for word in words], env={**kept, **settings, **variables}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def virtual_environment(folder: Path, *options: str) -> Path:
    """A virtual environment with pip; its Python."""
    command(sys.executable, "-m", "venv", *options, folder)
    return folder / "bin" / "python"


def site_of(folder: Path) -> Path:
    """The site-packages of a virtual environment."""
    (found,) = folder.glob("lib/python3*/site-packages")
    return found


def give_setuptools(folder: Path) -> None:
    """Copy our own setuptools into a virtual environment: backends are not fetched."""
    try:
        distribution = importlib.metadata.distribution("setuptools")
    except importlib.metadata.PackageNotFoundError:
        lacking("no setuptools: pip install 'setuptools<80'")
    for each in distribution.files or ():
        source, target = Path(str(distribution.locate_file(each))), site_of(folder) / str(each)
        if ".." not in each.parts and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def pip_install(python: Path, *words: str | Path) -> None:
    """Install without index, dependencies or isolation."""
    command(python, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--quiet", *words)


def wheel(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    version: str = "1.0",
    requires: Sequence[str] = (),
    extras: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> Path:
    """Write a wheel (PyPA "Binary distribution format"); `files` by their path in it, `scripts` call `NAME:main`."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Provides-Extra: {each}" for each in extras] + [f"Requires-Dist: {each}" for each in requires]
    contents = {
        **files,
        f"{info}/METADATA": "\n".join(headers) + "\n\nRequires-Dist: not-a-header\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        lines = [f"{each} = {stem}:main" for each in scripts]
        contents[f"{info}/entry_points.txt"] = "[console_scripts]\n" + "\n".join(lines) + "\n"
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={digest}", len(text.encode())])
    rows.writerow([f"{info}/RECORD", "", ""])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in {**contents, f"{info}/RECORD": table.getvalue()}.items():
            archive.writestr(path, text)
    return target


def tree(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files below a folder."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


class Read:
    """What the reader finds in an image, by name; paths as text."""

    def __init__(self, root: Path | str, *scopes: Path) -> None:
        whole = os.fsencode(Path(root).resolve())
        self.image = Image(scan(whole, tuple(os.fsencode(scope) for scope in scopes) or (b"/",)))
        self.found = find(self.image)
        self.problems = self.image.problems

    def one(self, name: str, place: Path | str | None = None) -> Found:
        """The distribution of that name."""
        (found,) = (
            each
            for each in self.found
            if each.package.name == name and (place is None or each.package.place == os.fsencode(place))
        )
        return found

    def paths(self, name: str) -> set[str]:
        """All that it owns."""
        return {os.fsdecode(self.image.inventory.paths[at]) for at in self.one(name).files}

    def identity(self, name: str) -> set[str]:
        """What says who it is."""
        return {os.fsdecode(self.image.inventory.paths[at]) for at in self.one(name).identity}

    def requires(self, name: str) -> dict[str, str]:
        """The names of what it requires, with the requirement's text."""
        return {self.found[at].package.name: text for at, text in self.one(name).requires}


def record(site: Path, name: str, files: Iterable[str]) -> None:
    """Make files in a directory named site-packages those of a distribution, as pip does: nobody's would stay whole."""
    info = f"{name}-1.0.dist-info"
    rows = "".join(f"{each},,\n" for each in (*files, f"{info}/METADATA", f"{info}/RECORD"))
    tree(site / info, {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "RECORD": rows})
