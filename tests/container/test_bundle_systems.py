"""The bundle in containers that have next to nothing: an old C library, a newer one, no Python, musl, not even a shell.

Needs `make bundle`, debootstrap with Debian's keys, busybox-static and musl-tools.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from slimagent import documents
from slimagent.image.agent import Bundle, bundle
from slimagent.model.plan import Plan
from slimagent.model.reason import Verdict
from tests.container.conftest import lacking

BUNDLE = Path(__file__).resolve().parent.parent.parent / "build" / "bundle"
TAG = f"slimagent-test-bundle-{os.getpid()}"
# Prints a file of the image and the environment.
PROGRAM = r"""
#include <stdio.h>
extern char **environ;
int main(void) {
  char line[99];
  FILE *file = fopen("/data/used", "r");
  if (!file || !fgets(line, sizeof line, file)) return 3;
  fputs(line, stdout);
  for (char **each = environ; *each; each++) puts(*each);
  return 0;
}
"""
# Name services, OpenSSL and Python set up for somebody else's C library: nothing of it may reach the agent.
NSS = "passwd: compat nis systemd\ngroup: compat nis\ninitgroups: nis\nshadow: compat\nhosts: nis mdns4 files\n"
OPENSSL = "openssl_conf = a\n[a]\nproviders = b\n[b]\nfips = c\n[c]\nactivate = 1\nmodule = /nowhere.so\n"


@pytest.fixture(scope="module")
def agent() -> Bundle:
    """The bundle that `make bundle` made."""
    if not (BUNDLE / "bundle.json").exists():
        lacking("no build/bundle; run `make bundle`")
    for program in ("docker", "debootstrap", "musl-gcc", "busybox"):
        if shutil.which(program) is None:
            lacking(f"no {program}")
    return bundle(str(BUNDLE))


@pytest.fixture
def tag() -> Iterator[str]:
    yield TAG
    subprocess.run(["docker", "image", "rm", "-f", TAG], check=False, capture_output=True)


def load(root: Path, tag: str) -> None:
    """A folder as an image."""
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "-", tag], stdin=tar.stdout, check=True, capture_output=True)


def unpacked(root: Path, suite: str, release: str) -> None:
    """The essential packages of a distribution, unpacked by debootstrap and not configured.

    debootstrap checks every package against the Release file; where we have no key for that, `release` is its SHA-256.
    """
    trust = "--no-check-gpg" if release else "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"
    subprocess.run(
        ["debootstrap", "--foreign", "--variant=minbase", trust, suite, str(root)],
        check=True,
        capture_output=True,
    )
    (stored,) = (root / "var/lib/apt/lists").glob("*_Release")
    if release:
        assert hashlib.sha256(stored.read_bytes().rstrip()).hexdigest() == release
    shutil.rmtree(root / "debootstrap", ignore_errors=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\njo:x:1000:1000::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\njo:x:1000:\nmore:x:77:jo\n")
    (root / "etc/nsswitch.conf").write_text(NSS)
    (root / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/ssl/openssl.cnf").unlink(missing_ok=True)
    (root / "usr/lib/ssl/openssl.cnf").write_text(OPENSSL)


def run(
    agent: Bundle, tag: str, out: Path, command: Sequence[str], *options: str, by_shell: bool = False
) -> subprocess.CompletedProcess[str]:
    """`slimagent run` of a command in a container, started by the bundle's loader or by entrypoint.sh."""
    first, *rest = ("/agent/entrypoint.sh",) if by_shell else agent.entry("/agent")
    words = ["docker", "run", "--rm", "--network=none", "--user=0", "-v", f"{agent.directory}:/agent:ro"]
    words += ["-v", f"{out}:/out", "-e", "LC_ALL=C.UTF-8", "-e", "PYTHONHOME=/nowhere"]
    words += ["--entrypoint", first, tag, *rest]
    words += ["run", "--quiet", "--level", "file", "--out", "/out", *options, "--", *command]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def kept(plan: Plan) -> set[bytes]:
    return {each.path for each in plan.entries if plan.reasons[each.reason].verdict is Verdict.KEEP}


def proved(out: Path) -> Plan:
    """The plan of a run that was verified, whose export holds no file of the agent's."""
    result = documents.decode_verification((out / "verification.json").read_bytes(), "verification")
    assert result.passed
    plan = documents.decode_plan((out / "plan.json").read_bytes(), "plan")
    with tarfile.open(out / "rootfs.tar") as tar:
        names = tar.getnames()
    assert not [name for name in names if name.split("/")[0] in ("agent", "out")]
    return plan


SYSTEMS = (
    pytest.param(
        "xenial",
        "ce816774886f565d152b0b233fd715af3aa966fefb2277546bce75fdcf9ae996",  # nothing has changed in it since 2016
        id="glibc 2.23",
    ),
    pytest.param("bullseye", "", id="glibc 2.31"),
    pytest.param("trixie", "", id="glibc 2.41"),
)


@pytest.mark.parametrize(("suite", "release"), SYSTEMS)
def test_in_a_system_with_another_c_library_and_without_python(
    agent: Bundle, tag: str, tmp_path: Path, suite: str, release: str
) -> None:
    """Its own programs run with its own libraries, as an account of its own, with the container's environment."""
    unpacked(tmp_path / "root", suite, release)
    load(tmp_path / "root", tag)
    out = tmp_path / "out"
    out.mkdir()
    done = run(agent, tag, out, ["/bin/sh", "-c", "id; env; cat /etc/os-release"], "--user", "jo", by_shell=True)
    assert done.returncode == 0, done.stderr
    assert "uid=1000(jo) gid=1000(jo) groups=1000(jo),77(more)" in done.stdout
    assert "PYTHONHOME=/nowhere" in done.stdout
    assert not [word for word in ("SLIMAGENT", "LC_CTYPE", "LD_LIBRARY_PATH", "OPENSSL") if word in done.stdout]
    plan = proved(out)
    paths = kept(plan)
    assert [path for path in paths if path.endswith((b"/libc.so.6", b"/libc-2.23.so"))]
    assert not [path for path in paths if b"/agent" in path]


def compiled(compiler: Sequence[str], root: Path, program: str) -> None:
    """An image's folder with the program above, data that it uses, and some that it does not."""
    (root / "data").mkdir(parents=True)
    (root / "data/used").write_text("used\n")
    (root / "srv").mkdir()
    (root / "srv/unused").write_bytes(bytes(100_000))
    (root / program).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*compiler, "-x", "c", "-o", str(root / program), "-"], input=PROGRAM, text=True, check=True)


def test_with_busybox_and_musl_alone(agent: Bundle, tag: str, tmp_path: Path) -> None:
    """A program of musl's, its loader and busybox: what it needs stays; entrypoint.sh is run by busybox."""
    root = tmp_path / "root"
    compiled(["musl-gcc"], root, "bin/program")
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy2(busybox, root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (loader,) = Path("/lib").glob("ld-musl-*.so.1")
    (root / "lib").mkdir()
    shutil.copy(loader, root / "lib" / loader.name)
    load(root, tag)
    out = tmp_path / "out"
    out.mkdir()
    done = run(agent, tag, out, ["/bin/program"], by_shell=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("used\n")
    paths = kept(proved(out))
    assert {b"/data/used", b"/bin/program", b"/lib/" + loader.name.encode()} <= paths
    assert b"/srv/unused" not in paths


def test_without_a_shell(agent: Bundle, tag: str, tmp_path: Path) -> None:
    """One static program and nothing else: the bundle's loader is the entrypoint, and the environment is exact."""
    root = tmp_path / "root"
    compiled(["gcc", "-static"], root, "program")
    load(root, tag)
    out = tmp_path / "out"
    out.mkdir()
    done = run(agent, tag, out, ["/program"])
    assert done.returncode == 0, done.stderr
    names = {line.split("=")[0] for line in done.stdout.splitlines() if "=" in line}
    assert names == {"PATH", "HOSTNAME", "HOME", "LC_ALL", "PYTHONHOME"}
    paths = kept(proved(out))
    assert {b"/data/used", b"/program"} <= paths
    assert b"/srv/unused" not in paths
    receipt = documents.decode_receipt((out / "receipt.json").read_bytes(), "receipt")
    assert receipt.stripped == 1, receipt.unstripped  # by the bundle's own strip


def test_a_folder_from_which_nothing_may_be_executed_is_explained(agent: Bundle, tag: str, tmp_path: Path) -> None:
    """Where the loader cannot be run, two lines say so, with status 4."""
    copy = tmp_path / "agent"
    (copy / "lib").mkdir(parents=True)
    shutil.copy2(BUNDLE / "entrypoint.sh", copy)
    shutil.copy2(BUNDLE / "bundle.json", copy)
    (copy / "lib" / agent.loader).write_bytes(b"\x7fELF of another machine")
    (copy / "lib" / agent.loader).chmod(0o755)
    for shell in (["/bin/sh"], [shutil.which("busybox") or "busybox", "sh"]):
        done = subprocess.run([*shell, str(copy / "entrypoint.sh")], capture_output=True, text=True, check=False)
        assert done.returncode == 4
        assert len(done.stderr.splitlines()) == 2
