"""Why a path or a package stays or goes. As in `model`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from slimagent.model.open_enum import OpenEnum


class Verdict(str, enum.Enum):
    """What happens to a path."""

    KEEP = "keep"
    DROP = "drop"


class ReasonKind(OpenEnum):
    """The kinds of reasons: each with its name in documents and the sentence for people.

    In a sentence, `steps` is " in" and the steps' names, or empty; `link` is " by" the source, " as" the detail, or
    empty. `was` is "was used", or "is needed" where no step used it. The rest are the reason's own fields.
    """

    EXECUTED = "executed", "executed{steps}"
    OPENED = "opened", "opened{steps}"
    LISTED = "listed", "listed{steps}"
    LOOKED_UP = "looked-up", "looked up{steps}, never opened"
    CHANGED = "changed", "the traced run found it and {detail} it"
    HIDDEN = "hidden", "a mount hid it during the trace, so what needs it is unknown"
    MISSED = "missed", "needed, although an earlier plan dropped it: {detail}"
    BESIDE_MISSED = (
        "beside-missed",
        "small, and {detail} as {source}, which an earlier plan dropped and which was needed",
    )
    LINK_ON_THE_WAY = "link-on-the-way", "a symbolic link on the way to a requested path{steps}{link}"
    INTERPRETER = "interpreter", "the interpreter of {source}"
    LIBRARY = "library", "a library that {source} needs, as {detail}"
    PROCESSOR_VARIANT = "processor-variant", "{source} as built for another processor"
    LINK_TARGET = "link-target", "{source} leads to it"
    HARD_LINK = "hard-link", "another name of {source}, the same bytes"
    SOURCE_OF_BYTECODE = "source-of-byte-code", "the source of {source}; Python compares their times"
    LAZY_LOAD_HALF = "lazy-load-half", "the other half of R's lazy-load database {source}"
    RULE = "rule", "by rule: {detail}"
    START = "start", "the image is started with it: {detail}"
    LOGIN_SHELL = "login-shell", "the login shell of an account"
    PACKAGE = "package", "part of {package}, which stays whole"
    IDENTITY = "identity", "identifies {package}, so that it can be found"
    BINARY = "binary", "a program or library of {package}, which stays"
    CODE = "code", "code of {package}, which stays"
    SMALL = "small", "a small file of {package}, which stays"
    SIBLING = "sibling", "data of {package}, which stays or goes together with the files beside it"
    NAMED = "named", "data of {package}, whose code names it or its directory"
    PAGE = "page", "part of {package}, and lies beside {source}, a page that was opened"
    UNSEEN_LOOKUP = "unseen-lookup", "the trace cannot see lookups: {detail}"
    ADOPTED = "adopted", "no record names it, and it lies in {package}, which stays: nobody could restore it"
    UNOWNED = "unowned", "no package owns it, so what needs it is unknown"
    SMALL_UNOWNED = "small-unowned", "small, and no package owns it, so what needs it is unknown"
    TOGETHER = "together", "no package owns it, and it lies in {detail} beside {source}, which stays"
    STATE = "state", "no package owns it, and the traced run changed something in {detail}, where it lies"
    NO_CRUFT = "no-cruft", "level cruft keeps everything that is not cruft"
    FOLDER = "folder", "a directory costs next to nothing, and its absence can break a program"
    SYMBOLIC_LINK = "symbolic-link", "a symbolic link costs next to nothing, and its absence can break a program"
    SPECIAL_FILE = "special-file", "a FIFO, socket or device has no bytes to save"
    EMPTY_FILE = "empty-file", "an empty file has no bytes to save, and a program may check that it exists"
    MOUNT_POINT = "mount-point", "another file system is mounted here and hides what the image has"
    UNUSED = "unused", "no test asked for it, nothing that stays needs it, no rule keeps it"
    TOO_LARGE = "too-large", "no test asked for it; unread {detail}"
    TREE_UNUSED = "tree-unused", "no package owns it, and no test asked for anything in {detail}"
    CRUFT = "cruft", "cruft, {detail}"
    UNWANTED = "unwanted", "dropped by rule, whatever needs it: {detail}"
    PACKAGE_GONE = "package-gone", "part of {package}, which goes"
    RECORD_GONE = "record-gone", "it identifies {package}, which goes"
    FOLDER_GONE = "folder-gone", "nothing is left in it"
    CREATED = "created", "the traced run made it; it is not part of the image"
    # Of packages
    USED = "used", "{source} {was}{steps}"
    REACHED = "reached", "{source} stays"
    REQUIRED = "required", "{package} requires it: {detail}"
    ESSENTIAL = "essential", "the system does not work without it"
    PACKAGE_RULE = "package-rule", "by rule: {detail}"
    COMPILING = "compiling", "software is compiled in this image: {detail}"
    PROTECTED = "protected", "its check did not pass, so it stays whole: {detail}"
    NOT_NEEDED = "not-needed", "no test used it, nothing that stays requires it, no rule keeps it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a path or a package has its verdict. `source` is the kept path that needs this one, if any.

    `detail` is a rule's `why`, or a library's name as requested; `steps` index `Plan.steps`. `package` is the index in
    `Plan.packages` of the package that a file stays or goes with, or that requires this package.
    """

    kind: ReasonKind
    verdict: Verdict = Verdict.KEEP
    detail: str = ""
    source: bytes | None = None
    steps: tuple[int, ...] = ()
    package: int | None = None
