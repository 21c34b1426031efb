"""The rules of a profile: from its TOML tables, from an image, and several sets of them as one. Pure.

The format: docs/profiles.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from slimagent.errors import UsageError
from slimagent.gpu import architectures as gpu
from slimagent.model.image_config import ImageConfig
from slimagent.model.inventory import PackageKind
from slimagent.model.profile import (
    LEVELS,
    CruftRule,
    DropRule,
    GpuRule,
    KeepRule,
    LevelRule,
    PackageRule,
    ProtectRule,
    Rules,
    StartRule,
    StripRule,
)
from slimagent.profiles.table import HINT, Table
from slimagent.text.near import meant

KINDS = tuple(PackageKind)
PTX = {"keep": True, "drop": False}  # what happens to PTX for GPUs to come, by its word
_LARGEST = 2**63 - 1  # bytes: what a document can hold
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PACKAGE = re.compile(rf"(?:\*|{'|'.join(KINDS)}):[^\s\x00-\x1f\x7f]+")
_T = TypeVar("_T")


def read(table: Table) -> Rules:
    """Take the rules from a profile's top table. Raises UsageError that names the place."""
    return Rules(
        keep=_each(table, "keep", _keep),
        packages=_each(table, "keep-package", _package),
        drop=_each(table, "drop", _drop, lambda rule: rule.what),
        cruft=_each(table, "cruft", _cruft, lambda rule: rule.name),
        kept_cruft=table.strings("keep_cruft"),
        protect=_each(table, "protect", _protect, lambda rule: rule.check),
        start=_each(table, "start", _start),
        levels=_each(table, "level", _level),
        strip=_each(table, "strip", _strip),
        strip_setuid=table.maybe("strip_setuid", bool),
        gpu=_gpu(table),
        compiling=table.maybe("compiling", bool),
        budget=_budget(table),
    )


def merge(earlier: Rules, later: Rules) -> Rules:
    """Two sets of rules as one: a later rule replaces an earlier one for the same paths, name or check.

    Commands, kept cruft and owners of GPU code add up; the last value of each switch, of the budget and of the GPUs
    counts.
    """
    return Rules(
        keep=_unique((*earlier.keep, *later.keep), lambda rule: rule.pattern),
        packages=_unique(
            (*earlier.packages, *later.packages), lambda rule: (rule.pattern, rule.section, rule.when, rule.of)
        ),
        drop=_unique((*earlier.drop, *later.drop), lambda rule: rule.what),
        cruft=_unique((*earlier.cruft, *later.cruft), lambda rule: rule.name),
        kept_cruft=tuple(dict.fromkeys((*earlier.kept_cruft, *later.kept_cruft))),
        protect=_unique((*earlier.protect, *later.protect), lambda rule: rule.check),
        start=_unique((*earlier.start, *later.start), lambda rule: (rule.command, rule.cwd)),
        levels=_unique((*earlier.levels, *later.levels), lambda rule: rule.pattern),
        strip=_unique((*earlier.strip, *later.strip), lambda rule: rule.exclude),
        strip_setuid=earlier.strip_setuid if later.strip_setuid is None else later.strip_setuid,
        gpu=_merged_gpu(earlier.gpu, later.gpu),
        compiling=earlier.compiling if later.compiling is None else later.compiling,
        budget=earlier.budget if later.budget is None else later.budget,
    )


def check(rules: Rules, where: str) -> None:
    """Refuse to keep cruft that no rule names: a typo would drop it. Raises UsageError.

    Only for complete rules: a profile may keep cruft that the base rules name.
    """
    unknown = unknown_cruft(rules, rules.kept_cruft)
    if unknown:
        raise UsageError(
            f"{where}.keep_cruft: no cruft rule is named {', '.join(map(repr, unknown))}",
            known_cruft(rules, unknown[0]),
        )


def unknown_cruft(rules: Rules, names: Iterable[str]) -> list[str]:
    """Those of these names that no cruft rule has."""
    known = {rule.name for rule in rules.cruft}
    return [name for name in names if name not in known]


def known_cruft(rules: Rules, name: str) -> str:
    """The hint for an unknown cruft rule."""
    return meant(name, (rule.name for rule in rules.cruft)) or "docs/cruft.md names the rules"


def with_gpus(asked: Rules, merged: Rules) -> Rules:
    """The merged rules. Raises UsageError for options for GPU code where neither they nor the profile name GPUs."""
    if asked.gpu is None or (merged.gpu is not None and merged.gpu.architectures):
        return merged
    option = "--gpu-code-of" if asked.gpu.ptx is None else "--gpu-ptx"
    raise UsageError(
        f"{option} without --gpu-arch does nothing", "say which GPUs the image is for, e.g. --gpu-arch sm_90"
    )


def starts(image: ImageConfig) -> tuple[StartRule, ...]:
    """What an image's configuration starts: its ENTRYPOINT and CMD, its health check, its shell."""
    commands = (
        (image.started, "the image's ENTRYPOINT and CMD"),
        (image.health_command, "the image's health check"),
        (image.shell, "the image's SHELL"),
    )
    cwd = image.working_dir or "/"
    return tuple(StartRule(command=command, why=why, cwd=cwd) for command, why in commands if command)


def _unique(rules: Iterable[_T], key: Callable[[_T], object]) -> tuple[_T, ...]:
    """The last rule of each key, in the place of the first."""
    return tuple({key(rule): rule for rule in rules}.values())


def _each(
    table: Table, key: str, parse: Callable[[Table], _T], name: Callable[[_T], str] | None = None
) -> tuple[_T, ...]:
    """The rules written as `[[key]]`; in one profile no two have the same `name`."""
    found: dict[object, _T] = {}
    for at, each in enumerate(table.tables(key)):
        rule = parse(each)
        each.done()
        called = at if name is None else name(rule)
        if called in found:
            raise UsageError(f"{each.where}: a second rule named {called!r}", "merge the two rules")
        found[called] = rule
    return tuple(found.values())


def _keep(table: Table) -> KeepRule:
    return KeepRule(
        pattern=table.path("path"),
        why=table.text("why"),
        follow=table.take("follow", bool, False),
        of_kept=table.take("of_kept", bool, False),
    )


def _drop(table: Table) -> DropRule:
    """A rule with a `path`, or with a `package`."""
    path, package = table.take("path", str, ""), table.take("package", str, "")
    if bool(path) == bool(package):
        raise table.wrong("path", "give a path or a package, and not both")
    what = table.checked_path("path", path) if path else _one_package(table, "package", package)
    return DropRule(what=what, why=table.text("why"))


def _package_key(rule: PackageRule) -> tuple[str, str, str, str]:
    return rule.pattern, rule.section, rule.when, rule.of


def _package(table: Table) -> PackageRule:
    return PackageRule(
        pattern=_one_package(table, "package", table.take("package", str)),
        why=table.text("why"),
        section=table.take("section", str, ""),
        when=table.choice("when", ("", "compiling"), ""),
        of=_one_package(table, "of", of) if (of := table.take("of", str, "")) else "",
    )


def _one_package(table: Table, key: str, value: str) -> str:
    if not _PACKAGE.fullmatch(value):
        raise table.wrong(key, f"{value!r} is not KIND:NAME with a KIND of {', '.join(KINDS)} or *")
    return value


def _cruft(table: Table) -> CruftRule:
    name = table.take("name", str)
    if not _SLUG.fullmatch(name):
        raise table.wrong("name", f"{name!r} must be lower-case letters and digits, with single hyphens between them")
    unless = table.strings("unless_packages")
    rule = CruftRule(
        name=name,
        patterns=table.patterns("paths"),
        why=table.text("why"),
        risk=table.text("risk"),
        excepted=table.patterns("except"),
        unless=table.choice("unless", ("", "compiling"), ""),
        unless_packages=tuple(_one_package(table, f"unless_packages[{at}]", each) for at, each in enumerate(unless)),
        when=table.choice("when", ("", "has-copy", "has-source", "of-package", "program", "without-gpu"), ""),
        keep_out=table.take("keep_out", bool, False),
        edit=table.take("edit", str, ""),
        edit_note=table.take("edit_note", str, ""),
    )
    if not rule.patterns:
        raise table.wrong("paths", "a cruft rule names paths")
    return rule


def _protect(table: Table) -> ProtectRule:
    names = table.strings("packages")
    rule = ProtectRule(
        check=table.text("check"),
        why=table.text("why"),
        packages=tuple(_one_package(table, f"packages[{at}]", name) for at, name in enumerate(names)),
        paths=table.patterns("paths"),
    )
    if not (rule.packages or rule.paths):
        raise UsageError(f"{table.where}: neither packages nor paths: nothing to protect", HINT)
    return rule


def _start(table: Table) -> StartRule:
    rule = StartRule(command=table.strings("command"), why=table.text("why"))
    if not rule.command or not rule.command[0] or any("\0" in word for word in rule.command):
        raise table.wrong("command", "expected a program and its arguments, as a list of strings")
    return rule


def _level(table: Table) -> LevelRule:
    return LevelRule(
        pattern=table.path("path"),
        level=table.choice("level", LEVELS),
        why=table.text("why"),
        at_least=table.take("at_least", bool, False),
    )


def _strip(table: Table) -> StripRule:
    rule = StripRule(exclude=table.patterns("exclude"), why=table.text("why"))
    if not rule.exclude:
        raise table.wrong("exclude", "a strip rule names the paths that are left alone")
    return rule


def _gpu(table: Table) -> GpuRule | None:
    """The table `[gpu]`; None if there is none."""
    inside = table.table("gpu")
    if inside is None:
        return None
    rule = GpuRule(
        architectures=_architectures(inside),
        ptx=PTX.get(inside.choice("ptx", ("", *PTX), "")),
        owners=tuple(_owner(inside, f"code-of[{at}]", each) for at, each in enumerate(inside.strings("code-of"))),
    )
    inside.done()
    return rule


def _architectures(table: Table) -> str:
    names = ",".join(table.strings("architectures"))
    if names:
        try:
            gpu.parse(names)
        except UsageError as error:
            raise table.wrong("architectures", f"{error.message}; {error.hint}") from None
    return names


def _owner(table: Table, key: str, value: str) -> str:
    """Packages or paths: a pattern of either."""
    return table.checked_path(key, value) if value.startswith("/") else _one_package(table, key, value)


def _merged_gpu(earlier: GpuRule | None, later: GpuRule | None) -> GpuRule | None:
    if earlier is None or later is None:
        return later or earlier
    return GpuRule(
        architectures=later.architectures or earlier.architectures,
        ptx=earlier.ptx if later.ptx is None else later.ptx,
        owners=tuple(dict.fromkeys((*earlier.owners, *later.owners))),
    )


def _budget(table: Table) -> int | None:
    budget = table.maybe("budget", int)
    if budget is not None and not 0 <= budget <= _LARGEST:
        raise table.wrong("budget", "expected a number of bytes, 0 or more")
    return budget
