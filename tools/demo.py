"""The main job with no container and no root: slim a fresh environment with JupyterLab and pandas, and prove it.

    python tools/demo.py [DIRECTORY]      (`make demo` runs it; DIRECTORY is .demo)

Everything happens below DIRECTORY, which is made anew: `env` is the environment, `home` a home directory for what
runs in it, `out` the documents and the tar. Unused files are removed from `env` itself: it is there to be thrown away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ("jupyterlab", "pandas")


def main(directory: Path) -> int:
    """Install, slim, show. The exit status is slimagent's: 0 if the slim environment passes its checks."""
    shutil.rmtree(directory, ignore_errors=True)
    home = directory / "home"
    home.mkdir(parents=True)
    env = directory / "env"
    started = time.monotonic()
    say(f"installing {' and '.join(PACKAGES)} into {env}")
    subprocess.run([sys.executable, "-m", "venv", env], check=True)
    subprocess.run(
        [env / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True
    )
    say(f"installed in {time.monotonic() - started:.0f} s")
    status = subprocess.run(
        [
            *(sys.executable, "-m", "slimagent", "run", "--scope", env, "--profile", "jupyter", "--level", "file"),
            *("--verify", "in-place", "--out", directory / "out"),
        ],
        env=environment(env, home),
        cwd=directory,
        check=False,
    ).returncode
    if status == 0:
        library = next(env.glob("lib/python3*/site-packages/pandas/__init__.py"))
        say(f"ask it about any file: {sys.executable} -m slimagent explain {directory / 'out/plan.json'} {library}")
    return status


def environment(env: Path, home: Path) -> dict[str, str]:
    """The environment of somebody who has activated `env`, with a home directory of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTHON", "XDG_"))}
    path = os.pathsep.join((str(env / "bin"), os.environ.get("PATH", os.defpath)))
    return kept | {"HOME": str(home), "VIRTUAL_ENV": str(env), "PATH": path}


def say(text: str) -> None:
    """A line of the demo's own."""
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo").resolve()))
