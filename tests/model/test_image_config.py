"""Configurations of images, from engines and layouts, and from who means ill."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import DocumentError
from slimagent.model.image_config import HealthCheck, ImageConfig, read_image_config

CONFIG = {
    "Hostname": "",
    "User": "jovyan:users",
    "ExposedPorts": {"8888/tcp": {}, "53/udp": {}},
    "Env": ["PATH=/usr/bin:/bin", "EMPTY=", "EQUALS=a=b", "QUOTED=\"$x\\\n'é"],
    "Cmd": ["start.sh", "a b"],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000, "Retries": 3},
    "Image": "sha256:0",
    "Volumes": {"/data": {}},
    "WorkingDir": "/home/jovyan",
    "Entrypoint": ["tini", "-g", "--"],
    "OnBuild": ["RUN true"],
    "Labels": {"a": "b", "": "c"},
    "StopSignal": "SIGINT",
    "Shell": ["/bin/bash", "-c"],
    "SomethingNewer": {"deep": [1]},
}
DOCKER = {
    "Id": "sha256:0",
    "RepoTags": ["x:y"],
    "Created": "2026-01-01T00:00:00.5Z",
    "ContainerConfig": {"User": "somebody else"},
    "Author": "A. Uthor",
    "Config": CONFIG,
    "Architecture": "arm64",
    "Variant": "v8",
    "Os": "linux",
}
BLOB = {
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "author": "A. Uthor",
    "created": "2026-01-01T00:00:00.5Z",
    "config": CONFIG,
    "container_config": {"User": "somebody else"},
    "history": [{"created_by": "/bin/sh -c #(nop) ADD file", "empty_layer": True}],
    "rootfs": {"type": "layers", "diff_ids": []},
}


def read(value: Any) -> ImageConfig:
    return read_image_config(orjson.dumps(value))


def test_the_same_image_reads_the_same_in_every_form() -> None:
    """Inspected, in a list or alone, or as a blob; only a blob and Podman have the history."""
    beside = {key: value for key, value in CONFIG.items() if key != "Healthcheck"}
    podman = {**DOCKER, "Config": beside, "Healthcheck": CONFIG["Healthcheck"], "History": BLOB["history"]}
    inspected = read([DOCKER])
    assert inspected == read(DOCKER)
    assert inspected.config == CONFIG
    assert (inspected.architecture, inspected.variant, inspected.os) == ("arm64", "v8", "linux")
    assert (inspected.author, inspected.created, inspected.history) == ("A. Uthor", "2026-01-01T00:00:00.5Z", ())
    blob = read(BLOB)
    assert (blob.identity, blob) == ("", replace(read([podman]), identity=""))  # a blob does not have it
    assert blob.config == inspected.config
    assert blob.history == tuple(BLOB["history"])


def test_what_is_known_is_given_typed() -> None:
    """Every property, in the order of the document."""
    known = read(DOCKER)
    assert known.user == "jovyan:users"
    assert known.env == tuple(CONFIG["Env"])
    assert (known.entrypoint, known.command) == (("tini", "-g", "--"), ("start.sh", "a b"))
    assert (known.exposed_ports, known.volumes) == (("8888/tcp", "53/udp"), ("/data",))
    assert (known.labels, known.on_build) == ({"a": "b", "": "c"}, ("RUN true",))
    assert (known.shell, known.stop_signal, known.working_dir) == (("/bin/bash", "-c"), "SIGINT", "/home/jovyan")
    assert known.healthcheck == HealthCheck(test=("CMD", "true"), interval=30_000_000_000, retries=3)


def test_what_is_not_there_is_nothing() -> None:
    """Null, or no key at all, as engines write it; an empty list is kept apart where it matters."""
    for config in (None, {}, dict.fromkeys(CONFIG)):
        bare = read({**DOCKER, "Config": config})
        assert (bare.user, bare.env, bare.entrypoint, bare.command) == ("", (), None, None)
        assert (bare.labels, bare.volumes, bare.healthcheck, bare.shell) == ({}, (), None, ())
    assert read({**DOCKER, "Config": {"Entrypoint": [], "Cmd": []}}).entrypoint == ()


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"User": 0}, "Config.User: expected a string"),
        ({"Env": "A=b"}, "Config.Env: expected a list"),
        ({"Env": ["A=b", None]}, "Config.Env[1]: expected a string"),
        ({"Cmd": {}}, "Config.Cmd: expected a list"),
        ({"Labels": {"a": 1}}, "Config.Labels['a']: expected a string"),
        ({"Volumes": ["/data"]}, "Config.Volumes: expected an object"),
        ({"Healthcheck": {"Test": ["CMD"], "Retries": True}}, "Config.Healthcheck.Retries: expected a whole number"),
        ({"Healthcheck": {"Interval": -1}}, "Config.Healthcheck.Interval: expected a whole number"),
    ],
)
def test_an_error_names_the_place(changed: dict[str, Any], place: str) -> None:
    """A value of the wrong kind is refused where it stands."""
    with pytest.raises(DocumentError) as caught:
        read([{**DOCKER, "Config": {**CONFIG, **changed}}])
    assert place in caught.value.message
    with pytest.raises(DocumentError) as caught:
        read({**BLOB, "config": {**CONFIG, **changed}})
    assert place.lower() in caught.value.message.lower()


@pytest.mark.parametrize(
    "value",
    [None, 1, "x", [], [DOCKER, DOCKER], {}, [[DOCKER]], {"Id": "a container", "Config": CONFIG}, {"Architecture": 1}],
)
def test_what_is_no_image_is_refused(value: Any) -> None:
    """A container's inspection, several images, or something else altogether."""
    with pytest.raises(DocumentError):
        read(value)


@given(st.data())
def test_a_document_cut_short_or_altered_never_crashes(data: st.DataObject) -> None:
    """It is read or refused."""
    whole = bytearray(json.dumps([DOCKER]).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(DocumentError):
        assert read_image_config(cut).os


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(CONFIG)), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*DOCKER, *BLOB, "History", "Healthcheck"]), _JSON, max_size=6))
def test_any_json_is_read_or_refused(value: dict[str, Any]) -> None:
    """No shape of document is an error of ours."""
    try:
        known = read(value)
    except DocumentError:
        return
    assert known.architecture
    assert known.os


def test_deep_nesting_is_refused() -> None:
    """It costs no recursion of ours."""
    with pytest.raises(DocumentError):
        read_image_config(b"[" * 100_000)


def configured(**config: Any) -> ImageConfig:
    """A configuration with this and nothing else."""
    return read({**DOCKER, "Config": config})


words = st.lists(st.text(max_size=5), max_size=3)


@given(st.none() | words, st.none() | words)
def test_what_a_container_runs(entrypoint: list[str] | None, command: list[str] | None) -> None:
    """The entry point, then the command, either of which may be missing."""
    assert configured(Entrypoint=entrypoint, Cmd=command).started == (*(entrypoint or ()), *(command or ()))


@pytest.mark.parametrize(
    ("test", "shell", "command"),
    [
        (["CMD", "curl", "-f", "x"], None, ("curl", "-f", "x")),
        (["CMD-SHELL", "curl x || exit 1"], None, ("/bin/sh", "-c", "curl x || exit 1")),
        (["CMD-SHELL", "curl x"], ["/bin/bash", "-lc"], ("/bin/bash", "-lc", "curl x")),
        (["NONE"], None, ()),
        ([], None, ()),
        (["CMD"], None, ()),
        (["CMD-SHELL"], None, ()),
        (["SOMETHING-NEWER", "x"], None, ()),
    ],
)
def test_the_command_of_a_health_check(test: list[str], shell: list[str] | None, command: tuple[str, ...]) -> None:
    """As it is, by the image's shell, or none."""
    assert configured(Healthcheck={"Test": test}, Shell=shell).health_command == command
    assert configured().health_command == ()


@pytest.mark.parametrize(
    ("exposed", "ports"),
    [
        (["80/tcp", "443"], (80, 443)),
        (["80", "80/tcp", "80/TCP"], (80,)),
        (["53/udp", "9/sctp"], ()),
        (["8000-8010/tcp"], ()),
        (["0/tcp", "65536/tcp", "65535/tcp", "99999999999/tcp"], (65535,)),
        (["x/tcp", "/tcp", "", "-1/tcp"], ()),
    ],
)
def test_the_tcp_ports_that_are_exposed(exposed: list[str], ports: tuple[int, ...]) -> None:
    """Each once; other protocols, ranges, and what is not the number of a port are left out."""
    assert configured(ExposedPorts={key: {} for key in exposed}).tcp_ports == ports
