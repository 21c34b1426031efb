"""Notebooks in a real image, with its real kernels for Python and R."""

from __future__ import annotations

import json
from typing import Any

import pytest
from notebook_texts import notebook

from tests.container.conftest import Image

pytestmark = pytest.mark.container

PROFILE = """
name = "notebooks"
description = "notebooks that a test wrote"
[[check]]
kind = "notebooks"
name = "notebooks"
folders = ["/out/examples"]
cell_seconds = 60
"""
PLOT = "png(tempfile())\nplot(x)\ninvisible(dev.off())\nstopifnot(read.csv('data.csv')$a == 1:2)"


@pytest.fixture(scope="module")
def results(image: Image, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How the notebooks ended as the image's user, with the container as root and as that user: by user, by name."""
    out = tmp_path_factory.mktemp("out")
    out.chmod(0o755)
    folder = out / "examples"
    folder.mkdir()
    (folder / "data.csv").write_text("a\n1\n2\n")
    (out / "profile.toml").write_text(PROFILE)
    texts = {
        "python": notebook("import csv\nassert len(list(csv.reader(open('data.csv')))) == 3", "open('x', 'w').close()"),
        "python-error": notebook("1", "x + 1"),
        "r": notebook("x <- c(1, 2)", PLOT, kernel="ir"),
        "r-error": notebook("x <- 1", "nope + 1", kernel="ir"),
        "r-asks": notebook("readline('? ')", kernel="ir"),
        "r-dies": notebook("tools::pskill(Sys.getpid(), 9)", kernel="ir"),
    }
    for name, text in texts.items():
        (folder / f"{name}.ipynb").write_text(text)
    found = {}
    for user, more in (("root", ["--user", image.user]), (image.user, [])):
        done = image.agent(out, "check", "--profile", "/out/profile.toml", "--json", *more, user=user)
        assert done.stdout, done.stderr
        (result,) = json.loads(done.stdout)["results"]
        found[user] = {name: (outcome, detail) for name, outcome, detail in result["items"]}
    assert sorted(path.name for path in folder.iterdir()) == sorted(["data.csv", *(f"{name}.ipynb" for name in texts)])
    return found


def test_python_notebooks_run_and_fail_by_cell(results: dict[str, dict[str, Any]]) -> None:
    """A notebook that reads the data beside it and writes passes; an error is named with its cell."""
    for found in results.values():
        assert found["python.ipynb"] == ("passed", "2 cells")
        assert found["python-error.ipynb"][1] == "cell 2: NameError: name 'x' is not defined"


def test_r_notebooks_run_and_fail_by_cell(results: dict[str, dict[str, Any]]) -> None:
    """The same with IRkernel; one that asks, and one that ends its kernel, are told apart."""
    for found in results.values():
        if found["r.ipynb"][1] == "no such kernel: ir":
            pytest.skip("the image has no kernel for R")
        assert found["r.ipynb"] == ("passed", "2 cells")
        assert "object 'nope' not found" in found["r-error.ipynb"][1]
        assert found["r-error.ipynb"][1].startswith("cell 2: ")
        assert found["r-asks.ipynb"][1] == "cell 1: asks for input"
        assert found["r-dies.ipynb"][1].startswith("cell 1: the kernel died")
