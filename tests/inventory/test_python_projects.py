"""What an application that was copied into the image declares: requirements.txt and pyproject.toml beside its code."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_images import write

from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Owners

SITE = "/usr/lib/python3.12/site-packages"


def found(root: Path) -> Owners:
    return owners(scan(str(root.resolve()).encode()))


def distribution(root: Path, name: str, *requires: str) -> None:
    """An installed distribution, as pip leaves it."""
    info = f"{SITE}/{name}-1.0.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {each}" for each in requires)]
    write(root, f"{info}/METADATA", "\n".join([*lines, ""]))
    write(root, f"{SITE}/{name}.py", "x = 1\n")
    write(root, f"{info}/RECORD", f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n{name}-1.0.dist-info/RECORD,,\n")


def declared(table: Owners, place: bytes, name: str) -> set[str]:
    """The packages that an application requires."""
    (at,) = (n for n, each in enumerate(table.packages) if (each.place, each.name) == (place, name))
    return {table.packages[each].name for each, _ in table.requires[at]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "/usr/bin/python3.12", "x", 0o755)
    for name in ("flask", "openpyxl", "pytest", "uvloop"):
        distribution(tmp_path, name)
    distribution(tmp_path, "pandas", "openpyxl; extra == 'excel'")
    write(tmp_path, "/srv/app/main.py", "import flask\n")
    return tmp_path


def test_a_requirements_file_beside_an_application(root: Path) -> None:
    """Comments, options, hashes, continued lines, extras and markers are read as pip does; a wrong line is left out."""
    text = (
        "# what the application needs\nFlask>=2  # web\n--no-binary :all:\n-r other.txt\n./local\n"
        "pandas[excel] == 1.0 \\\n    --hash=sha256:00\nuvloop; sys_platform == 'win32'\n===\nnot-installed\n"
    )
    write(root, "/srv/app/requirements.txt", text)
    table = found(root)
    assert declared(table, b"/srv", "app") == {"flask", "pandas", "openpyxl"}
    assert not table.problems


def test_a_pyproject_beside_an_application(root: Path) -> None:
    """Its dependencies, not those of a group or an extra; one without any, or a broken one, makes no application."""
    text = "[project]\nname='x'\ndependencies=['flask']\n[project.optional-dependencies]\nt=['pytest']\n"
    write(root, "/srv/app/pyproject.toml", text)
    write(root, "/srv/tool/pyproject.toml", "[tool.ruff]\nline-length = 120\n")
    write(root, "/srv/broken/pyproject.toml", "[project\n")
    table = found(root)
    assert declared(table, b"/srv", "app") == {"flask"}
    assert {each.name for each in table.packages} == {"flask", "openpyxl", "pytest", "uvloop", "pandas", "app"}
    assert [path for path, _ in table.problems] == [b"/srv/broken/pyproject.toml"]


@pytest.mark.parametrize("name", ["requirements-dev.txt", "dev-requirements.txt", "requirements/test.txt", "notes.txt"])
def test_what_only_developers_need_is_not_required(root: Path, name: str) -> None:
    """Nor what is no requirements file."""
    write(root, f"/srv/app/{name}", "pytest\n")
    assert "app" not in {each.name for each in found(root).packages}


def test_a_file_inside_a_distribution_declares_nothing(root: Path) -> None:
    """Packages ship templates of such files."""
    write(root, f"{SITE}/templates/requirements.txt", "pytest\n")
    assert "templates" not in {each.name for each in found(root).packages}


def test_the_application_s_own_code_stays_nobody_s(root: Path) -> None:
    """The package owns the file with its requirements and nothing else."""
    write(root, "/srv/app/requirements/base.txt", "flask\n")
    table = found(root)
    at = table.of[scan(str(root.resolve()).encode()).index[b"/srv/app/main.py"]]
    assert at == -1
    assert declared(table, b"/srv", "app") == {"flask"}
