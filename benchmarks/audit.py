"""Plant what an audit should find in an image, and hold what it says against what the edits save.

    images/build ml && make bundle && python benchmarks/audit.py lab:ml --test /opt/lab/smoke --user jovyan

Each item of `audit_items.py` is planted in an image from IMAGE by instructions of its own. That is audited, without
and with a trace of `--test`, and built once more for each item with the edit that its finding gives: the difference of
the images' sizes is what the edit saves. Then each command that the audit of IMAGE itself gives (`find ... -delete`,
`rm`) is run in a container of its own, and the sizes of all files are compared. The exit status is 1 if an item is not
named, or if a finding and its edit differ by more than 5 % (20 % for the commands).

Needs Docker, and the registries of Debian and PyPI. The layers of a planted image are some 400 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit_items import ITEMS, Item, instructions

from slimagent.image.layers import read_layers

ROOT = Path(__file__).resolve().parent.parent
NAMED, COMMANDS = 0.05, 0.20  # by how much a finding may differ from what its edit saves
REPOSITORY = "slimagent-benchmark-audit"
COMMAND = re.compile(r"(?:find|rm|cd|ln) .*")
HEAD = re.compile(r"# layer (\d+), .*")
PLACE = r"{} \((?P<size>[\d.]+) (?P<unit>kB|MB|GB)\)"
STATED = re.compile(
    r"(?:removes|saves) (?P<size>[\d.]+) (?P<unit>kB|MB|GB) of [\d.]+ \wB(?:, and (?P<more>[\d.]+) (?P<of>\wB) .*)?",
)
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
MEASURE = ("find", "/", "-xdev", "-type", "f", "-printf", "%D:%i %s %p\\0")
Document = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the table. `said` is None for an item that no finding names."""

    item: str
    kind: str
    said: int | None
    saved: int
    allowed: float

    @property
    def is_right(self) -> bool:
        return self.said is not None and abs(self.said - self.saved) <= self.allowed * max(self.saved, 1)

    def __str__(self) -> str:
        if self.said is None:
            return f"| {self.item} | {self.kind} | **not named** | {self.saved / 1e6:,.1f} | |"
        off = f"{100 * (self.said - self.saved) / self.saved:+.1f} %" if self.saved else "-"
        mark = "" if self.is_right else " **!**"
        return f"| {self.item} | {self.kind} | {self.said / 1e6:,.1f} | {self.saved / 1e6:,.1f} | {off}{mark} |"


def peak_memory(here: int) -> Iterator[tuple[int, int]]:
    """The highest memory so far, in bytes, of the command with this number and of agents that audit in containers."""
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdigit() and (int(each.name) == here or is_agent((each / "cmdline").read_bytes())):
                peak = re.search(r"VmHWM:\s+(\d+) kB", (each / "status").read_text())
                if peak:
                    yield int(each.name), int(peak[1]) << 10


def is_agent(words: bytes) -> bool:
    """Whether this command line is that of the agent's part of an audit."""
    return b"\0audit\0" in words and b"\0--image-config\0" in words


def docker(*arguments: str, **more: Any) -> str:
    """Run the Docker client; returns its standard output."""
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True, **more).stdout


class Planted:
    """The image to plant in, where files go, and what was built."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.user = docker("image", "inspect", "-f", "{{.Config.User}}", options.image).strip() or "root"
        self.tag = f"{REPOSITORY}:{re.sub('[^a-z0-9]', '-', options.image)}"
        self.items = [each for each in ITEMS if not options.only or each.name in options.only]

    def build(self, tag: str, items: Sequence[Item], edited: str = "") -> int:
        """Plant items, one of them with its edit. Returns the size of the image as the engine gives it."""
        lines = f"FROM {self.options.image}\nUSER root\n{instructions(items, edited)}USER {self.user}\n"
        (self.work / "context").mkdir(exist_ok=True)
        (self.work / "context/Dockerfile").write_text(lines)
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}  # the builder that every Docker has
        words = ["docker", "build", "-q", "--network=host", "-t", tag, str(self.work / "context")]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(f"{tag}: {ended.stderr[-2000:]}")
        return int(docker("image", "inspect", "-f", "{{.Size}}", tag))

    def saved(self, item: Item) -> int:
        """What the edit of an item saves: the image is built up to the item, which takes its layers from the cache."""
        tag, some = f"{self.tag}-edited", self.items[: self.items.index(item) + 1]
        try:
            return self.build(tag, some) - self.build(tag, some, item.name)
        finally:
            self.remove(tag)

    def remove(self, tag: str) -> None:
        subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)

    def audit(self, image: str, name: str, trace: Path | None = None) -> Document:
        """Audit an image with the command; says what it cost."""
        out = self.work / f"{name}.json"
        words = [sys.executable, "-m", "slimagent", "audit", image, "--agent", self.options.agent, "-o", str(out)]
        words += ["--trace", str(trace)] if trace else []
        path = os.pathsep.join((str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])))
        begin, peaks = time.monotonic(), dict[int, int]()
        with (self.work / f"{name}.txt").open("wb") as shown, (self.work / f"{name}.log").open("wb") as told:
            child = subprocess.Popen(words, stdout=shown, stderr=told, env={**os.environ, "PYTHONPATH": path})
            while child.poll() is None:
                peaks.update(peak_memory(child.pid))
                time.sleep(0.2)
        if child.returncode:
            sys.exit((self.work / f"{name}.log").read_text())
        outside = peaks.pop(child.pid, 0)
        inside = max(peaks.values(), default=0)
        seconds = time.monotonic() - begin
        print(
            f"{image}, {name}: {seconds:.0f} s, {outside >> 20} MiB here, {inside >> 20} MiB in the container",
            flush=True,
        )
        made: Document = json.loads(out.read_text())
        return made

    def trace(self, image: str) -> Path:
        """A trace of the test in a container of an image."""
        out = self.work / "traced"
        out.mkdir(exist_ok=True)
        out.chmod(0o777)
        mounts = ["-v", f"{Path(self.options.agent).resolve()}:/agent:ro", "-v", f"{out}:/out"]
        start = ["run", "--rm", "--network=none", "-u", "root", *mounts, "--entrypoint", "/agent/entrypoint.sh", image]
        words = ["trace", "-o", "/out/trace.json", "--user", self.options.user, "--", *self.options.test.split()]
        docker(*start, *words, stderr=subprocess.DEVNULL)
        return out / "trace.json"


def bytes_of(match: re.Match[str]) -> int:
    """The bytes that a sentence has."""
    more = float(match["more"]) * UNITS[match["of"]] if match.groupdict().get("more") else 0
    return int(float(match["size"]) * UNITS[match["unit"]] + more)


def said(item: Item, document: Document) -> int | None:
    """What an audit says that an item's edit saves; None if not exactly one finding names the item."""
    found = []
    for each in document["findings"]:
        words = " ".join((each["title"], *each["subjects"], *each["evidence"]))
        if each["kind"] == item.kind and item.about in words:
            place = re.search(PLACE.format(re.escape(item.about)), words)
            found.append(each["size"] if not item.one_of_many else bytes_of(place) if place else None)
    return found[0] if len(found) == 1 else None


def items(image: Planted, planted: Document, traced: Document | None) -> Iterator[Row]:
    """A row for each item: what the audit says of it, and what its edit saves."""
    for each in image.items:
        document = traced if each.unused else planted
        if document is not None:
            yield Row(each.name, each.kind, said(each, document), image.saved(each), NAMED)


def live(edit: str) -> tuple[list[str], set[int]]:
    """The commands of an edit, and the layers whose RUNs they are for; what is said of other layers are comments."""
    found, layers, heads = list[str](), set[int](), set[int]()
    for line in edit.split("\n"):
        head = HEAD.fullmatch(line)
        if head:
            heads.add(int(head[1]) - 1)
            continue
        if COMMAND.fullmatch(line):
            found.append(line)
            layers |= heads
        elif not line.startswith("#"):
            return [], set()  # what cannot be run in a container
        heads = set()
    return found, layers


def layers_of(image: str) -> Mapping[bytes, int]:
    """The layer that each file of an image is from."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        return read_layers(saving.stdout).of


def commands(image: Planted, document: Document) -> Iterator[Row]:
    """A row for each finding of the image itself whose edit is a command: run in a container of its own.

    A RUN makes only its own layer smaller: the sizes are those of the files that come from the layers that are named.
    In one container for all, a command would not find what an earlier one has removed with its own.
    """
    of = layers_of(image.options.image)
    for each in document["findings"]:
        some, layers = live(each["edit"])
        if some:
            stated = STATED.match(each["comment"])
            promised = bytes_of(stated) if stated else each["size"]
            saved = saved_by(image.options.image, some, of, layers)
            yield Row(f"`{some[0][:40]}…`", each["kind"], promised, saved, COMMANDS)


def saved_by(image: str, lines: Sequence[str], of: Mapping[bytes, int], layers: set[int]) -> int:
    """By how many bytes these lines make the files from some layers smaller."""
    start = ("run", "-d", "--network=none", "-u", "root", "--entrypoint", "sh", image, "-c", "sleep 3600")
    container = docker(*start).strip()

    def measured() -> int:
        rows = subprocess.run(["docker", "exec", container, *MEASURE], check=True, stdout=subprocess.PIPE).stdout
        files = {}
        for row in rows.split(b"\0")[:-1]:
            file, size, path = row.split(b" ", 2)
            if of.get(path) in layers:
                files[file] = int(size)  # hard links count once, as in an audit
        return sum(files.values())

    try:
        before = measured()
        docker("exec", container, "sh", "-c", "\n".join(lines))
        return before - measured()
    finally:
        docker("rm", "-f", container)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", help="the image to plant in: lab:ml or lab:spatial")
    parser.add_argument("--test", help="a command of the image that is traced, to find what it does not use")
    parser.add_argument("--user", default="root", help="who runs the test")
    parser.add_argument("--agent", default=str(ROOT / "build/bundle"), help="what `make bundle` made")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="plant this item; repeatable")
    parser.add_argument("--out", type=Path, help="keep the audits in this directory")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark and print its tables."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.out.resolve() if options.out else Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        image = Planted(options, work)
        rows: list[Row] = []
        try:
            image.build(image.tag, image.items)
            before = image.audit(options.image, "image")
            planted = image.audit(image.tag, "planted")
            traced = image.audit(image.tag, "planted-traced", image.trace(image.tag)) if options.test else None
            print("\n| planted | finding | said, MB | saved, MB | difference |\n|---|---|---:|---:|---:|")
            for row in items(image, planted, traced):
                rows.append(row)
                print(row, flush=True)
            print(
                "\n| edit of the image itself | finding | said, MB | saved, MB | difference |\n|---|---|---:|---:|---:|"
            )
            for row in commands(image, before):
                rows.append(row)
                print(row, flush=True)
        finally:
            image.remove(image.tag)
    wrong = [row.item for row in rows if not row.is_right]
    print(
        f"\n{len(rows) - len(wrong)} of {len(rows)} findings are right" + (f"; not {', '.join(wrong)}" if wrong else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
