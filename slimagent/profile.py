"""A TOML profile to a Profile. Pure; every error names the place, as `check[2].seconds`.

name = "jupyter"
description = "JupyterLab starts, answers and runs a cell"
extends = ["python"]

[[check]]
kind = "jupyterlab"

[[keep]]
path = "/opt/share/**"
why = "configuration that the image carries outside the home folder"
follow = true            # what a matched symbolic link leads to stays as well
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from slimagent.errors import UsageError
from slimagent.model import CheckSpec, KeepRule, Parameter, Profile
from slimagent.paths import pattern

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

_T = TypeVar("_T")
_SECONDS, _LONGEST = 600.0, 604_800.0  # unless a check says otherwise, and at most: a week
_HINT = "see docs/profiles.md"


def load(name: str, text_of: Callable[[str], str]) -> Profile:
    """The profile of that name with all that it extends; `text_of` gives a profile's TOML text.

    What it extends comes first; a check of the same name, or a rule for the same paths, replaces an earlier one.
    Raises UsageError for TOML that cannot be read, an unknown key, a wrong type, or a circle.
    """
    checks: dict[str, CheckSpec] = {}
    keep: dict[str, KeepRule] = {}
    description = ""

    def visit(each: str, above: tuple[str, ...]) -> None:
        nonlocal description
        if each in above:
            raise UsageError(f"profile {name}: extends itself: {' -> '.join((*above, each))}", _HINT)
        table = _Table(_parse(text_of(each), each), f"profile {each}")
        description = table.take("description", str, "")
        own_checks = _checks(table)
        own_rules = [_rule(entry) for entry in table.tables("keep")]
        table.take("name", str, each)
        extends = _names(table)
        table.done()
        own = description
        for base in extends:
            visit(base, (*above, each))
        description = own
        checks.update((check.name, check) for check in own_checks)
        keep.update((rule.pattern, rule) for rule in own_rules)

    visit(name, ())
    return Profile(name=name, description=description, checks=tuple(checks.values()), keep=tuple(keep.values()))


def combine(name: str, description: str, profiles: tuple[Profile, ...]) -> Profile:
    """Several profiles as one; the later one's check or rule replaces an earlier one of the same name or paths."""
    return Profile(
        name=name,
        description=description,
        checks=tuple({check.name: check for profile in profiles for check in profile.checks}.values()),
        keep=tuple({rule.pattern: rule for profile in profiles for rule in profile.keep}.values()),
    )


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # its own error is a ValueError; so is a number of 5,000 digits
        raise UsageError(f"profile {name}: not TOML: {error}", _HINT) from None
    return table


class _Table:
    """A TOML table whose keys are taken one by one; what is left at the end is unknown."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values, self.where = dict(values), where

    def take(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """The value of a key, removed from the table. Without a default the key has to be there."""
        if key not in self._values:
            if default is None:
                raise UsageError(f"{self.where}: {key} is missing", _HINT)
            return default
        value = self._values.pop(key)
        if not isinstance(value, kind):
            raise UsageError(f"{self.where}.{key}: expected {kind.__name__}, found {type(value).__name__}", _HINT)
        return value

    def tables(self, key: str) -> list[_Table]:
        found = []
        for at, entry in enumerate(self.take(key, list, [])):
            if not isinstance(entry, dict):
                raise UsageError(f"{self.where}: {key}[{at}] is no table; write [[{key}]]", _HINT)
            found.append(_Table(entry, f"{self.where}: {key}[{at}]"))
        return found

    def rest(self) -> dict[str, Any]:
        values, self._values = self._values, {}
        return values

    def done(self) -> None:
        if self._values:
            raise UsageError(f"{self.where}: unknown key {', '.join(map(repr, sorted(self._values)))}", _HINT)


def _names(table: _Table) -> list[str]:
    names = table.take("extends", list, [])
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{table.where}.extends: expected a list of strings", _HINT)
    return names


def _checks(table: _Table) -> list[CheckSpec]:
    checks: dict[str, CheckSpec] = {}
    for entry in table.tables("check"):
        check = _check(entry)
        if check.name in checks:
            raise UsageError(f"{entry.where}: a second check named {check.name!r}", "give each check a name of its own")
        checks[check.name] = check
    return list(checks.values())


def _check(table: _Table) -> CheckSpec:
    kind = table.take("kind", str)
    name = table.take("name", str, kind)
    seconds = _seconds(table)
    parameters = {key: _parameter(value, f"{table.where}.{key}") for key, value in table.rest().items()}
    return CheckSpec(kind=kind, name=name, seconds=seconds, parameters=parameters)


def _seconds(table: _Table) -> float:
    seconds = table.take("seconds", object, _SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= _LONGEST:
        raise UsageError(
            f"{table.where}.seconds: expected more than 0 and at most {_LONGEST:.0f}, found {seconds!r}", _HINT
        )
    return float(seconds)


def _parameter(value: Any, where: str) -> Parameter:
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise UsageError(f"{where}: a parameter is a string, a number, true, false, or a list of strings", _HINT)


def _rule(table: _Table) -> KeepRule:
    path, why = table.take("path", str), table.take("why", str)
    follow = table.take("follow", bool, False)
    table.done()
    if not path.startswith("/"):
        raise UsageError(f"{table.where}.path: {path!r} is not an absolute path", _HINT)
    if not why.strip():
        raise UsageError(f"{table.where}.why: every rule says why", _HINT)
    try:
        pattern(path)
    except ValueError as error:
        raise UsageError(f"{table.where}.path: {error}", _HINT) from None
    return KeepRule(pattern=path, why=why, follow=follow)
