"""The nouns of an edit: a change to a file that packages share. As in `model`."""

from __future__ import annotations

from dataclasses import dataclass

from slimagent.model.open_enum import OpenEnum


class EditKind(OpenEnum):
    """The files that packages share; beside each, what an edit's keys are."""

    DPKG_STATUS = "dpkg-status"  # the packages whose paragraphs go
    DPKG_ALTERNATIVES = "dpkg-alternatives"  # the programs that are no longer a choice
    DPKG_EXCLUDE = "dpkg-exclude"  # the patterns that dpkg leaves out from now on; creates the file
    VSCODE_EXTENSIONS = "vscode-extensions"  # the identifiers that go
    NPM_LOCK = "npm-lock"  # the locations that go


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change to a file that packages share, so that it lists only what is there."""

    path: bytes
    kind: EditKind
    keys: tuple[str, ...]
