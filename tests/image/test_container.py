"""An engine's options without those that mount: what a slim image does with somebody's files over it proves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.image.container import Container

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


def as_configured(*options: str) -> Words:
    return Container(image="x", run_options=options).as_configured("x").run_options


@given(st.lists(st.tuples(st.booleans(), others, mounts), max_size=6))
def test_no_option_that_mounts_is_left_and_every_other_one_is(rows: list[tuple[bool, Words, Words]]) -> None:
    """With its value as a word of its own, after `=`, or behind its letter; together with letters that take none."""
    options = tuple(word for mounting, other, mount in rows for word in (mount if mounting else other))
    assert as_configured(*options) == tuple(word for mounting, other, _ in rows if not mounting for word in other)


@pytest.mark.parametrize("option", ["-v", "--mount", "-itv"])
def test_an_option_without_its_value_harms_nothing(option: str) -> None:
    """The engine says that it lacks one."""
    assert as_configured("--init", option) == ("--init",)


@pytest.mark.parametrize(
    "option",
    [
        ("-p", "8080:80"), ("-p8080:80",), ("--publish=8080:80",), ("--publish", "8080:80"), ("-P",),
        ("--publish-all",),
        ("--ip", "10.0.0.2"), ("--ip6=::2",), ("--mac-address", "x"), ("--network=host",), ("--net", "host"),
    ],
)  # fmt: skip
def test_an_option_that_two_containers_cannot_both_have_is_known(option: Words) -> None:
    """A port of this machine, an address: whoever has one runs alone, and what only plans goes without."""
    container = Container(image="x", run_options=("--init", *option, "--gpus", "all"))
    assert container.bare().run_options == ("--init", "--gpus", "all")
    assert not container.can_run_beside_another


@pytest.mark.parametrize("option", [("--pids-limit", "5"), ("--privileged",), ("--ipc=host",), ("--pull", "never")])
def test_other_options_are_left(option: Words) -> None:
    """They begin alike, and mean something else."""
    container = Container(image="x", run_options=option)
    assert container.bare().run_options == option
    assert container.can_run_beside_another
