"""Level `package`, the default, on a real image: what nobody tested still works, and the package managers agree."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slimagent import documents
from slimagent.model.plan import Plan
from slimagent.report.explain import Explainer
from tests.container.conftest import Image

pytestmark = pytest.mark.container
TAG = "slimagent-test:package"
START = "tini -g -- jupyter lab --ip=127.0.0.1"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder that any user of a container may write."""
    folder = tmp_path_factory.mktemp("out")
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def ran(image: Image, out: Path) -> dict[str, Any]:
    """A whole run at the default level, with the command as an ordinary user; its summary."""
    arguments = ["run", "--json", "--user", image.user, "--keep-command", START, "--out", "/out", "--", image.command]
    done = image.agent(out, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.fixture(scope="module")
def plan(ran: dict[str, Any], out: Path) -> Plan:
    """The plan of that run."""
    return documents.decode_plan((out / "plan.json").read_bytes())


@pytest.fixture(scope="module")
def slim(image: Image, ran: dict[str, Any], out: Path) -> Iterator[str]:
    """The result as an image."""
    image.load(out / "rootfs.tar", TAG)
    yield TAG
    image.remove(TAG)


def ok(image: Image, script: str, tag: str, user: str = "root", mounts: tuple[str, ...] = ()) -> str:
    """What a shell script says in a new container of the slim image; it has to succeed."""
    done = image.run("-euc", script, entrypoint="sh", user=user, image=tag, mounts=mounts)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_default_level_makes_it_smaller_and_it_passes(image: Image, ran: dict[str, Any], slim: str) -> None:
    """At least 42 % smaller, nothing worse and nothing looked for in vain, and the smoke test passes in a container."""
    assert ran["passed"] is True
    assert (ran["worse"], ran["missed"]) == ([], [])
    assert ran["bytes_after"] <= 0.58 * ran["bytes_before"]
    smoke = image.run(user=image.user, entrypoint=image.command, image=slim)
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr


def test_dpkg_and_apt_agree_with_what_is_there(image: Image, slim: str) -> None:
    """dpkg finds nothing half done, apt no unmet dependency, and every path that dpkg lists as a program is there."""
    assert ok(image, "dpkg --audit", slim) == ""
    ok(image, "apt-get check", slim)
    script = (
        "dpkg-query -W -f '${binary:Package}\\n' | while read -r each; do dpkg-query -L $each; done"
        " | grep -E '^(/usr)?/s?bin/.' | while read -r path; do [ -e $path ] || [ -L $path ] || echo $path; done"
    )
    assert ok(image, script, slim) == ""


def test_packages_that_went_are_not_listed(image: Image, plan: Plan, slim: str) -> None:
    """dpkg lists exactly the packages that the plan keeps, and each manager's records of the others are gone."""
    gone = {each.package.name for each in plan.packages if plan.reasons[each.reason].verdict.value == "drop"}
    kept = {each.package.name for each in plan.packages if plan.reasons[each.reason].verdict.value == "keep"}
    listed = set(ok(image, "dpkg-query -W -f '${Package}\\n'", slim).split())
    assert gone
    assert not listed & (gone - kept)
    dpkg = {each.package.name for each in plan.packages if each.package.kind == "dpkg"}
    assert listed == {name.partition(":")[0] for name in dpkg & kept}


def test_pip_and_r_agree_with_what_is_there(image: Image, slim: str) -> None:
    """pip finds no broken requirement; each distribution that it lists imports; each R package that R lists loads."""
    ok(image, "pip check", slim, image.user)
    script = "import importlib.metadata as m; print(sorted(d.name for d in m.distributions() if d.name is None))"
    assert ok(image, f'python -c "{script}"', slim, image.user).strip() == "[]"
    load = "for (p in rownames(installed.packages())) suppressMessages(loadNamespace(p)); cat('all')"
    assert ok(image, f'Rscript -e "{load}"', slim, image.user).endswith("all")


def test_packages_can_be_installed(image: Image, slim: str, tmp_path: Path) -> None:
    """A Debian package (without the documentation that was cut out of the others), a wheel and an R package install."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "deb"
    for name, text in (
        ("DEBIAN/control", "Package: more\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: more\n"),
        ("usr/bin/more-to-do", "#!/bin/sh\necho done\n"),
        ("usr/share/doc/more/README", "read me\n"),
        ("usr/share/doc/more/copyright", "free\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "usr/bin/more-to-do").chmod(0o755)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", folder, tmp_path / "more.deb"], check=True)
    r = tmp_path / "rpkg"
    (r / "R").mkdir(parents=True)
    (r / "DESCRIPTION").write_text(
        "Package: rpkg\nVersion: 1.0\nTitle: A\nDescription: A.\nAuthor: A\nMaintainer: A <a@b.c>\nLicense: GPL-3\n"
    )
    (r / "NAMESPACE").write_text("export(f)\n")
    (r / "R/f.R").write_text("f <- function() 42\n")
    script = """
    apt-get install --yes /more/more.deb >/dev/null; more-to-do
    test -e /usr/share/doc/more/copyright; test ! -e /usr/share/doc/more/README; dpkg --audit
    R CMD INSTALL --library=/tmp /more/rpkg >/dev/null 2>&1
    Rscript -e 'library(rpkg, lib.loc = "/tmp"); cat(f(), "\\n")'
    """
    assert ok(image, script, slim, mounts=(f"{tmp_path}:/more:ro",)).split() == ["done", "42"]


def test_the_image_starts_as_it_is_meant_to(image: Image, slim: str) -> None:
    """What --keep-command names is there, and so is the login shell of the user."""
    ok(image, "tini --version; jupyter lab --version; getent passwd " + image.user, slim, image.user)
    shell = ok(image, f"getent passwd {image.user} | cut -d: -f7", slim).strip()
    assert ok(image, f"{shell} -lc 'echo login'", slim, image.user).strip() == "login"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/usr/bin/git", "dpkg:git "),
        ("/opt/venv/bin/jupyter-lab", "python:jupyterlab "),
        ("/usr/lib/R/site-library/ggplot2/DESCRIPTION", "dpkg:r-cran-ggplot2 "),
        ("/opt/corners/data/big", "component:corners"),
    ],
)
def test_a_file_is_explained_by_its_owner(plan: Plan, path: str, owner: str) -> None:
    """A file of each kind of owner names it; one that is an R package's too names both."""
    owners = Explainer(plan).explain(path.encode()).owners
    assert owners[0].startswith(owner)
    if path.endswith("DESCRIPTION"):
        assert any(each.startswith("r:ggplot2 ") for each in owners)
