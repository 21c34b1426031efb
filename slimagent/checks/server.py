"""Start a server of the image, wait until it answers, and stop it with all that it started."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.loopback import Client, RequestError
from slimagent.checks.output import Output
from slimagent.checks.processes import started, wait
from slimagent.linux.command import ending

_POLL = 0.1  # seconds between two questions whether a server is ready
_ANSWER = 5.0  # seconds for one such answer


class NotReadyError(Exception):
    """A server that ended or did not answer in time. The message says which, with its last error and output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers."""

    client: Client
    output: Output
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def serving(
    context: Context,
    argv: Sequence[str],
    client: Client,
    *,
    env: Mapping[str, str],
    cwd: str,
    ready: str,
    seconds: float,
) -> Iterator[Server]:
    """Start a server and wait until a GET of `ready` succeeds, for `seconds` at most.

    Raises NotReadyError, and OSError if it cannot be started. It is stopped when the block ends.
    """
    with Output() as output, started(context, argv, env=env, cwd=cwd, stdout=output, stderr=output) as process:
        _await(process, client, output, ready, seconds)
        yield Server(client=client, output=output, process=process)


def _await(process: subprocess.Popen[bytes], client: Client, output: Output, ready: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            client.get(ready, min(_ANSWER, left))
        except RequestError as error:
            last = str(error)
        else:
            return
        output.limit()
        returncode = wait(process, min(_POLL, left))
        if returncode is not None:
            raise NotReadyError(f"the server ended: {ending(returncode)}\n{output.last_lines()}".rstrip())
        if left <= 0:
            raise NotReadyError(f"not ready after {seconds:g} s: {last}\n{output.last_lines()}".rstrip())
