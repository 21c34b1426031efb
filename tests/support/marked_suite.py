"""A pytest suite of 300 tests, 20 of which use a planted file each, in several ways, and a pytest to run it."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

TESTS, PLANTED = 300, 20
_NEEDS = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest-xdist", "execnet")
_CONFTEST = """
import os, subprocess, sys, threading
import pytest

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

def spin(rounds=40_000):
    return sum(number * number for number in range(rounds))

@pytest.fixture(scope="session")
def everyone():
    return open(os.path.join(HERE, "data", "session"), "rb").read()
"""
# Ways to use a file, each as the body of a test.
_WAYS = (
    "open(path).close()",
    "assert os.stat(path).st_size == 7",
    "subprocess.run(['cat', path], check=True, stdout=subprocess.DEVNULL)",
    "subprocess.run(['sh', '-c', f'(cat {path} | cat) > /dev/null'], check=True)",
    "thread = threading.Thread(target=lambda: open(path).close()); thread.start(); thread.join()",
    "assert os.system(f'exec 3< {path}') == 0",
    "pool = multiprocessing.get_context('fork').Process(target=open, args=(path,)); pool.start(); pool.join()",
    "subprocess.run([sys.executable, '-S', '-c', f'open({path!r})'], check=True)",
)


def planted() -> dict[str, str]:
    """The planted files, each with the node ID of the only test that uses it."""
    return {f"planted-{number}": f"tests/test_{number % 10}.py::test_planted[{number}]" for number in range(PLANTED)}


def write_suite(directory: Path) -> None:
    """Ten modules of 28 plain tests, which use a file of the module and a common one, and two with planted files."""
    data, tests = directory / "data", directory / "tests"  # apart: pytest looks at all that lies beside the tests
    data.mkdir(parents=True)
    tests.mkdir()
    for name in ("common", "session", *planted(), *(f"module-{module}" for module in range(10))):
        (data / name).write_text("planted", encoding="ascii")
    (tests / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    plain = (TESTS - PLANTED) // 10
    for module in range(10):
        lines = [
            "import multiprocessing, os, subprocess, sys, threading",
            "import pytest",
            "from conftest import HERE, spin",
        ]
        lines += [
            f"@pytest.mark.parametrize('number', range({plain}))",
            "def test_plain(number, everyone):",
            f"    for name in ('common', 'module-{module}'):",
            "        open(os.path.join(HERE, 'data', name)).close()",
            "    spin()",
            f"@pytest.mark.parametrize('number', [{module}, {module + 10}])",
            "def test_planted(number, everyone):",
            "    path = os.path.join(HERE, 'data', f'planted-{number}')",
        ]
        for number in (module, module + 10):
            lines += [f"    if number == {number}:", f"        {_WAYS[number % len(_WAYS)]}"]
        (tests / f"test_{module}.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_site(directory: Path) -> None:
    """A pytest with pytest-xdist, of pure Python, copied from those that run here. Raises PackageNotFoundError."""
    for name in _NEEDS:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and source.suffix != ".pyc" and source.is_file():
                (directory / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, directory / file)
