"""The image's root and scopes, the command's user and environment, and the agent's own files."""

from __future__ import annotations

import grp
import os
import pwd
import re
from dataclasses import dataclass, field, replace

from slimagent.documents.removed import BEGINNING
from slimagent.errors import UnavailableError, UsageError
from slimagent.linux import kernel
from slimagent.linux.descriptors import closing
from slimagent.model.inventory import Inventory
from slimagent.model.profile import Profile
from slimagent.model.removed import INSIDE
from slimagent.model.user import User
from slimagent.paths.algebra import Resolver, normalise, to_text, within
from slimagent.text.counted import counted
from slimagent.text.escapes import quoted

# What a container engine adds to a container: it is never part of an image.
_ENGINE_FILES = (b"/.dockerenv", b"/run/.containerenv")
# Where our package lies in an agent: a bundle, one of `make agent`, a checkout; and how its entrypoint.sh begins.
_PLACE = re.compile(rb"(python/lib/python3\.[0-9]+/site-packages/|lib/)?slimagent")
_ENTRYPOINT, _BEGINNING = b"# Starts slimagent in any container", 1000  # bytes
_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(os.fsencode(__file__))))
_MTAB = b"/etc/mtab"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # do not wait for the writer of a FIFO
_SAME_MOMENT = 5  # seconds
_DIGITS = re.compile("[0-9]{1,10}")
_LARGEST_ID = (1 << 32) - 2  # the largest number stands for no ID (chown(2))
_AGENT_VARIABLES = re.compile(r"SLIMAGENT_\w+")
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # PEP 538: what Python sets LC_CTYPE to if the locale is C


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One image at `root`, exercised as `user` with `env`. `excluded` is never part of the image.

    `volumes` are the volumes that the image declares. An engine mounts a copy of the image's files there, which still
    count as part of the image, unless `mounted` says that the mount is the user's own. With `attach`, what every
    process does counts, not only what we start. `jobs` is how many checks, or items of one, may run at a time.
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
    by_test: bool = False
    jobs: int = 1
    profile: Profile = field(default_factory=lambda: Profile(name="base", description=""))


def canonical(directory: str | bytes) -> bytes:
    """The absolute path of an existing directory, without links. Raises UsageError."""
    path = os.path.realpath(os.fsencode(directory))
    if not os.path.isdir(path):
        raise UsageError(f"{to_text(os.fsencode(directory))} is not a directory", "name an existing directory")
    return path


def seen_from(root: bytes, path: bytes) -> bytes:
    """Resolve all links of a path inside the image at `root`, as the kernel names a mount point there."""
    prefix = b"" if root == b"/" else root

    def link(inside: bytes) -> bytes | None:
        try:
            return os.readlink(prefix + inside)
        except OSError:
            return None

    path = normalise(b"/" + path)
    return Resolver(link).resolve(path).end or path


def user_named(name: str | None) -> User | None:
    """Find a user written as in a Dockerfile's USER: `name` or `uid`, or either with `:group`. None stands for us.

    A number without an account is a user without a name, in group 0 (Dockerfile reference, USER).
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


def with_engine_groups(user: User | None) -> User | None:
    """The same user, also in the groups that the engine gave to this container (`--group-add`)."""
    added = [group for group in os.getgroups() if group != 0]
    return user if user is None or not added else replace(user, groups=tuple(dict.fromkeys((*user.groups, *added))))


def _account(name: str) -> User:
    number = _identifier(name)
    try:
        entry = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        if number is not None:
            return User(name=name, uid=number, gid=0, groups=(0,), home="/")
        raise UsageError(f"no such user here: {quoted(name)}", "name a user from /etc/passwd") from None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def _group(name: str) -> int:
    try:
        number = _identifier(name)
        return grp.getgrnam(name).gr_gid if number is None else number
    except (KeyError, ValueError):
        raise UsageError(f"no such group here: {quoted(name)}", "name a group from /etc/group") from None


def _identifier(name: str) -> int | None:
    """The number given for a user or a group; None for a name, and for a number beyond the kernel's range."""
    number = int(name) if _DIGITS.fullmatch(name) else None
    return number if number is not None and number <= _LARGEST_ID else None


def user_name(user: User | None) -> str:
    """The name of the user that commands run as, or its number if it has no name."""
    if user is not None:
        return user.name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def environment(user: User | None) -> dict[str, str]:
    """The image's environment: ours without the agent's variables, and with the user's home and name."""
    env = {name: value for name, value in os.environ.items() if not _AGENT_VARIABLES.fullmatch(name)}
    if env.get("LC_CTYPE") in _COERCED and not _was_given(b"LC_CTYPE"):
        del env["LC_CTYPE"]
    if user is not None:
        env |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    return env


def configured_environment(user: User | None, configured: tuple[str, ...]) -> dict[str, str]:
    """The environment that an engine gives to the image's own process: the container's, with that user's HOME.

    `configured` is the image's own Env. If HOME is not set, engines set it to the home of the container's user. They
    do not set USER. We run as root, so root's home was set by the engine.
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
    """Whether this process started with that variable: /proc/self/environ (proc(5)) shows no later changes."""
    with open("/proc/self/environ", "rb") as file:
        return any(each.startswith(name + b"=") for each in file.read().split(b"\0"))


def own_directory() -> bytes | None:
    """The directory of the agent that started us, a bundle or one with an entrypoint.sh; None if we are installed.

    An agent names it in SLIMAGENT_HOME. But anyone can set a variable: it only counts if the running code lies there,
    in the place that it has in an agent, together with our entrypoint.sh.
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

    The agent's own files are its directory, or else the package and its metadata.
    """
    home = own_directory()
    if home is not None:
        return (home, *engine_files())
    beside = os.path.dirname(_PACKAGE)
    metadata = sorted(each for each in os.listdir(beside) if re.fullmatch(rb"slimagent-[^/]*\.dist-info", each))
    return (_PACKAGE, *(os.path.join(beside, each) for each in metadata), *engine_files())


def own_list(root: bytes) -> tuple[bytes, ...]:
    """The list of what went that an earlier run put into the image at `root`. A file that is not one is the image's."""
    try:
        with closing(os.open(root.rstrip(b"/") + INSIDE, _FLAGS)) as descriptor:
            return (INSIDE,) if BEGINNING.match(os.read(descriptor, _BEGINNING)) else ()
    except OSError:
        return ()


def engine_files() -> tuple[bytes, ...]:
    """The files that the container engine added when it created the container: they are not in the image.

    Docker adds the link /etc/mtab if an image has none; the link is then as old as the container.
    """
    try:
        age = os.lstat(_MTAB).st_mtime - os.lstat(_ENGINE_FILES[0]).st_mtime
    except OSError:
        return _ENGINE_FILES
    return (*_ENGINE_FILES, _MTAB) if abs(age) < _SAME_MOMENT else _ENGINE_FILES


def with_mount_points(outputs: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Our outputs, and the mount points that they lie on: the user mounted those for us."""
    found = list(outputs)
    for output in outputs:
        directory = os.path.realpath(output)
        while directory != b"/":
            if os.path.ismount(directory):
                found.append(directory)
            directory = os.path.dirname(directory)
    return tuple(dict.fromkeys(found))


def in_container() -> bool:
    """Whether this is a container or a build step: it has an engine's marks, or its root is an overlay."""
    if any(os.path.exists(mark) for mark in _ENGINE_FILES) or "container" in os.environ:
        return True
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        roots = [line.split(" - ")[1].split()[0] for line in file if line.split()[4] == "/"]
    return roots[-1:] == ["overlay"]


def require_readable(inventory: Inventory, doing: str) -> None:
    """Raise UnavailableError if this process cannot read all of the image."""
    if inventory.unreadable:
        some = ", ".join(map(to_text, inventory.unreadable[:3]))
        count = counted(len(inventory.unreadable), "file or directory", "files and directories")
        raise UnavailableError(
            f"cannot {doing}: {count} of the image cannot be read by {user_name(None)}, e.g. {some}",
            to_read_all(os.geteuid(), kernel.status().capabilities),
        )


def to_read_all(uid: int, capabilities: int) -> str:
    """A hint for a user who cannot read every file. `capabilities` is the bit set of those in effect."""
    scope = "name a directory that is fully readable with --scope"
    if uid != 0:
        return f"run as root (in a container: `docker run --user root`, and --user for the traced command), or {scope}"
    if not capabilities & (1 << kernel.CAP_DAC_OVERRIDE | 1 << kernel.CAP_DAC_READ_SEARCH):
        return f"this root lacks a capability: start the container with `--cap-add DAC_OVERRIDE`, or {scope}"
    return scope
