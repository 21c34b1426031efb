"""Write what a COPY should not bring: paths, or lines of .dockerignore. All are comments: a COPY runs nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from slimagent.audit import edits
from slimagent.audit.by_layer import Part
from slimagent.audit.keeping_out import is_kept
from slimagent.audit.known import Known
from slimagent.model.profile import CruftRule
from slimagent.paths.algebra import ancestors, within
from slimagent.paths.algebra import pattern as compiled
from slimagent.paths.patterns import PathRules


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


def ignorable(known: Known, rule: CruftRule, layer: int, to: bytes) -> set[int]:
    """The patterns of a rule that match no directory of a COPY in which other files are.

    find(1) removes only files, but .dockerignore takes a directory with all that is in it.
    """
    tests, of_copy = PathRules(rule.patterns), (known.inventory.paths[at] for at in known.in_layer.get(layer, ()))
    apart = (path for path in of_copy if within(path, to) and tests.first(path) is None)
    others = {directory for path in apart for directory in ancestors(path)}
    taken = {which for each in others if each != to and within(each, to) for which in tests.matches(each)}
    return set(range(len(rule.patterns))) - taken


def takes_more(known: Known, rule: CruftRule, found: Iterable[int], layer: int, chosen: frozenset[int]) -> bool:
    """Whether some patterns match a directory of a COPY in which something is in use that they do not match.

    `found` are all files that match any pattern of the rule.
    """
    paths, of = known.inventory.paths, known.layers.of
    tests = PathRules([each for which, each in enumerate(rule.patterns) if which in chosen])
    others = (paths[at] for at in found if of.get(paths[at]) == layer and is_kept(at, known))
    above = {each for path in others if tests.first(path) is None for each in ancestors(path)}
    return any(tests.first(each) is not None for each in above)


def ignored(layer_to: bytes, going: Sequence[str], staying: Sequence[str], saves: int) -> Part:
    """Comments with the lines of .dockerignore: one pattern in each, and no shell reads that file."""
    if not going:
        return Part()
    head = edits.line("# do not copy to {}; lines for .dockerignore, below what is copied:", layer_to)
    return Part((head, *(f"#   {each}" for each in going), *(f"#   !{each}" for each in staying)), saves)
