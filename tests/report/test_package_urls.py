"""Package URLs of every kind of package: what the specification says, read back by the library that it comes with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL
from run_documents import DEBIAN

from slimagent.model.inventory import Description, Distribution, Package, PackageKind
from slimagent.report.sbom.package_urls import package_url

NOTHING = Distribution()


def url(
    kind: str,
    name: str,
    version: str = "1",
    distribution: Distribution = DEBIAN,
    *,
    essential: bool = False,
    **described: str,
) -> str:
    package = Package(kind=PackageKind(kind), name=name, version=version, essential=essential)
    found = package_url(package, Description(**described), distribution)  # type: ignore[arg-type]
    return "" if found is None else found.to_string()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            url("dpkg", "curl", "7.50.3-1", architecture="i386"),
            "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=debian-12",
        ),
        (
            url("dpkg", "gcc-12-base", "12.2.0-14+b1", architecture="amd64", source="gcc-12 (12.2.0-14)"),
            "pkg:deb/debian/gcc-12-base@12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
        ),
        (url("dpkg", "libc6", source="glibc"), "pkg:deb/debian/libc6@1?distro=debian-12&upstream=glibc"),
        (url("dpkg", "libc6:i386", architecture="i386"), "pkg:deb/debian/libc6@1?arch=i386&distro=debian-12"),
        (url("dpkg", "libc6:i386"), "pkg:deb/debian/libc6@1?arch=i386&distro=debian-12"),
        (url("dpkg", "curl", distribution=NOTHING), "pkg:deb/curl@1"),
        (
            url("dpkg", "curl", distribution=Distribution(id="debian", codename="sid")),
            "pkg:deb/debian/curl@1?distro=sid",
        ),
        (url("python", "zope-interface", "5.0"), "pkg:pypi/zope-interface@5.0"),
        (url("python", "project", ""), "pkg:generic/project"),
        (
            url("conda", "numpy", "2.0", build="py312_0", channel="conda-forge", architecture="linux-64"),
            "pkg:conda/numpy@2.0?build=py312_0&channel=conda-forge&subdir=linux-64",
        ),
        (url("conda", "numpy", "2.0"), "pkg:conda/numpy@2.0"),
        (url("r", "data.table", source="CRAN"), "pkg:cran/data.table@1"),
        (url("r", "data.table"), "pkg:cran/data.table@1"),
        (url("r", "stats", essential=True), "pkg:generic/stats@1"),
        (url("r", "Biobase", source="Bioconductor 3.18"), "pkg:generic/Biobase@1"),
        (url("npm", "@babel/runtime", "7.1.0"), "pkg:npm/%40babel/runtime@7.1.0"),
        (url("npm", "left-pad"), "pkg:npm/left-pad@1"),
        (url("npm", "alias", source="@real/name"), "pkg:npm/%40real/name@1"),
        (url("vscode", "ms-python.python"), "pkg:vscode-extension/ms-python/python@1"),
        (url("vscode", "odd"), "pkg:generic/odd@1"),
        (url("component", "node", ""), ""),
        (url("component", "quarto", "1.4"), "pkg:generic/quarto@1.4"),
        (url("later", "thing"), "pkg:generic/thing@1"),
        (url("npm", ""), ""),
        (url("npm", "/"), ""),
        (url("npm", "x" * 3000), ""),
    ],
)
def test_each_kind_has_its_type(found: str, expected: str) -> None:
    """With the qualifiers that the records give."""
    assert found == expected


NAMES = st.text(max_size=20)


@given(st.sampled_from(list(PackageKind)), NAMES, NAMES, NAMES, NAMES)
def test_any_name_gives_a_url_or_none(kind: PackageKind, name: str, version: str, source: str, build: str) -> None:
    """One that is read back as the same one, in printable ASCII: the image chooses the names."""
    package = Package(kind=kind, name=name, version=version)
    found = package_url(package, Description(source=source, build=build, channel=name, architecture=version), DEBIAN)
    if found is not None:
        text = found.to_string()
        assert text.isascii() and text.isprintable() and " " not in text
        assert PackageURL.from_string(text).to_string() == text
