"""Choose a backend, and say why not the others. Never falls back silently."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from slimagent.errors import UnavailableError, UsageError
from slimagent.trace.watcher import Mask, Watcher


class _Backend(NamedTuple):
    """Where a backend is, and what else it can do. Imported on demand."""

    module: str
    name: str
    masks: bool = False
    attaches: bool = False

    def load(self) -> Any:
        return getattr(importlib.import_module(f"slimagent.trace.{self.module}"), self.name)


_BACKENDS = {
    "seccomp": _Backend("seccomp.backend", "Seccomp", masks=True),
    "fanotify": _Backend("fanotify.backend", "Fanotify", attaches=True),
    "inotify": _Backend("inotify.backend", "Inotify"),
    "seccomp+fanotify": _Backend("cross_check", "SeccompFanotify", masks=True),
}
_BEST_FIRST = ("seccomp", "fanotify", "inotify")
NAMES = ("auto", *_BACKENDS)

_NO_MASK = "it cannot make files look gone, as this verification needs"
_NO_ATTACH = "it cannot attach to running processes"
_NO_NEED = "{} sees more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen backend, and for each rejected one its name and the reason."""

    name: str
    passed_over: tuple[tuple[str, str], ...]

    def watcher(
        self, mask: Mask | None = None, directories: Sequence[bytes] = (b"/",), *, attach: bool = False
    ) -> Watcher:
        """Make a watcher. Paths in `mask` look as if they did not exist; `directories` says where files matter.

        With `attach` it records what every process does, not only those that it starts.
        """
        backend = _BACKENDS[self.name].load()
        options = {"attach": True} if attach else {}
        watcher: Watcher = backend(mask=mask, directories=tuple(directories), **options)
        return watcher


def choose(name: str = "auto", *, masks: bool = False, attaches: bool = False) -> Choice:
    """Choose the backend `name`, or for "auto" the best one that works here and masks or attaches as requested.

    Raises UsageError if the name is unknown or that backend lacks the feature, UnavailableError with every reason if
    none works.
    """
    if name not in NAMES:
        raise UsageError(f"no such backend: {name!r}", f"choose one of {', '.join(NAMES)}")
    reasons: list[tuple[str, str]] = []
    taken = ""
    for each in _BEST_FIRST if name == "auto" else (name,):
        reason = _NO_NEED.format(taken) if taken else _reason(each, masks=masks, attaches=attaches)
        if reason is None:
            taken = each
        else:
            reasons.append((each, reason))
    if taken:
        return Choice(name=taken, passed_over=tuple(reasons))
    said = "; ".join(f"{each}: {reason}" for each, reason in reasons)
    if masks and name != "auto" and not _BACKENDS[name].masks:
        raise UsageError(said, "use --backend seccomp, or verify where the files are gone: --verify in-place")
    if attaches and name != "auto" and not _BACKENDS[name].attaches:
        raise UsageError(said, "use --backend fanotify")
    raise UnavailableError(f"nothing can be traced here; {said}", _hint(name, attaches=attaches))


def _reason(name: str, *, masks: bool, attaches: bool) -> str | None:
    backend = _BACKENDS[name]
    if masks and not backend.masks:
        return _NO_MASK
    if attaches and not backend.attaches:
        return _NO_ATTACH
    reason: str | None = backend.load().unavailable()
    return reason


def _hint(name: str, *, attaches: bool) -> str:
    if attaches or "fanotify" in name:
        return "start the container with --cap-add SYS_ADMIN (Docker, Podman), and slimagent as root"
    return "Linux 5.5 or later with seccomp is needed; a container needs Docker's default seccomp profile or none"
