"""Each fuzz target on its seeds and on a bounded, always equal number of inputs near them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .mutate import mutated
from .seeds import HERE, seeds
from .targets import TARGETS

EXAMPLES = 150
each_target = pytest.mark.parametrize("name", sorted(TARGETS))


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    """What was found once is never left out."""
    assert {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"} == TARGETS.keys()
    assert sum(path.stat().st_size for path in HERE.rglob("*")) < 1 << 20


@each_target
def test_the_seeds_of_a_target(name: str) -> None:
    """What was whole at first, and what has been found since."""
    for data in seeds(name):
        TARGETS[name](data)


@each_target
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
@given(number=st.integers(0, 2**32))
def test_inputs_near_the_seeds(name: str, number: int) -> None:
    """R1, R2: understood, or refused in one printable line; nothing else is raised."""
    TARGETS[name](mutated(random.Random(number), seeds(name)))


@each_target
@settings(max_examples=EXAMPLES // 3, derandomize=True, deadline=None, database=None)
@given(data=st.binary(max_size=200))
def test_inputs_of_any_bytes(name: str, data: bytes) -> None:
    """R1, R2: the same for what is near nothing."""
    TARGETS[name](data)
