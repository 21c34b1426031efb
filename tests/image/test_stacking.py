"""What layers hide of each other, held against a plain model: each layer's files laid over those below."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from slimagent.image.stacking import Stack
from slimagent.model.audit import Fate, Hidden


@dataclass(frozen=True)
class Member:
    """A member of a layer."""

    path: bytes
    size: int = 0
    digest: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime: int = 0
    is_directory: bool = False
    link: bytes = b""


def file(path: str, content: str = "x", **more: object) -> Member:
    return Member(path.encode(), len(content), content.encode(), **more)  # type: ignore[arg-type]  # attributes


def directory(path: str) -> Member:
    return Member(path.encode(), is_directory=True)


def stacked(*layers: list[Member]) -> Stack:
    stack = Stack()
    for layer in layers:
        stack.add(layer)
    return stack


def only(stack: Stack) -> Hidden:
    (found,) = stack.hidden()
    return found


def test_a_whiteout_deletes_a_file_or_a_tree() -> None:
    """Of lower layers."""
    below = [directory("/d"), file("/d/a", "12345"), directory("/d/e"), file("/d/e/b", "12"), file("/c")]
    found = only(stacked(below, [file("/.wh.d")]))
    assert (found.fate, found.size, found.files, found.layer, found.by) == (Fate.DELETED, 7, 2, 0, 1)
    assert found.examples == (b"/d/a", b"/d/e/b")
    assert stacked(below, [file("/.wh.d")]).of() == {b"/c": 0}


def test_an_opaque_directory_deletes_what_is_below_it() -> None:
    """Wherever the mark stands in its layer: what the layer itself adds stays."""
    below = [directory("/d"), file("/d/a", "12345")]
    for above in ([file("/d/.wh..wh..opq"), file("/d/new")], [file("/d/new"), file("/d/.wh..wh..opq")]):
        stack = stacked(below, [directory("/d"), *above])
        assert only(stack).size == 5
        assert stack.of() == {b"/d/new": 1}


def test_a_file_that_comes_again_is_replaced_or_copied() -> None:
    """Copied: the same content, with what differs; all layers still carry it."""
    found = only(stacked([file("/a", "123")], [file("/a", "1234")]))
    assert (found.fate, found.size, found.changed) == (Fate.REPLACED, 3, ())
    found = only(stacked([file("/a", "123")], [file("/a", "123", owner=(1, 1), mode=0o600)]))
    assert (found.fate, found.size, found.changed) == (Fate.COPIED, 3, ("mode", "owner"))


def test_a_file_in_place_of_a_directory_hides_it() -> None:
    """And a directory in place of a file."""
    found = only(stacked([directory("/d"), file("/d/a", "123")], [file("/d", "1")]))
    assert (found.fate, found.size) == (Fate.DELETED, 3)
    found = only(stacked([file("/d", "123")], [directory("/d")]))
    assert (found.fate, found.size) == (Fate.REPLACED, 3)


def test_a_layer_need_not_have_entries_for_directories() -> None:
    """`docker import` takes such a tar, and makes the directories."""
    below = [file("/big/deep/dir/a", "12345"), file("/big/deep/b", "12")]
    for mark in ("/.wh.big", "/big/.wh..wh..opq"):
        found = only(stacked(below, [file(mark)]))
        assert (found.fate, found.size, found.files) == (Fate.DELETED, 7, 2)
    found = only(stacked(below, [file("/big", "1")]))
    assert (found.fate, found.size, found.files) == (Fate.DELETED, 7, 2)
    stack = stacked([file("/big", "123"), file("/bigger")], below)
    assert (only(stack).fate, only(stack).size) == (Fate.REPLACED, 3)
    assert stack.of() == {b"/bigger": 0, b"/big/deep/dir/a": 1, b"/big/deep/b": 1}


def test_what_a_layer_hides_of_itself_is_not_counted() -> None:
    """An engine unpacks the last member of a path, and saves what it unpacked."""
    stack = stacked([file("/d/a", "123"), file("/d", "1")], [file("/x/y"), file("/x"), file("/x/y/z", "12")])
    assert stack.hidden() == ()
    assert stack.of() == {b"/d": 0, b"/x/y/z": 1}


def test_a_file_is_hidden_when_all_its_names_are() -> None:
    """uv links what it installs from its cache: without the cache the bytes are still there."""
    below = [file("/cache/a", "12345"), Member(b"/venv/a", link=b"/cache/a")]
    assert stacked(below, [file("/.wh.cache")]).hidden() == ()
    assert stacked(below, [file("/venv/.wh.a")]).hidden() == ()
    found = only(stacked(below, [file("/.wh.cache")], [file("/venv/a", "other")]))
    assert (found.fate, found.size, found.files, found.layer, found.by) == (Fate.REPLACED, 5, 1, 0, 2)


def test_a_file_with_two_names_that_gets_another_owner_is_copied() -> None:
    """Once, and with both names: `chown -R` writes it again."""
    below, above = (
        [file("/a", "123", owner=owner), Member(b"/b", link=b"/a", owner=owner)] for owner in ((0, 0), (1, 1))
    )
    found = only(stacked(below, above))
    assert (found.fate, found.size, found.files, found.changed) == (Fate.COPIED, 3, 1, ("owner",))


def test_a_link_that_leads_nowhere_is_no_name() -> None:
    """An image can say anything."""
    for link in (b"/nothing", b"/venv/a", b"/"):
        below = [directory("/venv"), Member(b"/venv/a", link=link), file("/b", "12")]
        assert only(stacked(below, [file("/.wh.venv"), file("/.wh.b")])).size == 2


def test_what_aufs_kept_for_itself_is_no_file() -> None:
    """`.wh..wh.plnk` and the like mean nothing."""
    assert stacked([file("/a"), file("/.wh..wh.plnk")], [file("/.wh..wh.orph")]).of() == {b"/a": 0}


NAMES = ("/a", "/b", "/d/a", "/d/b", "/d/e/a")
LAYERS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(NAMES), st.text("xyz", min_size=1, max_size=3), max_size=4),
        st.sets(st.sampled_from((*NAMES, "/d", "/d/e")), max_size=2),
    ),
    min_size=1,
    max_size=5,
)


@given(LAYERS, st.booleans())
def test_it_is_a_plain_overlay(layers: list[tuple[dict[str, str], set[str]]], with_entries: bool) -> None:
    """Every byte of every layer is visible in the end, or hidden once, with and without entries for directories."""
    stack, visible, hidden = Stack(), dict[str, tuple[int, str]](), 0
    for number, (files, gone) in enumerate(layers):
        marks = [file(f"{path.rpartition('/')[0]}/.wh.{path.rpartition('/')[2]}") for path in sorted(gone)]
        for path in list(visible):
            if any(path == each or path.startswith(f"{each}/") for each in gone):
                hidden += len(visible.pop(path)[1])
        for path, content in files.items():
            hidden += len(visible[path][1]) if path in visible else 0
            visible[path] = number, content
        parents = [directory(each) for each in ("/d", "/d/e") if any(path.startswith(each + "/") for path in files)]
        parents = parents if with_entries else []
        stack.add([*parents, *(file(path, content) for path, content in files.items()), *marks])
    assert stack.of() == {path.encode(): number for path, (number, _) in visible.items()}
    assert sum(each.size for each in stack.hidden()) == hidden
    assert all(each.layer < each.by for each in stack.hidden())
