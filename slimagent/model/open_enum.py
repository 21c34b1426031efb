"""An enumeration that documents may go beyond. As in `model`."""

from __future__ import annotations

import enum


class OpenEnum(str, enum.Enum):
    """Names that documents have, and the sentence that says each to people, if there is one.

    A member is its name as a string, too, and is written as that. A name that is not known, of a later version or in a
    damaged document, makes a member of its own: it comes out as it came in, and equals none of those that are known.
    """

    sentence: str

    def __new__(cls, name: str, sentence: str = "") -> OpenEnum:
        made = str.__new__(cls, name)
        made._value_, made.sentence = name, sentence
        return made

    def __str__(self) -> str:  # in f-strings too, whatever the version of Python makes of an enumeration's own
        return str(self._value_)

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_, unknown.sentence = "UNKNOWN", value, ""
        return unknown
