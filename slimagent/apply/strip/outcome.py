"""How the stripping of files ended, one by one and together. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the stripping of a file ended: its size afterwards, or why it was left as it is.

    `loaded`: it is a library, and loading it proved it.
    """

    path: bytes
    size: int
    why: str = ""
    loaded: bool = False


@dataclass(slots=True)
class Tally:
    """The sum: `count` files are `saved` bytes smaller, and `loaded` of them were loaded to prove it.

    `left` are the files that the plan strips and that stay as they are, with the reason.
    """

    count: int = 0
    saved: int = 0
    loaded: int = 0
    left: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, outcome: Outcome, before: int) -> None:
        """Count one file, which had `before` bytes."""
        if outcome.why:
            self.left.append((outcome.path, outcome.why))
            return
        self.count += 1
        self.saved += before - outcome.size
        self.loaded += outcome.loaded
