"""A profile that is written is the profile that is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.profile import CheckSpec
from slimagent.profiles import read as profile
from slimagent.profiles import write as profile_writer

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
parameters = st.one_of(
    names,
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(names, max_size=5).map(tuple),
)
specs = st.builds(
    CheckSpec,
    kind=names,
    name=names,
    seconds=st.integers(1, 604_800).map(float),
    user=names,
    parameters=st.dictionaries(st.sampled_from(["needed", "directories", "shell"]), parameters),
)


@given(
    description=names,
    why=st.text(),
    checks=st.lists(specs, max_size=4, unique_by=lambda spec: spec.name),
)
def test_what_is_written_is_read(description: str, why: str, checks: list[CheckSpec]) -> None:
    """Any text that TOML can hold, with the reasons as comments that break no line."""
    text = profile_writer.text("mine", description, [("base", why)], checks)
    found = profile.load("mine", {"mine": text, "base": ""}.__getitem__)
    assert found.checks == tuple(checks)
    assert found.description == description


def test_a_name_that_is_no_text_does_not_spoil_the_file() -> None:
    """A directory whose name is not UTF-8 cannot be said in TOML; the rest of the profile can be read."""
    spec = CheckSpec(kind="notebooks", name="n", parameters={"directories": ("/a-\udce9",)})
    text = profile_writer.text("mine", "", [], [spec])
    assert profile.load("mine", {"mine": text}.__getitem__).checks[0].parameters == {"directories": ("/a-?",)}
