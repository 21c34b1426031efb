"""The error that the agent recorded in a container, or how else the container ended."""

from __future__ import annotations

from collections.abc import Collection

from slimagent.errors import CheckFailedError, RefusedError, SlimagentError, UnavailableError, UsageError
from slimagent.image.shared import Shared
from slimagent.text.json_input import parsed

ERROR = "error.json"
_ERRORS: dict[int, type[SlimagentError]] = {2: UsageError, 3: RefusedError, 4: UnavailableError}
_LARGEST = 1 << 16  # bytes
_KILLED = 137


def raise_error(shared: Shared, image: str, command: str, status: int, last: Collection[bytes] = ()) -> None:
    """Raise the error that the agent recorded in a container, or an error that says that it was killed."""
    if shared.has(ERROR):
        kind, message, hint = _told(shared)
        raise _ERRORS.get(kind, CheckFailedError)(message, hint)
    if status >= _KILLED or status in (126, 127):
        said = b"".join(last).decode("utf-8", "replace").strip()
        ended = f"`slimagent {command}` in a container of {image} ended with status {status}"
        raise UnavailableError(
            f"{ended}: {said}" if said else ended,
            "if the container ran out of memory, give it more" if status == _KILLED else "run it again",
        )


def _told(shared: Shared) -> tuple[int, str, str]:
    """The exit status, the message and the hint of an error that the agent recorded."""
    try:
        told = parsed(shared.read(ERROR, _LARGEST))
        return int(told["status"]), str(told["message"]), str(told["hint"])
    except (ValueError, TypeError, KeyError):
        raise RefusedError(
            f"a container left an {ERROR} that slimagent did not write",
            "change the test or start that writes to slimagent's own directory in the container",
        ) from None
