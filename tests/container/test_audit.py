"""`slimagent audit` of a real image: what was planted in it is found, and the edit saves as much as was said."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plan_images import access, trace_for, write

from benchmarks.audit_items import ITEMS, Item, instructions
from slimagent.documents import decode_audit, encode_trace
from slimagent.inventory.scan import scan
from slimagent.model.audit import Audit, Finding, Risk
from slimagent.report.audit import lines
from tests.container.conftest import BUNDLE, Image
from tests.container.slimming import ROOT, build, docker, identity, ours, remove, write_files

# What needs no registry; benchmarks/audit.py plants all of it in the lab's images.
PLANTED = {each.name: each for each in ITEMS if not each.network}


def dockerfile(edited: str = "") -> str:
    return f"FROM scratch\nADD root.tar /\n{instructions(list(PLANTED.values()), edited)}"


def size(tag: str) -> int:
    return int(docker("image", "inspect", "-f", "{{.Size}}", tag))


@pytest.fixture(scope="module")
def planted(small: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The image, and the directory that it was built in."""
    context = tmp_path_factory.mktemp("planted")
    root = context / "root"
    (root / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None  # `small` needs it, too
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "mkdir", "head", "chown", "chmod", "rm", "touch", "printf", "echo", "ln"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "dev").mkdir()
    subprocess.run(["tar", "--owner=0", "--group=0", "-cf", context / "root.tar", "-C", root, "."], check=True)
    tag = f"slimagent-test-audit:{secrets.token_hex(4)}"
    build(tag, context, dockerfile())
    yield tag, context
    remove(tag)


@pytest.fixture(scope="module")
def audited(planted: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The audit from outside."""
    out = tmp_path_factory.mktemp("audit") / "audit.json"
    words = [sys.executable, "-m", "slimagent", "audit", planted[0], "--agent", str(BUNDLE), "-o", str(out), "--all"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(planted[0])
    assert ours() == set()
    return decode_audit(out.read_bytes())


def found(made: Audit, item: Item) -> Finding:
    """The only finding that names an item."""
    some = [
        each
        for each in made.findings
        if each.kind == item.kind and item.about in f"{each.title} {each.subjects} {each.evidence}"
    ]
    assert len(some) == 1, [(each.kind, each.title) for each in made.findings]
    return some[0]


@pytest.mark.parametrize("name", PLANTED)
def test_the_edit_saves_what_was_said(planted: tuple[str, Path], audited: Audit, name: str) -> None:
    """The image is built again with the edit: it is smaller by the finding's bytes, within a twentieth."""
    finding = found(audited, PLANTED[name])
    tag = f"{planted[0]}-edited"
    build(tag, planted[1], dockerfile(name))
    try:
        saved = size(planted[0]) - size(tag)
    finally:
        remove(tag)
    assert abs(saved - finding.size) <= finding.size / 20, (saved, finding)
    assert finding.edit


def test_the_edits_hold_on_a_real_image(image: Image) -> None:
    """What the audit says of the image under test: its commands are run in it, and two items are planted in it."""
    script = str(ROOT / "benchmarks/audit.py")
    words = [sys.executable, script, image.name, "--agent", str(BUNDLE), "--only", "the AWS CLI", "--only", "headers"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| the AWS CLI | optional-tool | 7.0 | 7.0 |" in done.stdout
    assert "| find /" in done.stdout.replace("`", "")


def test_layers_are_those_of_the_engine(planted: tuple[str, Path], audited: Audit) -> None:
    """In its order, with its sizes, and with the commands that made them."""
    digests = json.loads(docker("image", "inspect", "-f", "{{json .RootFS.Layers}}", planted[0]))
    assert [layer.digest for layer in audited.layers] == digests
    assert audited.carried == sum(layer.size for layer in audited.layers)
    assert abs(audited.carried - size(planted[0])) < 100_000
    assert "chown -R" in audited.layers[2].command
    long = [each.strip("# ") for each in lines(audited, whole=True) if len(each) > 100]
    assert not any(" " in each for each in long)  # one word that is to be copied, as a path


def test_what_costs_nothing_is_at_no_risk(audited: Audit) -> None:
    """Nobody misses a second copy in a layer below."""
    names = ("a layer of owners", "a package that apt left")
    assert {found(audited, PLANTED[name]).risk for name in names} == {Risk.NONE}


@pytest.mark.usefixtures("engine")
def test_an_image_that_is_not_here_is_a_usage_error() -> None:
    """With what to type."""
    words = [sys.executable, "-m", "slimagent", "audit", "no-such-image:x", "--agent", str(BUNDLE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "docker pull no-such-image:x" in done.stderr


def test_a_trace_of_another_image_is_refused_before_the_layers_are_read(
    planted: tuple[str, Path], tmp_path: Path
) -> None:
    """They take long; the hint is a command for this image."""
    write(tmp_path / "root", "/usr/bin/tool", b"x", 0o755)
    trace = tmp_path / "trace.json"
    trace.write_bytes(encode_trace(trace_for(scan(bytes((tmp_path / "root").resolve())), [access("/usr/bin/tool")])))
    words = [sys.executable, "-m", "slimagent", "audit", planted[0], "--agent", str(BUNDLE), "--trace", str(trace)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "slimagent image IMAGE" in done.stderr
    assert "read the layers" not in done.stderr
    assert ours() == set()


def test_it_works_where_nothing_can_be_run(tmp_path: Path, small: str) -> None:
    """An image without a shell: nothing of it is run."""
    write_files(tmp_path, {"only": b"data"})
    tag = f"slimagent-test-audit:{secrets.token_hex(4)}"
    build(tag, tmp_path, "FROM scratch\nCOPY only /data/only\n")
    try:
        words = [sys.executable, "-m", "slimagent", "audit", tag, "--agent", str(BUNDLE), "--json", "--quiet"]
        done = subprocess.run(words, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        made = decode_audit(done.stdout)
        assert (made.size, made.files, len(made.layers)) == (4, 1, 1)
        assert identity(tag)
    finally:
        remove(tag)
