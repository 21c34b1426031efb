"""Decide which kept files lose their symbols and debugging sections, and which must not be touched. Pure.

`Symbols` tells what a file's own bytes say. This module looks at the rest: mode, other names, files beside it, rules.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator

from slimagent.model.inventory import Inventory
from slimagent.model.plan import Strip
from slimagent.model.reason import Verdict
from slimagent.paths.algebra import join, name, parent, to_text
from slimagent.paths.patterns import PathRules
from slimagent.plan.evidence import Evidence
from slimagent.plan.keeper import Keeper

# By an image's architecture: the processors (e_machine of <elf.h>) that its tools can strip reliably.
_MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40)}
_SET_ID = stat.S_ISUID | stat.S_ISGID
# Files beside a file that hold its checksum or signature; fipscheck(8) uses a directory, NSS the ending .chk.
_ENDINGS = (b".hmac", b".chk", b".sig", b".asc", b".p7s", b".minisig", b".md5", b".sha1", b".sha256", b".sha512")
_SEAL = re.compile(rb"\.?(.+)\.[^.]+", re.DOTALL)
_CHECKED = b"fipscheck"
# GnuTLS checks itself and the libraries that it builds on (gnutls, lib/fips.c).
_GNUTLS = re.compile(rb"libgnutls\.so\.\d+")
_WITH_GNUTLS = re.compile(rb"lib(?:gnutls|nettle|hogweed|gmp)\.so\.[\d.]+")
# OpenSSL 3 keeps the checksum of its FIPS provider in a configuration file (fips_config(5)).
_OPENSSL_FIPS = b"/ossl-modules/fips.so"


def strips(keeper: Keeper, evidence: Evidence) -> tuple[tuple[Strip, ...], tuple[tuple[bytes, str], ...]]:
    """List the files to strip, and those that could be but must not, with the reason. Hard links count once."""
    inventory = keeper.inventory
    found, refused = [], []
    spared = beside(keeper, evidence)
    for names in kept_files(keeper, lambda path: evidence.contents.symbols(path) is not None):
        path = inventory.paths[names[0]]
        symbols = evidence.contents.symbols(path)
        if symbols is None:
            continue
        why = symbols.why or untouchable(symbols.machine, inventory.modes[names[0]], evidence)
        why = why or next((spared[at] for at in names if at in spared), "")
        if why:
            refused.append((path, why))
        elif symbols.saves:
            found.append(Strip(path, symbols.saves))
    return tuple(found), tuple(refused)


def kept_files(keeper: Keeper, is_wanted: Callable[[bytes], bool]) -> Iterator[list[int]]:
    """The kept files that are wanted, each as the list of its kept names, in the inventory's order."""
    inventory = keeper.inventory
    stays = [each.verdict is Verdict.KEEP for each in keeper.reasons]
    found: dict[int | tuple[int, ...], list[int]] = {}
    for at, path in enumerate(inventory.paths):
        if not stat.S_ISREG(inventory.modes[at]) or not stays[keeper.reason(at)]:
            continue
        if is_wanted(path):
            found.setdefault(inventory.file(at), []).append(at)
    yield from found.values()


def untouchable(machine: int, mode: int, evidence: Evidence) -> str:
    """Why an ELF file for this processor, with this mode, must not be touched; empty if it may be."""
    if machine not in _MACHINES.get(evidence.trace.architecture, ()):
        return "it is for another processor than the image"
    if mode & _SET_ID and not evidence.rules.strip_setuid:
        return "it runs with another user's or group's rights (setuid, setgid); --strip-setuid strips it"
    return ""


def beside(keeper: Keeper, evidence: Evidence) -> dict[int, str]:
    """Entries that must not be changed because of a file beside them or a rule, with the reason."""
    found = {}
    inventory = keeper.inventory
    patterns = [(each, rule.why) for rule in evidence.rules.strip for each in rule.exclude]
    for at, which in PathRules([each for each, _ in patterns]).scan(inventory.paths):
        found[at] = f"by rule: {patterns[which[0]][1]}"
    for seal, sealed in _seals(inventory):
        end = keeper.resolver.resolve(sealed).end
        if end in inventory.index:
            found[inventory.index[end]] = f"{to_text(seal)} holds its checksum or signature"
    for at, path in enumerate(inventory.paths):
        if path.endswith(_OPENSSL_FIPS):
            found[at] = "fipsmodule.cnf holds its checksum"
    return found


def _seals(inventory: Inventory) -> Iterator[tuple[bytes, bytes]]:
    """Each file that by its name is the checksum or signature of another, with that other file."""
    shared: dict[bytes, bytes] = {}
    for path in inventory.paths:
        match = _SEAL.fullmatch(name(path)) if path.endswith(_ENDINGS) else None
        if match is None:
            continue
        directory = parent(path)
        if name(directory) == _CHECKED:
            directory = parent(directory)
        yield path, join(directory, match[1])
        if path.endswith(b".chk"):
            yield path, join(directory, match[1] + b".so")
        if _GNUTLS.fullmatch(match[1]):
            shared[directory] = path
    if shared:
        for path in inventory.paths:
            if _WITH_GNUTLS.fullmatch(name(path)) and parent(path) in shared:
                yield shared[parent(path)], path
