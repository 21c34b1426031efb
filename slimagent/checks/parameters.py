"""Parameters that a profile gave to a check. `checks.validate` has made sure of their types."""

from __future__ import annotations

from slimagent.model.profile import CheckSpec


def strings(spec: CheckSpec, name: str) -> tuple[str, ...]:
    """A list of strings; empty if the profile does not give it."""
    value = spec.parameters.get(name)
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def string(spec: CheckSpec, name: str) -> str:
    """A string; empty if the profile does not give it."""
    return str(spec.parameters.get(name, ""))


def number(spec: CheckSpec, name: str, default: float) -> float:
    """A number."""
    value = spec.parameters.get(name, default)
    return value if isinstance(value, (int, float)) else default
