"""Tests on the host, as image maintainers write them: they ask ports, `docker exec`, and start containers."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from python_images import lacking

from slimagent import documents
from tests.container.slimming import Derive, docker, exists, listed, ours, remove, slim

pytestmark = pytest.mark.container
SERVED = """\
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/httpd"]
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/env"]
WORKDIR /srv
EXPOSE 8080
HEALTHCHECK NONE
ENTRYPOINT ["/bin/httpd", "-f", "-p", "8080", "-h", "/srv"]
CMD []
"""
# Port 80 of the small image never answers, and the start is tested elsewhere.
QUICK = ("--no-start", "--start-until=time", "--start-settle=1")
HOST = ("--from-host", "--network=host", *QUICK)
SLEEPS = 'ENTRYPOINT ["/bin/sleep"]\nCMD ["1000"]\n'


@pytest.fixture
def served(derive: Derive) -> str:
    """An image that serves the files in /srv at a port."""
    return derive(f"USER root\n{SERVED}USER somebody")


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """A network in which ports are published."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    made = subprocess.run(["docker", "network", "create", name], capture_output=True, text=True, check=False)
    if made.returncode:
        lacking(f"no network can be made: {made.stderr.strip()}")
    yield name
    subprocess.run(["docker", "network", "rm", name], check=True, capture_output=True)


def script(directory: Path, text: str) -> str:
    """A program of the host that runs these lines and ends with the first that fails."""
    path = directory / "tests.sh"
    path.write_text("set -eu\n" + text)
    return str(path)


def uses(out: Path) -> dict[bytes, list[str]]:
    """Who used each path, by the names of the steps."""
    trace = documents.decode_trace((out / "trace.json").read_bytes())
    return {each.path: [trace.steps[at].name for at in each.steps] for each in trace.accesses}


def test_ports_exec_and_more_containers(served: str, tag: str, network: str, tmp_path: Path) -> None:
    """What only a request, an executed command, or a container of the tests' own needs stays. Nothing is left."""
    tests = script(
        tmp_path,
        f"""
        test "$(docker exec "$SLIMAGENT_CONTAINER" id -un)" = somebody
        test "$(docker exec -u 0 "$SLIMAGENT_CONTAINER" id -u)" = 0
        test "$(docker exec -e A=b -w /tmp "$SLIMAGENT_CONTAINER" sh -c 'echo $A $PWD')" = "b /tmp"
        test "$(echo given | docker exec -i "$SLIMAGENT_CONTAINER" cat)" = given
        docker exec "$SLIMAGENT_CONTAINER" sh -c 'exit 7' || test $? = 7
        docker exec "$SLIMAGENT_CONTAINER" test -e /srv/later
        test "$SLIMAGENT_IMAGE" = {served}
        test "$(docker run --rm --network=none --entrypoint cat {served} /data/seed)" = seed
        test "$(docker run --rm --network=none -u 7:8 --group-add 9 --entrypoint id {served} -G)" = "8 9"
        test "$(echo hi | docker run --rm -i --network=none --entrypoint /bin/cat "$SLIMAGENT_IMAGE")" = hi
        docker run --network=none --name "$SLIMAGENT_CONTAINER-mine" -d --entrypoint sleep {served} 1000
        docker restart -t 0 "$SLIMAGENT_CONTAINER-mine"
        test "$(docker exec "$SLIMAGENT_CONTAINER-mine" env | grep -c SLIMAGENT)" = 0
        """,
    )
    done = slim(
        served, tag, tmp_path / "out", "--from-host", "--network", network, "--http", "/needed", "--", "sh", tests
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("removed 1 container that the tests had left behind") == 2
    assert set(listed(tag, "/srv")) == {"needed", "later"}
    used = uses(tmp_path / "out")
    assert used[b"/srv/needed"] == used[b"/srv/later"] == used[b"/data/seed"] == ["host-tests"]
    assert used[b"/bin/httpd"] == ["start", "host-tests"]
    assert (tmp_path / "out/logs/full-host-tests.log").exists()
    assert ours() == set()


def test_what_they_miss_is_repaired(derive: Derive, tag: str, tmp_path: Path) -> None:
    """A file that only the second run asks for, as tests with chance in them do: it is named, and it comes back."""
    image = derive(SLEEPS)
    tests = script(
        tmp_path,
        'file=needed; test "$SLIMAGENT_RUN" = full || file=later\n'
        'docker exec "$SLIMAGENT_CONTAINER" cat "/srv/$file" | wc -c | grep -qx 1000000\n',
    )
    done = slim(image, tag, tmp_path / "out", *HOST, "--", "sh", tests)
    assert done.returncode == 0, done.stderr
    assert set(listed(tag, "/srv")) == {"needed", "later"}
    (repair,) = json.loads((tmp_path / "out/summary.json").read_text())["repairs"]
    assert "/srv/later" in str(repair)


def test_tests_that_fail_on_the_slim_image_alone(derive: Derive, tag: str, tmp_path: Path) -> None:
    """Nothing is tagged, and the last words are shown."""
    image = derive(SLEEPS)
    tests = script(tmp_path, 'test "$SLIMAGENT_RUN" = full || { echo it is another; exit 3; }\n')
    done = slim(image, tag, tmp_path / "out", *HOST, "--search-runs=3", "--", "sh", tests)
    assert done.returncode == 1, done.stderr
    assert "host-tests" in done.stderr
    assert "it is another" in done.stderr
    assert not exists(tag)


def test_tests_that_fail_anyway(small: str, tag: str, tmp_path: Path) -> None:
    """On the original image: the hint speaks of this machine. The image ends by itself, which is said, too."""
    done = slim(small, tag, tmp_path / "out", *HOST, "--", "sh", "-c", "echo no; exit 4")
    assert done.returncode == 1
    assert f"host-tests failed in the unchanged image {small}" in done.stderr
    assert "it runs on this machine" in done.stderr
    assert "ended by itself with exit status 0" in done.stderr
    assert not exists(tag)


def test_tests_that_never_touch_the_image(derive: Derive, tag: str, tmp_path: Path) -> None:
    """An image that starts nothing, and tests that start no container of it: they prove nothing, and are refused.

    The same image by any other name counts, and in the second run it stands for the slim one.
    """
    image, out = derive("ENTRYPOINT []\nCMD []"), tmp_path / "out"
    assert "prove nothing" in slim(image, tag, out, *HOST, "--", "true").stderr
    assert not exists(tag)
    other, identity = f"{tag}-other", docker("inspect", "-f", "{{.Id}}", image).strip().removeprefix("sha256:")
    docker("tag", image, other)
    tests = script(
        tmp_path,
        f"""
        cat() {{ docker run --rm --network=none --entrypoint=/bin/cat "$@"; }}
        for name in docker.io/library/{other} {identity[:15]}; do
          cat "$name" /srv/needed | wc -c | grep -qx 1000000
          test $SLIMAGENT_RUN = full || cat "$name" /srv/later || echo gone
        done
        """,
    )
    try:
        done = slim(image, tag, out, "--no-repair", *HOST, "--", "sh", tests)
    finally:
        remove(other)
    assert done.returncode == 0, done.stderr
    assert (out / "logs/slim-host-tests.log").read_text().count("gone") == 2
    assert (out / "logs/full-host-tests.log").read_text() == ""


def test_tests_that_build_the_image_anew(derive: Derive, small: str, tag: str, tmp_path: Path) -> None:
    """Their containers are of another image, which our own container does not make up for."""
    image, out = derive(SLEEPS), tmp_path / "out"
    run = f"docker run --rm --network=none --entrypoint=/bin/cat {image} /srv/needed | wc -c"
    for tests in (f"docker tag {small} {image}; {run} || true", f"docker tag {small} {image}"):
        identity = docker("inspect", "-f", "{{.Id}}", image).strip()
        try:
            done = slim(image, tag, out, *HOST, "--", "sh", script(tmp_path, tests))
        finally:
            docker("tag", identity, image)
        assert done.returncode == 3, done.stderr
        assert f"{image} is no longer the image that slimagent examines" in done.stderr
        assert "do not build, pull or tag that name while the tests run" in done.stderr
        assert not exists(tag)
    assert ours() == set()


def test_tests_that_go_past_the_socket(derive: Derive, tag: str, tmp_path: Path) -> None:
    """Their container is of the original image in the second run, too; our own one does not make up for it.

    What another run of slimagent starts is watched by that one, and a build runs its steps in containers.
    """
    image, out = derive(SLEEPS), tmp_path / "out"
    run = "docker run --rm --network=none --entrypoint=/bin/true"
    past = f"DOCKER_HOST={os.environ.get('DOCKER_HOST', 'unix:///var/run/docker.sock')} {run}"
    done = slim(image, tag, out, *HOST, "--", "sh", script(tmp_path, f"{past} --name mine-{tag[-8:]} {image}"))
    assert done.returncode == 3, done.stderr
    assert (
        f"the container mine-{tag[-8:]} of {image} was started while the tests ran, and nobody watched it"
        in done.stderr
    )
    assert "let the tests use DOCKER_HOST" in done.stderr
    assert not exists(tag)
    (tmp_path / "Dockerfile").write_text(f'FROM {image}\nRUN ["/bin/true"]\n')
    build = f"DOCKER_BUILDKIT=0 docker build -q --no-cache --network=none -t {tag}-built {tmp_path}"
    tests = f"{past} --label io.slimagent.watched= {image}; {run} {image}; {build}"
    try:
        done = slim(image, tag, out, *HOST, "--", "sh", script(tmp_path, tests))
    finally:
        remove(f"{tag}-built")
    assert done.returncode == 0, done.stderr


def test_a_request_that_cannot_be_followed(derive: Derive, tag: str, tmp_path: Path) -> None:
    """The tests shrug at the refusal, and pass; the run is refused nevertheless."""
    image = derive(SLEEPS)
    program = tmp_path / "client.py"
    program.write_text(
        f"""
import http.client, json, os, socket
connection = http.client.HTTPConnection("docker")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
body = json.dumps({{"Image": {image!r}, "Env": ["A=" + os.fsdecode(b"\\xff")]}})
connection.request("POST", "/containers/create", body, {{"Content-Type": "application/json"}})
answer = connection.getresponse()
print(answer.status, json.load(answer)["message"])
"""
    )
    done = slim(image, tag, tmp_path / "out", *HOST, "--", sys.executable, str(program))
    assert done.returncode == 3, done.stderr
    assert "400 slimagent: a client asked the engine for something that slimagent cannot follow" in done.stderr
    assert "let the tests use an ordinary client of Docker" in done.stderr
    assert not exists(tag)


def test_a_passing_probe_does_not_hide_a_failing_command(served: str, tag: str, network: str, tmp_path: Path) -> None:
    """The command's status counts by itself."""
    words = (*QUICK, "--from-host", "--network", network, "--http", ":8080/needed", "--", "sh", "-c", "exit 5")
    done = slim(served, tag, tmp_path / "out", *words)
    assert done.returncode == 1
    assert "host-tests failed in the unchanged image" in done.stderr
    assert not exists(tag)


def test_a_command_that_is_not_here(small: str, tag: str, tmp_path: Path) -> None:
    """Said as the shell would, and nothing is left."""
    done = slim(small, tag, tmp_path / "out", *HOST, "--", "nosuchcommand")
    assert done.returncode == 2
    assert "cannot run nosuchcommand: No such file or directory" in done.stderr
    assert ours() == set()


def test_a_port_that_is_not_published(served: str, tag: str, tmp_path: Path) -> None:
    """An engine without a bridge says nothing; we do."""
    if "bridge" in docker("network", "ls", "--format", "{{.Name}}").split():
        pytest.skip("this engine has the network bridge")
    done = slim(served, tag, tmp_path / "out", "--http", "/needed")
    assert done.returncode == 4
    assert "does not publish port 8080" in done.stderr
    assert "network create" in done.stderr


def test_health_checks_of_their_containers(derive: Derive, tag: str, tmp_path: Path) -> None:
    """The engine runs them by itself: what they need stays, and a container becomes healthy as it should."""
    image = derive(SLEEPS + "HEALTHCHECK --interval=1s CMD test -e /srv/needed\n")
    tests = script(
        tmp_path,
        """
        name=$(docker run -d --network=none --health-cmd 'test -e /srv/later' "$SLIMAGENT_IMAGE")
        for i in $(seq 100); do
          test "$(docker inspect -f '{{.State.Health.Status}}' "$name")" = healthy && exit 0
          sleep 0.2
        done
        exit 1
        """,
    )
    done = slim(image, tag, tmp_path / "out", *HOST, "--", "sh", tests)
    assert done.returncode == 0, done.stderr
    assert set(listed(tag, "/srv")) == {"needed", "later"}


def test_a_compose_project(served: str, tag: str, tmp_path: Path) -> None:
    """Docker's library for Python speaks to the engine here. What the second service needs stays as well."""
    if shutil.which("docker-compose") is None:
        lacking("no docker-compose")
    (tmp_path / "compose.yml").write_text(
        f"""
version: "2.4"
services:
  one:
    image: {served}
    network_mode: none
    healthcheck: {{test: ["CMD", "test", "-e", "/srv/needed"], interval: 1s}}
  two:
    image: {served}
    network_mode: none
    depends_on: {{one: {{condition: service_healthy}}}}
    entrypoint: ["/bin/sh", "-c", "cat /srv/later | wc -c; sleep 1000"]
"""
    )
    tests = script(
        tmp_path,
        """
        for i in $(seq 100); do
          name=$(docker ps -q --filter label=com.docker.compose.service=two)
          test -n "$name" && docker logs "$name" | grep -qx 1000000 && exit 0
          sleep 0.2
        done
        exit 1
        """,
    )
    compose = ("--compose", str(tmp_path / "compose.yml"))
    done = slim(served, tag, tmp_path / "out", *HOST, *compose, "--", "sh", tests)
    assert done.returncode == 0, done.stderr
    assert set(listed(tag, "/srv")) == {"needed", "later"}
    assert docker("ps", "-aq", "--filter", "label=com.docker.compose.service").split() == []
