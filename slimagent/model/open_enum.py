"""An enumeration that documents may go beyond. As in `model`."""

from __future__ import annotations

import enum


class OpenEnum(str, enum.Enum):
    """Names in documents, each with a sentence for people if it has one.

    A member is also its name as a string, and is written as that. An unknown name, from a later version or a damaged
    document, becomes a member of its own: it is written back unchanged, and equals no known member.
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
