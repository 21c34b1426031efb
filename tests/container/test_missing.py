"""`slimagent missing` on a real image: removals of every kind, and what the real programs say about them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from schemas import problems

from slimagent import documents
from slimagent.model.plan import Entry, Plan
from slimagent.model.reason import Reason, ReasonKind, Verdict
from tests.container.conftest import Image
from tests.container.slimming import BUNDLE

SITE, R = "/opt/venv/lib/python3.11/site-packages", "/usr/lib/R/site-library"
CODE_SERVER = "/usr/lib/code-server"
ENTRY = f"{CODE_SERVER}/node_modules/code-server/out/node/entry.js"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
CONDA = {
    "/opt/planted/conda-meta/shout-2.1-h1.json": json.dumps(
        {"name": "shout", "version": "2.1", "build": "h1", "files": ["bin/shout"], "depends": []}
    ),
    "/opt/planted/conda-meta/history": "",
    "/opt/planted/bin/shout": "#!/bin/sh\necho loud\n",
    "/opt/planted/unowned/data.csv": "a,b\n1,2\n",
    "/opt/planted/script": "#!/usr/bin/mawk -f\nBEGIN { print 1 }\n",
}


R_PACKAGE = """
set -e
mkdir -p /tmp/planted/R
printf '%s\\n' 'Package: planted' 'Version: 1.0' 'Title: T' 'Description: D.' 'License: MIT' 'Author: A' \\
    'Maintainer: A <a@b.c>' \\
    > /tmp/planted/DESCRIPTION
echo 'export(f)' > /tmp/planted/NAMESPACE
echo 'f <- function() 1' > /tmp/planted/R/f.R
R CMD INSTALL --no-docs --library=/usr/local/lib/R/site-library /tmp/planted
"""


@dataclass(frozen=True)
class Planted:
    """Something that is removed, a program that says so, and the owner that the answer names.

    `gone` is a path, or a package as KIND:NAME. `said` is part of the message: it is the kind that is meant.
    """

    gone: str
    command: tuple[str, ...]
    said: str
    owner: str = ""

    @property
    def is_package(self) -> bool:
        return not self.gone.startswith("/")


def sh(gone: str, line: str, said: str, owner: str = "", by: str = "bash") -> Planted:
    return Planted(gone, (by, "-c", line), said, owner)


def python(gone: str, program: str, said: str, owner: str = "") -> Planted:
    return Planted(gone, ("python3", "-c", program), said, owner)


def r(gone: str, program: str, said: str, owner: str = "") -> Planted:
    return Planted(gone, ("Rscript", "--vanilla", "-e", program), said, owner)


PLANTED = (
    sh("dpkg:less", "less x", "less: command not found", "dpkg:less"),
    sh("dpkg:unzip", "unzip x", "unzip: not found", "dpkg:unzip", by="sh"),
    sh("/usr/bin/curl", "env curl", "env: \u2018curl\u2019: No such file", "dpkg:curl"),
    Planted("/usr/bin/fc-list", ("fc-list",), '"fc-list": executable file not found', "dpkg:fontconfig"),
    sh("/usr/bin/patch", "printf 'all:\\n\\tpatch\\n' | make -f -", "patch: No such file", "dpkg:patch"),
    sh("/usr/bin/gpgv", "timeout 5 gpgv", "failed to run command", "dpkg:gpgv"),
    sh("/usr/bin/mawk", "/opt/planted/script", "required file not found", "dpkg:mawk"),
    sh("/usr/bin/ar", "exec /usr/bin/ar", "/usr/bin/ar: No such file", "dpkg:binutils"),
    python("/usr/bin/xz", "import subprocess; subprocess.run(['xz'])", "[Errno 2]", "dpkg:xz-utils"),
    sh(f"{LIBRARIES}/libfontconfig.so.1.12.0", "fc-cache", "error while loading shared", "dpkg:libfontconfig1"),
    sh(f"{LIBRARIES}/libssl.so.3", "openssl version", "error while loading shared", "dpkg:libssl3"),
    python(
        f"{LIBRARIES}/libsqlite3.so.0.8.6",
        "import ctypes; ctypes.CDLL('libsqlite3.so.0')",
        "cannot open shared object file",
        "dpkg:libsqlite3-0",
    ),
    python("python:pyyaml", "import yaml", "No module named 'yaml'", "python:pyyaml"),
    python(f"{SITE}/requests/adapters.py", "import requests", "named 'requests.adapters'", "python:requests"),
    Planted(
        "/usr/lib/python3.11/json/tool.py",
        ("python3", "-m", "json.tool"),
        "No module named json.tool",
        "dpkg:libpython3.11-stdlib",
    ),
    python(
        "/usr/lib/python3.11/email/policy.py",
        "from email import policy",
        "cannot import name 'policy'",
        "dpkg:libpython3.11-minimal",
    ),
    python(
        "/usr/lib/python3.11/lib-dynload/_curses.cpython-311-x86_64-linux-gnu.so",
        "import _curses",
        "No module named '_curses'",
        "dpkg:libpython3.11-stdlib",
    ),
    python(
        "/usr/share/common-licenses/GPL-3",
        "open('/usr/share/common-licenses/GPL-3')",
        "No such file or directory: '/usr",
        "dpkg:base-files",
    ),
    python(f"{SITE}/tzdata/zoneinfo/Asia/Baku", "", "", "python:tzdata"),
    python(
        "/usr/share/zoneinfo/Asia/Baku",
        "import zoneinfo; zoneinfo.ZoneInfo('Asia/Baku')",
        "No time zone found",
        "dpkg:tzdata",
    ),
    r("dpkg:r-cran-crayon", "library(crayon)", "no package called \u2018crayon\u2019", "dpkg:r-cran-crayon"),
    r("r:planted", "planted::f()", "no package called \u2018planted\u2019", "r:planted"),
    r(f"{R}/digest/libs/digest.so", "digest::digest(1)", "shared object", "dpkg:r-cran-digest"),
    r(
        "/usr/share/common-licenses/BSD",
        "readLines('/usr/share/common-licenses/BSD')",
        "cannot open",
        "dpkg:base-files",
    ),
    Planted(
        "/usr/share/perl/5.36.0/Text/Balanced.pm",
        ("perl", "-MText::Balanced", "-e", "1"),
        "Can't locate Text/Balanced.pm",
        "dpkg:perl-modules-5.36",
    ),
    sh("/usr/share/common-licenses/MPL-1.1", "cat /usr/share/common-licenses/MPL-1.1", "cat: ", "dpkg:base-files"),
    sh("/etc/mime.types", "ls /etc/mime.types", "cannot access '/etc/mime.types'", "dpkg:media-types"),
    sh("/usr/include/complex.h", "echo '#include <complex.h>' | cpp", "complex.h: No such file", "dpkg:libc6-dev"),
    sh(f"{LIBRARIES}/Scrt1.o", "ld Scrt1.o", "cannot find Scrt1.o", "dpkg:libc6-dev"),
    sh(
        f"{CODE_SERVER}/node_modules/express/lib/express.js",
        f"cd {CODE_SERVER}/node_modules/code-server && node -e 'require(\"express\")'",
        "Cannot find module './lib/express'",
        "npm:express",
    ),
    sh(
        "npm:yauzl",
        f"cd {CODE_SERVER}/node_modules/code-server/lib/vscode && node -e 'require(\"yauzl\")'",
        "Cannot find module 'yauzl'",
        "npm:yauzl",
    ),
    sh(ENTRY, f"node {ENTRY}", "Cannot find module '/", "npm:code-server"),
    sh("conda:shout", "PATH=/opt/planted/bin:$PATH; shout", "shout: command not found", "conda:shout"),
    sh("/opt/planted/unowned/data.csv", "tail /opt/planted/unowned/data.csv", "cannot open '/opt"),
)


class Slimmed:
    """A container of the image from which the planted things were removed in place, with the list inside."""

    def __init__(self, image: Image, out: Path) -> None:
        self._out = out
        words = ["docker", "run", "-d", "--network=none", "--user=root", "-v", f"{BUNDLE}:/agent:ro"]
        words += ["-v", f"{out}:/out", "--entrypoint", "sleep", image.name, "infinity"]
        self.name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        try:
            for path, text in CONDA.items():
                (out / "file").write_text(text)
                self.need("sh", "-c", f"mkdir -p $(dirname {path}) && cp /out/file {path} && chmod 755 {path}")
            self.need("sh", "-c", R_PACKAGE)
            self.agent("trace", "-o", "/out/trace.json", "--", "true")
            self.agent("plan", "/out/trace.json", "--level", "cruft", "-o", "/out/plan.json")
            plan, self.planted = with_removals(documents.decode_plan((out / "plan.json").read_bytes()))
            (out / "plan.json").write_bytes(documents.encode_plan(plan))
            self.agent("apply", "/out/plan.json", "--in-place", "--removed-inside", "-o", "/out/receipt.json")
        except BaseException:
            self.remove()
            raise

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container."""
        words = ["docker", "exec", "-e", "LC_ALL=C.UTF-8", "-u", "root", self.name, *command]
        return subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)

    def need(self, *command: str) -> subprocess.CompletedProcess[str]:
        ended = self.run(*command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def agent(self, *arguments: str) -> str:
        return self.need("/agent/entrypoint.sh", *arguments).stdout

    def remove(self) -> None:
        subprocess.run(["docker", "rm", "-f", "-v", self.name], capture_output=True, check=False)


def with_removals(plan: Plan) -> tuple[Plan, tuple[Planted, ...]]:
    """A plan that drops what is planted, and nothing else; and what of it the image has."""
    keep, drop = len(plan.reasons), len(plan.reasons) + 1
    reasons = [
        *plan.reasons,
        Reason(kind=ReasonKind.NO_CRUFT),
        Reason(kind=ReasonKind.UNUSED, verdict=Verdict.DROP),
    ]
    paths = {each.path for each in plan.entries}
    labels = {each.package.label: number for number, each in enumerate(plan.packages)}
    planted = tuple(
        each for each in PLANTED if (each.gone in labels if each.is_package else each.gone.encode() in paths)
    )
    whole = dict.fromkeys((labels[each.gone] for each in planted if each.is_package), keep)
    gone = {each.gone.encode() for each in planted if not each.is_package}
    packages = [replace(each, reason=drop if at in whole else keep) for at, each in enumerate(plan.packages)]
    for at in whole:
        whole[at] = len(reasons)
        reasons.append(Reason(kind=ReasonKind.PACKAGE_GONE, verdict=Verdict.DROP, package=at))

    def reason(entry: Entry) -> int:
        return whole.get(entry.owner, drop if entry.path in gone else keep)

    entries = tuple(each._replace(reason=reason(each)) for each in plan.entries)
    return replace(
        plan, reasons=tuple(reasons), packages=tuple(packages), entries=entries, edits=(), strips=(), unstripped=()
    ), planted


@pytest.fixture(scope="module")
def slimmed(image: Image) -> Iterator[Slimmed]:
    with tempfile.TemporaryDirectory() as out:
        made = Slimmed(image, Path(out))
        try:
            yield made
        finally:
            made.remove()


def test_an_error_leads_to_what_was_removed(slimmed: Slimmed) -> None:
    """For every kind of message and every owner that the image has."""
    wrong, asked = [], 0
    for each in slimmed.planted:
        if not each.said:  # it only makes room for another one
            continue
        ended = slimmed.run(*each.command)
        text = ended.stdout + ended.stderr
        if each.said not in text:
            wrong.append((each.gone, "the program said", text))
            continue
        asked += 1
        told = slimmed.run("/agent/entrypoint.sh", "missing", "--json", text)
        document = json.loads(told.stdout)
        assert problems("missing", document) == []
        fitting = [answer for answer in document["answers"] if is_answer(answer, each)]
        if told.returncode or not fitting:
            wrong.append((each.gone, text, told.stdout + told.stderr))
    assert wrong == [], "\n\n".join("\n".join(each) for each in wrong)
    assert asked >= 10


def is_answer(answer: dict[str, object], planted: Planted) -> bool:
    """Whether an answer names what was planted, its owner, the way back and the rule."""
    removed = answer["removed"]
    assert isinstance(removed, list)
    named = planted.is_package or planted.gone in {each["path"] for each in removed}
    owner = answer["owner"] or ""
    rule, restore = str(answer["rule"]), str(answer["restore"])
    if planted.is_package:
        return owner == planted.gone and f'package = "{planted.gone}"' in rule and planted.gone in restore
    return bool(named) and (not planted.owner or owner == planted.owner) and f'path = "{planted.gone}"' in rule


def test_a_command_that_looks_in_vain(slimmed: Slimmed) -> None:
    """It is run under the tracer, and its look-ups are answered."""
    told = slimmed.run("/agent/entrypoint.sh", "missing", "--json", "--", "cat", "/etc/mime.types")
    assert told.returncode == 0, told.stderr
    assert [each["path"] for answer in json.loads(told.stdout)["answers"] for each in answer["removed"]] == [
        "/etc/mime.types"
    ]


def test_nothing_removed_explains_it(slimmed: Slimmed) -> None:
    """A name that the image never had: it is said plainly, with status 1."""
    for text in ("cat: /nowhere/x: No such file or directory", "ModuleNotFoundError: No module named 'nowhere'"):
        told = slimmed.run("/agent/entrypoint.sh", "missing", text)
        assert (told.returncode, told.stdout.strip()) == (1, "")
        assert "nothing that was removed explains it" in told.stderr
    told = slimmed.run("/agent/entrypoint.sh", "missing", "all is well")
    assert (told.returncode, "names nothing that is missing" in told.stderr) == (1, True)
