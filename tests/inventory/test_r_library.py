"""R packages: what the reader finds is what R itself lists, and damaged records are problems and never a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import link, write

from slimagent.inventory import r_library
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found

SITE, LOCAL, OWN = "/usr/lib/R/site-library", "/usr/local/lib/R/site-library", "/usr/lib/R/library"


def image_of(root: Path) -> Image:
    return Image(scan(os.fsencode(root)))


def find(root: Path) -> dict[tuple[bytes, str], Found]:
    """What is found without a problem, by place and name."""
    image = image_of(root)
    found = r_library.find(image)
    assert image.problems == []
    return {(each.package.place, each.package.name): each for each in found}


def paths(root: Path, entries: list[int]) -> list[str]:
    inventory = scan(os.fsencode(root))
    return [os.fsdecode(inventory.paths[at]) for at in entries]


def package(root: Path, library: str, name: str, extra: str = "", version: str = "1.0") -> Path:
    """A package's directory as R leaves it, without R: DESCRIPTION, Meta and code."""
    write(root, f"{library}/{name}/Meta/package.rds")
    write(root, f"{library}/{name}/R/{name}.rdb")
    text = f"Package: {name}\nVersion: {version}\n{extra}Built: R 4.2.2; ; 2024-01-01 00:00:00 UTC; unix\n"
    return write(root, f"{library}/{name}/DESCRIPTION", text)


def requires(found: dict[tuple[bytes, str], Found], place: str, name: str) -> list[tuple[str, str]]:
    """The places and names of what a package requires, sorted."""
    each = list(found.values())
    return sorted(
        (os.fsdecode(each[at].package.place), each[at].package.name)
        for at, _ in found[os.fsencode(place), name].requires
    )


@pytest.fixture(scope="module")
def rscript() -> str:
    found = shutil.which("Rscript")
    if found is None or shutil.which("R") is None:
        reason = "no R: install r-base-core"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def ask(rscript: str, code: str) -> list[list[str]]:
    """What a line of R prints, as rows of words that tabs part."""
    done = subprocess.run([rscript, "--vanilla", "-e", code], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


LISTING = (
    "i <- installed.packages(lib.loc = {libraries}); "
    "cat(paste(i[, 'LibPath'], i[, 'Package'], i[, 'Version'], sep = '\\t'), sep = '\\n')"
)


def install(root: Path, library: str, source: Path, name: str, extra: str = "") -> None:
    """Build a source package and let `R CMD INSTALL` put it into a library of the image."""
    text = (
        f"Package: {name}\nVersion: 0.1.2\nTitle: T\nDescription: D.\nAuthor: A\nMaintainer: A <a@b.c>\nLicense: GPL\n"
    )
    write(source, f"/{name}/DESCRIPTION", text + extra)
    write(source, f"/{name}/NAMESPACE", "export(f)\n")
    write(source, f"/{name}/R/f.R", "f <- function() 1\n")
    write(source, f"/{name}/inst/extdata/numbers.csv", "1,2\n")
    write(source, f"/{name}/man/f.Rd", "\\name{f}\\title{F}\\description{D.}\\usage{f()}\n")
    (root / library[1:]).mkdir(parents=True, exist_ok=True)
    libraries = ":".join(str(root / each[1:]) for each in (LOCAL, SITE))
    subprocess.run(
        ["R", "CMD", "INSTALL", "--no-test-load", f"--library={root / library[1:]}", str(source / name)],
        env={**os.environ, "R_LIBS": libraries},
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def installed(rscript: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three packages that R installed into two libraries, and the real package `stats` of R's own."""
    root, source = tmp_path_factory.mktemp("image"), tmp_path_factory.mktemp("source")
    install(root, SITE, source, "low")
    install(root, LOCAL, source, "high", "Depends: R (>= 3.0), stats\nImports: low (>= 0.1),\n  stats\n")
    install(root, LOCAL, source, "low")
    install(root, SITE, source, "mid", "Imports:\n    low\nSuggests: nowhere\nEncoding: latin1\nNote: caf\u00e9\n")
    (real,) = ask(rscript, "cat(file.path(R.home('library'), 'stats'))")
    for each in ("DESCRIPTION", "Meta/package.rds"):
        write(root, f"{OWN}/stats/{each}", (Path(real[0]) / each).read_bytes())
    return root


def test_it_finds_what_installed_packages_lists(installed: Path, rscript: str) -> None:
    libraries = "c(" + ", ".join(f"'{installed / each[1:]}'" for each in (SITE, LOCAL, OWN)) + ")"
    listed = {tuple(row) for row in ask(rscript, LISTING.format(libraries=libraries))}
    assert len(listed) == 5
    found = find(installed)
    assert {
        (f"{installed}{os.fsdecode(place)}", name, e.package.version) for (place, name), e in found.items()
    } == listed


def test_everything_below_the_directory_is_the_packages_and_meta_is_who_it_is(installed: Path) -> None:
    each = find(installed)[os.fsencode(SITE), "low"]
    directory = installed / SITE[1:] / "low"
    here = {f"{SITE}/low", *(f"{SITE}/low/{os.path.relpath(path, directory)}" for path in directory.rglob("*"))}
    assert set(paths(installed, each.files)) == here
    assert len(each.files) == len(here)
    identity = set(paths(installed, each.identity))
    meta = {path for path in here if path.startswith(f"{SITE}/low/Meta")}
    assert len(meta) > 3
    assert identity == {f"{SITE}/low", f"{SITE}/low/DESCRIPTION"} | meta


def test_requirements_are_looked_up_at_home_first(installed: Path) -> None:
    found = find(installed)
    assert requires(found, LOCAL, "high") == [(OWN, "stats"), (LOCAL, "low")]
    assert requires(found, SITE, "mid") == [(SITE, "low")]
    assert found[os.fsencode(LOCAL), "high"].requires[0][1] == "Depends: stats"
    assert found[os.fsencode(LOCAL), "high"].missing == []
    assert found[os.fsencode(OWN), "stats"].package.essential
    assert found[os.fsencode(OWN), "stats"].missing == ["Imports: utils", "Imports: grDevices", "Imports: graphics"]
    assert not found[os.fsencode(SITE), "mid"].package.essential


def test_it_finds_what_r_lists_of_this_machine(rscript: str) -> None:
    listed = {tuple(row) for row in ask(rscript, LISTING.format(libraries="NULL"))}
    places = {os.fsencode(os.path.realpath(place)) for place, _, _ in listed}
    image = Image(scan(b"/", tuple(sorted(places))))
    found = {
        (each.package.place, each.package.name, each.package.version)
        for each in r_library.find(image)
        if each.package.name != "translations"  # has no Meta: R does not count it
    }
    assert found == {(os.fsencode(os.path.realpath(place)), name, version) for place, name, version in listed}


def test_a_source_package_is_not_installed(tmp_path: Path) -> None:
    write(tmp_path, "/src/foo/DESCRIPTION", "Package: foo\nVersion: 1.0\n")
    write(tmp_path, "/usr/share/doc/DESCRIPTION", b"\xff\xfe anything")
    assert find(tmp_path) == {}


def test_translations_of_r_itself_need_no_built(tmp_path: Path) -> None:
    package(tmp_path, OWN, "base", "Priority: base\n")
    write(tmp_path, f"{OWN}/translations/DESCRIPTION", "Package: translations\nVersion: 4.2.2\n")
    write(tmp_path, "/elsewhere/translations/DESCRIPTION", "Package: translations\nVersion: 4.2.2\n")
    assert list(find(tmp_path)) == [(os.fsencode(OWN), "base"), (os.fsencode(OWN), "translations")]


def test_a_library_inside_a_package_is_its_content(tmp_path: Path) -> None:
    package(tmp_path, SITE, "outer")
    package(tmp_path, f"{SITE}/outer/tests/library", "inner")
    package(tmp_path, SITE, "outer2")
    found = find(tmp_path)
    assert [name for _, name in found] == ["outer", "outer2"]
    assert f"{SITE}/outer/tests/library/inner/DESCRIPTION" in paths(tmp_path, found[os.fsencode(SITE), "outer"].files)


def test_what_it_is_compiled_against_is_required_but_never_missing(tmp_path: Path) -> None:
    package(tmp_path, SITE, "headers")
    package(tmp_path, SITE, "user", "LinkingTo: headers, elsewhere\nImports: headers (>= 2), gone (>= 1.0)\n")
    found = find(tmp_path)
    assert found[os.fsencode(SITE), "user"].requires == [(0, "Imports: headers (>= 2)")]
    assert found[os.fsencode(SITE), "user"].missing == ["Imports: gone (>= 1.0)"]
    package(tmp_path, SITE, "user", "LinkingTo: headers\n")
    assert find(tmp_path)[os.fsencode(SITE), "user"].requires == [(0, "LinkingTo: headers")]


def test_other_libraries_in_a_fixed_order(tmp_path: Path) -> None:
    package(tmp_path, "/opt/conda/lib/R/library", "dep")
    package(tmp_path, OWN, "dep", "Priority: base\n")
    package(tmp_path, SITE, "dep")
    package(tmp_path, LOCAL, "user", "Imports: dep\n")
    package(tmp_path, "/opt/conda/lib/R/site-library", "user", "Imports: dep\n")
    package(tmp_path, "/root/R/library", "user", "Imports: dep\n")
    package(tmp_path, "/root/R/library", "again", "Imports: user\n")
    found = find(tmp_path)
    assert requires(found, LOCAL, "user") == [(SITE, "dep")]
    assert requires(found, "/opt/conda/lib/R/site-library", "user") == [("/opt/conda/lib/R/library", "dep")]
    assert requires(found, "/root/R/library", "user") == [("/opt/conda/lib/R/library", "dep")]
    assert requires(found, "/root/R/library", "again") == [("/root/R/library", "user")]


def test_packages_that_a_project_links_to_from_a_cache(tmp_path: Path) -> None:
    """renv keeps each version of a package in a directory of its own, and each project's library is made of links."""
    cache, project = "/root/.cache/R/renv/cache/v5/R-4.2/x86_64", "/srv/app/renv/library/R-4.2"
    for version in ("1", "2", "3"):
        package(tmp_path, f"{cache}/dep/{version}/hash", "dep", version=version)
    package(tmp_path, f"{cache}/user/1/hash", "user", "Imports: dep\n")
    link(tmp_path, f"{project}/dep", f"{cache}/dep/2/hash/dep")
    link(tmp_path, f"{project}/user", f"{cache}/user/1/hash/user")
    link(tmp_path, f"{project}/dep2", f"{cache}/dep/3/hash/dep")
    link(tmp_path, "/srv/loop/dep", "/srv/loop/dep")
    link(tmp_path, "/srv/out/dep", "../../../../../../nowhere/dep")
    found = find(tmp_path)
    assert requires(found, f"{cache}/user/1/hash", "user") == [(f"{cache}/dep/2/hash", "dep")]
    user = found[os.fsencode(f"{cache}/user/1/hash"), "user"]
    assert f"{project}/user" in paths(tmp_path, user.files)
    assert f"{project}/user" in paths(tmp_path, user.identity)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Package: foo\nVersion: 1.0\nTitle: cut sho", "the field Built of an installed R package is missing"),
        ("", "the field Built of an installed R package is missing"),
        ("Package: bar\nVersion: 1.0\nBuilt: R 4\n", "the field Package is not the name of its directory"),
        ("Version: 1.0\nBuilt: R 4\n", "the field Package is not the name of its directory"),
        ("Package: foo\nVersion: one\nBuilt: R 4\n", "the field Version is missing or not a version"),
        ("Package: foo\nBuilt: R 4\n", "the field Version is missing or not a version"),
    ],
)
def test_a_damaged_description_is_a_problem(tmp_path: Path, text: str, why: str) -> None:
    package(tmp_path, SITE, "fine")
    package(tmp_path, SITE, "foo").write_text(text)
    image = image_of(tmp_path)
    assert [each.package.name for each in r_library.find(image)] == ["fine"]
    assert image.problems == [(os.fsencode(f"{SITE}/foo/DESCRIPTION"), why)]


def test_a_huge_description_is_not_read(tmp_path: Path) -> None:
    with package(tmp_path, SITE, "foo").open("r+b") as file:
        file.truncate(1 << 32)
    image = image_of(tmp_path)
    assert r_library.find(image) == []
    assert len(image.problems) == 1


def test_windows_line_ends_latin1_and_requirements_of_any_shape(tmp_path: Path) -> None:
    package(tmp_path, SITE, "dep")
    path = package(tmp_path, SITE, "foo")
    path.write_bytes(
        b"\r\nPackage: foo\r\nVersion: 1.0-2\r\nAuthor: Jos\xe9\r\n"
        b"Imports: , dep\r\n\t(>= 1.0) ,what ever,,\r\nBuilt: R 4\r\n\r\nPackage: other\r\n"
    )
    found = find(tmp_path)[os.fsencode(SITE), "foo"]
    assert found.requires == [(0, "Imports: dep (>= 1.0)")]
    assert found.missing == ["Imports: what ever"]
    assert found.package.version == "1.0-2"


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
def test_any_bytes_are_read_without_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int) -> None:
    root = tmp_path_factory.mktemp("any")
    path = package(root, SITE, "foo", "Imports: bar,\n baz (>= 1)\nDepends: R, foo\n")
    path.write_bytes(path.read_bytes()[:cut] + data)
    image = image_of(root)
    found = r_library.find(image)
    assert len(found) + len(image.problems) == 1
    for each in found:
        assert set(each.identity) <= set(each.files)
    shutil.rmtree(root)
