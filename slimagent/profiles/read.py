"""Read a TOML profile. Pure; every error names the place, e.g. `check[2].seconds`.

name = "jupyter"
description = "JupyterLab starts, answers and runs a cell"
extends = ["python"]

[[check]]
kind = "jupyterlab"

[[keep]]
path = "/opt/share/**"
why = "configuration that the image carries outside the home directory"

docs/profiles.md has every key; `profile_rules` reads the rules.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from slimagent.errors import UsageError
from slimagent.gate import rules as gate
from slimagent.model.gate import Level, Rule
from slimagent.model.profile import SECONDS, VARIANTS, CheckSpec, Parameter, Profile, Rules
from slimagent.profiles import rules as profile_rules
from slimagent.profiles.table import HINT, Table
from slimagent.text.escapes import quoted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

SUFFIX = ".toml"
_LONGEST = 604_800.0  # seconds: a week
_MOST = 100  # profiles that extend one another


def load(name: str, text_of: Callable[[str], str]) -> Profile:
    """The profile of that name with all that it extends; `text_of` gives a profile's TOML text.

    What it extends comes first, each once; a check of the same name, a rule for the same paths, a level or a user
    replaces an earlier one. Raises UsageError for invalid TOML, an unknown key, a wrong type, or a cycle.
    """
    found: dict[str, Profile] = {}  # each after what it extends
    above: dict[str, tuple[Profile, Iterator[str]]] = {}  # from `name` down to the one that is looked at

    def begin(each: str) -> None:
        if each in above:
            raise UsageError(f"profile {name}: extends itself: {_chain((*above, each))}", HINT)
        if len(above) >= _MOST:  # a way over `..` can go in circles under ever new names
            raise UsageError(f"profile {name}: a chain of more than {_MOST} profiles: {_chain(tuple(above))}", HINT)
        if each not in found:  # again, it would take back what a profile in between has replaced
            own, extends = _own(each, Table(_parse(text_of(each), each), f"profile {each}"))
            above[each] = own, (_beside(each, base) for base in extends)

    begin(name)
    while above:
        each, (own, extends) = next(reversed(above.items()))
        base = next(extends, None)
        if base is not None:
            begin(base)
        else:
            found[each] = own
            del above[each]
    return _merged(name, found[name].description, (name,), tuple(found.values()))


def _chain(names: tuple[str, ...]) -> str:
    shown = names if len(names) <= 10 else (*names[:5], "…", *names[-4:])
    return " -> ".join(shown)


def is_file(name: str) -> bool:
    """Whether a profile's name is the path of its file."""
    return "/" in name or name.endswith(SUFFIX)


def _beside(name: str, base: str) -> str:
    """What a profile calls `base`: a file's path is relative to the directory of the file that names it."""
    return posixpath.join(posixpath.dirname(name), base) if is_file(name) and is_file(base) else base


def _own(name: str, table: Table) -> tuple[Profile, tuple[str, ...]]:
    """What one profile itself says, and the names of the profiles that it extends."""
    own = Profile(
        name=name,
        description=table.take("description", str, ""),
        level=_variant(table),
        user=table.take("user", str, ""),
        checks=tuple(_checks(table)),
        rules=profile_rules.read(table),
        gate=tuple(_gate(table)),
    )
    table.take("name", str, name)
    extends = table.strings("extends")
    table.done()
    return own, extends


def combine(name: str, description: str, profiles: tuple[Profile, ...]) -> Profile:
    """Several profiles as one; the later one's check or rule replaces an earlier one of the same name or paths.

    Raises UsageError if together they keep cruft that no rule of theirs names.
    """
    whole = _merged(name, description, tuple(part for profile in profiles for part in profile.parts), profiles)
    profile_rules.check(whole.rules, f"profile {name}")
    return whole


def _merged(name: str, description: str, parts: tuple[str, ...], profiles: tuple[Profile, ...]) -> Profile:
    return Profile(
        name=name,
        description=description,
        level=next((each.level for each in reversed(profiles) if each.level), ""),
        user=next((each.user for each in reversed(profiles) if each.user), ""),
        parts=tuple(dict.fromkeys(parts)),
        checks=tuple({check.name: check for profile in profiles for check in profile.checks}.values()),
        rules=reduce(profile_rules.merge, (profile.rules for profile in profiles), Rules()),
        gate=gate.merged(rule for profile in profiles for rule in profile.gate),
    )


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # its own error is a ValueError; so is a number of 5,000 digits
        raise UsageError(f"profile {name}: not TOML: {error}", HINT) from None
    return table


def _variant(table: Table) -> str:
    """The level of the variant in a profile; empty if it has none."""
    said = table.choice("variant", ("", *VARIANTS), "")
    return VARIANTS.get(said, "")


def _checks(table: Table) -> list[CheckSpec]:
    checks: dict[str, CheckSpec] = {}
    for entry in table.tables("check"):
        check = _check(entry)
        if check.name in checks:
            raise UsageError(f"{entry.where}: a second check named {check.name!r}", "give each check a different name")
        checks[check.name] = check
    return list(checks.values())


def _check(table: Table) -> CheckSpec:
    kind = table.take("kind", str)
    name = table.take("name", str, kind)
    seconds = _seconds(table)
    user = table.take("user", str, "")
    alone = table.maybe("alone", bool)
    parameters = {key: _parameter(value, f"{table.where}.{key}") for key, value in table.rest().items()}
    return CheckSpec(kind=kind, name=name, seconds=seconds, user=user, alone=alone, parameters=parameters)


def _gate(table: Table) -> Iterator[Rule]:
    """The rules about the result of a run."""
    for each in table.tables("gate"):
        text, why = each.text("rule"), each.take("why", str, "")
        level = each.choice("level", tuple(level.value for level in Level), Level.FAIL.value)
        yield gate.read(text, each.where, Level(level), why)
        each.done()


def _seconds(table: Table) -> float:
    seconds = table.take("seconds", object, SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= _LONGEST:
        raise UsageError(
            f"{table.where}.seconds: expected more than 0 and at most {_LONGEST:.0f}, found {quoted(seconds)}", HINT
        )
    return float(seconds)


def _parameter(value: Any, where: str) -> Parameter:
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise UsageError(f"{where}: a parameter is a string, a number, true, false, or a list of strings", HINT)
