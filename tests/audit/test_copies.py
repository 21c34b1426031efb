"""Copies of distributions: which of them can go, what is said of it, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_images import known_of
from plan_images import Installed, write

from slimagent.audit.by_layer import IN_BASE
from slimagent.audit.duplicates import distributions
from slimagent.model.audit import Finding, Layers, Risk
from tests.audit.test_edits import BASE, KB, MB, live, stacked

DEBIAN = "/usr/lib/python3/dist-packages"
IF_UNUSED = "can go if nothing in that environment needs it"


def site(venv: str) -> str:
    """The site directory of an environment."""
    return f"{venv}/lib/python3.11/site-packages"


def copies_of(
    root: Path, sites: list[str], used: list[str] | None, layers: Layers | None = None, *more: Installed
) -> list[Finding]:
    """What is said of YAML in several site directories; beside each copy there is another distribution."""
    packages = list(more)
    for number, each in enumerate(sites):
        venv, _, is_venv = each.partition("/lib/python3.")
        if is_venv:
            write(root, f"{venv}/pyvenv.cfg", "home = /usr/bin\n")
        write(root, f"{each}/yaml.py", MB + each.encode())
        write(root, f"{each}/other{number}.py", KB)
        packages.append(Installed("python:yaml", [f"{each}/yaml.py"], place=each.encode()))
        packages.append(Installed(f"python:other{number}", [f"{each}/other{number}.py"], place=each.encode()))
    return [each.finding for each in distributions(known_of(root, packages, used, layers=layers))]


@pytest.mark.parametrize(
    ("used", "risk"),
    [(None, Risk.MEDIUM), (["v1/yaml"], Risk.MEDIUM), (["v1/yaml", "v2/other1"], Risk.LOW)],
)
def test_a_copy_in_another_environment_goes_only_if_nothing_there_needs_it(
    tmp_path: Path, used: list[str] | None, risk: Risk
) -> None:
    """Neither environment sees the other's. If no test used anything there, nobody knows."""
    sites = {each: site(f"/opt/{each}") for each in ("v1", "v2")}
    accesses = None
    if used is not None:
        accesses = [f"{sites[each.partition('/')[0]]}/{each.partition('/')[2]}.py" for each in used]
    (found,) = copies_of(tmp_path, list(sites.values()), accesses)
    assert found.evidence[0] == f"python:yaml 1 in {sites['v1']} stays"
    assert found.evidence[1] == f"python:yaml 1 in {sites['v2']} {IF_UNUSED}"
    assert found.risk is risk


def test_a_second_copy_in_one_environment_can_go(tmp_path: Path) -> None:
    """By conda and by pip: what needs it finds the other one."""
    conda = Installed("conda:yaml", ["/opt/conda/pkg/yaml.py"], place=b"/opt/conda")
    write(tmp_path, "/opt/conda/pkg/yaml.py", MB)
    write(tmp_path, "/opt/conda/conda-meta/history", "")
    place = site("/opt/conda")
    write(tmp_path, f"{place}/yaml.py", MB + MB)
    pip = Installed("python:yaml", [f"{place}/yaml.py"], place=place.encode())
    known = known_of(tmp_path, [conda, pip], ["/opt/conda/pkg/yaml.py"])
    (found,) = (each.finding for each in distributions(known))
    assert found.evidence[:2] == ("conda:yaml 1 in /opt/conda stays", f"python:yaml 1 in {place} can go")
    assert found.risk is Risk.LOW


@pytest.mark.parametrize(
    ("requires", "essential", "stays"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_a_copy_of_a_package_that_something_requires_stays(
    tmp_path: Path, requires: bool, essential: bool, stays: bool
) -> None:
    """Debian's python3-setuptools is a distribution, too; bytecode beside it is in no record of dpkg's."""
    files = [f"{DEBIAN}/yaml.py", f"{DEBIAN}/yaml.cpython-311.pyc", f"{DEBIAN}/__pycache__/b.cpython-311.pyc"]
    for path in files:
        write(tmp_path, path, MB)
    venv = site("/opt/v")
    for name in ("yaml", "other"):
        write(tmp_path, f"{venv}/{name}.py", MB + MB)
    packages = [
        Installed("dpkg:python3-yaml", files[:1], essential=essential),
        Installed("dpkg:reportbug", requires=["dpkg:python3-yaml"] if requires else []),
        Installed("python:yaml", files, place=DEBIAN.encode()),
        Installed("python:yaml", [f"{venv}/yaml.py"], place=venv.encode()),
        Installed("python:other", [f"{venv}/other.py"], place=venv.encode()),
    ]
    (found,) = (each.finding for each in distributions(known_of(tmp_path, packages)))
    said = next(each for each in found.evidence if f"in {DEBIAN} " in each)
    assert said.endswith("stays" if stays else IF_UNUSED)


def test_a_distribution_that_conda_packed_is_not_required_for_that(tmp_path: Path) -> None:
    """Its own record is a part of conda's package: it keeps no copy. What requires either of the two does."""
    place = site("/opt/conda/envs/a")
    venv = site("/opt/v")
    record = "/opt/conda/envs/a/conda-meta/yaml-1.json"
    shared = [f"{place}/yaml.py", f"{place}/_yaml.so"]
    for path in (record, *shared, f"{venv}/yaml.py", f"{venv}/other.py", f"{venv}/more.py"):
        write(tmp_path, path, MB + path.encode())
    packages = [
        Installed("conda:yaml", [record, *shared], place=b"/opt/conda/envs/a"),
        Installed("python:other", [f"{venv}/other.py"], place=venv.encode()),
        Installed("python:more", [f"{venv}/more.py"], place=venv.encode()),
        Installed("python:yaml", [f"{venv}/yaml.py"], place=venv.encode()),
        Installed("python:yaml", shared, place=place.encode()),
    ]
    (found,) = (each.finding for each in distributions(known_of(tmp_path, packages)))
    assert found.evidence[:2] == (
        f"conda:yaml 1 in /opt/conda/envs/a {IF_UNUSED}",
        f"python:yaml 1 in {venv} stays",
    )
    packages[1] = Installed("python:other", [f"{venv}/other.py"], requires=["python:yaml"], place=venv.encode())
    (found,) = (each.finding for each in distributions(known_of(tmp_path, packages)))
    assert found.evidence[0] == "conda:yaml 1 in /opt/conda/envs/a stays"


def test_a_copy_of_the_base_image_is_not_left_out(tmp_path: Path) -> None:
    """No line of this Dockerfile can; the other copies have their edits."""
    sites = [site("/opt/v1"), site("/opt/v2"), "/usr/lib/base"]
    of = {f"{sites[0]}/yaml.py": 1, f"{sites[1]}/yaml.py": 1, f"{sites[2]}/yaml.py": 0}
    (found,) = copies_of(tmp_path, sites, None, stacked([BASE, "RUN pip"], of))
    assert f"python:yaml 1 in {sites[2]} is in layer 1: {IN_BASE}" in found.evidence
    assert found.edit.split("\n")[-1] == f"# yaml in {sites[2]}: {IN_BASE}"
    assert sum(IN_BASE in line for line in found.edit.split("\n")) == 1
    assert live(found) == []


def test_small_copies_of_the_base_image_are_left_out(tmp_path: Path) -> None:
    """The edit is about all of them: it could do nothing about these."""
    packages = []
    for name in "ab":
        for home, size in (("/usr/lib/base", 1), ("/opt/large", 2)):
            write(tmp_path, f"{home}/{name}.py", KB * size)
            packages.append(Installed(f"python:{name}", [f"{home}/{name}.py"], place=home.encode()))
    of = {"/usr/lib/base/a.py": 0, "/usr/lib/base/b.py": 1, "/opt/large/a.py": 1, "/opt/large/b.py": 1}
    known = known_of(tmp_path, packages, layers=stacked([BASE, "RUN pip"], of))
    (found,) = (each.finding for each in distributions(known))
    assert (found.title, found.size) == ("1 more distribution installed several times", len(KB))
    assert found.subjects == ("python:b",)
