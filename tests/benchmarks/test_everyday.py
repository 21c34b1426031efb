"""The everyday tasks of the benchmark: well written, and honest about what they are on; the runner on a real image."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

RUNNER = Path(__file__).resolve().parents[2] / "benchmarks" / "survival.py"
# a module of a distribution by another name; the distributions are in the images, not here
DISTRIBUTIONS = {
    "IPython": "ipython",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "fontTools": "fonttools",
    "git": "gitpython",
    "google": "protobuf",
    "grpc": "grpcio",
    "ibis": "ibis-framework",
    "netCDF4": "netcdf4",
    "odc": "odc-geo",
    "osgeo": "gdal",
    "sklearn": "scikit-learn",
    "websocket": "websocket-client",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
# what the interpreters bring, whose absence no task can outlive
R_ALWAYS = {"base", "methods", "stats", "utils", "graphics", "grDevices", "datasets"}


def runner() -> ModuleType:
    """`benchmarks/survival.py` as a module; benchmarks are no package."""
    spec = importlib.util.spec_from_file_location("survival", RUNNER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["survival"] = module
    spec.loader.exec_module(module)
    return module


survival = runner()
TASKS = survival.load()
PYTHON, R, SH = ([t for t in TASKS if t.language == language] for language in ("python", "r", "sh"))


def normal(name: str) -> str:
    """A distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(task: object, kind: str) -> set[str]:
    """The software of a kind that a task says it is on."""
    return {need.partition(":")[2] for need in task.needs if need.startswith(kind + ":")}  # type: ignore[attr-defined]


def test_the_set_is_broad() -> None:
    classes = Counter(task.group for task in TASKS)
    assert len(TASKS) >= 130
    assert len(classes) >= 12 and min(classes.values()) >= 5
    assert max(classes.values()) < len(TASKS) / 4, "one class would decide the share"
    assert len({task.name for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_well_formed(task: object) -> None:
    assert re.fullmatch(r"[a-z0-9+][a-z0-9+-]+", task.name)  # type: ignore[attr-defined]
    assert task.needs  # type: ignore[attr-defined]
    for need in task.needs:  # type: ignore[attr-defined]
        assert re.fullmatch(r"(python:[a-z0-9-]+|r:[A-Za-z][A-Za-z0-9.]+|program:[A-Za-z0-9+./_-]+)", need), need


@pytest.mark.parametrize("task", PYTHON, ids=lambda task: task.name)
def test_python_compiles_checks_and_names_what_it_imports(task: object) -> None:
    tree = ast.parse(task.body, task.name)  # type: ignore[attr-defined]
    compile(tree, task.name, "exec")  # type: ignore[attr-defined]
    nodes = list(ast.walk(tree))
    checks = [n for n in nodes if isinstance(n, ast.Assert) or (isinstance(n, ast.Attribute) and "assert_" in n.attr)]
    assert checks, "it checks nothing"
    imported = {alias.name.partition(".")[0] for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    imported |= {(n.module or "").partition(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}
    foreign = imported - set(sys.stdlib_module_names) - {"tomllib"}
    missing = {m for m in foreign if normal(DISTRIBUTIONS.get(m, m)) not in named(task, "python")}
    assert not missing, f"imported and not named in needs: {sorted(missing)}"


@pytest.mark.parametrize("task", SH, ids=lambda task: task.name)
def test_shell_parses(task: object) -> None:
    subprocess.run(["sh", "-n"], input=task.body.encode(), check=True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", R, ids=lambda task: task.name)
def test_r_checks_and_names_what_it_loads(task: object) -> None:
    body = task.body  # type: ignore[attr-defined]
    assert "stopifnot(" in body
    code = re.sub(r"#include[^\n]*|[A-Za-z0-9]+::ArrayRef", "", body)
    loaded = set(re.findall(r"\blibrary\((\w[\w.]*)\)", code)) | set(re.findall(r"\b([A-Za-z][\w.]*):::?\w", code))
    made = set(re.findall(r"Package: (\w+)", code))  # by the task itself
    missing = loaded - named(task, "r") - R_ALWAYS - made
    assert not missing, f"loaded and not named in needs: {sorted(missing)}"


def test_r_parses(tmp_path: Path) -> None:
    if shutil.which("Rscript") is None:
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail("no R: install r-base-core")
        pytest.skip("no R: install r-base-core")
    for task in R:
        (tmp_path / task.name).write_text(task.body, encoding="utf-8")
    code = "for (f in list.files()) parse(f, encoding = 'UTF-8')"
    subprocess.run(["Rscript", "--vanilla", "-e", code], cwd=tmp_path, check=True)


def test_wrong_tasks_are_refused(tmp_path: Path) -> None:
    good = '[[task]]\nname = "a"\nclass = "x"\nlanguage = "sh"\nneeds = ["program:sh"]\nbody = "true"\n'
    file = tmp_path / "x.toml"
    file.write_text(good)
    assert [task.name for task in survival.load(tmp_path)] == ["a"]
    for bad in (good * 2, good.replace('"x"', '"y"'), good.replace('"sh"', '"perl"'), good + "more = 1\n"):
        file.write_text(bad)
        with pytest.raises(ValueError, match="'a'"):
            survival.load(tmp_path)


def test_shares_round_down_and_compile_stands_apart() -> None:
    passed, failed = survival.Outcome(0, 1.0, "", ""), survival.Outcome(1, 1.0, "", "a\nwhy\n\n")
    tasks = [survival.Task(str(i), "x", "sh", (), "") for i in range(300)]
    tasks += [survival.Task("cc", "compile", "sh", (), ""), survival.Task("none", "x", "sh", (), "")]
    full = {task.name: passed for task in tasks} | {"none": failed}
    slim = {task.name: passed for task in tasks} | {"7": failed, "cc": failed}
    table = survival.table(tasks, full, {"s": slim})
    assert "| **all but compile** | 300 | 299 (99 %) |" in table
    assert "| compile | 1 | 0 (0 %) |" in table
    assert [line.split() for line in survival.losses(tasks, full, slim)] == [
        ["x", "7", "why"],
        ["compile", "cc", "why"],
    ]
    assert survival.Outcome(None, 60.0, "", "x").reason == "no end after 60 s"


@pytest.mark.container
@pytest.mark.skipif("SLIMAGENT_TEST_IMAGE" not in os.environ, reason="SLIMAGENT_TEST_IMAGE names no image")
@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command")
def test_an_image_survives_itself_and_not_the_loss_of_a_program(tmp_path: Path) -> None:
    """Two real images: the named one, and the same without sed, diff and cmp."""
    image, user = os.environ["SLIMAGENT_TEST_IMAGE"], os.environ.get("SLIMAGENT_TEST_USER", "root")
    container = subprocess.check_output(
        ["docker", "create", "--network=none", "--user=0", "--entrypoint=rm", image, "/bin/sed", "/usr/bin/diff"],
        text=True,
    ).strip()
    lesser = ""
    try:
        subprocess.run(["docker", "start", "--attach", container], check=True)
        lesser = subprocess.check_output(["docker", "commit", container], text=True).strip()
        report = tmp_path / "out.json"
        command = [sys.executable, str(RUNNER), image, image, lesser, "--user", user, "--json", str(report), "--jobs=2"]
        command += ["--only=sed-awk", "--only=diff-patch", "--only=grep-kinds"]
        subprocess.run(command, check=True, timeout=300)
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True)
        if lesser:
            subprocess.run(["docker", "rmi", "--force", lesser], check=True)
    runs = {
        task["name"]: [run["passed"] for run in task["runs"].values()]
        for task in json.loads(report.read_text())["tasks"]
    }
    assert runs == {"sed-awk": [True, True, False], "diff-patch": [True, True, False], "grep-kinds": [True, True, True]}


def test_the_names_of_distributions_are_right() -> None:
    """Where a module of the table is installed here, its distribution is the one that the table says."""
    here = metadata.packages_distributions()
    for module, distribution in DISTRIBUTIONS.items():
        if module != "google":  # a namespace of many
            assert normal(distribution) in {normal(n) for n in here.get(module, [distribution])}
