"""`slimagent image` for the tests: the command, images derived from the small one, what is in an image."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slimagent.image import owner

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = ROOT / "build" / "bundle"
Derive = Callable[..., str]
NO_AGENT = Path("/nonexistent-agent")
LIMIT = 60  # seconds
_OURS = re.compile(rf"slimagent-(?:pending:)?({owner.PATTERN})-")


def docker(*arguments: str) -> str:
    """What the engine prints. Raises CalledProcessError."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def command(*arguments: str, agent: Path = BUNDLE) -> list[str]:
    """The words of `slimagent image`."""
    return [sys.executable, "-m", "slimagent", "image", "--agent", str(agent), *arguments]


def slim(image: str, tag: str, out: Path, *arguments: str, agent: Path = BUNDLE) -> subprocess.CompletedProcess[str]:
    """The command at level `file`: what nobody owns goes as well if nothing needs it."""
    words = command(image, "-t", tag, "--level", "file", "--out", str(out), *arguments, agent=agent)
    return subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)


def exists(tag: str) -> bool:
    """Whether there is an image of that name."""
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True).returncode == 0


def identity(image: str) -> str:
    """The ID of an image."""
    return docker("image", "inspect", "-f", "{{.Id}}", image).strip()


def remove(*images: str) -> None:
    """Take names off images."""
    subprocess.run(["docker", "rmi", "-f", *images], check=False, capture_output=True)


def listed(tag: str, directory: str) -> list[str]:
    """The names in a directory of an image."""
    return docker("run", "--rm", "--network=none", "--entrypoint", "/bin/ls", tag, directory).split()


def started(image: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A container of an image as `docker run` starts it with these arguments, at its end."""
    words = ["docker", "run", "--rm", "--network=none", image, *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def state(out: Path) -> str:
    """In which state the run is that wrote an output directory, as its record says."""
    return str(record(out)["state"])


def record(out: Path) -> dict[str, Any]:
    """The record of a run in its output directory."""
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def ours() -> set[str]:
    """What runs that have ended left in the engine: containers and pending images."""
    names = [
        *docker("ps", "-a", "--format", "{{.Names}}").split(),
        *docker("images", "--format", "{{.Repository}}:{{.Tag}}", "slimagent-pending").split(),
    ]
    keys = {name: match[1] for name in names if (match := _OURS.match(name))}
    return {name for name, key in keys.items() if owner.fate(key) is not owner.Fate.ALIVE}


class Volumes:
    """Which volumes the containers of our runs get from here on. Others use the engine at the same time."""

    def __init__(self) -> None:
        filters = ("--filter", "type=container", "--filter", "type=volume", "--filter", "event=create")
        words = ["docker", "events", *filters, "--filter", "event=mount", "--format", "{{json .Actor}}"]
        self._events = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def left(self) -> set[str]:
        """Those that are still there and that nothing uses. To be asked once."""
        self._events.terminate()
        told = [json.loads(line) for line in self._events.communicate()[0].split("\n") if line]
        by_us = {each["ID"] for each in told if _OURS.match(each["Attributes"].get("name", ""))}
        volumes = {each["ID"] for each in told if each["Attributes"].get("container") in by_us}
        return volumes & {*docker("volume", "ls", "-q", "-f", "dangling=true").split()}


def build(tag: str, context: Path, dockerfile: str) -> None:
    """Build an image without a network, by the builder that every Docker has."""
    (context / "Dockerfile").write_text(dockerfile)
    words = ["docker", "build", "-q", "--network=none", "-t", tag, str(context)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr


def write_files(context: Path, files: Mapping[str, str | bytes]) -> None:
    """Files below a directory, all of them programs."""
    for name, data in files.items():
        path = context / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(0o755)


def archive(files: Mapping[str, bytes]) -> bytes:
    """Files as a tar, root's."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            made.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def faulty_engine(directory: Path, emptied: str) -> None:
    """A `docker` in a directory that loses the bytes of one file when it loads a slim image."""
    directory.mkdir(parents=True)
    program = directory / "docker"
    real, script = shutil.which("docker"), ROOT / "benchmarks/faulty_docker.py"
    words = shlex.join([sys.executable, str(script), str(real), emptied])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)


@dataclass(frozen=True, slots=True)
class Entry:
    """A path of an image: what a container of it has there. `attributes` are the extended ones."""

    kind: bytes
    digest: str
    mode: int
    owner: tuple[int, int]
    modified: float
    link: str
    attributes: tuple[tuple[str, str], ...]


def contents(image: str) -> dict[str, Entry]:
    """Every path of an image, by its name without a leading slash."""
    name = docker("create", "--network=none", image, "/x").strip()
    try:
        with (
            subprocess.Popen(["docker", "export", name], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            return dict(_entries(archive))
    finally:
        docker("rm", "--volumes", name)


def _entries(archive: tarfile.TarFile) -> Iterator[tuple[str, Entry]]:
    for member in archive:
        file = archive.extractfile(member) if member.isfile() else None
        attributes = ((key, value) for key, value in member.pax_headers.items() if "xattr" in key)
        yield (
            member.name.rstrip("/"),
            Entry(
                kind=member.type,
                digest=hashlib.sha256(file.read()).hexdigest() if file else "",
                mode=member.mode,
                owner=(member.uid, member.gid),
                modified=int(member.mtime),
                link=member.linkname,
                attributes=tuple(sorted(attributes)),
            ),
        )


def differences(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[tuple[str, Entry | None, Entry]]:
    """What an image has otherwise than another one, or more: the name, and what is there in both.

    An engine puts files of its own into a container, and makes the place of a declared volume anew: the directories
    that it touches so have its time.
    """
    places = ("/.dockerenv", "/dev", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/proc", "/sys")
    touched = ("", "etc", "data", "more")
    found = []
    for name, now in after.items():
        was = before.get(name)
        if f"/{name}".startswith(places):
            continue
        if was is not None and name in touched:
            was = replace(was, modified=now.modified)
        if was != now:
            found.append((name, was, now))
    return found


def bytes_of(image: str) -> bytes:
    """The whole image as the engine saves it: layers, configuration, history."""
    return subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout


class Running:
    """A container that runs meanwhile. Use as a context manager; its name is the value."""

    def __init__(self, image: str, *options: str) -> None:
        self._words = ("run", "-d", "--network=none", *options, image)
        self._name = ""

    def __enter__(self) -> str:
        self._name = docker(*self._words).strip()
        return self._name

    def __exit__(self, *_: object) -> None:
        docker("rm", "-f", "-v", self._name)


def comes(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true within a minute."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def notes(summary: str) -> list[str]:
    """What a summary says was not exercised."""
    return [line for line in summary.splitlines() if line.startswith("note: ")]


def said(ended: subprocess.CompletedProcess[str]) -> str:
    """Standard error in one line."""
    return re.sub(r"\s+", " ", ended.stderr)


def directory(path: Path) -> Path:
    """A new directory."""
    path.mkdir()
    return path
