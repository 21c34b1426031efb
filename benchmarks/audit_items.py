"""What is planted in an image to be found by an audit: for each item the lines of a Dockerfile, and those without it.

The items that need no network are plain shell, for any image with a shell; `tests/container/test_audit.py` plants them
in a small one. The others are real packages, and need Debian 12, a virtual environment in /opt/venv, and registries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

_SITE = "/opt/venv/lib/python3.12/site-packages"
_CONDA = "/opt/conda/lib/python3.12/site-packages"
_EXTENSIONS = "/opt/share/code-server"
_QUARTO, _BUNDLED = "/opt/quarto", "/usr/lib/rstudio-server/bin/quarto"
_AWS = "/usr/local/aws-cli/v2/2.27.0"
_NO_INDEX = "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="  # apt's index files would be larger than the package


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something planted: the commands of its layers, and those with the edit that its finding gives.

    The finding is of `kind`, and says `about` in its title, subjects or evidence. If it is `one_of_many`, one finding
    speaks of all that an image has of this kind, and its evidence has the item's bytes: "libbig.a (40.0 MB)". Only a
    trace of the image's test shows that an item is `unused`. `recommendation` is the number in docs/audit.md.
    """

    name: str
    kind: str
    about: str
    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    recommendation: str
    one_of_many: bool = False
    network: bool = False
    unused: bool = False


def noise(path: str, megabytes: int = 4, mode: str = "644") -> str:
    """A command that makes a file, and its directories, of bytes that are nowhere else."""
    made = f"mkdir -p {path.rpartition('/')[0]} && head -c {megabytes}000000 /dev/urandom > {path}"
    return f"{made} && chmod {mode} {path}"


def _written(path: str, document: object) -> str:
    return f"mkdir -p {path.rpartition('/')[0]} && echo '{json.dumps(document)}' > {path}"


def _distribution(site: str) -> str:
    """A command that installs a distribution as pip does."""
    info = "bigmath-1.0.dist-info"
    rows = "".join(f"{each},,\\n" for each in ("bigmath/data.bin", f"{info}/METADATA", f"{info}/RECORD"))
    return (
        f"{noise(f'{site}/bigmath/data.bin')} && mkdir -p {site}/{info}"
        f" && printf 'Metadata-Version: 2.1\\nName: bigmath\\nVersion: 1.0\\n' > {site}/{info}/METADATA"
        f" && printf '{rows}' > {site}/{info}/RECORD"
    )


def _conda() -> str:
    """A command that installs the same distribution as conda does."""
    record = {"name": "bigmath", "version": "1.0", "depends": [], "files": [f"{_CONDA[11:]}/bigmath/data.bin"]}
    return f"{noise(f'{_CONDA}/bigmath/data.bin', 5)} && {_written('/opt/conda/conda-meta/bigmath-1.0-0.json', record)}"


def _quarto(place: str) -> str:
    """A command that unpacks Quarto: a small script, its JavaScript, and the programs that it brings."""
    program = f"{place}/bin/quarto"
    script = f"mkdir -p {place}/bin && printf '#!/bin/sh\\nexec deno\\n' > {program} && chmod 755 {program}"
    tools = (noise(f"{place}/bin/tools/x86_64/{each}", 3, "755") for each in ("deno", "pandoc", "typst"))
    return " && ".join((script, noise(f"{place}/bin/quarto.js", 2), *tools, noise(f"{place}/share/formats/all", 2)))


def _extension() -> str:
    """A command that installs an extension as code-server does."""
    directory = "me.tool-1.0.0"
    manifest = {
        "name": "tool",
        "publisher": "me",
        "version": "1.0.0",
        "engines": {"vscode": "*"},
        "main": "dist/main.js",
    }
    listed = [{"identifier": {"id": "me.tool"}, "version": "1.0.0", "relativeLocation": directory}]
    return " && ".join(
        (
            noise(f"{_EXTENSIONS}/{directory}/dist/main.js"),
            _written(f"{_EXTENSIONS}/{directory}/package.json", manifest),
            _written(f"{_EXTENSIONS}/extensions.json", listed),
        )
    )


def _aws() -> str:
    """A command that leaves what the installer of the AWS CLI, version 2, leaves."""
    links = f"mkdir -p {_AWS}/bin && ln -s ../dist/aws {_AWS}/bin/aws && ln -s {_AWS} /usr/local/aws-cli/v2/current"
    return " && ".join((noise(f"{_AWS}/dist/aws", 3, "755"), noise(f"{_AWS}/dist/awscli/data/ac.index", 4), links))


_ROOM = "python3 -m venv --without-pip /opt/notes"
_PIP = "/usr/bin/python3 -m pip --python /opt/notes/bin/python install"


def _apt(packages: str, clean: str = "") -> str:
    """A command that installs packages of Debian; `clean` are the archives that it removes."""
    removal = f" && rm -f /var/cache/apt/archives/{clean}" if clean else ""
    return f"apt-get {_NO_INDEX} install -y --no-install-recommends {packages}{removal}"


# The last ones are the cheapest to build again. RUN true stands where nothing is left of an item.
ITEMS = (
    Item(
        name="headers of a package",
        kind="headers",
        about="dpkg:libcgal-dev",
        before=(_apt("libcgal-dev", "lib*"),),
        after=(f"{_apt('libcgal-dev', 'lib*')} && rm -rf /usr/include/CGAL",),
        one_of_many=True,
        network=True,
        recommendation="12",
    ),
    Item(
        name="a package of apt's that nobody uses",
        kind="unused",
        about="dpkg:libeigen3-dev",
        before=(_apt("tree libeigen3-dev", "libeigen3*"),),
        after=(_apt("tree"),),
        network=True,
        unused=True,
        recommendation="1",
    ),
    Item(
        name="apt's cache",
        kind="hidden",
        about="/var/cache/apt/archives/hugo_",
        before=(_apt("hugo"), "rm -f /var/cache/apt/archives/hugo_*"),
        after=(_apt("hugo", "hugo_*"),),
        network=True,
        recommendation="8",
    ),
    Item(
        name="a copy by pip",
        kind="duplicate",
        about="altair is installed",
        before=("/usr/bin/python3 -m pip install --break-system-packages --no-cache-dir --no-deps altair",),
        after=("true",),
        network=True,
        recommendation="13",
    ),
    Item(
        name="a package of pip's that nobody uses",
        kind="unused",
        about="python:django",
        before=(f"{_ROOM} && {_PIP} --no-cache-dir django",),
        after=(_ROOM,),
        network=True,
        unused=True,
        recommendation="1",
    ),
    Item(
        name="a layer of owners",
        kind="copied-again",
        about="/srv/data/a",
        before=(noise("/srv/data/a"), "chown -R 1000:1000 /srv/data"),
        after=(f"{noise('/srv/data/a')} && chown -R 1000:1000 /srv/data",),
        recommendation="8",
    ),
    Item(
        name="a package that apt left",
        kind="hidden",
        about="a.deb",
        before=(
            f"{noise('/var/cache/apt/archives/a.deb')} && touch /srv/installed",
            "rm /var/cache/apt/archives/a.deb",
        ),
        after=("touch /srv/installed",),
        recommendation="8",
    ),
    Item(
        name="a second Quarto",
        kind="duplicate",
        about="quarto is there 2 times",
        before=(f"{noise('/usr/lib/rstudio-server/bin/rserver', 1, '755')} && {_quarto(_BUNDLED)}", _quarto(_QUARTO)),
        after=(f"{noise('/usr/lib/rstudio-server/bin/rserver', 1, '755')} && {_quarto(_BUNDLED)}",),
        recommendation="2",
    ),
    Item(
        name="a copy by pip, of conda's",
        kind="duplicate",
        about="bigmath",
        before=(_conda(), _distribution(_SITE)),
        after=(_conda(),),
        recommendation="13",
    ),
    Item(
        name="an extension",
        kind="extension",
        about="me.tool",
        before=(_extension(),),
        recommendation="7",
    ),
    Item(
        name="the AWS CLI",
        kind="optional-tool",
        about=_AWS,
        before=(_aws(),),
        recommendation="3",
    ),
    Item(
        name="headers",
        kind="headers",
        about="/usr/local/include/big",
        before=(noise("/usr/local/include/big/big.h"),),
        one_of_many=True,
        recommendation="12",
    ),
    Item(
        name="a static library",
        kind="static-libraries",
        about="/usr/local/lib/libbig.a",
        before=(noise("/usr/local/lib/libbig.a", 40),),
        one_of_many=True,
        recommendation="11",
    ),
    Item(
        name="bytecode",
        kind="byte-code",
        about=f"{_SITE}/__pycache__",
        before=(f"mkdir -p {_SITE} && touch {_SITE}/m.py && {noise(f'{_SITE}/__pycache__/m.cpython-312.pyc', 12)}",),
        after=(f"mkdir -p {_SITE} && touch {_SITE}/m.py",),
        one_of_many=True,
        recommendation="10",
    ),
)


def instructions(items: Sequence[Item], edited: str = "") -> str:
    """The lines of a Dockerfile that plant these items; the one that is `edited` with the edit."""
    lines = (line for each in items for line in (each.after if each.name == edited else each.before))
    return "".join(f"RUN {line}\n" for line in lines)
