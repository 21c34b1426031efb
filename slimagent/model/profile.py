"""The nouns of a profile: what an image is exercised with, and what stays or goes in it by rule. As in `model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LEVELS = ("file", "package", "cruft")  # from the one that keeps least
SECONDS = 600.0  # a check's limit, unless it says another one
# What an image's maintainers call the variants that they ship, and the level of each.
VARIANTS = {"minimal": "file", "standard": "package", "full": "cruft"}
# The components that an image is cut into, each a layer, from the lowest up, and what people call them.
COMPONENTS = {
    "system": "operating system",
    "ide": "IDEs",
    "r": "R",
    "python": "Python environment",
    "rest": "the rest",
    "shared": "shared folders and package records",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """Paths that stay whatever the trace says (`paths.pattern` syntax), and why."""

    pattern: str
    why: str
    follow: bool = False  # what a matched symbolic link leads to stays as well
    of_kept: bool = False  # only where a package that stays owns them


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRule:
    """Packages that stay whole, as `KIND:NAME` with `*` and `?` in NAME, and why.

    `section`: only those that their manager has classified so; `when`: "compiling", only where software is compiled.
    """

    pattern: str
    why: str
    section: str = ""
    when: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CruftRule:
    """Files that no program needs for its job: `patterns` less `excepted`; what breaks without them is the `risk`.

    `unless` names a switch: "compiling" (not cruft where software is compiled). `when` narrows it: "has-source" (byte
    code whose source is there), "has-copy" (of a file that lies in the data folder of its environment's Jupyter too),
    "of-package" (only files that a package owns), "program" (only executables).
    `unless_packages` (`KIND:NAME` patterns): not cruft in an image that has one of them. `keep_out`: dpkg is told to
    leave them out of packages that are installed later, too.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectRule:
    """Packages (`KIND:NAME` patterns) and paths that stay whole unless a check of this kind or name has passed."""

    check: str
    why: str
    packages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRule:
    """A command line that the image is started with (ENTRYPOINT and CMD, a health check): what it names stays.

    `cwd` is where it runs, an absolute path; empty if nobody knows.
    """

    command: tuple[str, ...]
    why: str
    cwd: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRule:
    """A level of its own for the files that a pattern matches, and why.

    `at_least`: only where the level asked for would keep less.
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
class Rules:
    """Everything that a plan is ruled by, beside the evidence. `compiling` None: as the trace shows.

    `strip_setuid`: set-user-ID and set-group-ID programs are stripped too.
    """

    keep: tuple[KeepRule, ...] = ()
    packages: tuple[PackageRule, ...] = ()
    cruft: tuple[CruftRule, ...] = ()
    kept_cruft: tuple[str, ...] = ()
    protect: tuple[ProtectRule, ...] = ()
    start: tuple[StartRule, ...] = ()
    levels: tuple[LevelRule, ...] = ()
    strip: tuple[StripRule, ...] = ()
    strip_setuid: bool | None = None
    compiling: bool | None = None
    budget: int | None = None


Parameter = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """A check that a profile asks for: its kind, a name, a limit in seconds, and what the kind needs.

    `user` is whom it runs as, by name or number; empty: as everything else does.
    """

    kind: str
    name: str
    seconds: float = 600.0
    user: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a kind of image is exercised with, and what stays in it by rule.

    `level` and `user` (a name or a number) are what the image is meant for; empty: nothing is said. `parts` are the
    names, or files, of the profiles that it was loaded from.
    """

    name: str
    description: str
    level: str = ""
    user: str = ""
    parts: tuple[str, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    rules: Rules = field(default_factory=Rules)
