"""The nouns of a profile: what an image is exercised with, and what stays or goes in it by rule. As in `model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slimagent.model.gate import Rule

LEVELS = ("file", "package", "cruft")  # from the one that keeps least
SECONDS = 600.0  # the default limit of a check
# The names of variants, as an image's maintainers call them, and the level of each.
VARIANTS = {"minimal": "file", "standard": "package", "full": "cruft"}
# The components of an image, each a layer, from the lowest up, and what people call them.
COMPONENTS = {
    "system": "operating system",
    "ide": "IDEs",
    "r": "R",
    "python": "Python environment",
    "rest": "the rest",
    "shared": "shared directories and package records",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """Paths that always stay (`paths.pattern` syntax), and why."""

    pattern: str
    why: str
    follow: bool = False  # what a matched symbolic link leads to stays as well
    of_kept: bool = False  # only where a package that stays owns them


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRule:
    """What goes whatever needs it, and why: paths (`paths.pattern` syntax), or packages as `KIND:NAME`."""

    what: str
    why: str

    @property
    def is_path(self) -> bool:
        """Whether it names paths."""
        return self.what.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRule:
    """Packages that stay whole, as `KIND:NAME` with `*` and `?` in NAME, and why.

    `section`: only packages of that section; `when`: "compiling", only where software is compiled; `of`: only if a
    package stays that this pattern matches, as if it required them.
    """

    pattern: str
    why: str
    section: str = ""
    when: str = ""
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CruftRule:
    """Files that no program needs for its job: `patterns` except `excepted`; `risk` is what may break without them.

    `unless`: "compiling" (not cruft where software is compiled). `when` narrows it: "has-source" (bytecode with its
    source beside it), "has-copy" (files that are also in the data directory of the environment's Jupyter),
    "of-package" (only files that a package owns), "program" (only executables), "without-gpu" (only what the rules
    protect for GPUs, in an image that runs without one). `unless_packages` (`KIND:NAME`
    patterns): not cruft in an image with one of them. `keep_out`: dpkg leaves them out of later packages too.
    `edit` is the line of a Dockerfile that does not make them, or removes them where they are made; `edit_note` says
    where it belongs.
    """

    name: str
    patterns: tuple[str, ...]
    why: str
    risk: str
    excepted: tuple[str, ...] = ()
    unless: str = ""
    unless_packages: tuple[str, ...] = ()
    when: str = ""
    keep_out: bool = False
    edit: str = ""
    edit_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectRule:
    """Packages (`KIND:NAME` patterns) and paths that stay whole unless a check of this kind or name has passed."""

    check: str
    why: str
    packages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRule:
    """A command line that starts the image (ENTRYPOINT and CMD, a health check): the files that it names stay.

    `cwd` is its working directory, an absolute path; empty if unknown.
    """

    command: tuple[str, ...]
    why: str
    cwd: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRule:
    """A different level for the files that match a pattern, and why.

    `at_least`: only where the level of the plan keeps less.
    """

    pattern: str
    level: str
    why: str
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StripRule:
    """Files that keep their symbols and debugging sections, and why."""

    exclude: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRule:
    """Which GPUs an image is for, e.g. `sm_80,h100` or `none`; empty: nobody said, and GPU code stays as it is.

    `ptx`: PTX for GPUs to come stays; None: nobody said. `owners` are packages (`KIND:NAME` patterns) and patterns of
    paths whose files may lose GPU code although no open licence permits it.
    """

    architectures: str = ""
    ptx: bool | None = None
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules of a plan. `compiling` None: as the trace shows.

    `strip_setuid`: strip set-user-ID and set-group-ID programs too.
    """

    keep: tuple[KeepRule, ...] = ()
    packages: tuple[PackageRule, ...] = ()
    drop: tuple[DropRule, ...] = ()
    cruft: tuple[CruftRule, ...] = ()
    kept_cruft: tuple[str, ...] = ()
    protect: tuple[ProtectRule, ...] = ()
    start: tuple[StartRule, ...] = ()
    levels: tuple[LevelRule, ...] = ()
    strip: tuple[StripRule, ...] = ()
    strip_setuid: bool | None = None
    gpu: GpuRule | None = None
    compiling: bool | None = None
    budget: int | None = None


Parameter = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """A check in a profile: its kind, a name, a limit in seconds, and the parameters of its kind.

    `user` is the user that runs it, a name or a number; empty: the same as for everything else. `alone` says whether it
    runs while no other check does; None: as its kind says.
    """

    kind: str
    name: str
    seconds: float = SECONDS
    user: str = ""
    alone: bool | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a kind of image is exercised, and what stays in it by rule.

    `level` and `user` (a name or a number) are empty if the profile does not set them. `parts` are the names, or files,
    of the profiles that it was loaded from. `gate` are rules about the result of a run.
    """

    name: str
    description: str
    level: str = ""
    user: str = ""
    parts: tuple[str, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    rules: Rules = field(default_factory=Rules)
    gate: tuple[Rule, ...] = ()
