"""The scaling benchmark, run small: its trees are images to every reader, and it measures what it says."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from slimagent import documents
from slimagent.elf import needs as elf
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.loader import loader
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.linux.files import digest
from slimagent.model.inventory import Inventory, Owners
from slimagent.model.trace import How, Trace

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = 2_000
LIMIT = 120  # seconds


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a benchmark's script to its end."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def made(folder: Path, *options: str) -> Path:
    """A synthetic tree and its trace in `folder`."""
    done = script("synthetic.py", folder, str(FILES), *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("synthetic") / "image")


@pytest.fixture(scope="module")
def inventory(image: Path) -> Inventory:
    return scan(os.fsencode(image / "root"))


@pytest.fixture(scope="module")
def owned(inventory: Inventory) -> Owners:
    return owners(inventory)


@pytest.fixture(scope="module")
def trace(image: Path) -> Trace:
    return documents.decode_trace((image / "trace.json").read_bytes())


def share(inventory: Inventory, fits: Callable[[int], bool]) -> float:
    """The share of the files and links."""
    files = [at for at, mode in enumerate(inventory.modes) if not stat.S_ISDIR(mode)]
    return sum(map(fits, files)) / len(files)


def test_readers_understand_all_of_it(owned: Owners) -> None:
    assert owned.problems == []
    assert {package.kind for package in owned.packages} == {"dpkg", "python", "npm", "r", "component"}


def test_every_requirement_of_each_kind_is_there(owned: Owners) -> None:
    assert {text for missing in owned.missing for text in missing} == set()
    requiring = Counter(package.kind for package, wanted in zip(owned.packages, owned.requires, strict=True) if wanted)
    assert all(requiring[kind] for kind in ("dpkg", "python", "npm", "r"))


def test_shares_are_those_of_an_image(inventory: Inventory, owned: Owners) -> None:
    def of(kind: str) -> float:
        return share(inventory, lambda at: owned.of[at] >= 0 and owned.packages[owned.of[at]].kind == kind)

    assert FILES <= share(inventory, lambda at: True) * sum(not stat.S_ISDIR(m) for m in inventory.modes) < FILES + 150
    assert of("dpkg") == pytest.approx(0.47, abs=0.05)
    assert of("python") == pytest.approx(0.29, abs=0.05)
    assert of("npm") == pytest.approx(0.14, abs=0.05)
    assert share(inventory, lambda at: at in inventory.targets) == pytest.approx(0.05, abs=0.03)
    assert any(links > 1 and stat.S_ISREG(mode) for links, mode in zip(inventory.links, inventory.modes, strict=True))


def test_trace_opened_a_small_part_and_looked_for_more(inventory: Inventory, trace: Trace) -> None:
    opened = [each for each in trace.accesses if each.found and each.how & (How.OPENED | How.EXECUTED)]
    assert all(each.path in inventory.index for each in opened)
    assert not any(each.path in inventory.index for each in trace.accesses if not each.found)
    assert len(opened) / FILES == pytest.approx(0.08, abs=0.06)
    assert len(trace.accesses) > 1.5 * len(opened)


def test_libraries_are_elf_files_to_an_independent_reader(image: Path, inventory: Inventory) -> None:
    there = [path for path in inventory.paths if path.endswith((b".so", b".so.1.0")) or path == b"/usr/bin/bash"]
    assert len(there) > 10
    for path in there:
        with open(os.fsencode(image / "root") + path, "rb") as file:
            data = file.read()
            found = ELFFile(file)
            wanted, interpreter = [], b""
            for segment in found.iter_segments():
                if isinstance(segment, DynamicSegment):
                    tags = segment.iter_tags("DT_NEEDED")
                    wanted = [getattr(tag, "needed").encode() for tag in tags]  # noqa: B009 - set by its kind
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name().encode()
        ours = elf.needs(lambda offset, size, data=data: data[offset : offset + size])  # type: ignore[misc]
        assert ours is not None
        assert (list(ours.libraries), ours.interpreter) == (wanted, interpreter)


def test_loader_cache_leads_to_files(inventory: Inventory) -> None:
    cache = loader(inventory).cache
    assert b"libc.so.6" in cache
    for library, paths in cache.items():
        assert all(b"/usr" + path in inventory.index and path.endswith(b"/" + library) for path in paths)


def test_dpkg_finds_its_data_base_in_order(image: Path) -> None:
    query = shutil.which("dpkg-query")
    if query is None:
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail("no dpkg-query: install dpkg")
        pytest.skip("no dpkg-query: install dpkg")
    admin = f"--admindir={image / 'root' / 'var/lib/dpkg'}"
    done = subprocess.run([query, admin, "--list"], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sum(line.startswith("ii ") for line in done.stdout.splitlines()) > 10
    done = subprocess.run([query, admin, "--search", "/usr/bin/env"], capture_output=True, text=True, check=False)
    assert done.stdout == "coreutils: /usr/bin/env\n"


def test_distributions_have_the_files_that_their_record_states(image: Path) -> None:
    sites = [str(site) for site in (image / "root" / "opt").glob("venv*/lib/python*/site-packages")]
    found = list(importlib.metadata.distributions(path=sites))
    assert len(found) > 2
    for distribution in found:
        assert distribution.metadata["Name"].startswith("py-")
        files = distribution.files or []
        assert len(files) > 10
        for file in files:
            path = Path(str(file.locate()))
            if path.is_symlink() and not path.exists():
                continue  # some lead nowhere, as in real trees; Python 3.12 and later leave them out of `files`
            data = path.read_bytes()
            if file.hash is not None:
                sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert (file.size, file.hash.value) == (len(data), sha256)


def test_same_seed_same_tree_on_any_number_of_processors(image: Path, inventory: Inventory, tmp_path: Path) -> None:
    again = made(tmp_path / "again", "--jobs", "1")
    assert fingerprint(scan(os.fsencode(again / "root"))) == fingerprint(inventory)
    assert digest((again / "trace.json").read_bytes()) == digest((image / "trace.json").read_bytes())
    other = made(tmp_path / "other", "--seed", "7")
    assert fingerprint(scan(os.fsencode(other / "root"))) != fingerprint(inventory)


def test_benchmark_measures_each_phase_and_cleans_up(tmp_path: Path) -> None:
    place, out = tmp_path / "place", tmp_path / "out.json"
    place.mkdir()
    done = script("scale.py", "1000", str(FILES), "--in", place, "--repeat", "1", "--hot", "3", "--json", out)
    assert done.returncode == 0, done.stderr
    assert list(place.iterdir()) == []
    results = json.loads(out.read_text())
    assert sorted((each["files"] // 1000, each["level"]) for each in results) == [
        (1, "file"), (1, "package"), (2, "file"), (2, "package"),
    ]  # fmt: skip
    for each in results:
        for clock in (each["wall"], each["cpu"]):
            assert set(clock) == {"trace", "scan", "owners", "plan", "encode", "sum"}
            assert 2 * clock["sum"] == pytest.approx(sum(clock.values()))
            assert all(value > 0 for value in clock.values())
        assert min(each["peaks"].values()) > 1
        assert 0 < each["kept"] < each["paths"]
        assert each["problems"] == 0
        assert set(each["hot"]) == {"owners", "plan"}
    assert "growth" in done.stdout
    assert "level package" in done.stdout


def test_benchmark_measures_a_tree_whose_trace_is_of_another_image(image: Path, tmp_path: Path) -> None:
    trace = json.loads((image / "trace.json").read_bytes())
    (run,) = trace["runs"]
    trace["before"] = run["after"] = "0" * 64
    run["losses"] = [{"kind": "foreign-architecture", "count": 1, "example": "x"}]
    run["steps"][0]["outcome"] = "failed"
    (tmp_path / "trace.json").write_text(json.dumps(trace))
    before = digest((tmp_path / "trace.json").read_bytes())
    arguments = ("--tree", image / "root", "--trace", tmp_path / "trace.json", "--repeat", "1", "--level", "file")
    done = script("scale.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "level file" in done.stdout
    assert digest((tmp_path / "trace.json").read_bytes()) == before


def test_benchmark_says_what_is_wrong_with_its_command_line(image: Path, tmp_path: Path) -> None:
    done = script("scale.py", "--tree", image / "root")
    assert done.returncode == 2
    assert "--tree and --trace go together" in done.stderr
    done = script("scale.py", "--tree", tmp_path / "none", "--trace", image / "trace.json", "--repeat", "1")
    assert done.returncode != 0
