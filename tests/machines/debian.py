"""What a machine starts from: a kernel of Debian, a root file system, and a disk with this checkout."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.machines.which import Machine

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).parent / "inside"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASE, PYTHON = "bookworm", "311"  # of every machine's programs, whatever its kernel
PACKAGES = (
    "acl,attr,binutils,busybox-static,ca-certificates,curl,docker.io,dpkg-dev,g++,gcc,git,iproute2,kmod,libc6-dev,"
    "libcap2-bin,make,musl-tools,patchelf,procps,python3,python3-dev,python3-venv,zstd"
)
WHEELS = {"arm64": "aarch64", "amd64": "x86_64"}
NOT_THERE = ("ruff", "mypy", "types-psutil")  # they say nothing about a kernel


class Kernel(NamedTuple):
    """A kernel of Debian: its image, and the directory with its modules, which is named as its version."""

    image: Path
    modules: Path

    @property
    def version(self) -> str:
        """As `uname -r` gives it."""
        return self.modules.name


def run(*words: str | Path, **more: Any) -> str:
    """Run a command; returns what it says. Raises SystemExit with its last lines if it fails."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(
            f"{' '.join(map(str, words))[:200]} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return str(done.stdout)


def kernel(machine: Machine, work: Path) -> Kernel:
    """The newest kernel for clouds of the machine's suite, with its signature checked."""
    at = work / f"apt-{machine.suite}-{machine.debian}"
    for each in ("lists/partial", "cache/archives/partial"):
        (at / each).mkdir(parents=True, exist_ok=True)
    (at / "sources").write_text(f"deb [signed-by={KEYS}] {MIRROR} {machine.suite} main\n")
    (at / "status").touch()
    settings = {
        "APT::Architecture": machine.debian,
        "APT::Architectures": machine.debian,
        "APT::Sandbox::User": "root",
        "Dir::Etc::SourceList": at / "sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": at / "lists",
        "Dir::State::Status": at / "status",
        "Dir::Cache": at / "cache",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run("apt-get", *options, "update", "-q")
    packages = _needed(options, f"linux-image-cloud-{machine.debian}")
    unpacked = at / packages[0]
    if not unpacked.exists():
        run("apt-get", *options, "download", "-q", *packages, cwd=at)
        for each in packages:
            run("dpkg-deb", "-x", next(at.glob(f"{each}_*.deb")), at / "unpacking")
        modules = _modules(at / "unpacking")
        run("depmod", "-b", modules.parents[2], modules.name)
        (at / "unpacking").rename(unpacked)
    modules = _modules(unpacked)
    return Kernel(unpacked / f"boot/vmlinuz-{modules.name}", modules)


def _needed(options: Sequence[str], name: str) -> list[str]:
    """The packages of the kernel that `name` stands for, the one with its version first: newer ones are in parts."""
    found: list[str] = []
    left = re.findall(r"Depends: (linux-image-\S+)", run("apt-cache", *options, "depends", name))[:1]
    version = left[0].removeprefix("linux-image-")
    while left:
        found.append(left.pop())
        depends = re.findall(r"Depends: (linux-\S+)", run("apt-cache", *options, "depends", found[-1]))
        left += [each for each in depends if each.endswith(version) and each not in (*found, *left)]
    return found


def _modules(unpacked: Path) -> Path:
    """The directory of a kernel's modules, which is named as its version."""
    (modules,) = (each for top in ("lib", "usr/lib") for each in (unpacked / top / "modules").glob("*"))
    return modules


def root_disk(machine: Machine, work: Path) -> Path:
    """A disk with the programs of a machine. It is made once, and never written again."""
    name = hashlib.sha256(f"{RELEASE} {PACKAGES} {MIRROR}".encode()).hexdigest()[:12]
    disk = work / f"root-{machine.debian}-{name}.img"
    if not disk.exists():
        unpacked = work / f"root-{machine.debian}"
        _bootstrap(machine, unpacked, PACKAGES)
        (unpacked / "machine").mkdir()
        _disk(unpacked, disk, "8G")
        shutil.rmtree(unpacked)
    return disk


def _bootstrap(machine: Machine, unpacked: Path, packages: str) -> None:
    """A root file system. Another architecture's programs run by qemu-user, which binfmt_misc starts."""
    shutil.rmtree(unpacked, ignore_errors=True)
    _can_run(WHEELS[machine.debian])
    words = [f"--arch={machine.debian}", "--variant=minbase", f"--include={packages}", RELEASE, str(unpacked), MIRROR]
    run("debootstrap", *words)
    subprocess.run(["umount", "-R", str(unpacked / "proc")], capture_output=True, check=False)


def _can_run(architecture: str) -> None:
    """Let programs of another architecture run here, as Debian's qemu-user-static does where systemd runs."""
    rules = Path("/proc/sys/fs/binfmt_misc")
    if architecture == os.uname().machine or (rules / f"qemu-{architecture}").exists():
        return
    rule = Path(f"/usr/lib/binfmt.d/qemu-{architecture}.conf")
    if not rule.exists():
        sys.exit(f"programs of {architecture} do not run here; on Debian: apt-get install qemu-user-static")
    if not (rules / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", rules)
    lines = [each for each in rule.read_text().splitlines() if not each.startswith("#")]
    (rules / "register").write_text(lines[0])


def _disk(directory: Path, disk: Path, size: str) -> None:
    half = disk.with_suffix(".half")
    half.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", directory, half, size)
    half.rename(disk)


def work_disk(machine: Machine, work: Path, kernel: Kernel, todo: Sequence[str]) -> Path:
    """A disk with what is tested: this checkout, its dependencies, a small image, and the kernel's modules."""
    unpacked, small = work / "work", work / f"small-{machine.debian}.tar"
    shutil.rmtree(unpacked, ignore_errors=True)
    (unpacked / "source").mkdir(parents=True)
    files = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [each for each in files.split("\0") if (ROOT / each).is_file()]
    copy = ("xargs", "-0", "cp", "--parents", "--no-dereference", "-t", unpacked / "source")
    run(*copy, input="\0".join(names), cwd=ROOT)
    wheels = work / f"wheels-{machine.debian}"
    _wheels(machine, wheels)
    shutil.copytree(wheels, unpacked / "wheels")
    if not small.exists():
        _bootstrap(machine, work / "small", "python3")
        run("tar", "-C", work / "small", "-cf", small.with_suffix(".half"), ".")
        small.with_suffix(".half").rename(small)
        shutil.rmtree(work / "small")
    shutil.copy(small, unpacked / "small.tar")
    shutil.copytree(kernel.modules, unpacked / "modules" / kernel.version, symlinks=True)
    for each in INSIDE.iterdir():
        shutil.copy(each, unpacked / each.name)
    (unpacked / "todo").write_text("\n".join(todo) + "\n")
    disk = work / "work.img"
    _disk(unpacked, disk, "3G")
    return disk


def _wheels(machine: Machine, wheels: Path) -> None:
    """The dependencies of the tests, for the machine's Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += project["project"]["optional-dependencies"]["dev"]
    asked = [each for each in asked if re.split(r"[>=<\[; ]", each)[0] not in NOT_THERE] + ["editables"]
    kinds = [f"manylinux_2_{minor}_{WHEELS[machine.debian]}" for minor in (17, 24, 28, 31, 34)]
    where = ["--dest", str(wheels), "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    where += [word for each in kinds for word in ("--platform", each)]
    run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *where, *asked)
