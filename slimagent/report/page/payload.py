"""What the page's script is given: the tree, and why each part of it stays or goes, as compressed text. Pure."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from slimagent.model.plan import Plan
from slimagent.model.reason import Verdict
from slimagent.model.report import Fate
from slimagent.paths.algebra import to_text
from slimagent.report.explain import Explainer, package_name
from slimagent.report.fates import STRIPPED_AND_GPU, WORDS, Fates
from slimagent.report.page.tree import NAMED, Sort, Tree, tree
from slimagent.text.escapes import printable
from slimagent.text.json_output import encoded

WORD = "\0"  # in what it costs to keep a file: the file's path as a word for a shell
_FATES = list(Fate)


class Texts:
    """Texts as numbers, each once. What a browser or a terminal would obey in them is escaped; `WORD` is not."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self.shown: list[str] = []

    def at(self, text: str) -> int:
        """The number of a text; -1 for none."""
        if not text:
            return -1
        known = self._at.get(text)
        if known is None:
            known = self._at[text] = len(self.shown)
            self.shown.append(WORD.join(printable(part) for part in text.split(WORD)))
        return known


def payload(plan: Plan, fates: Fates, title: str, named: int = NAMED) -> dict[str, Any]:
    """The values that the script reads; `slimagent/report/page/data.js` says the same in its language."""
    made, at_least = tree(plan, fates, title, named)
    explainer, texts = Explainer(plan, fates.receipt), Texts()
    links = explainer.links()
    return {
        "words": [_word(each, plan, fates) for each in Fate],
        "level": plan.level,
        "atLeast": at_least,
        "sort": made.sort,
        "up": made.up,
        "name": [texts.at(each) for each in made.names],
        "bytes": made.bytes,
        "files": _sparse(made.files, 0, 1),
        "saved": _sparse(made.saved, 0),
        "reason": made.reason,
        "base": [[node, texts.at(where)] for node, where in made.base.items()],
        "cost": _sparse([texts.at(each) for each in _costs(made, plan, explainer)], -1),
        "owners": _owners(made, plan, texts),
        "symbols": _symbols(made, plan, explainer, texts),
        "packages": [_package(plan, number, texts) for number in range(len(plan.packages))],
        "entry": [entry if sort == Sort.PACKAGE else -1 for sort, entry in zip(made.sort, made.entry, strict=True)],
        "fate": [-1 if each is None else _FATES.index(each) for each in fates.of],
        "keeps": [int(each.verdict is Verdict.KEEP) for each in plan.reasons],
        "sentence": [texts.at(each.sentence) for each in links],
        "next": [each.next for each in links],
        "what": [texts.at(each.what) for each in links],
        "texts": texts.shown,
    }


def _word(fate: Fate, plan: Plan, fates: Fates) -> str:
    """What to call a fate; also what goes of GPU code by the plan counts as stripped."""
    code = plan.gpu is not None and plan.gpu.files and (fates.receipt is None or fates.receipt.bytes_gpu)
    return STRIPPED_AND_GPU if code and fate is Fate.STRIPPED else WORDS[fate]


def packed(value: dict[str, Any]) -> str:
    """The values as text that ends no element of a page: JSON, deflated (RFC 1950), in Base64."""
    return base64.b64encode(zlib.compress(encoded(value), 9)).decode("ascii")


def _sparse(column: list[int], usual: int, also: int | None = None) -> list[list[int]]:
    """A column of which most is `usual` (or `also`): the numbers of the other nodes, and their values."""
    rows = [(at, value) for at, value in enumerate(column) if value not in (usual, also)]
    return [[at for at, _ in rows], [value for _, value in rows]]


def _costs(made: Tree, plan: Plan, explainer: Explainer) -> list[str]:
    found = []
    for sort, at in zip(made.sort, made.entry, strict=True):
        if sort == Sort.FILE:
            found.append(explainer.cost(plan.entries[at], WORD))
        else:
            found.append(explainer.package_cost(at) if sort == Sort.PACKAGE else "")
    return found


def _symbols(made: Tree, plan: Plan, explainer: Explainer, texts: Texts) -> list[list[int]]:
    """What becomes of the symbols of the files that have some."""
    those = [
        (node, texts.at(said))
        for node, (sort, at) in enumerate(zip(made.sort, made.entry, strict=True))
        if sort == Sort.FILE and (said := explainer.stripped(plan.entries[at].path))
    ]
    return [[node for node, _ in those], [said for _, said in those]]


def _owners(made: Tree, plan: Plan, texts: Texts) -> list[list[Any]]:
    """The owners beside the first one, of the files that have several."""
    more = dict(plan.further)
    return [
        [node, [texts.at(package_name(plan.packages[each].package)) for each in more[at]]]
        for node, (sort, at) in enumerate(zip(made.sort, made.entry, strict=True))
        if sort == Sort.FILE and more.get(at)
    ]


def _package(plan: Plan, number: int, texts: Texts) -> list[int]:
    """A package's name as it is explained, its place (-1 for the system's own), its bytes, and those that stay."""
    planned = plan.packages[number]
    named = package_name(planned.package)
    place = -1 if planned.package.place == b"/" else texts.at(to_text(planned.package.place))
    return [texts.at(named), place, planned.size, planned.kept]
