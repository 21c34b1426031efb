"""Start a machine, and fetch what it leaves."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.machines.debian import Kernel, run
from tests.machines.which import Machine

NEEDED = ("virtio_pci", "virtio_blk", "ext4")
UNPACK = {".xz": ("xz", "-dc"), ".zst": ("zstd", "-dc"), ".gz": ("gzip", "-dc")}
# The first process: Debian's kernels have the drivers of these disks as modules.
FIRST = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for each in /order/*; do /bin/busybox insmod "$each"; done
until [ -b /dev/vdc ]; do /bin/busybox sleep 1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -t ext4 /dev/vdb /root/machine
exec /bin/busybox switch_root /root /bin/bash /machine/init
"""
RESULTS = 512 << 20  # bytes at most


def boot(machine: Machine, kernel: Kernel, disks: tuple[Path, Path], out: Path, seconds: float) -> None:
    """Run a machine until it ends; its console and what it leaves are in `out`. What it writes to `disks` is lost."""
    with tempfile.TemporaryDirectory(dir=disks[0].parent) as made:
        first, results = Path(made) / "first.gz", Path(made) / "results"
        _first(kernel, disks[0], first)
        with results.open("wb") as file:
            file.truncate(RESULTS)
        words = [*machine.qemu, "-accel", os.environ.get("MACHINES_ACCEL", "tcg,thread=multi"), "-m", "6G", "-smp", "2"]
        words += ["-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel.image), "-initrd", str(first)]
        words += ["-append", f"console={machine.console} panic=-1 quiet"]
        for disk, may in ((disks[0], "snapshot=on"), (disks[1], "snapshot=on"), (results, "cache=unsafe")):
            words += ["-drive", f"file={disk},format=raw,if=virtio,{may}"]
        with (out / "console.log").open("wb") as console:
            try:
                subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    timeout=seconds,
                    check=False,
                    env={**os.environ, "TMPDIR": str(disks[0].parent)},
                )
            except subprocess.TimeoutExpired:
                print(f"ended after {seconds:.0f} s", file=sys.stderr)
        kept = out / "results"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        subprocess.run(["tar", "-C", str(kept), "-xf", str(results)], check=False, capture_output=True)


def _first(kernel: Kernel, disk: Path, first: Path) -> None:
    """The file system that the kernel starts with: busybox of the machine's architecture, and modules in order."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        for each in ("bin", "dev", "order", "root"):
            (directory / each).mkdir()
        run("debugfs", "-R", f"dump /bin/busybox {directory / 'bin/busybox'}", disk)
        (directory / "bin/busybox").chmod(0o755)
        (directory / "init").write_text(FIRST)
        (directory / "init").chmod(0o755)
        for number, module in enumerate(_needed(kernel)):
            command = UNPACK.get(module.suffix, ("cat",))
            data = subprocess.run([*command, module], check=True, capture_output=True).stdout
            (directory / "order" / f"{number:02}-{module.name.partition('.')[0]}.ko").write_bytes(data)
        names = "\0".join(str(each.relative_to(directory)) for each in sorted(directory.rglob("*")))
        words = ["cpio", "-o", "-H", "newc", "--null", "--quiet"]
        archive = subprocess.run(words, input=names.encode(), cwd=directory, check=True, capture_output=True)
        first.write_bytes(gzip.compress(archive.stdout, 1))


def _needed(kernel: Kernel) -> list[Path]:
    """The modules without which the disks cannot be read, each after those that it needs."""
    at = ("-d", kernel.modules.parents[2], "-S", kernel.version)
    said = "".join(run("modprobe", *at, "--show-depends", name) for name in NEEDED)
    return list(dict.fromkeys(map(Path, re.findall(r"^insmod (\S+)", said, re.MULTILINE))))
