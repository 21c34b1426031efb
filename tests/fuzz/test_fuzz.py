"""Each fuzz target on its seeds and on a bounded, always equal number of inputs near them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import images
from .mutate import mutated
from .seeds import HERE, seeds
from .targets import TARGETS

SETTINGS = settings(derandomize=True, deadline=None, database=None)
MANY, SOME, FEW = (
    settings(SETTINGS, max_examples=150),
    settings(SETTINGS, max_examples=50),
    settings(SETTINGS, max_examples=20),
)
each_target = pytest.mark.parametrize("name", sorted(TARGETS))
each_quick_target = pytest.mark.parametrize("name", sorted(TARGETS.keys() - images.TARGETS.keys()))
each_image = pytest.mark.parametrize("name", sorted(images.TARGETS))  # an image is written and read for each input
numbers, noise = st.integers(0, 2**32), st.binary(max_size=200)


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    """What was found once is never left out."""
    assert {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"} == TARGETS.keys()
    assert sum(path.stat().st_size for path in HERE.rglob("*")) < 1 << 20


@each_target
def test_the_seeds_of_a_target(name: str) -> None:
    """What was whole at first, and what has been found since."""
    for data in seeds(name):
        TARGETS[name](data)


@each_quick_target
@MANY
@given(number=numbers)
def test_inputs_near_the_seeds(name: str, number: int) -> None:
    """R1, R2: understood, or refused in one printable line; nothing else is raised."""
    TARGETS[name](mutated(random.Random(number), seeds(name)))


@each_image
@SOME
@given(number=numbers)
def test_images_near_the_seeds(name: str, number: int) -> None:
    """R1, R2: a record that is not understood is a problem of the image, and no error."""
    TARGETS[name](mutated(random.Random(number), seeds(name)))


@each_target
@FEW
@given(data=noise)
def test_inputs_of_any_bytes(name: str, data: bytes) -> None:
    """R1, R2: the same for what is near nothing."""
    TARGETS[name](data)
