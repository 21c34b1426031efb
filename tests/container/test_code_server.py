"""Kind `code-server` on a real one, with real extensions, a real browser, and faults planted in them.

SLIMAGENT_TEST_CODE_SERVER_IMAGE names an image of Debian's kind with code-server in it and an ordinary user,
SLIMAGENT_TEST_USER (jovyan if unset); `make agent` is to have been run. Chromium, and the part of code-server that is
compiled for terminals where the image lacks it, are added in an image of the test's own, which is kept for next time.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from slimagent import documents
from tests.container.conftest import AGENT, Image

pytestmark = pytest.mark.container
TAG = "slimagent-test-browser"
DOCKERFILE = """FROM {image}
USER root
RUN apt-get update && apt-get install -y --no-install-recommends chromium g++ libnode-dev \\
 && rm -rf /var/lib/apt/lists/*
RUN cd "$(find / -xdev -type d -path '*/vscode/node_modules/node-pty' | head -n 1)" \\
 && {{ test -e build/Release/pty.node || {{ mkdir -p build/Release && g++ -shared -fPIC -O1 -std=c++17 \\
 -DNAPI_CPP_EXCEPTIONS -DNODE_GYP_MODULE_NAME=pty -I/usr/include/node -I../node-addon-api src/unix/pty.cc \\
 -o build/Release/pty.node -lutil; }}; }}
"""
SAY = "require('fs').writeFileSync(require('path').join(__dirname, 'was-here'), '')"
# Name, what its manifest says beside the usual, its files.
EXTENSIONS: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
    ("eager", {"main": "./main", "activationEvents": ["*"]}, {"main.js": f"exports.activate = () => {{{SAY}}};"}),
    (
        "late",
        {"main": "./out/", "activationEvents": ["onStartupFinished"]},
        {"out/index.js": f"exports.activate = () => {{{SAY}}};"},
    ),
    (
        "asked",
        {
            "main": "./main.js",
            "activationEvents": ["onCommand:slim.asked"],
            "contributes": {"commands": [{"command": "slim.asked", "title": "x", "icon": "./icon.svg"}]},
        },
        {"main.js": f"exports.activate = () => {{{SAY}}};", "icon.svg": "<svg/>"},
    ),
)
BROKEN: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
    (
        "throws",
        {"main": "./main.js", "activationEvents": ["*"]},
        {"main.js": "exports.activate = () => { throw new Error('libblas is gone'); };"},
    ),
    ("gone", {"main": "./dist/gone.js", "activationEvents": ["onStartupFinished"]}, {}),
    (
        "needs",
        {"main": "./main.js", "activationEvents": ["*"], "extensionDependencies": ["slim.absent"]},
        {"main.js": "exports.activate = () => {};"},
    ),
    (
        "hangs",
        {"main": "./main.js", "activationEvents": ["*"]},
        {"main.js": "exports.activate = () => new Promise(() => {});"},
    ),
)
# What is left: processes of the editor or the browser, and files of theirs where temporary files are.
LEFT = "cat /proc/[0-9]*/comm | grep -E '^(node|chrom)'; ls -A /tmp | grep -E 'slimagent|vscode|hromium' || :"


def pack(folder: Path, name: str, manifest: dict[str, Any], files: dict[str, str]) -> None:
    """An extension as a .vsix, as "Publishing Extensions" in VS Code's API documentation describes it."""
    types = "".join(
        f'<Default Extension=".{each}" ContentType="text/plain"/>' for each in ("json", "vsixmanifest", "js", "svg")
    )
    about = (
        '<?xml version="1.0"?><PackageManifest Version="2.0.0" '
        'xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011"><Metadata>'
        f'<Identity Language="en-US" Id="{name}" Version="1.0.0" Publisher="slim"/><DisplayName>{name}</DisplayName>'
        '</Metadata><Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>'
        '<Dependencies/><Assets><Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" '
        'Addressable="true"/></Assets></PackageManifest>'
    )
    usual = {"name": name, "publisher": "slim", "version": "1.0.0", "engines": {"vscode": "^1.50.0"}}
    with zipfile.ZipFile(folder / f"{name}.vsix", "w") as packed:
        head = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        packed.writestr("[Content_Types].xml", f"{head}{types}</Types>")
        packed.writestr("extension.vsixmanifest", about)
        packed.writestr("extension/package.json", json.dumps({**usual, **manifest}))
        for path, content in files.items():
            packed.writestr(f"extension/{path}", content)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image with a browser, or a skip that says what is missing (under SLIMAGENT_TEST_STRICT a failure)."""
    reason = missing(tmp_path_factory.mktemp("build"))
    if reason:
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(reason)
    return Image(name=TAG, command="", user=os.environ.get("SLIMAGENT_TEST_USER", "jovyan"))


def missing(folder: Path) -> str:
    name = os.environ.get("SLIMAGENT_TEST_CODE_SERVER_IMAGE")
    if not name:
        return "SLIMAGENT_TEST_CODE_SERVER_IMAGE is not set"
    if not (AGENT / "entrypoint.sh").exists():
        return "no build/agent; run `make agent`"
    (folder / "Dockerfile").write_text(DOCKERFILE.format(image=name))
    build = ["docker", "build", "--network=host", "-t", TAG, str(folder)]
    try:
        done = subprocess.run(build, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        return "no docker"
    return "" if done.returncode == 0 else f"Chromium cannot be added to {name}: {(done.stdout + done.stderr)[-500:]}"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for profile, extensions and results that any user of a container may write."""
    tmp_path.chmod(0o777)
    return tmp_path


def checked(
    editor: Image, out: Path, before: str = "true", *, user: str = "root", parameters: str = ""
) -> tuple[dict[str, Any], str]:
    """The result of the check after a line of the shell, and what is left in the container when it ended."""
    profile = (
        f'name = "x"\ndescription = "x"\n[[check]]\nkind = "code-server"\nname = "it"\nseconds = 180\n{parameters}'
    )
    (out / "profile.toml").write_text(profile)
    whom = f"--user {editor.user}" if user == "root" else ""
    agent = f"/agent/entrypoint.sh check {whom} --profile /out/profile.toml --json > /out/result.json"
    line = f"set -e; {before}; {{ {agent}; }} || :; {LEFT}"
    done = editor.run("-c", line, user=user, mounts=(f"{AGENT}:/agent:ro", f"{out}:/out"), entrypoint="sh")
    assert (out / "result.json").exists(), done.stdout + done.stderr
    (result,) = json.loads((out / "result.json").read_text())["results"]
    return result, done.stdout


def failures(result: dict[str, Any]) -> dict[str, str]:
    return {name: detail for name, outcome, detail in result["items"] if outcome == "failed"}


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {name: outcome for name, outcome, _ in result["items"]}


def install(names: tuple[tuple[str, dict[str, Any], dict[str, str]], ...], out: Path, to: str, owner: str) -> str:
    """A line of the shell that installs extensions as the image's own command does."""
    for each in names:
        pack(out, *each)
    options = " ".join(f"--install-extension /out/{name}.vsix" for name, _, _ in names)
    return f"code-server --extensions-dir {to} {options} >/dev/null 2>&1; chown -R {owner} {to}; rm -rf /tmp/vscode*"


def test_extensions_that_start_do_so_and_nothing_is_left(editor: Image, out: Path) -> None:
    """With a page in a browser all passes; what activates on start ran, what waits for a command did not."""
    line = install(EXTENSIONS, out, "/opt/extensions", editor.user)
    line += "; trap 'ls /opt/extensions/*/ /opt/extensions/*/out > /out/listing' EXIT"
    result, left = checked(editor, out, line, parameters='extensions_dir = "/opt/extensions"')
    assert failures(result) == {}
    assert "/chromium" in {name: detail for name, _, detail in result["items"]}["extension host"]
    started = {f"activates slim.{name}" for name in ("eager", "late")} | {"activates vscode.git"}
    assert started <= outcomes(result).keys()
    assert "activates slim.asked" not in outcomes(result)
    assert {"extension slim.asked", "extension vscode.python", "terminal"} <= outcomes(result).keys()
    assert set(outcomes(result).values()) == {"passed"}
    assert (out / "listing").read_text().count("was-here") == 2
    assert left == ""


def test_planted_faults_are_found_each_by_its_name(editor: Image, out: Path) -> None:
    """Extensions that throw, hang, lack their program or another one; a worker, a font, a manifest of the editor."""
    code = "$(dirname $(find / -xdev -type d -path '*/vscode/node_modules/node-pty' | head -n 1))/.."
    line = install((*EXTENSIONS, *BROKEN), out, "/opt/extensions", editor.user)
    line += (
        f"; cd {code}; rm extensions/theme-seti/icons/seti.woff out/vs/editor/common/services/editorWebWorkerMain.js"
    )
    line += "; truncate -s 100 extensions/emmet/package.json; cd /"
    result, left = checked(editor, out, line, parameters='extensions_dir = "/opt/extensions"')
    found = failures(result)
    causes = {
        "assets": "editorWebWorkerMain.js: 404 Not Found",
        "extension emmet": "the server does not list it; package.json: not JSON",
        "extension vscode.vscode-theme-seti": "icon icons/seti.woff: 404 Not Found",
        "extension slim.gone": "main ./dist/gone.js: 404 Not Found",
        "extension slim.needs": "it requires slim.absent, which is not there",
        "extension host": "one of slim.eager, slim.hangs, vscode.git, vscode.git-base",
        "activates slim.throws": "libblas is gone",
        "activates slim.gone": "Cannot find module",
        "activates slim.needs": "it requires slim.absent",
    }
    assert set(found) == set(causes)
    assert not {name: found[name] for name, cause in causes.items() if cause not in found[name]}
    assert outcomes(result)["activates slim.eager"] == "passed"
    assert left == ""


def test_without_a_browser_the_host_is_spoken_to(editor: Image, out: Path) -> None:
    """As an ordinary user, without a home: the rest passes, and what only a page can do is skipped with the reason."""
    parameters = 'browser = "no-such-browser"'
    result, left = checked(editor, out, "export HOME=/nonexistent", user=editor.user, parameters=parameters)
    assert failures(result) == {}
    details = {name: detail for name, _, detail in result["items"]}
    assert "by the remote protocol" in details["extension host"]
    skipped = {name for name, outcome in outcomes(result).items() if outcome == "skipped"}
    assert skipped == {name for name in details if name.startswith("activates ")}
    assert {details[name] for name in skipped} == {"no browser"}
    assert left == ""


def test_the_evidence_holds_what_a_user_of_the_editor_needs(editor: Image, out: Path) -> None:
    """Traced: no loss; terminal, watcher, tokenizer and what starts in the host are in it; the browser is not."""
    (out / "profile.toml").write_text('name = "x"\ndescription = "x"\n[[check]]\nkind = "code-server"\nname = "it"\n')
    arguments = ("trace", "--user", editor.user, "--profile", "/out/profile.toml", "-o", "/out/trace.json")
    done = editor.agent(out, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    trace = documents.decode_trace((out / "trace.json").read_bytes())
    assert trace.losses == ()
    opened = {each.path for each in trace.accesses if each.found}
    for name in (b"/pty.node", b"/watcher.node", b"/onig.wasm", b"/git/dist/main.js", b"/seti.woff", b"/bin/rg"):
        assert any(path.endswith(name) for path in opened), name
    assert not [path for path in opened if path.endswith((b"/bin/chromium", b"/chromium/chromium"))]
