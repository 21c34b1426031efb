"""An image is started as it starts, before and after: what that needs stays, and what cannot start is not tagged."""

from __future__ import annotations

import json
import secrets
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.container import slimming
from tests.container.slimming import Derive, Running, comes, docker, exists, notes, said, slim, started

# Calls programs by PATH, insists on being process 1, says what it is started with, and stops as it is asked to.
START = """#!/bin/sh
test $$ = 1 || exit 9
echo "home=$HOME user=$USER greeting=$GREETING cwd=$(pwd) id=$(id -u)"
echo b a | busybox-rev rev
trap 'echo stopped as asked; exit 0' INT
"$@" &
wait
"""
# Found from WORKDIR only.
SERVE = """#!/bin/sh
exec busybox-httpd httpd -f -p 8080 -h www
"""
CHECK = """#!/bin/sh
exec busybox-wget wget -q -O /dev/null http://127.0.0.1:8080/index.html
"""
# A copy of busybox whose name begins so takes its first argument for the program to be; its shell finds it by PATH.
PROGRAMS = ("busybox-rev", "busybox-httpd", "busybox-wget", "busybox-tac", "busybox-nc")


def program(name: str) -> str:
    """A line of a Dockerfile: a program of its own, too large to stay without a reason."""
    return f"RUN /bin/busybox mkdir -p /usr/local/bin && /bin/busybox cp /bin/busybox /usr/local/bin/{name}"


SERVICE = "\n".join(
    (
        "USER root",
        *map(program, PROGRAMS),
        "COPY start.sh check.sh /usr/local/bin/",
        "COPY serve /srv/app/",
        "RUN /bin/busybox mkdir /srv/app/www && /bin/busybox head -c 100000 /dev/urandom > /srv/app/www/index.html",
        "USER somebody",
        "WORKDIR /srv/app",
        "EXPOSE 8080",
        "HEALTHCHECK CMD check.sh",
        'ENTRYPOINT ["start.sh"]',
        'CMD ["./serve"]',
    )
)


@dataclass(frozen=True)
class Service:
    """A slim image of a service, how it was made, and where its documents are."""

    image: str
    tag: str
    out: Path
    ended: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def service(derive: Derive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Made once, with a smoke test that touches nothing of it."""
    image = derive(SERVICE, {"start.sh": START, "serve": SERVE, "check.sh": CHECK})
    tag, out = f"slimagent-test-service:{secrets.token_hex(4)}", tmp_path_factory.mktemp("service") / "out"
    ended = slim(image, tag, out, "--", "true")
    assert ended.returncode == 0, ended.stderr
    yield Service(image, tag, out, ended)
    slimming.remove(tag)


def test_what_a_start_script_and_a_health_check_call_stays(service: Service) -> None:
    """As does what CMD names from WORKDIR, and what that serves; what none of them calls goes."""
    made = slimming.contents(service.tag)
    assert {f"usr/local/bin/{name}" for name in (*PROGRAMS[:3], "start.sh", "check.sh")} <= made.keys()
    assert {"srv/app/serve", "srv/app/www/index.html"} <= made.keys()
    assert not {"usr/local/bin/busybox-tac", "usr/local/bin/busybox-nc", "srv/unneeded", "srv/later"} & made.keys()


def test_the_slim_image_starts_and_stops_as_docker_does_it(service: Service) -> None:
    """It becomes healthy, answers, has its user, environment and directory, and stops by SIGINT."""
    with Running(service.tag, "--health-interval=1s") as name:
        form = "{{.State.Health.Status}} {{.State.Running}}"
        assert comes(lambda: docker("inspect", "-f", form, name).split() != ["starting", "true"])
        assert docker("inspect", "-f", form, name) == "healthy true\n"
        docker("stop", name)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", name) == "0\n"
        assert docker("logs", name) == "home=/ user= greeting=hello world cwd=/srv/app id=1000\na b\nstopped as asked\n"


def test_the_watched_starts_are_as_the_plain_one(service: Service) -> None:
    """Process 1, the same user, environment and directory, the same stop signal: the logs are the same to the byte."""
    logs = {name: (service.out / f"logs/{name}.log").read_text() for name in ("full-start", "slim-start")}
    logs["outside"] = (service.out / "logs/start-from-outside.log").read_text()
    plain = "home=/ user= greeting=hello world cwd=/srv/app id=1000\na b\nstopped as asked\n"
    assert logs == dict.fromkeys(logs, plain)


def test_what_nobody_asked_is_in_the_summary(service: Service) -> None:
    """The port that the health check asks is not one that a step asked; the other one has nobody behind it."""
    found = notes(service.ended.stdout)
    assert any(
        "no check or command connected to port 8080, which the image exposes: it answers" in note for note in found
    ), found
    assert any("port 80, which the image exposes" in note and "answers" not in note for note in found), found
    failing = (
        "the image does not start",
        "was not started",
        "the start was",
        "the health check did",
        "the health check does",
    )
    assert not any(each in note for note in found for each in failing), found
    assert (service.out / "logs/start-from-outside.log").exists()


@pytest.mark.usefixtures("nothing_left")
def test_an_image_that_does_not_start_alone_is_made_and_said_to_be_so(derive: Derive, tag: str, tmp_path: Path) -> None:
    """It ends with status 3 before and after, having said why; what it needs to say so is there."""
    image = derive(
        f'USER root\n{program("busybox-tac")}\nCOPY start /start\nUSER somebody\nENTRYPOINT ["/start"]\nCMD []',
        {"start": "#!/bin/sh\ncat /srv/needed > /dev/null\necho no database | busybox-tac tac >&2\nexit 3\n"},
    )
    ended = slim(image, tag, tmp_path / "out", "--", "true")
    assert ended.returncode == 0, ended.stderr
    found = [note for note in notes(ended.stdout) if "does not start on its own" in note]
    assert found and found[0].count("exit status 3") == 2, ended.stdout  # before and after
    assert any("the health check did not run" in note for note in notes(ended.stdout)), ended.stdout
    now = started(tag)
    assert (now.returncode, now.stderr) == (3, "no database\n")


@pytest.mark.usefixtures("nothing_left")
def test_an_exposed_port_that_answered_answers(derive: Derive, tag: str, tmp_path: Path) -> None:
    """Without a health check the port is waited for; a step that asked it is not said to have left it out."""
    lines = (
        "USER root",
        *map(program, PROGRAMS[:3]),
        "RUN /bin/busybox mkdir /www && /bin/busybox head -c 100000 /dev/urandom > /www/index.html",
        "USER somebody",
        "HEALTHCHECK NONE",
        "EXPOSE 8080",
        'ENTRYPOINT ["busybox-httpd"]',
        'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]',
    )
    image, out = derive("\n".join(lines)), tmp_path / "out"
    smoke = "busybox-httpd httpd -p 8080 -h /www; busybox-wget wget -q -O /dev/null http://127.0.0.1:8080/index.html"
    ended = slim(image, tag, out, "--", "/bin/sh", "-ec", smoke)
    assert ended.returncode == 0, ended.stderr
    assert not [note for note in notes(ended.stdout) if "8080" in note]
    steps = {step["name"]: step for step in json.loads((out / "verification.json").read_text())["steps"]}
    for name in ("start", "start-from-outside"):
        assert "port 8080 answers" in steps[name]["detail"]
    with Running(tag) as name:
        page = ("exec", name, "/bin/sh", "-c", "busybox-wget wget -q -O - http://127.0.0.1:8080/index.html | wc -c")
        assert comes(lambda: subprocess.run(["docker", *page], capture_output=True).stdout.strip() == b"100000")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("mode", "user", "options"),
    [
        pytest.param("755", "-u 1000", (), id="it becomes another user, and forks then"),
        pytest.param("711", "", (), id="who runs it may not read its program"),
        pytest.param("711", "", ("--no-privileges",), id="and no privilege may be added"),
    ],
)
def test_a_server_that_is_not_to_be_looked_into(
    derive: Derive, tag: str, tmp_path: Path, mode: str, user: str, options: Sequence[str]
) -> None:
    """What cannot be seen in a default container is seen in one with SYS_PTRACE, and the user is told of it.

    Unless that was forbidden: then nothing is made, and nothing lost.
    """
    lines = (
        "USER root",
        program("busybox-httpd"),
        f"RUN /bin/busybox chmod {mode} /usr/local/bin/busybox-httpd",
        "RUN /bin/busybox mkdir /www && /bin/busybox head -c 100000 /dev/urandom > /www/index.html",
        "HEALTHCHECK CMD /bin/busybox wget -q -O /dev/null http://127.0.0.1/index.html",
        f'ENTRYPOINT ["busybox-httpd"]\nCMD {json.dumps(f"httpd -f {user} -h /www".split())}',
        f"USER {'root' if user else 'somebody'}",
    )
    ended = slim(derive("\n".join(lines)), tag, tmp_path / "out", *options, "--", "true")
    if options:
        assert (ended.returncode, exists(tag), "unreadable-path" in ended.stderr) == (3, False, True), ended.stderr
        return
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("again with SYS_PTRACE") == 1
    assert {"www/index.html", "usr/local/bin/busybox-httpd"} <= slimming.contents(tag).keys()


@pytest.mark.usefixtures("nothing_left")
def test_an_image_that_needs_more_when_nobody_watches_is_not_tagged(derive: Derive, tag: str, tmp_path: Path) -> None:
    """Only a start without a tracer shows it: the start script reads another file then, which nobody has seen."""
    script = """#!/bin/sh
while read -r key value; do
  if test "$key$value" = NoNewPrivs:0; then cat /srv/later > /dev/null || exit 5; fi
done < /proc/self/status
exec sleep 1000
"""
    image = derive('USER root\nCOPY start /start\nUSER somebody\nENTRYPOINT ["/start"]\nCMD []', {"start": script})
    out = tmp_path / "out"
    ended = slim(image, tag, out, "--start-until", "time", "--start-settle", "2", "--quiet", "--", "true")
    assert ended.returncode == 1, ended.stderr
    assert not exists(tag)
    assert "✗ worse: start-from-outside: passed before, failed now (exit status 5)" in ended.stderr
    assert "    cat: can't open '/srv/later': No such file" in ended.stderr
    assert f"the slim image does not do what {image} does, so {tag} was not made" in said(ended)
    assert "No such file" in (out / "logs/start-from-outside.log").read_text()


class _Late(socketserver.BaseRequestHandler):
    """Tells the third container that asks to come up late: the slim image, when nobody watches."""

    def handle(self) -> None:
        server = cast("_Answering", self.server)
        server.asked += 1
        self.request.sendall(b"late" if server.asked == 3 else b"on time")


class _Answering(socketserver.TCPServer):
    asked = 0


@pytest.mark.usefixtures("nothing_left")
def test_a_slim_image_that_was_only_slow_is_started_once_more(derive: Derive, tag: str, tmp_path: Path) -> None:
    """As often as the original: the machine may have had much to do. It is said."""
    with _Answering(("127.0.0.1", 0), _Late) as server, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asks = f'test "$(busybox-nc nc 127.0.0.1 {server.server_address[1]} < /dev/null)" = late && sleep 1000'
        script = f"#!/bin/sh\n{asks}\nexec busybox-httpd httpd -f -p {port} -h /www\n"
        lines = (
            "USER root",
            *map(program, ("busybox-nc", "busybox-httpd")),
            "RUN /bin/busybox mkdir /www",
            "COPY start /start",
            "USER somebody",
            f'HEALTHCHECK NONE\nEXPOSE {port}\nENTRYPOINT ["/start"]\nCMD []',
        )
        image = derive("\n".join(lines), {"start": script})
        ended = slim(image, tag, tmp_path / "out", "--network", "host", "--start-seconds", "4", "--", "true")
        server.shutdown()
    assert ended.returncode == 0, ended.stderr
    assert server.asked == 5
    assert "the slim image came up only when it was started once more" in ended.stderr
    assert exists(tag)


@pytest.mark.usefixtures("nothing_left")
def test_without_a_start_the_summary_says_that_none_is_proved(derive: Derive, tag: str, tmp_path: Path) -> None:
    """`-- true` alone proves next to nothing; what the image starts with is not all there, and it does not read so."""
    image = derive(
        f'USER root\n{program("busybox-tac")}\nCOPY start /start\nUSER somebody\nENTRYPOINT ["/start"]\nCMD []',
        {"start": "#!/bin/sh\necho up | busybox-tac tac\n"},
    )
    ended = slim(image, tag, tmp_path / "out", "--no-start", "--", "true")
    assert ended.returncode == 0, ended.stderr
    assert any("was not started as configured (--no-start)" in note for note in notes(ended.stdout))
    said, answer = ended.stdout.splitlines()[-6:], f"{tag}: "
    assert any(line.startswith("note: ") for line in said) and said[-1].startswith(answer)  # beside the answer

    assert "usr/local/bin/busybox-tac" not in slimming.contents(tag)
    assert "as configured" not in ended.stderr
