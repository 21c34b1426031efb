"""Plant an emptied file that a test needs and that nobody misses, and see whether the search names it.

    images/build mini && make bundle
    python benchmarks/cause.py lab:mini --test /opt/lab/smoke --user jovyan --seed 1

The test is traced in IMAGE. One of the files that it opens is chosen at random: with the file emptied the test must
fail, in a container of IMAGE (some emptied files do no harm). Then `slimagent image` slims IMAGE with an engine that
empties this file whenever it loads a slim image (`faulty_docker.py`): the file is there, no plan says that it differs,
and no lookup is in vain. The exit status is 1 unless the search names exactly this file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import posixpath
import random
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faulty_docker import emptied

from slimagent import documents
from slimagent.model.trace import How
from slimagent.paths.algebra import to_text, within_any

ROOT = Path(__file__).resolve().parent.parent
SLIM = "slimagent-benchmark-cause:slim"
OUTSIDE = (b"/proc", b"/sys", b"/dev", b"/tmp", b"/run")
NOT_RUN = (125, 126, 127)  # statuses of a test that did not even begin
TRIES = 40


def docker(*arguments: str, data: bytes | None = None) -> bytes:
    """What Docker prints. Raises CalledProcessError."""
    return subprocess.run(["docker", *arguments], check=True, input=data, capture_output=True).stdout


class Planted:
    """The image, and a file of it that the test needs."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work

    def opened(self) -> list[str]:
        """What the test opens, or executes, in a container of the image: the files that its links lead to."""
        out = self.work / "traced"
        out.mkdir(mode=0o777)
        out.chmod(0o777)
        mounts = ["-v", f"{Path(self.options.agent).resolve()}:/agent:ro", "-v", f"{out}:/out"]
        start = ["run", "--rm", "--network=none", "-u", "root", *mounts, "--entrypoint", "/agent/entrypoint.sh"]
        words = ["trace", "-o", "/out/trace.json", "--user", self.options.user, "--", *shlex.split(self.options.test)]
        docker(*start, self.options.image, *words)
        trace = documents.decode_trace((out / "trace.json").read_bytes())
        used = How.OPENED | How.EXECUTED
        found = [each.path for each in trace.accesses if each.found and each.how & used]
        real = docker(
            *("run", "--rm", "-i", "--network=none", "-u", "root", "--entrypoint", "xargs", self.options.image),
            *("-0", "realpath", "-z", "-q"),
            data=b"\0".join(path for path in found if not within_any(path, OUTSIDE)),
        )
        return sorted({to_text(path) for path in real.split(b"\0") if path})

    def needed(self, path: str) -> bool:
        """Whether the test begins and fails with an emptied file at this path."""
        options = ("--network=none", "--user", self.options.user, "--entrypoint", "")
        container = docker("create", *options, self.options.image, *shlex.split(self.options.test)).decode().strip()
        try:
            archive = docker("cp", f"{container}:{path}", "-")
            with tarfile.open(fileobj=io.BytesIO(archive)) as source:
                found = next(iter(source))
            if not found.isreg() or not found.size:
                return False
            docker("cp", "-", f"{container}:{posixpath.dirname(path)}", data=emptied(archive))
            status = subprocess.run(["docker", "start", "--attach", container], capture_output=True, check=False)
        except subprocess.CalledProcessError:
            return False
        else:
            return status.returncode not in (0, *NOT_RUN)
        finally:
            docker("rm", "--force", "--volumes", container)

    def slim(self, path: str) -> Path:
        """Slim the image by the engine that empties the file. Returns the output directory."""
        programs, out = self.work / "bin", self.work / "out"
        programs.mkdir()
        words = [sys.executable, str(ROOT / "benchmarks/faulty_docker.py"), str(shutil.which("docker")), path]
        (programs / "docker").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (programs / "docker").chmod(0o755)
        path_here = os.pathsep.join((str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])))
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": path_here,
        }
        words = [sys.executable, "-m", "slimagent", "image", self.options.image, "-t", SLIM, "--overwrite"]
        words += ["--level", self.options.level, "--user", self.options.user, "--out", str(out), "--no-start"]
        words += ["--agent", self.options.agent, "--", *shlex.split(self.options.test)]
        with (self.work / "log").open("wb") as log:
            subprocess.run(words, env=environment, stdout=log, stderr=log, check=False)
        return out


def chosen(planted: Planted, seed: int) -> Iterator[str]:
    """Files that the test opens, at random."""
    plain = [each for each in planted.opened() if each.isprintable() and "\\" not in each]
    yield from random.Random(seed).sample(plain, min(TRIES, len(plain)))  # noqa: S311 - to be the same again


def measure(planted: Planted, path: str) -> int:
    """Slim, and print what was found. Returns the exit status."""
    began = time.monotonic()
    out = planted.slim(path)
    seconds = time.monotonic() - began
    summary = json.loads((out / "summary.json").read_text())
    for each in summary["searches"]:
        named = [cause["path"] for cause in each["causes"]]
        print(
            f"{each['outcome']}: {each['runs']} runs, {each['seconds']:.0f} s of {seconds:.0f} s, "
            f"among {each['differences']:,} differences: {', '.join(named) or 'nothing named'}"
        )
    causes = [cause for each in summary["searches"] for cause in each["causes"]]
    if [(each["path"], each["what"]) for each in causes] == [(path, "differs")]:
        return 0
    print(f"not exactly the planted file: {(planted.work / 'log').read_text(errors='replace')[-3000:]}")
    return 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", help="the image to slim: lab:mini or lab:ml")
    parser.add_argument("--test", default="/opt/lab/smoke", help="its test")
    parser.add_argument("--user", default="jovyan", help="who runs the test")
    parser.add_argument("--level", default="file", help="how much may go")
    parser.add_argument("--seed", type=int, default=1, help="chooses the file")
    parser.add_argument("--agent", default=str(ROOT / "build/bundle"), help="what `make bundle` made")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        planted = Planted(options, Path(temporary))
        for tries, path in enumerate(chosen(planted, options.seed), 1):
            if planted.needed(path):
                print(f"{options.image}, seed {options.seed}: emptied {path} (file {tries} that was tried)", flush=True)
                try:
                    return measure(planted, path)
                finally:
                    subprocess.run(["docker", "rmi", "-f", SLIM], check=False, capture_output=True)
    print(f"no file of {TRIES} is needed")
    return 1


if __name__ == "__main__":
    sys.exit(main())
