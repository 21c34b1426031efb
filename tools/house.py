"""Print how the package is built: its rooms, who imports whom, cycles, and what is longest.

    python tools/house.py            # the figures
    python tools/house.py --edges    # and each room's imports

A room is a directory of the package, or a module beside them. An arrow is an import of one room by another; what stands
under `if TYPE_CHECKING:` counts, too. A floor holds the rooms that only import from lower floors.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "slimagent"
NAME = "slimagent"
Graph = dict[str, set[str]]


def modules(package: Path = PACKAGE) -> list[Path]:
    """Every module of the package."""
    return sorted(package.rglob("*.py"))


def dotted(path: Path, package: Path = PACKAGE) -> str:
    """A module's name below the package; a package's own is that of its directory, and the whole one's is empty."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, package: Path = PACKAGE) -> set[str]:
    """The modules of the package that a module imports. Raises ValueError for a relative import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: a relative import")
            whole = f"{node.module}."
            if whole.startswith(f"{NAME}."):
                base = whole[len(NAME) + 1 :]
                names = (base + each.name for each in node.names)
                found |= {each if _is_module(each, package) else base.rstrip(".") for each in names}
    return found - {""}


def _is_module(name: str, package: Path) -> bool:
    place = package.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def rooms(of: str = "", package: Path = PACKAGE) -> Graph:
    """The rooms of the package, or of one directory in it, and which of them each imports."""
    inside = f"{of}." if of else ""
    graph: Graph = {}
    for path in modules(package):
        name = dotted(path, package)
        if not name.startswith(inside) or not name:
            continue
        room = name[len(inside) :].split(".")[0]
        others = {each[len(inside) :].split(".")[0] for each in imported(path, package) if each.startswith(inside)}
        graph.setdefault(room, set()).update(others - {room})
    return graph


def floors(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The rooms by floor, the lowest first; rooms in a cycle, and all that import them, have none and are left out."""
    found: list[set[str]] = []
    below: set[str] = set()
    while level := {room for room, others in graph.items() if room not in below and others <= below}:
        found.append(level)
        below |= level
    return found


def in_cycles(graph: Mapping[str, set[str]]) -> set[str]:
    """The rooms that can be reached from themselves."""
    reached = {room: set(others) for room, others in graph.items()}
    for _ in graph:
        for room, others in reached.items():
            reached[room] = others.union(*(reached.get(each, set()) for each in others))
    return {room for room, others in reached.items() if room in others}


def lengths(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of each function of a module, and its name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, node.name


def lines(path: Path) -> int:
    """The lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def main() -> None:
    """Print the figures."""
    for of in ("", "apply"):
        graph = rooms(of)
        arrows = sum(map(len, graph.values()))
        cycles = ", ".join(sorted(in_cycles(graph))) or "none"
        where = of + "/" if of else "the top"
        print(f"{where:8} {len(graph):3} rooms on {len(floors(graph))} floors, {arrows} arrows, cycles: {cycles}")
        if "--edges" in sys.argv:
            for room, others in sorted(graph.items()):
                print(f"  {room:12} {' '.join(sorted(others))}")
    paths = modules()
    print(f"modules  {len(paths):3}, {sum(map(lines, paths))} lines")
    for path in sorted(paths, key=lines, reverse=True)[:5]:
        print(f"  {lines(path):4} lines  {path.relative_to(PACKAGE)}")
    functions = sorted(((count, name, path) for path in paths for count, name in lengths(path)), reverse=True)
    print(f"functions of more than 45 lines: {sum(count > 45 for count, _, _ in functions)}")
    for count, name, path in functions[:5]:
        print(f"  {count:4} lines  {path.relative_to(PACKAGE)}: {name}")


if __name__ == "__main__":
    main()
