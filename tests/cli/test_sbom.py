"""`slimagent sbom`: the program as a user starts it, on directories of runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import assert_error, environment, slimagent
from document_values import RECEIPT
from run_documents import Pack, plan_with
from schemas import problems

from slimagent.documents import encode_plan, encode_receipt
from slimagent.image.run_record import Record
from slimagent.linux.files import digest
from slimagent.model.inventory import Description, Distribution
from slimagent.model.plan import Plan
from slimagent.model.proof import Layer

DEB = Description(licenses=("GPL-2+",), architecture="amd64")
PLAN = plan_with(
    [
        Pack("dpkg:bash", 9000, 9000, "5.2", description=DEB),
        Pack("dpkg:vim", 5_000_000, 0, "2:9.0", description=DEB),
        Pack("python:six", 100, 100, "1.17", b"/opt/venv/lib/python3.11/site-packages"),
        Pack("npm:@a/b", 400, 0, "1"),
    ]
)
SYSTEM = Layer(component="system", digest="d1", diff_id="t1", size=5, paths=5)


def run(directory: Path, plan: Plan = PLAN) -> Path:
    """The output directory of a run."""
    directory.mkdir()
    data = encode_plan(plan)
    (directory / "plan.json").write_bytes(data)
    receipt = replace(RECEIPT, plan=digest(data), sha256="ab12", layers=(SYSTEM,), left_alone=())
    (directory / "receipt.json").write_bytes(encode_receipt(receipt))
    record = Record(
        image="app:1", tag="slim:1", version="0", started="2026-08-01T10:00:00Z", ended="2026-08-01T10:05:00Z"
    )
    (directory / "run.json").write_bytes(record.encoded())
    described = [{"Id": "sha256:cd34", "Architecture": "amd64", "Os": "linux", "Config": {}}]
    (directory / "image.json").write_text(json.dumps(described))
    return directory


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return run(tmp_path / "out")


def names(document: str) -> list[str]:
    return [each["name"] for each in json.loads(document)["components"] if each["type"] != "operating-system"]


def test_the_slim_image_has_what_stays(out: Path) -> None:
    """And before slimming, everything; each names its own image, and the slim one its layers."""
    after, before = slimagent("sbom", out), slimagent("sbom", out, "--before")
    assert (after.returncode, after.stderr, before.stderr) == (0, "", "")
    assert sorted(names(after.stdout)) == ["bash", "six"]
    assert sorted(names(before.stdout)) == ["@a/b", "bash", "six", "vim"]
    slim, full = (json.loads(each.stdout)["metadata"] for each in (after, before))
    assert (slim["component"]["name"], slim["component"]["version"]) == ("slim:1", "sha256:ab12")
    assert (full["component"]["name"], full["component"]["version"]) == ("app:1", "sha256:cd34")
    assert slim["timestamp"] == "2026-08-01T10:05:00+00:00"
    assert {"name": "slimagent:layer:system", "value": "sha256:t1"} in slim["component"]["properties"]
    (bash,) = [each for each in json.loads(after.stdout)["components"] if each["name"] == "bash"]
    assert bash["purl"] == "pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12"
    assert {"name": "slimagent:layer", "value": "system"} in bash["properties"]


def test_it_is_written_to_a_file_again_and_again(out: Path, tmp_path: Path) -> None:
    """The same bytes each time, in both forms; a file of someone else stays."""
    for name, beginning in (("x.cdx.json", "{"), ("x.cdx.xml", "<?xml")):
        file = tmp_path / name
        done = slimagent("sbom", out, "-o", file)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"wrote {file}: 2 packages of slim:1\n"
        first = file.read_bytes()
        assert first.decode().startswith(beginning)
        assert slimagent("sbom", out, "-o", file).returncode == 0
        assert file.read_bytes() == first
    foreign = tmp_path / "mine.json"
    foreign.write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"tools": []}}')
    assert_error(slimagent("sbom", out, "-o", foreign), 3, "mine.json exists and is not", "--overwrite")
    assert "tools" in foreign.read_text()
    assert slimagent("sbom", out, "-o", foreign, "--overwrite").returncode == 0
    assert names(foreign.read_text())


def test_the_format_can_be_chosen(out: Path, tmp_path: Path) -> None:
    """Against the name of the file."""
    assert slimagent("sbom", out, "--format", "xml").stdout.startswith("<?xml")
    file = tmp_path / "x.xml"
    slimagent("sbom", out, "--format", "json", "-o", file)
    assert json.loads(file.read_text())["bomFormat"] == "CycloneDX"


def test_the_difference_is_what_goes(out: Path) -> None:
    """The largest first, the sum last; as a document with package URLs."""
    done = slimagent("sbom", out, "--diff")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "before, not after  version    goes",
        "- dpkg:vim         2:9.0    5.0 MB",
        "- npm:@a/b         1         400 B",
        "2 of 4 packages went, 5.0 MB; 2 stay",
    ]
    found = json.loads(slimagent("sbom", out, "--diff", "--json").stdout)
    assert problems("package-difference", found) == []
    assert (found["packages_before"], found["packages_after"]) == (4, 2)
    assert [each["purl"] for each in found["gone"]] == [
        "pkg:deb/debian/vim@2:9.0?arch=amd64&distro=debian-12",
        "pkg:npm/%40a/b@1",
    ]


def test_a_long_difference_is_cut(tmp_path: Path) -> None:
    """At 25 packages, with the bytes of the others; no line is longer than 80 characters."""
    packs = [Pack(f"dpkg:{'long-' * 12}{number}", 1000 + number, 0, "1" * 40, description=DEB) for number in range(40)]
    lines = slimagent("sbom", run(tmp_path / "out", plan_with(packs)), "--diff").stdout.splitlines()
    assert len(lines) == 1 + 25 + 2
    assert lines[-2] == "… and 15 more (15.1 kB; --json lists them)"
    assert all(len(line) <= 80 for line in lines)


def test_what_the_documents_do_not_say_is_said(tmp_path: Path) -> None:
    """An older plan, an image without os-release, a plan without a receipt, paths that were left alone."""
    old = plan_with([Pack("dpkg:bash", 9, 9)], distribution=Distribution())
    (tmp_path / "plan.json").write_bytes(encode_plan(old))
    done = slimagent("sbom", tmp_path / "plan.json")
    assert "note: an earlier slimagent wrote the plan" in done.stderr
    assert "note: receipt.json does not exist" in done.stderr
    assert json.loads(done.stdout)["components"][0]["purl"] == "pkg:deb/bash@1"
    unknown = plan_with([Pack("dpkg:bash", 9, 9, description=DEB)], distribution=Distribution())
    directory = run(tmp_path / "out", unknown)
    assert "note: the image has no os-release" in slimagent("sbom", directory).stderr
    left = replace(RECEIPT, plan=digest((directory / "plan.json").read_bytes()), left_alone=((b"/x", "it changed"),))
    (directory / "receipt.json").write_bytes(encode_receipt(left))
    assert "note: 1 path of packages that go stayed in the image" in slimagent("sbom", directory).stderr


def test_options_that_do_not_go_together_are_refused(out: Path) -> None:
    """With what to leave out."""
    for option in (["--before"], ["--format", "xml"], ["-o", "x"]):
        assert_error(slimagent("sbom", out, "--diff", *option), 2, f"--diff and {option[0]}", "leave one out")
    assert_error(slimagent("sbom", out, "--json"), 2, "--json belongs to --diff")


def test_without_the_library_it_says_what_to_type(out: Path, tmp_path: Path) -> None:
    """And other commands work: nothing else imports it."""
    for name in ("cyclonedx", "packageurl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {name}')")
    env = {**environment(), "PYTHONPATH": str(tmp_path)}
    assert_error(slimagent("sbom", out, env=env), 4, "cyclonedx-python-lib", "pip install 'slimagent[sbom]'")
    assert_error(slimagent("sbom", out, "--diff", env=env), 4, "cyclonedx-python-lib", "pip install 'slimagent[sbom]'")
    assert slimagent("compare", out, out, env=env).returncode == 0
    assert slimagent("sbom", "--help", env=env).returncode == 0


def test_no_other_module_imports_the_library() -> None:
    """Importing all commands does not need the extra."""
    program = (
        "import sys; from slimagent.cli.commands import import_all; import_all();"
        "sys.exit(bool({'cyclonedx', 'packageurl'} & {name.split('.')[0] for name in sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
