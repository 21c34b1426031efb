"""Servers that give up privileges, and a program that wants to gain some, traced in containers of their own image."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slimagent import documents
from slimagent.model.trace import How, Trace
from tests.container.conftest import AGENT, Image, lacking

pytestmark = pytest.mark.container

PACKAGES = "nginx-light apache2 libapache2-mod-php php-fpm lighttpd curl sudo"
INCLUDED = "/var/www/html/included.php"  # by a page, so that only a worker opens it
SITE = """server {
  listen 80 default_server;
  root /var/www/html;
  location ~ \\.php$ { include fastcgi_params; fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_pass unix:/run/php/fpm.sock; }
}
"""
POOL = """[www]
user = www-data
group = www-data
listen = /run/php/fpm.sock
listen.owner = www-data
pm = ondemand
pm.max_children = 2
"""
ASK = 'for i in $(seq 40); do test "$(curl -sf http://127.0.0.1/%s)" = "%s" && break; sleep 0.3; done'
SERVERS = {
    "nginx": f"nginx -g 'daemon off;' & {ASK % ('plain.txt', 'plain')} && kill $!",
    "php-fpm": f"$(ls /usr/sbin/php-fpm*) -D; nginx -g 'daemon off;' & {ASK % ('page.php', '42')} && kill $!",
    "apache": "rm /etc/nginx/sites-enabled/*; . /etc/apache2/envvars; mkdir -p $APACHE_RUN_DIR $APACHE_LOCK_DIR; "
    # On SIGTERM it signals its whole process group, which must not be the script's.
    f"setsid apache2 -DFOREGROUND & {ASK % ('page.php', '42')} && kill $!",
}
FORKS = (
    "printf 'server.max-worker = 2\\n' >> /etc/lighttpd/lighttpd.conf; "
    "mkdir -p /run/lighttpd; chown www-data /run/lighttpd; "
    f"lighttpd -D -f /etc/lighttpd/lighttpd.conf & {ASK % ('plain.txt', 'plain')} && kill $!"
)
BECOMES_ROOT = "setpriv --reuid=app --regid=app --init-groups sudo -n true"


@pytest.fixture(scope="module")
def servers(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image under test with web servers of its distribution, a page in PHP, and a user who may use sudo."""
    context = tmp_path_factory.mktemp("servers")
    for name, text in {
        "site": SITE,
        "pool": POOL,
        "plain.txt": "plain",
        "page.php": "<?php include 'included.php'; echo answer();",
        "included.php": "<?php function answer() { return 6 * 7; }",
        "sudoers": "app ALL=(ALL) NOPASSWD:ALL\n",
    }.items():
        (context / name).write_text(text)
        (context / name).chmod(0o644)
    (context / "Dockerfile").write_text(
        f"FROM {image.name}\nUSER root\n"
        f"RUN apt-get update && apt-get install -y --no-install-recommends {PACKAGES} && useradd app\n"
        "COPY plain.txt page.php included.php /var/www/html/\nCOPY site /etc/nginx/sites-enabled/default\n"
        "COPY pool /tmp/pool\nCOPY sudoers /etc/sudoers.d/app\n"
        "RUN mkdir -p /run/php && cp /tmp/pool /etc/php/*/fpm/pool.d/www.conf && chmod 755 /var/www /var/www/html\n"
    )
    tag = f"slimagent-test-servers:{secrets.token_hex(4)}"
    built = subprocess.run(
        ["docker", "build", "-q", "--network=host", "-t", tag, str(context)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        lacking(f"the image with servers cannot be built: {built.stderr.strip().splitlines()[-1]}")
    yield replace(image, name=tag)
    image.remove(tag)


def traced(
    servers: Image, out: Path, script: str, *, expected: int = 0, options: tuple[str, ...] = ()
) -> tuple[Trace, str]:
    """The trace of a script in a container without any added right but those of `options`, and what was said."""
    out.chmod(0o777)
    mounts = ["-v", f"{AGENT}:/agent:ro", "-v", f"{out}:/out", "--entrypoint", "/agent/entrypoint.sh"]
    command = ["docker", "run", "--rm", "--network=none", "--user=root", *options, *mounts, servers.name, "trace"]
    done = subprocess.run(
        [*command, "--quiet", "-o", "/out/trace.json", "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return documents.decode_trace((out / "trace.json").read_bytes()), done.stderr


def opened(trace: Trace) -> set[str]:
    return {access.path.decode() for access in trace.accesses if access.how & How.OPENED and access.found}


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_gives_up_root_is_seen_whole(servers: Image, tmp_path: Path, server: str) -> None:
    """In a default container nothing is lost, and what a worker opened as another user is in the trace."""
    trace, _ = traced(servers, tmp_path, SERVERS[server])
    assert trace.losses == ()
    assert ("/var/www/html/plain.txt" if server == "nginx" else INCLUDED) in opened(trace)


def test_what_is_out_of_reach_is_refused_and_the_capability_helps(servers: Image, tmp_path: Path) -> None:
    """A server that gives up root before it forks: the plan is refused, and its hint gives a trace that is whole."""
    trace, _ = traced(servers, tmp_path, FORKS)
    assert [loss.kind for loss in trace.losses] == ["unreadable-path"]
    assert " of lighttpd (process " in trace.losses[0].example
    refused = servers.agent(tmp_path, "plan", "/out/trace.json", "-o", "/out/plan.json")
    assert refused.returncode == 3
    assert "--cap-add SYS_PTRACE" in refused.stderr
    whole, _ = traced(servers, tmp_path, FORKS, options=("--cap-add", "SYS_PTRACE"))
    assert whole.losses == ()


def test_a_step_that_fails_for_want_of_rights_is_told_so(servers: Image, tmp_path: Path) -> None:
    """Sudo does not work under the tracer in a default container: one line names it and the options, which do help."""
    _, said = traced(servers, tmp_path, BECOMES_ROOT, expected=1)
    (line,) = [line for line in said.splitlines() if "/usr/bin/sudo;" in line]
    assert "`--cap-add SYS_ADMIN --cap-add SYS_PTRACE`" in line
    run = servers.agent(tmp_path, "run", "--quiet", "--out", "/out/run", "--", "sh", "-c", BECOMES_ROOT)
    assert run.returncode == 1
    assert "/usr/bin/sudo;" in run.stderr
    whole, said = traced(servers, tmp_path, BECOMES_ROOT, options=("--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"))
    assert whole.losses == ()
    assert "setuid" not in said


def test_a_root_without_capabilities_is_told_which_it_needs(servers: Image, tmp_path: Path) -> None:
    """With `--cap-drop=ALL` root cannot read what is not root's, and the hint names what helps."""
    (tmp_path / "Dockerfile").write_text(f"FROM {servers.name}\nRUN mkdir -m 700 /private && chown app /private\n")
    private = f"{servers.name}-private"
    subprocess.run(["docker", "build", "-q", "-t", private, str(tmp_path)], check=True, capture_output=True)
    command = ["docker", "run", "--rm", "--network=none", "--user=root", "--cap-drop=ALL"]
    agent = ["-v", f"{AGENT}:/agent:ro", "--entrypoint", "/agent/entrypoint.sh", private]
    run = ["run", "--quiet", "--out", "/tmp/out", "--", "true"]
    try:
        refused = subprocess.run([*command, *agent, *run], capture_output=True, text=True, check=False)
        done = subprocess.run([*command, "--cap-add=DAC_OVERRIDE", *agent, *run], capture_output=True, check=False)
    finally:
        servers.remove(private)
    assert refused.returncode == 4
    assert "--cap-add DAC_OVERRIDE" in refused.stderr
    assert "run as root" not in refused.stderr
    assert done.returncode == 0, done.stderr
