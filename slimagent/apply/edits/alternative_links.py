"""Remove choices that are gone from a group of alternatives, as `update-alternatives --remove` does. Pure.

A group is an administrative file, and for its master and each slave a generic link (`/usr/bin/editor`) to a link in
/etc/alternatives, which leads to the chosen file (update-alternatives(1)).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from slimagent.apply.edits.alternatives import DIRECTORY, Choice, Group, parse, put
from slimagent.apply.edits.draft import Draft
from slimagent.apply.edits.package_databases import NotUnderstoodError
from slimagent.paths.algebra import from_text, name


def edit_group(draft: Draft, at: int, data: bytes, keys: Collection[str]) -> str:
    """Remove the choices `keys` from the group with the file `at`. Returns why it is left alone, or nothing.

    Wherever the actions are interrupted, the next run finds what is left to do: the link that names the current choice
    changes last, or the file itself if it goes. Raises NotUnderstoodError for a file that update-alternatives did not
    write.
    """
    group = parse(data)
    try:
        gone = {from_text(key) for key in keys}
    except ValueError as error:
        raise NotUnderstoodError(f"cannot have this choice: {error}") from None
    master = DIRECTORY + b"/" + name(draft.inventory.paths[at])
    current = draft.inventory.link(master)
    if current not in gone and not any(choice.path in gone for choice in group.choices):
        return ""
    # update-alternatives itself drops choices that do not exist whenever it loads the group
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


def _switch(draft: Draft, at: int, data: bytes, group: Group, best: Choice, master: bytes) -> str:
    """Point the links to the best choice. Links that the plan drops are not made again."""
    new = put(group)
    why = draft.why_not(at) if new != data else ""
    if why:
        return why
    like = draft.entry(master)
    for number, slave in enumerate(group.slaves):
        link, file = DIRECTORY + b"/" + slave.name, best.files[number]
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
    """Remove the links and then the file of a group without choices."""
    why = draft.why_not(at)
    if why:
        return why
    for number, slave in enumerate(group.slaves):
        _remove_pair(draft, slave.link, DIRECTORY + b"/" + slave.name, {each.files[number] for each in group.choices})
    _remove_pair(draft, group.link, master, gone | {choice.path for choice in group.choices})
    draft.change(at, None)
    return ""


def _remove_pair(draft: Draft, generic: bytes, link: bytes, known: Collection[bytes] | None) -> None:
    """Remove a link in /etc/alternatives and the generic one, if both are as update-alternatives made them.

    `known` are the existing files that the first may lead to; None: any.
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
