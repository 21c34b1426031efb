"""The rooms of the house, and who may know whom: the imports are read, and every edge stands in a table here."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import slimagent
from tools import house

PACKAGE = Path(slimagent.__file__).parent
PLACES = [Path(__file__).parent, Path(__file__).parents[1] / "benchmarks"]
# What every room may know. The stages know nothing else: data goes from one to the next through the workflows alone.
BASE = {"elf", "errors", "gpu", "linux", "model", "paths", "text"}
STAGES = ("trace", "checks", "inventory", "plan", "apply", "verify", "report", "image", "bundle")
MOST_ROOMS = {"": 23, "apply": 10}

# Which rooms each room imports today. A new edge is a decision: write it here.
EDGES = {
    "": {
        "__main__": {"cli"},
        "apply": {"elf", "errors", "gpu", "linux", "model", "paths", "text"},
        "audit": {"gpu", "model", "paths", "text"},
        "bundle": {"errors", "linux", "model", "paths", "text"},
        "checks": {"errors", "linux", "model", "paths", "text"},
        "cli": {
            "apply",
            "bundle",
            "checks",
            "documents",
            "errors",
            "gate",
            "gpu",
            "image",
            "linux",
            "model",
            "paths",
            "profiles",
            "report",
            "text",
            "trace",
            "verify",
            "workflows",
        },
        "documents": {"errors", "model", "paths", "text"},
        "elf": {"model"},
        "errors": set(),
        "gate": {"errors", "model", "text"},
        "gpu": {"elf", "errors"},
        "image": {"errors", "linux", "model", "paths", "text"},
        "inventory": {"elf", "errors", "gpu", "model", "paths", "text"},
        "linux": {"errors", "model", "paths"},
        "model": {"errors", "paths", "text"},
        "paths": set(),
        "plan": {"elf", "errors", "gpu", "model", "paths", "text"},
        "profiles": {"checks", "errors", "gate", "gpu", "linux", "model", "paths", "text"},
        "report": {"errors", "model", "paths", "text"},
        "text": set(),
        "trace": {"elf", "errors", "linux", "model", "paths", "text"},
        "verify": {"model", "paths"},
        "workflows": {
            "apply",
            "audit",
            "bundle",
            "checks",
            "documents",
            "errors",
            "image",
            "inventory",
            "linux",
            "model",
            "paths",
            "plan",
            "profiles",
            "report",
            "text",
            "trace",
            "verify",
        },
    },
    "apply": {
        "decide": set(),
        "directories": set(),
        "edits": {"decide", "source"},
        "export": {"decide", "directories", "edits", "going", "progress", "source", "strip"},
        "going": {"decide", "source"},
        "in_place": {"decide", "directories", "edits", "going", "progress", "source", "strip"},
        "progress": set(),
        "source": {"decide", "directories"},
        "strip": {"decide", "source"},
    },
}

PURE = (
    *("errors.py", "model/*.py", "paths/*.py", "text/*.py", "elf/*.py", "gpu/*.py", "documents/*.py", "gate/*.py"),
    *("audit/*.py", "plan/*.py", "verify/*.py"),
    *("report/*.py", "report/missing/*.py", "report/page/*.py", "report/sbom/*.py"),
    *("profiles/read.py", "profiles/rules.py", "profiles/table.py", "profiles/write.py"),
    *("linux/syscalls.py", "linux/posix_acl.py", "inventory/fingerprint.py", "inventory/changes.py"),
    *("trace/seccomp/filter.py", "trace/merge.py", "trace/record.py", "trace/watcher.py", "trace/compare_backends.py"),
    "apply/decide.py",
    *("apply/strip/outcome.py", "apply/strip/proof.py"),
    *("apply/edits/package_databases.py", "apply/edits/alternatives.py", "apply/edits/alternative_links.py"),
    *("apply/edits/draft.py", "apply/edits/edit.py", "apply/in_place/between.py"),
    *("apply/in_place/journal_format.py", "apply/export/pax.py", "apply/export/components.py"),
    *("apply/export/compression.py", "apply/export/image_documents.py", "image/dockerfile.py"),
    *("image/dockerfile_words.py", "image/history.py", "image/labels.py", "image/complaint.py"),
    *("image/container.py", "image/stacking.py", "image/adding.py"),
    *("image/engine_request.py", "image/configured.py"),
)
EFFECTS = {"os", "subprocess", "ctypes", "click", "socket", "time"}
LONGEST_MODULE, LONGEST_FUNCTION = 350, 45  # lines

MODULES = sorted(PACKAGE.rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: what stands under `if TYPE_CHECKING:` is read by type checkers alone."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield from without_type_checking(child)


def outside_imports(path: Path) -> set[str]:
    """The first names of the modules from elsewhere that a module imports when it runs."""
    found: set[str] = set()
    for node in without_type_checking(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("of", EDGES)
def test_the_rooms_import_what_the_table_says(of: str) -> None:
    """The rooms are those of the table, and so are their edges: none more, and none that is not needed any longer."""
    graph = house.rooms(of)
    assert graph == EDGES[of]
    assert len(graph) <= MOST_ROOMS[of]


@pytest.mark.parametrize("of", ["", *(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())])
def test_the_house_has_floors(of: str) -> None:
    """No room can be reached from itself, at the top and in each room."""
    assert not house.in_cycles(house.rooms(of))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_knows_the_base_rooms_and_itself(stage: str) -> None:
    """No stage imports another one: data goes from one to the next through the workflows alone."""
    assert EDGES[""][stage] <= BASE


def test_only_the_program_imports_the_command_line() -> None:
    """The library can be used without its command line: nothing but `__main__` imports it."""
    assert [name for name, others in EDGES[""].items() if "cli" in others] == ["__main__"]


@pytest.mark.parametrize("pattern", PURE)
def test_a_pure_room_has_no_effects(pattern: str) -> None:
    """A pure room imports no module by which it could touch the disk, a process, the clock or the terminal."""
    paths = sorted(PACKAGE.glob(pattern))
    assert paths, f"no module is {pattern}"
    for path in paths:
        assert not outside_imports(path) & EFFECTS, shown(path)
        assert "linux.files" not in house.imported(path), shown(path)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_the_library_never_prints_and_never_exits(path: Path) -> None:
    """Only the command line prints, exits or knows click."""
    if path.parent.name == "cli" or path.name == "__main__.py":
        return
    calls = [ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not {"print", "exit", "quit", "sys.exit", "SystemExit"} & set(calls)
    assert "click" not in outside_imports(path)


# Which modules write to a stream of the process, and why nothing of an image can go astray there.
WRITERS = {
    "cli/terminal.py": "the way to the terminal",
    "workflows/step_logs.py": "passes on what a step says, as the step's own terminal would",
    "trace/first.py": "is the image's process, and says why it cannot execute",
    "bundle/reach_driver.py": "runs in an interpreter of its own, which reads names of modules to us",
    "checks/gpu/driver.py": "the same",
    "checks/python/imports_driver.py": "the same",
}
_PRINTS = re.compile(
    r"(?:.*\.)?(?:print|input|echo|secho|echo_via_pager|confirm|prompt|progressbar)|rich\..*|traceback\.print_.*"
    r"|(?:.*\.)?(?:sys\.(?:__)?std(?:out|err)(?:__)?|stdout|stderr)(?:\.buffer)?\.write(?:lines)?|warnings\.warn"
)


def writes(path: Path) -> list[str]:
    """The calls of a module that write to the terminal, in whatever way."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            first = ast.unparse(node.args[0]) if node.args else ""
            to_stream = called == "os.write" and (first in ("1", "2") or "std" in first)
            shows = called.endswith(".show") and not node.args and path.parent.name == "cli"
            if _PRINTS.fullmatch(called) or to_stream or shows:
                found.append(ast.unparse(node))
    return found


def test_there_is_one_way_to_the_terminal() -> None:
    """O1: what is printed is made printable in one place, so no module has another way to the terminal."""
    assert {shown(path) for path in MODULES if writes(path)} == WRITERS.keys()
    for path in MODULES:
        if shown(path) != "cli/terminal.py":
            assert "rich" not in outside_imports(path), shown(path)


def test_there_is_one_reader_of_json_for_documents() -> None:
    """R1: what is nested too deep to be shown or written again is refused where it is read, and that is one place."""
    for path in MODULES:
        calls = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
        assert "orjson.loads" not in calls or shown(path) == "text/json_input.py", shown(path)


# What calls itself, and why its depth is not that of any input.
RECURSIVE = {
    ("checks/code_server/extensions.py", "_file"): "counts down",
    ("checks/code_server/manifest.py", "_at"): "the length of a constant",
    ("checks/code_server/remote.py", "_decode"): "has a limit",
    ("checks/compiling/r.py", "_build"): "once for each language",
    ("text/json_output.py", "_encodable"): "our own documents, before they are written",
    ("inventory/component.py", "_local"): "the shared folders of /usr/local, by constant patterns",
    ("trace/fanotify/group.py", "ignore"): "once, without what the kernel did not understand",
    ("workflows/starting.py", "_write"): "the row that says that no more is written",
}


def functions(node: ast.AST, holder: str = "") -> Iterator[tuple[str, str, ast.AST]]:
    """Every function below a node, as the class that holds it (or nothing), its name, and itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield holder, child.name, child
        yield from functions(child, child.name if isinstance(child, ast.ClassDef) else holder)


def recursive(path: Path) -> set[str]:
    """The functions of a module that reach themselves by calls of plain names, or of methods of `self`."""
    found = list(functions(tree(path)))
    calls: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for holder, name, node in found:
        for call in (each.func for each in ast.walk(node) if isinstance(each, ast.Call)):
            method = isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "self"
            called = call.attr if isinstance(call, ast.Attribute) else call.id if isinstance(call, ast.Name) else ""
            if method or isinstance(call, ast.Name):
                calls.setdefault((holder, name), set()).add((holder if method else "", called))
    for _ in found:  # until nothing new is reached
        for key, reached in calls.items():
            calls[key] = reached.union(*(calls.get(each, set()) for each in reached))
    return {name for (holder, name), reached in calls.items() if (holder, name) in reached}


def test_nothing_calls_itself_as_deep_as_its_input() -> None:
    """R1, R2: a chain of files, links, requirements or levels of any length is followed by a loop."""
    assert {(shown(path), name) for path in MODULES for name in recursive(path)} == RECURSIVE.keys()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_modules_and_functions_stay_short(path: Path) -> None:
    """No module is longer than 350 lines and no function longer than 45."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{shown(path)}: {node.name}"


IN_A_STRING = re.compile(r"^\s*from (slimagent(?:\.\w+)*) import ([\w, ]+)$", re.MULTILINE)


def test_programs_in_strings_import_what_there_is() -> None:
    """A program that is handed to another Python is a string: no linter reads its imports, and a move passes it by."""
    for path in sorted(each for place in (PACKAGE, *PLACES) for each in place.rglob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for module, names in IN_A_STRING.findall(node.value):
                    for name in (each.split(" as ")[0].strip() for each in names.split(",")):
                        imported = importlib.import_module(module)
                        found = hasattr(imported, name) or importlib.util.find_spec(f"{module}.{name}")
                        assert found, f"{path}: from {module} import {name}"
