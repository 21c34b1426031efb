"""The rule that says which GPUs an image is for: in a profile, on the command line, and both together."""

from __future__ import annotations

import pytest
from command_line import slimagent

from slimagent.errors import UsageError
from slimagent.model.profile import GpuRule, Rules
from slimagent.profiles import rules as profile_rules
from slimagent.profiles.table import Table


def read(**inside: object) -> GpuRule | None:
    """The rule of a profile with these keys in its table [gpu]."""
    return profile_rules.read(Table({"gpu": inside}, "profile mine")).gpu


def test_a_profile_names_gpus() -> None:
    """By architecture or model; without the table nobody said anything."""
    found = read(**{"architectures": ["sm_80", "h100"], "ptx": "keep", "code-of": ["python:nvidia-*", "/opt/x/**"]})
    assert found == GpuRule(architectures="sm_80,h100", ptx=True, owners=("python:nvidia-*", "/opt/x/**"))
    assert read(architectures=["none"], ptx="drop") == GpuRule(architectures="none", ptx=False)
    assert profile_rules.read(Table({}, "profile mine")).gpu is None


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        ({"architectures": ["h1000"]}, "profile mine: gpu.architectures: not a GPU architecture: 'h1000'"),
        ({"architectures": ["none", "sm_80"]}, "profile mine: gpu.architectures"),
        ({"architectures": "sm_80"}, "profile mine: gpu.architectures: expected list"),
        ({"ptx": "perhaps"}, "profile mine: gpu.ptx"),
        ({"code-of": ["nvidia"]}, "profile mine: gpu.code-of[0]"),
        ({"code-of": ["python:x", r"/opt/\q"]}, "profile mine: gpu.code-of[1]"),
        ({"arch": ["sm_80"]}, "profile mine: gpu: unknown key 'arch'"),
    ],
)
def test_the_place_of_a_mistake_is_named(inside: dict[str, object], named: str) -> None:
    """With the key and its value."""
    with pytest.raises(UsageError) as caught:
        read(**inside)
    assert caught.value.message.startswith(named)


def test_the_last_word_counts_and_owners_add_up() -> None:
    """As for the other rules; what a later one leaves open stays."""
    first = Rules(gpu=GpuRule(architectures="sm_80", ptx=True, owners=("python:a",)))
    second = Rules(gpu=GpuRule(architectures="sm_90", owners=("python:b", "python:a")))
    merged = profile_rules.merge(first, second).gpu
    assert merged == GpuRule(architectures="sm_90", ptx=True, owners=("python:a", "python:b"))
    assert profile_rules.merge(first, Rules()).gpu == profile_rules.merge(Rules(), first).gpu == first.gpu
    only = profile_rules.merge(first, Rules(gpu=GpuRule(ptx=False))).gpu
    assert only == GpuRule(architectures="sm_80", ptx=False, owners=("python:a",))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gpu-arch", "sm_80,h1000"), "--gpu-arch sm_80,h1000: not a GPU architecture: 'h1000'"),
        (("--gpu-arch", ""), "not a GPU architecture"),
        (("--gpu-ptx", "keep"), "--gpu-ptx without --gpu-arch does nothing"),
        (("--gpu-code-of", "python:x"), "--gpu-code-of without --gpu-arch does nothing"),
        (("--gpu-arch", "none", "--gpu-code-of", "nvidia"), "--gpu-code-of nvidia is not KIND:NAME"),
        (("--gpu-arch", "none", "--gpu-code-of", "pyton:nvidia"), "pyton is not a kind of package"),
        (("--gpu-arch", "none", "--gpu-code-of", r"/opt/\q"), r"--gpu-code-of /opt/\q"),
    ],
)
@pytest.mark.parametrize("command", [("image", "app", "-t", "app:slim"), ("dockerfile", "app")])
def test_a_mistake_is_found_before_anything_runs(command: tuple[str, ...], options: tuple[str, ...], said: str) -> None:
    """No engine is asked for an image that does not exist."""
    done = slimagent(*command, *options)
    assert done.returncode == 2
    assert said in done.stderr
