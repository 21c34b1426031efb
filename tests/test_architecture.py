"""The rooms of the house, and who may know whom: the imports are read, and every edge stands in a table here."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import slimagent

PACKAGE = Path(slimagent.__file__).parent
BASE = {"errors", "model", "results", "rules", "traces", "paths", "files", "temporary"}
TOOLS = {
    "elf_tables",
    "escapes",
    "json_input",
    "path_rules",
    "posix_acl",
    "references",
    "removal",
    "started",
    "summaries",
}
STAGES = ("trace", "checks", "inventory", "plan", "apply", "verify", "report", "image", "bundle")
VERSION = "__version__"  # not a room: a number that documents carry

# What each module at the top, and the command line as a whole, imports today. A new edge is a decision: write it here.
EDGES = {
    "__init__": set(),
    "__main__": {"cli.main"},
    "errors": set(),
    "results": set(),
    "model": {"results", "traces"},
    "traces": {"results"},
    "rules": set(),
    "paths": set(),
    "files": {"errors", "paths", "temporary"},
    "temporary": {"removal"},
    "envelope": {"errors", "escapes", "json_input", "paths"},
    "documents": {"envelope", "escapes", "model", "paths", "plan_document", "results", "summaries", "traces"},
    "summaries": {"model", "results", "traces"},
    "plan_document": {"envelope", "errors", "escapes", "model", "paths", "traces"},
    "elf_tables": set(),
    "posix_acl": set(),
    "path_rules": {"paths"},
    "removal": set(),
    "references": {"errors"},
    "profile": {"errors", "escapes", "profile_rules", "profile_table", "rules"},
    "profile_rules": {"errors", "profile_table", "rules"},
    "profile_table": {"errors", "escapes", "paths"},
    "profile_writer": {"rules"},
    "profiles": {"errors", "files", "profile", "profile_writer", "checks.detect", "rules"},
    "agent_directory": {"errors", "files", "json_input", "paths"},
    "session": {"errors", "escapes", "model", "paths", "rules", "trace.kernel"},
    "exercise": {
        "checks",
        "errors",
        "results",
        "rules",
        "session",
        "started",
        "step_logs",
        "trace.foreground",
        "trace.ports",
        "trace.select",
        "trace.watcher",
        "traces",
    },
    "pipeline": {
        *(BASE - {"results", "rules", "temporary"}),
        "apply",
        "documents",
        "exercise",
        "gained_rights",
        "inventory.accounts",
        "inventory.contents",
        "inventory.fingerprint",
        "inventory.loader",
        "inventory.owners",
        "inventory.scan",
        "plan.admit",
        "plan.decide",
        "plan.evidence",
        "in_place",
        "proof",
        "session",
        "summaries",
        "trace.select",
        "tracing",
    },
    "in_place": {
        "apply",
        "errors",
        "exercise",
        "files",
        "inventory.fingerprint",
        "model",
        "plan.admit",
        "session",
        "temporary",
    },
    "proof": {
        "errors",
        "exercise",
        "inventory.fingerprint",
        "inventory.scan",
        "model",
        "paths",
        "results",
        "session",
        "tracing",
        "verify.compare",
    },
    "gained_rights": {"paths", "results", "traces"},
    "tracing": {
        "files",
        "model",
        "paths",
        "traces",
        VERSION,
        "documents",
        "exercise",
        "inventory.changes",
        "inventory.fingerprint",
        "session",
        "trace.merge",
        "trace.watcher",
    },
    "bundler": {
        "agent_directory",
        "errors",
        "files",
        "results",
        "rules",
        VERSION,
        "bundle.finish",
        "bundle.host",
        "bundle.stage",
        "bundle.workload",
        "documents",
        "exercise",
        "image.agent",
        "pipeline",
        "profiles",
        "session",
        "temporary",
    },
    "slim_image": {
        VERSION,
        "apply.image_config",
        "documents",
        "errors",
        "exercise",
        "image.agent",
        "image.directories",
        "image.engine",
        "image.history",
        "image.labels",
        "image.leftovers",
        "image.output",
        "image.owner",
        "image.preflight",
        "image.request",
        "image.shared",
        "image.starts",
        "image.work",
        "model",
        "plan.admit",
        "report.failure",
        "results",
        "started",
        "step_logs",
        "summaries",
        "traces",
        "verify.compare",
    },
    "cli": {
        VERSION,
        "agent_directory",
        "apply",
        "apply.dockerfile",
        "apply.image_config",
        "bundler",
        "checks",
        "documents",
        "envelope",
        "errors",
        "escapes",
        "exercise",
        "files",
        "image.agent",
        "image.engine",
        "image.labels",
        "image.output",
        "image.request",
        "image.starts",
        "image.work",
        "model",
        "paths",
        "pipeline",
        "plan.explain",
        "profiles",
        "proof",
        "report.checklist",
        "report.pull_request",
        "report.reach",
        "report.summary",
        "report.text",
        "results",
        "rules",
        "session",
        "slim_image",
        "started",
        "starting",
        "step_logs",
        "summaries",
        "temporary",
        "trace.select",
        "traces",
        "tracing",
        "verify.compare",
    },
    "started": {"errors", "escapes", "json_input", "paths", "results", "traces"},
    "starting": {
        "apply.image_config",
        "checks",
        "errors",
        "files",
        "results",
        "rules",
        "session",
        "started",
        "trace.diary",
        "trace.first",
        "trace.kernel",
        "trace.seccomp",
    },
    "step_logs": {"files"},
    "escapes": set(),
    "json_input": set(),
}

PURE = (
    *(
        "errors.py",
        "model.py",
        "results.py",
        "rules.py",
        "traces.py",
        "summaries.py",
        "paths.py",
        "envelope.py",
        "escapes.py",
        "json_input.py",
        "documents.py",
        "path_rules.py",
    ),
    *("plan_document.py", "profile.py", "profile_rules.py", "profile_table.py", "profile_writer.py"),
    *("plan/*.py", "verify/*.py", "report/*.py"),
    *("trace/filter.py", "trace/syscalls.py", "trace/merge.py", "trace/record.py", "trace/watcher.py"),
    *("trace/fanotify_events.py", "trace/compare_backends.py"),
    *("apply/altered.py", "apply/decide.py", "apply/pax.py", "apply/package_databases.py", "apply/alternatives.py"),
    *("apply/alternative_links.py", "apply/draft.py", "apply/edits.py", "apply/image_config.py"),
    *("apply/journal_format.py", "apply/components.py", "apply/compression.py", "apply/image_documents.py"),
    *(
        "apply/between.py",
        "apply/carried_out.py",
        "apply/dockerfile.py",
        "apply/dockerfile_words.py",
        "image/history.py",
    ),
    *("references.py", "started.py", "image/labels.py", "image/complaint.py"),
    *("elf_tables.py", "posix_acl.py", "apply/strip_proof.py", "inventory/sections.py"),
    *("inventory/elf.py", "inventory/fingerprint.py", "inventory/changes.py"),
)
EFFECTS = {"os", "subprocess", "ctypes", "click", "socket", "time"}
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60  # lines

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


def is_module(dotted: str) -> bool:
    at = PACKAGE.joinpath(*dotted.split("."))
    return at.is_dir() or at.with_suffix(".py").is_file()


def own_imports(path: Path) -> set[str]:
    """The modules of slimagent that a module imports, as `paths` or `plan.explain`; relative imports are refused."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "slimagent":
                    assert alias.name == "slimagent", f"{shown(path)}: write from slimagent.x import y"
                    found |= attributes_of_package(path)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}: a relative import"
            whole = f"{node.module}."
            if whole.startswith("slimagent."):
                base = whole[len("slimagent.") :]
                for alias in node.names:
                    dotted = base + alias.name
                    found.add(dotted if not base or is_module(dotted) else base.rstrip("."))
    return found


def attributes_of_package(path: Path) -> set[str]:
    """What a module that says `import slimagent` takes from it."""
    return {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "slimagent"
    }


def outside_imports(path: Path) -> set[str]:
    """The first names of the modules from elsewhere that a module imports when it runs."""
    found: set[str] = set()
    for node in without_type_checking(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def room(dotted: str) -> str:
    return dotted.split(".")[0]


def test_every_room_is_known() -> None:
    """A folder is a stage or the command line, a module at the top stands in the table: the house has nothing else."""
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in MODULES if path.parent != PACKAGE}
    assert folders <= {*STAGES, "cli"}
    assert {path.stem for path in MODULES if path.parent == PACKAGE} == EDGES.keys() - {"cli"}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if (PACKAGE / stage).is_dir()])
def test_a_stage_knows_the_base_rooms_and_itself(stage: str) -> None:
    """No stage imports another one: data goes from one to the next through the pipeline alone."""
    for path in sorted((PACKAGE / stage).rglob("*.py")):
        known = {*BASE, *TOOLS, stage, VERSION}
        foreign = {name for name in own_imports(path) if room(name) not in known}
        assert not foreign, f"{shown(path)} imports {sorted(foreign)}"


@pytest.mark.parametrize("module", [name for name in EDGES if name != "cli"])
def test_a_module_at_the_top_imports_what_the_table_says(module: str) -> None:
    """The edges of a module at the top are those of the table: none more, and none that is not needed any longer."""
    assert own_imports(PACKAGE / f"{module}.py") == EDGES[module]


def test_the_command_line_imports_what_the_table_says() -> None:
    """The edges of the commands, taken together, are those of the table."""
    found = set().union(*(own_imports(path) for path in sorted((PACKAGE / "cli").glob("*.py"))))
    assert {name for name in found if room(name) != "cli"} == EDGES["cli"]


def test_only_the_program_imports_the_command_line() -> None:
    """The library can be used without its command line: nothing but `__main__` imports it."""
    for path in MODULES:
        if path.parent.name != "cli" and path.name != "__main__.py":
            assert "cli" not in map(room, own_imports(path)), shown(path)


@pytest.mark.parametrize("pattern", PURE)
def test_a_pure_room_has_no_effects(pattern: str) -> None:
    """A pure room imports no module by which it could touch the disk, a process, the clock or the terminal."""
    paths = sorted(PACKAGE.glob(pattern))
    assert paths, f"no module is {pattern}"
    for path in paths:
        assert not outside_imports(path) & EFFECTS, shown(path)
        assert "files" not in map(room, own_imports(path)), shown(path)


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
    "step_logs.py": "passes on what a step says, as the step's own terminal would",
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
        assert "orjson.loads" not in calls or shown(path) == "json_input.py", shown(path)


# What calls itself, and why its depth is not that of any input.
RECURSIVE = {
    ("checks/code_server/extensions.py", "_file"): "counts down",
    ("checks/code_server/manifest.py", "_at"): "the length of a constant",
    ("checks/code_server/remote.py", "_decode"): "has a limit",
    ("checks/compiling/r.py", "_build"): "once for each language",
    ("envelope.py", "_encodable"): "our own documents, before they are written",
    ("inventory/component.py", "_local"): "the shared folders of /usr/local, by constant patterns",
    ("trace/fanotify_group.py", "ignore"): "once, without what the kernel did not understand",
    ("starting.py", "_write"): "the row that says that no more is written",
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
    """No module is longer than 400 lines and no function longer than 60."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{shown(path)}: {node.name}"
