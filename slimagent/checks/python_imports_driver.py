"""Runs in the image's own Python (3.6 or later), given by `-c`: imports each top-level name in a child of its own.

The only argument is a JSON object: seconds_each, parallel, skip, modules. Writes JSON lines: first {"names": [...]},
then {"name", "ok", "detail"} for each in the order in which they end, at last {"end": true}. The parent never imports
what it tests, so every child starts clean, and starts at once.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import sysconfig
import time

STDERR_KEPT = 4096
SUFFIXES = (".py", ".so", ".pyc")


def site_folders() -> "list[str]":
    """The folders of sys.path, less the standard library's."""
    places = [sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"], os.path.dirname(os.__file__)]
    standard = {os.path.realpath(place) for place in places}
    standard |= {os.path.join(folder, "lib-dynload") for folder in standard}
    return [folder for folder in sys.path if os.path.isdir(folder) and os.path.realpath(folder) not in standard]


def namespaces(folder: str, known: "set[str]") -> "list[str]":
    """Names of folders without __init__ that hold modules, at most one level further down (PEP 420).

    Found by listing alone: to read each distribution's RECORD would make a need of what no program needs.
    """
    found = []
    for name in os.listdir(folder):
        here = os.path.join(folder, name)
        if name.isidentifier() and name not in known and os.path.isdir(here):
            inside = [entry.path for entry in os.scandir(here) if entry.is_dir() and entry.name.isidentifier()]
            if any(entry.endswith(SUFFIXES) for each in [here, *inside] for entry in os.listdir(each)):
                found.append(name)
    return found


def importable(folders: "list[str]") -> "list[str]":
    """The public top-level names of third-party modules in these folders, sorted."""
    names = {module.name for module in pkgutil.iter_modules(folders)}
    for folder in folders:
        with contextlib.suppress(OSError):
            names.update(namespaces(folder, names))
    standard = set(getattr(sys, "stdlib_module_names", ())) | set(sys.builtin_module_names)
    return sorted(name for name in names if name.isidentifier() and name[0] != "_" and name not in standard)


def child(name: str, answer: int, errors: int) -> None:
    """Import one name, tell how it went, and end without any clean-up: the next one must not wait for it."""
    detail = ""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, target in ((nothing, 0), (nothing, 1), (errors, 2)):
            os.dup2(descriptor, target)
        importlib.import_module(name)
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        detail = f"{type(error).__name__}: {lines[-1]}".rstrip(": ")
    finally:
        os.write(answer, (detail or "ok").encode("utf-8", "replace")[:2000])
        os._exit(1 if detail else 0)


class Import:
    """A child that imports one name."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.deadline = name, time.monotonic() + seconds
        self.answer, answer = os.pipe()
        self.errors, errors = os.pipe()
        self.written = b""
        self.process = os.fork()
        if self.process == 0:
            child(name, answer, errors)
        os.close(answer)
        os.close(errors)
        os.set_blocking(self.answer, False)
        os.set_blocking(self.errors, False)

    def drain(self) -> None:
        """Take what the child wrote to its standard error, so that it never waits for us; the end is kept."""
        for _ in range(64):
            data = read(self.errors)
            if not data:
                return
            self.written = (self.written + data)[-STDERR_KEPT:]

    def ended(self) -> bool:
        """Whether the child is at its end; it stays a zombie until `close`."""
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def close(self) -> "tuple[int, str]":
        """Kill what is left of the child's group, collect it; its wait status and its answer."""
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
    """What there is to be read now from a descriptor that does not block."""
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def judge(job: Import, hung: bool, seconds: float) -> "dict[str, object]":
    """What became of an import."""
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
    elif status == 0 and answer.startswith("ok"):
        detail = ""
    else:
        detail = answer or f"left with exit status {os.WEXITSTATUS(status)}{aside}"
    return {"name": job.name, "ok": not detail, "detail": detail}


def say(value: "dict[str, object]") -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def run(names: "list[str]", seconds: float, parallel: int) -> None:
    """Import all names, so many at a time."""
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
                running.append(Import(waiting.pop(), seconds))
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
    """Find the names, import them, say how it went."""
    wanted = json.loads(sys.argv[1])
    sys.path[:] = [folder for folder in sys.path if folder]  # `-c` puts the working folder there
    skip = set(wanted["skip"])
    names = [name for name in importable(site_folders()) if name not in skip]
    names += [name for name in wanted["modules"] if name not in skip and name not in names]
    say({"names": names})
    run(names, wanted["seconds_each"], wanted["parallel"])
    say({"end": True})


if __name__ == "__main__":
    main()
