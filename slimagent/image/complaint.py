"""Read an engine's error output: find the line that explains it, and tell whether the engine works at all. Pure.

Sources: cli/cobra.go and client/errors.go of Docker's command line (releases 20.10 to 29); cmd/podman of Podman 4.
"""

from __future__ import annotations

_ADVICE = ("usage:", "see '", "see `", "run '", "options:", "flags:")
# `start` says why it failed in its first line, and only that it failed in the second.
_CONSEQUENCE = "error: failed to start containers"
_FROM_THE_ENGINE = ("error response from daemon:", "error:")
_NOT_THERE = (
    "cannot connect to",
    "failed to connect to",
    "is the docker daemon running",
    "error during connect",
    "unable to connect to podman",
    "no answer within",
)
_NOT_ALLOWED = "permission denied while trying to connect"


def sentence(said: bytes) -> str:
    """The line that says what went wrong. Skips advice about `--help` and lines that only say that it failed.

    Warnings come before errors, so the engine's own errors win over other lines. Empty if there was no output.
    """
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if not line.lower().startswith((*_ADVICE, _CONSEQUENCE))]
    errors = [line for line in telling if line.lower().startswith(_FROM_THE_ENGINE)]
    return (errors or telling or lines or [""])[0]


def why_unreachable(words: str, engine: str) -> str:
    """The hint for an engine that cannot be reached. Empty if these words come from an engine that works."""
    said = words.lower()
    if _NOT_ALLOWED in said:
        group = "sudo usermod -aG docker $USER"
        return f"join the group docker ({group}, then log in again), or run this with sudo"
    if any(part in said for part in _NOT_THERE):
        start = "sudo systemctl start docker" if engine == "docker" else "systemctl --user start podman.socket"
        return f"start the engine ({start}), then check that `{engine} info` works"
    return ""
