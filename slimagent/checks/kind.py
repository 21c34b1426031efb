"""What a kind of check is: a function and the parameters it takes; and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slimagent.checks.context import Context
from slimagent.errors import UsageError
from slimagent.model import CheckSpec, Item, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How a check ended: a CheckResult without its name, its kind and its time."""

    outcome: Outcome
    detail: str = ""
    status: int | None = None
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of check. `parameters` are the names and types that a profile may give it.

    `run` may raise CheckFailedError: its message becomes the detail of a failed result.
    """

    run: Callable[[CheckSpec, Context], Finding]
    parameters: Mapping[str, type] = field(default_factory=dict)


def strings(spec: CheckSpec, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A parameter that is a list of strings."""
    value = spec.parameters.get(name, default)
    return value if isinstance(value, tuple) else default


def text(spec: CheckSpec, name: str, default: str = "") -> str:
    """A parameter that is a string."""
    value = spec.parameters.get(name, default)
    return value if isinstance(value, str) else default


def number(spec: CheckSpec, name: str, default: float) -> float:
    """A parameter that is a number."""
    value = spec.parameters.get(name, default)
    return float(value) if isinstance(value, (int, float)) else default


_WORDS = {tuple: "a list of strings", str: "a string", float: "a number", bool: "true or false"}


def admit(spec: CheckSpec, kinds: Mapping[str, Kind]) -> Kind:
    """The kind of a check. Raises UsageError for an unknown kind or parameter, and for one of a wrong type."""
    kind = kinds.get(spec.kind)
    if kind is None:
        raise UsageError(f"check {spec.name!r}: there is no kind {spec.kind!r}", f"known are {', '.join(sorted(kinds))}")
    for name, value in spec.parameters.items():
        wanted = kind.parameters.get(name)
        if wanted is None:
            known = ", ".join(sorted(kind.parameters)) or "none"
            raise UsageError(f"check {spec.name!r}: {spec.kind} has no parameter {name!r}", f"known are {known}")
        if not _fits(value, wanted):
            raise UsageError(f"check {spec.name!r}: parameter {name!r} is not {_WORDS[wanted]}", "mend the profile")
    return kind


def _fits(value: object, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, wanted)
