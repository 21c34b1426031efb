"""Which Python environments are found, from names alone, in trees that look like images."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from checks_context import make_venv
from plan_images import link, write

from slimagent.checks.python import prefixes
from slimagent.checks.python.prefixes import Environment, environments, is_bare, of_interpreter


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree; the usual places lie in it."""
    root = tmp_path / "image"
    for name in ("DIRECTORIES", "DATA"):
        monkeypatch.setattr(prefixes, name, tuple(f"{root}{each}" for each in getattr(prefixes, name)))
    return root


def system(root: Path, prefix: str, version: str = "3.11") -> Path:
    """An installation: a program, two links to it, a library."""
    program = write(root, f"{prefix}/bin/python{version}", mode=0o755)
    link(root, f"{prefix}/bin/python3", f"python{version}")
    write(root, f"{prefix}/lib/python{version}/os.py")
    return program


def venv(root: Path, prefix: str, base: str) -> None:
    """A virtual environment, as `venv` makes it."""
    link(root, f"{prefix}/bin/python3", f"{root}{base}/bin/python3")
    write(root, f"{prefix}/pyvenv.cfg", "home = somewhere\n")


def conda(root: Path, prefix: str) -> None:
    system(root, prefix)
    write(root, f"{prefix}/conda-meta/history", "")


def found(root: Path, *path: str, **env: str) -> list[tuple[str, str]]:
    """Prefix in the tree and kind of each, in their order."""
    env = {"PATH": os.pathsep.join(f"{root}{directory}" for directory in path), **env}
    return [(each.prefix.removeprefix(str(root)), each.kind) for each in environments(env)]


def test_nothing_is_found_in_nothing(image: Path) -> None:
    """Without interpreters there are no environments, and directories that are not there are no error."""
    assert found(image) == []
    assert found(image, "/bin", "/no/such", HOME=str(image), JUPYTER_PATH="/no/such:relative") == []


def test_the_first_on_path_comes_first(image: Path) -> None:
    """PATH's python3 is the first, its other directories follow, each prefix once; then what the usual places hold."""
    system(image, "/usr")
    system(image, "/usr/local", "3.12")
    venv(image, "/opt/venv", "/usr")
    venv(image, "/opt/aws", "/usr")
    link(image, "/bin", "usr/bin")
    assert found(image, "/opt/venv/bin", "/bin", "/usr/bin") == [
        ("/opt/venv", "venv"), ("/usr", "system"), ("/usr/local", "system"), ("/opt/aws", "venv")
    ]  # fmt: skip


def test_an_interpreter_with_a_version_in_its_name_counts(image: Path) -> None:
    """Where there is neither python3 nor python, the newest python3.N is taken, by number."""
    for version in ("3.9", "3.14"):
        system(image, "/usr/local", version)
        (image / "usr/local/bin/python3").unlink()
    env = {"PATH": f"{image}/usr/local/bin"}
    assert [each.interpreter for each in environments(env)] == [f"{image}/usr/local/bin/python3.14"]


def test_links_lead_to_what_lies_below(image: Path) -> None:
    """The installation that a virtual environment is made from is found, wherever it is; a link to a link too."""
    system(image, "/root/share/cpython")
    venv(image, "/srv/env", "/root/share/cpython")
    link(image, "/tools/python3", "../between")
    link(image, "/between", "srv/env/bin/python3")
    assert found(image, "/tools") == [("/root/share/cpython", "system"), ("/srv/env", "venv")]


def test_conda_environments_are_found_from_any_of_them(image: Path) -> None:
    """The base leads to its environments, and an environment to the base; so does conda's list of others."""
    conda(image, "/opt/conda")
    conda(image, "/opt/conda/envs/one")
    conda(image, "/elsewhere/mine")
    write(image, "/home/me/.conda/environments.txt", f"{image}/elsewhere/mine\nrelative\n\n/no/such\n")
    env = {"HOME": f"{image}/home/me"}
    assert found(image, "/opt/conda/bin", **env) == [
        ("/opt/conda", "conda"), ("/elsewhere/mine", "conda"), ("/opt/conda/envs/one", "conda")
    ]  # fmt: skip
    conda(image, "/srv/mamba/envs/two")
    conda(image, "/srv/mamba")
    assert found(image, "/srv/mamba/envs/two/bin")[0] == ("/srv/mamba/envs/two", "conda")
    assert ("/srv/mamba", "conda") in found(image, "/srv/mamba/envs/two/bin")


def test_a_root_of_environments_without_a_python_of_its_own(image: Path) -> None:
    """micromamba's root holds environments and no interpreter; a variable names it."""
    conda(image, "/srv/mamba/envs/two")
    assert found(image, MAMBA_ROOT_PREFIX=f"{image}/srv/mamba") == [("/srv/mamba/envs/two", "conda")]


def test_kernels_lead_to_their_interpreters(image: Path) -> None:
    """A kernelspec names an interpreter by an absolute path; what is none is passed over."""
    system(image, "/usr")
    venv(image, "/srv/kernel", "/usr")
    venv(image, "/srv/own", "/usr")
    for at, (directory, argv) in enumerate(
        (
            ("/usr/share/jupyter", [f"{image}/srv/kernel/bin/python3", "-m", "ipykernel_launcher"]),
            ("/data", [f"{image}/srv/own/bin/python3"]),
            ("/data", ["python", "-m", "ipykernel_launcher"]),
            ("/data", ["/no/such/python3"]),
            ("/data", [f"{image}/usr/bin"]),
        )
    ):
        write(image, f"{directory}/kernels/k{at}/kernel.json", json.dumps({"argv": argv}))
    for at, text in enumerate(
        ("", "[]", '{"argv": []}', '{"argv": [1]}', '{"argv": {}}', '{"argv": ["/\\ud800/python3"]}', "[" * 90_000)
    ):
        write(image, f"/data/kernels/bad{at}/kernel.json", text)
    os.makedirs(image / "data/kernels/pipe")
    os.mkfifo(image / "data/kernels/pipe/kernel.json")
    assert found(image, "/usr/bin", JUPYTER_DATA_DIR=f"{image}/data") == [
        ("/usr", "system"), ("/srv/own", "venv"), ("/srv/kernel", "venv")
    ]  # fmt: skip


def test_a_launcher_counts_only_as_the_first(image: Path) -> None:
    """An interpreter whose place does not tell its environment is kept if PATH means it, and not if it lies about."""
    write(image, "/shims/bin/python3", "#!/bin/sh\n", mode=0o755)
    write(image, "/opt/tool/bin/python3", "#!/bin/sh\n", mode=0o755)
    assert found(image, "/shims/bin") == [("/shims", "system")]
    assert found(image) == []


def test_what_cannot_be_run_is_no_interpreter(image: Path) -> None:
    """A directory, a dead link, a loop and a file without the executable bit are passed over."""
    system(image, "/usr")
    (image / "opt/directory/bin/python3").mkdir(parents=True)
    link(image, "/opt/dead/bin/python3", "/no/such")
    link(image, "/opt/loop/bin/python3", "python3")
    write(image, "/opt/plain/bin/python3")
    write(image, "/opt/plain/pyvenv.cfg")
    assert found(image, "/usr/bin") == [("/usr", "system")]


def test_the_search_is_bounded(image: Path) -> None:
    """An image with hundreds of environments does not make hundreds of runs."""
    system(image, "/usr")
    for number in range(100):
        venv(image, f"/opt/e{number:03}", "/usr")
    assert len(found(image, "/usr/bin")) == 64


def test_a_bare_environment_is_told_by_its_names(tmp_path: Path) -> None:
    """Records, bytecode and private names are nothing to import; a module, a package and a .pth file are."""
    packages = make_venv(tmp_path / "env")
    environment = of_interpreter(str(tmp_path / "env/bin/python3"))
    assert environment == Environment(str(tmp_path / "env"), f"{tmp_path}/env/bin/python3", "venv")
    for name in ("one-1.dist-info", "__pycache__", "_private"):
        (packages / name).mkdir()
    (packages / "README.txt").touch()
    assert is_bare(environment)
    for name in ("module.py", "package", "fast.cpython-311-x86_64-linux-gnu.so", "editable.pth"):
        (packages / name).touch()
        assert not is_bare(environment), name
        (packages / name).unlink()
