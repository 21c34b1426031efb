"""Choose a backend, and say why the others were not taken. Never silently a weaker one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from slimagent.errors import UnavailableError, UsageError
from slimagent.trace.watcher import Mask, Watcher


class _Backend(NamedTuple):
    """Where a backend is, and what it can do besides watching. Loaded when it is asked for."""

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
_NO_ATTACH = "it cannot attach to processes that somebody else started"
_NO_NEED = "{} sees more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The backend that is taken, and of the others that were thought of why they are not: (name, reason)."""

    name: str
    passed_over: tuple[tuple[str, str], ...]

    def watcher(self, mask: Mask | None = None, folders: Sequence[bytes] = (b"/",), *, attach: bool = False) -> Watcher:
        """A new watcher. `mask` tells which paths are to look as if they did not exist, `folders` where files matter.

        With `attach` it records what every process does, not only what it starts.
        """
        backend = _BACKENDS[self.name].load()
        further = {"attach": True} if attach else {}
        watcher: Watcher = backend(mask=mask, folders=tuple(folders), **further)
        return watcher


def choose(name: str = "auto", *, masks: bool = False, attaches: bool = False) -> Choice:
    """The backend of that name, or the best that works here for "auto"; it must mask or attach if that is asked for.

    Raises UsageError for an unknown name and for a backend that cannot do what is asked for, UnavailableError with
    every backend's reason if none works.
    """
    if name not in NAMES:
        raise UsageError(f"there is no backend {name!r}", f"choose one of {', '.join(NAMES)}")
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
