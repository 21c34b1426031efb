"""What brings a removed package or path back: command lines, and the rule that keeps it next time. Pure.

Sources: apt-get(8); `conda install --help`; pip's and npm's reference; R's ?install.packages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from slimagent.model.inventory import Package, PackageKind
from slimagent.paths.algebra import to_text

_SITE = re.compile(r"(.*)/lib(?:64)?/((?:python|pypy)3\.[0-9]+)t?/(?:site|dist)-packages")
_NAMED = re.compile(r"[^\s\x00-\x1f\x7f]+")  # a package that a rule can name
# A name or version that no package manager takes for an option, and no shell or R for code: a list is not trusted.
_PLAIN = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9._+~:/@!-]{0,200}", re.ASCII)
_SHOWN = 20  # paths in a command line or a rule


def ways(package: Package, *, is_gone: bool) -> tuple[str, ...]:
    """How its own package manager brings a package back, or repairs it if it is still installed.

    None if its name or version is not what a package manager would give: then they come from a hostile image.
    """
    if not all(_PLAIN.fullmatch(each) for each in (package.name, package.version) if each):
        return ()
    name, version, place = shlex.quote(package.name), shlex.quote(package.version), to_text(package.place)
    at = shlex.quote(place)
    if package.kind == PackageKind.DPKG:
        again = "" if is_gone else "--reinstall "
        wanted = f"{name}={version}" if package.version else name
        return (f"apt-get update && apt-get install --yes --no-install-recommends {again}{wanted}",)
    if package.kind == PackageKind.CONDA:
        again = "" if is_gone else "--force-reinstall "
        return (
            f"conda install --yes --prefix {at} {again}{name}={version}",
            f"mamba install --yes --prefix {at} {again}{name}={version}",
        )
    if package.kind == PackageKind.PYTHON and package.version:
        site = _SITE.fullmatch(place)
        python = "python3" if site is None else shlex.quote(f"{site[1]}/bin/{site[2]}")
        if site is not None and place.endswith("/dist-packages"):  # Debian's own Python has these, wherever they lie
            python = site[2]
        return (f"{python} -m pip install {'' if is_gone else '--force-reinstall --no-deps '}{name}=={version}",)
    if package.kind == PackageKind.R:
        call = f"install.packages({_r(package.name)}, lib = {_r(place)})"
        return (f"Rscript -e {shlex.quote(call)}  # the newest; it was {package.version}",)
    if package.kind == PackageKind.NPM:
        return (f"npm install --no-save --prefix {at} {shlex.quote(f'{package.name}@{package.version}')}",)
    if package.kind == PackageKind.VSCODE:
        return (f"code-server --install-extension {shlex.quote(f'{package.name}@{package.version}')}",)
    return ()


def restore(things: Sequence[str], image: str, options: str = "") -> str:
    """The command line that restores paths or a package as they were; `options` are further ones, quoted."""
    shown = " ".join(map(shlex.quote, things[:_SHOWN]))
    more = f"  # and {_more(things)}" if len(things) > _SHOWN else ""
    return f"slimagent restore {shown} --from {shlex.quote(image) if image else 'IMAGE'} -t TAG{options}{more}"


def keep(package: Package | None, paths: Sequence[bytes]) -> str:
    """The option that keeps a package next time; the paths for None, or if no option can name it."""
    if package is not None and _NAMED.fullmatch(package.name):
        return f"--keep-package {shlex.quote(package.label)}"
    more = f"  # and {_more(paths)}" if len(paths) > _SHOWN else ""
    return " ".join(f"--keep {shlex.quote(to_text(path))}" for path in paths[:_SHOWN]) + more


def rule(package: Package | None, paths: Sequence[bytes], why: str) -> str:
    """The tables of a profile that do the same."""
    if package is not None and _NAMED.fullmatch(package.name):
        return f"[[keep-package]]\npackage = {_toml(package.label)}\nwhy = {_toml(why)}"
    tables = [f"[[keep]]\npath = {_toml(to_text(path))}\nwhy = {_toml(why)}" for path in paths[:_SHOWN]]
    return "\n\n".join([*tables, *([f"# and {_more(paths)}"] if len(paths) > _SHOWN else [])])


def _more(things: Sequence[object]) -> str:
    return f"{len(things) - _SHOWN:,} more paths: --json lists them"


def _r(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml(text: str) -> str:
    """A basic string of TOML 1.0: controls and what it obeys are escaped."""
    return '"' + "".join(_character(each) for each in text) + '"'


def _character(each: str) -> str:
    if each in '"\\':
        return "\\" + each
    if each.isprintable():
        return each
    number = ord(each)
    if 0xD800 <= number <= 0xDFFF:  # no string of TOML can have it
        return "?"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
