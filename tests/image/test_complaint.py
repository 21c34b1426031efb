"""The sentence of an engine that says what is wrong; each text is what an engine really printed."""

from __future__ import annotations

import pytest

from slimagent.image.complaint import sentence, why_unreachable

FLAG = (
    b"unknown flag: --nosuch\n\nUsage:  docker create [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
    b"Run 'docker create --help' for more information\n"
)
VOLUME = b"docker: invalid spec: /nope:bad:ro:x: too many colons\n\nRun 'docker create --help' for more information\n"
NETWORK = b"Error response from daemon: network nosuchnet not found\nError: failed to start containers: front-p1\n"
WARNED = (
    b"WARNING: The requested image's platform (linux/arm64) does not match\nError response from daemon: No command\n"
)
PODMAN = b"Error: unknown flag: --nosuch\nSee 'podman create --help'\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (FLAG, "unknown flag: --nosuch"),
        (VOLUME, "docker: invalid spec: /nope:bad:ro:x: too many colons"),
        (NETWORK, "Error response from daemon: network nosuchnet not found"),
        (WARNED, "Error response from daemon: No command"),
        (PODMAN, "Error: unknown flag: --nosuch"),
        (b"Error: failed to start containers: x\n", "Error: failed to start containers: x"),
        (b"\n", ""),
    ],
)
def test_the_sentence_that_tells_is_found(said: bytes, expected: str) -> None:
    """It stands before advice and consequences, and after warnings."""
    assert sentence(said) == expected


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
            '"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/containers/json": dial unix: connect: permission denied',
            "group docker",
        ),
        (
            "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
            "group docker",
        ),
        ("Cannot connect to the Docker daemon at unix:///nope.sock. Is the docker daemon running?", "systemctl start"),
        ("no answer within 120 s", "systemctl start"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_known(words: str, hint: str) -> None:
    """The hint says what to do about it."""
    assert hint in why_unreachable(words, "docker")


@pytest.mark.parametrize("said", [FLAG, VOLUME, NETWORK, b"Error response from daemon: permission denied"])
def test_an_engine_that_refuses_works(said: bytes) -> None:
    """Its words are about what was asked for."""
    assert why_unreachable(sentence(said), "docker") == ""
