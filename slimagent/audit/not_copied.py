"""Write what a COPY should not bring: paths, or lines of .dockerignore. All are comments: a COPY runs nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from slimagent.audit import edits
from slimagent.audit.by_layer import Part
from slimagent.paths.algebra import pattern as compiled


def below(pattern: str, directory: bytes) -> frozenset[str]:
    """What is left of a pattern below a directory, as .dockerignore has it: from what is copied, not from the root.

    >>> sorted(below("/**/lib/**/tests/*", b"/opt/lib")), below("/usr/**", b"/opt")
    (['**/lib/**/tests/*', '**/tests/*'], frozenset())
    """
    states = {tuple(pattern.split("/")[1:])}
    for part in directory.split(b"/")[1:] if directory != b"/" else ():
        states = {after for state in states for after in _after(state, part)}
    return frozenset("/".join(state) for state in states)


def _after(state: tuple[str, ...], part: bytes) -> Iterator[tuple[str, ...]]:
    """What is left of a pattern's components after one of a path."""
    while state[0] == "**":
        yield state
        if len(state) == 1:
            return
        state = state[1:]
    if len(state) > 1 and compiled(f"/{state[0]}").fullmatch(b"/" + part):
        yield state[1:]


def is_expressible(pattern: str) -> bool:
    """Whether .dockerignore can have a pattern: `**` only as a whole component there, and no other wildcards."""
    return not any(each in pattern for each in "[\\!#") and all(
        each == "**" or "**" not in each for each in pattern.split("/")
    )


def matching(patterns: Iterable[str], directory: bytes, paths: Sequence[bytes]) -> list[str]:
    """Those of the patterns' rests below a directory that match one of these paths in it."""
    cut = [path[len(directory.rstrip(b"/")) :] for path in paths]
    rests = dict.fromkeys(rest for each in patterns for rest in sorted(below(each, directory)))
    tests = {rest: compiled(f"/{rest}").fullmatch for rest in rests}
    return [rest for rest, test in tests.items() if any(map(test, cut))]


def ignored(layer_to: bytes, going: Sequence[str], staying: Sequence[str], saves: int) -> Part:
    """Comments with the lines of .dockerignore: one pattern in each, and no shell reads that file."""
    if not going:
        return Part()
    head = edits.line("# do not copy to {}; lines for .dockerignore, below what is copied:", layer_to)
    return Part((head, *(f"#   {each}" for each in going), *(f"#   !{each}" for each in staying)), saves)
