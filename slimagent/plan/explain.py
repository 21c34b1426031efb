"""Why a path stays or goes: the chain of reasons, back to an access or a rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from slimagent.model import Entry, Plan, Reason, Verdict
from slimagent.paths import normalise, to_text

_SENTENCES = {
    "executed": "executed{steps}",
    "opened": "opened{steps}",
    "listed": "listed{steps}",
    "looked-up": "looked up{steps}, never opened",
    "link-on-the-way": "a symbolic link on the way to what was asked for{steps}{link}",
    "interpreter": "the interpreter of {source}",
    "library": "a library that {source} needs, as {detail}",
    "processor-variant": "{source} as built for another processor",
    "hard-link": "another name of {source}, the same bytes",
    "source-of-byte-code": "the source of {source}, whose time Python compares",
    "byte-code": "the compiled form of {source}",
    "lazy-load-half": "the other half of R's lazy-load data base {source}",
    "rule": "by rule: {detail}",
    "folder": "a folder costs next to nothing, and its absence can break a program",
    "symbolic-link": "a symbolic link costs next to nothing, and its absence can break a program",
    "special-file": "a FIFO, socket or device has no bytes to save",
    "empty-file": "an empty file has no bytes to save, and may be looked for by its mere presence",
    "mount-point": "another file system is mounted here; what it hides was not seen",
    "unused": "nothing that was traced asked for it, nothing that stays needs it, no rule keeps it",
    "created": "the traced run made it; it is not part of the image",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why one path has its verdict: a sentence for it, then one for each path that the one before rests on."""

    path: bytes
    verdict: Verdict | None
    size: int
    chain: tuple[tuple[bytes, str], ...]


class Explainer:
    """Explains paths of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._entries = {entry.path: entry for entry in plan.entries}

    def explain(self, path: bytes) -> Explanation:
        """The explanation of a path; its verdict is None for one that the plan does not list."""
        path = normalise(path)
        entry = self._entries.get(path)
        if entry is None:
            sentence = "not in the plan: the image did not have it, or it is the agent's own, or on another file system"
            return Explanation(path=path, verdict=None, size=0, chain=((path, sentence),))
        return Explanation(
            path=path,
            verdict=self._plan.reasons[entry.reason].verdict,
            size=entry.size,
            chain=tuple(self._chain(entry)),
        )

    def _chain(self, entry: Entry) -> Iterator[tuple[bytes, str]]:
        seen: set[bytes] = set()
        here: Entry | None = entry
        while here is not None and here.path not in seen:
            seen.add(here.path)
            reason = self._plan.reasons[here.reason]
            yield here.path, sentence(reason, self._plan.steps)
            here = None if reason.source is None else self._entries.get(reason.source)


def sentence(reason: Reason, steps: tuple[str, ...]) -> str:
    """One reason in words; a kind that a later version wrote is named as it is."""
    names = [steps[step] for step in reason.steps if 0 <= step < len(steps)]
    shown = (
        "" if not names else " in " + ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    )
    if reason.source is not None:
        link = f" by {to_text(reason.source)}"
    else:
        link = f" as {reason.detail}" if reason.detail else ""
    known = _SENTENCES.get(reason.kind)
    if known is None:
        return reason.kind
    return known.format(
        steps=shown,
        detail=reason.detail,
        source=to_text(reason.source) if reason.source is not None else "",
        link=link,
    )
