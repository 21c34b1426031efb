"""Finding: packages for GPUs, and the machine code for GPUs in libraries. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from slimagent.audit.asking import DOCKERFILE, is_recorded, without
from slimagent.audit.known import Known, Saving
from slimagent.gpu.architectures import Target
from slimagent.gpu.weigh import UNKNOWN
from slimagent.model.audit import Finding, Risk
from slimagent.model.inventory import package_test
from slimagent.text.counted import counted
from slimagent.text.sizes import size as shown

_GPU = "gpu"  # the check that protects GPU packages
_TARGETS = (75, 80, 86, 89, 90, 100, 120)  # what an image is most often for
_MOST = 8  # kinds of code that are named


def gpu(known: Known) -> Iterator[Saving]:
    """Packages for GPUs, and the machine code for GPUs in libraries: what an image for processors alone would save."""
    patterns = [pattern for rule in known.rules.protect if rule.check == _GPU for pattern in rule.packages]
    tests = list(map(package_test, patterns))
    going = {number for number, package in known.packages() if any(test(package) for test in tests)}
    code = _Code(known)
    size = known.size_of(going) + sum(size for at, size in code.sizes.items() if known.owners.of[at] not in going)
    if not size:
        return
    names = sorted(known.owners.packages[each].label for each in going)
    finding = Finding(
        kind="gpu",
        title="packages and code for GPUs",
        size=size,
        risk=Risk.HIGH,
        evidence=(
            f"{counted(len(going), 'package')} for GPUs: {', '.join(names[:6])}",
            *code.sentences(),
            "the framework's own build for processors has none of this",
        ),
        file=_file(known, going),
        edit="# the CPU build in an image of its own, e.g. torch from the index of CPU wheels",
        subjects=tuple(names),
        layers=known.layers_of(code.sizes),
    )
    yield Saving(finding, {**code.sizes, **known.sizes(known.files_of(going))})


def _file(known: Known, going: set[int]) -> str:
    """Where GPU packages are asked for, if all that is known of them is in one file; else the Dockerfile."""
    files = {without(known, each)[0] for each in going if is_recorded(known, each)}
    return files.pop() if len(files) == 1 else DOCKERFILE


class _Code:
    """The GPU code of an image: its bytes by file, by form and architecture, and what targets do not need."""

    def __init__(self, known: Known) -> None:
        self.sizes: dict[int, int] = {}
        self._kinds, self._saves, self._open = Counter[tuple[str, str]](), Counter[int](), Counter[int]()
        for at in known.files:
            found = known.reader.gpu_code(known.inventory.paths[at])
            if found is None:
                continue
            self.sizes[at] = found.size
            self._kinds.update(found.by_kind())
            permitted = known.permits(at)
            for gpu in _TARGETS:
                saves = found.saves(Target((gpu,)))
                self._saves[gpu] += saves
                self._open[gpu] += saves if permitted else 0

    def sentences(self) -> Iterator[str]:
        """What code there is, and what could go of it."""
        libraries = counted(len(self.sizes), "library", "libraries")
        most = self._kinds.most_common(_MOST)
        named = ", ".join(f"{_named(*kind)} {shown(size)}" for kind, size in most)
        more = f" and {len(self._kinds) - _MOST} more" if len(self._kinds) > _MOST else ""
        yield f"{libraries} with {shown(sum(self.sizes.values()))} of GPU code{': ' if named else ''}{named}{more}"
        there = {architecture for _, architecture in self._kinds}
        useful = [gpu for gpu in _TARGETS if f"sm_{gpu}" in there and self._saves[gpu]]
        could = [f"{shown(self._open[gpu])} of {shown(self._saves[gpu])} for sm_{gpu}" for gpu in useful]
        if could:
            yield (
                f"`slimagent image IMAGE --gpu-arch sm_{useful[-1]}` removes what that GPU does not load, as far as "
                f"licences permit it, about {', '.join(could)}; the rest with --gpu-code-of KIND:NAME"
            )


def _named(form: str, architecture: str) -> str:
    if form == UNKNOWN:
        return "not understood"
    return architecture if form == "cubin" else f"{'PTX' if form == 'ptx' else 'other'} for {architecture}"
