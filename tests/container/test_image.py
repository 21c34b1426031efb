"""The main job on a real image, in default containers: what the issue of a maintainer would try first."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from schemas import problems_in

from slimagent import documents
from slimagent.model.trace import Trace
from tests.container.conftest import AGENT, Image

pytestmark = pytest.mark.container
DOCUMENTS = {
    *("trace.json", "plan.json", "receipt.json", "removed.jsonl.gz"),
    *("verification.json", "rootfs.tar", "summary.json"),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder that any user of a container may write."""
    folder = tmp_path_factory.mktemp("out")
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def ran(image: Image, out: Path) -> dict[str, Any]:
    """A whole run as root with the command as an ordinary user; its summary."""
    done = image.agent(
        out, "run", "--json", "--level", "file", "--user", image.user, "--out", "/out", "--", image.command
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.fixture(scope="module")
def trace(ran: dict[str, Any], out: Path) -> Trace:
    """The trace of that run."""
    return documents.decode_trace((out / "trace.json").read_bytes())


def test_run_leaves_every_document_and_one_tar(ran: dict[str, Any], out: Path) -> None:
    """After `run`, the output folder holds the evidence, the decision, the deed, the proof, and one tar."""
    assert {path.name for path in out.iterdir()} == DOCUMENTS
    assert ran["passed"] is True
    assert ran["missed"] == []
    assert "give --image-config or --keep-command" in ran["notes"][0]
    assert problems_in(out) == []


def test_nothing_is_lost_and_the_agent_is_nowhere(trace: Trace, out: Path) -> None:
    """The trace has no loss, and neither trace nor tar knows the agent, its output, or the engine's files."""
    assert trace.losses == ()
    assert not [each.path for each in trace.accesses if each.path.startswith((b"/agent", b"/out", b"/proc", b"/dev/"))]
    with tarfile.open(out / "rootfs.tar") as tar:
        names = tar.getnames()
    assert not [name for name in names if name.split("/")[0] in ("agent", "out", ".dockerenv")]
    assert len(names) == len(set(names))


def test_the_result_is_small_and_memory_bounded(ran: dict[str, Any]) -> None:
    """Level `file` takes at least 60 % off, in less than 500 MB of memory."""
    assert ran["bytes_after"] <= 0.4 * ran["bytes_before"]
    assert ran["peak_bytes"] < 500_000_000


def test_the_imported_image_passes_the_smoke_test(image: Image, ran: dict[str, Any], out: Path) -> None:
    """The tar, imported as an image, passes the same smoke test in a new container."""
    tag = "slimagent-test:file"
    image.load(out / "rootfs.tar", tag)
    try:
        smoke = image.run(user=image.user, entrypoint=image.command, image=tag)
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    finally:
        image.remove(tag)


def test_the_same_trace_gives_the_same_bytes(image: Image, ran: dict[str, Any], out: Path, tmp_path: Path) -> None:
    """Planned and exported again from the same trace, in a new container, the tar is the same byte for byte."""
    (tmp_path / "trace.json").write_bytes((out / "trace.json").read_bytes())
    plan = image.agent(tmp_path, "plan", "/out/trace.json", "--level", "file", "-o", "/out/plan.json", "--quiet")
    assert plan.returncode == 0, plan.stderr
    export = image.agent(tmp_path, "apply", "/out/plan.json", "--tar", "/out/again.tar", "-o", "/out/receipt.json")
    assert export.returncode == 0, export.stderr
    receipt = documents.decode_receipt((tmp_path / "receipt.json").read_bytes())
    assert receipt.sha256 == ran["export"]["sha256"]
    assert subprocess.run(["cmp", out / "rootfs.tar", tmp_path / "again.tar"], check=False).returncode == 0


def test_as_an_ordinary_user_the_trace_is_the_same_and_root_plans_from_it(
    image: Image, trace: Trace, tmp_path: Path
) -> None:
    """With the whole container as an ordinary user, the same files are found, and the image made from that passes."""
    tmp_path.chmod(0o777)
    done = image.agent(tmp_path, "trace", "--quiet", "-o", "/out/trace.json", "--", image.command, user=image.user)
    assert done.returncode == 0, done.stderr
    theirs = documents.decode_trace((tmp_path / "trace.json").read_bytes())
    assert theirs.runs[0].no_new_privileges
    assert (theirs.before, theirs.losses) == (trace.before, ())
    assert {each.path for each in theirs.accesses if each.found} == {each.path for each in trace.accesses if each.found}
    plan = image.agent(tmp_path, "plan", "/out/trace.json", "--level", "file", "-o", "/out/plan.json", "--quiet")
    assert plan.returncode == 0, plan.stderr
    export = image.agent(tmp_path, "apply", "/out/plan.json", "--tar", "/out/rootfs.tar")
    assert export.returncode == 0, export.stderr
    tag = "slimagent-test:ordinary"
    image.load(tmp_path / "rootfs.tar", tag)
    try:
        smoke = image.run(user=image.user, entrypoint=image.command, image=tag)
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    finally:
        image.remove(tag)


@pytest.mark.parametrize("command", ["run", "apply"])
def test_what_an_ordinary_user_cannot_do_is_said_at_once(
    image: Image, ran: dict[str, Any], out: Path, tmp_path: Path, command: str
) -> None:
    """`run` and `apply` as a user who cannot read all of the image end with status 4 before anything happens.

    `run` leaves a summary, which says so.
    """
    tmp_path.chmod(0o777)
    if command == "run":
        arguments = ["run", "--out", "/out", "--", "touch", "/out/was-run"]
    else:
        (tmp_path / "plan.json").write_bytes((out / "plan.json").read_bytes())
        arguments = ["apply", "/out/plan.json", "--tar", "/out/rootfs.tar"]
    before = {path.name for path in tmp_path.iterdir()}
    done = image.agent(tmp_path, *arguments, user=image.user)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "cannot be read" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    left = {path.name for path in tmp_path.iterdir()} - before
    assert left == ({"summary.json"} if command == "run" else set())
    if left:
        assert "cannot be read" in json.loads((tmp_path / "summary.json").read_text())["error"]["message"]


def test_a_build_step_is_traced(image: Image, tmp_path: Path) -> None:
    """In a RUN of a Dockerfile, with the legacy builder too, a command is traced and its status passed on."""
    subprocess.run(["cp", "-r", str(AGENT), str(tmp_path / "agent")], check=True)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image.name}\nUSER root\nCOPY agent /agent\n"
        f"RUN /agent/entrypoint.sh trace --user {image.user} -o /trace.json -- python3 -c 'import json'\n"
        "RUN /agent/entrypoint.sh trace -o /other.json -- sh -c 'exit 7'; test $? = 7\n"
    )
    tag = "slimagent-test:build"
    build = ["docker", "build", "--network=none", "-t", tag, str(tmp_path)]
    try:
        done = subprocess.run(
            build,
            capture_output=True,
            text=True,
            env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/local/bin:/usr/bin:/bin"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        read = image.run("-c", "cat /trace.json", entrypoint="sh", image=tag)
        recorded = documents.decode_trace(read.stdout.encode())
        assert any(each.path.endswith(b"/json/__init__.py") and each.found for each in recorded.accesses)
        assert not [each.path for each in recorded.accesses if each.path.startswith(b"/agent")]
        assert recorded.losses == ()
    finally:
        image.remove(tag)


def test_a_capability_and_odd_names_survive_the_whole_way(image: Image, tmp_path: Path) -> None:
    """Kept by name: a program with a file capability still works for an ordinary user, and any file name comes back."""
    tmp_path.chmod(0o777)
    script = (
        "cd /opt/corners && find . -printf '%p|%y|%m|%u|%g|%s|%n|%T@|%l\\n' | sort | od -c; "
        "getcap /usr/bin/ping; ping -c 1 127.0.0.1 | grep -c '1 received'"
    )
    tools = [f"/usr/bin/{name}" for name in ("ping", "find", "sort", "od", "grep")] + ["/usr/sbin/getcap"]
    keep = [part for path in ("/opt/corners/**", *tools) for part in ("--keep", path)]
    done = image.agent(tmp_path, "run", *keep, "--out", "/out", "--", "true")
    assert done.returncode == 0, done.stdout + done.stderr
    tag = "slimagent-test:corners"
    image.load(tmp_path / "rootfs.tar", tag)
    try:
        full = image.run("-c", script, entrypoint="sh", user=image.user)
        slim = image.run("-c", script, entrypoint="sh", user=image.user, image=tag)
        assert "cap_net_raw" in full.stdout
        assert full.stdout.rstrip().endswith("1")
        assert slim.stdout == full.stdout
    finally:
        image.remove(tag)
