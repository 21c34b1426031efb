"""Say what permits changing a file: the user's word, open licences, or that nobody else owns it. Pure.

A file has as many owners as its names have, and the links that lead to it. What is not known to be open is closed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from slimagent.model.inventory import Inventory, Owners, package_test
from slimagent.model.profile import Rules
from slimagent.paths.algebra import Resolver, ancestors, name, to_text, within
from slimagent.paths.hierarchy import is_shared
from slimagent.paths.patterns import PathRules
from slimagent.plan.closure import ContentReader
from slimagent.plan.licence_texts import LONGEST_TEXT, recognised
from slimagent.plan.open_licences import Said, is_open, said

# Libraries under NVIDIA's own agreement. Wheels and archives of others carry copies, whose licence is not theirs.
_OF_NVIDIA = re.compile(
    # Without `lib`, some of the names are words that anybody uses, and Python's bindings are called like the libraries.
    rb"(?:lib[_-]*|(?=.*\.so(?:\.|\Z))(?!cal(?![a-z])|cuda(?![a-z])|nv(?:ds|idia)|optix|.*\.(?:cpython-|abi3\.)))"
    rb"(?:accinj|cal|cublas(?:lt|mp)?|cuda(?!_)|cudadebugger|cudart|cudensitymat|cudla|cudnn[a-z]*|cudss|cufft(?:w|mp)?|cufile|cuinj"
    rb"|cupauliprop|cupti|curand|cusolver(?:mg|mp)?|cusparse(?:lt)?|custabilizer|custatevec|cutensor(?:mg|mp|net)?"
    rb"|cuvslam|myelin|npp[a-z]{1,4}|nvblas|nvcomp|nvcuvid|nvds(?:gst)?|nvfatbin|nvgraph|nvidia(?!_)|nvinfer|nvjitlink"
    rb"|nvjpeg(?:2k)?|nvngx|nvonnxparser|nvoptix|nvparsers|nvperf|nvptxcompiler|nvrtc|nvshmem|nvtiff|nvvideoeffects|nvvm|nvvpi|optix"
    rb"|physx[a-z]*|sanitizer-public)(?![a-z]).*",
    re.IGNORECASE | re.DOTALL,
)
# Beside a licence there may be an agreement that restricts it.
_LICENCE_FILE = re.compile(
    rb"licen[cs]e|copying|copyright|eula|agreement|notice|legal|terms|(?<![a-z])sla(?![a-z])", re.IGNORECASE
)
# Outside of a package's record, names that only contain such a word are mostly other things, except where it stands by
# itself, as in NVIDIA_EULA.txt or TermsOfUse.txt.
_LICENCE_FILE_ELSEWHERE = re.compile(
    rb"\A(?i:licen[cs]e|copying|eula)|(?<![A-Za-z])(?i:eula|agreement|terms)(?![A-Za-z])"
    rb"|(?<![A-Z])(?:EULA|Eula|Agreement|Terms)(?![a-z])"
)
_CODE = (b".py", b".pyc", b".pyi")
# All files in such a directory are licences (PEP 639, "Add License-File field").
_LICENCES = re.compile(rb"/licen[cs]es?(?:[_-]files)?/", re.IGNORECASE)
_MOST_TEXTS = 64  # licence files of one package that are read
_EXECUTE = 0o111
_PRODUCT = re.compile(r"(?!cuda)[a-z]{4}.*")  # in the name of its package: nvidia-cuda-runtime, nvidia-nccl-cu13
_LONGEST_NAME = 200  # characters: a licence can be stated as its whole text


class _Judged(NamedTuple):
    """What owners say together: the user's word for one of them, why the first one refuses, what the first permits."""

    word: str = ""
    refused: str = ""
    permitted: str = ""


class Permissions:
    """What permits changing files of an image."""

    def __init__(
        self, inventory: Inventory, owners: Owners, resolver: Resolver, contents: ContentReader, rules: Rules
    ) -> None:
        self._inventory, self._owners, self._resolver, self._contents = inventory, owners, resolver, contents
        named = () if rules.gpu is None else rules.gpu.owners
        self._packages = [(each, package_test(each)) for each in named if not each.startswith("/")]
        self._texts = [each for each in named if each.startswith("/")]
        self._paths = PathRules(self._texts)
        self._known: dict[int, tuple[str, str]] = {}
        self._led: dict[bytes, _Judged] = {}
        self._names: dict[int | tuple[int, ...], list[int]] = {}
        for at, links in enumerate(self._inventory.links):
            if links > 1 and stat.S_ISREG(self._inventory.modes[at]):
                self._names.setdefault(self._inventory.file(at), []).append(at)
        self._links: dict[int | tuple[int, ...], list[int]] = {}
        self._ways: dict[bytes, list[int]] = {}
        self._outside: dict[int, list[int]] = {}
        self._look_at_links()
        for at, packages in self._owners.outside.items():
            for each in packages:
                self._outside.setdefault(each, []).append(at)

    def _look_at_links(self) -> None:
        """Note for each file and each directory the symbolic links that lead to it: one step for each link."""
        for at in self._inventory.targets:
            end = self._resolver.resolve(self._inventory.paths[at]).end
            to = None if end is None else self._inventory.index.get(end)
            if end is None or to is None:
                continue
            if stat.S_ISREG(self._inventory.modes[to]):
                self._links.setdefault(self._inventory.file(to), []).append(at)
            elif not is_shared(end):  # /lib leads to /usr/lib, and its owner has no say about all that lies there
                self._ways.setdefault(end, []).append(at)

    def of(self, at: int) -> tuple[str, str]:
        """What permits changing a file, or why nothing does. All its names count, also those that go."""
        key = self._inventory.file(at)
        names, links = self._names.get(key, [at]), self._links.get(key, [])
        paths = [self._inventory.paths[each] for each in names]
        which = next((rule for path in paths if (rule := self._paths.first(path)) is not None), None)
        if which is not None:
            return f"by your word: {self._texts[which]}", ""
        own = list(dict.fromkeys(owner for each in names for owner in self._owners.owners(each)))
        owners = list(dict.fromkeys([*own, *self._owners_of([*names, *links])]))
        if own:  # your word for who only leads to it, or lists it, is none for who owns it
            judged = [self._judged(own), self._judged(owners[len(own) :])._replace(word="")]
        else:  # then who has a link to a directory above it may have put it there
            judged = [self._judged(owners), *(self._led_to(each) for path in paths for each in ancestors(path))]
        word = next((each.word for each in judged if each.word), "")
        if word:
            return f"by your word: {word}", ""
        called = self._nvidias(names, links)
        if called and not any(self._is_product(each, called) for each in own):
            place = f"in {self._owners.packages[owners[0]].label}" if owners else "of no package"
            return "", f"no open licence: a library {place} that is NVIDIA's by its name"
        refused = next((each.refused for each in judged if each.refused), "")
        if not owners and not refused:
            refused = self._who_may_own()
        permitted = next((each.permitted for each in judged if each.permitted), "no package owns it")
        return ("", refused) if refused else (permitted, "")

    def _who_may_own(self) -> str:
        """Why it is unknown whether nobody owns a file: a record of packages was not understood; empty if all were."""
        if not self._owners.problems:
            return ""
        path, why = self._owners.problems[0]
        return f"nobody knows who owns it: {to_text(path)}: {why}"

    def _owners_of(self, entries: Iterable[int]) -> list[int]:
        """Every package that owns one of the entries, or whose record lists one although it lies elsewhere."""
        owners = self._owners
        found = (each for at in entries for each in (*owners.owners(at), *owners.outside.get(at, ())))
        return list(dict.fromkeys(found))

    def _judged(self, owners: Sequence[int]) -> _Judged:
        fitting = (text for each in owners for text, fits in self._packages if fits(self._owners.packages[each]))
        found = [self._package(each) for each in owners]
        refused = next((why for permitted, why in found if not permitted), "")
        return _Judged(next(fitting, ""), refused, next((permitted for permitted, _ in found if permitted), ""))

    def _led_to(self, directory: bytes) -> _Judged:
        """What the owners of links to a directory say of what nobody owns in it."""
        if directory not in self._led:
            self._led[directory] = self._judged(self._owners_of(self._ways.get(directory, ())))
        return self._led[directory]

    def _nvidias(self, names: Sequence[int], links: Sequence[int]) -> bytes:
        """The name by which a library is NVIDIA's: its own, that of a link to it, or the one in it (DT_SONAME)."""
        needs = self._contents.needs(self._inventory.paths[names[0]], bool(self._inventory.modes[names[0]] & _EXECUTE))
        called = b"" if needs is None else needs.own_name.rpartition(b"/")[2]
        paths = (self._inventory.paths[each] for each in (*names, *links))
        return next((each for each in (called, *map(name, paths)) if _OF_NVIDIA.fullmatch(each)), b"")

    def _is_product(self, package: int, library: bytes) -> bool:
        """Whether a package is NVIDIA's own of this library: others of its packages carry copies as anybody's do."""
        maker, *words = re.split(r"[-_.]", self._owners.packages[package].name.lower())
        return maker == "nvidia" and any(each.encode() in library.lower() for each in filter(_PRODUCT.match, words))

    def _package(self, number: int) -> tuple[str, str]:
        if number not in self._known:
            self._known[number] = self._licensed(number)
        return self._known[number]

    def _licensed(self, number: int) -> tuple[str, str]:
        """What permits changing a package's files by its licence, or why it does not."""
        label, terms = self._owners.packages[number].label, self._owners.terms[number]
        says = said(terms)
        names = self._owners.descriptions[number].licenses
        if says is Said.OPEN:
            return f"{label} has an open licence: {', '.join(names or map(_shown, terms))}", ""
        if says is Said.NOTHING:
            found = self._by_text(number)
            if found:
                return f"{label} has an open licence: {', '.join(found)}, by its text", ""
        shown = list(dict.fromkeys([*names, *(_shown(each) for each in terms if not is_open(each))]))
        of = f" ({', '.join(shown)})" if shown else ""
        return "", f"no open licence: {label}{of}"

    def _by_text(self, number: int) -> list[str]:
        """The open licences that all licence files of a package are, if one of them is in its record; else nothing."""
        files = list(self._licence_files(number))
        if len(files) > _MOST_TEXTS or not any(self._owners.weak[at] for at in files):
            return []
        found = [recognised(self._text(at)) for at in files]
        return list(dict.fromkeys(found)) if all(found) else []

    def _licence_files(self, number: int) -> Iterator[int]:
        """The entries that are licences by their names: in a package's record, e.g. its dist-info, and elsewhere."""
        place = self._owners.packages[number].place
        for at in (*self._owners.files[number], *self._outside.get(number, ())):
            path, mode = self._inventory.paths[at], self._inventory.modes[at]
            if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not self._inventory.sizes[at]):
                continue
            if not self._owners.weak[at] and path.endswith(_CODE):
                continue
            is_one = _LICENCE_FILE if self._owners.weak[at] else _LICENCE_FILE_ELSEWHERE
            if is_one.search(name(path)) or _LICENCES.search(path, len(place) if within(path, place) else 0):
                yield at

    def _text(self, at: int) -> bytes:
        """What a licence file says; nothing if it is a link to nowhere, and cannot be understood."""
        end = self._resolver.resolve(self._inventory.paths[at]).end
        return b"" if end is None or end not in self._inventory else self._contents.text(end, LONGEST_TEXT + 1)


def _shown(term: str) -> str:
    """A licence that is stated as its text by the text's name, or by how it begins."""
    return term if len(term) <= _LONGEST_NAME else recognised(term.encode("utf-8", "replace")) or f"{term[:60]}…"
