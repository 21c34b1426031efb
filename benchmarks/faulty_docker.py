"""Docker, but it loses the bytes of one file when it loads a slim image.

    python benchmarks/faulty_docker.py /usr/bin/docker /opt/app/file ARGUMENTS...

Everything else is done by the real program. The file keeps its owner, mode and time: nobody who looks it up misses it.
`cause.py` and the tests put it into PATH under the name of docker.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import subprocess
import sys
import tarfile

LOADED = re.compile(rb"slimagent-pending:\S+")
MADE = '{{index .Config.Labels "io.slimagent.plan"}}'  # an image of layers that are loaded early has no labels


def docker(program: str, *arguments: str, data: bytes | None = None) -> bytes:
    """What the real program prints. Ends with its status if it fails."""
    ended = subprocess.run([program, *arguments], input=data, capture_output=True, check=False)
    if ended.returncode:
        sys.stderr.buffer.write(ended.stderr)
        sys.exit(ended.returncode)
    return ended.stdout


def emptied(archive: bytes) -> bytes:
    """The tar of a file, as a tar of the same file without bytes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=made, mode="w") as target:
        found = next(iter(source))
        found.size = 0
        target.addfile(found)
    return made.getvalue()


def spoil(program: str, image: str, path: str) -> None:
    """Empty a file of an image, which keeps its name and its configuration."""
    if not docker(program, "image", "inspect", "-f", MADE, image).strip():
        return
    container = docker(program, "create", "--pull", "never", image).decode().strip()
    try:
        archive = emptied(docker(program, "cp", f"{container}:{path}", "-"))
        docker(program, "cp", "-", f"{container}:{posixpath.dirname(path)}", data=archive)
        docker(program, "commit", container, image)
    finally:
        docker(program, "rm", "--force", "--volumes", container)


def main(program: str, path: str, *arguments: str) -> None:
    """Do what the real program does, and then the damage."""
    if arguments[:1] != ("load",):
        os.execv(program, [program, *arguments])  # noqa: S606
    ended = subprocess.run([program, *arguments], stdout=subprocess.PIPE, check=False)
    sys.stdout.buffer.write(ended.stdout)
    if ended.returncode:
        sys.exit(ended.returncode)
    for name in LOADED.findall(ended.stdout):
        spoil(program, name.decode(), path)


if __name__ == "__main__":
    main(*sys.argv[1:])
