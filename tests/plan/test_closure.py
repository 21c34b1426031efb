"""What a kept file drags in: real programs, libraries, scripts and bytecode in a real tree."""

from __future__ import annotations

import importlib.util
import os
import py_compile
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import (
    access,
    build,
    build_library,
    chain,
    evidence_for,
    files_kept,
    link,
    plan_for,
    reason,
    trace_for,
    write,
)

from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.scan import scan
from slimagent.model.profile import CruftRule
from slimagent.model.reason import Verdict
from slimagent.model.trace import How
from slimagent.plan.closure import expand, source_of
from slimagent.plan.decide import decide

LOADER = "/lib/ld-test.so"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with the loader that the programs of these tests name."""
    write(tmp_path, LOADER, b"not even an ELF file", 0o755)
    return tmp_path


def test_a_program_keeps_its_loader_and_the_libraries_of_its_libraries(root: Path) -> None:
    """From a program by DT_RUNPATH to a library and by $ORIGIN to the next; each keep names what drags it in."""
    build_library(root, "/opt/lib/deep/libtwo.so")
    build_library(root, "/opt/lib/libone.so", "-Wl,-rpath,$ORIGIN/deep", needs=["/opt/lib/deep/libtwo.so"])
    build(root, "/opt/bin/tool", "-Wl,-rpath,$ORIGIN/../lib", needs=["/opt/lib/libone.so"], program=True)
    build_library(root, "/opt/other/libother.so")
    plan = plan_for(root, ["/opt/bin/tool"])
    assert files_kept(plan, root) == {LOADER, "/opt/bin/tool", "/opt/lib/libone.so", "/opt/lib/deep/libtwo.so"}
    assert reason(plan, LOADER).kind == "interpreter"
    assert reason(plan, "/opt/lib/libone.so").detail == "libone.so"
    assert chain(plan, "/opt/lib/deep/libtwo.so") == ["/opt/lib/deep/libtwo.so", "/opt/lib/libone.so", "/opt/bin/tool"]
    assert plan.unresolved == ()


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
@pytest.mark.parametrize("search", ["/opt/lib", "$ORIGIN/../lib", "${ORIGIN}/../lib", "/nowhere:/opt/lib"])
def test_rpath_and_runpath_are_searched(root: Path, tags: str, search: str) -> None:
    """DT_RPATH and DT_RUNPATH, absolute or from $ORIGIN, lead to the library there and to no other of its name."""
    build_library(root, "/opt/lib/libone.so")
    build_library(root, "/usr/lib/libone.so")
    build(root, "/opt/bin/tool", f"-Wl,{tags}", f"-Wl,-rpath,{search}", needs=["/opt/lib/libone.so"], program=True)
    assert files_kept(plan_for(root, ["/opt/bin/tool"]), root) == {LOADER, "/opt/bin/tool", "/opt/lib/libone.so"}


def test_a_directory_with_a_dollar_in_its_name_can_be_an_origin(root: Path) -> None:
    """What $ORIGIN stands for is a path like any other, whatever its characters."""
    build_library(root, "/opt/a$LIB/libone.so")
    build(root, "/opt/a$LIB/tool", "-Wl,-rpath,$ORIGIN", needs=["/opt/a$LIB/libone.so"], program=True)
    build_library(root, "/opt/other/libone.so")
    assert reason(plan_for(root, ["/opt/a$LIB/tool"]), "/opt/a$LIB/libone.so").kind == "library"
    assert reason(plan_for(root, ["/opt/a$LIB/tool"]), "/opt/other/libone.so").verdict is Verdict.DROP


def test_a_library_in_the_loader_s_directories_is_found_through_its_links(root: Path) -> None:
    """A DT_NEEDED name that is a link keeps the link, for its own reason, and the file at its end."""
    build(root, "/usr/lib/libone.so.1.2.3", "-Wl,-soname,libone.so.1")
    link(root, "/usr/lib/libone.so.1", "libone.so.1.2.3")
    build(root, "/bin/tool", needs=["/usr/lib/libone.so.1"], program=True)
    plan = plan_for(root, ["/bin/tool"])
    assert reason(plan, "/usr/lib/libone.so.1").kind == "link-on-the-way"
    assert chain(plan, "/usr/lib/libone.so.1") == ["/usr/lib/libone.so.1", "/bin/tool"]
    assert reason(plan, "/usr/lib/libone.so.1.2.3").source == b"/bin/tool"


def test_a_library_that_only_its_name_leads_to_stays_wherever_it_is(root: Path) -> None:
    """A search path may be inherited or in the environment: then each file of that name stays."""
    build_library(root, "/opt/a/libplugin.so")
    build_library(root, "/opt/b/libplugin.so")
    build_library(root, "/bin/user.so", needs=["/opt/a/libplugin.so"])
    plan = plan_for(root, ["/bin/user.so"])
    assert files_kept(plan, root) == {"/bin/user.so", "/opt/a/libplugin.so", "/opt/b/libplugin.so"}


def test_a_library_that_is_nowhere_is_named(root: Path) -> None:
    """A need that nothing fulfils is in the plan, with who has it: a library, a loader, what env looks up."""
    build_library(root, "/opt/gone/libgone.so")
    build(root, "/bin/tool", needs=["/opt/gone/libgone.so"], program=True)
    (root / "opt/gone/libgone.so").unlink()
    (root / LOADER.lstrip("/")).unlink()
    write(root, "/bin/script", "#!/usr/bin/env nothing-like-it\n", 0o755)
    write(root, "/usr/bin/env")
    plan = plan_for(root, ["/bin/tool", "/bin/script"])
    assert sorted(plan.unresolved) == [
        (b"/bin/script", "nothing-like-it"),
        (b"/bin/tool", LOADER),
        (b"/bin/tool", "libgone.so"),
    ]


def test_libraries_that_name_each_other_end(root: Path) -> None:
    """A circle of needs is walked once, and its chains end at what was asked for."""
    build_library(root, "/usr/lib/liba.so")
    build_library(root, "/usr/lib/libb.so", needs=["/usr/lib/liba.so"])
    build_library(root, "/usr/lib/liba.so", needs=["/usr/lib/libb.so"])
    plan = plan_for(root, ["/usr/lib/libb.so"])
    assert chain(plan, "/usr/lib/liba.so") == ["/usr/lib/liba.so", "/usr/lib/libb.so"]


@pytest.mark.parametrize("opened", ["/usr/lib/libm.so", "/usr/lib/glibc-hwcaps/x86-64-v3/libm.so"])
def test_a_library_keeps_what_is_built_for_other_processors(root: Path, opened: str) -> None:
    """Whichever variant this machine loaded, the others stay, the plain one with them."""
    variants = {"/usr/lib/libm.so", *(f"/usr/lib/glibc-hwcaps/x86-64-v{level}/libm.so" for level in (2, 3, 4))}
    for each in variants:
        build_library(root, each)
    build_library(root, "/opt/else/glibc-hwcaps/x86-64-v3/libz.so")
    assert files_kept(plan_for(root, [opened]), root) == variants


def test_a_script_keeps_its_interpreter_and_what_env_looks_up(root: Path) -> None:
    """`#!` programs stay, through links; with env also the program that it finds, by -S with options as well."""
    write(root, "/usr/bin/bash", "x", 0o755)
    link(root, "/bin/sh", "../usr/bin/bash")
    write(root, "/usr/bin/env", "x", 0o755)
    write(root, "/usr/local/bin/python3", "x", 0o755)
    write(root, "/opt/tool/ruby", "x", 0o755)
    write(root, "/opt/tool/plain", "#!/bin/sh\n", 0o755)
    write(root, "/opt/tool/by-env", "#!/usr/bin/env python3\n", 0o755)
    write(root, "/opt/tool/by-env-s", "#!/usr/bin/env -S -u HOME A=1 ruby -w\n", 0o755)
    plan = plan_for(root, ["/opt/tool/plain", "/opt/tool/by-env", "/opt/tool/by-env-s"])
    assert reason(plan, "/usr/bin/bash").source == b"/opt/tool/plain"
    assert reason(plan, "/bin/sh").kind == "link-on-the-way"
    assert reason(plan, "/usr/bin/env").kind == "interpreter"
    assert reason(plan, "/usr/local/bin/python3").source == b"/opt/tool/by-env"
    assert reason(plan, "/opt/tool/ruby").source == b"/opt/tool/by-env-s"
    assert plan.unresolved == ()


def test_an_interpreter_that_is_a_script_keeps_its_own(root: Path) -> None:
    """Interpreters are files like others: what they need comes along."""
    write(root, "/bin/first", "#!/bin/second\n", 0o755)
    write(root, "/bin/second", "#!/bin/third\n", 0o755)
    write(root, "/bin/third", "end", 0o755)
    assert chain(plan_for(root, ["/bin/first"]), "/bin/third") == ["/bin/third", "/bin/second", "/bin/first"]


def test_byte_code_keeps_its_source(root: Path) -> None:
    """A read `.pyc`, in __pycache__ (PEP 3147) or beside it, keeps its `.py`; a read `.py` keeps no bytecode.

    Python makes bytecode again; what of it nobody read only costs.
    """
    for module in ("one", "two", "unused"):
        source = write(root, f"/{'unused' if module == 'unused' else 'lib'}/{module}.py", "x = 1\n")
        for level in (0, 1, 2):
            py_compile.compile(str(source), optimize=level, doraise=True)
    write(root, "/old/three.py")
    write(root, "/old/three.pyc")
    tag = importlib.util.cache_from_source("one.py").rsplit("/", 1)[1].split(".", 1)[1]
    made_again = CruftRule(name="byte-code", patterns=("/**/*.pyc",), why="made again", risk="", when="has-source")
    evidence = evidence_for(root, ["/lib/one.py", f"/lib/__pycache__/two.{tag}", "/old/three.pyc"])
    plan = decide(replace(evidence, rules=replace(evidence.rules, cruft=(made_again,))), "file")
    assert files_kept(plan, root) == {
        "/lib/one.py", "/lib/two.py", f"/lib/__pycache__/two.{tag}", "/old/three.py", "/old/three.pyc"
    }  # fmt: skip
    assert reason(plan, "/lib/two.py").kind == "source-of-byte-code"
    assert reason(plan, "/old/three.py").source == b"/old/three.pyc"


def test_both_halves_of_a_lazy_load_data_base_stay(root: Path) -> None:
    """R's index and data need each other."""
    for each in ("/R/a.rdb", "/R/a.rdx", "/R/b.rdb", "/R/b.rdx", "/S/c.rdb", "/S/c.rdx"):
        write(root, each)
    plan = plan_for(root, ["/R/a.rdb", "/R/b.rdx"])
    assert files_kept(plan, root) == {"/R/a.rdb", "/R/a.rdx", "/R/b.rdb", "/R/b.rdx"}
    assert reason(plan, "/R/a.rdx").kind == "lazy-load-half"


def test_every_name_of_a_kept_file_stays(root: Path) -> None:
    """Further hard links cost nothing and stay; what one of them drags in stays too."""
    write(root, "/a/tool.rdb", "x")
    write(root, "/c/other", "x")
    os.link(root / "a/tool.rdb", root / "a/twin.rdb")
    os.link(root / "c/other", root / "c/twin")
    write(root, "/a/twin.rdx")
    plan = plan_for(root, ["/a/tool.rdb"])
    assert files_kept(plan, root) == {"/a/tool.rdb", "/a/twin.rdb", "/a/twin.rdx"}
    assert chain(plan, "/a/twin.rdx")[1:] == ["/a/twin.rdb", "/a/tool.rdb"]
    assert reason(plan, "/c/twin").verdict is Verdict.DROP


def test_a_file_that_was_only_looked_up_keeps_what_it_needs(root: Path) -> None:
    """A looked-up program may be started next time."""
    build_library(root, "/usr/lib/libone.so")
    build(root, "/bin/tool", needs=["/usr/lib/libone.so"], program=True)
    plan = plan_for(root, [access("/bin/tool", How.LOOKED_UP)])
    assert reason(plan, "/usr/lib/libone.so").kind == "library"


def test_what_lies_outside_the_scopes_is_not_called_missing(root: Path) -> None:
    """With a part of the image in view, a loader elsewhere is not a need that nothing fulfils."""
    build(root, "/opt/tool", program=True)
    inventory = scan(os.fsencode(root.resolve()), (b"/opt",))
    trace = trace_for(inventory, [access("/opt/tool")])
    evidence = replace(evidence_for(root), inventory=inventory, trace=trace, fingerprint=fingerprint(inventory))
    assert decide(evidence, "file").unresolved == ()


@pytest.mark.parametrize(
    ("compiled", "source"),
    [
        (b"/a/__pycache__/m.cpython-312.pyc", b"/a/m.py"),
        (b"/a/__pycache__/m.cpython-313.opt-1.pyc", b"/a/m.py"),
        (b"/a/__pycache__/m.pypy310.pyc", b"/a/m.py"),
        (b"/a/__pycache__/my.mod.cpython-312.opt-2.pyc", b"/a/my.mod.py"),
        (b"/a/__pycache__/test_m.cpython-312-pytest-8.3.3.pyc", b"/a/test_m.py"),
        (b"/__pycache__/m.cpython-312.pyc", b"/m.py"),
        (b"/a/m.pyc", b"/a/m.py"),
    ],
)
def test_the_source_of_byte_code(compiled: bytes, source: bytes) -> None:
    """The inverse of Python's naming, dots in names and in tags included."""
    assert source_of(compiled) == source


@pytest.mark.parametrize("module", ["plain", "with.dots", "_x1"])
@pytest.mark.parametrize("level", ["", "1", "2"])
def test_the_source_is_what_this_python_compiled(module: str, level: str) -> None:
    """source_of undoes importlib's cache_from_source."""
    source = f"/a/{module}.py"
    assert source_of(importlib.util.cache_from_source(source, optimization=level).encode()) == source.encode()


MACHINES = (b"x86_64-linux-gnu", b"aarch64-linux-gnu")
LIBRARIES = (b"lib", b"lib64", *(b"lib/" + each for each in MACHINES))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (b"$ORIGIN/../lib", [b"/opt/bin/../lib"]),
        (b"${ORIGIN}", [b"/opt/bin"]),
        (b"/opt/$LIB", [b"/opt/lib", b"/opt/lib64", b"/opt/lib/x86_64-linux-gnu", b"/opt/lib/aarch64-linux-gnu"]),
        (b"/$LIB/$LIB", [b"/%b/%b" % (each, each) for each in LIBRARIES]),
        (b"/a" + b"/$LIB" * 800, [b"/a" + (b"/" + each) * 800 for each in LIBRARIES]),
        (b"$ORIGIN" * 600, []),
        (b"$ORIGINAL", []),
        (b"/opt/$OTHER", [b"/opt/$OTHER"]),
        (b"relative", []),
        (b"", []),
    ],
)
def test_loader_tokens(entry: bytes, expected: list[bytes]) -> None:
    """Tokens of ld.so(8) become every directory that they can mean, each token the same one wherever it stands."""
    assert expand(entry, b"/opt/bin/tool") == expected
