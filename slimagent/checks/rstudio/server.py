"""Start RStudio Server as jupyter-rsession-proxy starts it, so that it leaves nothing behind.

Read in github.com/jupyterhub/jupyter-rsession-proxy (jupyter_rsession_proxy/__init__.py, 2.5.1) and in
github.com/rstudio/rstudio (src/cpp/server/server-options.json, src/cpp/core/system/Xdg.cpp), and seen with a
development version of rserver 2026.09. Unlike the proxy we listen on a port of the loopback interface, not on a
socket, and at /, not at a user's URL.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.directory import end_of, give, start_of
from slimagent.checks.loopback import HOST, Client
from slimagent.checks.output import last_lines
from slimagent.checks.program import complete
from slimagent.checks.server import NotReadyError, Server, serving
from slimagent.linux.removal import remove_tree
from slimagent.model.user import User

DIRECTORIES = ("/usr/lib/rstudio-server/bin", "/usr/lib/rstudio/bin")  # where the proxy looks besides the PATH
# How long rserver waits for rsession. Its default (10 seconds, 30 since 2024.07) is too short for a traced start. After
# it rserver until 2026.07 forgets the rsession that it launched, and the next client_init launches a second one.
SESSION_SECONDS = 55
# In spite of their options rserver 1.4 to 2022.07 has a key there, and rsession before 1.4 its sockets.
_FIXED = ("/tmp/rstudio-server", "/tmp/rstudio-rsession")  # noqa: S108 - theirs, not ours
_CONFIGURED = re.compile(r"^[ \t]*rsession-path[ \t]*=[ \t]*([^\s#][^#\n]*)", re.MULTILINE)
_LARGEST_CONFIGURATION = 1 << 20
_HELP_SECONDS = 30.0

_READY_SECONDS = 60.0
_WRAPPER = "rsession"
_OPTION = re.compile(r"--([a-z0-9][a-z0-9-]*)")
_LOG_TAIL = 16 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server runs: a directory of the user's own, with their home in it, and the environment."""

    context: Context
    directory: str
    env: Mapping[str, str]

    def path(self, name: str) -> str:
        """A path in the directory."""
        return os.path.join(self.directory, name)


def locate(name: str, directories: tuple[str, ...], env: Mapping[str, str]) -> str:
    """The program of that name on the PATH, else in the directories even if it cannot be run, else empty."""
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    places = (os.path.join(directory, name) for directory in directories)
    return found or next((place for place in places if os.path.lexists(place)), "")


def number(user: User | None) -> int:
    """The number of the user of the checks."""
    return os.geteuid() if user is None else user.uid


def prepare(context: Context, directory: str) -> Place:
    """Make a place in the directory, with a home, a data directory and a database.conf as the proxy writes it.

    The home is new, like a volume that JupyterHub mounts. Configuration outside of it is the image's own.
    """
    for name in ("home", "data", "tmp", "rstudio"):
        _own(os.path.join(directory, name), context.user, directory=True)
    data = os.path.join(directory, "data")
    _own(os.path.join(data, "database.conf"), context.user, f"\nprovider=sqlite\ndirectory={data}\n")
    env = {
        **context.env,
        "USER": _name(context),  # rserver finds no user without it
        "HOME": os.path.join(directory, "home"),
        "TMPDIR": os.path.join(directory, "tmp"),
        "RSTUDIO_DATA_HOME": os.path.join(directory, "rstudio"),
        "RSTUDIO_CACHE_HOME": os.path.join(directory, "cache"),  # otherwise its key stays in XDG_CACHE_HOME
        **{
            f"XDG_{name}_HOME": os.path.join(directory, name.lower()) for name in ("CACHE", "DATA", "STATE")
        },  # Quarto's
        "RS_LOGGER_TYPE": "stderr",  # otherwise the reason of a failure goes to a file or to syslog
    }
    if not _has_settings(context.env):
        env["RSTUDIO_CONFIG_HOME"] = os.path.join(directory, "config")  # else a session makes it in XDG_CONFIG_HOME
    return Place(context=context, directory=directory, env=env)


def _has_settings(env: Mapping[str, str]) -> bool:
    """Whether the image has RStudio settings where its variables point (core/system/Xdg.cpp)."""
    general = (os.path.join(each, "rstudio") for each in env.get("XDG_CONFIG_HOME", "").split(":") if each)
    return any(map(os.path.isdir, (env["RSTUDIO_CONFIG_HOME"],) if env.get("RSTUDIO_CONFIG_HOME") else general))


def has_account(context: Context) -> bool:
    """Whether the user of the checks is in the password database. Since 1.4 rserver does not start otherwise."""
    try:
        pwd.getpwuid(number(context.user))
    except KeyError:
        return False
    return True


def _own(path: str, user: User | None, content: str = "", directory: bool = False, mode: int = 0o600) -> None:
    if directory:
        os.mkdir(path, 0o700)
    else:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(content)
    give(path, user)


def _name(context: Context) -> str:
    if context.user is not None:
        return context.user.name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a number without an account: OpenShift runs images so
        return context.env.get("NB_USER") or context.env.get("USER") or str(os.geteuid())


@contextlib.contextmanager
def running(place: Place, rserver: str, client: Client, seconds: float) -> Iterator[Server]:
    """Start rserver and wait until it answers, for `seconds` at most. Raises NotReadyError, and OSError as Popen does.

    It is stopped when the block ends, and so are its sessions.
    """
    deadline = time.monotonic() + seconds
    known = _known_options(place, rserver, min(seconds, _HELP_SECONDS))
    _wrap_session(place, rserver)
    argv = [rserver, *_options(place, client.port, known)]
    left = max(0.0, min(_READY_SECONDS, deadline - time.monotonic()))
    with _removing(_FIXED, number(place.context.user)), serving(
        place.context, argv, client, env=place.env, cwd=place.path("home"), ready="/", seconds=left
    ) as server:  # fmt: skip
        yield server


@contextlib.contextmanager
def _removing(paths: tuple[str, ...], owner: int) -> Iterator[None]:
    """Remove directories of that owner that the block creates; earlier ones stay."""
    absent = [path for path in paths if not os.path.lexists(path)]
    try:
        yield
    finally:
        for path in absent:
            with contextlib.suppress(OSError):
                if os.lstat(path).st_uid == owner:
                    remove_tree(path)  # refuses a link


def _wrap_session(place: Place, rserver: str) -> None:
    """Write the script that rserver starts instead of rsession: it sets HOME and TMPDIR and executes rsession.

    rserver gives an rsession a new environment, with the home of the password database and without TMPDIR
    (core/system/PosixSystem.cpp, all versions). Raises NotReadyError where nothing can be executed in the place.
    """
    if os.statvfs(place.directory).f_flag & os.ST_NOEXEC:
        directory = os.path.dirname(place.directory)
        raise NotReadyError(f"{directory} is mounted noexec, and sessions start from there: set TMPDIR to another")
    session = os.path.join(os.path.dirname(os.path.realpath(rserver)), _configured_session(place.env))
    lines = (f"export {name}={shlex.quote(place.env[name])}" for name in ("HOME", "TMPDIR"))
    content = "\n".join(("#!/bin/sh", *lines, f'exec {shlex.quote(session)} "$@"', ""))
    _own(place.path(_WRAPPER), place.context.user, content, mode=0o700)


def _configured_session(env: Mapping[str, str]) -> str:
    """The rsession in the image's rserver.conf, relative to the directory of rserver; by default the one beside it."""
    only = env.get("RSTUDIO_CONFIG_DIR", "")
    several = [os.path.join(each, "rstudio") for each in env.get("XDG_CONFIG_DIRS", "").split(":") if each]
    files = (os.path.join(each, "rserver.conf") for each in ([only] if only else [*several, "/etc/rstudio"]))
    file = next(filter(os.path.exists, files), "")
    found = _CONFIGURED.search(start_of(os.path.realpath(file), _LARGEST_CONFIGURATION)) if file else None
    return found[1].strip() if found else "rsession"


def _known_options(place: Place, rserver: str, seconds: float) -> frozenset[str]:
    """The options in `rserver --help`. Raises NotReadyError if that fails."""
    ended = complete(place.context, (rserver, "--help"), env=place.env, cwd=place.path("home"), seconds=seconds)
    if not ended.well:
        raise NotReadyError(f"rserver --help: {ended.how}\n{ended.log()}".rstrip())
    return frozenset(_OPTION.findall(ended.said.decode("utf-8", "replace")))


def _options(place: Place, port: int, known: frozenset[str]) -> list[str]:
    """The proxy's options, and those that confine the server to this machine and the place, if `known`."""
    wanted = {
        "server-daemonize": "0",
        "auth-none": "1",
        "www-address": HOST,
        "www-port": str(port),
        "www-frame-origin": "same",
        "www-verify-user-agent": "0",
        "secure-cookie-key-file": place.path("secure-cookie-key"),  # rserver creates it
        "rsession-path": place.path(_WRAPPER),
        "rsession-proxy-max-wait-secs": str(SESSION_SECONDS),
        "auth-minimum-user-id": "0",  # otherwise rsession refuses a user below UID_MIN of /etc/login.defs
        "www-root-path": "/",  # rserver itself does not serve the prefix that rserver.conf may set for a proxy
        "server-user": place.env["USER"],
        "server-data-dir": place.path("data"),
        "server-pid-file": place.path("rserver.pid"),
        "database-config-file": place.path("data/database.conf"),
    }
    if "www-port" not in known:
        raise NotReadyError("rserver --help does not name --www-port")
    return [f"--{name}={value}" for name, value in wanted.items() if name in known]


def session_log(place: Place) -> str:
    """The last lines of the log file that rsession wrote until 2021.08, wherever other logs went.

    Since 2021.09 it respects RS_LOGGER_TYPE, and logs to the server's output.
    """
    directory = place.path("rstudio/log")
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ""
    owner = number(place.context.user)
    ends = (end_of(os.path.join(directory, name), _LOG_TAIL, owner) for name in names[:5])
    return "\n".join(filter(None, map(last_lines, ends)))
