"""Choose, container by container, the GPU code that stays for the GPUs that an image is for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from slimagent.gpu.architectures import Architecture, Target, best, compiles, is_promised, runs
from slimagent.gpu.containers import Code, Container, Form, Piece


def staying(container: Container, target: Target) -> tuple[Piece, ...]:
    """The pieces that stay: what a loader may choose on any of the target's GPUs.

    A container that is not understood stays whole. One from which no GPU of the target would choose anything keeps its
    smallest piece: so a loader that asks for it still gets the answer that it holds no code for this GPU, and not an
    error about a damaged file. Without a GPU nothing asks, and nothing stays.
    """
    if container.why or not container.pieces:
        return container.pieces
    if not target.architectures:
        return ()
    kept = {piece for gpu in target.architectures for piece in _chosen(container.pieces, gpu)}
    kept |= {each for each in container.pieces if each.form is Form.OTHER}
    if target.ptx:
        kept |= set(_newest(container.pieces))
    if not kept:
        kept = {min(container.pieces, key=lambda each: each.size)}
    return tuple(each for each in container.pieces if each in kept)


def _chosen(pieces: tuple[Piece, ...], gpu: int) -> Iterator[Piece]:
    """What a loader may choose on a GPU: machine code if some runs there, else PTX; both if that is not promised."""
    for form, can_use in ((Form.CUBIN, runs), (Form.PTX, compiles)):
        usable = [each for each in pieces if each.form is form and can_use(each.architecture, gpu)]
        chosen = best(each.architecture for each in usable)
        yield from (each for each in usable if each.architecture in chosen)
        if any(is_promised(each.architecture, gpu) for each in usable):
            return


def _newest(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    """The PTX that a GPU to come would choose: the highest without a suffix."""
    texts = [each for each in pieces if each.form is Form.PTX and not each.architecture.suffix]
    highest = max((each.architecture.number for each in texts), default=0)
    return (each for each in texts if each.architecture.number == highest)


def unserved(codes: Iterable[Code], target: Target) -> tuple[int, ...]:
    """The target's GPUs for which no container has any code: a file without code for one of them is left alone."""
    containers = [each for code in codes for each in code.containers if not each.why]
    return tuple(
        gpu
        for gpu in target.architectures
        if not any(any(True for _ in _chosen(each.pieces, gpu)) for each in containers)
    )


def by_architecture(codes: Iterable[Code]) -> dict[tuple[str, Architecture], tuple[int, int]]:
    """The bytes of GPU code by form and architecture, and how many pieces they are."""
    found: dict[tuple[str, Architecture], tuple[int, int]] = {}
    for code in codes:
        for each in code.containers:
            for piece in each.pieces:
                key = piece.form.value, piece.architecture
                size, count = found.get(key, (0, 0))
                found[key] = size + piece.size, count + 1
    return found
