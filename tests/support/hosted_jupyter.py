"""Tests of a Jupyter image as its maintainers write them: on the host, with a container that the tests start.

    slimagent image IMAGE -t TAG --from-host --network host --no-start -- \\
      python -m pytest tests/support/hosted_jupyter.py --rootdir tests/support -p no:cacheprovider

HOSTED_IMAGE is the image's own name, which the tests know, as those of docker-stacks do.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from chromium import chromium

IMAGE = os.environ["HOSTED_IMAGE"]
LIMIT = 120  # seconds


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def wait_for(address: str) -> None:
    until = time.monotonic() + LIMIT
    while True:
        try:
            requests.get(address, timeout=10).raise_for_status()
        except requests.RequestException:
            assert time.monotonic() < until, f"no answer in {LIMIT} s: {address}"
            time.sleep(0.2)
        else:
            return


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, its token, and its container."""

    address: str
    token: str
    container: str

    def url(self, path: str) -> str:
        return f"{self.address}{path}?token={self.token}"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token, name = secrets.token_hex(8), f"hosted-jupyter-{secrets.token_hex(4)}"
    command = (
        "jupyter",
        "lab",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--no-browser",
        f"--IdentityProvider.token={token}",
    )
    docker("run", "--detach", "--network=host", "--name", name, IMAGE, *command)
    try:
        wait_for(f"http://127.0.0.1:{port}/api")
        yield Lab(f"http://127.0.0.1:{port}", token, name)
    finally:
        docker("rm", "--force", name)


def test_the_server_answers(lab: Lab) -> None:
    assert requests.get(lab.url("/api/status"), timeout=30).json()["kernels"] == 0
    assert "python3" in requests.get(lab.url("/api/kernelspecs"), timeout=30).json()["kernelspecs"]
    assert requests.get(f"{lab.address}/api/status", timeout=30).status_code == 403


def test_a_contents_request_writes_a_file_of_the_user(lab: Lab) -> None:
    body = {"type": "file", "format": "text", "content": "hello"}
    assert requests.put(lab.url("/api/contents/hello.txt"), json=body, timeout=30).status_code == 201
    assert docker("exec", lab.container, "cat", "hello.txt") == "hello"
    assert docker("exec", lab.container, "stat", "-c", "%U", "hello.txt") == docker("exec", lab.container, "id", "-un")


def test_a_program_runs_in_the_container(lab: Lab) -> None:
    line = "import json, sqlite3; print(json.dumps(sqlite3.connect(':memory:').execute('select 6*7').fetchone()))"
    assert docker("exec", lab.container, "python3", "-c", line) == "[42]"
    assert docker("exec", "--user", "root", lab.container, "id", "-u") == "0"
    assert "R version" in docker("exec", lab.container, "R", "--version")


def test_another_container_converts_a_notebook() -> None:
    make = (
        "import nbformat; b = nbformat.v4; n = b.new_notebook(cells=[b.new_markdown_cell('# Title')]); "
        "nbformat.write(n, '/tmp/a.ipynb')"
    )
    line = f'python3 -c "{make}" && jupyter nbconvert --to html --stdout /tmp/a.ipynb'
    assert "<h1 id" in docker("run", "--rm", "--network=none", IMAGE, "sh", "-ec", line)


def test_a_browser_starts_a_notebook(lab: Lab) -> None:
    """The launcher opens, a click on the first kernel opens a notebook, and a cell is calculated."""
    with chromium() as page:
        page.visit(lab.url("/lab"))
        card = "document.querySelector('.jp-LauncherCard')"
        page.wait_until(f"{card} !== null")
        page.evaluate(f"{card}.click()")
        page.wait_until("document.querySelector('.jp-Notebook .jp-Cell') !== null")
        page.wait_until("document.body.innerText.includes('(ipykernel) | Idle')")
        page.evaluate("document.querySelector('.jp-Notebook .cm-content').focus()")
        page.wait_until("document.activeElement.classList.contains('cm-content')")
        page.write("print(6 * 7)")
        page.wait_until("document.querySelector('.jp-Notebook .cm-content').innerText.includes('6 * 7')")
        page.press("Enter", shift=True)
        outputs = "[...document.querySelectorAll('.jp-OutputArea-output')]"
        page.wait_until(f"{outputs}.some((each) => each.innerText.trim() === '42')")
