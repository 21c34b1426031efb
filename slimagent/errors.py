"""The one exception tree. Every error is a message, a hint, a slug for scripts and an exit status."""

from __future__ import annotations

ERROR_VARIABLE = "SLIMAGENT_ERROR"  # the file in which an error is written down for whoever started us


class SlimagentError(Exception):
    """What happened to what (`message`), and what to do about it (`hint`)."""

    slug = "error"
    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CheckFailedError(SlimagentError):
    """The answer is no: a check failed, a verification found a regression (status 1)."""

    slug = "check-failed"
    exit_status = 1


class GateFailedError(CheckFailedError):
    """The image was made and proved, and a rule about it does not hold (status 1)."""

    slug = "gate-failed"


class UsageError(SlimagentError):
    """The command line, a profile or an option is wrong (status 2)."""

    slug = "usage"
    exit_status = 2


class DocumentError(SlimagentError):
    """A document cannot be read: absent, truncated, foreign or of a newer version (status 2)."""

    slug = "document"
    exit_status = 2


class RefusedError(SlimagentError):
    """Going on could harm the image: a lossy trace, an unsafe target, a plan for another image (status 3)."""

    slug = "refused"
    exit_status = 3


class UnavailableError(SlimagentError):
    """The environment lacks something: a kernel feature, a right, disk space (status 4)."""

    slug = "unavailable"
    exit_status = 4
