"""A search for the cause as a part of a summary. See `documents` for what all of them promise."""

from __future__ import annotations

from slimagent.documents.parts import BOOLEAN, COUNT, PATH, TEXT, TEXTS, an_object, each, member, number
from slimagent.model.search import Cause, Outcome, Search, What

_CAUSE = an_object(Cause, path=PATH, what=member(What), owner=TEXT, alone=BOOLEAN)
SEARCHES = each(
    an_object(
        Search,
        outcome=member(Outcome),
        steps=TEXTS,
        differences=COUNT,
        runs=COUNT,
        seconds=number(3),
        causes=each(_CAUSE),
        left=COUNT,
        note=TEXT,
    )
)
