"""What each reader says of a package beside its name: licenses, source, architecture, build, channel."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plan_images import write

from slimagent.inventory import conda, dpkg, npm, python_dist, r_library, vscode
from slimagent.inventory import python_metadata as meta
from slimagent.inventory.owners import owners
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import UNCLEAR, Description, Found

STATUS = """\
Package: gcc-12-base
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134

"""
FORMAT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"


def described(root: Path, find: Callable[[Image], list[Found]]) -> dict[str, Description]:
    """The descriptions of the packages, by name."""
    return {each.package.name: each.description for each in find(Image(scan(os.fsencode(root))))}


def test_debian(tmp_path: Path) -> None:
    """The architecture and the source from the paragraph, licenses from a copyright file that a machine can read."""
    write(tmp_path, "/var/lib/dpkg/status", STATUS)
    write(tmp_path, "/usr/share/doc/adduser/copyright", FORMAT + "Files: *\nLicense: GPL-2+\n")
    write(tmp_path, "/usr/share/doc/gcc-12-base/copyright", "This is the Debian package of GCC. License: GPL\n")
    assert described(tmp_path, dpkg.find) == {
        "gcc-12-base": Description(source="gcc-12 (12.2.0-14)", architecture="amd64"),
        "adduser": Description(licenses=("GPL-2+",), architecture="all"),
    }


def stated(root: Path, find: Callable[[Image], list[Found]]) -> dict[str, tuple[str, ...]]:
    """All that the packages' records say of licenses, by name."""
    return {each.package.name: each.terms for each in find(Image(scan(os.fsencode(root))))}


def test_conda(tmp_path: Path) -> None:
    """Build, channel and platform as conda writes them; a value of another type is not taken."""
    record = {
        "name": "numpy",
        "version": "2.0",
        "build": "py312_0",
        "subdir": "linux-64",
        "license": "BSD-3-Clause",
        "channel": "https://conda.anaconda.org/conda-forge/linux-64",
    }
    write(tmp_path, "/opt/conda/conda-meta/numpy-2.0-py312_0.json", json.dumps(record))
    other = {"name": "odd", "version": "1", "build": 3, "license": ["MIT"], "channel": None}
    write(tmp_path, "/opt/conda/conda-meta/odd-1-3.json", json.dumps(other))
    assert described(tmp_path, conda.find) == {
        "numpy": Description(
            licenses=("BSD-3-Clause",), architecture="linux-64", build="py312_0", channel="conda-forge"
        ),
        "odd": Description(),
    }


@pytest.mark.parametrize(
    ("text", "subdir", "name"),
    [
        ("conda-forge", "linux-64", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/linux-64", "linux-64", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge", "noarch", "conda-forge"),
        ("https://repo.anaconda.com/pkgs/main/linux-64", "linux-64", "pkgs/main"),
        ("https://ann:pass@host.example/t/tk-123/team/noarch", "noarch", "team"),
        ("file:///srv/channel/noarch", "noarch", "srv/channel"),
        ("conda-forge/linux-64", "linux-64", "conda-forge"),
        ("", "", ""),
        ("http://[", "", ""),
    ],
)
def test_a_channel_has_a_name_and_no_secret(text: str, subdir: str, name: str) -> None:
    """Addresses of channels may have a password or a token in them."""
    assert conda.channel(text, subdir) == name


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: MIT\n", ("MIT OR Apache-2.0",)),
        ("License: BSD\nClassifier: License :: OSI Approved :: MIT License\n", ("BSD",)),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", ("MIT License",)),
        ("License: Copyright (c) Ann\n  Permission is granted\n  to any person\nClassifier: Topic :: X\n", ()),
        ("Classifier: License :: OSI Approved :: A\nClassifier: License :: OSI Approved :: B\n", ("A", "B")),
        ("\nLicense: in the body\n", ()),
    ],
)
def test_python_metadata(headers: str, expected: tuple[str, ...]) -> None:
    """The expression before the older field, that before the classifiers; a license's text is not a name."""
    assert meta.metadata(f"Name: a\nVersion: 1\n{headers}".encode()).licenses == expected


def test_python(tmp_path: Path) -> None:
    """From METADATA to the package."""
    site = "/usr/lib/python3.11/site-packages"
    write(tmp_path, f"{site}/six-1.dist-info/METADATA", "Name: six\nVersion: 1\nLicense: MIT\n")
    assert described(tmp_path, python_dist.find) == {"six": Description(licenses=("MIT",))}


def test_r(tmp_path: Path) -> None:
    """The license and the repository; Bioconductor shows by its own field."""
    library = "/usr/lib/R/site-library"
    common = "Version: 1.0\nBuilt: R 4.3.1; ; 2024; unix\n"
    write(tmp_path, f"{library}/a/DESCRIPTION", f"Package: a\n{common}License: GPL (>= 2)\nRepository: CRAN\n")
    write(tmp_path, f"{library}/b/DESCRIPTION", f"Package: b\n{common}License: Artistic-2.0\nbiocViews: Software\n")
    assert described(tmp_path, r_library.find) == {
        "a": Description(licenses=("GPL (>= 2)",), source="CRAN"),
        "b": Description(licenses=("Artistic-2.0",), source="Bioconductor"),
    }


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"license": "ISC"}, ("ISC",)),
        ({"license": {"type": "MIT", "url": "x"}}, ("MIT",)),
        ({"licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}, ("MIT", "Apache-2.0")),
        ({"license": ["MIT", 3, None]}, ("MIT",)),
        ({"license": 7}, ()),
        ({}, ()),
    ],
)
def test_npm_licenses(tmp_path: Path, manifest: dict[str, Any], expected: tuple[str, ...]) -> None:
    """In all forms that manifests have had."""
    write(tmp_path, "/srv/node_modules/x/package.json", json.dumps({"name": "x", "version": "1", **manifest}))
    assert described(tmp_path, npm.find) == {"x": Description(licenses=expected)}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"license": "ISC"}, ("ISC",)),
        ({"license": {"type": "MIT"}, "licenses": [{"type": "Other"}]}, ("MIT", "Other")),
        ({"license": ["MIT", 3, {"url": "x"}]}, ("MIT", UNCLEAR)),
        ({"license": "no changes " * 40}, (("no changes " * 40).strip(),)),
        ({"license": 7}, (UNCLEAR,)),
        ({"license": None}, ()),
        ({}, ()),
    ],
)
def test_all_that_a_manifest_says_of_licenses_counts(
    tmp_path: Path, manifest: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """What has no name is not understood."""
    write(tmp_path, "/srv/node_modules/x/package.json", json.dumps({"name": "x", "version": "1", **manifest}))
    assert stated(tmp_path, npm.find) == {"x": expected}
    given = {"publisher": "ann", "name": "Tool", "version": "1.0.0", "engines": {"vscode": "*"}, **manifest}
    write(tmp_path, "/root/.vscode/extensions/ann.tool-1.0.0/package.json", json.dumps(given))
    assert stated(tmp_path, vscode.find) == {"ann.tool": expected}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"license": "MIT", "license_family": "MIT"}, ("MIT",)),
        ({"license": "MIT", "license_family": "PROPRIETARY"}, ("MIT", "PROPRIETARY")),
        ({"license": ["MIT"]}, (UNCLEAR,)),
        ({"license": None}, ()),
    ],
)
def test_all_that_conda_says_of_licenses_counts(
    tmp_path: Path, record: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """Its family of licenses only if that is closed: it is a rough word for the license."""
    write(tmp_path, "/opt/conda/conda-meta/x-1-0.json", json.dumps({"name": "x", "version": "1", **record}))
    assert stated(tmp_path, conda.find) == {"x": expected}


def test_a_long_license_of_an_r_package_counts(tmp_path: Path) -> None:
    """It is no name for a bill of materials, and none that is open."""
    long = " ".join(["no changes"] * 30)
    text = f"Package: a\nVersion: 1\nLicense: {long}\nBuilt: R 4.3.1; ; 2023; unix\n"
    write(tmp_path, "/usr/lib/R/library/a/DESCRIPTION", text)
    write(tmp_path, "/usr/lib/R/library/a/Meta/package.rds")
    assert stated(tmp_path, r_library.find) == {"a": (long,)}


def test_an_npm_package_of_another_name_says_so(tmp_path: Path) -> None:
    """An alias lies in a directory of its own name."""
    write(tmp_path, "/srv/node_modules/alias/package.json", json.dumps({"name": "@real/name", "version": "1"}))
    assert described(tmp_path, npm.find) == {"alias": Description(source="@real/name")}


def test_vscode(tmp_path: Path) -> None:
    """The license of the manifest; the name is not another one."""
    manifest = {"publisher": "ann", "name": "Tool", "version": "1.0.0", "engines": {"vscode": "*"}, "license": "MIT"}
    write(tmp_path, "/root/.vscode/extensions/ann.tool-1.0.0/package.json", json.dumps(manifest))
    assert described(tmp_path, vscode.find) == {"ann.tool": Description(licenses=("MIT",))}


def test_the_table_of_owners_has_them_all(tmp_path: Path) -> None:
    """In the order of the packages."""
    write(tmp_path, "/var/lib/dpkg/status", STATUS)
    write(tmp_path, "/srv/node_modules/x/package.json", json.dumps({"name": "x", "license": "ISC"}))
    table = owners(scan(os.fsencode(tmp_path)))
    assert len(table.descriptions) == len(table.packages)
    found = {each.name: described for each, described in zip(table.packages, table.descriptions, strict=True)}
    assert found["x"].licenses == ("ISC",) and found["gcc-12-base"].architecture == "amd64"
