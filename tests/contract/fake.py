"""A stand-in for a backend, and broken ones, for tests of the contract itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import replace

from slimagent.errors import UsageError
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.model.trace import BlindSpot, How, Loss
from slimagent.trace.record import Record, combine
from slimagent.trace.watcher import Mask, Observed
from tests.contract.file_calls import parse


class Fake:
    """A stand-in: it sees nothing by itself, and believes what the C program says on its output if that is a file."""

    name = "fake"
    blind_spots: tuple[BlindSpot, ...] = (BlindSpot.TESTS,)
    no_new_privileges = False
    tells_apart = False

    def __init__(self, mask: Mask | None = None, directories: Sequence[bytes] = (b"/",)) -> None:
        if mask is not None:
            raise UsageError("a stand-in cannot make files look gone")
        self._family = Family()
        self._record = Record()
        self._outputs: dict[int, int] = {}  # descriptors, and how far they have been read
        self._step = -1
        self._observed: Observed | None = None

    @staticmethod
    def unavailable() -> str | None:
        return None

    def __enter__(self) -> Fake:
        self._family.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()
        self._family.__exit__()

    def step(self, name: str) -> int:
        self._believe()
        self._step += 1
        return self._step

    def test(self, name: str) -> None:
        pass

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        process = self._family.spawn(command)
        program = shutil.which(command.argv[0], path=command.env.get("PATH"))
        if program is not None and hasattr(command.stdout, "fileno"):
            self._record.add(self._step, os.fsencode(program), How.EXECUTED)
            self._outputs[os.dup(command.stdout.fileno())] = 0
        return process

    def reap(self) -> None:
        self._family.reap()

    def finish(self) -> Observed:
        if self._observed is None:
            stopped = self._family.stop()
            self._believe()
            for descriptor in self._outputs:
                os.close(descriptor)
            self._family.reap()
            self._observed = combine([self._record], stopped)
        return self._observed

    def _believe(self) -> None:
        for descriptor, begin in self._outputs.items():
            said = os.pread(descriptor, os.fstat(descriptor).st_size - begin, begin)
            for how, path in parse(said).expected:
                self._record.add(self._step, path, how)
            self._outputs[descriptor] += len(said)


class Forgetful(Fake):
    """Broken: every tenth path is not in the trace."""

    def finish(self) -> Observed:
        whole = super().finish()
        kept = {path: seen for i, (path, seen) in enumerate(sorted(whole.accesses.items())) if i % 10}
        return replace(whole, accesses=kept)


class Inventive(Fake):
    """Broken: the agent's own accesses are in the trace."""

    def finish(self) -> Observed:
        whole = super().finish()
        own = {os.fsencode(os.__file__): (How.OPENED, (0,))}
        return replace(whole, accesses={**whole.accesses, **own})


class Late(Fake):
    """Broken: what a step did is put down to the next one."""

    def _believe(self) -> None:
        self._step += 1
        super()._believe()
        self._step -= 1


class Leaky(Fake):
    """Broken: a thread and a descriptor are left when it has ended."""

    def __enter__(self) -> Leaky:
        super().__enter__()
        self.descriptor = os.dup(0)
        self.end = threading.Event()
        threading.Thread(target=self.end.wait, name="left", daemon=True).start()
        return self

    def tidy(self) -> None:
        """For the test, which must not leave anything either."""
        os.close(self.descriptor)
        self.end.set()


class Careless(Fake):
    """Broken: what a command left running goes on."""

    def finish(self) -> Observed:
        if self._observed is None:
            self._believe()
            self._observed = combine([self._record])
        return self._observed

    def tidy(self) -> None:
        """For the test."""
        self._observed = None
        super().finish()


class Overflowing(Fake):
    """A queue of one path: whatever comes after the first is lost, and it says so."""

    def finish(self) -> Observed:
        whole = super().finish()
        first = dict(sorted(whole.accesses.items())[:1])
        loss = Loss(kind="queue-overflow", count=1, example="in step 0")
        return replace(whole, accesses=first, losses=(loss,))


class Silent(Overflowing):
    """Broken: it loses the same and says nothing."""

    def finish(self) -> Observed:
        return replace(super().finish(), losses=())
