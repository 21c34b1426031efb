"""How far a proof reaches, as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import COUNT, PATHS, TEXT, TEXTS, an_object, each, get_members, put_members
from slimagent.model.reach import LeftOut, LevelReach, Reach, Unit

REACH = "slimagent/reach"
_LEFT_OUT = an_object(
    LeftOut,
    unit=COUNT,
    files=COUNT,
    size=COUNT,
    packages=TEXTS,
    missed=COUNT,
    missed_with=COUNT,
    missed_size=COUNT,
    examples=PATHS,
)
_MEMBERS = {
    "tool": TEXT,
    "traces": TEXTS,
    "steps": TEXTS,
    "units": each(an_object(Unit, step=COUNT, name=TEXT, tests=COUNT)),
    "unused": each(COUNT),
    "chosen": each(COUNT),
    "idle": each(COUNT),
    "levels": each(an_object(LevelReach, level=TEXT, kept=COUNT, left_out=each(_LEFT_OUT))),
}


def encode_reach(reach: Reach) -> bytes:
    """A reach as bytes."""
    return dump(REACH, put_members(_MEMBERS, reach))


def decode_reach(data: bytes, document: str = "reach") -> Reach:
    """Bytes as a reach. Raises DocumentError, also if an index names nothing."""
    place = load(data, REACH, document)
    made = Reach(**get_members(_MEMBERS, place))
    units, steps = len(made.units), len(made.steps)
    named = (*made.unused, *made.chosen, *made.idle, *(each.unit for level in made.levels for each in level.left_out))
    if any(number >= units for number in named) or any(unit.step >= steps for unit in made.units):
        raise place.fail("the index of a unit or a step leads nowhere")
    return made
