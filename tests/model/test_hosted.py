"""The record of tests on the host: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import DocumentError
from slimagent.model import started
from slimagent.model.hosted import Hosted, decode, encode
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.started import Started, Until
from slimagent.model.trace import BlindSpot, How, Loss, LossKind

texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
paths = st.text("abc-\u00e9", min_size=1, max_size=8).map(lambda name: b"/" + name.encode())
hows = st.integers(1, sum(How)).map(lambda how: (How(how), (0,)))
uses = st.dictionaries(paths | st.just(b"/\xff\n"), hows)
losses = st.lists(st.sampled_from(list(LossKind)), unique=True).map(
    lambda kinds: tuple(Loss(kind=kind, count=2, example="x") for kind in sorted(kinds))
)
starts = st.builds(
    Started,
    waited_for=st.just(Until.EXIT),
    backend=st.sampled_from(["", "seccomp"]),
    blind_spots=st.lists(st.sampled_from(list(BlindSpot)), unique=True).map(tuple),
    no_new_privileges=st.booleans(),
    unwatched=texts,
    accesses=uses,
    losses=losses,
)
items = st.lists(st.builds(Item, name=texts, outcome=st.sampled_from(list(Outcome)), detail=texts)).map(tuple)
results = st.builds(
    CheckResult,
    name=st.just("host-tests"),
    kind=st.just("host"),
    outcome=st.sampled_from(list(Outcome)),
    seconds=st.integers(0, 10_000).map(float),
    status=st.none() | st.integers(0, 255),
    detail=texts,
    items=items,
)


@given(starts, results)
def test_what_is_written_is_read(seen: Started, result: CheckResult) -> None:
    """Each field, and any path."""
    assert decode(encode(Hosted(seen=seen, result=result)), "x") == Hosted(seen=seen, result=result)


@given(st.lists(starts, max_size=4))
def test_what_several_containers_needed_is_what_any_needed(several: list[Started]) -> None:
    """Uses add up, losses add up, and one that could not be watched makes all of it unwatched."""
    whole = started.united(several)
    assert set(whole.accesses) == {path for each in several for path in each.accesses}
    for each in several:
        assert all(whole.accesses[path][0] & how == how for path, (how, _) in each.accesses.items())
    for kind in LossKind:
        counts = [loss.count for each in several for loss in each.losses if loss.kind == kind]
        assert [loss.count for loss in whole.losses if loss.kind == kind] == ([sum(counts)] if counts else [])
    assert bool(whole.unwatched) == any(each.unwatched for each in several)
    assert whole.no_new_privileges == any(each.no_new_privileges for each in several)


@pytest.mark.parametrize(
    "head",
    [
        b"", b"{}", b"[]", b'["hosted"]', b'["hosted", "slimagent/hosted", 2, "passed", 0, 0, "", []]',
        b'["hosted", "slimagent/hosted", 1, "good", 0, 0, "", []]',
        b'["hosted", "slimagent/hosted", 1, "passed", "x", 0, "", []]',
        b'["hosted", "slimagent/hosted", 1, "passed", 0, 0, "", [["a", "passed"]]]',
        b'["hosted", "slimagent/hosted", 1, "passed", 0, 0, "", 7]',
        b'["hosted", "slimagent/hosted", 1, "passed", 1e999, 0, "", [], 1]', b"\xff", b"[" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(head: bytes) -> None:
    """With the line, and what to do."""
    with pytest.raises(DocumentError, match="line 1") as caught:
        decode(head + b"\n", "hosted.jsonl")
    assert caught.value.hint
