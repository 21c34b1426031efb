"""The runner: mutates the seeds of each target for some seconds, and keeps what breaks one as a seed of it.

python -m tests.fuzz --seconds 60 [--target NAME]... [--seed NUMBER]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import resource
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Iterator

from .mutate import mutated
from .seeds import HERE, seeds
from .targets import TARGETS

MEMORY = 4 << 30  # bytes
PATIENCE = 20  # seconds for one input
_SLICE = 0.5  # seconds that a target has in a turn


def main() -> int:
    """Run; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), default=[])
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="for the same inputs again")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    names = asked.target or sorted(TARGETS)
    print(f"seed {asked.seed}, {len(names)} targets, {asked.seconds:.0f} s", flush=True)
    runs = {name: _Runs(name, random.Random(f"{asked.seed} {name}")) for name in names}
    end = time.monotonic() + asked.seconds
    while time.monotonic() < end:
        for each in runs.values():
            each.go_on(min(time.monotonic() + _SLICE, end))
    for name, each in runs.items():
        print(f"{name:22} {each.executions:9,} executions  {len(each.found):3} findings")
    found = sum(len(each.found) for each in runs.values())
    print(f"{'together':22} {sum(each.executions for each in runs.values()):9,} executions  {found:3} findings")
    return int(found > 0)


class _Runs:
    """The runs of one target; `found` are its findings, each once, by what was raised where."""

    def __init__(self, name: str, generator: random.Random) -> None:
        self.executions = 0
        self.found: set[str] = set()
        self._name = name
        self._generator = generator

    def go_on(self, end: float) -> None:
        """Run until then."""
        while time.monotonic() < end:
            data = mutated(self._generator, seeds(self._name))
            self.executions += 1
            try:
                with _patience():
                    TARGETS[self._name](data)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                self._keep(error, data)

    def _keep(self, error: BaseException, data: bytes) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {last.name} ({last.filename.rpartition('/')[2]}:{last.lineno})"
        if what in self.found:
            return
        self.found.add(what)
        path = HERE / self._name / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        print(f"{self._name}: {what}: {ascii(str(error))[:200]}\n  kept as {path}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"not done in {PATIENCE} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main())
