"""Where and as whom we run: the image's root and scopes, the command's user and environment, the agent's own files."""

from __future__ import annotations

import grp
import os
import pwd
import re
from dataclasses import dataclass, field, replace

from slimagent.errors import UnavailableError, UsageError
from slimagent.linux import kernel
from slimagent.model.inventory import Inventory
from slimagent.model.profile import Profile
from slimagent.model.user import User
from slimagent.paths.algebra import Resolver, normalise, to_text, within
from slimagent.text.escapes import quoted

# What a container engine puts into a container and no image holds.
_ENGINE_FILES = (b"/.dockerenv", b"/run/.containerenv")
# Where an agent has our package: a bundle, one of `make agent`, a checkout; and what its entrypoint.sh begins with.
_PLACE = re.compile(rb"(python/lib/python3\.[0-9]+/site-packages/|lib/)?slimagent")
_ENTRYPOINT, _BEGINNING = b"# Starts slimagent in any container", 1000  # bytes
_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(os.fsencode(__file__))))
_MTAB = b"/etc/mtab"
_SAME_MOMENT = 5  # seconds
_DIGITS = re.compile("[0-9]{1,10}")
_LARGEST_ID = (1 << 32) - 2  # the largest there is stands for none (chown(2))
_AGENT_VARIABLES = re.compile(r"SLIMAGENT_\w+")
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # PEP 538: what Python sets LC_CTYPE to where the locale would be C


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One image at `root`, exercised as `user` with `env`. `excluded` is never part of the image.

    `volumes` are directories that the image declares as such: an engine mounts a copy of what the image has there,
    which is part of the image all the same, unless `mounted` says that the mount is somebody's own. `attach`: what
    every process does counts, not only what we start.
    """

    root: bytes = b"/"
    scopes: tuple[bytes, ...] = (b"/",)
    excluded: tuple[bytes, ...] = ()
    volumes: tuple[bytes, ...] = ()
    mounted: tuple[bytes, ...] = ()
    user: User | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    backend: str = "auto"
    attach: bool = False
    profile: Profile = field(default_factory=lambda: Profile(name="base", description=""))


def canonical(directory: str | bytes) -> bytes:
    """An existing directory, absolute and without links. Raises UsageError."""
    path = os.path.realpath(os.fsencode(directory))
    if not os.path.isdir(path):
        raise UsageError(f"{to_text(os.fsencode(directory))} is not a directory", "name an existing directory")
    return path


def seen_from(root: bytes, path: bytes) -> bytes:
    """An absolute path inside the image at `root`, without links: as the kernel names a mount point there."""
    prefix = b"" if root == b"/" else root

    def link(inside: bytes) -> bytes | None:
        try:
            return os.readlink(prefix + inside)
        except OSError:
            return None

    path = normalise(b"/" + path)
    return Resolver(link).resolve(path).end or path


def user_named(name: str | None) -> User | None:
    """The user that is written as a Dockerfile's USER: `name`, `uid`, either with `:group`. None for none, or for us.

    A number need not be an account's: it is then a user without a name, in group 0 (Dockerfile reference, USER).
    Raises UsageError for an unknown name, UnavailableError if this process may not become that user.
    """
    if name is None:
        return None
    account, _, group = name.partition(":")
    user = _account(account)
    if group:
        user = replace(user, gid=_group(group), groups=(_group(group),))
    if os.geteuid() not in (0, user.uid):
        raise UnavailableError(f"cannot become {user.name}: we run as user {os.geteuid()}", "run slimagent as root")
    return None if os.geteuid() == user.uid and not group else user


def _account(name: str) -> User:
    number = _identifier(name)
    try:
        entry = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        if number is not None:
            return User(name=name, uid=number, gid=0, groups=(0,), home="/")
        raise UsageError(f"there is no user {quoted(name)} here", "name a user of /etc/passwd") from None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def _group(name: str) -> int:
    try:
        number = _identifier(name)
        return grp.getgrnam(name).gr_gid if number is None else number
    except (KeyError, ValueError):
        raise UsageError(f"there is no group {quoted(name)} here", "name a group of /etc/group") from None


def _identifier(name: str) -> int | None:
    """The number that a user or a group is given by; None for a name, and for more than the kernel has."""
    number = int(name) if _DIGITS.fullmatch(name) else None
    return number if number is not None and number <= _LARGEST_ID else None


def user_name(user: User | None) -> str:
    """The name of the user that commands run as, its number if it has none."""
    if user is not None:
        return user.name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def environment(user: User | None) -> dict[str, str]:
    """The environment of the image: ours, less what was set for the agent, with the user's own names."""
    env = {name: value for name, value in os.environ.items() if not _AGENT_VARIABLES.fullmatch(name)}
    if env.get("LC_CTYPE") in _COERCED and not _was_given(b"LC_CTYPE"):
        del env["LC_CTYPE"]
    if user is not None:
        env |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    return env


def configured_environment(user: User | None, configured: tuple[str, ...]) -> dict[str, str]:
    """The environment that an engine gives to the image's own process: the container's, with that user's HOME.

    `configured` is the image's own Env. Engines set HOME, unless somebody else did, to that of the user that a
    container runs as, and USER not at all. We run as root, so that a HOME of root's is theirs.
    """
    env = environment(None)
    given = any(each.startswith("HOME=") for each in configured)
    if user is not None and not given and env.get("HOME") in (None, "/", _home_of_root()):
        env["HOME"] = user.home
    return env


def _home_of_root() -> str:
    try:
        return pwd.getpwuid(0).pw_dir
    except KeyError:
        return "/root"


def _was_given(name: bytes) -> bool:
    """Whether this process was started with that variable: /proc/self/environ (proc(5)) shows no later changes."""
    with open("/proc/self/environ", "rb") as file:
        return any(each.startswith(name + b"=") for each in file.read().split(b"\0"))


def own_directory() -> bytes | None:
    """The directory of the agent whose entrypoint.sh, or whose bundle, has started us; None if we are installed.

    Both say in SLIMAGENT_HOME which it is. But anybody can set a variable, so it only counts if the code that runs lies
    there, where an agent has it, and an entrypoint.sh of ours with it.
    """
    home = os.path.realpath(os.fsencode(os.environ.get("SLIMAGENT_HOME") or "/"))
    if home == b"/" or not within(_PACKAGE, home) or not _PLACE.fullmatch(_PACKAGE[len(home) + 1 :]):
        return None
    try:
        with open(os.path.join(home, b"entrypoint.sh"), "rb") as file:
            return home if _ENTRYPOINT in file.read(_BEGINNING) else None
    except OSError:
        return None


def own_files() -> tuple[bytes, ...]:
    """The agent's own files, and what the container engine added: never evidence, never part of the image.

    That is the directory of the agent that runs, else the package and its metadata.
    """
    home = own_directory()
    if home is not None:
        return (home, *engine_files())
    beside = os.path.dirname(_PACKAGE)
    metadata = sorted(each for each in os.listdir(beside) if re.fullmatch(rb"slimagent-[^/]*\.dist-info", each))
    return (_PACKAGE, *(os.path.join(beside, each) for each in metadata), *engine_files())


def engine_files() -> tuple[bytes, ...]:
    """What the container engine made when it made the container: no image holds it.

    Docker adds the link /etc/mtab where an image has none; it is then as old as the container.
    """
    try:
        age = os.lstat(_MTAB).st_mtime - os.lstat(_ENGINE_FILES[0]).st_mtime
    except OSError:
        return _ENGINE_FILES
    return (*_ENGINE_FILES, _MTAB) if abs(age) < _SAME_MOMENT else _ENGINE_FILES


def with_mount_points(outputs: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Our outputs, and the mount points that they lie on: who started the container made those for us."""
    found = list(outputs)
    for output in outputs:
        directory = os.path.realpath(output)
        while directory != b"/":
            if os.path.ismount(directory):
                found.append(directory)
            directory = os.path.dirname(directory)
    return tuple(dict.fromkeys(found))


def in_container() -> bool:
    """Whether this is a container, or a build step of one: an engine's marks, or a root that is an overlay."""
    if any(os.path.exists(mark) for mark in _ENGINE_FILES) or "container" in os.environ:
        return True
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        roots = [line.split(" - ")[1].split()[0] for line in file if line.split()[4] == "/"]
    return roots[-1:] == ["overlay"]


def require_readable(inventory: Inventory, doing: str) -> None:
    """Refuse to go on with an image that this process can only read in parts. Raises UnavailableError."""
    if inventory.unreadable:
        some = ", ".join(map(to_text, inventory.unreadable[:3]))
        raise UnavailableError(
            f"cannot {doing}: {len(inventory.unreadable)} files and directories of the image cannot be read "
            f"by {user_name(None)}, e.g. {some}",
            to_read_all(os.geteuid(), kernel.status().capabilities),
        )


def to_read_all(uid: int, capabilities: int) -> str:
    """What helps a user with these capabilities in effect, as a bit set, who cannot read every file."""
    scope = "name a directory that is readable whole with --scope"
    if uid != 0:
        return f"run as root (in a container: `docker run --user root`, and --user for the traced command), or {scope}"
    if not capabilities & (1 << kernel.CAP_DAC_OVERRIDE | 1 << kernel.CAP_DAC_READ_SEARCH):
        return f"this root lacks a capability: start the container with `--cap-add DAC_OVERRIDE`, or {scope}"
    return scope
