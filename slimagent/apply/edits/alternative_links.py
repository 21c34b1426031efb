"""Take choices that are gone out of a group of alternatives, with its links, as `update-alternatives --remove` would.

A group is an administrative file, and for its master and each slave a generic link (`/usr/bin/editor`) that leads to a
link in /etc/alternatives, which leads to the chosen file (update-alternatives(1)). Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from slimagent.apply.edits.alternatives import FOLDER, Choice, Group, parse, put
from slimagent.apply.edits.draft import Draft
from slimagent.apply.edits.package_databases import NotUnderstoodError
from slimagent.paths.algebra import from_text, name


def edit_group(draft: Draft, at: int, data: bytes, keys: Collection[str]) -> str:
    """Take the choices `keys` out of the group whose file is entry `at`. Returns why it is left alone, or nothing.

    The deeds come in such an order that, wherever they are interrupted, the next go finds what is left to do: the
    link that says which choice is the current one is the last to change, or the file itself where it goes.
    Raises NotUnderstoodError for a file that update-alternatives did not write.
    """
    group, gone = parse(data), _paths(keys)
    master = FOLDER + b"/" + name(draft.inventory.paths[at])
    current = draft.inventory.link(master)
    if current not in gone and not any(choice.path in gone for choice in group.choices):
        return ""
    # what is not there is no choice either: update-alternatives removes it whenever it loads the group
    stay = tuple(each for each in group.choices if each.path not in gone and draft.leads_somewhere(each.path))
    left = replace(group, choices=stay)
    best = left.best()
    if best is None:
        return _dissolve(draft, at, group, master, gone)
    is_chosen = current in {choice.path for choice in stay}
    is_foreign = current is not None and current not in gone and current not in {each.path for each in group.choices}
    if is_chosen or is_foreign:
        return draft.rewrite(at, data, put(left))
    return _switch(draft, at, data, replace(left, status=b"auto"), best, master)


def _paths(keys: Collection[str]) -> set[bytes]:
    try:
        return {from_text(key) for key in keys}
    except ValueError as error:
        raise NotUnderstoodError(f"cannot have this choice: {error}") from None


def _switch(draft: Draft, at: int, data: bytes, group: Group, best: Choice, master: bytes) -> str:
    """Let the links lead to the best choice. Links that the plan drops stay away."""
    new = put(group)
    why = draft.why_not(at) if new != data else ""
    if why:
        return why
    like = draft.entry(master)
    for number, slave in enumerate(group.slaves):
        link, file = FOLDER + b"/" + slave.name, best.files[number]
        if file and draft.leads_somewhere(file):
            draft.point(link, file, like)
            if draft.target(link) == file or draft.is_made(link):
                draft.point(slave.link, link, like)
        else:
            _remove_pair(draft, slave.link, link, None)
    draft.rewrite(at, data, new)
    if like is not None:
        draft.point(group.link, master, like)
        draft.point(master, best.path, None)
    return ""


def _dissolve(draft: Draft, at: int, group: Group, master: bytes, gone: set[bytes]) -> str:
    """No choice is left: the links go, and then the file."""
    why = draft.why_not(at)
    if why:
        return why
    for number, slave in enumerate(group.slaves):
        _remove_pair(draft, slave.link, FOLDER + b"/" + slave.name, {each.files[number] for each in group.choices})
    _remove_pair(draft, group.link, master, gone | {choice.path for choice in group.choices})
    draft.change(at, None)
    return ""


def _remove_pair(draft: Draft, generic: bytes, link: bytes, known: Collection[bytes] | None) -> None:
    """Remove a link in /etc/alternatives and the generic one, if both are as update-alternatives put them.

    `known` are the files that the first may lead to, beside such as are not there; None: any.
    """
    target = draft.target(link)
    if target is None and draft.entry(link) is not None:
        return draft.leave(link, "it is not a symbolic link")
    if known is not None and target is not None and target not in known and draft.leads_somewhere(target):
        return draft.leave(link, "it leads to something else than a choice")
    if draft.target(generic) == link:
        draft.remove_link(generic)
    draft.remove_link(link)
    return None
