"""inotify in a default container of a real image, without any capability, on its overlay."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimagent import documents
from slimagent.model.trace import BlindSpot, How, Trace
from tests.container.conftest import Image

pytestmark = pytest.mark.container

IMPORTS = "import json.tool, sqlite3, xml.etree.ElementTree; open('/etc/passwd').read()"


def traced(image: Image, out: Path, backend: str) -> Trace:
    """The trace of an import in a container of its own, without bytecode written."""
    out.mkdir()
    out.chmod(0o777)
    command = ["trace", f"--backend={backend}", "-o", "/out/trace.json", "--", "python3", "-I", "-B", "-c", IMPORTS]
    done = image.agent(out, *command)
    assert done.returncode == 0, done.stderr
    return documents.decode_trace((out / "trace.json").read_bytes())


def used(trace: Trace, how: How) -> set[str]:
    """The paths that were used so and found."""
    return {access.path.decode() for access in trace.accesses if access.how & how and access.found}


def test_inotify_sees_all_that_seccomp_saw_opened_and_nothing_else(image: Image, tmp_path: Path) -> None:
    """What an import opens, executes and lists is in the trace under its real path; what the agent opens is not.

    The agent runs in the image's own Python. Only the loader, which the kernel opens, is not in seccomp's trace.
    """
    seen, wanted = traced(image, tmp_path / "inotify", "inotify"), traced(image, tmp_path / "seccomp", "seccomp")
    assert seen.losses == ()
    assert set(seen.blind_spots) == {BlindSpot.LOOKUPS, BlindSpot.EXECUTIONS, BlindSpot.WHO, BlindSpot.TESTS}
    every = How.OPENED | How.EXECUTED | How.LISTED  # a folder may be opened as a file is: only the kernel knows
    wished, found = real(image, used(wanted, every)), used(seen, every)
    assert wished - found == set()
    assert {path for path in found - wished if "/ld-" not in path} == set()
    assert real(image, used(wanted, How.LISTED)) <= used(seen, How.LISTED)
    assert any("/xml/etree/" in path for path in used(seen, How.OPENED))


def real(image: Image, paths: set[str]) -> set[str]:
    """What the image's own files are called without links."""
    done = image.run("-e", "--", *sorted(paths), entrypoint="realpath")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())
