"""Put an audit together: components, the largest first, and findings, by bytes per risk. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from slimagent import __version__
from slimagent.audit import cruft, duplicates, gpu, optional, stacked, unused
from slimagent.audit.known import Known
from slimagent.model.audit import WEIGHT, Audit, Component, Finding

KINDS: tuple[Callable[[Known], Iterator[Finding]], ...] = (
    cruft.cruft,
    cruft.symbols,
    unused.unused,
    unused.required_anyway,
    duplicates.distributions,
    duplicates.programs,
    duplicates.content,
    optional.tools,
    optional.extensions,
    gpu.gpu,
    optional.build_tools,
    stacked.hidden,
)


def audit(known: Known, image: str) -> Audit:
    """All that is known of an image."""
    findings = [each for find in KINDS for each in find(known)]
    layers = known.layers
    return Audit(
        tool=f"slimagent {__version__}",
        image=image,
        size=known.size(known.files),
        files=len(known.files),
        carried=sum(layer.size for layer in layers.layers),
        unowned=known.size(at for at in known.files if known.owners.of[at] < 0),
        traced=known.traced,
        layers=layers.layers,
        hidden=layers.hidden,
        components=tuple(sorted(_components(known), key=lambda each: (-each.size, each.package.name))),
        findings=tuple(sorted(findings, key=lambda each: (-each.size / WEIGHT[each.risk], each.kind, each.title))),
        problems=tuple(known.owners.problems),
    )


def _components(known: Known) -> Iterator[Component]:
    for number, package in known.packages():
        files = [at for at in known.owners.files[number] if known.is_counted[at]]
        yield Component(
            package=package,
            size=known.size(files),
            files=len(files),
            touched=known.size(at for at in files if known.touched[at]) if known.traced else None,
            asked=known.asked.get(number, ""),
            required=len(known.requirers[number]),
            layer=_layer(known, files),
        )


def _layer(known: Known, files: list[int]) -> int | None:
    """The layer that has most bytes of these files."""
    bytes_of: Counter[int] = Counter()
    for at in files:
        layer = known.layers.of.get(known.inventory.paths[at])
        if layer is not None:
            bytes_of[layer] += known.inventory.sizes[at]
    return max(bytes_of, key=lambda layer: (bytes_of[layer], -layer), default=None)
