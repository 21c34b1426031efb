"""Put an audit together: components, the largest first, and findings, by bytes per risk. Pure."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from slimagent import __version__
from slimagent.audit import cruft, duplicates, gpu, optional, same_content, stacked, unused
from slimagent.audit.by_layer import in_base, is_of_base
from slimagent.audit.known import Known, Saving
from slimagent.model.audit import OF_LAYERS, WEIGHT, Area, Audit, Component
from slimagent.paths.algebra import area

_REQUIRERS = 20  # names of packages that require one

KINDS: tuple[Callable[[Known], Iterator[Saving]], ...] = (
    cruft.cruft,
    cruft.symbols,
    unused.unused,
    unused.required_anyway,
    duplicates.distributions,
    duplicates.programs,
    optional.tools,
    optional.extensions,
    gpu.gpu,
    optional.build_tools,
    stacked.hidden,
)


def audit(known: Known, image: str) -> Audit:
    """All that is known of an image."""
    savings = [each for find in KINDS for each in find(known)]
    gone = {at for each in savings if each.finding.kind != "symbols" for at in each.gone}
    savings += same_content.content(known, gone)
    findings = [each.finding for each in savings]
    layers = known.layers
    areas = _areas(known)
    return Audit(
        tool=f"slimagent {__version__}",
        image=image,
        size=known.size(known.files),
        files=len(known.files),
        carried=sum(layer.size for layer in layers.layers),
        unowned=sum(area.size for area in areas),
        together=_together(known, savings),
        traced=known.traced,
        layers=layers.layers,
        hidden=layers.hidden,
        components=tuple(sorted(_components(known), key=lambda each: (-each.size, each.package.name))),
        areas=areas,
        findings=tuple(sorted(findings, key=lambda each: (-each.size / WEIGHT[each.risk], each.kind, each.title))),
        problems=tuple(known.owners.problems),
    )


def _together(known: Known, savings: Sequence[Saving]) -> int:
    """What all edits save together: of each file as much as the edit that saves most of it, and what layers hide.

    Without what is in the base image: no line of this Dockerfile saves that.
    """
    most: dict[int, int] = {}
    for each in savings:
        for at, size in each.gone.items():
            most[at] = max(size, most.get(at, 0))
    base = in_base(known, most)
    return (
        sum(most.values())
        - sum(most[at] for at in base)
        + sum(
            each.finding.size
            for each in savings
            if each.finding.kind in OF_LAYERS and not is_of_base(known, each.finding.layers[0])
        )
    )


def _components(known: Known) -> Iterator[Component]:
    inventory = known.inventory
    for number, package in known.packages():
        entries = [at for at in known.owners.files[number] if stat.S_ISREG(inventory.modes[at])]
        every = {inventory.file(at): inventory.sizes[at] for at in entries}
        files = [at for at in entries if known.is_counted[at] and known.counts_with(at) == number]
        size = known.size(files)
        requirers = sorted({known.owners.packages[each].named for each in known.requirers[number]})
        yield Component(
            package=package,
            size=size,
            shared=sum(every.values()) - size,
            files=len(every),
            touched=known.size(at for at in files if known.touched[at]) if known.traced else None,
            asked=known.asked.get(number, ""),
            required=len(known.requirers[number]),
            requirers=tuple(requirers[:_REQUIRERS]),
            layer=_layer(known, files or entries),
        )


def _areas(known: Known) -> tuple[Area, ...]:
    """The directories of files that count with no package, the largest first."""
    sizes, files = Counter[bytes](), Counter[bytes]()
    for at in known.files:
        if known.counts_with(at) < 0:
            directory = area(known.inventory.paths[at])
            sizes[directory] += known.inventory.sizes[at]
            files[directory] += 1
    order = sorted(sizes, key=lambda each: (-sizes[each], each))
    return tuple(Area(directory=each, size=sizes[each], files=files[each]) for each in order)


def _layer(known: Known, files: list[int]) -> int | None:
    """The layer that has most bytes of these files."""
    bytes_of: Counter[int] = Counter()
    for at in files:
        layer = known.layers.of.get(known.inventory.paths[at])
        if layer is not None:
            bytes_of[layer] += known.inventory.sizes[at]
    return max(bytes_of, key=lambda layer: (bytes_of[layer], -layer), default=None)
