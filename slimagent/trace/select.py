"""Choose a backend, and say why the others were not taken. Never silently a weaker one."""

from __future__ import annotations

from slimagent.errors import UnavailableError, UsageError
from slimagent.trace.seccomp import Seccomp
from slimagent.trace.watcher import Mask

BACKENDS = {Seccomp.name: Seccomp}
NAMES = ("auto", *BACKENDS)


def select(name: str = "auto", mask: Mask | None = None) -> Seccomp:
    """The backend of that name, or the best that works here for "auto".

    Raises UsageError for an unknown name, UnavailableError with every backend's reason if none works.
    """
    if name not in NAMES:
        raise UsageError(f"there is no backend {name!r}", f"choose one of {', '.join(NAMES)}")
    reasons = []
    for each, backend in BACKENDS.items():
        if name not in ("auto", each):
            continue
        reason = backend.unavailable()
        if reason is None:
            return backend(mask)
        reasons.append(f"{each}: {reason}")
    raise UnavailableError(
        f"nothing can be traced here; {'; '.join(reasons)}",
        "Linux 5.5 or later with seccomp is needed; a container needs Docker's default seccomp profile or none",
    )
