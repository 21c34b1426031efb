"""Kind `jupyterlab`, with the real one: as it is, and with one fault planted at a time."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from checks_context import Place, item, place
from hypothesis import given
from hypothesis import strategies as st

from slimagent import checks
from slimagent.checks.jupyter import python_kernel, references
from slimagent.results import CheckResult, Outcome
from slimagent.rules import CheckSpec
from slimagent.trace.seccomp import Seccomp

__all__ = ["place"]  # a fixture

NAMES = ["start", "page", "assets", "kernelspecs", "cell"]
_ENVIRONMENT = Path(__file__).resolve().parent.parent / "build" / "test-env"


@functools.cache
def install() -> str:
    """Install JupyterLab for the tests, once for all their runs. Returns why that failed, or nothing."""
    if (_ENVIRONMENT / "bin" / "jupyter-lab").exists():
        return ""
    venv.create(_ENVIRONMENT, with_pip=True, clear=True, symlinks=True)
    command = (_ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries=1", "jupyterlab")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"cannot install JupyterLab: {done.stderr.strip()[-300:]}"


@pytest.fixture
def programs() -> str:
    """The bin folder of an environment with JupyterLab."""
    reason = install()
    if reason:
        pytest.skip(reason)
    return str(_ENVIRONMENT / "bin")


def lab(place: Place, programs: str, seconds: float = 120, **env: str) -> CheckResult:
    """Check the real JupyterLab."""
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(place.temporary.parent), **env}
    spec = CheckSpec(kind="jupyterlab", name="it", seconds=seconds, parameters={"cell_seconds": 20.0})
    return checks.run(spec, place.context(**env))


def outcomes(result: CheckResult) -> list[str]:
    return [f"{each.name} {each.outcome.value}" for each in result.items]


def test_jupyterlab_passes_item_by_item(place: Place, programs: str) -> None:
    """The real JupyterLab starts, serves page and assets, has a kernel, runs a cell; nothing of it is left."""
    result = lab(place, programs)
    assert (result.outcome, outcomes(result)) == (Outcome.PASSED, [f"{name} passed" for name in NAMES])
    assert item(result, "cell").detail == "6*7 is 42 in kernel python3"


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_jupyterlab_passes_under_tracing(place: Place, programs: str) -> None:
    """Watched, it passes too, with no loss and nothing left for the tracer to stop; the kernel is in the evidence."""
    with Seccomp() as watcher:
        watcher.step("it")
        env = {**place.env, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(place.temporary.parent)}
        context = checks.Context(spawn=watcher.spawn, env=env, user=None, cwd="/")
        result = checks.run(CheckSpec(kind="jupyterlab", name="it", seconds=180), context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    assert any(b"/ipykernel/" in path for path in observed.accesses)


def test_configuration_of_the_image_does_not_outweigh_the_check(place: Place, programs: str, tmp_path: Path) -> None:
    """Another port, address, base URL, token or root folder in the image's configuration changes nothing."""
    settings = {
        "ServerApp": {"port": 1, "ip": "0.0.0.0", "base_url": "/user/me/", "open_browser": True},  # noqa: S104
        "IdentityProvider": {"token": "secret"},
    }
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / "jupyter_server_config.json").write_text(json.dumps(settings))
    result = lab(place, programs, JUPYTER_CONFIG_PATH=str(tmp_path / "configuration"))
    assert (result.outcome, result.detail) == (Outcome.PASSED, "5 of 5 passed")


def test_a_broken_kernel_fails_the_cell(place: Place, programs: str, tmp_path: Path) -> None:
    """A kernel that ends at once fails the cell alone, and the detail has what the server said of it."""
    kernel = tmp_path / "data" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = ["/bin/sh", "-c", "echo kernel is broken >&2; exit 1"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
    result = lab(place, programs, JUPYTER_PATH=str(tmp_path / "data"))
    assert outcomes(result) == [*(f"{name} passed" for name in NAMES[:4]), "cell failed"]
    assert result.detail.startswith("1 of 5 failed: cell\n")


def test_a_cell_that_raises_is_told(place: Place, programs: str, tmp_path: Path) -> None:
    """A kernel whose arithmetic is not to be trusted fails the cell with the exception it raises."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    text = "get_ipython().input_transformers_post.append(lambda lines: ['raise ImportError(\"libblas is gone\")\\n'])\n"
    (startup / "00.py").write_text(text)
    result = lab(place, programs, IPYTHONDIR=str(tmp_path / "ipython"))
    assert item(result, "cell").detail == "ImportError: libblas is gone"


def test_a_deleted_asset_is_named(place: Place, programs: str, tmp_path: Path) -> None:
    """A script that the page refers to and the server lacks fails the assets, by its path."""
    here = tmp_path / "lab"
    shutil.copytree(_ENVIRONMENT / "share" / "jupyter" / "lab", here, copy_function=os.symlink)
    (main,) = (each for each in (here / "static").glob("main.*.js"))
    main.unlink()
    result = lab(place, programs, JUPYTERLAB_DIR=str(here))
    assert item(result, "assets").outcome is Outcome.FAILED
    assert main.name in item(result, "assets").detail
    assert item(result, "cell").outcome is Outcome.PASSED


def stand_in(place: Place, line: str, seconds: float = 30) -> CheckResult:
    parameters = {"command": ("/bin/sh", "-c", line)}
    return checks.run(CheckSpec(kind="jupyterlab", name="it", seconds=seconds, parameters=parameters), place.context())


def test_a_server_that_ends_at_once_fails_the_start(place: Place) -> None:
    """Its status and last words are the detail; what could not be tried is skipped."""
    result = stand_in(place, "echo ModuleNotFoundError: jupyterlab >&2; exit 1")
    assert result.detail == "the server ended: exit status 1\nModuleNotFoundError: jupyterlab"
    assert outcomes(result) == ["start failed", *(f"{name} skipped" for name in NAMES[1:])]


def test_a_server_that_never_answers_fails_the_start(place: Place) -> None:
    """At the check's limit it is stopped, whole."""
    result = stand_in(place, "sleep 1000 & sleep 1000", 1)
    assert result.outcome is Outcome.FAILED
    assert result.detail.startswith("not ready after 1 s: GET /api/status: Connection refused")


def test_a_server_of_another_kind_fails_page_by_page(place: Place) -> None:
    """A server that answers everything with the same page is no JupyterLab, and no answer of it breaks the check."""
    code = (
        "import http.server, sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        "        self.wfile.write(b'[1]')\n"
        "port = [int(each.split('=')[1]) for each in sys.argv if '.port=' in each][0]\n"
        "http.server.HTTPServer(('127.0.0.1', port), Handler).serve_forever()\n"
    )
    spec = CheckSpec(kind="jupyterlab", name="it", parameters={"command": (sys.executable, "-c", code)})
    result = checks.run(spec, place.context())
    assert outcomes(result) == ["start passed", "page failed", "assets skipped", "kernelspecs failed", "cell skipped"]


def test_no_jupyterlab_is_skipped(place: Place, tmp_path: Path) -> None:
    """Where it is not installed there is nothing to exercise; `jupyter` without `jupyter-lab` is not enough."""
    assert place.check("jupyterlab", path=str(tmp_path)).detail == "jupyter is not on PATH"
    (tmp_path / "jupyter").touch(0o755)
    result = place.check("jupyterlab", path=str(tmp_path))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "jupyter-lab is not on PATH")


def test_references_are_scripts_styles_and_extensions() -> None:
    """Scripts, styles, icons and the entry scripts of extensions, as absolute URLs, each once; no other link."""
    settings = {
        "fullLabextensionsUrl": "/lab/extensions",
        "federated_extensions": [{"name": "@jupyter/x", "load": "static/remoteEntry.1.js"}],
    }
    page = (
        f'<script id="jupyter-config-data" type="application/json">{json.dumps(settings)}</script>'
        '<script defer src="/static/main.js?v=1"></script><script src="/static/main.js?v=1"></script>'
        '<script>ignored("/x.js")</script><link rel="stylesheet" href="theme.css"><link rel="canonical" href="/other">'
        '<link rel="icon" href="/favicon.ico"><a href="/help">help</a>'
    )
    assert references(page, "http://h/lab") == [
        "http://h/static/main.js?v=1",
        "http://h/theme.css",
        "http://h/favicon.ico",
        "http://h/lab/extensions/@jupyter/x/static/remoteEntry.1.js",
    ]


@given(st.text(), st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_any_page_has_references(text: str, settings: object) -> None:
    """Whatever a server sends as its page, its references are a list of distinct strings."""
    data = settings if isinstance(settings, str) else json.dumps({"federated_extensions": settings})
    found = references(f'{text}<script id="jupyter-config-data">{data}</script>{text}', "http://h/lab")
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("specs", "name"),
    [
        (
            {"default": "b", "kernelspecs": {"a": {"spec": {"language": "python"}}, "b": {"spec": {"language": "R"}}}},
            "a",
        ),
        ({"default": "b", "kernelspecs": {n: {"spec": {"language": "Python"}} for n in "abc"}}, "b"),
        ({"default": "gone", "kernelspecs": {"ir": {"spec": {"language": "R"}}}}, None),
        ({"kernelspecs": {"x": {}}}, None),
    ],
)
def test_the_python_kernel_is_the_default_one_if_it_is_pythons(specs: object, name: str | None) -> None:
    """The default kernel is taken if its language is Python, else the first that is Python's, else none."""
    assert python_kernel(specs) == name
