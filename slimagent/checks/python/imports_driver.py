"""Runs in the image's own Python (3.6 or later), given by `-c`: imports each top-level name in a child process.

The only argument is a JSON object: seconds_each, parallel, skip, modules, first (whether this is the environment of
PATH). Writes JSON lines: {"names": [...], "prefix"}, then {"name", "ok", "detail", "folder"} for each name as it ends
(folder is true for a package without __init__), and at last {"end": true}. The parent never imports what it tests, so
every child starts clean and at once.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import json
import os
import pkgutil
import re
import select
import signal
import sys
import sysconfig
import time

STDERR_KEPT = 4096
SUFFIXES = (".py", ".so", ".pyc")
# The message of a dynamic loader that cannot load a library (glibc: "NAME: what is wrong"; musl: the second form).
LIBRARY = re.compile(
    r"\S+: (?:cannot open shared|undefined symbol|version `|file too short|invalid ELF|wrong ELF).*"
    r"|Error (?:loading shared library|relocating) .*"
)


def site_directories(first: bool) -> "list[str]":
    """The directories of sys.path without the standard library, and without PYTHONPATH unless this is the first."""
    places = [sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"], os.path.dirname(os.__file__)]
    standard = {os.path.realpath(place) for place in places}
    standard |= {os.path.join(directory, "lib-dynload") for directory in standard}
    if not first:
        standard |= {os.path.realpath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}
    return [
        directory for directory in sys.path if os.path.isdir(directory) and os.path.realpath(directory) not in standard
    ]


def namespaces(directory: str, known: "set[str]") -> "list[str]":
    """Names of directories without __init__ that have modules, at most one level further down (PEP 420), and in them.

    They are found by listing alone: reading the RECORD of each distribution would keep files that no program needs.
    """
    found = []
    for name, here in directories_in(directory):
        if name not in known:
            inside = [here] + [path for _, path in directories_in(here)]
            if any(entry.endswith(SUFFIXES) for each in inside for entry in listed(each)):
                found.append(name)
                found += packages_in(here, name)
    return found


def directories_in(directory: str) -> "list[tuple[str, str]]":
    """The directories that can be packages, with their paths."""
    names = [name for name in listed(directory) if name.isidentifier() and name != "__pycache__"]
    found = [(name, os.path.join(directory, name)) for name in names]
    return [each for each in found if os.path.isdir(each[1])]


def listed(directory: str) -> "list[str]":
    """The names in a directory, none if it cannot be read."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def has_init(directory: str) -> bool:
    """Whether a directory is a package whose import runs something."""
    return any(entry.startswith("__init__.") and entry.endswith(SUFFIXES) for entry in listed(directory))


def packages_in(directory: str, name: str) -> "list[str]":
    """The dotted names of public packages in a directory without __init__: importing that runs nothing of them.

    Of the directories in it that have no __init__ either, those in them count, too.
    """
    found = []
    for part, here in directories_in(directory):
        if part[0] != "_" and has_init(here):
            found.append(name + "." + part)
        elif part[0] != "_":
            deeper = [each for each, place in directories_in(here) if each[0] != "_" and has_init(place)]
            found += [name + "." + part + "." + each for each in deeper]
    return found


def importable(directories: "list[str]") -> "list[str]":
    """The public top-level names of third-party modules in these directories, sorted."""
    names = {module.name for module in pkgutil.iter_modules(directories)}
    for directory in directories:
        names.update(namespaces(directory, names))
    standard = set(getattr(sys, "stdlib_module_names", ())) | set(sys.builtin_module_names)
    tops = {name: name.split(".")[0] for name in names}
    return sorted(name for name, top in tops.items() if top.isidentifier() and top[0] != "_" and top not in standard)


def deeper(modules: "list[str]", first: bool) -> "list[str]":
    """The requested modules for this environment: all if it is the first, else those with a top level that it has."""
    return [name for name in modules if first or is_there(name.split(".")[0])]


def is_left_out(name: str, skip: "set[str]") -> bool:
    """Whether a module, or one that it is in, is among the names to skip."""
    return any(name[:end] in skip for end, letter in enumerate(name + ".") if letter == ".")


def is_there(name: str) -> bool:
    """Whether a top-level name can be found."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # empty, or already imported by other means
        return name in sys.modules


def child(name: str, mark: str, answer: int, errors: int) -> None:
    """Import one name, report the result, and end without clean-up, so that the next one does not wait.

    A lookup of `mark`, which does not exist, tells a tracer that all that follows is for this name.
    """
    detail, good = "", "ok"
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, target in ((nothing, 0), (nothing, 1), (errors, 2)):
            os.dup2(descriptor, target)
        os.path.exists("/.slimagent/test/" + mark)
        module = importlib.import_module(name)
        if hasattr(module, "__path__") and getattr(module, "__file__", None) is None:
            good = "folder"
            read_modules(list(module.__path__))
    except BaseException as error:
        detail = told(error)
    finally:
        os.write(answer, (detail or good).encode("utf-8", "replace")[:2000])
        os._exit(1 if detail else 0)


def read_modules(directories: "list[str]") -> None:
    """Read the modules of a directory without __init__, but do not run them: they may be scripts."""
    below = [path for each in directories for _, path in directories_in(each) if not has_init(path)]
    for directory in directories + below:
        for _, name, is_package in pkgutil.iter_modules([directory]):
            if not is_package:
                with contextlib.suppress(Exception):  # a template, or for another Python
                    find = importlib.machinery.PathFinder.find_spec
                    find(name, [directory]).loader.get_code(name)  # type: ignore[union-attr]


def last_line(error: BaseException) -> str:
    """An exception in a line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1][:200]}".rstrip(": ")


def causes(error: BaseException) -> "list[BaseException]":
    """The causes of an exception, the root at the end."""
    found: list[BaseException] = []
    below = error.__cause__ or error.__context__
    while below is not None and len(found) < 20:
        found.append(below)
        below = below.__cause__ or below.__context__
    return found


def told(error: BaseException) -> str:
    """An exception with its cause: packages hide a missing library behind many lines of advice."""
    detail = last_line(error)
    below = causes(error)
    failed_loads = [str(each) for each in [error, *below] if isinstance(each, (ImportError, OSError))]
    libraries = [match.group() for text in failed_loads for match in LIBRARY.finditer(text)]
    roots = [last_line(each) for each in below]
    cause = (libraries or roots or [""])[-1][:150]
    return f"{detail} (because of {cause})" if cause and cause not in detail else detail


class Import:
    """A child that imports one name."""

    def __init__(self, name: str, mark: str, seconds: float) -> None:
        self.name, self.deadline = name, time.monotonic() + seconds
        self.answer, answer = os.pipe()
        self.errors, errors = os.pipe()
        self.written = b""
        self.process = os.fork()
        if self.process == 0:
            child(name, mark, answer, errors)
        os.close(answer)
        os.close(errors)
        os.set_blocking(self.answer, False)
        os.set_blocking(self.errors, False)

    def drain(self) -> None:
        """Read the child's standard error, so that it never waits for us; the end is kept."""
        for _ in range(64):
            data = read(self.errors)
            if not data:
                return
            self.written = (self.written + data)[-STDERR_KEPT:]

    def ended(self) -> bool:
        """Whether the child has ended; it stays a zombie until `close`."""
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def close(self) -> "tuple[int, str]":
        """Kill the rest of the child's group and reap it. Returns its wait status and its answer."""
        for kill in (os.killpg, os.kill):  # before setsid it has no group of its own
            with contextlib.suppress(OSError):
                kill(self.process, signal.SIGKILL)
        status = os.waitpid(self.process, 0)[1]
        self.drain()
        answer = read(self.answer).decode("utf-8", "replace")
        os.close(self.answer)
        os.close(self.errors)
        return status, answer


def read(descriptor: int) -> bytes:
    """The data available now from a non-blocking descriptor."""
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def judge(job: Import, hung: bool, seconds: float) -> "dict[str, object]":
    """The result of an import."""
    status, answer = job.close()
    last = job.written.decode("utf-8", "replace").strip().splitlines()[-1:]
    aside = f" ({last[0][:300]})" if last else ""
    if hung:
        detail = f"no end after {seconds:g} s{aside}"
    elif os.WIFSIGNALED(status):
        try:
            name = signal.Signals(os.WTERMSIG(status)).name
        except ValueError:
            name = f"signal {os.WTERMSIG(status)}"
        detail = f"ended by {name}{aside}"
    elif status == 0 and answer in ("ok", "folder"):
        detail = ""
    else:
        detail = (answer or f"left with exit status {os.WEXITSTATUS(status)}") + aside
    return {"name": job.name, "ok": not detail, "detail": detail, "folder": answer == "folder"}


def say(value: "dict[str, object]") -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def run(names: "list[str]", seconds: float, parallel: int, suffix: str) -> None:
    """Import all names, `parallel` at a time. With `suffix` they are the items' names."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    waiting = list(reversed(names))
    running: list[Import] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                name = waiting.pop()
                running.append(Import(name, name + suffix, seconds))
            left = min(job.deadline for job in running) - time.monotonic()
            ready = select.select([woken] + [job.errors for job in running], [], [], max(0.0, left))[0]
            if woken in ready:
                read(woken)
            for job in list(running):
                if job.errors in ready:
                    job.drain()
                ended = job.ended()
                if ended or time.monotonic() > job.deadline:
                    running.remove(job)
                    say(judge(job, not ended, seconds))
    finally:
        for job in running:
            job.close()


def main() -> None:
    """Find the names, import them, report the results."""
    asked = json.loads(sys.argv[1])
    sys.path[:] = [directory for directory in sys.path if directory]  # `-c` puts the working directory there
    names = importable(site_directories(asked["first"]))
    names += [name for name in deeper(asked["modules"], asked["first"]) if name not in names]
    names = [name for name in names if not is_left_out(name, set(asked["skip"]))]
    say({"names": names, "prefix": sys.prefix})
    run(names, asked["seconds_each"], asked["parallel"], "" if asked["first"] else f" ({sys.prefix})")
    say({"end": True})


if __name__ == "__main__":
    main()
