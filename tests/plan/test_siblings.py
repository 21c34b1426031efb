"""Data files of one directory stay or go together: half of them would give wrong answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_images import Installed, access, kinds, plan_of, reason, write

from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import How

SITE = "/env/lib/python3.12/site-packages/lang"
RULES = Rules(budget=10)  # a data file stays up to 10 bytes, an unread directory up to 200, a named one up to 20,000


def profiles(plan: Plan, *paths: str) -> list[bool]:
    return [reason(plan, each).verdict is Verdict.KEEP for each in paths]


def package(root: Path, sizes: dict[str, int], code: str = "") -> Installed:
    """A package with code that was used, and data files of these sizes."""
    write(root, f"{SITE}/__init__.py", code or "pass")
    for path, size in sizes.items():
        write(root, f"{SITE}/{path}", b"x" * size)
    return Installed("python:lang", [f"{SITE}/__init__.py", *(f"{SITE}/{each}" for each in sizes)])


def planned(root: Path, sizes: dict[str, int], code: str = "", used: tuple[str, ...] = ()) -> list[bool]:
    """Whether each data file stays."""
    installed = package(root, sizes, code)
    accesses = [f"{SITE}/__init__.py", *(f"{SITE}/{each}" for each in used)]
    return profiles(plan_of(root, [installed], accesses, RULES, level="file"), *(f"{SITE}/{each}" for each in sizes))


def test_all_stay_or_none(tmp_path: Path) -> None:
    """Small ones do not stay alone: of profiles for many languages, those few would answer for all."""
    assert planned(tmp_path, {"profiles/de": 150, "profiles/fr": 100, "profiles/tl": 5}) == [False] * 3
    assert planned(tmp_path, {"profiles/de": 50, "profiles/fr": 40, "profiles/tl": 5}) == [True] * 3


def test_one_that_was_read_brings_the_others(tmp_path: Path) -> None:
    """What lies beside it in the same form is for another language, size or zone."""
    sizes = {"profiles/de": 150, "profiles/fr": 100, "profiles/tl": 5}
    assert planned(tmp_path, sizes, used=("profiles/fr",)) == [True] * 3
    assert planned(tmp_path, {**sizes, "profiles/read.me.dat": 500}, used=("profiles/fr",)) == [True, True, True, False]


@pytest.mark.parametrize("code", ["open('profiles')", 'join(here, "profiles", name)', "here + '/profiles/' + name"])
def test_a_directory_that_code_names_stays(tmp_path: Path, code: str) -> None:
    """The package's own code beside it says that it reads it, if no test asked for it yet."""
    sizes = {"profiles/de": 3000, "profiles/fr": 3000, "profiles/tl": 5}
    assert planned(tmp_path, sizes, code) == [True] * 3
    assert planned(tmp_path, {"profiles/de": 15000, "profiles/fr": 15000}, code) == [False] * 2


def test_a_file_that_code_names_stays(tmp_path: Path) -> None:
    """A dictionary, or a font, of which there is one."""
    sizes = {"dict.txt": 3000, "face.ttf": 3000, "other.txt.gz": 3000}
    assert planned(tmp_path, sizes, "open('dict.txt'), FONT = 'face.ttf'") == [True, True, False]


def test_pages_of_a_program_are_judged_one_by_one(tmp_path: Path) -> None:
    """A page without its style says so on the screen."""
    assert planned(tmp_path, {"static/a.css": 5, "static/b.css": 900}, "'static'") == [True, False]


def test_a_package_that_is_only_required_keeps_all_or_none_too(tmp_path: Path) -> None:
    """Of a Debian package that no test used: a small directory."""
    for name, size in (("a", 1), ("b", 4), ("c", 30)):
        write(tmp_path, f"/usr/share/x/{name}", b"x" * size)
    write(tmp_path, "/usr/bin/tool", b"x" * 9)
    packages = [
        Installed("dpkg:tool", ["/usr/bin/tool"], requires=["dpkg:x"]),
        Installed("dpkg:x", ["/usr/share/x/a", "/usr/share/x/b", "/usr/share/x/c"]),
    ]
    paths = ("/usr/share/x/a", "/usr/share/x/b", "/usr/share/x/c")
    large, small = Rules(budget=35), Rules(budget=34)
    assert profiles(plan_of(tmp_path, packages, ["/usr/bin/tool"], large, level="file"), *paths) == [True] * 3
    assert profiles(plan_of(tmp_path, packages, ["/usr/bin/tool"], small, level="file"), *paths) == [False] * 3


def test_the_reason_is_said(tmp_path: Path) -> None:
    """In words that one can act on."""
    installed = package(tmp_path, {"p/a": 50, "p/b": 40, "q/a": 5000, "q/b": 9}, "'q'")
    plan = plan_of(tmp_path, [installed], [access(f"{SITE}/__init__.py", How.EXECUTED)], RULES, level="file")
    assert kinds(plan, f"{SITE}/p/a", f"{SITE}/q/a") == ["sibling", "named"]


@given(st.lists(st.integers(0, 400), min_size=2, max_size=5), st.sets(st.integers(0, 4)))
def test_a_directory_is_never_cut(sizes: list[int], used: set[int]) -> None:
    """Whatever the sizes: the unread files of a directory all stay or all go, unless none is larger than the budget."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        files = {f"data/{number}": size for number, size in enumerate(sizes)}
        opened = tuple(each for number, each in enumerate(files) if number in used)
        found = planned(Path(folder), files, used=opened)
    unread = {stays for number, stays in enumerate(found) if number not in used and sizes[number]}
    assert len(unread) <= 1
