"""Write the setting with which dpkg leaves files out of the packages that it installs later. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from slimagent.audit.by_layer import UNKNOWN, Part, is_copied, is_of_base
from slimagent.audit.known import Known
from slimagent.audit.later import Later
from slimagent.audit.searching import FEW, is_plain
from slimagent.model.inventory import PackageKind
from slimagent.model.profile import CruftRule
from slimagent.model.reason import Verdict

# dpkg leaves out a directory that an exclusion matches, unless an inclusion could match below it (its filters.c).
# Installers make links in directories of packages, e.g. in /usr/share/man/man1. No file has this name.
_DIRECTORIES = "path-include=/*/."

Found = Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]]


def setting(
    known: Known, rule: CruftRule, found: Found, entries: Iterable[int], saves: Mapping[int, int], later: Later
) -> Part:
    """A RUN that writes the setting (dpkg(1), --path-exclude), and what it saves of one layer.

    What a RUN names is installed, with all below it: people take an example from /usr/share/doc.

    `entries` are the rule's files of all layers: each layer gets the same line, because there is one file for a rule.
    """
    of, paths = known.layers.of, known.inventory.paths
    runs = _runs(known, entries)
    named = {at for at in found if later.names(paths[at], UNKNOWN, loosely=False)}
    of_dpkg = [at for at in entries if at not in named and of.get(paths[at], UNKNOWN) in runs and _is_debian(at, known)]
    used = {which for at in of_dpkg for which in found[at][0]}
    matching = (at for at, (matches, spared) in found.items() if not spared and not used.isdisjoint(matches))
    some = [at for at in matching if (at in named or is_kept(at, known)) and _is_debian(at, known)]
    places = {paths[at]: later.directory(paths[at], UNKNOWN) for at in some}
    staying = sorted({place or path for path, place in places.items()})
    if len(staying) > FEW or not all(map(is_plain, staying)):
        return Part()
    lines = [f"path-exclude={_glob(each)}" for which, each in enumerate(rule.patterns) if which in used]
    lines += [f"path-include={_glob(each)}" for each in rule.excepted]
    whole = set(places.values())
    lines += [f"path-include={each.decode()}{'/*' if each in whole else ''}" for each in staying]
    if not any(each.startswith("path-include=/*") for each in lines):
        lines.append(_DIRECTORIES)
    shown = " ".join(map(shlex.quote, lines))
    line = f"RUN printf '%s\\n' {shown} > /etc/dpkg/dpkg.cfg.d/no-{shlex.quote(rule.name)}"
    going = sum(saves[at] for at in of_dpkg if at in saves)
    return Part((line,), going) if going else Part()


def first_layer(known: Known, entries: Iterable[int]) -> int:
    """The first layer in which a RUN installed one of these files, by whatever program that calls dpkg."""
    return min(_runs(known, (at for at in entries if _is_debian(at, known))), default=UNKNOWN)


def _runs(known: Known, entries: Iterable[int]) -> set[int]:
    """The layers of these files that a RUN made."""
    of, paths = known.layers.of, known.inventory.paths
    layers = {of.get(paths[at], UNKNOWN) for at in entries}
    return {each for each in layers if not is_copied(known, each) and not is_of_base(known, each)}


def is_kept(at: int, known: Known) -> bool:
    """Whether a file stays: in use, or by a rule of the profile."""
    return known.plan.reasons[known.plan.entries[at].reason].verdict is Verdict.KEEP


def _is_debian(at: int, known: Known) -> bool:
    """Whether dpkg installed a file."""
    return any(known.owners.packages[each].kind == PackageKind.DPKG for each in known.owners.owners(at))


def _glob(pattern: str) -> str:
    """A pattern as dpkg has it: one star, which also matches slashes."""
    return pattern.replace("[", "[[]").replace("/**/", "/*/").replace("**", "*")
