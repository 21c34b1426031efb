"""Engines, for real: containers made, run and removed, images loaded and tagged; and what Podman must understand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_images import nothing, told
from python_images import lacking

from slimagent.errors import CheckFailedError, RefusedError, UnavailableError, UsageError
from slimagent.image.container import Container
from slimagent.image.engine import Engine, EngineRefusedError, find

PODMAN = (
    "create",
    "start",
    "wait",
    "stop",
    "kill",
    "logs",
    "cp",
    "ps",
    "rm",
    "load",
    "images",
    "rmi",
    "history",
    "tag",
)


def test_a_container_is_run_to_its_end(engine: Engine, probe: str, name: str) -> None:
    """Its exit status, its output, and its errors line by line."""
    output: list[bytes] = []
    errors: list[bytes] = []
    engine.create(name, Container(image=probe, entry=("/probe", "7", "out\nmore", "one\ntwo")))
    assert engine.run(name, output.append, errors.append) == 7
    assert output == [b"out\n", b"more\n"]
    assert errors == [b"one\n", b"two\n"]


def test_a_line_without_an_end_comes_in_pieces(engine: Engine, probe: str, name: str) -> None:
    """I5: what a container writes does not fill our memory."""
    pieces: list[int] = []
    engine.create(name, Container(image=probe, entry=("/probe", "flood")))
    assert engine.run(name, lambda line: pieces.append(len(line)), nothing) == 0
    assert sum(pieces) == 300_000
    assert max(pieces) <= 64 << 10


def test_what_a_listener_raises_is_raised_at_the_end(engine: Engine, probe: str, name: str) -> None:
    """The container is read on, so that it does not stand still for ever."""

    def fail(line: bytes) -> None:
        raise ValueError(line)

    engine.create(name, Container(image=probe, entry=("/probe", "flood")))
    with pytest.raises(ValueError, match="xxx"):
        engine.run(name, fail, nothing)
    assert engine.inspect_container(name)["State"]["ExitCode"] == 0


def test_a_container_that_never_ran_has_no_exit_status(engine: Engine, probe: str, name: str) -> None:
    """What the engine says about it is raised."""
    engine.create(name, Container(image=probe, entry=("/nothing-here",)))
    with pytest.raises(EngineRefusedError, match=r"docker cannot start a container: .*/nothing-here"):
        engine.run(name, nothing, nothing)


def test_a_container_starts_as_the_image_says(engine: Engine, probe: str, name: str) -> None:
    """Nothing of ours in it but what was asked for: as `docker run IMAGE` does."""
    image = Container(image=probe, arguments=("user",), user="", healthcheck=True, cap_add=("SYS_PTRACE",))
    lines: list[bytes] = []
    engine.create(name, image)
    assert engine.run(name, lines.append, nothing) == 0
    assert lines == [b"7:8\n"]
    found = engine.inspect_container(name)
    assert found["Config"]["Entrypoint"] == ["/probe"]
    assert found["Config"]["Healthcheck"]["Test"] == ["CMD", "/probe", "0"]
    assert [each.removeprefix("CAP_") for each in found["HostConfig"]["CapAdd"]] == ["SYS_PTRACE"]


def test_no_health_check_runs_unless_it_is_asked_for(engine: Engine, probe: str, name: str) -> None:
    """It would be a visitor that nobody asked for."""
    engine.create(name, Container(image=probe, entry=("/probe", "0")))
    assert engine.inspect_container(name)["Config"]["Healthcheck"]["Test"] == ["NONE"]


def test_a_container_goes_on_by_itself_until_it_is_stopped(engine: Engine, probe: str, name: str) -> None:
    """Started, waited for in vain, stopped by a signal that it answers; its log is there."""
    engine.create(name, Container(image=probe, entry=("/probe", "wait", "a line")))
    engine.start(name)
    assert engine.wait(name, 0.5) is None
    assert engine.inspect_container(name)["State"]["Running"] is True
    engine.stop(name, "USR1", 60)
    assert engine.wait(name) == signal.SIGUSR1
    assert engine.logs(name) == b"a line\n"
    assert engine.logs(name, 3) == b"ne\n"


@pytest.mark.parametrize("by", ["", "TERM"])
def test_a_container_that_does_not_answer_is_killed(engine: Engine, probe: str, name: str, by: str) -> None:
    """The first process of a container ignores signals that it does not handle."""
    engine.create(name, Container(image=probe, entry=("/probe", "wait")))
    engine.start(name)
    engine.stop(name, by, 1)
    assert engine.wait(name) == 128 + signal.SIGKILL
    engine.stop(name, by, 1)  # it has ended already


def test_a_container_that_is_not_there(engine: Engine, name: str) -> None:
    """It has neither a log nor a state, and cannot be waited for or stopped."""
    for ask in (engine.start, engine.wait, engine.stop, engine.logs, engine.inspect_container):
        with pytest.raises(EngineRefusedError, match=rf"docker cannot (start|wait|stop|logs|inspect): .*{name}"):
            ask(name)
    with pytest.raises(EngineRefusedError):
        engine.stop(name, "TERM")


def test_a_file_is_read_out_of_a_container(engine: Engine, probe: str, name: str) -> None:
    """Of one that never ran. A directory, a large file and none at all are nothing."""
    engine.create(name, Container(image=probe, entry=("/probe",)))
    program = engine.copy_out(name, "/probe")
    assert program is not None and program.startswith(b"\x7fELF")
    assert engine.copy_out(name, "/link") == program
    assert engine.copy_out(name, "/probe", limit=len(program) - 1) is None
    assert engine.copy_out(name, "/data") is None
    assert engine.copy_out(name, "/nothing-here") is None


def test_containers_and_images_are_found_by_their_names(engine: Engine, probe: str, name: str) -> None:
    """Only those whose names begin so, and those of one repository."""
    engine.create(name, Container(image=probe, entry=("/probe",)))
    assert engine.container_names(name) == [name]
    assert engine.container_names(name[1:]) == []
    assert probe in engine.image_names("slimagent-test-probe")
    assert engine.image_names("slimagent-test-none") == []


def test_a_comma_in_a_mounted_directory(engine: Engine, probe: str, name: str, tmp_path: Path) -> None:
    """I8: a mount is told in fields with commas between them."""
    here = tmp_path / 'a,b "c"'
    here.mkdir()
    engine.create(name, Container(image=probe, entry=("/probe",), mounts=((str(here), "/x", True),)))
    assert str(here) in {each["Source"] for each in engine.inspect_container(name)["Mounts"]}


def test_a_container_runs_as_root_without_network(engine: Engine, probe: str, name: str) -> None:
    """The agent has to read the whole image; the network is asked for by who needs it."""
    engine.create(name, Container(image=probe, entry=("/probe", "user")))
    output: list[bytes] = []
    assert engine.run(name, output.append, nothing) == 0
    assert output == [b"0:0\n"]
    assert told("inspect", "-f", "{{.HostConfig.NetworkMode}}", name) == ["none"]


def test_mounts_and_options_reach_the_container(engine: Engine, probe: str, name: str, tmp_path: Path) -> None:
    """The agent's folder read-only, the output writable, and what somebody asked for."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    engine.create(
        name,
        Container(
            image=probe,
            entry=("/probe", "0"),
            mounts=((str(tmp_path / "a"), "/.a", False), (str(tmp_path / "b"), "/.b", True)),
            volumes=(f"{tmp_path}:/more:ro",),
            env=("NAME=a value",),
            run_options=("--shm-size=2m",),
        ),
    )
    found = json.loads(subprocess.run(["docker", "inspect", name], check=True, capture_output=True).stdout)[0]
    rights = {each["Destination"]: each["RW"] for each in found["Mounts"]}
    assert rights == {"/.a": False, "/.b": True, "/more": False, "/data": True}
    assert "NAME=a value" in found["Config"]["Env"]
    assert found["HostConfig"]["ShmSize"] == 2 << 20


def test_nothing_of_a_container_is_left(engine: Engine, probe: str, name: str) -> None:
    """Neither itself nor its anonymous volumes, also while it runs; removing what is not there is no error."""
    engine.create(name, Container(image=probe, entry=("/probe", "wait")))
    volumes = told("inspect", "-f", "{{range .Mounts}}{{.Name}}{{end}}", name)
    subprocess.run(["docker", "start", name], check=True, capture_output=True)
    engine.remove_container(name)
    assert told("ps", "-aq", "--filter", f"name={name}") == []
    assert not {*volumes} & {*told("volume", "ls", "-q")}
    engine.remove_container(name)


def test_an_interruption_ends_the_wait(engine: Engine, probe: str, name: str) -> None:
    """The signal is ours and not the container's: it goes when it is removed."""
    engine.create(name, Container(image=probe, entry=("/probe", "wait", "started", "begun")))
    begun = threading.Event()
    threading.Thread(target=lambda: begun.wait(60) and os.kill(os.getpid(), signal.SIGINT), daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        engine.run(name, nothing, lambda line: begun.set())
    assert told("inspect", "-f", "{{.State.Running}}", name) == ["true"]


def test_an_image_that_is_not_here_is_not_fetched(engine: Engine, name: str) -> None:
    """No registry is asked, and the message says how to get it."""
    with pytest.raises(UsageError, match="no such image here: slimagent-test-none:1") as caught:
        engine.inspect("slimagent-test-none:1")
    assert caught.value.hint == "get it first: docker pull slimagent-test-none:1"
    assert engine.find_image("slimagent-test-none:1") is None
    with pytest.raises(EngineRefusedError, match="docker cannot create: Error response from daemon: No such image"):
        engine.create(name, Container(image="slimagent-test-none:1", entry=("/probe",)))


def test_an_engine_that_does_not_answer_is_named() -> None:
    """What it said is in the message."""
    with pytest.raises(UnavailableError, match="docker cannot tag"):
        Engine("docker", "/bin/false").tag("a", "b")


def test_what_cannot_be_a_name_is_not_to_be_pulled(engine: Engine) -> None:
    """The hint says what can be one."""
    with pytest.raises(UsageError, match="no such image here: 'Bad Name!'") as caught:
        engine.inspect("Bad Name!")
    assert "pull" not in caught.value.hint


def test_an_engine_that_is_down_is_told_from_one_that_refuses(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hint says how to start it."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(UnavailableError, match=r"Cannot connect|failed to connect") as caught:
        engine.inspect("image")
    assert not isinstance(caught.value, EngineRefusedError)
    assert "systemctl start docker" in caught.value.hint


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Docker and Podman there is nothing to drive."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="not installed: docker or podman"):
        find(None)
    with pytest.raises(UnavailableError, match="not installed: podman"):
        find("podman")


def layout(folder: Path, *tags: str) -> Path:
    """A layout with one layer, as far as engines read it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        member = tarfile.TarInfo("hello")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    diff_ids = [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    (folder / "blobs" / "sha256").mkdir(parents=True)
    names = [blob(folder, data) for data in (json.dumps(config).encode(), layer.getvalue())]
    manifest = [{"Config": names[0], "RepoTags": tags, "Layers": names[1:]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def blob(folder: Path, data: bytes) -> str:
    """Write a blob; its name."""
    name = f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    (folder / name).write_bytes(data)
    return name


@pytest.fixture
def tag() -> Iterator[str]:
    """An image's name, which is free again afterwards."""
    tag = f"slimagent-test-load:{secrets.token_hex(4)}"
    yield tag
    subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


def test_an_image_is_loaded_tagged_and_removed(engine: Engine, tmp_path: Path, tag: str) -> None:
    """One of two names taken off leaves the image; the second one takes it away."""
    sent: list[int] = []
    engine.load(str(layout(tmp_path / "layout")), tag, sent.append)
    assert sent and sent == sorted(sent)
    engine.tag(tag, f"{tag}-too")
    engine.remove_image(tag)
    assert told("images", "-q", f"{tag}-too")
    engine.remove_image(f"{tag}-too")
    assert told("images", "-q", f"{tag}-too") == []


def test_a_damaged_layout_is_refused_in_the_engines_words(engine: Engine, tmp_path: Path, tag: str) -> None:
    """Nothing is loaded."""
    made = layout(tmp_path / "layout")
    _, layer = listed(made)
    (made / layer).write_bytes(b"no tar")
    with pytest.raises(EngineRefusedError, match=r"docker cannot load the image: \S"):
        engine.load(str(made), tag, lambda done: None)
    assert told("images", "-q", tag) == []


def listed(made: Path) -> tuple[str, str]:
    """The names of the configuration and of the layer of a layout."""
    (image,) = json.loads((made / "manifest.json").read_bytes())
    return image["Config"], image["Layers"][0]


def test_an_image_cannot_take_the_name_of_another_one(engine: Engine, probe: str, tmp_path: Path, tag: str) -> None:
    """I1: whatever a container wrote into its layout: the image gets the name that was asked for."""
    before = engine.inspect(probe)
    made = layout(tmp_path / "layout", probe, tag)
    (made / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (made / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    engine.load(str(made), tag, lambda done: None)
    assert engine.inspect(probe) == before
    assert json.loads(engine.inspect(tag))[0]["RepoTags"] == [tag]


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        (None, CheckFailedError),
        ("", RefusedError),
        ("[]", RefusedError),
        ('[{"Config":"../secret","Layers":[]}]', RefusedError),
        ('[{"Config":"blobs/sha256/' + "0" * 64 + '","Layers":[]}]', CheckFailedError),
        ('[{"Config":1,"Layers":[]}]', RefusedError),
    ],
)
def test_a_layout_that_slimagent_did_not_write(
    engine: Engine, tmp_path: Path, tag: str, manifest: str | None, error: type[Exception]
) -> None:
    """I1: it is refused, and nothing outside of it is read."""
    made = layout(tmp_path / "layout")
    (made / "manifest.json").unlink()
    if manifest is not None:
        (made / "manifest.json").write_text(manifest)
    with pytest.raises(error):
        engine.load(str(made), tag, lambda done: None)
    assert engine.find_image(tag) is None


def test_a_layer_that_is_a_link_is_not_followed(engine: Engine, tmp_path: Path, tag: str) -> None:
    """I1: it may point to any file of this machine."""
    made = layout(tmp_path / "layout")
    _, layer = listed(made)
    (made / layer).rename(tmp_path / "layer")
    (made / layer).symlink_to(tmp_path / "layer")
    with pytest.raises(RefusedError, match="is not a regular file"):
        engine.load(str(made), tag, lambda done: None)
    assert engine.find_image(tag) is None


@pytest.mark.parametrize("command", PODMAN)
def test_podman_knows_every_option(command: str, tmp_path: Path) -> None:
    """The contract with Podman where it cannot start containers: each option that we use is one of its own."""
    if shutil.which("podman") is None:
        lacking("no podman")
    log = tmp_path / "log"
    stand_in = tmp_path / "podman"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "" >> {log}\necho 0\n')
    stand_in.chmod(0o755)
    podman = Engine("podman", str(stand_in))
    podman.create(
        "name",
        Container(
            image="image",
            entry=("/x", "--y"),
            mounts=(("/a", "/b", False),),
            volumes=("/a:/b",),
            env=("A=1",),
            gpus="all",
            cap_add=("SYS_PTRACE",),
        ),
    )
    podman.run("name", nothing, nothing)
    podman.start("name")
    podman.wait("name")
    podman.stop("name")
    podman.stop("name", "TERM")
    podman.logs("name")
    podman.copy_out("name", "/etc/passwd")
    podman.container_names("slimagent-")
    podman.image_names("slimagent-pending")
    podman.remove_container("name")
    podman.load(str(layout(tmp_path / "layout")), "tag", lambda done: None)
    podman.remove_image("image")
    podman.history("image")
    podman.tag("image", "other")
    calls = [call.split("\n") for call in log.read_text().split("\n\n") if call]
    words = [word for call in calls if call[0] == command for word in call]
    assert words
    ours = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--y"}
    shown = subprocess.run(["podman", command, "--help"], check=True, capture_output=True, text=True).stdout
    assert ours <= {*re.findall(r"--[a-z-]+", shown)}
