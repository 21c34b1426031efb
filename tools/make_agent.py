"""Make an agent directory: entrypoint.sh, slimagent, its dependencies for every Python that may be found in an image.

    python tools/make_agent.py build/agent

Of the dependencies only orjson is built per Python version; its wheels for 3.10 to 3.14 lie side by side.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

from slimagent.bundle.agent_directory import contents
from slimagent.model.agent import AGENT as RECORD
from slimagent.model.agent import CONTENTS, OUTSIDE_ONLY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
OLDEST, OTHERS = "3.10", ("3.11", "3.12", "3.13", "3.14")
GLIBC = ("2_17", "2_28")  # manylinux tags: what the oldest image to serve has, and what newer wheels ask for


def main(target: Path) -> None:
    """Build the directory beside its place and swap it in, so that it is never half there."""
    with tempfile.TemporaryDirectory() as work:
        wheels = Path(work)
        collect(wheels)
        new = target.with_name(target.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        library = new / "lib"
        library.mkdir(parents=True)
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(library)
        shutil.rmtree(library / "bin", ignore_errors=True)
        shutil.copytree(ROOT / "slimagent", library / "slimagent", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "profiles", library / "slimagent" / "profiles", dirs_exist_ok=True)
        shutil.copy2(ROOT / "entrypoint.sh", new / "entrypoint.sh")
        listed = contents(os.fsencode(new), RECORD)
        (new / RECORD).write_text(json.dumps({"schema": "slimagent/agent", "version": 1, CONTENTS: listed}, indent=2))
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)


def collect(wheels: Path) -> None:
    """Fetch everything for the oldest Python; for the others what is built per version, and what the oldest lacks."""
    first = required(OLDEST)
    download(wheels, OLDEST, [str(each) for each in first])
    built = [wheel.name.split("-") for wheel in wheels.glob("*.whl") if "-cp310-cp310-" in wheel.name]
    pinned = [f"{name}=={version}" for name, version, *_ in built]
    names = {each.name for each in first}
    for version in OTHERS:
        newer = [str(each).split(";")[0] for each in required(version) if each.name not in names]
        download(wheels, version, [*pinned, *newer], "--no-deps")


def download(wheels: Path, version: str, requirements: list[str], *options: str) -> None:
    """Fetch wheels that run on one version of Python with an old C library."""
    machine = platform.machine()
    platforms = [f"--platform=manylinux_{glibc}_{machine}" for glibc in GLIBC] + [f"--platform=manylinux2014_{machine}"]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
        "--dest", str(wheels), "--python-version", version, "--implementation", "cp", *platforms, *options,
        *requirements,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def required(version: str) -> list[Requirement]:
    """The dependencies in pyproject.toml that the agent needs with one version of Python."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    requirements = [each for each in map(Requirement, listed) if each.name not in OUTSIDE_ONLY]
    kept = [each for each in requirements if each.marker is None or each.marker.evaluate({"python_version": version})]
    for each in kept:
        each.marker = None
    return kept


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
