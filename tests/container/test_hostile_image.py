"""An image that means harm: whatever it does in its containers, this machine ends as it was, but for --out."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.container.conftest import lacking
from tests.container.slimming import ROOT, Derive, command, docker, exists, identity, said, slim

pytestmark = pytest.mark.usefixtures("nothing_left")

OUT = "/.slimagent-out/out"
VICTIM = f"slimagent-test-victim:{os.getpid()}"
# First on PATH, and anybody's: they tell who runs them where the host would find it, and what they were asked to do.
PLANTED = f"""#!/bin/busybox sh
/bin/busybox id -u >> {OUT}/logs/planted.log
/bin/busybox id -u >&2
echo PLANTED >&2
"""
# What root of a container can leave in the directory that this machine reads from. The names are those of documents
# that other containers write, of a layout, and odd ones.
LITTER = f"""
cd {OUT}; b=/bin/busybox
mkdir -p layout/blobs/sha256 ready $(printf 'odd\\nname\\033[31m') $(printf 'not\\377text')
echo '[{{"Config":"x","RepoTags":["{VICTIM}"],"Layers":[]}}]' > layout/manifest.json
ln -s /etc/shadow receipt.json
ln -s /dev/zero plan.json
$b mknod summary.json c 1 5
$b cp $b evil; chmod 4755 evil
echo x > go
n=0; while test $n -lt 1500; do mkdir d && cd d; n=$((n + 1)); done
"""
# In the slim image there is less in /srv: once is enough.
LINE = "set -- /srv/*; test $# -lt 3 || /bin/busybox head -c 300000000 /dev/zero | /bin/busybox tr '\\000' x"


@pytest.fixture(scope="module")
def hostile(derive: Derive) -> str:
    """The small image with more programs, of which some are planted."""
    links = "for each in mkdir ln chmod echo printf head; do /bin/busybox ln -s busybox /bin/$each; done"
    lines = f"USER 0\nRUN {links}\nCOPY strip python3 /home/bin/\nRUN /bin/busybox chown -R 1000 /home\n"
    lines += "ENV PATH=/home/bin:/bin PYTHONPATH=/home/bin LD_LIBRARY_PATH=/home/bin BASH_ENV=/home/bin/strip\n"
    return derive(lines + "ENV ENV=/home/bin/strip HOME=/home\n", {"strip": PLANTED, "python3": PLANTED})


@pytest.fixture
def victim(small: str) -> Iterator[str]:
    """A name of somebody's for an image."""
    docker("tag", small, VICTIM)
    yield VICTIM
    subprocess.run(["docker", "rmi", "-f", VICTIM], check=False, capture_output=True)


def processes(word: str) -> list[list[str]]:
    """The processes of this machine that have a word in their command line."""
    found = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
    return [words for words in found if any(word in each for each in words)]


def digest_of(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


@pytest.mark.timeout(1800)  # 300 MB go through the engine's log
@pytest.mark.parametrize("does", [LITTER, LINE], ids=["litter", "an endless line"])
def test_this_machine_ends_as_it_was(hostile: str, victim: str, tag: str, tmp_path: Path, does: str) -> None:
    """I1, I2, I3, I5, I6: links, pipes, devices, depth, odd names, a foreign tag, planted programs, one endless line.

    The image becomes slim all the same: nothing of that is looked at.
    """
    before, shadow = identity(victim), digest_of("/etc/shadow")
    out = tmp_path / "out"
    script = f"cat /srv/needed > /dev/null; {does}\n"
    words = command(hostile, "-t", tag, "--level", "file", "--out", str(out), "--no-start", "--", "/bin/sh", "-c")
    process = subprocess.Popen([*words, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (out / "run.json").read_text()
    assert usage.ru_maxrss * 1024 < 500_000_000
    assert exists(tag)
    assert (identity(victim), digest_of("/etc/shadow")) == (before, shadow)
    assert os.listdir(tmp_path) == ["out"]
    for path in [out, *out.rglob("*")]:
        found = path.lstat()
        assert stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode), path
        assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), path
    assert sum(path.stat().st_size for path in out.rglob("*")) < 200_000_000
    assert not (out / "logs/full-planted.log").exists()
    assert processes(str(tmp_path)) == processes(tag) == []


@pytest.mark.parametrize(
    "left",
    [
        "ln -s /etc/shadow logs/x.log",
        "ln -s /dev/zero logs/x.log",
        "/bin/busybox mkfifo logs/x.log",
        "/bin/busybox mknod logs/x.log c 1 5",
        "/bin/busybox truncate -s 100G logs/x.log",
        "n=0; while test $n -le 10000; do : > logs/$n.log; n=$((n + 1)); done",
        "/bin/busybox rm -r logs; ln -s /etc logs",
    ],
)
def test_what_would_be_copied_is_a_small_regular_file(hostile: str, tag: str, tmp_path: Path, left: str) -> None:
    """I2: one line that says what it is; nothing hangs, is followed, or fills the disk."""
    out = tmp_path / "out"
    ended = slim(hostile, tag, out, "--no-start", "--", "/bin/sh", "-c", f"cd {OUT}; {left}")
    assert ended.returncode in (0, 3), ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0 or "logs" in said(ended)
    assert ended.returncode == 3 or left.endswith("logs")
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in out.rglob("*")}
    assert kinds <= {stat.S_IFREG, stat.S_IFDIR}
    assert sum(path.stat().st_size for path in out.rglob("*")) < 100_000_000


@pytest.mark.parametrize("name", ["trace.json", "verification.json"])
@pytest.mark.parametrize("made", ["/bin/busybox mkfifo", "ln -s /etc/shadow", "ln -s /dev/zero"])
def test_a_document_is_a_regular_file(hostile: str, tag: str, tmp_path: Path, name: str, made: str) -> None:
    """I2: something else is where the agent writes one: it has an end, and nothing like it is here."""
    out = tmp_path / "out"
    ended = slim(hostile, tag, out, "--no-start", "--", "/bin/sh", "-c", f"{made} {OUT}/{name}; cat /srv/needed")
    assert ended.returncode in (0, 3, 4), ended.stderr
    assert "Traceback" not in ended.stderr
    assert exists(tag) is (ended.returncode == 0)
    assert all(stat.S_ISREG(path.lstat().st_mode) or stat.S_ISDIR(path.lstat().st_mode) for path in out.rglob("*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_nobody_else_reaches_what_a_container_leaves(hostile: str, tag: str) -> None:
    """I4: a setuid program in the directory that a container writes to, while it runs: others cannot get to it."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)  # as many a directory of somebody's; pytest's own would hide what we look for
    script = f"/bin/busybox cp /bin/busybox {OUT}/evil; chmod 4755 {OUT}/evil; echo going on >&2; sleep 20"
    words = command(hostile, "-t", tag, "--out", str(base / "out"), "--no-start", "--", "/bin/sh", "-c", script)
    try:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(line.startswith("going on") for line in process.stderr)
            (evil,) = (base / "out").glob(".work-*/*/evil")
            assert evil.stat().st_mode & stat.S_ISUID
            try:
                with pytest.raises(PermissionError):
                    subprocess.run([str(evil), "id", "-u"], user=65534, group=65534, extra_groups=[], check=False)
            finally:
                process.terminate()
                process.stderr.read()
        assert not list((base / "out").glob(".work-*"))
    finally:
        shutil.rmtree(base)


@pytest.mark.parametrize("name", ["_SLIMAGENT_COMPLETE=bash_source", "LD_TRACE_LOADED_OBJECTS=1"])
def test_an_agent_that_does_not_run_is_said_in_a_line(small: str, tag: str, tmp_path: Path, name: str) -> None:
    """I6: a container that ends well and has done nothing is no traceback."""
    ended = slim(small, tag, tmp_path / "out", "-e", name, "--no-start", "--", "/bin/true")
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not exists(tag)


@pytest.mark.parametrize("place", ["/.slimagent", "/.slimagent-out"])
@pytest.mark.parametrize("how", ["ln -s /nowhere", "touch"])
def test_an_image_that_has_something_where_we_mount_is_refused(
    derive: Derive, tag: str, tmp_path: Path, place: str, how: str
) -> None:
    """I9: a link would lead our mount somewhere else, and what is there would be hidden."""
    image = derive(f"USER 0\nRUN /bin/busybox {how} {place}\n")
    ended = slim(image, tag, tmp_path / "out", "--no-start", "--", "/bin/true")
    assert ended.returncode == 3, ended.stderr
    assert f"has something at {place}, where slimagent mounts" in said(ended)


ORDINARY = f"test $(/bin/busybox id -u) = 1000 && ! (: > {OUT}/forged) 2> /dev/null && ! ls /.slimagent-out"
DEEP = f"cd {OUT}; n=0; while test $n -lt 1500; do mkdir d && cd d; n=$((n + 1)); done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("user", "script"), [("somebody", ORDINARY), ("root", DEEP)], ids=["our number", "root's directories"]
)
def test_slimagent_as_an_ordinary_user(hostile: str, tag: str, user: str, script: str) -> None:
    """I7: an image's user with our number does not get into our directory, though a mounted one is theirs, too.

    I6: and what root of a container leaves there goes, whose it may be and however deep.
    """
    python = shutil.which("python3", path="/usr/bin") or lacking("no Python that everybody can run")
    base = Path(tempfile.mkdtemp())
    os.chown(base, 1000, 1000)
    words = command(hostile, "-t", tag, "--user", user, "--out", str(base / "out"), "--no-start")
    packages = next(each for each in sys.path if each.endswith("site-packages"))
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{packages}", "HOME": str(base)}
    whom = {"user": 1000, "group": 1000, "extra_groups": [os.stat("/var/run/docker.sock").st_gid]}
    line = [str(python), *words[1:], "--", "/bin/sh", "-c", script]
    try:
        ended = subprocess.run(line, capture_output=True, text=True, env=env, cwd=base, **whom)  # type: ignore[call-overload]
        assert ended.returncode == 0, ended.stderr
        assert not list((base / "out").glob(".work-*"))
    finally:
        shutil.rmtree(base)
