"""The nouns of what was done, and of its proof: the receipt of an apply, what a verified run found. As in `model`."""

from __future__ import annotations

from dataclasses import dataclass

from slimagent.model.result import CheckResult, Outcome, Standing
from slimagent.model.trace import BlindSpot, Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of an exported image: `digest` and `size` are of its blob, `diff_id` of the tar in that, with `paths`.

    Digests are SHA-256 in hexadecimal.
    """

    component: str
    digest: str
    diff_id: str
    size: int
    paths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What apply did with a plan (named by the SHA-256 of its bytes).

    `sha256` and `written` describe an export: of a tar its own digest, of an image layout that of its manifest.
    `left_alone` are paths that the plan drops or edits and apply did not, with the reason. `edited` counts files and
    links that edits changed, made or removed. `bytes_kept` is the size now; before, it was `bytes_kept + bytes_dropped
    + bytes_stripped`. `unstripped` are files that the plan strips or takes GPU code out of and apply did not, with the
    reason; `loaded` counts the libraries made smaller that a child process loaded as a proof. Of the stripped files,
    `gpu` lost GPU code, `bytes_gpu` of `bytes_stripped`.
    """

    tool: str
    plan: str
    target: str
    kept: int
    dropped: int
    bytes_kept: int
    bytes_dropped: int
    written: int
    sha256: str
    left_alone: tuple[tuple[bytes, str], ...]
    edited: int = 0
    stripped: int = 0
    bytes_stripped: int = 0
    loaded: int = 0
    gpu: int = 0
    bytes_gpu: int = 0
    unstripped: tuple[tuple[bytes, str], ...] = ()
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A file that the verified run looked for, that the original has and the slim image lacks."""

    path: bytes
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A round of repair, by its `number` from 1, and what it brought back.

    The steps looked for `missed` in vain in the slim image before it. They used `used` when they ran once more in the
    full image, and that slim image lacked it. A search showed that they are worse without `found` or, if it stays
    there, with what became of it. With their packages and what they need, `files` came back, of together `size` bytes
    (None if unknown). `steps` are the steps that this concerns.
    """

    number: int
    steps: tuple[str, ...] = ()
    missed: tuple[Missed, ...] = ()
    used: tuple[Missed, ...] = ()
    found: tuple[Missed, ...] = ()
    files: int | None = None
    size: int | None = None

    @property
    def needed(self) -> frozenset[bytes]:
        """The files for which this round is there."""
        return frozenset(each.path for each in (*self.missed, *self.used, *self.found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One check, or one item of a check, before and after. `worse` if it passed before and does not now."""

    name: str
    before: Outcome
    after: Outcome
    detail: str = ""

    @property
    def worse(self) -> bool:
        return Standing.of(self.after, self.before) is Standing.WORSE


FULL, SEARCH = "full", "search"  # how a verification was made that does not prove anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The proof. `how` is "in-place" (dropped files were gone) or "masked" (they were made to look gone).

    Two kinds do not prove anything. With `how` FULL the dropped files were there, and `missed` are those that the steps
    used. With SEARCH `missed` is what a search found.
    A `backend` that cannot see lookups cannot tell which files were missing: `missed` is then empty and proves nothing.
    """

    tool: str
    plan: str
    how: str
    backend: str
    blind_spots: tuple[BlindSpot, ...]
    passed: bool
    steps: tuple[CheckResult, ...]
    comparisons: tuple[Comparison, ...]
    missed: tuple[Missed, ...]
    losses: tuple[Loss, ...]
