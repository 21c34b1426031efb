"""Recognise compilers in a trace, and keep what their toolchains need to go on compiling. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slimagent.model.reason import Reason, ReasonKind
from slimagent.model.trace import BlindSpot, How
from slimagent.paths.algebra import name
from slimagent.plan.evidence import Evidence
from slimagent.plan.keeper import Keeper

# Compilers proper, as drivers execute them: they are started only to compile.
_BY_NAME = re.compile(
    rb"cc1(?:plus|obj|objplus|gm2)?|f951|gnat1|d21|clang(?:-\d+)?|flang(?:-new)?|rustc|cicc|nvcc|tcc|nasm|yasm"
    rb"|javac|ghc(?:-[\d.]+)?|ocaml(?:c|opt)(?:\.(?:opt|byte))?|swift-frontend|dmd|ldc2|zig|ppc(?:x64|a64|386)|erlc"
)
# Those of Go have ordinary names: GOTOOLDIR (`go env`).
_BY_PLACE = re.compile(rb".*/pkg/tool/[^/]+/(?:asm|cgo|compile|link)", re.DOTALL)


def is_compiling(evidence: Evidence) -> bool:
    """Whether everything that compiling needs must stay: as the profile says, or else if the trace saw a compiler."""
    if evidence.rules.compiling is not None:
        return evidence.rules.compiling
    return next(_executed(evidence), None) is not None


def keep_toolchains(keeper: Keeper, evidence: Evidence) -> None:
    """Keep the packages of the compilers that the trace saw whole, and all that they require.

    A compiler reads what it is asked for: headers, sources and libraries that no test asked for yet.
    """
    owners, seen = keeper.owners, set[int]()
    for path in _executed(evidence):
        end = keeper.resolver.resolve(path).end
        at = None if end is None else keeper.inventory.index.get(end)
        pending = [] if at is None else list(owners.owners(at))
        while pending:
            package = pending.pop()
            if package not in seen:
                seen.add(package)
                keeper.need_whole(package, Reason(kind=ReasonKind.COMPILING, detail=f"{name(path)!a} ran"))
                pending += [each for each, _ in owners.requires[package]]


def _executed(evidence: Evidence) -> Iterator[bytes]:
    """The compilers that the trace saw."""
    executed = How.EXECUTED
    if BlindSpot.EXECUTIONS in evidence.trace.blind_spots:  # executing looks like opening
        executed |= How.OPENED
    for access in evidence.trace.accesses:
        if access.how & executed and (_BY_NAME.fullmatch(name(access.path)) or _BY_PLACE.fullmatch(access.path)):
            yield access.path
