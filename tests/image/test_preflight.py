"""What an engine would refuse late is refused early, in its own words."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import wait_until
from engine_images import told
from layout_images import export

from slimagent.errors import RefusedError, UnavailableError, UsageError
from slimagent.image.agent import held_back
from slimagent.image.container import Container
from slimagent.image.engine import Engine, EngineRefusedError
from slimagent.image.history import with_history
from slimagent.image.labels import with_labels
from slimagent.image.owner import new_key
from slimagent.image.preflight import require_free, require_startable
from slimagent.model.image_config import read_image_config


@pytest.fixture
def repository(engine: Engine) -> Iterator[str]:
    """A name for images; none has it afterwards."""
    repository = f"slimagent-test-free-{secrets.token_hex(4)}"
    yield repository
    for name in engine.image_names(repository):
        engine.remove_image(name)


@pytest.fixture
def key(engine: Engine) -> Iterator[str]:
    """A run's key; no container of it is left."""
    key = new_key()
    yield key
    assert engine.container_names(f"slimagent-{key}") == []


def derive(base: str, tag: str, *lines: str) -> None:
    """Build an image from another one."""
    text = "\n".join((f"FROM {base}", *lines))
    command = ["docker", "build", "-q", "-t", tag, "-"]
    subprocess.run(command, input=text.encode(), check=True, capture_output=True, env={"DOCKER_BUILDKIT": "0"})


def ours(engine: Engine, image: str, folder: Path, tag: str) -> None:
    """Export a tree with the configuration of an image and our labels, and load it, as a run does."""
    (folder / "root").mkdir(parents=True)
    (folder / "root" / "file").touch()
    described = with_history(with_labels(engine.inspect(image), image, "1.0"), engine.history(image))
    config = read_image_config(described)
    export(os.fsencode(folder / "root"), folder / "layout", config=config, compression="none")
    engine.load(str(folder / "layout"), tag, lambda done: None)


def test_a_free_tag_is_free(engine: Engine, probe: str, repository: str) -> None:
    """Nobody has it."""
    require_free(engine, probe, f"{repository}:slim", overwrite=False)


def test_a_bad_tag_is_refused_whatever_is_wanted(engine: Engine, probe: str) -> None:
    """It is found out before anything runs, and it is wrong usage."""
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not a valid image name"):
            require_free(engine, probe, "Bad Name!", overwrite)


def test_the_image_itself_is_not_replaced(engine: Engine, probe: str, repository: str) -> None:
    """Under its name, however it is written, and under another name of the same image."""
    engine.tag(probe, f"{repository}:latest")
    for image, tag in (
        (repository, f"docker.io/library/{repository}:latest"),
        (probe, repository),
        (json.loads(engine.inspect(probe))[0]["Id"], repository),
    ):
        with pytest.raises(RefusedError, match="would lose") as caught:
            require_free(engine, image, tag, overwrite=False)
        assert "--overwrite" in caught.value.hint
        require_free(engine, image, tag, overwrite=True)


def test_an_image_of_somebody_else_is_not_replaced(engine: Engine, probe: str, repository: str) -> None:
    """Unless that is wanted."""
    derive(probe, f"{repository}:theirs", "LABEL io.slimagent.version=1.0")
    with pytest.raises(RefusedError, match="slimagent did not make it"):
        require_free(engine, probe, f"{repository}:theirs", overwrite=False)
    require_free(engine, probe, f"{repository}:theirs", overwrite=True)


def test_an_image_of_ours_is_replaced(engine: Engine, probe: str, repository: str, tmp_path: Path) -> None:
    """To make an image slim again takes no option. An image built from ours is somebody's, with all our labels."""
    ours(engine, probe, tmp_path / "work", f"{repository}:slim")
    labels = json.loads(engine.inspect(f"{repository}:slim"))[0]["Config"]["Labels"]
    assert labels["io.slimagent.source"] == probe
    require_free(engine, probe, f"{repository}:slim", overwrite=False)
    derive(f"{repository}:slim", f"{repository}:built", "ENV A=B")
    assert "io.slimagent.version" in told("inspect", "-f", "{{json .Config.Labels}}", f"{repository}:built")[0]
    with pytest.raises(RefusedError, match="slimagent did not make it"):
        require_free(engine, probe, f"{repository}:built", overwrite=False)


def test_options_that_work(engine: Engine, probe: str, key: str, tmp_path: Path) -> None:
    """Nothing is left: no container and no anonymous volume."""
    before = {*told("volume", "ls", "-q")}
    options = ("--shm-size=2m", "--init", "--cap-add", "SYS_PTRACE")
    container = Container(image=probe, volumes=(f"{tmp_path}:/x:ro",), env=("A=b",), run_options=options)
    require_startable(engine, Container(image=probe), key)
    require_startable(engine, container, key)
    require_startable(engine, Container(image=probe, network="host"), key)
    # Other tests make volumes meanwhile: theirs belong to containers, or will be gone in a moment.
    wait_until(lambda: {*told("volume", "ls", "-q", "-f", "dangling=true")} <= before, "no volume is left")


@pytest.mark.parametrize(
    ("options", "words", "named"),
    [
        ({"run_options": ("--nosuch",)}, "unknown flag: --nosuch", "--run-option"),
        ({"volumes": ("/etc:bad:ro:x",)}, "/etc:bad:ro:x", "--volume"),
        ({"network": "nosuchnet"}, "network nosuchnet not found", "--network"),
        ({"network": "container:nosuch"}, "No such container: nosuch", "--network"),
        ({"env": ("",)}, "invalid environment variable", "--env"),
        ({"gpus": "nonsense=x"}, "nonsense", "--gpus"),
        ({"run_options": ("--mount", "type=bind,source=/nosuch,target=/x")}, "/nosuch", "--run-option"),
        ({"run_options": ("--device=/dev/nosuch",)}, "/dev/nosuch", "--run-option"),
        ({"run_options": ("--cap-add=NOSUCH",)}, "NOSUCH", "--run-option"),
        ({"run_options": ("--memory=1k",)}, "(?i)minimum memory limit", "--run-option"),
        ({"volumes": ("/etc/passwd:/probe/x",)}, "(?i)not a directory", "--volume"),
    ],
)
def test_options_that_the_engine_refuses(
    engine: Engine, probe: str, key: str, options: dict[str, str | tuple[str, ...]], words: str, named: str
) -> None:
    """When a container is made, or only when it starts: the engine's sentence is shown, and the option named."""
    container = Container(image=probe, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words) as caught:
        require_startable(engine, container, key)
    assert caught.value.hint == f"correct what you gave with {named}"
    assert "--help" not in caught.value.message


def test_a_directory_to_mount_that_does_not_exist(engine: Engine, probe: str, key: str, tmp_path: Path) -> None:
    """Docker would create it, empty and as root, and the tests would run without what the user meant."""
    with pytest.raises(UsageError, match=f"{tmp_path}/nope does not exist on this machine"):
        require_startable(engine, Container(image=probe, volumes=(f"{tmp_path}/nope:/x",)), key)
    assert not (tmp_path / "nope").exists()


@pytest.mark.parametrize("program", ["probe/strip", "/probe/nosuch", "nosuch"])
def test_a_program_to_strip_with_that_the_image_lacks(engine: Engine, probe: str, key: str, program: str) -> None:
    """It is said before an hour of tests."""
    with pytest.raises(UsageError, match=f"--strip {program}: {probe} has no such program"):
        require_startable(engine, Container(image=probe), key, strip=program)


@pytest.mark.parametrize("option", [("--name", "x"), ("--entrypoint=/x",), ("--cidfile", "x")])
def test_options_that_take_containers_from_us(engine: Engine, probe: str, key: str, option: tuple[str, ...]) -> None:
    """Nothing is started."""
    with pytest.raises(UsageError, match=f"the run option {option[0].partition('=')[0]}"):
        require_startable(engine, Container(image=probe, run_options=option), key)


@pytest.mark.parametrize("user", ["", "0", "7:8", "12345", "somebody", "somebody:some", "somebody:8", "7:some"])
def test_users_of_the_image(engine: Engine, probe: str, key: str, user: str) -> None:
    """Its accounts, and any number."""
    require_startable(engine, Container(image=probe), key, user)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("nosuch", "no such user in .*: nosuch"),
        ("somebody:nosuch", "no such group in .*: nosuch"),
        ("x:x", "no such user in .*: x"),
    ],
)
def test_a_user_who_is_not_in_the_image(engine: Engine, probe: str, key: str, user: str, words: str) -> None:
    """The message says of which image."""
    with pytest.raises(UsageError, match=words):
        require_startable(engine, Container(image=probe), key, user)


@pytest.mark.parametrize("place", ["/.slimagent", "/.slimagent-out"])
def test_something_where_our_directories_are_mounted(
    engine: Engine, probe: str, key: str, repository: str, place: str
) -> None:
    """I9: a mount would hide it, or what it points to. An empty directory is left by whoever commits a container."""
    derive(probe, f"{repository}:empty", f"WORKDIR {place}")
    require_startable(engine, Container(image=f"{repository}:empty"), key)
    derive(probe, f"{repository}:full", f"COPY --from={probe} /accounts {place}/accounts")
    derive(probe, f"{repository}:file", f"COPY --from={probe} /accounts {place}")
    for tag in ("full", "file"):
        with pytest.raises(RefusedError, match=f"{repository}:{tag} has something at {place}, where"):
            require_startable(engine, Container(image=f"{repository}:{tag}"), key)


def test_an_image_that_never_starts(engine: Engine, key: str) -> None:
    """It is not for the options."""
    for container in (Container(image="slimagent-test-none"), Container(image="slimagent-test-none", env=("A=b",))):
        with pytest.raises(EngineRefusedError, match="No such image"):
            require_startable(engine, container, key)


def test_an_engine_that_is_down(engine: Engine, probe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is not for the options, either."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(UnavailableError) as caught:
        require_startable(engine, Container(image=probe, network="x"), new_key())
    assert "systemctl start docker" in caught.value.hint


def test_a_variable_that_would_load_code_and_is_there_twice_is_refused() -> None:
    """I3: an engine replaces one of the two, and the loader of a program takes the other."""
    assert held_back(["A=1", "A=2", "LD_PRELOAD=/x"]) == ("LD_PRELOAD=", "SLIMAGENT_ENV_LD_PRELOAD=/x")
    for twice in (["LD_PRELOAD=/x", "LD_PRELOAD="], ["LD_AUDIT=", "LD_AUDIT=/x"], ["SLIMAGENT_ERROR=/a"] * 2):
        with pytest.raises(RefusedError, match="more than once"):
            held_back(twice)
