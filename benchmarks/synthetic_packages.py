"""The packages of a synthetic image, each written as its own package manager leaves it. See `synthetic.py`.

Formats: deb822(5), deb-md5sums(5), dpkg's info/*.list; PyPA's "Core metadata specifications" and "Recording installed
projects"; "Writing R Extensions", 1.1.1; npm's package.json(5) and package-lock-json(5); elf(5).
"""

from __future__ import annotations

import json
import os

from synthetic_part import LOOKED_UP, OPENED, Part, elf, md5, sha256

_PY = "3.11"
_R_LIBRARY, _R_OWN = "/usr/local/lib/R/site-library", "/usr/lib/R/library"
_ARCH = "/usr/lib/x86_64-linux-gnu"
_LOADER = "/lib64/ld-linux-x86-64.so.2"
_ENVIRONMENT, _APPLICATION = 100, 400  # packages in one virtual environment, in one node_modules
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "frost", "glade", "hazel", "iris", "juniper", "kelp", "larch")
_LOCALES = ("de", "fr", "es", "pt_BR", "ja", "zh_CN", "ru", "it")
SYSTEM_LIBRARIES = (f"{_ARCH[4:]}/libc.so.6", f"{_ARCH[4:]}/libm.so.6")


# What is there before all else


def system(part: Part) -> None:
    """The packages that every image has: a loader, a shell, interpreters; merged /usr, accounts."""
    for name in ("bin", "sbin", "lib", "lib64"):
        part.folder("/usr/" + name)
        part.link("/" + name, "usr/" + name)
    part.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/sh\n")
    part.file("/etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n")
    part.file("/etc/debian_version", b"12.5\n")
    part.folder("/tmp")
    _registered(part, "base-files", essential=True)
    part.file(f"{_ARCH}/ld-linux-x86-64.so.2", elf("ld-linux-x86-64.so.2"), mode=0o755)
    part.link("/usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for name in ("libc.so.6", "libm.so.6"):
        part.file(f"{_ARCH}/{name}", elf(name, ("ld-linux-x86-64.so.2",)), mode=0o755)
    _registered(part, "libc6", section="libs")
    for package, programs in {
        "bash": ("bash",),
        "dash": ("dash",),
        "coreutils": ("env", "ls", "cat", "cp"),
        "dpkg": ("dpkg", "dpkg-query"),
        "perl-base": ("perl",),
        f"python{_PY}": (f"python{_PY}",),
        "nodejs": ("node",),
        "r-base-core": ("R", "Rscript"),
    }.items():
        for name in programs:
            part.file(f"/usr/bin/{name}", elf(needed=("libc.so.6",), interpreter=_LOADER), mode=0o755)
        if package == "dash":
            part.link("/usr/bin/sh", "dash")
        if package.startswith("python"):
            part.link("/usr/bin/python3", f"python{_PY}")
        if package == "r-base-core":
            for name in ("base", "methods", "utils", "stats"):
                _r_package(part, _R_OWN, name, "Priority: base\n")
        _registered(part, package, needs="libc6 (>= 2.36)", essential=package in ("bash", "dash", "coreutils", "dpkg"))


# Debian packages

_FLAVOURS = ("library", "program", "dev", "data")
_SECTIONS = {"library": "libs", "program": "utils", "dev": "libdevel", "data": "misc"}


def _debian_name(number: int) -> str:
    word, flavour = f"{_WORDS[number % len(_WORDS)]}{number}", _FLAVOURS[number % 4]
    return {"library": f"lib{word}", "program": word, "dev": f"lib{word}-dev", "data": f"{word}-data"}[flavour]


def debian(part: Part) -> None:
    """A Debian package: of a library, of programs, of headers, or of data."""
    name, flavour = _debian_name(part.number), _FLAVOURS[part.number % 4]
    others = part.others(max(0, part.number - 400), 4)
    wanted = [f"{_debian_name(each)}{' (>= 1.0)' if each % 3 else ''}" for each in others]
    wanted = [f"{each} | not-installed-{at}" if at % 3 == 2 else each for at, each in enumerate(wanted)]
    libraries = ("libc.so.6", *(f"{_debian_name(each)}.so.1" for each in others if each % 4 == 0))
    part.file(f"/usr/share/doc/{name}/copyright", b"License: GPL-2+\n")
    part.file(f"/usr/share/doc/{name}/changelog.Debian.gz", b"\x1f\x8b\x08\0")
    if flavour == "library":
        part.file(f"{_ARCH}/{name}.so.1.0", elf(f"{name}.so.1", libraries), use=0.9)
        part.link(f"{_ARCH}/{name}.so.1", f"{name}.so.1.0", use=0.9)
        part.libraries.append(f"{_ARCH[4:]}/{name}.so.1")
    elif flavour == "program" and part.number % 40 == 1 and part.left > 8:
        _alternative(part, name)
    at = 0
    while part.left > 2:  # its list and its md5sums are files as well
        _debian_file(part, name, flavour, libraries, at)
        at += 1
    _registered(part, name, needs=", ".join(("libc6 (>= 2.36)", *wanted)), section=_SECTIONS[flavour])


def _debian_file(part: Part, name: str, flavour: str, libraries: tuple[str, ...], at: int) -> None:
    what, folder = part.rng.random(), f"/usr/share/{name}" + (f"/part{at // 30}" if at >= 30 else "")
    if what < 0.12:
        part.file(f"/usr/share/doc/{name}/sample{at}.txt", b"An example.\n")
    elif what < 0.20:
        part.file(f"/usr/share/man/man1/{name}-{at}.1.gz", b"\x1f\x8b\x08\0")
    elif what < 0.26:
        part.file(f"/usr/share/locale/{part.rng.choice(_LOCALES)}/LC_MESSAGES/{name}-{at}.mo", b"\xde\x12\x04\x95")
    elif what < 0.37:
        part.link(f"{folder}/alias{at}", f"data{at}.dat")
    elif flavour == "program" and what < 0.55:
        _program(part, name, libraries, at)
    elif flavour == "library" and what < 0.50:
        data = elf(needed=libraries, runpath=f"$ORIGIN/../{name}")
        part.file(f"{_ARCH}/{name}/plugin{at}.so", data, use=0.6, large=True)
    elif flavour == "dev" and what < 0.95:
        part.file(f"/usr/include/{name}/part{at // 40}/header{at}.h", b"#pragma once\n")
    elif flavour == "data" and what < 0.60:
        part.file(f"/usr/share/perl5/{name.title().replace('-', '')}/F{at}.pm", b"1;\n", use=0.7)
    else:
        part.file(f"{folder}/data{at}.dat", b"%d\n" % at, use=0.3, large=at % 8 == 0)


def _program(part: Part, name: str, libraries: tuple[str, ...], at: int) -> None:
    path = f"/usr/bin/{name}-{at}"
    scripts = (b"#!/bin/sh\nexit 0\n", b"#!/usr/bin/env python3\n", b"#!/usr/bin/perl -w\n1;\n")
    data = elf(needed=libraries, interpreter=_LOADER) if at % 2 else scripts[at // 2 % 3]
    part.file(path, data, mode=0o755, use=0.6)
    if at % 7 == 1 and part.left > 2:
        part.twin(f"/usr/lib/{name}/{name}-{at}")


def _alternative(part: Part, name: str) -> None:
    """A group of alternatives with one choice (the format of update-alternatives; `dpkg_formats.choices` has it)."""
    choice, link = f"/usr/bin/{name}.real", f"/usr/bin/{name}"
    part.file(choice, b"#!/bin/sh\n", mode=0o755, use=0.5)
    files, links = len(part.files), len(part.links)
    part.link(f"/etc/alternatives/{name}", choice)
    part.link(link, f"/etc/alternatives/{name}", use=0.5)
    part.file(f"/var/lib/dpkg/alternatives/{name}", f"auto\n{link}\n\n{choice}\n50\n\n".encode())
    del part.files[files:], part.links[links:]  # no package lists what update-alternatives made


def _registered(part: Part, name: str, *, needs: str = "", section: str = "misc", essential: bool = False) -> None:
    """Enter what was written so far into dpkg's data base as a package of its own."""
    old = part.rng.random() < 0.3  # built before /usr was merged: it lists /lib
    paths = [path for path, _, _ in part.files] + part.links
    paths = [path[4:] if old and path.startswith(_ARCH) else path for path in paths]
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/" and at}
    lines = ["/.", *sorted({*folders, *paths})]
    sums = [f"{md5(data, size)}  {path[1:]}" for path, data, size in part.files if not path.startswith("/etc/")]
    part.files, part.links = [], []
    info = f"/var/lib/dpkg/info/{name}"
    part.file(info + ".list", "".join(f"{line}\n" for line in lines).encode())
    part.file(info + ".md5sums", "".join(f"{line}\n" for line in sums).encode())
    part.files = []
    fields = [f"Package: {name}"]
    fields += ["Essential: yes"] if essential else []
    fields += ["Status: install ok installed", f"Priority: {'required' if essential else 'optional'}"]
    fields += [f"Section: {section}", "Installed-Size: 100", "Maintainer: Nobody <nobody@example.org>"]
    fields += ["Architecture: amd64", f"Version: 1.{part.number % 9}-2"]
    fields += [f"Depends: {needs}"] if needs else []
    fields += [f"Description: the package {name}", " It is there to be measured, and does nothing.", " .", " Really."]
    part.status.append("\n".join((*fields, "", "")).encode())


# Python distributions


def python(part: Part) -> None:
    """A distribution in a virtual environment, as pip leaves it; one in four was not compiled when it was installed."""
    environment, within = divmod(part.number, _ENVIRONMENT)
    prefix = f"/opt/venv{environment}"
    site, name = f"{prefix}/lib/python{_PY}/site-packages", _python_name(part.number)
    if not within:
        part.file(f"{prefix}/pyvenv.cfg", f"home = /usr/bin\nversion = {_PY}.2\n".encode(), use=1.0)
        part.link(f"{prefix}/bin/python", "/usr/bin/python3")
        part.link(f"{prefix}/lib64", "lib")
        part.files, part.links = [], []
    requires = [_python_name(each) for each in part.others(environment * _ENVIRONMENT, 4)]
    info = f"{site}/{name}-1.{part.number % 9}.dist-info"
    if part.number % 3 == 0:
        part.file(f"{prefix}/bin/{name}", f"#!{prefix}/bin/python\nimport {name}\n".encode(), mode=0o755, use=0.3)
        part.file(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n".encode())
    compiled: list[str] = []
    _module(part, f"{site}/{name}", "__init__", compiled)
    at = 0
    while part.left > 5:
        _python_file(part, f"{site}/{name}", at, compiled)
        at += 1
    _dist_info(part, info, site, name, requires, compiled)


def _python_name(number: int) -> str:
    return f"py_{_WORDS[number % len(_WORDS)]}{number}"


def _python_file(part: Part, top: str, at: int, compiled: list[str]) -> None:
    what, group = part.rng.random(), at // 40
    folder = f"{top}/part{group}" if group else top
    if what < 0.66:
        _module(part, folder, f"module{at}", compiled)
    elif what < 0.76:
        part.file(f"{folder}/tests/test_{at}.py", b"def test(): pass\n")
    elif what < 0.82:
        part.file(f"{folder}/stub{at}.pyi", b"def f() -> None: ...\n")
    elif what < 0.86:
        part.file(f"{top}/include/header{at}.hpp", b"#pragma once\n")
    elif what < 0.89:
        data = elf(needed=("libc.so.6", "libm.so.6"), runpath="$ORIGIN")
        part.file(f"{folder}/_native{at}.cpython-311-x86_64-linux-gnu.so", data, mode=0o755, use=0.7, large=True)
    elif what < 0.91:
        part.link(f"{folder}/alias{at}.json", f"data{at}.json")
    else:
        part.file(f"{top}/data/data{at}.json", b"{}\n", use=0.2, large=at % 3 == 0)


def _module(part: Part, folder: str, name: str, compiled: list[str]) -> None:
    before = len(part.accesses)
    part.file(f"{folder}/{name}.py", f'"""{name}."""\n'.encode(), use=0.5)
    opened, late = len(part.accesses) > before, part.number % 4 == 0
    if part.left > 5 and (opened or not late):
        path = f"{folder}/__pycache__/{name}.cpython-311.pyc"
        part.file(path, b"\xa7\r\r\n" + bytes(12) + b"\xe3" + name.encode())
        compiled.append(path)
        if late:
            part.created.append(path)
        if opened:
            part.accesses.append((path, OPENED | LOOKED_UP, True))


def _dist_info(part: Part, info: str, site: str, name: str, requires: list[str], compiled: list[str]) -> None:
    wanted = "".join(f"Requires-Dist: {each.replace('_', '-')} (>=1.0)\n" for each in requires)
    wanted += 'Requires-Dist: pytest ; extra == "test"\nRequires-Dist: colorama ; sys_platform == "win32"\n'
    head = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.{part.number % 9}\n"
    part.file(f"{info}/METADATA", (head + wanted + "\nA text.\n").encode(), use=0.5)
    part.file(f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    part.file(f"{info}/INSTALLER", b"pip\n")
    part.file(f"{info}/top_level.txt", f"{name}\n".encode())
    without, created = frozenset(compiled), frozenset(part.created)
    rows = []
    for path, data, size in part.files:
        if path not in created:
            listed = os.path.relpath(path, site) if not path.startswith(site) else path[len(site) + 1 :]
            rows.append(f"{listed},," if path in without else f"{listed},sha256={sha256(data, size)},{size}")
    rows += [f"{path[len(site) + 1 :]},," for path in part.links]
    rows.append(f"{info[len(site) + 1 :]}/RECORD,,")
    part.file(f"{info}/RECORD", "".join(f"{row}\n" for row in rows).encode())


# R packages


def r(part: Part) -> None:
    """An R package in the site's library, as R CMD INSTALL leaves it."""
    others = [_r_name(each) for each in part.others(max(0, part.number - 60), 4)]
    _r_package(part, _R_LIBRARY, _r_name(part.number), f"Imports: {', '.join(('utils', *others))}\n")


def _r_name(number: int) -> str:
    return f"{_WORDS[number % len(_WORDS)]}.{'x' * (number % 2)}{number}"


def _r_package(part: Part, library: str, name: str, fields: str) -> None:
    top = f"{library}/{name}"
    head = f"Package: {name}\nVersion: 1.0.{part.number % 9}\nTitle: A Package\nDepends: R (>= 4.0)\n"
    built = "Built: R 4.2.2; ; 2023-05-01 00:00:00 UTC; unix\n"
    part.file(f"{top}/DESCRIPTION", (head + fields + built).encode(), use=0.9)
    for path, use in (("NAMESPACE", 0.5), ("INDEX", 0.0), ("Meta/hsearch.rds", 0.0), ("Meta/links.rds", 0.0)):
        part.file(f"{top}/{path}", b"export(f)\n", use=use)
    for path, use in (("Meta/package.rds", 1.0), ("Meta/nsInfo.rds", 0.9)):
        part.file(f"{top}/{path}", b"\x1f\x8b\x08\0", use=use)
    for path in (f"R/{name}", f"R/{name}.rdb", f"R/{name}.rdx"):
        part.file(f"{top}/{path}", b"x\n", use=0.8, large=path.endswith("db"))
    for path in ("help/AnIndex", f"help/{name}.rdb", f"help/{name}.rdx", "html/00Index.html"):
        part.file(f"{top}/{path}", b"y\n")
    if part.number % 2:
        data = elf(needed=("libc.so.6", "libm.so.6"))
        part.file(f"{top}/libs/{name}.so", data, mode=0o755, use=0.8, large=True)
    at = 0
    while part.left > 0:
        folder = ("include/part", "doc/part", "tests/part", "extdata/part")[at // 6 % 4]
        part.file(f"{top}/{folder}{at // 24}/file{at}.{'h' if folder[0] == 'i' else 'R'}", b"z\n", use=0.05)
        at += 1


# npm packages


def _npm_location(number: int) -> str:
    """The place in its application, as the lock file writes it. One in nine lies inside another."""
    name = f"{'@scope/' if number % 6 == 5 else ''}{_WORDS[number % len(_WORDS)]}-{number}"
    outer = _npm_location(number - 1) + "/" if number % 9 == 8 and number % _APPLICATION else ""
    return f"{outer}node_modules/{name}"


def npm(part: Part) -> None:
    """A package in an application's node_modules, as npm leaves it; the first of each writes the hidden lock file."""
    application, within = divmod(part.number, _APPLICATION)
    first, place = application * _APPLICATION, f"/srv/app{application}"
    if not within:
        numbers = range(first, min(first + _APPLICATION, part.total))
        packages = {_npm_location(each): {"version": f"1.{each % 9}.0", "license": "MIT"} for each in numbers}
        lock = {"name": "app", "lockfileVersion": 3, "requires": True, "packages": packages}
        part.file(f"{place}/node_modules/.package-lock.json", json.dumps(lock, indent=2).encode())
    location = _npm_location(part.number)
    top, name = f"{place}/{location}", location.rpartition("node_modules/")[2]
    wanted = {
        _npm_location(each).rpartition("node_modules/")[2]: "^1.0.0" for each in part.others(first, 4) if each % 9 != 8
    }
    manifest = {"name": name, "version": f"1.{part.number % 9}.0", "main": "index.js", "dependencies": wanted}
    part.file(f"{top}/package.json", json.dumps(manifest, indent=2).encode(), use=0.9)
    part.file(f"{top}/index.js", b"module.exports = {};\n", use=0.9)
    if part.number % 5 == 0:
        part.file(f"{top}/cli.js", b"#!/usr/bin/env node\n", mode=0o755, use=0.3)
        part.link(f"{place}/node_modules/.bin/{name.rpartition('/')[2]}", f"../{location[13:]}/cli.js")
    part.file(f"{top}/README.md", b"# Read me\n")
    part.file(f"{top}/LICENSE", b"MIT\n")
    at = 0
    while part.left > 0:
        ending = ("js", "js", "d.ts", "js.map", "js", "test.js")[at % 6]
        part.file(f"{top}/lib/file{at}.{ending}", b"//\n", use=0.5 if ending == "js" else 0, large=at == 3)
        at += 1


# What nobody owns


def unowned(part: Part) -> None:
    """A folder of somebody's work, of data, of a program unpacked by hand, or of logs and downloads."""
    number = part.number
    top = (f"/home/user/work{number}", f"/data/set{number}", f"/opt/tool{number}", f"/var/cache/apt/archives{number}")
    folder = top[number % 4]
    if number % 4 == 2:
        part.file(f"{folder}/bin/run", b"#!/bin/sh\n", mode=0o755, use=0.5)
        part.twin(f"{folder}/bin/run-too")
    at = 0
    while part.left > 0:
        if at % 20 == 19:
            part.link(f"{folder}/part{at // 25}/alias{at}", f"file{at - 1}.txt")
        elif at % 50 == 30:
            part.file(f"{folder}/part{at // 25}/first{at}", b"twice\n")
            if part.left:
                part.twin(f"{folder}/part{at // 25}/second{at}")
        else:
            part.file(f"{folder}/part{at // 25}/file{at}.txt", b"%d\n" % at, use=0.3, large=at % 10 == 5)
        at += 1
