"""A stand-in for RStudio Server, which no package registry has: rserver and rsession in one program, by its name.

It is strict where the real one is, as its sources tell and as the real rserver of August 2026 was seen to be: options,
environment, cookies, tokens, client and version. A session evaluates with the real R if there is one, else it does
arithmetic. STAND_IN_FAULT names what goes wrong, in words. For what the real one takes from the machine: STAND_IN_HOME
is the home in the password database, STAND_IN_FIXED the directory that old versions have in /tmp whatever they are
told, STAND_IN_NOTES a file to which each rsession adds its environment, and UID_MIN of /etc/login.defs is 1000.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import http.cookies
import http.server
import itertools
import json
import os
import pwd
import queue
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FAULTS = set(os.environ.get("STAND_IN_FAULT", "").split())
HOME = Path(os.environ.get("STAND_IN_HOME", "/nonexistent"))
UID_MIN = 1000
OPTIONS = {
    "verify-installation": "0",
    "server-daemonize": "0",
    "server-user": "rstudio-server",
    "secure-cookie-key-file": "",
    "server-pid-file": "/var/run/rstudio-server.pid",
    "server-data-dir": "/var/run/rstudio-server",
    "www-address": "0.0.0.0",  # noqa: S104 - as the real one
    "www-port": "8787",
    "www-verify-user-agent": "1",
    "www-frame-origin": "none",
    "www-root-path": "/",
    "database-config-file": "",
    "auth-none": "0",
    "auth-minimum-user-id": "auto",
    "rsession-path": "rsession",
    "rsession-proxy-max-wait-secs": "1",  # the real ones wait 10 or 30 seconds
}
NEW = ("server-data-dir", "server-pid-file", "www-root-path", "database-config-file", "www-frame-origin")
# What rserver hands on to rsession (core::system::xdg, core::log); all else it builds anew or leaves out.
HANDED_ON = ("RSTUDIO_CONFIG_HOME", "RSTUDIO_CONFIG_DIR", "RSTUDIO_DATA_HOME", "RSTUDIO_DATA_DIR", "XDG_CONFIG_HOME")
HANDED_ON += ("XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_DATA_DIRS", "RS_LOGGER_TYPE", "PATH", "MANPATH", "LANG")
OURS = ("STAND_IN_", "SLIMAGENT_TEST_")  # the tests' own, by which they control us and find what is left of us
TOKEN = {True: ("csrf-token", "X-CSRF-Token"), False: ("rs-csrf-token", "X-RS-CSRF-Token")}["old" in FAULTS]
VERSION = "5a3f7e0"
EVENTS_HELD = 50


def png() -> bytes:
    """One white pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    size = (1).to_bytes(4, "big") * 2
    data = zlib.compress(b"\0\xff\xff\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x02\0\0\0") + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Handler(http.server.BaseHTTPRequestHandler):
    """What both programs answer with."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def send(self, body: bytes, kind: str = "text/html", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, value: object) -> None:
        self.send(json.dumps(value).encode(), "application/json")

    def send_error_code(self, code: int, message: str, inner: object = None) -> None:
        told = f"jsonrpc error {code} ({message})"
        self.send_json({"error": {"code": code, "message": message if "old" in FAULTS else told, "error": inner}})

    def cookie(self, name: str) -> str:
        found = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return found.value if found else ""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))


# ---- rserver


class Rserver(Handler):
    """Signs in, serves files, has sessions started, and passes calls on to them."""

    options: dict[str, str]
    www: Path
    session: subprocess.Popen[bytes] | None = None

    def signed_in(self) -> bool:
        user = os.environ["USER"]
        return "old" in FAULTS or (self.cookie("user-id").split("|")[0] == user and bool(self.cookie("user-list-id")))

    def redirect(self, path: str, *cookies: str) -> None:
        """To an absolute URL, below the path that a proxy is taken to serve us at."""
        prefix = self.options["www-root-path"].rstrip("/")
        self.send_response(302)
        for cookie in cookies:
            self.send_header("Set-Cookie", f"{cookie}; path=/; HttpOnly")
        self.send_header("Location", f"http://{self.headers['Host']}{prefix}{path}")
        self.end_headers()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/auth-sign-in":
            token = f"={self.cookie(TOKEN[0]) or uuid.uuid4()}"
            known = (
                f"user-id={os.environ['USER']}|Fri%2C%2001%20Jan%202100%2000%3A00%3A00%20GMT|c2lnbmVk",
                f"user-list-id={uuid.uuid4()}",
            )
            self.redirect("/", *known, "persist-auth=0", f"rs-csrf-token{token}", f"csrf-token{token}")
        elif path == "/" and not self.signed_in():
            gone = (
                f"{each}=; expires=Thu, 01 Jan 1970 00:00:00 GMT"
                for each in ("user-id", "user-list-id", "persist-auth")
            )
            self.redirect("/auth-sign-in?appUri=%2F", *gone)
        elif path.startswith("/graphics/"):
            self.proxy(b"") if self.signed_in() else self.send(b"Unauthorized", status=401)
        elif self.options["www-verify-user-agent"] == "1" and "Firefox" not in self.headers.get("User-Agent", ""):
            self.redirect("/unsupported_browser.htm")
        else:
            file = self.www / (path.lstrip("/") or "index.htm")
            self.send(file.read_bytes()) if file.is_file() else self.send(b"not found", status=404)

    def do_POST(self) -> None:
        body = self.body()
        if not self.signed_in():
            self.send_error_code(3, "Client unauthorized")
        elif self.path == "/rpc/client_init" and self.misbehave():
            pass
        else:
            self.proxy(body)

    def misbehave(self) -> bool:
        if "hanging-init" in FAULTS:
            time.sleep(1000)
        if "http-500" in FAULTS:
            self.send(b"", status=500)
        elif "json-error" in FAULTS:
            self.send_error_code(100, "Error occurred while executing method", {"message": "No such file or directory"})
        elif "string-error" in FAULTS:
            self.send_json({"error": "no"})
        elif "deep" in FAULTS:
            self.send(b"[" * 200_000, "application/json")
        elif "list" in FAULTS:
            self.send_json([1] * 1_000_000)
        elif "nothing" in FAULTS:
            self.send_json({"result": {"clientId": 7}})
        else:
            return False
        return True

    def stream(self) -> Path:
        return Path(self.options["server-data-dir"]) / f"{os.environ['USER']}-d"

    def launch(self) -> None:
        rsession = Path(sys.argv[0]).resolve().parent / self.options["rsession-path"]
        child = [str(rsession), str(self.stream())]
        if "daemon" in FAULTS:  # leaves its parents and their session
            child = ["/bin/sh", "-c", 'setsid "$@" & exit 0', "sh", *child]
        with contextlib.suppress(OSError):
            Rserver.session = subprocess.Popen(child, start_new_session=True, env=self.environment(), cwd="/")

    def environment(self) -> dict[str, str]:
        """That of an rsession: built from nothing, with the home of the password database (PosixSystem.cpp)."""
        minimum = self.options["auth-minimum-user-id"]
        given = {each: value for each, value in os.environ.items() if each in HANDED_ON or each.startswith(OURS)}
        user = os.environ["USER"]
        return {
            **given,
            "USER": user,
            "LOGNAME": user,
            "HOME": str(HOME),
            "SHELL": "/bin/sh",
            "R_HOME": "/usr/lib/R",
            "RSTUDIO_MINIMUM_USER_ID": str(UID_MIN) if minimum == "auto" else minimum,
            "RS_SESSION_TMP_DIR": os.path.join(self.options["server-data-dir"], "rstudio-rsession"),
        }

    def proxy(self, body: bytes) -> None:
        """Pass a request on, to an rsession that is launched for some of them if there is none.

        Until 2026.07 one launch for each request whose wait failed; since 2026.08 one each second while it is dead.
        """
        deadline = time.monotonic() + float(self.options["rsession-proxy-max-wait-secs"])
        launched = 0.0
        launching = self.path == "/rpc/client_init" or self.path.startswith("/graphics/")
        while not self.stream().exists():
            dead = Rserver.session is None or ("old" not in FAULTS and Rserver.session.poll() is not None)
            if dead and "daemon" in FAULTS and launched:
                dead = False  # it left us, and is on its way
            if launching and dead and time.monotonic() - launched >= 1:
                launched = time.monotonic()
                self.launch()
            if time.monotonic() > deadline:
                Rserver.session = None
                self.send_error_code(1, "Unable to connect to service")
                return
            time.sleep(0.02)
        self.pass_on(body)

    def pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(self.stream().name)  # from the working folder: the names of sockets are short
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            self.send(answer.read(), answer.headers["Content-Type"], answer.status)
        except (OSError, http.client.HTTPException):
            self.send_error_code(2, "Service currently unavailable")
        finally:
            connection.close()


def complain(what: str) -> int:
    """The log goes to syslog, unless the environment says otherwise."""
    if os.environ.get("RS_LOGGER_TYPE") == "stderr":
        print(f"2026-11-23T10:00:00Z [rserver] ERROR {what}; LOGGED FROM: ServerMain.cpp", file=sys.stderr)
    return 1


def usage(known: list[str]) -> int:
    if "hanging-help" in FAULTS:
        time.sleep(1000)
    if "bad-conf" in FAULTS:  # it is read first
        return complain("unrecognised option 'no-such-option' [config-file: /etc/rstudio/rserver.conf]")
    print("command-line options:\n\nserver:")
    for name in known:
        print(f"  --{name} arg (={OPTIONS.get(name, 1)})  see the manual")
    if "failing-help" in FAULTS:
        print("rserver: error while loading shared libraries: libpq.so.5: cannot open shared object file")
    return 127 if "failing-help" in FAULTS else 0


def rserver(arguments: list[str]) -> int:
    known = [name for name in OPTIONS if "old" not in FAULTS or name not in NEW]
    known += ["www-telepathy", "server-telepathy-file"] if "more" in FAULTS else []
    if "no-port" in FAULTS:
        known.remove("www-port")
    if arguments == ["--help"]:
        return usage(known)
    options = dict(OPTIONS)
    if "prefix" in FAULTS:  # in rserver.conf
        options["www-root-path"] = "/studio"
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if name not in known:
            print(f"unrecognised option '{argument}'", file=sys.stderr)
            return 1
        options[name] = value
    if "old" in FAULTS:
        options["server-data-dir"] = os.environ["TMPDIR"]
    return complain(wrong) if (wrong := preflight(options)) else serve(options)


def preflight(options: dict[str, str]) -> str:
    """What keeps the server from starting."""
    try:
        account = pwd.getpwnam(options["server-user"]).pw_uid
    except KeyError:
        return f"Could not find details for server user '{options['server-user']}'"
    if account != os.geteuid():
        return f"Attempt to run server as user '{options['server-user']}' from another account without privilege"
    database = options["database-config-file"]
    if database and "provider=sqlite" not in Path(database).read_text():
        return f"cannot use {database}"
    wrong = secure_key(Path(options["secure-cookie-key-file"])) or secure_key(cache() / "session-rpc-key")
    data = Path(options["server-data-dir"])
    if data.stat().st_uid != os.geteuid():
        return f"Could not change permissions for specified 'server-data-dir' - the directory ({data})"
    data.chmod(0o1777)
    return wrong


def secure_key(path: Path) -> str:
    """Read a key, or make it if it is not there (SecureKeyFile.cpp); its owner and mode are not looked at."""
    if path.exists():
        empty = not path.read_text()
        return f"system error 2 (No such file or directory) [path: {path}]" if empty else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(uuid.uuid4()))
    path.chmod(0o600)
    return ""


def cache() -> Path:
    """Where a server without privileges has the key of its calls (Xdg.cpp), since 2022.12; before in a fixed place."""
    if "old" in FAULTS:
        return Path(os.environ["STAND_IN_FIXED"])
    if os.environ.get("RSTUDIO_CACHE_HOME"):
        return Path(os.environ["RSTUDIO_CACHE_HOME"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ["HOME"]) / ".cache") / "rstudio"


class Threading(http.server.ThreadingHTTPServer):
    """Many connections; names nobody."""

    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)


def serve(options: dict[str, str]) -> int:
    Rserver.options = options
    os.chdir(options["server-data-dir"])
    Rserver.www = Path(sys.argv[0]).resolve().parent.parent / "www"
    if "deaf" in FAULTS:
        time.sleep(1000)
    try:
        server = Threading((options["www-address"], int(options["www-port"])), Rserver)
    except OSError as error:
        return complain(f"system error {error.errno} ({error.strerror}) [address: {options['www-address']}]")
    with server:
        server.serve_forever()
    return 0


# ---- rsession


class Console:
    """R, a line at a time, and the events that come of it."""

    def __init__(self) -> None:
        self.inputs: queue.Queue[str] = queue.Queue()
        self.events: list[dict[str, Any]] = []
        self.graphics: dict[str, bytes] = {}
        self.changed = threading.Condition()
        self.numbers = itertools.count()
        threading.Thread(target=self.loop, daemon=True).start()

    def tell(self, kind: str, data: object) -> None:
        with self.changed:
            self.events.append({"id": next(self.numbers), "type": kind, "data": data})
            self.changed.notify_all()

    def since(self, number: int) -> list[dict[str, Any]]:
        with self.changed:
            self.events = [each for each in self.events if each["id"] > number]
            self.changed.wait_for(lambda: self.events, EVENTS_HELD)
            return list(self.events)

    def loop(self) -> None:
        self.tell("console_output", {"text": "R is free software\n", "console": ""})
        while True:
            self.tell("console_prompt", {"prompt": "> ", "history": True})
            code = self.inputs.get()
            self.tell("console_write_prompt", "> ")
            self.tell("console_write_input", {"text": f"{code}\n", "console": ""})
            if "hanging-console" in FAULTS:
                time.sleep(1000)
            if "flood" in FAULTS:
                for number in itertools.count():
                    self.tell("console_output", {"text": f"{number}\n" * 100, "console": ""})
                    time.sleep(0.001)
            drawn = self.evaluate(code)
            if drawn and "no-plot" not in FAULTS:  # after the prompt
                threading.Timer(0.2, self.tell, ("plots_state_changed", {"filename": drawn})).start()

    def evaluate(self, code: str) -> str:
        output, error, image = evaluate(code)
        if "wrong" in FAULTS:
            output = output.replace("42", "41")
        if "broken-r" in FAULTS:
            output, error, image = (
                "",
                "Error in loadNamespace(x) : there is no package called \u2018graphics\u2019\n",
                b"",
            )
        if "warns" in FAULTS:
            error += "\x1bG2;\x1bH2;Warning\x1bh message:\nCharacter set is not UTF-8\n\x1bg"
        if error.startswith("Error"):
            error = f"\x1bG1;\x1bH1;Error\x1bh{error.removeprefix('Error')}\x1bg"
        for kind, text in (("console_error", error), ("console_output", output)):
            if text:
                self.tell(kind, text if "old" in FAULTS else {"text": text, "console": ""})
        if not image:
            return ""
        name = f"{uuid.uuid4()}.png"
        self.graphics[name] = {"not-png": b"<html>", "cut-png": image[:-9]}.get(next(iter(FAULTS), ""), image)
        self.tell("plots_state_changed", {"filename": "empty.png"})
        return name


def evaluate(code: str) -> tuple[str, str, bytes]:
    """What R prints, its error, and what it draws; without R, what arithmetic yields and a pixel."""
    if shutil.which("Rscript") is None or "no-r" in FAULTS:
        return (f"[1] {arithmetic(ast.parse(code, mode='eval').body)}\n", "", b"") if "*" in code else ("", "", png())
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        device = f'options(device = function() png("{image}", 500, 500))'
        done = subprocess.run(
            ("Rscript", "--vanilla", "-e", device, "-e", code), capture_output=True, text=True, check=False
        )
        return done.stdout, done.stderr if done.returncode else "", image.read_bytes() if image.exists() else b""


def arithmetic(tree: ast.expr) -> int:
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
        return arithmetic(tree.left) * arithmetic(tree.right)
    assert isinstance(tree, ast.Constant)
    return int(str(tree.value))


class Rsession(Handler):
    """One session, over a socket in a folder."""

    console: Console
    identity = ""

    def do_GET(self) -> None:
        image = self.console.graphics.get(self.path.rpartition("/")[2])
        self.send(image, "image/png") if image else self.send(b"not found", status=404)

    def do_POST(self) -> None:
        request = json.loads(self.body())
        method, params = request["method"], request["params"]
        header = self.headers.get(TOKEN[1])
        if self.path.startswith("/rpc/") and (not header or header != self.cookie(TOKEN[0])):
            missing = method == "client_init" and "old" not in FAULTS
            self.send_error_code(*((8, "MissingCSRFToken") if missing else (3, "Client unauthorized")))
        elif method == "client_init":
            Rsession.identity = str(uuid.uuid4())
            versions = {"rstudio_version": "2026.05.0", "r_versions_info": {"r_version": "4.5.2"}}
            self.send_json(
                {"result": {"clientId": self.identity, "client_version": VERSION, **versions}, "ep": "false"}
            )
        elif request["clientId"] != self.identity and method != "quit_session":
            self.send_error_code(4, "Invalid client id")
        elif request["clientVersion"] not in ("", VERSION):
            self.send_error_code(12, "Invalid client version")
        elif method == "get_events":
            self.send_json({"result": self.console.since(params[0]), "ep": "false"})
        else:
            self.call(method, params)

    def call(self, method: str, params: list[Any]) -> None:
        handle = str(uuid.uuid4())
        if "async" in FAULTS:
            self.send_json({"asyncHandle": handle, "ep": "false"})
        elif method == "quit_session":
            self.send_json({"result": True})
        else:
            self.send_json({"result": None})
        if "async" in FAULTS:
            refused = {"error": {"code": 11, "message": "Unexpected call to method"}}
            answer = refused if "refused" in FAULTS else {"result": None}
            self.console.tell("async_completion", {"handle": handle, "response": answer})
        if method == "console_input":
            text, console, flags = params
            assert (console, flags) == ("", 0)
            self.console.inputs.put(text)
        elif method == "quit_session" and "stays" not in FAULTS:
            save_history()
            Path(sys.argv[1]).unlink()
            os._exit(0)


class Local(Threading):
    """On a socket in a folder."""

    address_family = socket.AF_UNIX


def note() -> None:
    """For the test: an rsession was started, with this environment."""
    if os.environ.get("STAND_IN_NOTES"):
        with open(os.environ["STAND_IN_NOTES"], "a") as file:
            file.write(json.dumps(dict(os.environ)) + "\n")


def make_settings() -> None:
    """The directory of the user's settings (UserPrefs.cpp, Xdg.cpp)."""
    home = Path(os.environ["HOME"]) / ".config"
    general = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    usual = (general if os.environ.get("XDG_CONFIG_HOME") and general.is_dir() else home) / "rstudio"
    Path(os.environ.get("RSTUDIO_CONFIG_HOME") or usual).mkdir(parents=True, exist_ok=True)


def save_history() -> None:
    """R's history, in the working directory that a session begins in, however it was told to quit."""
    (Path(os.environ["HOME"]) / ".Rhistory").write_text("6*7\nplot(1:3)\n")


def fail(what: str) -> int:
    """The end of an rsession that cannot start: until 2021.08 it says why in a file of its own."""
    if "old" not in FAULTS:
        print(f"2026-11-23T10:00:00Z [rsession-me] ERROR {what}", file=sys.stderr)
        return 1
    log = Path(os.environ["RSTUDIO_DATA_HOME"]) / "log" / "rsession-me.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"ERROR {what}\n")
    return 1


def rsession(arguments: list[str]) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    note()
    minimum = int(os.environ["RSTUDIO_MINIMUM_USER_ID"])
    if os.geteuid() < minimum:
        return fail(f"User 'me' has id {os.geteuid()}, which is lower than the minimum user id ({minimum})")
    if "no-session" in FAULTS:
        return fail("system error 2 (No such file or directory) [path: /usr/lib/R/lib/libR.so]")
    if "slow" in FAULTS:
        time.sleep(3)
    make_settings()
    Rsession.console = Console()
    stream = Path(arguments[0])
    os.chdir(stream.parent)
    with Local(stream.name + "~", Rsession) as server:  # type: ignore[arg-type]
        os.rename(stream.name + "~", stream.name)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    programs = {"rserver": rserver, "rsession": rsession}
    sys.exit(programs[Path(sys.argv[0]).name](sys.argv[1:]))
