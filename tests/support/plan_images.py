"""Small images on a real disk, and the plans made for them: a scan, accesses and rules in, a Plan out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from slimagent.inventory.contents import Contents
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.loader import loader
from slimagent.inventory.owners import owners
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Description, Found, Inventory, Owners, Package
from slimagent.model.plan import Plan
from slimagent.model.profile import CruftRule, KeepRule, Rules
from slimagent.model.reason import Reason, Verdict
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Access, Change, How, Run, Trace
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.report.explain import Explainer

STEP = CheckResult(name="smoke", kind="command", outcome=Outcome.PASSED, seconds=1.0, status=0)


def write(root: Path, path: str, data: bytes | str = b"data", mode: int = 0o644) -> Path:
    """A file at `path` (absolute, in the image), with its folders."""
    full = root / path.lstrip("/")
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(data.encode() if isinstance(data, str) else data)
    full.chmod(mode)
    return full


def link(root: Path, path: str, target: str) -> None:
    """A symbolic link at `path`, with its folders."""
    full = root / path.lstrip("/")
    full.parent.mkdir(parents=True, exist_ok=True)
    full.symlink_to(target)


def compiler() -> str:
    """A C compiler; skips the test where there is none, fails it where all must be there."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        reason = "no C compiler: install gcc and the C library's headers"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def build(root: Path, path: str, *options: str, needs: Iterable[str] = (), program: bool = False) -> Path:
    """A real ELF file at `path` that needs the libraries at `needs` (paths in the image) and no C library."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    symbol = "_start" if program else "in_" + "".join(each if each.isalnum() else "_" for each in target.name)
    source = f"void {symbol}(void) {{ for (;;); }}\n"
    kind = ["-pie", "-fPIE", "-Wl,--dynamic-linker=/lib/ld-test.so"] if program else ["-shared", "-fPIC"]
    libraries = [str(root / each.lstrip("/")) for each in needs]
    subprocess.run(
        [
            *(compiler(), "-nostdlib", "-nostartfiles", *kind, "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"),
            *("-x", "c", "-", "-x", "none", *libraries, *options, "-o", str(target)),
        ],
        input=source.encode(),
        check=True,
    )
    return target


def build_library(root: Path, path: str, *options: str, needs: Iterable[str] = ()) -> Path:
    """A shared library whose name for its users (DT_SONAME) is that of its file."""
    return build(root, path, f"-Wl,-soname,{path.rsplit('/', 1)[1]}", *options, needs=needs)


def access(path: str | bytes, how: How = How.OPENED, steps: tuple[int, ...] = (0,), found: bool = True) -> Access:
    """One access of a trace."""
    return Access(path=os.fsencode(path), how=how, steps=steps, found=found)


def trace_for(inventory: Inventory, accesses: Iterable[Access], changes: tuple[Change, ...] = ()) -> Trace:
    """A trace of the image as it is, with one step that passed."""
    mark = fingerprint(inventory)
    return Trace(
        before=mark,
        scopes=inventory.scopes,
        excluded=(),
        architecture="x86_64",
        runs=(run_of((STEP,), mark),),
        accesses=tuple(accesses),
        changes=changes,
    )


def run_of(steps: tuple[CheckResult, ...], after: str, **more: Any) -> Run:
    """A run with nothing to say but its steps, and `more`."""
    said: dict[str, Any] = {
        "identity": "1" * 64,
        "tool": "slimagent test",
        "backend": "seccomp",
        "passed_over": (),
        "blind_spots": (),
        "kernel": "6.18",
        "user": "root",
        "no_new_privileges": True,
        "profiles": (),
        "losses": (),
    }
    return Run(**{**said, **more}, after=after, steps=steps)


def with_run(trace: Trace, **changed: Any) -> Trace:
    """The trace of one run with something else in that run."""
    (run,) = trace.runs
    return replace(trace, runs=(replace(run, **changed),))


def evidence_for(
    root: Path,
    accesses: Iterable[Access | str] = (),
    rules: tuple[KeepRule, ...] = (),
    changes: tuple[Change, ...] = (),
) -> Evidence:
    """What a plan of the image at `root` is made from; a plain path stands for a file that was opened."""
    inventory = scan(os.fsencode(root.resolve()))
    whole = (access(each) if isinstance(each, str) else each for each in accesses)
    trace = trace_for(inventory, whole, changes)
    return Evidence(
        trace=trace,
        trace_digests=("0" * 64,),
        inventory=inventory,
        fingerprint=trace.before,
        contents=Contents(inventory.root),
        loader=loader(inventory),
        rules=Rules(keep=rules, budget=0),
    )


def plan_for(
    root: Path,
    accesses: Iterable[Access | str] = (),
    rules: tuple[KeepRule, ...] = (),
    changes: tuple[Change, ...] = (),
    excluded: tuple[bytes, ...] = (),
) -> Plan:
    """The plan for the image at `root`."""
    return decide(replace(evidence_for(root, accesses, rules, changes), excluded=excluded), "file")


def reason(plan: Plan, path: str | bytes) -> Reason:
    """The reason of a path's verdict."""
    wanted = os.fsencode(path)
    (found,) = (entry for entry in plan.entries if entry.path == wanted)
    return plan.reasons[found.reason]


def paths_with(plan: Plan, verdict: Verdict) -> set[bytes]:
    """The paths of a verdict."""
    return {entry.path for entry in plan.entries if plan.reasons[entry.reason].verdict is verdict}


def files_kept(plan: Plan, root: Path) -> set[str]:
    """The regular files and links that stay."""
    kept = map(os.fsdecode, paths_with(plan, Verdict.KEEP))
    return {path for path in kept if path != "/" and not _is_folder(root / path.lstrip("/"))}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def chain(plan: Plan, path: str) -> list[str]:
    """The paths that a verdict rests on, the last one first asked for."""
    return [each for each, _ in Explainer(plan).explain(os.fsencode(path)).chain]


# Packages

SEARCH = (b"/opt/env/bin", b"/usr/bin")


@dataclass
class Installed:
    """A package as a database records it; `files` and `identity` are paths of the image."""

    name: str  # KIND:NAME
    files: Iterable[str] = ()
    identity: Iterable[str] = ()
    requires: Iterable[str] = ()
    records: Iterable[tuple[bytes, str, str]] = ()
    essential: bool = False
    section: str = ""
    licenses: Sequence[str] = ()
    terms: Sequence[str] | None = None  # as the licenses where none are given
    outside: Iterable[str] = ()
    place: bytes = b"/"


def reader(packages: Sequence[Installed]) -> Callable[[Image], list[Found]]:
    """What a reader finds whose database says this."""
    at = {each.name: number for number, each in enumerate(packages)}

    def find(image: Image) -> list[Found]:
        index = image.inventory.index
        return [
            Found(
                package=Package(
                    kind=each.name.partition(":")[0],
                    name=each.name.partition(":")[2],
                    version="1",
                    place=each.place,
                    essential=each.essential,
                    section=each.section,
                ),
                description=Description(licenses=tuple(each.licenses)),
                files=[index[path.encode()] for path in each.files],
                identity=[index[path.encode()] for path in each.identity],
                requires=[(at[name], f"{name} (>= 1)") for name in each.requires],
                records=list(each.records),
                terms=tuple(each.licenses if each.terms is None else each.terms),
                outside=[index[path.encode()] for path in each.outside],
            )
            for each in packages
        ]

    return find


def plan_of(
    root: Path,
    packages: Sequence[Installed] = (),
    accesses: Iterable[Access | str] = (),
    rules: Rules | None = None,
    level: str = "package",
    steps: tuple[CheckResult, ...] = (STEP,),
    shells: tuple[bytes, ...] = (),
    changes: tuple[Change, ...] = (),
    found: Owners | None = None,
) -> Plan:
    """The plan for the image at `root` in which these packages are installed, or those that `found` has."""
    evidence = evidence_for(root, accesses, changes=changes)
    made = replace(
        evidence,
        owners=owners(evidence.inventory, (reader(packages),)) if found is None else found,
        trace=with_run(evidence.trace, steps=steps),
        rules=rules if rules is not None else Rules(),
        search=SEARCH,
        shells=shells,
    )
    return decide(made, level)


def staying(plan: Plan) -> dict[str, Reason]:
    """The packages that stay, with why."""
    found = {f"{each.package.kind}:{each.package.name}": plan.reasons[each.reason] for each in plan.packages}
    return {name: why for name, why in found.items() if why.verdict is Verdict.KEEP}


def kinds(plan: Plan, *paths: str) -> list[str]:
    return [reason(plan, path).kind for path in paths]


def cruft(*patterns: str, **more: object) -> CruftRule:
    return CruftRule(name="some", patterns=patterns, why="of no use", risk="none", **more)  # type: ignore[arg-type]
