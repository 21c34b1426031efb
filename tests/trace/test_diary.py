"""A record that is on disk at every moment: what its rows say is what a record says at the end."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model import started
from slimagent.model.started import Started, Until
from slimagent.model.trace import Loss
from slimagent.trace.diary import Diary
from slimagent.trace.record import Record, combine

HEAD = started.head(Started(waited_for=Until.TIME))
names = st.sampled_from([b"/a", b"/a/", b"//a", b"/\xff\n", b"/b/./c", b"/b/c", b"/.."])
adds = st.lists(st.tuples(st.integers(0, 1), names, st.integers(1, 15)), max_size=20)
losses = st.lists(st.sampled_from(["foreign-call", "unreadable-path"]), max_size=40)


def decoded(rows: list[list[object]]) -> Started:
    return started.decode(b"".join(map(started.line, [HEAD, *rows])), "diary")


@given(adds)
def test_the_rows_are_what_a_record_would_have_said(seen: list[tuple[int, bytes, int]]) -> None:
    """Also of names that are spelled in several ways; and nothing is written twice."""
    rows: list[list[object]] = []
    diary, record = Diary(rows.append), Record()
    for step, path, how in seen:
        diary.add(step, path, how)
        record.add(step, path, how)
        assert decoded(rows).accesses == combine([record]).accesses == combine([diary]).accesses
    assert diary.written == len(rows) == len({tuple(row) for row in rows})
    for step, path, how in seen:
        diary.add(step, path, how)
    assert diary.written == len(rows)


@given(losses)
def test_of_losses_at_least_half_are_on_disk(lost: list[str]) -> None:
    """The first one at once, with its example; later ones whenever their number has doubled."""
    rows: list[list[object]] = []
    diary = Diary(rows.append)
    for at, kind in enumerate(lost):
        diary.lose(kind, str(at))
        found = {loss.kind: loss for loss in decoded(rows).losses}
        for each, (count, example) in diary.losses.items():
            assert count / 2 < found[each].count <= count
            assert found[each].example == example
    assert len(rows) <= 2 * 6 + 2


def test_the_end_of_a_supervisor_is_written() -> None:
    """It is a loss, which a plan refuses."""
    rows: list[list[object]] = []
    diary = Diary(rows.append)
    assert (diary.ended_by, rows) == (None, [])
    diary.end(error := RuntimeError("it"))
    assert diary.ended_by is error
    lost = "from here on nothing was seen: RuntimeError('it')"
    assert decoded(rows).losses == (Loss(kind="supervisor-error", count=1, example=lost),)


def test_a_full_disk_ends_a_supervisor_and_lets_its_calls_go() -> None:
    """What cannot be written is no evidence: the supervisor gets to know, and its last word may get lost, too."""

    def write(row: list[object]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    diary = Diary(write)
    with pytest.raises(OSError, match="No space left"):
        diary.add(0, b"/x", 1)
    diary.end(OSError(errno.ENOSPC, "No space left on device"))
