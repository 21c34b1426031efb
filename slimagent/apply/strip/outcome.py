"""How the stripping of files ended, and taking GPU code out of them, one by one and together. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How making a file smaller ended: its size afterwards, or why it was left as it is.

    `loaded`: it is a library, and loading it proved it. `gpu` are the bytes of GPU code that went of it. `partly` is
    why one of the two, stripping and taking out GPU code, was not done although the other was.
    """

    path: bytes
    size: int
    why: str = ""
    loaded: bool = False
    gpu: int = 0
    partly: str = ""


@dataclass(slots=True)
class Tally:
    """The sum: `count` files are `saved` bytes smaller, and `loaded` of them were loaded to prove it.

    GPU code went out of `gpu_count` of them, `gpu_saved` bytes. `left` are the files that the plan makes smaller and
    that stay as they are, or became less small than planned, with the reason.
    """

    count: int = 0
    saved: int = 0
    loaded: int = 0
    gpu_count: int = 0
    gpu_saved: int = 0
    left: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, outcome: Outcome, before: int) -> None:
        """Count one file, which had `before` bytes."""
        if outcome.why:
            self.left.append((outcome.path, outcome.why))
            return
        if outcome.partly:
            self.left.append((outcome.path, outcome.partly))
        self.gpu_count += outcome.gpu > 0
        self.gpu_saved += outcome.gpu
        self.count += 1
        self.saved += before - outcome.size
        self.loaded += outcome.loaded
