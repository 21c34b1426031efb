"""References to images, as Docker completes them."""

from __future__ import annotations

import pytest

from slimagent.errors import UsageError
from slimagent.model.references import is_reference, same, tag


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("slim", "docker.io/library/slim:latest", "slim:latest"),
        ("slim:1.0", "docker.io/library/slim:1.0", "slim:1.0"),
        ("lab/slim:x_Y-z", "docker.io/lab/slim:x_Y-z", "lab/slim:x_Y-z"),
        ("docker.io/library/slim", "docker.io/library/slim:latest", "slim:latest"),
        ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("a__b/c.d-e--f", "docker.io/a__b/c.d-e--f:latest", "a__b/c.d-e--f:latest"),
    ],
)
def test_a_name_is_completed_as_docker_does(text: str, full: str, short: str) -> None:
    """Registry, library and version."""
    assert (tag(text).full, tag(text).short) == (full, short)


@pytest.mark.parametrize(
    "text",
    ["Slim", "a b", "x@sha256:" + "0" * 64, "x:", "-x", "x/", "/x", "x:a:b", "é", "x\n", "x:" + "a" * 129, "a" * 256],
)
def test_what_is_not_a_name_is_refused(text: str) -> None:
    """The message shows it."""
    with pytest.raises(UsageError, match="is not a valid image name"):
        tag(text)
    assert not same(text, text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("app", "app:latest"),
        ("app:1", "docker.io/library/app:1"),
        ("app:1", "index.docker.io/app:1"),
        ("lab/app", "docker.io/lab/app:latest"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
    ],
)
def test_two_ways_to_write_one_name(one: str, other: str) -> None:
    """Both ways round."""
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("app:1", "app:2"), ("app", "ghcr.io/app"), ("app", "lab/app"), ("x@sha256:" + "0" * 64, "x"), ("a b", "a b")],
)
def test_two_names(one: str, other: str) -> None:
    """They are not the same, or not names at all."""
    assert not same(one, other)


def test_an_image_can_be_referred_to_by_its_digest() -> None:
    """But not be given one."""
    digest = "@sha256:" + "0" * 64
    assert is_reference("app:1") and is_reference(f"app{digest}") and is_reference(f"ghcr.io/a/app:1{digest}")
    assert not is_reference("Bad Name!") and not is_reference(f"Bad{digest}") and not is_reference("app@sha256:0")
