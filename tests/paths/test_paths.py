"""Path algebra against the kernel, and any file name as text and back."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import posixpath
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slimagent.paths import algebra as paths
from slimagent.paths.algebra import MAXIMUM_LINKS, Resolver, from_text, normalise, pattern, to_text
from slimagent.paths.patterns import PathRules

PARTS = st.sampled_from([b"", b".", b"..", b"a", b"b", b".c", b"..d", b"e."])
PATHS = st.lists(PARTS, max_size=8).map(lambda parts: b"/" + b"/".join(parts))
NAMES = st.binary(max_size=40).map(lambda name: name.replace(b"\0", b""))


@given(PATHS)
@example(b"/")
@example(b"//")
@example(b"/./.")
@example(b"/.hidden/")
def test_normalise_changes_no_meaning(path: bytes) -> None:
    """A normalised path has no empty component, no `.` and no slash at its end, and means what it meant before."""
    normal = normalise(path)
    assert normal == normalise(normal)
    assert normal == b"/" or all(part not in (b"", b".") for part in normal[1:].split(b"/"))
    if b".." not in path.split(b"/"):
        assert normal == b"/" + posixpath.normpath(path).lstrip(b"/")
    assert normal.split(b"/").count(b"..") == path.split(b"/").count(b"..")


@given(PATHS, st.lists(PARTS, min_size=1, max_size=4).map(b"/".join))
def test_join_is_the_kernels_reading(folder: bytes, path: bytes) -> None:
    """A relative path goes on from the folder, an absolute one starts anew."""
    assert paths.join(folder, path) == normalise(posixpath.join(folder, path))


@given(PATHS.map(normalise))
def test_a_path_is_its_folder_and_its_name(path: bytes) -> None:
    """A folder and a name join to the path they were taken from, and the path lies within the folder."""
    assert paths.join(paths.parent(path), paths.name(path)) == path
    assert paths.within(path, paths.parent(path))
    assert paths.within(path, path)


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        (b"/usr/lib", b"/usr", True),
        (b"/usrlocal", b"/usr", False),
        (b"/usr", b"/usr/lib", False),
        (b"/anything", b"/", True),
        (b"/", b"/", True),
    ],
)
def test_within_respects_components(path: bytes, folder: bytes, expected: bool) -> None:
    """A folder holds what lies below it, not what merely starts with its name."""
    assert paths.within(path, folder) is expected
    assert paths.within_any(path, [b"/nowhere", folder]) is expected


@given(st.lists(PATHS.map(normalise), max_size=12))
def test_the_order_puts_a_folder_right_before_what_it_holds(found: list[bytes]) -> None:
    """In component order, what a folder holds follows it without anything else in between."""
    ordered = sorted(set(found), key=paths.sort_key)
    for folder in ordered:
        inside = [paths.within(path, folder) for path in ordered[ordered.index(folder) :]]
        assert inside == sorted(inside, reverse=True)


# Links: the resolver against openat2(2), which looks a path up as if a folder were the root of the file system.

_AT_FDCWD, _SYS_OPENAT2, _RESOLVE_IN_ROOT = -100, 437, 0x10  # <fcntl.h>, <asm/unistd.h>, <linux/openat2.h>
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class OpenHow(ctypes.Structure):
    """`struct open_how` of <linux/openat2.h>."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def kernel_resolves(root: bytes, path: bytes, *, follow: bool) -> bytes | int:
    """The path that the kernel reaches, seen from `root`, or the error number that it answers with."""
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        how = OpenHow(os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), 0, _RESOLVE_IN_ROOT)
        call = (ctypes.c_long(_SYS_OPENAT2), folder, ctypes.c_char_p(path), ctypes.byref(how), ctypes.sizeof(how))
        # EAGAIN: something, anywhere, was renamed or mounted while the kernel took a "..": openat2(2) says: try again.
        while (found := _libc.syscall(*call)) < 0:
            if (error := ctypes.get_errno()) != errno.EAGAIN:
                return error
        try:
            reached = os.readlink(b"/proc/self/fd/%d" % found)
        finally:
            os.close(found)
        assert reached == root or reached.startswith(root + b"/")
        return reached[len(root) :] or b"/"
    finally:
        os.close(folder)


@pytest.fixture(scope="module")
def base() -> Iterator[bytes]:
    folder = os.path.realpath(os.fsencode(tempfile.mkdtemp(prefix="slimagent-links-")))
    if kernel_resolves(folder, b"/", follow=True) == errno.ENOSYS:
        pytest.skip("no openat2 on this kernel")
    yield folder
    shutil.rmtree(folder)


_numbers = itertools.count()
_ONE = st.sampled_from([b"a", b"b", b"c", b"d"])
_STEP = st.sampled_from([b"a", b"b", b"c", b"d", b"..", b".", b""])
_TARGETS = st.tuples(st.sampled_from([b"", b"/", b"../"]), st.lists(_STEP, min_size=1, max_size=4)).map(
    lambda both: (both[0] + b"/".join(both[1])) or b"."
)
_ENTRIES = st.lists(
    st.tuples(
        st.lists(_ONE, min_size=1, max_size=3).map(b"/".join),
        st.one_of(st.just("folder"), st.just("file"), _TARGETS),
    ),
    max_size=14,
)
_LOOKUPS = st.lists(st.lists(_STEP, min_size=1, max_size=6).map(lambda parts: b"/" + b"/".join(parts)), max_size=8)


def build(root: bytes, entries: list[tuple[bytes, Any]]) -> dict[bytes, bytes]:
    """Make the entries that can be made below `root`. Returns the links, by their path in it."""
    os.mkdir(root)
    links: dict[bytes, bytes] = {}
    for relative, what in entries:
        place = root
        for part in relative.split(b"/")[:-1]:
            place += b"/" + part
            if not os.path.lexists(place):
                os.mkdir(place)
            if os.path.islink(place) or not os.path.isdir(place):
                break  # nothing is made through a link: it may lead out of the root
        path = root + b"/" + relative
        if place != os.path.dirname(path) or not os.path.isdir(place) or os.path.islink(place) or os.path.lexists(path):
            continue
        if what == "folder":
            os.mkdir(path)
        elif what == "file":
            Path(os.fsdecode(path)).write_bytes(b"")
        else:
            os.symlink(what, path)
            links[path[len(root) :]] = what
    return links


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=_ENTRIES, lookups=_LOOKUPS)
@example(entries=[(b"a", b"a")], lookups=[b"/a", b"/a/b", b"/a/../b"])
@example(entries=[(b"a", b"../../b"), (b"b/c", "file")], lookups=[b"/a/c"])
@example(entries=[(b"a", b"/b/.."), (b"b", b"c/d"), (b"c/d", "folder")], lookups=[b"/a", b"/b/.."])
def test_links_lead_where_the_kernel_goes(base: bytes, entries: list[tuple[bytes, Any]], lookups: list[bytes]) -> None:
    """Every path that the kernel reaches, by whatever links, is the one that the resolver names; loops have no end."""
    root = b"%b/%d" % (base, next(_numbers))
    try:
        links = build(root, entries)
        resolver = Resolver(links.get)
        for path in (*lookups, *links):
            found = resolver.resolve(path)
            kernels = kernel_resolves(root, path, follow=True)
            assert set(found.hops) <= links.keys()
            if isinstance(kernels, bytes):
                assert found.end == kernels, path
            elif kernels == errno.ELOOP:
                assert found.end is None, path
            elif found.end is not None:  # a name that is not there, or a file where a folder is asked for
                assert not os.path.lexists(root + found.end) or kernels in (errno.ENOENT, errno.ENOTDIR)
            normal = normalise(path)
            unfollowed = kernel_resolves(root, normal, follow=False)
            if isinstance(unfollowed, bytes):
                assert resolver.resolve(path, follow=False).end == unfollowed, path
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("length", [MAXIMUM_LINKS, MAXIMUM_LINKS + 1])
def test_the_limit_of_a_chain_is_the_kernels(tmp_path: Path, length: int) -> None:
    """A chain of 40 links is followed to its end, one of 41 is a loop, as in the kernel."""
    root = os.fsencode(tmp_path / "root")
    links = build(root, [(b"0", "file"), *((b"%d" % at, b"%d" % (at - 1)) for at in range(1, length + 1))])
    path = b"/%d" % length
    kernels = kernel_resolves(root, path, follow=True)
    assert (kernels == errno.ELOOP) is (Resolver(links.get).resolve(path).end is None) is (length > MAXIMUM_LINKS)


def test_all_links_of_a_lookup_count(tmp_path: Path) -> None:
    """Links in several components count together: 40 of them are followed, 41 are not, whatever was resolved before."""
    root = os.fsencode(tmp_path / "root")
    links = build(root, [(b"here", b".")])
    resolver = Resolver(links.get)
    for count in (1, MAXIMUM_LINKS - 1, MAXIMUM_LINKS, MAXIMUM_LINKS + 1, MAXIMUM_LINKS + 1):
        path = b"/here" * count
        kernels = kernel_resolves(root, path, follow=True)
        assert (kernels == errno.ELOOP) is (resolver.resolve(path).end is None) is (count > MAXIMUM_LINKS)


def test_a_bomb_of_links_costs_nothing(tmp_path: Path) -> None:
    """Links that double at each step, which would mean a billion steps, end at the kernel's limit at once."""
    root = os.fsencode(tmp_path / "root")
    links = build(root, [(b"l0", b"."), *((b"l%d" % at, b"l%d/l%d" % (at - 1, at - 1)) for at in range(1, 31))])
    started = time.process_time()
    assert kernel_resolves(root, b"/l30", follow=True) == errno.ELOOP
    assert Resolver(links.get).resolve(b"/l30").end is None
    assert time.process_time() - started < 1.0


def test_the_longest_path_is_no_problem() -> None:
    """A path of 4,096 bytes in 2,048 components is resolved, with links and without."""
    links = {b"/a": b"/"}
    assert Resolver({}.get).resolve(b"/a" * 2047).end == b"/a" * 2047
    assert Resolver(links.get).resolve(b"/b" + b"/.." * 1300 + b"/a/c") == ((b"/a",), b"/c")


def test_a_dangling_link_ends_at_what_is_not_there() -> None:
    """The end of a dangling link is the path that it names: that is what the program looked for."""
    links = {b"/usr/bin/python": b"python3", b"/bin": b"usr/bin"}
    assert Resolver(links.get).resolve(b"/bin/python") == ((b"/bin", b"/usr/bin/python"), b"/usr/bin/python3")


# Text


@given(NAMES)
@example(b"latin1-\xe9")
@example(b"back\\slash")
@example(b"\\x41")
@example(b"new\nline\x1b[31m")
@example("\u2028\u00a0\ud7ff\U0010ffff".encode())
@example(b"\xed\xa0\x80")
@example("é".encode() + b"\xc3")
def test_any_name_comes_back_from_its_text(name: bytes) -> None:
    """A name as text is one printable line of valid Unicode, and from_text makes the same bytes of it again."""
    text = to_text(name)
    assert text.isprintable()
    assert from_text(text) == name
    text.encode("utf-8")


@given(NAMES, NAMES)
def test_two_names_have_two_texts(one: bytes, other: bytes) -> None:
    """Different names never look the same."""
    assert (to_text(one) == to_text(other)) is (one == other)


@given(st.text(max_size=20))
def test_a_text_means_one_name_or_is_refused(text: str) -> None:
    """Whatever text is read means bytes without NUL that read as themselves again, or raises ValueError."""
    try:
        name = from_text(text)
    except ValueError:
        return
    assert b"\0" not in name
    assert from_text(to_text(name)) == name


@pytest.mark.parametrize(
    "text",
    ["\\", "\\n", "\\x", "\\x4", "\\xZZ", "\\xE9", "\\u00e9", "a\\\\\\", "\\x41", "\\x2f", "\\x00", "a\0b", "\\x7e"],
)
def test_foreign_escapes_are_refused(text: str) -> None:
    """An escape that to_text never writes is refused: a slash, a letter or a NUL cannot hide in one."""
    with pytest.raises(ValueError, match="path"):
        from_text(text)


# Patterns


@pytest.mark.parametrize(
    ("text", "matched", "unmatched"),
    [
        ("/etc/**", [b"/etc/passwd", b"/etc/a/b/c"], [b"/etc", b"/etcetera/x", b"/x/etc/y"]),
        ("/usr/**/lib*.so*", [b"/usr/lib.so", b"/usr/a/b/libx.so.1"], [b"/usr/a/x.so", b"/lib.so", b"/usrlib.so"]),
        ("/a/*", [b"/a/b", b"/a/b\nc", b"/a/"], [b"/a/b/c", b"/a"]),
        ("/a?c", [b"/abc", b"/a\xffc"], [b"/a/c", b"/ac", b"/abbc"]),
        ("/a.b[c]+(d)", [b"/a.b[c]+(d)"], [b"/axb[c]+(d)", b"/a.bc(d)"]),
        ("/latin1-\\xe9", [b"/latin1-\xe9"], ["/latin1-é".encode()]),
        ("/a\\\\b", [b"/a\\b"], [b"/a\\\\b"]),
        ("/a**z", [b"/az", b"/a/b/z"], [b"/a/b/zz/y"]),
        ("/**", [b"/", b"/x", b"/x/y"], [b""]),
    ],
)
def test_what_a_pattern_matches(text: str, matched: list[bytes], unmatched: list[bytes]) -> None:
    """`*` and `?` stay inside a component, `**` spans components, and nothing else is special."""
    assert [path for path in matched if not pattern(text).fullmatch(path)] == []
    assert [path for path in unmatched if pattern(text).fullmatch(path)] == []


@given(NAMES)
def test_a_name_written_as_text_is_a_pattern_for_itself(name: bytes) -> None:
    """Where a path holds no wildcard, its text is a pattern that matches it and nothing else."""
    path = b"/" + name.replace(b"*", b"").replace(b"?", b"")
    compiled = pattern(to_text(path))
    assert compiled.fullmatch(path)
    assert not compiled.fullmatch(path + b"x")


# Many patterns over many paths

_PIECES = [
    "/",
    "/",
    "/a",
    "/b",
    "/ab",
    "*",
    "**",
    "?",
    "/*",
    "/**/",
    "/**",
    ".",
    ".a",
    "a*",
    "*b",
    "/a*b",
    "/?b",
    "/*.a",
    "*~",
]
_TEXTS = st.lists(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join), max_size=8)
_PARTS = st.sampled_from(
    [b"a", b"b", b"ab", b"aab", b".", b"", b"x.a", b".a", b"\n", b"~", b"a~", b"*", b"**", b"\xff"]
)
_TREES = st.lists(st.lists(_PARTS, max_size=6).map(lambda parts: b"/" + b"/".join(parts)), max_size=12)


@settings(max_examples=400)
@given(_TEXTS, _TREES)
@example(["/**/a", "/**/**/a", "/**/**", "**", "a", "", "/", "/**/"], [b"/a", b"/b/a", b"a", b"", b"/", b"//", b"/a/"])
@example(["/*~", "/a*~", "/*?~", "/*"], [b"/~", b"/a~", b"/b~", b"/aa~", b"/"])
def test_many_patterns_match_as_each_alone(texts: list[str], tree: list[bytes]) -> None:
    """All patterns at once say of every path what each says alone, in whatever order the paths come."""
    alone = [pattern(text) for text in texts]
    expected = {
        at: tuple(which for which, each in enumerate(alone) if each.fullmatch(path)) for at, path in enumerate(tree)
    }
    expected = {at: found for at, found in expected.items() if found}
    rules = PathRules(texts)
    assert dict(rules.scan(tree)) == expected
    assert dict(rules.scan(tree)) == expected  # what is remembered changes nothing
    backwards = PathRules(texts)
    for at, path in reversed(list(enumerate(tree))):
        assert backwards.matches(path) == expected.get(at, ())
        assert backwards.first(path) == next(iter(expected.get(at, ())), None)


def test_a_pattern_that_is_none_is_refused() -> None:
    """An escape that cannot be read is refused as `pattern` refuses it."""
    with pytest.raises(ValueError, match="path"):
        PathRules(["/a", "/\\x41"])


def test_patterns_cost_little_where_they_say_nothing() -> None:
    """The time grows with the paths, not with the patterns times the paths: 300 patterns, 50,000 paths."""
    texts = [f"/**/none{at}/**/*.x{at}" for at in range(300)]
    tree = [b"/usr/share/%d/%d/file%d.py" % (at % 50, at % 5000, at) for at in range(50_000)]
    started = time.process_time()
    assert list(PathRules(texts).scan(tree)) == []
    assert time.process_time() - started < 2.0


def test_the_deepest_path_is_no_problem() -> None:
    """A path of 2,047 components, and patterns that all go on at each of them."""
    rules = PathRules(["/**/a/**/a/**/a/**", "/**/b"])
    assert rules.matches(b"/a" * 2047) == (0,)
    assert rules.matches(b"/a" * 2046 + b"/b") == (0, 1)
