"""Which code stays: properties of the choice, against a loader that is written down here in another way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import UsageError
from slimagent.gpu.architectures import EXACT, FAMILY, Architecture, Target, parse
from slimagent.gpu.choice import by_architecture, staying, unserved
from slimagent.gpu.containers import Code, Container, Form, Piece

pytestmark = pytest.mark.quick  # nothing here needs a compiler

NUMBERS = (50, 52, 60, 70, 75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121)
# Systems on a chip: what is promised of other GPUs of their major version is not promised of them.
ON_CHIP = (87, 110, 121)

architectures = st.builds(Architecture, st.sampled_from(NUMBERS), st.sampled_from(("", "", EXACT, FAMILY)))
forms = st.sampled_from((Form.CUBIN, Form.CUBIN, Form.CUBIN, Form.PTX, Form.OTHER))
codes = st.lists(st.tuples(forms, architectures, st.integers(9, 500)), max_size=14)
gpus = st.sets(st.sampled_from(NUMBERS), min_size=1, max_size=4)


def made(rows: list[tuple[Form, Architecture, int]], why: str = "") -> Container:
    """A container with these pieces one after the other."""
    pieces, at = [], 16
    for form, architecture, words in rows:
        pieces.append(Piece(form, architecture, at, words * 8))
        at += words * 8
    return Container(0, at, tuple(pieces), why)


def target(numbers: set[int], ptx: bool = False) -> Target:
    return Target(tuple(sorted(numbers)), ptx)


def can_take(piece: Piece, gpu: int) -> bool:
    """Whether a GPU can make anything of a piece, by the texts of NVIDIA's guides."""
    major, minor = divmod(piece.architecture.number, 10)
    own_major, own_minor = divmod(gpu, 10)
    if piece.form is Form.OTHER:
        return False
    if piece.architecture.suffix == EXACT:
        return (major, minor) == (own_major, own_minor)
    if piece.form is Form.CUBIN or piece.architecture.suffix == FAMILY:
        return major == own_major and minor <= own_minor
    return (major, minor) <= (own_major, own_minor)


def loaders_choice(container: Container, gpu: int, *, on_chip: bool) -> list[Piece]:
    """The pieces with the highest number among those that a GPU can take, cubins before PTX.

    There are two loaders here: one takes machine code between a system on a chip and other GPUs of its major version,
    one does not.
    """
    for form in (Form.CUBIN, Form.PTX):
        usable = [each for each in container.pieces if each.form is form and can_take(each, gpu)]
        if not on_chip and form is Form.CUBIN:
            usable = [
                each
                for each in usable
                if each.architecture.number == gpu or not {each.architecture.number, gpu} & {*ON_CHIP}
            ]
        if usable:
            highest = max(each.architecture.number for each in usable)
            return [each for each in usable if each.architecture.number == highest]
    return []


@given(codes, gpus, st.booleans(), st.booleans())
def test_what_a_loader_would_choose_stays(
    rows: list[tuple[Form, Architecture, int]], numbers: set[int], ptx: bool, on_chip: bool
) -> None:
    """For each of the GPUs, and from each container."""
    container = made(rows)
    kept = staying(container, target(numbers, ptx))
    for gpu in numbers:
        assert set(loaders_choice(container, gpu, on_chip=on_chip)) <= set(kept)


@given(codes, gpus, st.booleans())
def test_the_choice_is_the_same_without_what_went(
    rows: list[tuple[Form, Architecture, int]], numbers: set[int], ptx: bool
) -> None:
    """A loader that sees only what stays chooses what it chose before: nothing comes to the front because of it."""
    container = made(rows)
    left = container._replace(pieces=staying(container, target(numbers, ptx)))
    for gpu in numbers:
        assert loaders_choice(left, gpu, on_chip=True) == loaders_choice(container, gpu, on_chip=True)
        assert loaders_choice(left, gpu, on_chip=False) == loaders_choice(container, gpu, on_chip=False)
    assert staying(left, target(numbers, ptx)) == left.pieces


@given(codes, gpus, gpus, st.booleans())
def test_more_gpus_never_keep_less(
    rows: list[tuple[Form, Architecture, int]], numbers: set[int], others: set[int], ptx: bool
) -> None:
    """Neither in bytes nor in pieces, but for the piece that stands in where there is no code for any of the GPUs."""
    container = made(rows)
    few, many = (staying(container, target(each, ptx)) for each in (numbers, numbers | others))
    assert sum(each.size for each in few) <= sum(each.size for each in many)
    if len(few) > 1:
        assert set(few) <= set(many)


@given(codes, gpus)
def test_keeping_ptx_never_keeps_less(rows: list[tuple[Form, Architecture, int]], numbers: set[int]) -> None:
    """And what a GPU to come could compile stays with it."""
    container = made(rows)
    without, kept = (staying(container, target(numbers, ptx)) for ptx in (False, True))
    assert sum(each.size for each in without) <= sum(each.size for each in kept)
    newest = loaders_choice(
        Container(0, 0, tuple(p for p in container.pieces if p.form is Form.PTX)), 9990, on_chip=True
    )
    assert set(newest) <= set(kept)


@given(codes, st.sets(st.sampled_from(NUMBERS), max_size=4), st.booleans())
def test_what_stays_was_there_in_the_same_order(
    rows: list[tuple[Form, Architecture, int]], numbers: set[int], ptx: bool
) -> None:
    """It is a part of the container, never empty but without a GPU, and LTO-IR is always in it."""
    container = made(rows)
    kept = staying(container, target(numbers, ptx))
    assert kept == tuple(each for each in container.pieces if each in kept)
    assert bool(kept) == bool(container.pieces and numbers)
    if numbers:
        assert {each for each in container.pieces if each.form is Form.OTHER} <= set(kept)


@given(codes, st.sets(st.sampled_from(NUMBERS), max_size=4), st.booleans())
def test_a_container_that_is_not_understood_stays_whole(
    rows: list[tuple[Form, Architecture, int]], numbers: set[int], ptx: bool
) -> None:
    """Whatever the GPUs are, and without one."""
    container = made(rows, "a piece has an unknown header")
    assert staying(container, target(numbers, ptx)) == container.pieces


@given(st.lists(codes, max_size=4), gpus)
def test_a_gpu_is_unserved_if_it_would_find_nothing(
    groups: list[list[tuple[Form, Architecture, int]]], numbers: set[int]
) -> None:
    """In no container of the file."""
    containers = tuple(made(rows) for rows in groups)
    lacking = [
        gpu for gpu in sorted(numbers) if not any(loaders_choice(each, gpu, on_chip=True) for each in containers)
    ]
    assert list(unserved([Code(0, containers)], target(numbers))) == lacking


@given(st.lists(codes, max_size=4))
def test_the_sums_by_architecture_are_those_of_the_pieces(
    groups: list[list[tuple[Form, Architecture, int]]],
) -> None:
    """Each piece counts once."""
    containers = tuple(made(rows) for rows in groups)
    found = by_architecture([Code(0, containers[:2]), Code(1, containers[2:])])
    assert sum(size for size, _ in found.values()) == sum(p.size for each in containers for p in each.pieces)
    assert sum(count for _, count in found.values()) == sum(map(len, groups))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sm_80", (80,)),
        ("8.0, 9.0", (80, 90)),
        ("H100,a100, L4", (80, 89, 90)),
        ("RTX 4090", (89,)),
        ("sm_90a", (90,)),
        ("compute_100f,12.0", (100, 120)),
        ("t4,sm_75,7.5", (75,)),
        ("none", ()),
    ],
)
def test_gpus_have_names(text: str, expected: tuple[int, ...]) -> None:
    """By architecture, by compute capability and by model, in any order and case."""
    assert parse(text).architectures == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sm_",
        "sm_1",
        "h1000",
        "none,sm_80",
        "sm_80,,sm_90",
        "sm_80x",
        "80.1",
        "sm_900",
        "sm_98",
        "\u0668\u0660",
        "x" * 100_000,
    ],
    ids=lambda text: ascii(text[:9]),
)
def test_what_is_no_gpu_is_refused(text: str) -> None:
    """The message has the word, and the hint says what can be said."""
    with pytest.raises(UsageError) as error:
        parse(text)
    assert "not a GPU architecture" in error.value.message
    assert "h100" in error.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sm90", "did you mean sm_90?"),
        ("SM-9.0", "did you mean sm_90?"),
        ("9.0a", "did you mean sm_90a?"),
        ("sm_98", "known are sm_30, "),
        ("9.9", "sm_90, "),
        ("rtx4090", "did you mean rtx-4090?"),
        ("h100 a100", "commas separate GPUs: h100,a100"),
        ("sm_90,", "a name is missing before or after a comma"),
        ("sm_80,,sm_90", "a name is missing before or after a comma"),
        ("h1000", "did you mean h100?"),
        ("voodoo", "name GPUs by architecture"),
    ],
)
def test_a_gpu_that_is_not_known_may_be_meant(text: str, words: str) -> None:
    """It is named, and never taken."""
    with pytest.raises(UsageError) as error:
        parse(text)
    assert words in f"{error.value.message} {error.value.hint}"
