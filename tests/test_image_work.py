"""An engine's options without those that mount: what a slim image does with somebody's files over it proves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.image.work import without_mounts

Words = tuple[str, ...]
values = st.sampled_from(["/a:/b", "x", "", "a=b", "-v", "type=bind,src=/a,dst=/b", "5"])
long_mounts = st.sampled_from(["--volume", "--mount", "--tmpfs", "--volumes-from"])
booleans = st.sampled_from(["", "t", "i", "it", "tiP"])
mounts = st.one_of(
    st.tuples(long_mounts, values).map(lambda pair: pair),
    st.tuples(long_mounts, values).map(lambda pair: ("=".join(pair),)),
    st.tuples(booleans, values).map(lambda pair: (f"-{pair[0]}v", pair[1])),
    st.tuples(booleans, values.filter(bool)).map(lambda pair: (f"-{pair[0]}v{pair[1]}",)),
    st.tuples(booleans, values).map(lambda pair: (f"-{pair[0]}v={pair[1]}",)),
)
others = st.sampled_from(
    [
        ("--gpus", "all"), ("--gpus=all",), ("-e", "A=b"), ("-ev=1",), ("--env=v",), ("--privileged",), ("-t",),
        ("-it",),
        ("--volume-driver", "x"), ("--volume-driver=x",), ("-u", "0"), ("-p80:80",), ("--init",), ("-m", "1g"),
        ("-lv=1",), ("-hv",), ("--verbose",), ("--memory=1g",),
    ]
)  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), others, mounts), max_size=6))
def test_no_option_that_mounts_is_left_and_every_other_one_is(rows: list[tuple[bool, Words, Words]]) -> None:
    """With its value as a word of its own, after `=`, or behind its letter; together with letters that take none."""
    options = tuple(word for mounting, other, mount in rows for word in (mount if mounting else other))
    assert without_mounts(options) == tuple(word for mounting, other, _ in rows if not mounting for word in other)


@pytest.mark.parametrize("option", ["-v", "--mount", "-itv"])
def test_an_option_without_its_value_harms_nothing(option: str) -> None:
    """The engine says that it lacks one."""
    assert without_mounts(("--init", option)) == ("--init",)
