"""Package URLs (https://github.com/package-url/purl-spec): the names by which scanners know packages. Pure."""

from __future__ import annotations

import re

from packageurl import PackageURL

from slimagent.model.inventory import Description, Distribution, Package, PackageKind

_SOURCE = re.compile(r"(\S+)(?: \(([^()]+)\))?")  # deb-control(5), Source: a name, perhaps a version
_MOST = 2000  # characters of a name or version; a real one has some dozen


def package_url(package: Package, description: Description, distribution: Distribution) -> PackageURL | None:
    """The URL of a package; None if it has no name that a URL can hold.

    What no registry has under this name is `pkg:generic`: a component that was installed by hand and has a version, an
    application that declares its requirements, R's own packages and those of Bioconductor. A component without a
    version may be anything in /opt, e.g. a script of one's own: nobody knows it by its name.
    """
    if package.kind == PackageKind.COMPONENT and not package.version:
        return None
    if not package.name or len(package.name) > _MOST or len(package.version) > _MOST:
        return None
    type_, namespace, name, qualifiers = _parts(package, description, distribution)
    try:
        url = PackageURL(
            type=type_,
            namespace=namespace or None,
            name=name,
            version=package.version or None,
            qualifiers={key: value for key, value in qualifiers.items() if value},
        )
        return PackageURL.from_string(url.to_string())  # a URL is what others read, not what was written
    except (ValueError, TypeError):  # TypeError: a name of which nothing is left, e.g. of blanks alone (0.17.6)
        return None


def _parts(
    package: Package, description: Description, distribution: Distribution
) -> tuple[str, str, str, dict[str, str]]:
    """The type, the namespace, the name and the qualifiers."""
    kind, name = package.kind, package.name
    if kind == PackageKind.DPKG:
        return "deb", distribution.id, name.partition(":")[0], _debian(package, description, distribution)
    if kind == PackageKind.CONDA:
        found = {"build": description.build, "channel": description.channel, "subdir": description.architecture}
        return "conda", "", name, found
    if kind == PackageKind.PYTHON and package.version:
        return "pypi", "", name, {}
    if kind == PackageKind.R and not package.essential and "bioconductor" not in description.source.lower():
        return "cran", "", name, {}
    if kind == PackageKind.NPM:
        scope, _, last = (description.source or name).rpartition("/")
        return "npm", scope, last, {}
    if kind == PackageKind.VSCODE and "." in name:
        publisher, _, last = name.partition(".")
        return "vscode-extension", publisher, last, {}
    return "generic", "", name, {}


def _debian(package: Package, description: Description, distribution: Distribution) -> dict[str, str]:
    """The architecture, the distribution, and the source package: vulnerabilities are listed by that."""
    source = _SOURCE.fullmatch(description.source)
    upstream = "" if source is None else "@".join(filter(None, source.groups()))
    architecture = description.architecture or package.name.partition(":")[2]
    version = f"{distribution.id}-{distribution.version}" if distribution.id and distribution.version else ""
    return {"arch": architecture, "distro": version or distribution.codename, "upstream": upstream}
