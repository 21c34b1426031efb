"""`slimagent bundle`: what it makes runs by itself, leaves no trace in what it starts, and is the same every time."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from python_images import lacking, record

import slimagent as package
from slimagent import documents
from slimagent.bundle.agent_directory import Named, is_mounted, remove, require_own
from slimagent.bundle.libraries import forget_search_paths, is_elf
from slimagent.bundle.workload import UNREACHED
from slimagent.errors import DocumentError, UnavailableError
from slimagent.image.agent import Bundle, bundle
from slimagent.model.agent import OUTSIDE_MODULES, OUTSIDE_ONLY

LARGEST = 60_000_000  # bytes
PACKAGE = Path(package.__file__).parent


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of this very checkout."""
    if os.confstr("CS_GNU_LIBC_VERSION") is None:
        lacking("no GNU C library here")
    directory = tmp_path_factory.mktemp("made") / "bundle"
    done = subprocess.run(
        [sys.executable, "-m", "slimagent", "bundle", str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return bundle(str(directory))


def start(made: Bundle, *arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it by its own loader, in an empty environment."""
    command = [*made.entry(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env or {}, check=False)


def tree(directory: str) -> dict[str, tuple[int, int, bytes]]:
    files = [path for path in Path(directory).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in files
    }


def test_it_is_small_and_its_record_is_true(made: Bundle) -> None:
    """At most 60 MB; the record's size is that of all files but the record."""
    sizes = [path.stat().st_size for path in Path(made.directory).rglob("*") if path.is_file()]
    if shutil.which("strip"):
        assert sum(sizes) <= LARGEST
    assert made.size == sum(sizes) - (Path(made.directory) / "bundle.json").stat().st_size
    assert made.slimagent == package.__version__
    assert made.architecture == os.uname().machine


def test_the_same_machine_makes_the_same_bytes(made: Bundle, tmp_path: Path) -> None:
    """Contents, modes and times are equal, bytecode too; and an earlier bundle is replaced."""
    again = tmp_path / "bundle"
    again.mkdir()
    (again / "bundle.json").write_text("{}")
    (again / "left over").write_text("")
    done = slimagent("bundle", again, "--quiet")
    assert done.returncode == 0, done.stderr
    first, second = tree(made.directory), tree(str(again))
    assert {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)} == set()
    assert os.listdir(tmp_path) == ["bundle"]


def test_its_record_lists_all_that_it_is_made_of(made: Bundle) -> None:
    """Also after it ran: files and directories, and nothing that is not there."""
    assert start(made, "profiles").returncode == 0
    listed = json.loads(Path(made.directory, "bundle.json").read_text())["contents"]
    there = {os.path.relpath(path, made.directory): path.is_dir() for path in Path(made.directory).rglob("*")}
    assert {path: kind == "directory" for path, kind in listed.items()} == there
    require_own(os.fsencode(made.directory), Named())


def test_a_record_without_a_list_is_one_of_an_older_bundle(made: Bundle, tmp_path: Path) -> None:
    """It can still be mounted: nothing is removed there."""
    values = json.loads(Path(made.directory, "bundle.json").read_text())
    del values["contents"]
    (tmp_path / "bundle.json").write_text(json.dumps(values))
    assert bundle(str(tmp_path)) == replace(made, directory=str(tmp_path))


def test_a_bundle_copied_over_a_directory_of_the_image_refuses(made: Bundle, tmp_path: Path) -> None:
    """What the image has in bin is not taken for the agent's."""
    copy = tmp_path.resolve() / "tool"
    (copy / "bin").mkdir(parents=True)
    (copy / "bin/mytool").write_text("the image's\n")
    shutil.copytree(made.directory, copy, dirs_exist_ok=True)
    if is_mounted(os.fsencode(copy)):
        lacking("this directory is on another mount than /")
    copied = replace(made, directory=str(copy))
    done = start(copied, "trace", "--scope", tmp_path, "-o", tmp_path / "trace.json", "--", "touch", tmp_path / "ran")
    assert_error(done, 3, "that is not the agent's", f"{copy}/bin/mytool")
    assert os.listdir(tmp_path) == ["tool"]
    (copy / "bin/mytool").unlink()
    done = start(copied, "trace", "--quiet", "--scope", tmp_path, "-o", tmp_path / "trace.json", "--", "true")
    assert done.returncode == 0, done.stderr
    remove(os.fsencode(copy), [])
    assert os.listdir(tmp_path) == ["trace.json"]


def test_it_has_the_schemas(made: Bundle) -> None:
    """As this checkout has them."""
    for path in (PACKAGE / "schemas").iterdir():
        assert start(made, "schema", path.stem).stdout == path.read_text()


@pytest.mark.parametrize("command", ["", "run", "trace", "plan", "explain", "apply", "verify", "check", "detect"])
def test_every_command_tells_how_it_is_used(made: Bundle, command: str) -> None:
    """--help works for each, with no variable set at all."""
    done = start(made, *filter(None, [command]), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: slimagent" in done.stdout


def test_a_whole_run_leaves_the_bundle_and_the_environment_alone(made: Bundle, tmp_path: Path) -> None:
    """`run` passes; the command sees exactly the variables that we were given, and no byte of the bundle changes."""
    before = tree(made.directory)
    image = tmp_path / "site-packages"
    record(image, "app", ("used", "unused.data"))
    (image / "used").write_text("used\n")
    (image / "unused.data").write_text("unused\n" * 1_100_000)
    given = {"PATH": os.defpath, "LD_LIBRARY_PATH": "/nowhere", "PYTHONHOME": "/nowhere", "OPENSSL_CONF": "/nowhere"}
    how = ("run", "--quiet", "--scope", image, "--level", "file", "--out", tmp_path / "out")
    done = start(made, *how, "--", "sh", "-c", f"cat {image}/used; env", env=given)
    assert done.returncode == 0, done.stderr
    half = done.stdout.splitlines()[1 : len(done.stdout.splitlines()) // 2]  # traced and verified: twice the same
    seen = dict(line.split("=", 1) for line in half)
    assert {name: value for name, value in seen.items() if name not in ("PWD", "SHLVL", "_", "OLDPWD")} == given
    plan = documents.decode_plan((tmp_path / "out" / "plan.json").read_bytes(), "plan")
    kept = {entry.path for entry in plan.entries if plan.reasons[entry.reason].verdict == "keep"}
    assert os.fsencode(image / "used") in kept
    assert os.fsencode(image / "unused.data") not in kept
    assert tree(made.directory) == before


def test_the_entrypoint_starts_it_and_gives_back_what_is_preloaded(made: Bundle, tmp_path: Path) -> None:
    """entrypoint.sh needs no program but a shell. LD_PRELOAD is the image's programs' alone."""
    library = next(iter(sorted(Path("/usr/lib").rglob("libm.so.6"))), None)
    env = {"PATH": "/nowhere"} | ({} if library is None else {"LD_PRELOAD": str(library)})
    command = [f"{made.directory}/entrypoint.sh", "trace", "--quiet", "--scope", str(tmp_path)]
    command += ["-o", str(tmp_path / "trace.json"), "--", "/usr/bin/env"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "SLIMAGENT" not in done.stdout
    assert library is None or f"LD_PRELOAD={library}" in done.stdout


def test_every_module_can_be_imported(made: Bundle) -> None:
    """All of slimagent's own, what those import anywhere, and character sets: nothing is missing that works inside."""
    of_the_image = ("_driver", "_marks")  # they run in an interpreter of the image
    own = (path for path in PACKAGE.rglob("*.py") if not path.stem.endswith((*of_the_image, "driver")))
    everything = set().union(*map(imported, own))
    optional = {"cyclonedx", "packageurl"}  # of the extra `sbom`
    wanted = sorted(name for name in everything if name.partition(".")[0] not in OUTSIDE_ONLY | optional)
    code = (
        "import codecs, encodings, importlib, os, pkgutil, sys\n"
        "sys.path.insert(0, os.path.join(os.path.dirname(os.__file__), 'site-packages'))\n"
        "import slimagent\n"
        "own = [m.name for m in pkgutil.walk_packages(slimagent.__path__, 'slimagent.')]\n"
        f"own = [name for name in own if not name.startswith({OUTSIDE_MODULES!r})]\n"
        "for name in own + sys.argv[1:]:\n"
        f"    if not name.endswith({(*of_the_image, '.driver', 'bundle.start')!r}): importlib.import_module(name)\n"
        "for name in ('idna', 'punycode', 'utf-16', 'latin-1', 'cp1252', 'koi8-r', 'unicode_escape', 'ascii'):\n"
        "    codecs.lookup(name)\n"
    )
    command = [*made.entry()[:-1], "-c", code, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, env={}, check=False)
    assert done.returncode == 0, done.stderr


def imported(path: Path) -> set[str]:
    """Modules from elsewhere that a module of ours imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            found.add(node.module)
    return {name for name in found if name.split(".")[0] not in ("slimagent", "tomli", "_typeshed")}


def test_what_is_left_out_is_not_imported_by_us() -> None:
    """No module that the collection does not follow is imported in slimagent."""
    for path in PACKAGE.rglob("*.py"):
        if "driver" not in path.name:
            assert not {name.split(".")[0] for name in imported(path)} & set(UNREACHED), path


def test_programs_and_libraries_look_nowhere_else(made: Bundle) -> None:
    """No ELF file of a bundle names directories of the machine that made it, and the bundle has all that it needs."""
    found = [path for path in Path(made.directory).rglob("*") if path.is_file() and is_elf(str(path))]
    assert len(found) > 20
    there = set(os.listdir(f"{made.directory}/lib"))
    for path in found:
        with path.open("rb") as file:
            segment = next(ELFFile(file).iter_segments("PT_DYNAMIC"), None)
            assert isinstance(segment, DynamicSegment)
            tags = [(each.entry.d_tag, getattr(each, "needed", "")) for each in segment.iter_tags()]
        assert not {"DT_RPATH", "DT_RUNPATH"} & {tag for tag, _ in tags}, path
        assert {name for tag, name in tags if tag == "DT_NEEDED"} <= there, path


def test_a_library_without_its_directories_is_still_loaded(tmp_path: Path) -> None:
    """Both kinds of entry go, wherever they stand; the library works."""
    if shutil.which("gcc") is None:
        lacking("no gcc here")
    source = tmp_path / "x.c"
    source.write_text("int answer(void) { return 42; }\n")
    for flag in ("--enable-new-dtags", "--disable-new-dtags"):
        library = tmp_path / f"lib{flag}.so"
        link = f"-Wl,{flag},-rpath,/nowhere:$ORIGIN"
        subprocess.run(["gcc", "-shared", "-fPIC", link, "-o", str(library), str(source)], check=True)
        before = library.stat().st_size
        forget_search_paths(str(library))
        assert library.stat().st_size == before
        code = f"import ctypes; assert ctypes.CDLL({str(library)!r}).answer() == 42"
        subprocess.run([sys.executable, "-c", code], check=True)
        shown = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout
        assert "RPATH" not in shown
        assert "RUNPATH" not in shown


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    """Nobody's files are replaced by a bundle."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("")
    assert_error(slimagent("bundle", tmp_path / "theirs"), 3, "not empty")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "theirs"]


def test_a_bundle_makes_no_bundle(made: Bundle, tmp_path: Path) -> None:
    """It does not have what it takes, and says so in two lines."""
    assert_error(start(made, "bundle", tmp_path / "b"), 4, "bundle")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", *(f'{{"schema": "slimagent/bundle", "version": {n}}}' for n in (1, 2))]
)
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    """A record cut short, of another kind or a newer version is an error that names it."""
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(DocumentError, match=r"bundle\.json"):
        bundle(str(tmp_path))


def test_a_record_names_no_path_outside(made: Bundle, tmp_path: Path) -> None:
    """The loader in a record is a plain name: it becomes part of the command that is started."""
    text = Path(made.directory, "bundle.json").read_text().replace(made.loader, "../../bin/sh")
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(DocumentError, match="loader"):
        bundle(str(tmp_path))


def test_a_directory_without_a_record_is_no_bundle(tmp_path: Path) -> None:
    """The hint says how to make one."""
    with pytest.raises(UnavailableError) as caught:
        bundle(str(tmp_path))
    assert "slimagent bundle" in caught.value.hint
