"""Kind `rstudio`, with a stand-in for RStudio Server that behaves, and with one fault planted at a time.

The real server is in no package registry: what is tested here is the check, not what its protocol is taken for. The
stand-in does what the real rserver was seen to do, also where that is awkward.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import CookieJar
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from checks_context import IS_ROOT, NOBODY, Place, item, place
from hypothesis import given, settings
from hypothesis import strategies as st

from slimagent import checks
from slimagent.checks import rstudio
from slimagent.checks.directory import end_of
from slimagent.checks.loopback import HOST, Client
from slimagent.checks.rstudio import server as rstudio_server
from slimagent.checks.rstudio import tools as rstudio_tools
from slimagent.checks.rstudio.page import permutations, references
from slimagent.checks.rstudio.rpc import Browser, CallError, Session, png_fault
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.user import User
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place"]  # a fixture

STAND_IN = Path(__file__).parents[1] / "support/rstudio_stand_in.py"
GECKO, WEBKIT = "0123456789ABCDEF0123456789ABCDEF", "FEDCBA9876543210FEDCBA9876543210"
SERVED = ["start", "page", "assets", f"permutation {GECKO}", f"permutation {WEBKIT}"]
SERVED += ["session", "evaluate", "plot", "quit"]
NAMES = [*SERVED, "quarto", "quarto render", "pandoc"]
PAGE = """<!DOCTYPE html><html><head><title>RStudio</title>
<link rel="shortcut icon" href="images/favicon.ico" /><link rel="stylesheet" href="rstudio.css" type="text/css"/>
<script type="text/javascript" src="js/core.js?v=1"></script>
<script type="text/javascript" language="javascript" src="rstudio/rstudio.nocache.js"></script></head></html>"""
LOADER = f"function rstudio(){{u([Ab,Bb],'{GECKO}');u([Ab,Cb],'{WEBKIT}'+':1');var k='clear.cache.gif'}}"
QUARTO = """#!/bin/sh
if [ "$1" = --version ]; then echo 1.6.42; exit 0; fi
[ "$1 $3 $4" = "render --to html" ] || exit 2
echo "<p><em>word</em></p>" > "${2%.qmd}.html"
"""
PANDOC = """#!/bin/sh
sed -n 's:\\*\\(.*\\)\\*:<em>\\1</em>:p' "$3"
"""


def script(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """The directory of a stand-in, laid out as the package of the real one is."""
    top = tmp_path / "rstudio-server"
    for name in ("rserver", "rsession"):
        script(top / "bin" / name, f"#!{sys.executable}\n{STAND_IN.read_text()}")
    script(top / "bin/quarto/bin/quarto", QUARTO)
    script(top / "bin/quarto/bin/tools/pandoc", PANDOC)
    www = {
        "index.htm": PAGE,
        "rstudio.css": "*{}",
        "js/core.js": "0",
        "images/favicon.ico": "0",
        "rstudio/rstudio.nocache.js": LOADER,
        f"rstudio/{GECKO}.cache.js": "0",
        f"rstudio/{WEBKIT}.cache.html": "0",
    }
    for name, text in www.items():
        script(top / "www" / name, text, 0o644)
    return top


@pytest.fixture(autouse=True)
def anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """We may be root, whom the check refuses and the stand-in does not, and we may have tools of our own."""
    monkeypatch.setattr(rstudio, "number", lambda user: 1000)
    monkeypatch.setattr(rstudio_tools, "locate", lambda name, directories, env: "")


@pytest.fixture(autouse=True)
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What of the image a server can reach; afterwards nothing is there that was not there before.

    That is the home of the password database and of the environment, the cache and the settings that variables name,
    and the directories that old versions have in /tmp.
    """
    top = tmp_path / "image"
    for name in ("home", "cache", "config"):
        (top / name).mkdir(parents=True)
    monkeypatch.setattr(rstudio_server, "_FIXED", (str(top / "fixed"), str(top / "gone")))
    names = {"STAND_IN_HOME": "home", "HOME": "home", "STAND_IN_FIXED": "fixed"}
    names |= {"RSTUDIO_CACHE_HOME": "cache", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
    for variable, name in names.items():
        monkeypatch.setenv(variable, str(top / name))
    (tmp_path / "notes").touch()
    (tmp_path / "notes").chmod(0o666)
    monkeypatch.setenv("STAND_IN_NOTES", str(tmp_path / "notes"))
    for variable in ("RSTUDIO_CONFIG_HOME", "RSTUDIO_CONFIG_DIR", "XDG_CONFIG_DIRS"):
        monkeypatch.delenv(variable, raising=False)
    before = contents(top)
    yield top
    assert contents(top) == before


def contents(top: Path) -> set[str]:
    return {str(each.relative_to(top)) for each in top.rglob("*")}


def sessions(image: Path) -> list[dict[str, str]]:
    """The environments of the sessions that were started."""
    return [json.loads(line) for line in (image.parent / "notes").read_text().splitlines()]


def check(
    place: Place,
    studio: Path,
    fault: str = "",
    seconds: float = 60,
    env: Mapping[str, str] = MappingProxyType({}),
    **parameters: Parameter,
) -> CheckResult:
    """Check the stand-in with that fault."""
    parameters = {"rserver": str(studio / "bin" / "rserver"), **parameters}
    spec = CheckSpec(kind="rstudio", name="it", seconds=seconds, parameters=parameters)
    return checks.run(spec, place.context(STAND_IN_FAULT=fault, **env))


def outcomes(result: CheckResult) -> list[str]:
    return [f"{each.name} {each.outcome.value}" for each in result.items]


def failing(result: CheckResult) -> dict[str, str]:
    """The items that failed, and why."""
    return {each.name: each.detail for each in result.items if each.outcome is Outcome.FAILED}


def test_a_server_that_behaves_passes_item_by_item(place: Place, studio: Path, image: Path) -> None:
    """All of it: sign-in, files, a session that calculates and draws and ends, Quarto, pandoc; nothing is left."""
    result = check(place, studio)
    assert (result.outcome, outcomes(result)) == (Outcome.PASSED, [f"{name} passed" for name in NAMES])
    assert item(result, "session").detail == "RStudio 2026.05.0, R 4.5.2"
    assert item(result, "quarto").detail == f"{studio}/bin/quarto/bin/quarto 1.6.42"
    (session,) = sessions(image)
    assert {os.path.dirname(os.path.dirname(session[name])) for name in ("HOME", "TMPDIR")} == {str(place.temporary)}
    assert "XDG_CACHE_HOME" not in session  # the stand-in hands on no more than the real one does


@pytest.mark.parametrize("version", ["old", "more", "async", "slow", "no-r", "prefix", "warns"])
def test_other_versions_pass_too(place: Place, studio: Path, image: Path, version: str) -> None:
    """Fewer options and no sign-in; more options; calls completed by an event; a session that comes up later than the
    server waits by itself; a path for a proxy in rserver.conf; warnings of R's at each line. One session is started.
    """
    result = check(place, studio, version)
    assert (result.outcome, outcomes(result)) == (Outcome.PASSED, [f"{name} passed" for name in NAMES])
    assert len(sessions(image)) == 1


def test_settings_of_the_image_are_used(place: Place, studio: Path, image: Path) -> None:
    """Where variables say; those of no image are in the place, and so is every home."""
    assert check(place, studio).outcome is Outcome.PASSED
    (image / "config/rstudio").mkdir()
    assert check(place, studio).outcome is Outcome.PASSED
    assert check(place, studio, env={"RSTUDIO_CONFIG_HOME": str(image / "none")}).outcome is Outcome.PASSED
    where = [each.get("RSTUDIO_CONFIG_HOME", "").startswith(str(place.temporary)) for each in sessions(image)]
    assert where == [True, False, True]
    (image / "config/rstudio").rmdir()


def test_the_session_that_rserver_conf_names_is_started(place: Place, studio: Path, image: Path) -> None:
    """An administrator's wrapper of rsession, relative to rserver as rserver itself takes it, or absolute."""
    (studio / "conf").mkdir()
    (studio / "bin/theirs").mkdir()
    (studio / "bin/rsession").rename(studio / "bin/theirs/rsession")
    script(studio / "bin/our own.sh", f'#!/bin/sh\nOURS=1 exec "{studio}/bin/theirs/rsession" "$@"\n')
    for path in ("our own.sh", f"{studio}/bin/our own.sh # as our manual says"):
        (studio / "conf/rserver.conf").write_text(f"# rsession-path=no\nwww-port=1\n rsession-path = {path}\n")
        env = {"RSTUDIO_CONFIG_DIR": str(studio / "conf")}
        assert check(place, studio, env=env).outcome is Outcome.PASSED
    assert [each["OURS"] for each in sessions(image)] == ["1", "1"]


def test_what_was_in_a_fixed_place_before_stays(place: Place, studio: Path, image: Path) -> None:
    """The key of a server that the image's maker ran is not ours to remove."""
    (image / "fixed").mkdir()
    (image / "fixed/session-rpc-key").write_text("theirs")
    assert check(place, studio, "old").outcome is Outcome.PASSED
    assert (image / "fixed/session-rpc-key").read_text() == "theirs"
    shutil.rmtree(image / "fixed")


def test_a_user_below_the_minimum_has_a_session(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image whose user is a system account; a server that knows no such option refuses it, in its own words."""
    assert failing(check(place, studio)) == {}
    monkeypatch.setattr(rstudio_server, "_options", without("auth-minimum-user-id"))
    monkeypatch.setattr(rstudio_server, "SESSION_SECONDS", 2)
    refused = "which is lower than the minimum user id (1000)"
    result = check(place, studio)
    if os.geteuid() < 1000:
        assert failing(result) == {"session": "client_init: jsonrpc error 1 (Unable to connect to service)"}
        assert refused in result.detail


def without(name: str) -> Callable[[rstudio_server.Place, int, frozenset[str]], list[str]]:
    """The options of the check, for a server that does not know one."""
    options = rstudio_server._options

    def known(place: rstudio_server.Place, port: int, known: frozenset[str]) -> list[str]:
        return options(place, port, known - {name})

    return known


def test_a_place_where_nothing_can_be_executed_is_told(
    place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/tmp is mounted noexec by some: no session could be started from there."""
    status = os.statvfs(place.temporary)
    flags = (*tuple(status)[:8], os.ST_NOEXEC, *tuple(status)[9:])
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(flags))
    expected = f"{place.temporary} is mounted noexec, and sessions start from there: set TMPDIR to another"
    assert failing(check(place, studio)) == {"start": expected}


@pytest.mark.parametrize("fault", ["daemon", "daemon stays"])
def test_a_session_that_left_its_parents_is_caught(place: Place, studio: Path, fault: str) -> None:
    """A session of its own, an orphan: if it does not end when it is asked to, it is ended with the server."""
    assert item(check(place, studio, fault), "evaluate").outcome is Outcome.PASSED


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_it_passes_under_tracing(place: Place, studio: Path) -> None:
    """Watched, it passes too; files that only the server reads, and those of the session, are in the evidence."""
    with Seccomp() as watcher:
        watcher.step("it")
        context = checks.Context(spawn=watcher.spawn, env=place.env, user=None, cwd="/")
        parameters: dict[str, Parameter] = {"rserver": str(studio / "bin" / "rserver")}
        result = checks.run(CheckSpec(kind="rstudio", name="it", seconds=120, parameters=parameters), context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    for name in ("bin/rsession", "www/js/core.js", f"www/rstudio/{WEBKIT}.cache.html", "bin/quarto/bin/tools/pandoc"):
        assert os.fsencode(studio / name) in observed.accesses


def test_no_rserver_is_skipped(place: Place, tmp_path: Path) -> None:
    """Where it is not installed there is nothing to exercise, and what there is of it stays protected."""
    result = place.check("rstudio", path=str(tmp_path), rserver="rserver-of-ours")
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "rserver is not installed")


@pytest.mark.skipif(not IS_ROOT, reason="we are not root")
def test_root_is_skipped(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that could not open a session must not count as passed, nor blame the image."""
    monkeypatch.setattr(rstudio, "number", rstudio_server.number)
    result = place.check("rstudio", rserver=str(studio / "bin" / "rserver"))
    assert (result.outcome, result.items) == (Outcome.SKIPPED, ())
    assert result.detail == "RStudio has no sessions for root: run this check as an ordinary user"


def open_to_all(studio: Path) -> None:
    """Have another user run the stand-in."""
    python = "/usr/bin/python3"
    if subprocess.call([python, "-c", "import ssl"], user=65534) != 0:
        pytest.skip(f"{python} cannot be run by another user here")
    for name in ("rserver", "rsession"):
        script(studio / "bin" / name, f"#!{python}\n{STAND_IN.read_text()}")
    for directory in (studio, *studio.parents):
        if directory.stat().st_uid == os.getuid() and directory.name.startswith(("pytest-", "test_", "rstudio-")):
            directory.chmod(0o755)


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_it_runs_as_the_user(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server and session run as the image's user, in a place that is this user's own."""
    monkeypatch.setattr(rstudio, "number", rstudio_server.number)
    open_to_all(studio)
    spec = CheckSpec(kind="rstudio", name="it", parameters={"rserver": str(studio / "bin" / "rserver")})
    result = checks.run(spec, place.context(NOBODY))
    assert (result.outcome, outcomes(result)) == (Outcome.PASSED, [f"{name} passed" for name in NAMES])


def test_rserver_is_found_where_the_proxy_finds_it(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the PATH first, then in RStudio's directories; one there that cannot be run is not absent."""
    assert rstudio_server.locate("rserver", (), {"PATH": str(studio / "bin")}) == str(studio / "bin" / "rserver")
    monkeypatch.setattr(rstudio, "DIRECTORIES", (str(studio / "none"), str(studio / "bin")))
    (studio / "bin" / "rserver").chmod(0o644)
    result = checks.run(CheckSpec(kind="rstudio", name="it"), place.context(PATH="/bin"))
    assert failing(result)["start"] == f"{studio}/bin/rserver: Permission denied"


STARTS = [
    (
        "bad-conf",
        "rserver --help: exit status 1: 2026-11-23T10:00:00Z [rserver] ERROR unrecognised option 'no-such-option' "
        "[config-file: /etc/rstudio/rserver.conf]; LOGGED FROM: ServerMain.cpp",
    ),
    ("failing-help", "rserver --help: exit status 127"),
    ("no-port", "rserver --help does not name --www-port"),
]


@pytest.mark.parametrize(("fault", "why"), STARTS)
def test_a_server_that_does_not_start_says_why(place: Place, studio: Path, fault: str, why: str) -> None:
    """Its own words are the reason; what needs the server is skipped, the tools are not."""
    result = check(place, studio, fault)
    assert failing(result) == {"start": why}
    later = ["page", "assets", "session", "evaluate", "plot", "quit"]
    assert outcomes(result)[1:] == [*(f"{name} skipped" for name in later), *(f"{each} passed" for each in NAMES[-3:])]


@pytest.mark.parametrize(("fault", "why"), [("deaf", "not ready after 3 s: "), ("hanging-help", "no end after 3 s")])
def test_a_server_that_hangs_is_given_up(place: Place, studio: Path, fault: str, why: str) -> None:
    """At the limit it is stopped, be it in its very first step."""
    assert re.search(re.escape(why).replace("3", r"[\d.]+"), failing(check(place, studio, fault, 3))["start"])


def test_a_port_in_use_is_named(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot have its port fails with its own words."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        monkeypatch.setattr(rstudio, "free_port", lambda: other.getsockname()[1])
        assert "Address already in use" in failing(check(place, studio))["start"]


@pytest.mark.parametrize("content", ["", "their key"])
def test_a_key_file_that_is_there_is_read(
    place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """Whoever may read it; an empty one is refused, and the reason is rserver's."""

    def occupied(context: checks.Context, directory: str) -> rstudio_server.Place:
        Path(directory, "secure-cookie-key").write_text(content)
        return rstudio_server.prepare(context, directory)

    monkeypatch.setattr(rstudio, "prepare", occupied)
    found = failing(check(place, studio))
    why = r".*system error 2 \(No such file or directory\) \[path: \S+/secure-cookie-key\].*"
    assert found == {} if content else re.fullmatch(why, found["start"])


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_a_user_without_an_account_is_told_so(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that the password database does not have: no version since 1.4 starts, and says little of why."""
    monkeypatch.setattr(rstudio, "number", rstudio_server.number)
    open_to_all(studio)
    nobody = User(name="12345", uid=12345, gid=12345, groups=(12345,), home="/nonexistent")
    spec = CheckSpec(kind="rstudio", name="it", parameters={"rserver": str(studio / "bin" / "rserver")})
    found = failing(checks.run(spec, place.context(nobody)))
    assert "Could not find details for server user '12345'" in found["start"]
    assert found["start"].endswith("; user 12345 has no account, which rserver needs: add one to /etc/passwd")


def test_deleted_files_are_named(place: Place, studio: Path) -> None:
    """A script of the page and a permutation, each in its item; the session is none the worse for it."""
    (studio / "www/js/core.js").unlink()
    (studio / f"www/rstudio/{GECKO}.cache.js").unlink()
    (studio / "www/rstudio.css").write_text("")
    result = check(place, studio)
    assert failing(result) == {
        "assets": "GET /rstudio.css: empty; GET /js/core.js?v=1: 404 Not Found",
        f"permutation {GECKO}": f"GET /rstudio/{GECKO}.cache.js: 404 Not Found",
    }


def test_a_page_that_is_not_rstudios_is_told(place: Place, studio: Path) -> None:
    """Whatever else is served at / fails the page; the session is tried all the same."""
    (studio / "www/index.htm").write_text("<html>Welcome to nginx!</html>")
    result = check(place, studio)
    assert re.fullmatch(rf"GET /: http://{HOST}:\d+/ is not RStudio's page", failing(result).pop("page"))
    assert [item(result, name).outcome.value for name in ("assets", "permutations", "plot")] == [
        "skipped",
        "skipped",
        "passed",
    ]


SESSIONS = [
    ("http-500", "POST /rpc/client_init: 500 Internal Server Error"),
    (
        "json-error",
        "client_init: jsonrpc error 100 (Error occurred while executing method): No such file or directory",
    ),
    ("json-error old", "client_init: Error occurred while executing method: No such file or directory (code 100)"),
    ("string-error", "client_init: no"),
    ("deep", "POST /rpc/client_init: the answer is not JSON"),
    ("list", "client_init: the answer is not an object"),
    ("nothing", "client_init: the answer has no clientId"),
]


@pytest.mark.parametrize(("fault", "why"), SESSIONS)
def test_a_session_that_is_refused_is_told(place: Place, studio: Path, fault: str, why: str) -> None:
    """Whatever client_init is answered with, the item says what came; what needs a session is skipped."""
    result = check(place, studio, fault)
    assert failing(result) == {"session": why}
    assert [item(result, name).outcome.value for name in ("evaluate", "plot", "quit")] == ["skipped"] * 3


@pytest.mark.parametrize("version", ["", " old"])
def test_a_session_that_does_not_start_is_told(
    place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """rserver gives it up first; the detail has what rsession wrote, into the server's output or its own log."""
    monkeypatch.setattr(rstudio_server, "SESSION_SECONDS", 2)
    result = check(place, studio, f"no-session{version}")
    message = "Unable to connect to service"
    told = f"{message} (code 1)" if version else f"jsonrpc error 1 ({message})"
    assert failing(result) == {"session": f"client_init: {told}"}
    assert "[path: /usr/lib/R/lib/libR.so]" in result.detail
    (studio / "bin" / "rsession").unlink()
    assert "session" in failing(check(place, studio, f"no-session{version}"))


def test_a_session_that_hangs_is_given_up(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is never answered ends at the limit."""
    monkeypatch.setattr(rstudio, "_SESSION", 1.0)
    result = check(place, studio, "hanging-init")
    assert failing(result) == {"session": "POST /rpc/client_init: no answer in time"}


CONSOLES = [
    ("wrong", {"evaluate": "6*7 prints '[1] 41'"}),
    ("hanging-console", {"evaluate": "6*7: no end after 2 s", "plot": "plot(1:3): no plot after 2 s"}),
    (
        "broken-r",
        {
            "evaluate": "6*7: Error in loadNamespace(x) : there is no package called \u2018graphics\u2019",
            "plot": "plot(1:3): no plot after 2 s; until then: Error in loadNamespace(x) : there is no package called "
            "\u2018graphics\u2019",
        },
    ),
    ("no-plot", {"plot": "plot(1:3): no plot after 2 s"}),
    ("async refused", dict.fromkeys(("evaluate", "plot"), "console_input: Unexpected call to method (code 11)")),
]


@pytest.mark.parametrize(("fault", "why"), CONSOLES)
def test_a_console_that_misbehaves_is_told(
    place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch, fault: str, why: dict[str, str]
) -> None:
    """A wrong result, none, R's error, no plot, a call that is refused when it has long been taken."""
    monkeypatch.setattr(rstudio, "_CONSOLE", 2.0)
    assert failing(check(place, studio, fault)) == why


def test_output_without_end_is_given_up(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that never stop coming are not waited for, and not kept."""
    monkeypatch.setattr(rstudio, "_CONSOLE", 1.0)
    assert failing(check(place, studio, "flood"))["evaluate"].startswith("6*7: no end after 1 s; until then: ")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("not-png", "not a PNG: it begins with b'<html>'"),
        ("cut-png", "a PNG that is cut short"),
    ],
)
def test_a_plot_that_is_no_image_is_told(place: Place, studio: Path, fault: str, why: str) -> None:
    """What is served in place of a plot is looked at."""
    assert re.fullmatch(rf"GET /graphics/[-\w]+\.png: {re.escape(why)}", failing(check(place, studio, fault))["plot"])


def test_a_session_that_stays_is_told(place: Place, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says it quits and does not fails the last item; it is ended all the same."""
    monkeypatch.setattr(rstudio, "_QUIT", 1.0)
    assert failing(check(place, studio, "stays")) == {"quit": "quit_session: the session still runs after 1 s"}


def test_tools_that_are_broken_are_told(place: Place, studio: Path) -> None:
    """Each item says which copy does not work, and why."""
    script(
        studio / "bin/quarto/bin/quarto", "#!/bin/sh\n[ $1 = --version ] && exit 0\necho deno: not found >&2; exit 127"
    )
    script(studio / "bin/quarto/bin/tools/pandoc", "#!/bin/sh\necho '<p>word</p>'")
    (studio / "bin/pandoc").mkdir()
    (studio / "bin/pandoc/pandoc").symlink_to("/nonexistent/pandoc")
    tools, quarto = studio / "bin/quarto/bin/tools", studio / "bin/quarto/bin/quarto"
    assert failing(check(place, studio)) == {
        "quarto": f"{quarto}: --version prints ''",
        "quarto render": f"{quarto}: render: exit status 127: deno: not found",
        "pandoc": f"{tools}/pandoc: converts *word* to '<p>word</p>'; "
        f"{studio}/bin/pandoc/pandoc: No such file or directory",
    }


def test_tools_that_hang_or_write_nothing_are_told(place: Place, studio: Path) -> None:
    """A program ends at the limit of the check; a document that is not there is missed."""
    script(studio / "bin/quarto/bin/quarto", "#!/bin/sh\necho 1.0")
    script(studio / "bin/quarto/bin/tools/pandoc", "#!/bin/sh\nsleep 1000")
    wrong = failing(check(place, studio, "failing-help", 5))
    assert wrong["quarto render"] == f"{studio}/bin/quarto/bin/quarto: render writes no document.html"
    assert re.search(r"tools/pandoc: --from=markdown: no end after [\d.]+ s", wrong["pandoc"])


@pytest.mark.parametrize(("expected", "outcome"), [(None, "skipped"), (True, "failed"), (False, "skipped")])
def test_absent_tools_are_judged_by_the_profile(
    place: Place, studio: Path, expected: bool | None, outcome: str
) -> None:
    """Needed ones fail; otherwise there is nothing to exercise."""
    shutil.rmtree(studio / "bin/quarto")
    parameters = {} if expected is None else {"quarto": expected, "pandoc": expected}
    result = check(place, studio, "failing-help", **parameters)
    assert outcomes(result)[-3:] == [f"{name} {outcome}" for name in NAMES[-3:]]
    reason = "left out by the profile" if expected is False else "neither bundled with RStudio nor on PATH"
    assert item(result, "quarto").detail == reason


def test_tools_of_the_path_are_exercised_too(
    place: Place, studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of its own is; one that is a link to the bundled copy is the same."""
    monkeypatch.setattr(rstudio_tools, "locate", lambda name, directories, env: str(tmp_path / "path" / name))
    script(tmp_path / "path" / "pandoc", "#!/bin/sh\nexit 3")
    (tmp_path / "path" / "quarto").symlink_to(studio / "bin/quarto/bin/quarto")
    result = check(place, studio, "failing-help")
    assert item(result, "quarto").detail == f"{studio}/bin/quarto/bin/quarto 1.6.42"
    assert failing(result)["pandoc"] == f"{tmp_path}/path/pandoc: --from=markdown: exit status 3"


def test_a_log_that_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    """What runs as the user cannot have us read what is not the user's, nor wait for it."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plain").write_text("a line\n")
    names = ("link", "pipe", "plain", "none", "")
    me = os.geteuid()
    assert [end_of(str(tmp_path / name), 100, me) for name in names] == [b"", b"", b"a line\n", b"", b""]
    assert end_of(str(tmp_path / "plain"), 100, me + 1) == b""


def test_references_are_those_of_the_same_server() -> None:
    """Scripts, styles, icons, images, as a browser asks for them, each once; nothing of another server's."""
    page = (
        '<script src="js/a b.js?v=\u00fc#x"></script><script src="/js/c.js"></script><img src="js/../js/c.js">'
        '<script src="http://example.invalid/d.js"></script><script src="http://["></script><script>x</script>'
        '<img src="e.png"><link rel="stylesheet" href="f.css"><link rel="canonical" href="g"><a href="h">h</a>'
    )
    found = ["/js/a%20b.js?v=%C3%BC", "/js/c.js", "/e.png", "/f.css"]
    assert references(page, f"http://{HOST}:1/") == found


def test_permutations_are_names_of_32_capital_digits() -> None:
    """Neither longer ones nor other digests."""
    text = f"'{GECKO}' \"{WEBKIT}:1\" '{GECKO}' x{GECKO} {GECKO}0 {GECKO.lower()}"
    assert permutations(text.encode()) == [GECKO, WEBKIT]


@given(
    st.text()
    | st.lists(st.sampled_from(["<script src=", "'", '"', "http://[", "\\", "//", ":", "\0", ">"])).map("".join)
)
def test_any_page_has_references(page: str) -> None:
    """Whatever a server sends as its page, what is asked for next is a path."""
    assert all(each.startswith("/") and each.isascii() for each in references(page, f"http://{HOST}:1/"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = ("console_write_input", "console_output", "console_prompt", "plots_state_changed", "async_completion")
EVENTS = st.lists(
    JSON | st.fixed_dictionaries({"id": JSON, "type": st.sampled_from(KINDS), "data": JSON | st.just({"text": "6*7"})}),
    max_size=6,
)
FIELDS = ("result", "error", "asyncHandle")
ANSWERS = JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON | EVENTS))


class Scripted(Client):
    """A client that is answered from a list, and then by nothing."""

    answers: ClassVar[deque[Any]] = deque()

    def json(self, method: str, path: str, seconds: float, body: Any = None) -> Any:
        return self.answers.popleft() if self.answers else {}


@settings(deadline=None)
@given(st.lists(ANSWERS, max_size=5), st.sampled_from(["evaluate", "plot"]))
def test_no_answer_breaks_the_session(answers: list[Any], method: str) -> None:
    """Whatever comes in place of answers and events is a result or an error that is told."""
    Scripted.answers = deque(json.loads(json.dumps(answers)))
    session = Session(Browser(Scripted(port=1), CookieJar()), ("me", ""), "")
    try:
        found = session.plot("6*7", 0.02) if method == "plot" else session.evaluate("6*7", "42", 0.02)
        assert found is None or found.startswith("/graphics/")
    except CallError as error:
        assert str(error).isprintable()


@given(st.binary())
def test_any_bytes_are_judged_as_an_image(body: bytes) -> None:
    """Only what begins and ends as a PNG does is one."""
    assert png_fault(body) != "" or body.endswith(b"IEND\xaeB`\x82")
