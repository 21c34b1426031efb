"""Kind `code-server`, with a stand-in that behaves, and with one fault planted at a time.

The real one, with real extensions and a real browser, is in tests/container/test_code_server.py.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attributions import users_of
from checks_context import IS_ROOT, NOBODY, Place, item, place
from code_server_stand_in import PREFIX
from hypothesis import given
from hypothesis import strategies as st

from slimagent import checks
from slimagent.checks.code_server import browser, host
from slimagent.checks.code_server import start as code_server_start
from slimagent.checks.code_server.extensions import Extension, Known, discover, listed_by_command
from slimagent.checks.code_server.log import read_log
from slimagent.checks.code_server.manifest import (
    ManifestError,
    chat_extensions,
    inside,
    nested,
    programs,
    read_manifest,
)
from slimagent.checks.code_server.page import icons, named_files, read_page
from slimagent.checks.code_server.remote import REGULAR, Frames, RemoteError, decode, encode, frame
from slimagent.checks.directory import start_of
from slimagent.checks.loopback import HOST
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place"]  # a fixture

STAND_IN = str(Path(__file__).parents[1] / "support/code_server_stand_in.py")
STATIC = f"{PREFIX[1:]}/static"
MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
FIRST = ["start", "page", "assets", "list-extensions", "connection"]
LAST = ["search", "watcher", "terminal", "extension host"]
PAGE = f"""<!DOCTYPE html><html><head>
<link rel="apple-touch-icon" href="./{STATIC}/icon.png"><link rel="manifest" href="{STATIC}/manifest.json">
<link rel="stylesheet" href="{STATIC}/out/workbench.css"><link rel="alternate" href="/nowhere">
<meta id="vscode-workbench-web-configuration" data-settings="{{&quot;webviewEndpoint&quot;:&quot;{STATIC}/pre&quot;}}">
</head><script type="module" src="{STATIC}/out/vs/code/browser/workbench/workbench.js"></script></html>"""
WORKBENCH = (
    'w("vs/editor/editorMain.js");u("vscode-textmate","release/main.js");u("@xterm/addon-image","lib/a.js");"vs/x.js"'
)
MANIFEST: dict[str, Any] = {
    "name": "theme",
    "publisher": "Acme",
    "engines": {"vscode": "^1.50.0"},
    "main": "./out/main",
    "icon": "icon.png",
    "displayName": "%name%",
    "activationEvents": ["*"],
    "contributes": {
        "themes": [{"path": "./themes/dark.json"}],
        "iconThemes": {"path": "not a list"},
        "commands": [{"command": "x", "icon": "$(add)"}, {"command": "y", "icon": {"light": "light.svg"}}],
        "jsonValidation": [{"url": "https://example.invalid/x.json"}, {"url": "./schema.json"}],
        "walkthroughs": [{"steps": [{"media": {"image": "step.png", "altText": "a step"}}]}],
    },
}
THEME_FILES = {
    "out/main.js": "0",
    "icon.png": "0",
    "package.nls.json": "{}",
    "themes/dark.json": '// a theme\n{"include": "./base.json"}',
    "themes/base.json": "{}",
    "light.svg": "0",
    "schema.json": "{}",
    "step.png": "0",
}


def write(top: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content)


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """The directory of a stand-in, with one built-in extension and one installed beside it, in `installed`."""
    root = tmp_path / "editor"
    files = {
        "page.html": PAGE,
        "icon.png": "0",
        "manifest.json": json.dumps({"icons": [{"src": "icon.png"}, {"src": "./icon-512.png"}]}),
        "icon-512.png": "0",
        "pre/index.html": "0",
        "out/workbench.css": "0",
        "out/vs/code/browser/workbench/workbench.js": WORKBENCH,
        "out/vs/editor/editorMain.js": "0",
        "node_modules/vscode-textmate/release/main.js": "0",
        "node_modules/@xterm/addon-image/lib/a.js": "0",
        "extensions/node_modules/x.js": "0",
    }
    write(root, files)
    write(root / "extensions" / "git", {"package.json": plain("git", "vscode")})
    write(root / "installed" / "acme.theme-1.0.0", {"package.json": json.dumps(MANIFEST), **THEME_FILES})
    listed = [{"identifier": {"id": "acme.theme"}, "relativeLocation": "acme.theme-1.0.0"}]
    write(root / "installed", {"extensions.json": json.dumps(listed)})
    rg = root / "node_modules/@vscode/ripgrep/bin/rg"
    write(rg.parent, {"rg": '#!/bin/sh\nfor last; do :; done; exec grep -rl needle "$last"\n'})
    rg.chmod(0o755)
    return root


def plain(name: str, publisher: str) -> str:
    return json.dumps({"name": name, "publisher": publisher, "engines": {"vscode": "*"}})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home in which an editor has its usual places; afterwards nothing new is in it."""
    directory = tmp_path / "home of the user"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield directory
    assert os.listdir(directory) == []


def check(
    place: Place,
    editor: Path,
    fault: str = "",
    *,
    seconds: float = 60,
    before: CheckResult | None = None,
    **parameters: Parameter,
) -> CheckResult:
    """Check a stand-in with one fault; without a browser, unless one is given."""
    given: dict[str, Parameter] = {"command": (sys.executable, STAND_IN), "browser": "no-such-browser"}
    given |= {"extensions_dir": str(editor / "installed"), **parameters}
    spec = CheckSpec(kind="code-server", name="it", seconds=seconds, parameters=given)
    context = place.context(STAND_IN_ROOT=str(editor), STAND_IN_FAULT=fault)
    return checks.run(spec, replace(context, before=before))


def outcomes(result: CheckResult) -> dict[str, str]:
    return {each.name: each.outcome.value for each in result.items}


def failures(result: CheckResult) -> dict[str, str]:
    return {each.name: each.detail for each in result.items if each.outcome is Outcome.FAILED}


def test_a_healthy_editor_passes_item_by_item(place: Place, editor: Path) -> None:
    """Everything passes but what only a page in a browser can do, and that is skipped with this reason."""
    result = check(place, editor)
    names = [*FIRST, "extension vscode.git", "extension acme.theme", *LAST]
    assert outcomes(result) == {**dict.fromkeys(names, "passed"), "activates acme.theme": "skipped"}
    assert item(result, "activates acme.theme").detail == "no browser"
    assert "by the remote protocol; no browser" in item(result, "extension host").detail
    assert item(result, "list-extensions").detail == "acme.theme"


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_what_the_image_must_keep_is_in_the_evidence(place: Place, editor: Path) -> None:
    """Watched, it passes with no loss, and the server itself opened what a manifest names, and what that names."""
    env = {**place.env, "STAND_IN_ROOT": str(editor)}
    parameters: dict[str, Parameter] = {
        "command": (sys.executable, STAND_IN),
        "extensions_dir": str(editor / "installed"),
        "browser": "no-such-browser",
    }
    with Seccomp() as watcher:
        watcher.step("it")
        context = checks.Context(spawn=watcher.spawn, test=watcher.test, env=env, user=None, cwd="/")
        spec = CheckSpec(kind="code-server", name="it", seconds=180, parameters=parameters)
        result = checks.run(spec, context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    for name in THEME_FILES:
        assert os.fsencode(editor / "installed/acme.theme-1.0.0" / name) in observed.accesses
        assert users_of(observed, editor / "installed/acme.theme-1.0.0" / name) == {"extension acme.theme"}


def test_deleted_files_are_named(place: Place, editor: Path) -> None:
    """A file that the page, its program or an extension needs fails its item alone, by its name."""
    assets = ("out/workbench.css", "icon-512.png", "pre/index.html", "out/vs/editor/editorMain.js")
    assets += ("node_modules/vscode-textmate/release/main.js",)
    files = {
        "out/main.js": "main ./out/main: 404 Not Found",
        "themes/base.json": "theme themes/base.json: 404 Not Found",
        "package.nls.json": "texts package.nls.json: 404 Not Found",
        "step.png": "walkthrough step.png: 404 Not Found",
        "icon.png": "icon icon.png: 404 Not Found",
        "light.svg": "command icon light.svg: 404 Not Found",
    }
    for path in (*assets, *(f"installed/acme.theme-1.0.0/{each}" for each in files)):
        (editor / path).unlink()
    found = failures(check(place, editor))
    assert set(found) == {"assets", "extension acme.theme"}
    assert all(f"GET /{STATIC}/{each}: 404 Not Found" in found["assets"] for each in assets)
    assert sum(each in found["extension acme.theme"] for each in files.values()) == 5
    assert found["extension acme.theme"].endswith(" and 1 more")


def test_a_page_that_is_gone_is_told(place: Place, editor: Path) -> None:
    """Without the page there is nothing else to ask for, and what was not asked for is skipped."""
    (editor / "page.html").unlink()
    result = check(place, editor)
    assert list(failures(result)) == ["page"]
    assert {each.detail for each in result.items if each.outcome is Outcome.SKIPPED} == {"no page"}


def test_a_damaged_manifest_fails_under_the_name_it_had(place: Place, editor: Path) -> None:
    """A manifest cut short fails the item of the full image, whether its name is in what is left or not."""
    before = check(place, editor)
    for size in (60, 1):
        file = editor / "extensions/git/package.json"
        file.write_text(plain("git", "vscode")[:size])
        found = failures(check(place, editor, before=before))
        assert list(found) == ["extension vscode.git"]
        assert "the server does not list it; package.json: not JSON" in found["extension vscode.git"]
    assert "extension git" in failures(check(place, editor))


def test_names_of_any_bytes_do_no_harm(place: Place, editor: Path) -> None:
    """A directory name that is not text, and a manifest with a lone surrogate and a line break, are still reported."""
    directory = os.fsencode(editor / "extensions") + b"/od\xffd"
    os.mkdir(directory)
    (editor / "extensions" / os.fsdecode(directory) / "package.json").write_text("{")
    manifest = {**MANIFEST, "icon": "\ud800.png", "main": "a\nb.js"}
    (editor / "installed/acme.theme-1.0.0/package.json").write_text(json.dumps(manifest))
    found = failures(check(place, editor))
    assert set(found) == {"extension od d", "extension acme.theme"}
    detail = "main a b.js: 404 Not Found; icon .png: not a valid file name"
    assert found["extension acme.theme"] == detail
    json.dumps(found).encode("ascii")


def test_what_the_full_image_had_is_missed(place: Place, editor: Path) -> None:
    """An extension that nobody names now, and a file that not every edition has, fail if they were there before.

    Without that run nobody can know. A file of which nothing is left is as good as gone.
    """
    before = check(place, editor)
    (editor / "extensions/git/package.json").unlink()
    (editor / "node_modules/@xterm/addon-image/lib/a.js").write_text("")
    found = failures(check(place, editor, before=before))
    assert found.pop("assets") == f"GET /{STATIC}/node_modules/@xterm/addon-image/lib/a.js: empty"
    assert found == {"extension vscode.git": "vscode.git is gone, and the server does not list it"}
    assert failures(check(place, editor)) == {}


def test_a_dependency_that_is_not_there_is_named(place: Place, editor: Path) -> None:
    """An extension that requires another one, which nobody installed, fails and says so."""
    manifest = {**MANIFEST, "extensionDependencies": ["vscode.git", "Acme.Absent"]}
    (editor / "installed/acme.theme-1.0.0/package.json").write_text(json.dumps(manifest))
    detail = "it requires acme.absent, which is not there"
    assert failures(check(place, editor)) == {"extension acme.theme": detail}


@pytest.mark.parametrize(
    ("fault", "failed", "cause"),
    [
        ("mute", "connection", "no answer in time"),
        ("refuses", "connection", "refused: Client refused: version mismatch"),
        ("garbage", "connection", "scanExtensions: a message that is cut short"),
        ("no terminal", "terminal", "no answer: Cannot find module 'pty.node'"),
        ("broken shell", "terminal", "'echo in-$((40+2))' wrote 'sh: not found': no answer in time"),
        ("blind", "watcher", "no answer in time"),
        ("no host", "extension host", "no answer in time (by the remote protocol; no browser)"),
        ("hangs", "page", "GET /: no answer in time"),
        ("cannot list", "list-extensions", "--list-extensions: exit status 1: ENOENT"),
    ],
)
def test_a_fault_of_the_server_is_told(
    place: Place, editor: Path, monkeypatch: pytest.MonkeyPatch, fault: str, failed: str, cause: str
) -> None:
    """A hang, a refusal and nonsense fail what was asked for, with the cause, and never the check itself."""
    for module, name in (("", "_ANSWER"), ("", "_TERMINAL"), ("", "_WATCHER"), (".host", "_HOST")):
        monkeypatch.setattr(f"slimagent.checks.code_server{module}.{name}", 2.0)
    found = failures(check(place, editor, fault))
    assert cause in found[failed]
    assert not any("the check itself" in each for each in found.values())


RIPGREPS = ("ripgrep/bin/rg", f"ripgrep-universal/bin/linux-{MACHINE}/rg")  # until VS Code 1.121, and since


@pytest.mark.parametrize("name", RIPGREPS)
def test_a_broken_search_is_told(place: Place, editor: Path, name: str) -> None:
    """A ripgrep that cannot run fails the search with its words; none for this machine is nothing to exercise."""
    rg = editor / "node_modules/@vscode" / name
    other = editor / "node_modules/@vscode/ripgrep-universal/bin/darwin-x64/rg"
    write(other.parent, {"rg": "of another machine"})
    if name != RIPGREPS[0]:
        rg.parent.mkdir(parents=True)
        (editor / "node_modules/@vscode" / RIPGREPS[0]).rename(rg)
    assert outcomes(check(place, editor))["search"] == "passed"
    rg.write_text("#!/bin/sh\necho rg: error while loading shared libraries: libc.so.6 >&2; exit 127\n")
    found = failures(check(place, editor))
    assert found["search"].endswith("exit status 127: rg: error while loading shared libraries: libc.so.6")
    rg.chmod(0o644)
    assert failures(check(place, editor))["search"].endswith("rg: Permission denied")
    rg.unlink()
    gone = item(check(place, editor), "search")
    assert (gone.outcome, gone.detail) == (Outcome.SKIPPED, "the editor has no ripgrep for this machine")


def test_what_the_profile_leaves_out_is_skipped(place: Place, editor: Path) -> None:
    """Extensions and items by their names, in any case of letters."""
    (editor / "installed/acme.theme-1.0.0/out/main.js").unlink()
    skip = ("Acme.Theme", "terminal", "watcher", "search")
    result = check(place, editor, "no terminal", skip=skip)
    left_out = {each.name for each in result.items if each.detail == "left out by the profile"}
    assert (failures(result), left_out) == ({}, {"extension acme.theme", "terminal", "watcher", "search"})


def test_a_server_that_ends_fails_the_start(place: Place, editor: Path) -> None:
    """Its status and its last words are the detail; what could not be tried is skipped."""
    result = check(place, editor, "ends")
    assert result.detail == "the server ended: exit status 1\nError: Cannot find module 'argon2'"
    assert outcomes(result)["start"] == "failed"
    assert set(outcomes(result).values()) == {"failed", "skipped"}


def test_a_port_in_use_fails_the_start(place: Place, editor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot have its port says so itself, and nobody else's answer is taken for its own."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        monkeypatch.setattr("slimagent.checks.code_server.free_port", lambda: other.getsockname()[1])
        result = check(place, editor)
    assert item(result, "start").detail == "the server ended: exit status 1"
    assert "Address already in use" in result.detail


def test_no_code_server_is_skipped(place: Place, tmp_path: Path) -> None:
    """Where it is not installed there is nothing to exercise."""
    result = place.check("code-server", path=str(tmp_path))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "code-server is not on PATH")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("echo no display >&2; exit 3", "the browser ended: exit status 3: no display"),
        ("sleep 1000", "the browser did not start in time"),
        (
            'mkdir -p "$directory"; mkfifo "$directory/DevToolsActivePort"; sleep 1000',
            "the browser did not start in time",
        ),
        (
            'mkdir -p "$directory"; printf "1\\n/devtools/x" > "$directory/DevToolsActivePort"; sleep 1000',
            "does not answer",
        ),
    ],
)
def test_a_browser_that_does_not_start_is_no_fault_of_the_image(
    place: Place, editor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, cause: str
) -> None:
    """Then the host is spoken to without one, and what needs one is skipped with what became of it."""
    monkeypatch.setattr("slimagent.checks.code_server.host._BROWSER", 2.0)
    program = tmp_path / "chromium"
    find = "for each; do case $each in --user-data-dir=*) directory=${each#*=};; esac; done\n"
    program.write_text(f"#!/bin/sh\n{find}sleep 1000 &\n{line}\n")
    program.chmod(0o755)
    result = check(place, editor, browser=str(program))
    assert outcomes(result)["extension host"] == "passed"
    assert cause in item(result, "activates acme.theme").detail
    assert item(result, "activates acme.theme").outcome is Outcome.SKIPPED


def test_a_browser_is_looked_for_on_both_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its usual names or the one given, first where the image looks for programs, then where we do."""
    for directory in ("image", "ours"):
        write(tmp_path / directory, {"chromium": "", "other": ""})
        (tmp_path / directory / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "ours"))
    image = {"PATH": str(tmp_path / "image")}
    assert browser.find("", image) == str(tmp_path / "image/chromium")
    assert browser.find("", {"PATH": "/nonexistent"}) == str(tmp_path / "ours/chromium")
    assert browser.find("other", image) is None


def test_extensions_are_looked_for_where_the_image_has_them(place: Place, tmp_path: Path) -> None:
    """The parameter, the variable of the proxy, the configuration, the usual directory, or a temporary one."""
    number = iter(range(9))

    def found(extensions: str = "", **env: str) -> str:
        directory = tmp_path / str(next(number))
        directory.mkdir()
        context = place.context(HOME=str(tmp_path / "home"), **env)
        context = replace(context, env={name: value for name, value in context.env.items() if "XDG" not in name})
        return code_server_start.prepare(("x",), str(directory), context, extensions).extensions

    assert found() == str(tmp_path / "0/extensions")
    usual = tmp_path / "home/.local/share/code-server/extensions"
    usual.mkdir(parents=True)
    assert found() == str(usual)
    write(tmp_path / "home/.config/code-server", {"config.yaml": "auth: none\nextensions-dir: '/opt/x'\n"})
    assert found() == "/opt/x"
    assert found(CODE_EXTENSIONSDIR="/opt/share") == "/opt/share"
    assert found("/given", CODE_EXTENSIONSDIR="/opt/share") == "/given"


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_as_another_user_every_directory_is_that_users(place: Place, tmp_path: Path) -> None:
    """What is made for a server is its user's own, and nothing that leads it elsewhere is in its environment."""
    made = code_server_start.prepare(
        ("x",), str(tmp_path), place.context(NOBODY, PORT="1", VSCODE_IPC_HOOK_CLI="x"), ""
    )
    assert {os.stat(each).st_uid for each in (made.data, made.workspace, f"{made.data}/User/settings.json")} == {65534}
    assert not {"PORT", "VSCODE_IPC_HOOK_CLI"} & set(made.env)
    assert made.argv(8080)[-1] == "--bind-addr=127.0.0.1:8080"


def test_a_manifest_names_its_files() -> None:
    """Program, dependencies and the files of every kind of contribution; no URL, icon by name or text."""
    manifest = read_manifest(b"\xef\xbb\xbf" + json.dumps(MANIFEST).encode())
    assert (manifest.identity, manifest.main, manifest.on_start) == ("acme.theme", "./out/main", True)
    assert {path for _, path in manifest.files} == set(THEME_FILES) - {"out/main.js", "themes/base.json"}


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"publisher": "x", "engines": {"vscode": "*"}}', "no name"),
        (b'{"name": "x", "publisher": 3}', "no publisher"),
        (b'{"name": "x", "publisher": "x", "engines": "*"}', "no engines.vscode"),
    ],
)
def test_what_is_no_manifest_is_said(data: bytes, cause: str) -> None:
    """A package.json that is damaged, or not an extension's."""
    with pytest.raises(ManifestError, match=cause):
        read_manifest(data)


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    st.dictionaries(st.sampled_from(("themes", "commands", "views", "walkthroughs", "icons", "grammars")), JSON), JSON
)
def test_any_contribution_is_read(contributes: Any, anything: Any) -> None:
    """Whatever stands where a contribution is expected, the files named are inside of the extension."""
    fields = ("main", "activationEvents", "extensionDependencies", "icon", "browser")
    manifest = {**MANIFEST, **dict.fromkeys(fields, anything), "contributes": contributes}
    for _, path in read_manifest(json.dumps(manifest).encode()).files:
        assert path
        assert not path.startswith(("/", "../"))


def test_programs_are_looked_for_as_node_does() -> None:
    """A path with an extension is used as it is; else extensions are tried, then a directory's index, then the path."""
    assert programs("./out/main.js") == ["out/main.js"]
    assert programs("out") == ["out.js", "out.cjs", "out.json", "out.node", "out/index.js", "out"]
    assert programs("./out/") == ["out/index.js", "out"]
    assert programs("../../etc/passwd") == []


def test_paths_stay_inside() -> None:
    """A path is the extension's own, whatever it begins with, or none."""
    assert [inside(each) for each in ("./a/../b.json", "/b.json", "../b.json", ".", "a\0b")] == [
        "b.json",
        "b.json",
        *[""] * 3,
    ]
    assert inside("../c.svg", "icons/dark") == "icons/c.svg"


def test_themes_name_files_in_turn() -> None:
    """A theme names another one, an icon theme its fonts and icons; a comment names nothing."""
    theme = b'// "include": "./no.json"\n{"include": "./base.json", "tokenColors": [{"name": "x"}]}'
    assert nested("theme", "themes/dark.json", theme) == [("theme", "themes/base.json")]
    assert nested("icon theme", "i/i.json", b'{"path": "../x.woff", "iconPath": "a.svg"}') == [
        ("icon", "x.woff"),
        ("icon", "i/a.svg"),
    ]
    assert nested("grammar", "g.json", theme) == []


VALUES = st.recursive(
    st.none() | st.text() | st.integers(0, 2**31 - 1) | st.dictionaries(st.text(), st.integers()),
    lambda inner: st.lists(inner, max_size=4),
)


@given(st.lists(VALUES, max_size=4))
def test_values_come_back_as_they_were_sent(values: list[Any]) -> None:
    """What is encoded is decoded to the same."""
    assert decode(b"".join(map(encode, values))) == values


@given(VALUES, st.data())
def test_a_message_that_is_cut_is_an_error_or_shorter(value: Any, data: st.DataObject) -> None:
    """No cut and no other byte makes the reader fail in any other way."""
    whole = bytearray(encode([value, "end"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(RemoteError):
        decode(bytes(whole[: max(1, at)]))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(whole))
    except RemoteError as error:
        assert str(error)


@pytest.mark.parametrize(
    "data", [b"\x04\xff\xff\xff\xff\x0f", b"\x07", b"\x04\x01" * 50, b"\x05\x01{", b"\x01\xff", b"\x06" + b"\xff" * 9]
)
def test_hostile_messages_are_refused(data: bytes) -> None:
    """A list without end, an unknown type, one that is too deep, broken JSON, a text or a number cut short."""
    with pytest.raises(RemoteError):
        decode(data)


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 20))
def test_frames_come_in_any_pieces(bodies: list[bytes], size: int) -> None:
    """However the bytes are cut, the same frames come out, and none before it is whole."""
    stream = b"".join(frame(REGULAR, body, number=at) for at, body in enumerate(bodies))
    frames, found = Frames(), []
    for at in range(0, len(stream), size):
        frames.feed(stream[at : at + size])
        while (got := frames.next()) is not None:
            found.append(got)
    assert found == [(REGULAR, at, body) for at, body in enumerate(bodies)]


def test_a_frame_without_measure_is_refused() -> None:
    """A header that announces gigabytes is an error, and nobody waits for them."""
    frames = Frames()
    frames.feed(b"\x01" + b"\0" * 8 + b"\xff" * 4)
    with pytest.raises(RemoteError, match="a message of 4294967295 bytes"):
        frames.next()


ACTIVATES = "[info] ExtensionService#_doActivateExtension"
LOG = f"""2026-01-01 00:00:00.000 [info] Extension host with pid 204 started
2026-01-01 00:00:00.000 [error] Error: Cannot find module './build/Release/watchdog'
Require stack:
2026-01-01 00:00:00.000 {ACTIVATES} vscode.git-base, startup: true, activationEvent: '*', root cause: vscode.git
2026-01-01 00:00:00.000 {ACTIVATES} Acme.Gone, startup: true, activationEvent: '*'
2026-01-01 00:00:00.000 [error] Activating extension Acme.Gone failed due to an error:
2026-01-01 00:00:00.000 [error] Error: Cannot find module '/x/dist/gone.js'
Require stack:
2026-01-01 00:00:00.000 [error] Activating extension 'acme.old' failed: its own words.
2026-01-01 00:00:00.000 [info] Eager extensions activated
2026-01-01 00:00:00.000 {ACTIVATES} acme.late, startup: false, activationEvent: 'onStartupFinished'
"""


def test_a_log_tells_what_was_activated_and_what_failed() -> None:
    """Both ways in which a cause is written are read; stacks and other errors are passed over."""
    log = read_log(LOG)
    assert (log.started, log.eager, log.activated) == (True, True, {"vscode.git-base", "acme.gone", "acme.late"})
    assert log.at_once == {"vscode.git-base", "acme.gone"}
    assert log.failed == {"acme.gone": "Error: Cannot find module '/x/dist/gone.js'", "acme.old": "its own words."}
    assert not read_log("").started
    for at in range(len(LOG)):  # cut anywhere, it tells nothing else
        assert read_log(LOG[:at]).activated <= log.activated


def test_chat_that_nobody_set_up_is_not_missed() -> None:
    """The page hands the extension of its chat to the host only later; if it does so, it is judged as any other."""
    chat = chat_extensions(b'{"defaultChatAgent": {"extensionId": "Acme.Old", "chatExtensionId": "Acme.Gone"}}')
    assert chat == {"acme.old", "acme.gone"}
    nothing = LOG.splitlines()[0] + "\n"
    for log, named, outcome in (
        (nothing, chat, Outcome.SKIPPED),
        (nothing, frozenset[str](), Outcome.FAILED),
        (LOG, chat, Outcome.FAILED),
        ("", chat, Outcome.FAILED),
        (LOG.replace("failed due", "x"), chat, Outcome.PASSED),
    ):
        assert host._activation(known("acme.gone"), read_log(log), named).outcome is outcome


def known(identity: str) -> Known:
    extension = Extension(identity=identity, directory="/x", built_in=True, listed=True)
    good = Item(name=f"extension {identity}", outcome=Outcome.PASSED)
    return Known(item=good, extension=extension, manifest=read_manifest(plain("gone", "acme").encode()))


@given(st.binary() | st.recursive(JSON, lambda x: st.dictionaries(st.just("defaultChatAgent"), x)).map(as_json))
def test_any_product_is_read(product: bytes) -> None:
    """Whatever stands in an editor's product.json."""
    assert all(isinstance(each, str) for each in chat_extensions(product))


def test_a_page_that_is_not_the_editors_is_none() -> None:
    """Without its configuration or its directory a page is somebody else's; damaged configuration names nothing."""
    assert read_page("<html>login</html>", "http://h/") is None
    assert read_page(f"<p>{STATIC}/x</p>", "http://h/") is None
    page = read_page(f'<meta id="vscode-workbench-web-configuration" data-settings="{{"><i>{STATIC}/x</i>', "http://h/")
    assert page is not None
    assert (page.prefix, page.references, page.program) == (PREFIX[1:], (), "")


@given(st.text(), JSON)
def test_any_page_and_manifest_is_read(page: str, manifest: object) -> None:
    """Whatever a server sends as its page, its program or its manifest."""
    settings = json.dumps(manifest).replace('"', "&quot;")
    read_page(f'{page}<meta id="vscode-workbench-web-configuration" data-settings="{settings}">{STATIC}/', "http://h/")
    assert all(isinstance(each, str) for each in icons({"icons": manifest}))
    named_files(page)


@given(JSON)
def test_any_answer_to_a_scan_is_read(answer: Any) -> None:
    """Whatever a server lists as its extensions, and whatever stands in a list on the disk."""
    odd = [answer, {"identifier": {"value": "a.b"}, "extensionLocation": answer}, {"identifier": answer}]
    assert discover(odd, "/nonexistent", "/nonexistent\0") == []
    assert discover(answer, "/nonexistent", "/nonexistent") == []


def test_identities_are_told_from_other_lines() -> None:
    """The command line writes its log among the list."""
    lines = ["[2026-11-23T16:05:17.107Z] info  Wrote default config file", " Acme.Theme@1.0.0", "x@y.z", "a.b@1 c"]
    assert listed_by_command(lines) == {"acme.theme"}


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """No link is followed, and nothing that could be waited for is opened."""
    (tmp_path / "file").write_text("12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    assert [start_of(str(tmp_path / name), 3) for name in ("file", "link", "fifo", ".", "gone", "\0")] == [
        "123",
        *[""] * 5,
    ]
