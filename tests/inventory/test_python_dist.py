"""Python distributions: what pip and uv installed is owned as their records say, and what they did not is not."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from python_images import (
    Read,
    command,
    give_setuptools,
    pip_install,
    site_of,
    tree,
    uv,
    virtual_environment,
    wheel,
)

from slimagent.inventory import python_metadata as meta
from slimagent.inventory.python_requires import machine_name
from slimagent.paths.algebra import within

SITE = "opt/venv/lib/python3.11/site-packages"


def wheels_with_markers(directory: Path) -> list[Path]:
    """Distributions whose requirements hold here, elsewhere, or for an extra."""
    return [
        wheel(
            directory,
            "marked",
            {"marked.py": ""},
            requires=[
                'leaf; python_version >= "3"',
                'tool; python_version < "3"',
                'absent-on-windows; sys_platform == "win32"',
                "gone>=2",
                'gone-too; implementation_name == "cpython" and os_name == "posix"',
                'plain_thing; extra == "full"',
            ],
            extras=["full"],
        ),
        wheel(directory, "asks", {"asks.py": ""}, requires=["offers[more]"]),
        wheel(
            directory,
            "offers",
            {"offers.py": ""},
            requires=[
                'leaf; extra == "less"',
                'offers[less]; extra == "more"',
                'other; extra == "more" and python_version > "3"',
                'nowhere; extra == "more"',
                "space-one",
            ],
            extras=["less", "more"],
        ),
    ]


def wheels(directory: Path) -> list[Path]:
    """A handful of distributions with one difficulty each."""
    return [
        *wheels_with_markers(directory),
        wheel(directory, "Plain.Thing", {"plain/__init__.py": "", "plain/deep/data.txt": "x"}, requires=["leaf>=1"]),
        wheel(directory, "leaf", {"leaf.py": ""}, "1.5"),
        wheel(directory, "space-one", {"space/one/__init__.py": ""}),
        wheel(directory, "space-two", {"space/two/__init__.py": "", "space_two.pth": "import sys\n"}),
        wheel(directory, "tool", {"tool/__init__.py": "def main(): pass\n"}, scripts=["tool-it", "tool-gui"]),
        wheel(
            directory,
            "spread",
            {
                "spread/__init__.py": "",
                'spread/"odd", name.txt': "",
                "spread-1.0.data/scripts/spread.sh": "#!/bin/sh\n",
                "spread-1.0.data/data/share/spread/only/here.txt": "",
                "spread-1.0.data/data/etc/jupyter/spread.json": "{}",
                "spread-1.0.data/headers/spread.h": "",
                "spread-1.0.dist-info/licenses/LICENSE": "",
            },
        ),
        wheel(directory, "other", {"other.py": "", "other-1.0.data/data/etc/jupyter/other.json": "{}"}),
    ]


@pytest.fixture(scope="module")
def pip_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("pip")
    python = virtual_environment(base / "env")
    pip_install(python, *wheels(base / "wheels"))
    return base / "env"


@pytest.fixture(scope="module")
def uv_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("uv")
    env = base / "env"
    command(uv(), "venv", "--quiet", "--offline", "--python", sys.executable, env)
    command(uv(), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", env, *wheels(base / "wheels"))
    return env


@pytest.fixture(scope="module", params=["pip", "uv"])
def environment(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(f"{request.param}_environment"))


def shown(environment: Path, paths: set[str]) -> set[str]:
    """Paths as seen from the environment, the site directory as `@`."""
    site = os.fspath(site_of(environment).relative_to(environment))
    return {os.path.relpath(path, environment).replace(site, "@") for path in paths}


def expected_files(distribution: importlib.metadata.Distribution) -> set[str]:
    places = (os.path.normpath(str(distribution.locate_file(each))) for each in distribution.files or ())
    return {each for each in places if os.path.lexists(each)}


def test_files_are_those_that_the_library_lists(environment: Path) -> None:
    """Of every distribution, the files are what importlib.metadata says and is there; the rest are directories."""
    read = Read("/", environment)
    site = os.fspath(site_of(environment))
    known = {canonicalize_name(each.metadata["Name"]): each for each in importlib.metadata.distributions(path=[site])}
    assert {each.package.name for each in read.found} == known.keys()
    for name, distribution in known.items():
        assert {path for path in read.paths(name) if not os.path.isdir(path)} == expected_files(distribution)
        assert read.one(name).package.version == distribution.version
        assert read.one(name).package.place == os.fsencode(site)
    assert read.problems == []


def test_a_directory_with_files_of_one_alone_is_its_own(environment: Path) -> None:
    """A package's directory is its own, a namespace's is nobody's, and one outside only if nothing else is in it."""
    read = Read("/", environment)
    plain = shown(environment, read.paths("plain-thing"))
    assert {"@/plain", "@/plain/deep"} <= plain
    one, two = shown(environment, read.paths("space-one")), shown(environment, read.paths("space-two"))
    assert "@/space/one" in one and "@/space/two" in two and "@/space_two.pth" in two
    assert "@/space" not in one | two
    spread = shown(environment, read.paths("spread"))
    assert {"share/spread/only", "share/spread", "bin/spread.sh", '@/spread/"odd", name.txt'} <= spread
    assert not {"etc", "etc/jupyter", "bin", "lib", "@"} & spread
    assert "etc/jupyter/spread.json" in spread and "etc/jupyter/other.json" in shown(environment, read.paths("other"))
    assert any(path.endswith("spread.h") for path in spread)
    assert {"bin/tool-it", "bin/tool-gui"} <= shown(environment, read.paths("tool"))


def test_identity_is_the_record_of_an_installation(environment: Path) -> None:
    """The dist-info with everything in it; a .pth is not part of it."""
    read = Read("/", environment)
    for each in read.found:
        identity = shown(environment, read.identity(each.package.name))
        (info,) = (path for path in identity if path.endswith(".dist-info"))
        assert all(path == info or path.startswith(info + "/") for path in identity)
        assert info + "/METADATA" in identity
    assert "@/spread-1.0.dist-info/licenses/LICENSE" in shown(environment, read.identity("spread"))


def test_requirements_hold_for_the_interpreter(environment: Path) -> None:
    """Markers are evaluated, extras that nobody asks for are left out, those asked for are followed."""
    read = Read("/", environment)
    assert read.requires("plain-thing") == {"leaf": "leaf>=1"}
    assert set(read.requires("marked")) == {"leaf"}
    assert [text.partition(";")[0].strip() for text in read.one("marked").missing] == ["gone>=2", "gone-too"]
    assert set(read.requires("asks")) == {"offers", "leaf", "other"}
    assert [text.partition(";")[0].strip() for text in read.one("asks").missing] == ["nowhere"]
    assert set(read.requires("offers")) == {"space-one"}
    assert read.one("offers").missing == []


def test_what_is_missing_is_what_pip_check_misses(pip_environment: Path) -> None:
    """`pip check` names the same gaps, apart from those of extras, at which it does not look."""
    python = pip_environment / "bin" / "python"
    said = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, check=False).stdout
    expected = {
        (canonicalize_name(who), canonicalize_name(what))
        for who, what in re.findall(r"^(\S+) \S+ requires (\S+), which is not installed", said, re.MULTILINE)
    }
    read = Read("/", pip_environment)
    missing = {
        (each.package.name, canonicalize_name(re.split(r"[^A-Za-z0-9._-]", text)[0]))
        for each in read.found
        for text in each.missing
    }
    assert expected and missing - {("asks", "nowhere")} == expected


SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Projects installed in place: with a static .pth, with a finder, with an .egg-link, one inside another."""
    base = tmp_path_factory.mktemp("sources")
    project = '[project]\nname = "{0}"\nversion = "2"\n[project.scripts]\n{0}-run = "{0}:main"\n'
    kinds = {
        "static": {"src/static/__init__.py": "", "src/static/deep/data.txt": "", ".git/HEAD": "", "README": ""},
        "found": {"odd/found.py": "", "pyproject.toml": "", "node_modules/x/package.json": "{}"},
        "legacy": {"lib/legacy/__init__.py": "", "notes.txt": ""},
        "static/inner": {"inner/__init__.py": ""},
    }
    for path, files in kinds.items():
        name = Path(path).name
        more = '[tool.setuptools]\npy-modules = ["found"]\npackage-dir = {"" = "odd"}\n' if name == "found" else ""
        more = more or ('[tool.setuptools.package-dir]\n"" = "lib"\n' if name == "legacy" else "")
        more = more or ('[tool.setuptools]\npackages = ["inner"]\n' if name == "inner" else "")
        tree(base / path, {**files, "pyproject.toml": SETUPTOOLS + project.format(name) + more})
    tree(base / "legacy", {"setup.py": "from setuptools import setup\nsetup()\n"})
    python = virtual_environment(base / "static" / "env")
    give_setuptools(base / "static" / "env")
    pip_install(python, "-e", base / "static")
    pip_install(python, "-e", base / "found", "--config-settings", "editable_mode=lenient")
    pip_install(python, "-e", base / "static" / "inner")
    subprocess.run(
        [python, "setup.py", "--quiet", "develop", "--no-deps"], cwd=base / "legacy", check=True, capture_output=True
    )
    return base


def relative(base: Path, paths: set[str]) -> set[str]:
    return {os.path.relpath(path, base) for path in paths}


def test_an_editable_distribution_owns_its_source(sources: Path) -> None:
    """All of the project that direct_url.json names, less version control, environments and projects in it."""
    read = Read("/", sources)
    static = relative(sources, read.paths("static"))
    assert {"static/README", "static/src/static/deep/data.txt", "static/src", "static/pyproject.toml"} <= static
    assert "static/env/bin/static-run" in static
    assert not any(path.startswith(("static/.git", "static/inner", "static/env/pyvenv")) for path in static)
    assert "static/env" not in static
    inner = relative(sources, read.paths("inner"))
    assert {"static/inner", "static/inner/inner/__init__.py"} <= inner
    found = relative(sources, read.paths("found"))
    assert "found/odd/found.py" in found and not any("node_modules" in path for path in found)
    assert read.problems == []


def test_an_egg_link_leads_to_a_distribution(sources: Path) -> None:
    """`setup.py develop` leaves a link, a line in a shared .pth, a script, and the record in the source tree."""
    read = Read("/", sources)
    legacy, identity = relative(sources, read.paths("legacy")), relative(sources, read.identity("legacy"))
    site = os.fspath(site_of(sources / "static" / "env").relative_to(sources))
    assert read.one("legacy").package.version == "2"
    assert {"legacy/notes.txt", "legacy/lib/legacy/__init__.py", "static/env/bin/legacy-run"} <= legacy
    assert f"{site}/easy-install.pth" in legacy - identity
    assert {f"{site}/legacy.egg-link", "legacy/lib/legacy.egg-info/PKG-INFO"} <= identity


def test_uv_installs_in_place_too(tmp_path: Path) -> None:
    """The backend of uv writes a .pth into the site directory: its project is found."""
    text = '[project]\nname = "quick"\nversion = "1"\n[build-system]\nrequires = ["uv_build"]\n'
    tree(
        tmp_path / "quick",
        {"pyproject.toml": text + 'build-backend = "uv_build"\n', "src/quick/__init__.py": "", "docs/x.md": ""},
    )
    command(uv(), "venv", "--quiet", "--offline", "--python", sys.executable, tmp_path / "env")
    command(
        *(uv(), "pip", "install", "--quiet", "--offline", "--cache-dir", tmp_path / "cache"),
        *("--python", tmp_path / "env", "-e", tmp_path / "quick"),
    )
    read = Read("/", tmp_path)
    assert {"quick/src/quick/__init__.py", "quick/docs/x.md"} <= relative(tmp_path, read.paths("quick"))


def info(name: str, requires: str = "", version: str = "1", record: str | None = None) -> dict[str, str | bytes]:
    """A dist-info with what an installer writes."""
    lines = "".join(f"Requires-Dist: {each}\n" for each in requires.split("|") if each)
    files: dict[str, str | bytes] = {
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}\n"
    }
    if record is not None:
        files[f"{name}-{version}.dist-info/RECORD"] = record
    return files


EGGS: dict[str, str | bytes] = {
    "alone-1.0.egg-info/PKG-INFO": "Name: alone\nVersion: 1.0.post1\n\n",
    "alone-1.0.egg-info/top_level.txt": "alone\n_alone\n../../../../etc\nshared\n",
    "alone-1.0.egg-info/requires.txt": 'single\n\n[:python_version < "3"]\nold\n\n[more]\nextra\n',
    "alone-1.0.egg-info/entry_points.txt": "[console_scripts]\nalone = a:b\n../sh = x:y\n[x]\nsingle=a\n",
    "alone/__init__.py": "",
    "alone/deep/x.py": "",
    "alone/__pycache__/__init__.cpython-311.pyc": "",
    "_alone.cpython-311-x86_64-linux-gnu.so": "",
    "single-2.egg-info": "Metadata-Version: 1.1\nName: single\nVersion: 2\nRequires-Dist: alone\n",
    "first-1.egg-info/PKG-INFO": "Name: first\nVersion: 1\n\n",
    "first-1.egg-info/top_level.txt": "zone\n",
    "first-1.egg-info/SOURCES.txt": "setup.py\nsrc/zone/first/__init__.py\nsrc/zone/first/gone.py\n",
    "second-1.egg-info/PKG-INFO": "Name: second\nVersion: 1\n\n",
    "second-1.egg-info/top_level.txt": "zone\n",
    "second-1.egg-info/installed-files.txt": "../zone/second/__init__.py\nPKG-INFO\n",
    "third-1.egg-info/PKG-INFO": "Name: third\nVersion: 1\n\n",
    "third-1.egg-info/top_level.txt": "zone\n",
    "zone/first/__init__.py": "",
    "zone/second/__init__.py": "",
    "old-1.0-py3.9.egg/EGG-INFO/PKG-INFO": "Name: old\nVersion: 1.0\n\n",
    "old-1.0-py3.9.egg/old.py": "",
    **info("sharer", record="shared/x.py,,\n"),
    "shared/x.py": "",
}


def test_eggs_without_a_record(tmp_path: Path) -> None:
    """As Debian has them: the top-level modules, unless a record or another egg has files there; scripts beside."""
    site = tmp_path / "usr/lib/python3/dist-packages"
    tree(
        site,
        EGGS,
    )
    tree(tmp_path / "usr/bin", {"alone": "", "single": "", "sh": "", "python3.11": ""})
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    read = Read(tmp_path)
    at = "/usr/lib/python3/dist-packages/"
    alone = read.paths("alone") - read.identity("alone")
    directory = {at + each for each in ("alone", "alone/__init__.py", "alone/deep", "alone/deep/x.py")}
    assert alone == directory | {at + "_alone.cpython-311-x86_64-linux-gnu.so", "/usr/bin/alone"}
    assert read.one("alone").package.version == "1.0.post1"
    assert read.requires("alone") == {"single": "single"} and read.one("alone").missing == []
    assert read.paths("single") == {at + "single-2.egg-info"} == read.identity("single")
    assert read.requires("single") == {"alone": "alone"}
    assert read.paths("first") - read.identity("first") == {at + "zone/first", at + "zone/first/__init__.py"}
    assert read.paths("second") - read.identity("second") == {at + "zone/second", at + "zone/second/__init__.py"}
    assert read.paths("third") == read.identity("third")
    assert read.paths("old") == {
        at + "old-1.0-py3.9.egg" + each for each in ("", "/old.py", "/EGG-INFO", "/EGG-INFO/PKG-INFO")
    }
    assert read.problems == []


def test_environments_see_what_their_interpreter_sees(tmp_path: Path) -> None:
    """A virtual environment sees the system only if it says so; Debian's directories see each other; a user's both."""
    tree(tmp_path / "usr/lib/python3/dist-packages", info("base", "local"))
    tree(tmp_path / "usr/local/lib/python3.11/dist-packages", info("local", "base|mine"))
    tree(tmp_path / "usr/local/lib/python3.9/dist-packages", info("ancient", "local"))
    tree(tmp_path / "root/.local/lib/python3.11/site-packages", info("mine", "base|local"))
    tree(tmp_path / "usr/bin", {"python3.11": ""})
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    seeing = "home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.11.2\n"
    tree(tmp_path / "opt/seeing", {"pyvenv.cfg": seeing})
    tree(tmp_path / "opt/blind", {"pyvenv.cfg": seeing.replace("true", "false")})
    condition = 'early; python_full_version < "3.11.3"|late; python_full_version >= "3.11.3"'
    tree(tmp_path / "opt/seeing/lib/python3.11/site-packages", info("user-one", "base|mine|" + condition))
    tree(tmp_path / "opt/blind/lib/python3.11/site-packages", info("user-two", "base"))
    tree(tmp_path / "opt/blind/lib64/python3.11/site-packages", info("beside", "user-two"))
    read = Read(tmp_path)
    assert set(read.requires("base")) == {"local"} and set(read.requires("local")) == {"base"}
    assert read.one("local").missing == ["mine"] and read.one("ancient").missing == ["local"]
    assert set(read.requires("mine")) == {"base", "local"}
    assert set(read.requires("user-one")) == {"base"}
    assert [text.split(";")[0] for text in read.one("user-one").missing] == ["mine", "early"]
    assert read.one("user-two").missing == ["base"] and set(read.requires("beside")) == {"user-two"}


def test_a_marker_that_the_image_leaves_open_does_not_miss(tmp_path: Path) -> None:
    """Where the micro version is not told, a requirement counts if it is met, and is not called missing."""
    both = 'there; python_full_version < "3.11.3"|away; python_full_version >= "3.11.3"'
    tree(tmp_path / "usr/lib/python3.11/site-packages", {**info("open", both), **info("there")})
    read = Read(tmp_path)
    assert set(read.requires("open")) == {"there"} and read.one("open").missing == []


def test_the_cache_of_conda_is_no_environment(tmp_path: Path) -> None:
    """What lies unpacked in `pkgs` is not installed."""
    tree(tmp_path / "opt/conda/lib/python3.11/site-packages", info("real"))
    tree(tmp_path / "opt/conda/pkgs/real-1-0/site-packages", info("real"))
    tree(tmp_path / "opt/conda/pkgs/real-1-0/info", {"index.json": "{}"})
    assert len(Read(tmp_path).found) == 1


def test_a_record_claims_nothing_outside_of_its_environment(tmp_path: Path) -> None:
    """Not by `..`, not by an absolute path, not through a link; inside all three are fine."""
    rows = ["bad/__init__.py", "../../../bin/bad", "../../../../../etc/passwd", "/etc/shadow", "/opt/venv/share/x"]
    rows += ["out/passwd", "in/x", "../../../../../../../../../nowhere", "bad", "bad/../bad/y.py", "a\0b"]
    tree(tmp_path / SITE, {**info("bad", record="".join(f"{row},,\n" for row in rows)), "bad/__init__.py": ""})
    tree(tmp_path, {"etc/passwd": "", "etc/shadow": "", "opt/venv/bin/bad": "", "opt/venv/share/x": ""})
    tree(tmp_path / SITE, {"bad/y.py": ""})
    (tmp_path / SITE / "out").symlink_to("/etc")
    (tmp_path / SITE / "in").symlink_to("../../../share")
    read = Read(tmp_path)
    owned = read.paths("bad") - read.identity("bad")
    inside = {
        "bin/bad",
        "share/x",
        "share",
        *(f"lib/python3.11/site-packages/bad{each}" for each in ("", "/__init__.py", "/y.py")),
    }
    assert (
        {f"/opt/venv/{each}" for each in inside - {"share"}}
        <= owned
        <= {f"/opt/venv/{each}" for each in {*inside, "bin"}}
    )
    ((path, why),) = read.problems
    assert path.endswith(b"RECORD") and "/etc/passwd and 2 more, outside of /opt/venv" in why


@pytest.mark.parametrize("source", ["/", "/etc", "/home/me", "/opt", "/opt/venv", "relative", "/missing"])
def test_a_source_that_is_too_wide_is_nobodys(tmp_path: Path, source: str) -> None:
    """A directory that holds more than a project does not become a distribution's, whatever its record says."""
    direct = f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}'
    tree(tmp_path / SITE, {**info("wide", record="wide.pth,,\n"), "wide.pth": source + "\n"})
    tree(tmp_path / SITE / "wide-1.dist-info", {"direct_url.json": direct})
    tree(tmp_path, {"etc/passwd": "", "home/me/x": "", "opt/venv/pyvenv.cfg": "", "opt/other": ""})
    read = Read(tmp_path)
    assert read.paths("wide") - read.identity("wide") == {f"/{SITE}/wide.pth"}
    assert bool(read.problems) == (source not in ("relative", "/missing"))


def test_a_damaged_record_costs_only_itself(tmp_path: Path) -> None:
    """Each is a problem with its path, and the good one beside it is read."""
    metadata = b"Name: latin\nVersion: 1\nSummary: caf\xe9\nRequires-Dist: good\nRequires-Dist: b\xe9d\n\n"
    tree(
        tmp_path / SITE,
        {
            **info("good", record="good.py,,\n"),
            "good.py": "",
            "latin-1.dist-info/METADATA": metadata,
            **info("short", record="short/a.py,sha256=x,1\nshort/b.py"),
            "short/a.py": "",
            "short/b.py": "",
            **info("empty", record=""),
            "bare-3.1.dist-info/RECORD": "bare.py,,\n",
            "bare.py": "",
            "~ood-1.dist-info/METADATA": "Name: good\n",
            "-.dist-info/METADATA": "Name: !\n",
            "zipped-1-py3.9.egg": b"PK\x05\x06" + bytes(18),
            "lost.egg-link": "/no/such/directory\n.\n",
            **info("astray", record='"astray.py,,\n'),
            "loose-1.dist-info/direct_url.json": "[",
        },
    )
    read = Read(tmp_path)
    names = {each.package.name for each in read.found}
    assert names == {"good", "latin", "short", "empty", "bare", "astray", "loose"}
    assert set(read.requires("latin")) == {"good"}
    assert f"/{SITE}/short/a.py" in read.paths("short") and f"/{SITE}/short/b.py" not in read.paths("short")
    assert read.one("bare").package.version == "3.1" and f"/{SITE}/bare.py" in read.paths("bare")
    where = {os.fsdecode(path)[len(SITE) + 2 :].partition("/")[0] for path, _ in read.problems}
    damaged = {"latin-1", "short-1", "empty-1", "bare-3.1", "~ood-1", "-", "astray-1", "loose-1"}
    assert where == {f"{each}.dist-info" for each in damaged} | {"zipped-1-py3.9.egg", "lost.egg-link"}


HOSTILE = st.binary(max_size=60) | st.sampled_from(
    [
        b"Name: a\nRequires-Dist: " + b"(" * 5000 + b"\n\n",
        b'Name: a\nRequires-Dist: x; platform_release >= "5"\n\n',
        b"../" * 50 + b"etc/passwd,,\n",
        b'{"url": 1, "dir_info": {"editable": true}}',
        b'{"url": "file://[", "dir_info": {"editable": true}}',
        b'{"url": "file:///%00", "dir_info": {"editable": true}}',
        b"MAPPING = " + b"{" * 3000 + b"}\n",
        b"MAPPING: dict = {'a': '\\ud800', 1: b'', 'c': '/etc'}\n",
        b"/etc\n\0\nimport x\n",
        b"[",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOSTILE, min_size=9, max_size=9))
def test_no_bytes_break_the_reader(tmp_path: Path, data: list[bytes]) -> None:
    """Whatever the files hold: no exception, and nothing outside of the environment is claimed."""
    names = ("METADATA", "RECORD", "direct_url.json", "entry_points.txt", "top_level.txt")
    site = tmp_path / SITE
    tree(site / "a-1.dist-info", dict(zip(names, data, strict=False)))
    tree(site / "b-1.egg-info", {"PKG-INFO": data[5], "requires.txt": data[6], "top_level.txt": data[4]})
    tree(site, {"a.pth": data[7], "__editable__a_finder.py": data[8], "c.egg-link": data[0], "d.egg-info": data[1]})
    tree(site / "e-1.dist-info", {"METADATA": "Name: e\n\n", "RECORD": "a.pth,,\n__editable__a_finder.py,,\n"})
    tree(tmp_path, {"etc/passwd": "", "opt/venv/pyvenv.cfg": data[2]})
    read = Read(tmp_path)
    for each in read.found:
        assert all(within(read.image.inventory.paths[at], b"/opt/venv") for at in each.files)
        assert set(each.identity) <= set(each.files) and each.files == sorted(set(each.files))


ROWS = st.lists(st.text('ab/., "\n\r\u2028é', min_size=1, max_size=8), max_size=6)


@given(ROWS, st.data())
def test_a_record_cut_short_claims_no_more(rows: list[str], data: st.DataObject) -> None:
    """What is read of the beginning of a RECORD is the beginning of what is read of the whole, or says it is cut."""
    text = "".join('"' + row.replace('"', '""') + '",sha256=x,1\n' for row in rows).encode()
    whole, good = meta.recorded(text)
    assert good and whole == [row.encode() for row in rows]
    part, complete = meta.recorded(text[: data.draw(st.integers(0, len(text)))])
    assert part == whole[: len(part)]
    assert complete or len(part) <= len(whole)


def test_a_quote_that_a_cut_closes_ends_no_path() -> None:
    """Of `a,,""b` in quotes the cut may leave a quoted name with commas that looks whole."""
    assert meta.recorded(b'"x",sha256=y,1\n"a,,""') == ([b"x"], False)
    assert meta.recorded(b'"x",sha256=y,1\n"a,,","') == ([b"x"], False)


def test_metadata_ends_where_the_headers_end() -> None:
    """Folded values are joined, names count in any case, the body does not count, nor do Windows line ends."""
    text = b"NAME: A\nVersion:  2\nDescription: x\n        \n        Name: no\nRequires-Dist: b\n  (>1)\n\nName: c\n"
    assert meta.metadata(text) == meta.metadata(text.replace(b"\n", b"\r\n")) == ("A", "2", ("b (>1)",), ())


@pytest.mark.parametrize(("number", "name"), [(62, "x86_64"), (183, "aarch64"), (4242, "x86_64")])
def test_the_machine_is_that_of_a_program(number: int, name: str) -> None:
    """e_machine of elf(5) as platform.machine() has it."""
    assert machine_name(b"\x7fELF\2\1" + bytes(12) + number.to_bytes(2, "little")) == name
    assert machine_name(b"#!/bin/sh") == "x86_64"
