"""A small image for tests of the engine: one static program that does as it is told, and two accounts."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from python_images import lacking

from slimagent.image.engine import Engine, find

PROBE = Path(__file__).parent / "engine_probe.c"
CHANGES = ("VOLUME /data", 'ENTRYPOINT ["/probe"]', "USER 7:8", 'HEALTHCHECK CMD ["/probe", "0"]')


def works(program: str) -> bool:
    """Whether an engine answers."""
    return shutil.which(program) is not None and subprocess.run([program, "info"], capture_output=True).returncode == 0


def docker() -> Engine:
    """Docker as it is here."""
    if not works("docker"):
        lacking("no Docker engine")
    return find("docker")


def import_probe(folder: Path, tag: str, engine: str = "docker") -> None:
    """Make the image; `folder` is for what is made on the way."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        lacking("no C compiler")
    program = folder / "probe"
    subprocess.run([str(compiler), "-static", "-o", str(program), str(PROBE)], check=True)
    with tarfile.open(folder / "probe.tar", "w") as archive:
        archive.add(program, "probe")
        for name, target in (("link", "/probe"), ("etc/passwd", "../accounts")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        for name, data in (("accounts", b"somebody:x:7:8::/:\n"), ("etc/group", b"some:x:8:\n")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    changes = [word for each in CHANGES for word in ("-c", each)]
    subprocess.run([engine, "import", *changes, str(folder / "probe.tar"), tag], check=True, capture_output=True)


def nothing(line: bytes) -> None:
    """Hear a line, and forget it."""


def told(*arguments: str) -> list[str]:
    """What Docker prints, in words."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.split()
