"""Holds a slim image against the image that it was made from: every path that is left has what it had.

    slimagent image FULL -t SLIM --out out -- \\
      sh -c 'echo more >>/etc/services; mv /etc/rpc /tmp; rm /etc/networks; exec /your/smoke-test'
    python benchmarks/digests.py FULL SLIM --plan out/plan.json

Both images are exported (`docker export`), and compared path by path: kind, contents by SHA-256, link target, owner,
mode, time, extended attributes. What slimagent says that it changed is counted apart, and its contents may differ:
files that it stripped, and databases of package managers. Times of the directories that an engine itself touches in
each container are not compared. Prints the differences and exits 1 if there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

_ENGINE = {"dev", "etc", "proc", "sys", "run", ".dockerenv", "dev/console", "dev/pts", "dev/shm", ""}
_ENGINE_FILES = {"etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"}
_SHOWN = 20


class Entry(NamedTuple):
    """A member of an export: everything of it that has to be the same. `mtime` is in whole seconds."""

    kind: bytes
    digest: str
    link: str
    uid: int
    gid: int
    mode: int
    mtime: int
    attributes: tuple[tuple[str, str], ...]


def exported(image: str) -> dict[str, Entry]:
    """Every member of an image's file system by its path, without the leading slash."""
    name = f"digests-{secrets.token_hex(6)}"
    create = ["docker", "create", "--name", name, "--network", "none", "--entrypoint", "/nothing", image]
    subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
    try:
        with subprocess.Popen(["docker", "export", name], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=1 << 20) as archive:
                found = dict(_entries(archive))
            process.stdout.read()
        assert process.returncode == 0, f"docker export of {image} ended with {process.returncode}"
        return found
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=False, stdout=subprocess.DEVNULL)


def _entries(archive: tarfile.TarFile) -> Iterator[tuple[str, Entry]]:
    digests: dict[str, str] = {}
    for member in archive:
        path, link = member.name.rstrip("/"), member.linkname
        digest = ""
        if member.isreg():
            file = archive.extractfile(member)
            assert file is not None
            sha256 = hashlib.sha256()
            while data := file.read(1 << 20):
                sha256.update(data)
            digest = digests[path] = sha256.hexdigest()
        elif member.islnk():  # which of two names is the link to the other is the exporter's choice
            digest, link = digests.get(link, f"a link to {link}, which came later"), ""
        attributes = tuple(sorted(each for each in member.pax_headers.items() if each[0].startswith("SCHILY.xattr.")))
        kind = tarfile.REGTYPE if member.islnk() else member.type
        yield path, Entry(kind, digest, link, member.uid, member.gid, member.mode, int(member.mtime), attributes)


def changed_by_slimagent(plan: str) -> dict[str, str]:
    """The paths whose contents a plan changes, each with how."""
    with open(plan, "rb") as file:
        document = json.load(file)
    found = {str(row[0]).lstrip("/"): "stripped" for row in document["strips"]}
    for path, kind, _ in document["edits"]:
        found[str(path).lstrip("/")] = "edited"
        if kind == "dpkg-alternatives":  # the link of a choice whose program went leads to the next best
            found[f"etc/alternatives/{str(path).rpartition('/')[2]}"] = "edited"
    return found


def differences(full: dict[str, Entry], slim: dict[str, Entry], changed: dict[str, str]) -> Iterator[str]:
    """What is not the same in the slim image, a line each."""
    for path, now in slim.items():
        before = full.get(path)
        if path in _ENGINE_FILES:
            continue
        if before is None:
            if changed.get(path) != "edited":
                yield f"{path}: not in the full image"
            continue
        for field, was, is_now in zip(Entry._fields, before, now, strict=True):
            if was == is_now or (path in _ENGINE and field in ("mtime", "mode")):
                continue
            if path in changed and field in ("digest", "mtime", "link"):
                continue
            yield f"{path}: {field} was {was!r}, is {is_now!r}"


def main() -> int:
    """Compare, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("full")
    parser.add_argument("slim")
    parser.add_argument("--plan", required=True, help="the plan.json that the slim image was made by")
    arguments = parser.parse_args()
    full, slim = exported(arguments.full), exported(arguments.slim)
    changed = changed_by_slimagent(arguments.plan)
    found = list(differences(full, slim, changed))
    same = [path for path, entry in slim.items() if entry.kind == tarfile.REGTYPE and path not in changed]
    left = [path for path in slim if path in changed]
    print(f"{len(full):,} paths in {arguments.full}, {len(slim):,} in {arguments.slim}")
    print(f"{len(same):,} regular files compared by digest, {len(left):,} stripped or edited by slimagent left out")
    for line in found[:_SHOWN]:
        print(line)
    print(f"{len(found):,} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
