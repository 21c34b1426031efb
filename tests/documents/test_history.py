"""A history as JSON Lines: what others wrote stays, what is not understood is named by its line."""

from __future__ import annotations

import orjson
import pytest
from document_values import PAST_RUN, PAST_RUNS
from hypothesis import given
from hypothesis import strategies as st

from slimagent.documents import decode_lines, encode_line
from slimagent.errors import DocumentError
from slimagent.model.history import PastRun

LINE = encode_line(PAST_RUN)
FOREIGN = st.sampled_from([b"", b"   ", b'{"schema": "other/tool", "version": 7}', b"{}", b'{"schema": 3}'])


@given(st.lists(st.tuples(PAST_RUNS, FOREIGN, st.sampled_from([b"\n", b"\r\n"])), max_size=4))
def test_the_runs_of_a_file_are_those_of_its_lines(rows: list[tuple[PastRun, bytes, bytes]]) -> None:
    """In the order of the lines; empty ones and those of others between them are passed over."""
    data = b"".join(encode_line(run).rstrip(b"\n") + end + other + end for run, other, end in rows)
    assert decode_lines(data) == tuple(run for run, _, _ in rows)
    assert decode_lines(data.rstrip(b"\r\n")) == tuple(run for run, _, _ in rows)


@given(PAST_RUNS)
def test_a_run_is_one_line(run: PastRun) -> None:
    """Whatever its texts are: a line break in a name is escaped."""
    assert encode_line(run).count(b"\n") == 1 and encode_line(run).endswith(b"\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON"),
        (b"when,image,size", "not JSON"),
        (LINE[:-9], "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (LINE.replace(b'"version":1', b'"version":9'), "version 9 of slimagent/history-line is not known"),
        (LINE.replace(b'"when":"2026', b'"when":"yesterday 2026'), "expected a time in UTC"),
        (LINE.replace(b'"bytes_after":5', b'"bytes_after":-5'), "bytes_after"),
        (LINE.replace(b'["dpkg:vim",4]', b'["dpkg:vim"]'), "packages[0]"),
        (b"<<<<<<< HEAD", "a merge conflict"),
        (b"=======\r", "a merge conflict"),
        (b">>>>>>> branch", "a merge conflict"),
    ],
)
def test_a_line_that_is_not_understood_is_named(line: bytes, words: str) -> None:
    """By the name of the file and its number, counted from 1."""
    with pytest.raises(DocumentError) as caught:
        decode_lines(LINE + b"\n" + line + b"\n" + LINE, "sizes.jsonl")
    assert caught.value.message.startswith("sizes.jsonl, line 3")
    assert words in caught.value.message and caught.value.hint
    assert caught.value.message.isprintable()


def test_members_that_are_added_later_are_read_over() -> None:
    """Within a version members may be added."""
    assert decode_lines(orjson.dumps({**orjson.loads(LINE), "new": [1]})) == (PAST_RUN,)
