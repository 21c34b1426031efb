"""Kind `jupyterlab`, with the real one: as it is, and with faults planted."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
from checks_context import IS_ROOT, Place, item, place
from jupyter_environment import (
    ENVIRONMENT,
    check_jupyter,
    home_of,
    jupyter_environment,
    outcomes,
    programs,
)

from slimagent import checks
from slimagent.checks.jupyter import server as jupyter_server
from slimagent.checks.jupyter.server import environment, with_cause
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Outcome
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place", "programs"]  # fixtures

OF_PAGE = ["page", "assets", "chunks", "chunks jupyterlab_pygments", "settings", "themes"]
OF_KERNEL = ["kernel python3", "complete python3", "inspect python3"]


def lab(place: Place, programs: str, command: str = "", **env: str) -> CheckResult:
    """Check the real JupyterLab, started as it is or by a shell's line."""
    if not command:
        return check_jupyter(place, programs, "jupyterlab", env=env, cell_seconds=20.0)
    argv = ("/bin/sh", "-c", f'{command}; exec jupyter lab "$@"', "sh")
    return check_jupyter(place, programs, "jupyterlab", env=env, cell_seconds=20.0, command=argv)


def failing(result: CheckResult) -> list[str]:
    return [each.name for each in result.items if each.outcome is Outcome.FAILED]


def test_jupyterlab_passes_item_by_item(place: Place, programs: str) -> None:
    """The real JupyterLab does all that is asked of it; nothing of it is left, not in the home directory either."""
    result = lab(place, programs)
    assert (result.outcome, failing(result)) == (Outcome.PASSED, []), result.detail
    names = [each.name for each in result.items if not each.name.startswith("theme ")]
    assert names[:12] == ["start", *OF_PAGE, "kernelspecs", *OF_KERNEL, "terminal"]
    assert names[12:16] == ["contents", "launchers", "labextensions", "labextension jupyterlab_pygments"]
    assert "server extension jupyter_server_terminals" in names
    assert [each.name for each in result.items if each.outcome is Outcome.SKIPPED] == ["launchers"]
    assert item(result, "kernel python3").detail == "6*7 is 42"
    assert int(item(result, "chunks").detail.split()[0]) > 100
    assert item(result, "theme @jupyterlab/theme-light-extension").outcome is Outcome.PASSED
    assert os.listdir(home_of(place)) == []


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_jupyterlab_passes_under_tracing(place: Place, programs: str) -> None:
    """Watched, it passes too, without a loss; kernel, parts, themes and schemas are in the evidence."""
    with Seccomp() as watcher:
        watcher.step("it")
        env = {**place.env, **jupyter_environment(place, programs)}
        context = checks.Context(spawn=watcher.spawn, env=env, user=None, cwd="/")
        result = checks.run(CheckSpec(kind="jupyterlab", name="it", seconds=240), context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ()), result.detail
    share = os.fsencode(ENVIRONMENT / "share" / "jupyter")
    found = set(observed.accesses)
    assert any(b"/ipykernel/" in path for path in found)
    for place_of in (
        b"/lab/themes/@jupyterlab/theme-light-extension/",
        b"/lab/schemas/@jupyterlab/apputils-extension/",
    ):
        assert any(path.startswith(share + place_of) for path in found)
    static = ENVIRONMENT / "share" / "jupyter" / "lab" / "static"
    parts = {os.fsencode(each) for each in static.glob("[0-9]*.*.js")}
    assert parts <= found


def test_configuration_of_the_image_does_not_outweigh_the_check(place: Place, programs: str, tmp_path: Path) -> None:
    """Another port, address, base URL or token in the image's configuration changes nothing; no terminals are none."""
    server = {"port": 1, "ip": "0.0.0.0", "base_url": "/user/me/", "open_browser": True}  # noqa: S104
    server |= {"preferred_dir": "/usr", "terminals_enabled": False}
    settings = {"ServerApp": server, "IdentityProvider": {"token": "secret"}}
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / "jupyter_server_config.json").write_text(json.dumps(settings))
    result = lab(place, programs, JUPYTER_CONFIG_PATH=str(tmp_path / "configuration"))
    assert (result.outcome, failing(result)) == (Outcome.PASSED, [])
    assert (item(result, "terminal").outcome, item(result, "terminal").detail) == (
        Outcome.SKIPPED,
        "the server has no terminals",
    )


def kernelspec(data: Path, name: str, argv: list[str], language: str = "python") -> None:
    directory = data / "kernels" / name
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": language}))


def test_each_broken_kernel_is_told_by_its_own_words(place: Place, programs: str, tmp_path: Path) -> None:
    """A kernel that ends at once, one whose program is gone, one without a module; one of another language answers."""
    data = tmp_path / "data"
    ipykernel = [str(ENVIRONMENT / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernelspec(data, "dies", ["/bin/sh", "-c", "echo 'ImportError: libzmq is gone' >&2; exit 1"])
    kernelspec(data, "gone", ["/no/such/program", "{connection_file}"])
    (data / "kernels" / "cut").mkdir()
    (data / "kernels" / "cut" / "kernel.json").write_text('{"argv": [')
    kernelspec(data, "other", ipykernel, "COBOL")
    kernelspec(data, "raises", [*ipykernel, '--IPKernelApp.exec_lines=["import os; os.path = None"]'])
    result = lab(place, programs, JUPYTER_PATH=str(data))
    assert failing(result) == ["kernel cut", "kernel dies", "kernel gone", "kernel raises"]
    assert item(result, "kernel dies").detail == "the kernel died: ImportError: libzmq is gone"
    assert "/no/such/program" in item(result, "kernel gone").detail
    assert item(result, "kernel cut").detail.startswith(
        "its kernel.json cannot be loaded: json.decoder.JSONDecodeError"
    )
    assert item(result, "complete dies").outcome is Outcome.SKIPPED
    assert item(result, "kernel other").detail == "it answers; its language is python"
    assert "complete other" not in [each.name for each in result.items]
    assert item(result, "kernel python3").outcome is Outcome.PASSED


def test_a_dead_kernels_last_lines_are_the_log(place: Place, programs: str, tmp_path: Path) -> None:
    """The detail of the check ends with what server and kernel wrote when it failed, not with what came later."""
    kernelspec(tmp_path / "data", "dies", ["/bin/sh", "-c", "echo last words >&2; exit 1"])
    result = lab(place, programs, JUPYTER_PATH=str(tmp_path / "data"))
    assert result.detail.startswith("1 of ")
    assert "last words" in result.detail.splitlines()


def test_a_cell_that_raises_is_told(place: Place, programs: str, tmp_path: Path) -> None:
    """A kernel whose arithmetic is not to be trusted fails with the exception that it raises."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    text = "get_ipython().input_transformers_post.append(lambda lines: ['raise ImportError(\"libblas is gone\")\\n'])\n"
    (startup / "00.py").write_text(text)
    result = lab(place, programs, IPYTHONDIR=str(tmp_path / "ipython"))
    # A line of the server's log may follow: under load a kernel's sockets are sometimes closed while they are read.
    assert item(result, "kernel python3").detail.startswith("ImportError: libblas is gone")


def test_deleted_files_of_the_page_are_named(place: Place, programs: str, tmp_path: Path) -> None:
    """A part that a click would load, a theme, an extension's entry script: each fails its own item, by its path."""
    here, extension = tmp_path / "lab", tmp_path / "data" / "labextensions" / "copied"
    share = ENVIRONMENT / "share" / "jupyter"
    shutil.copytree(share / "lab", here)  # a link would lead out of the served directory
    part = sorted((here / "static").glob("[0-9]*.*.js"))[100]
    part.unlink()
    (here / "themes" / "@jupyterlab" / "theme-dark-extension" / "index.css").unlink()
    shutil.copytree(share / "labextensions" / "jupyterlab_pygments", extension)
    package = json.loads((extension / "package.json").read_text())
    (extension / "package.json").write_text(json.dumps({**package, "name": "copied"}))
    (entry,) = (extension / "static").glob("remoteEntry.*.js")
    entry.unlink()
    result = lab(place, programs, JUPYTERLAB_DIR=str(here), JUPYTER_PATH=str(tmp_path / "data"))
    assert sorted(failing(result)) == ["assets", "chunks", "chunks copied", "theme @jupyterlab/theme-dark-extension"]
    assert item(result, "assets").detail == f"GET /lab/extensions/copied/static/{entry.name}: 404 Not Found"
    assert item(result, "chunks").detail == f"GET /static/lab/{part.name}: 404 Not Found"
    assert item(result, "chunks jupyterlab_pygments").outcome is Outcome.PASSED
    assert item(result, "kernel python3").outcome is Outcome.PASSED


def test_a_deleted_main_script_is_named(place: Place, programs: str, tmp_path: Path) -> None:
    """The script that the page refers to and the server lacks fails the assets, by its path."""
    here = tmp_path / "lab"
    shutil.copytree(ENVIRONMENT / "share" / "jupyter" / "lab", here)
    (main,) = (here / "static").glob("main.*.js")
    main.unlink()
    result = lab(place, programs, JUPYTERLAB_DIR=str(here))
    assert main.name in item(result, "assets").detail
    assert main.name in item(result, "chunks").detail


def test_broken_services_and_extensions_are_told(place: Place, programs: str, tmp_path: Path) -> None:
    """A terminal without shell, an extension without module, one that does not load, one for another JupyterLab."""
    modules, data, configuration = tmp_path / "modules", tmp_path / "data", tmp_path / "configuration"
    (configuration / "jupyter_server_config.d").mkdir(parents=True)
    modules.mkdir()
    (modules / "raises.py").write_text(
        "def _jupyter_server_extension_points():\n    return [{'module': 'raises'}]\n"
        "def _load_jupyter_server_extension(app):\n    raise RuntimeError('no licence')\n"
    )
    enabled = {"ServerApp": {"jpserver_extensions": {"no_such_module": True, "raises": True, "nbclassic": False}}}
    (configuration / "jupyter_server_config.d" / "x.json").write_text(json.dumps(enabled))
    package = {"name": "old", "version": "1.0", "dependencies": {"@jupyterlab/application": "^1.0.0"}}
    package["jupyterlab"] = {"extension": True, "_build": {"load": "static/x.js", "extension": "./extension"}}
    (data / "labextensions" / "old" / "static").mkdir(parents=True)
    (data / "labextensions" / "old" / "static" / "x.js").write_text("1;\n")
    (data / "labextensions" / "old" / "package.json").write_text(json.dumps(package))
    result = lab(
        place,
        programs,
        JUPYTER_CONFIG_DIR=str(configuration),
        JUPYTER_PATH=str(data),
        PYTHONPATH=str(modules),
        SHELL="/no/such/shell",
    )
    extensions = ["labextension old", "server extension no_such_module", "server extension raises"]
    assert failing(result) == ["terminal", *extensions], result.items
    assert "/no/such/shell" in item(result, "terminal").detail
    assert item(result, "labextension old").detail == "not compatible with this JupyterLab"
    assert "no_such_module" in item(result, "server extension no_such_module").detail
    assert item(result, "server extension raises").detail == "not loaded: RuntimeError('no licence')"
    assert item(result, "server extension nbclassic").detail == "disabled"
    assert item(result, "chunks old").outcome is Outcome.SKIPPED


def test_a_read_only_directory_fails_the_contents(place: Place, programs: str) -> None:
    """A directory in which nothing can be saved fails the contents alone, with the server's word for it."""
    names = ("runtime", "workspaces", "jupyter_config_dir", "jupyter_data_dir", "ipythondir", "xdg_cache_home", "npm")
    line = f"mkdir -p {' '.join(names)}; chmod 555 ."
    if IS_ROOT:  # who may write everywhere, unless without that capability
        if shutil.which("setpriv") is None:
            (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") == "1" else pytest.skip)("no setpriv")
        line += '; exec setpriv --bounding-set=-dac_override jupyter lab "$@"'
    result = lab(place, programs, line)
    assert failing(result) == ["contents"], result.detail
    assert item(result, "contents").detail.startswith("PUT /api/contents/slimagent.txt: ")
    assert "ermission denied" in item(result, "contents").detail


def test_a_port_in_use_fails_the_start(place: Place, programs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot have its port fails with its own words; the lists of extensions are there all the same."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(jupyter_server, "free_port", lambda: port)
        result = check_jupyter(place, programs, "jupyterlab", 20)
    assert (item(result, "start").outcome, item(result, "page").outcome) == (Outcome.FAILED, Outcome.SKIPPED)
    assert f"port {port} is" in result.detail
    assert item(result, "labextension jupyterlab_pygments").outcome is Outcome.PASSED


def stand_in(place: Place, *argv: str, seconds: float = 30) -> CheckResult:
    """Check a program that stands in for JupyterLab, where there are no lists of extensions."""
    spec = CheckSpec(kind="jupyterlab", name="it", seconds=seconds, parameters={"command": argv})
    return checks.run(spec, place.context(PATH="/usr/bin:/bin"))


def shell(line: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", line)


REST = [*(each for each in OF_PAGE if " " not in each), "kernelspecs", "terminal", "contents", "launchers"]
LISTS = ["labextensions skipped", "server extensions skipped"]


def test_a_server_that_ends_at_once_fails_the_start(place: Place) -> None:
    """Its status and last words are the detail; what could not be tried is skipped."""
    result = stand_in(place, *shell("echo ModuleNotFoundError: jupyterlab >&2; exit 1"))
    assert result.detail == "the server ended: exit status 1\nModuleNotFoundError: jupyterlab"
    assert outcomes(result) == ["start failed", *(f"{name} skipped" for name in REST), *LISTS]
    assert item(result, "labextensions").detail == "jupyter is not on PATH"


def test_a_server_that_never_answers_fails_the_start(place: Place) -> None:
    """At the check's limit it is stopped, whole."""
    result = stand_in(place, *shell("sleep 1000 & sleep 1000"), seconds=1)
    assert result.outcome is Outcome.FAILED
    assert result.detail.startswith("not ready after 1 s: GET /api/status: Connection refused")


SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/api/status" and {hang}:
            time.sleep(1000)
        self.send_response(200)
        self.end_headers()
        self.wfile.write({body})
    do_POST = do_PUT = do_GET
port = [int(each.split("=")[1]) for each in sys.argv if ".port=" in each][0]
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.mark.parametrize("body", [b"[1]", b'{"kernelspecs": [1], "name": 3}', b"\xff<", b"[" * 100_000])
def test_a_server_of_another_kind_fails_page_by_page(place: Place, body: bytes) -> None:
    """A server that answers everything with the same thing is no JupyterLab, and no answer of it breaks the check."""
    result = stand_in(place, sys.executable, "-c", SERVER.format(hang=False, body=body))
    assert outcomes(result)[:2] == ["start passed", "page failed"]
    assert {each.name for each in result.items if each.outcome is Outcome.PASSED} == {"start"}


def test_a_server_that_hangs_is_given_up(place: Place) -> None:
    """Every question that is not answered fails its item, within the check's time, and the server is stopped."""
    result = stand_in(place, sys.executable, "-c", SERVER.format(hang=True, body=b"{}"), seconds=4)
    assert item(result, "start").outcome is Outcome.PASSED
    assert item(result, "page").detail == "GET /lab: no answer in time"
    assert {each.outcome for each in result.items if each.name in ("kernelspecs", "terminal", "contents")} == {
        Outcome.FAILED
    }


def test_no_jupyterlab_is_skipped(place: Place, tmp_path: Path) -> None:
    """Where it is not installed there is nothing to exercise; `jupyter` without `jupyter-lab` is not enough."""
    assert place.check("jupyterlab", path=str(tmp_path)).detail == "jupyter is not on PATH"
    (tmp_path / "jupyter").touch(0o755)
    result = place.check("jupyterlab", path=str(tmp_path))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "jupyter-lab is not on PATH")


def test_only_what_the_user_has_is_the_users(place: Place, tmp_path: Path) -> None:
    """Directories of the home that are there are used; what is not there, Jupyter may make elsewhere."""
    (tmp_path / ".jupyter").mkdir()
    env = environment(place.context(HOME=str(tmp_path), JUPYTER_DATA_DIR="/given", XDG_CACHE_HOME=""), "/temporary")
    assert "JUPYTER_CONFIG_DIR" not in env
    assert env["JUPYTER_DATA_DIR"] == "/given"
    assert env["IPYTHONDIR"] == "/temporary/ipythondir"
    assert env["XDG_CACHE_HOME"] == "/temporary/xdg_cache_home"


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (["Traceback (most recent call last):", "  File x", "ModuleNotFoundError: No module named 'zmq'"], "No module"),
        (
            ["Error in loadNamespace(x) : there is no package called 'IRkernel'", "Execution halted"],
            "called 'IRkernel'",
        ),
        (["sh: 1: python: not found"], "python: not found"),
        (
            ["Error in loadNamespace(x) :", "  there is no package called 'repr'", "Calls: x"],
            "x) : there is no package",
        ),
        (["/usr/bin/python: No module named ipykernel_launcher", "    ValueError: the server's"], "ipykernel_launcher"),
        (["[E 2026-01-01 00:00:00.000 ServerApp] Uncaught", "    OSError: [Errno 2] /no"], "OSError: [Errno 2] /no"),
        (["[W 2026-01-01 00:00:00.000 ServerApp] wrote error: 'Permission denied: x.txt'"], "Permission denied: x.txt"),
        (["[I 2026-01-01 00:00:00.000 ServerApp] Error: none of it"], ""),
        (["all is well"], ""),
    ],
)
def test_the_cause_is_the_line_that_names_it(lines: list[str], cause: str) -> None:
    """Of what a log says, the line that names a cause goes into the detail, and no other."""
    found = with_cause("it failed", lines)
    assert found.startswith("it failed")
    assert cause in found
    assert cause or found == "it failed"
