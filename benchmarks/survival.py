"""Measure what a slim image can still do: everyday tasks, run on the full image and on slim ones.

    python benchmarks/survival.py FULL_IMAGE SLIM_IMAGE... --user jovyan --plan plan.json --json out.json

The tasks are the TOML files in `benchmarks/everyday/`; its README says how they are written. A task counts when it
passes on the full image, and survives when it passes on the slim one. Tasks of class `compile` (compilers, headers)
are added up apart. The same image given twice measures the measure: what is lost then is chance. `--plan` (any plan
made from the trace of the smoke test) counts apart the tasks on software that it touched; `--full-from` takes the
outcomes on the full image from an earlier JSON.

Needs a Docker engine here and nothing in the images but what the tasks are about: each task is one `docker exec`
with the image's environment, without network, as `--user`, in an empty folder of its own that is also its HOME.
The exit status is 0 when everything was run, whatever survived; 1 when a slim image would not run (what it missed
counts as lost); 2 when nothing could be compared.
"""

from __future__ import annotations

import argparse
import io
import json
import queue
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also when a test loads this file from elsewhere
import touched

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EVERYDAY = Path(__file__).resolve().parent / "everyday"
APART = "compile"
# how a body is run; `sh -x` makes the failing command the last line of stderr
RUN = {"python": ("python",), "r": ("Rscript", "--no-save", "--no-restore"), "sh": ("sh", "-eux")}
KEPT_OUTPUT = 4000  # characters of each stream that go into the JSON, from the end
INSIDE = "/everyday"


@dataclass(frozen=True)
class Task:
    """One thing that a user does; `needs` names every piece of software it is about, as KIND:NAME."""

    name: str
    group: str
    language: str
    needs: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Outcome:
    """What became of a task on one image; `seconds` of wall time, `status` None after a timeout."""

    status: int | None
    seconds: float
    out: str
    err: str

    @property
    def passed(self) -> bool:
        """A task checks its own result: status 0 is a pass."""
        return self.status == 0

    @property
    def reason(self) -> str:
        """The last line that says something; R's closing remark and a trace of `exit` do not."""
        if self.status is None:
            return f"no end after {self.seconds:.0f} s"
        lines = [line.strip() for line in (self.err or self.out).splitlines()]
        said = [line for line in lines if line and not line.startswith(("Execution halted", "Calls: ", "+ exit"))]
        return said[-1] if said else f"status {self.status}, without a word"


MISSED = Outcome(-1, 0.0, "", "the container did not start")
UNKNOWN = Outcome(-1, 0.0, "", "it was not run")


def load(folder: Path = EVERYDAY) -> list[Task]:
    """All tasks, by class and then as written. Raises ValueError for a task with a wrong key, class or name."""
    tasks: list[Task] = []
    for path in sorted(folder.glob("*.toml")):
        for raw in tomllib.loads(path.read_text(encoding="utf-8"))["task"]:
            if set(raw) != {"name", "class", "language", "needs", "body"}:
                raise ValueError(f"{path.name}: {raw.get('name')!r} has the keys {sorted(raw)}")
            if raw["class"] != path.stem or raw["language"] not in RUN:
                raise ValueError(f"{path.name}: {raw['name']!r} has a class or language that is none")
            tasks.append(Task(raw["name"], raw["class"], raw["language"], tuple(raw["needs"]), raw["body"]))
    twice = [name for name, times in Counter(task.name for task in tasks).items() if times > 1]
    if twice:
        raise ValueError(f"tasks of one name: {twice}")
    return tasks


def docker(*command: str, data: bytes | None = None) -> bytes:
    """Run the Docker client; returns its standard output, raises CalledProcessError."""
    return subprocess.run(["docker", *command], check=True, input=data, stdout=subprocess.PIPE).stdout


def owner(image: str, user: str) -> tuple[int, int]:
    """The user and group id of `user` in an image, read from its /etc/passwd without running anything in it."""
    if user.replace(":", "").isdigit():
        uid, _, gid = user.partition(":")
        return int(uid), int(gid or 0)
    container = docker("create", "--network=none", image, "none").decode().strip()
    try:
        with tarfile.open(fileobj=io.BytesIO(docker("cp", "--follow-link", f"{container}:/etc/passwd", "-"))) as tar:
            member = tar.next()
            stream = tar.extractfile(member) if member else None
            lines = stream.read().decode("utf-8", "replace").splitlines() if stream else []
    finally:
        docker("rm", "-f", container)
    for line in lines:
        fields = line.split(":")
        if fields[0] == user and len(fields) > 3:
            return int(fields[2]), int(fields[3])
    raise LookupError(f"{image} has no user {user}")


def homes(tasks: list[Task], ids: tuple[int, int]) -> bytes:
    """A tar of one empty folder per task, owned by the user: needs no mkdir in the image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("", *(f"/{task.name}" for task in tasks)):
            folder = tarfile.TarInfo("home" + name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            folder.uid, folder.gid = ids
            folder.mtime = int(time.time())
            tar.addfile(folder)
    return buffer.getvalue()


class Room:
    """A running container of an image; nothing in it but a shell that waits for input that never comes."""

    def __init__(self, image: str, user: str, tasks: list[Task], bodies: Path, ids: tuple[int, int]) -> None:
        """Remember what to start; `start` starts it."""
        self.image, self.user, self.tasks, self.bodies, self.ids = image, user, tasks, bodies, ids
        self.container = ""

    def start(self) -> None:
        """Start it afresh. Raises CalledProcessError when the image cannot even run a shell."""
        self.stop()
        options = ["--init", "--network=none", "--interactive", "--user", self.user, "--shm-size=512m"]
        mount = f"{self.bodies}:{INSIDE}/tasks:ro"
        wait = ["--entrypoint", "sh", self.image, "-c", "read -r never"]
        self.container = docker("create", *options, "-v", mount, *wait).decode().strip()
        docker("cp", "-", f"{self.container}:{INSIDE}", data=homes(self.tasks, self.ids))
        docker("start", self.container)

    def stop(self) -> None:
        """Throw it away with all that runs in it."""
        if self.container:
            subprocess.run(["docker", "rm", "-f", self.container], check=False, stdout=subprocess.DEVNULL)
        self.container = ""

    def alive(self) -> bool:
        """Whether the container still runs; somebody, or the task, may have ended it."""
        ask = ["docker", "inspect", "--format", "{{.State.Running}}", self.container]
        return subprocess.run(ask, check=False, capture_output=True).stdout.strip() == b"true"

    def run(self, task: Task, timeout: float) -> Outcome:
        """Run one task; once more, in a new container, when the container ended under it.

        A dead container would fail every task after, and each would count as a loss that the image never had.
        """
        outcome = self.attempt(task, timeout)
        if outcome.passed or self.alive():
            return outcome
        self.start()
        outcome = self.attempt(task, timeout)
        if outcome.passed or self.alive():
            return outcome
        self.start()
        return Outcome(outcome.status, outcome.seconds, outcome.out, outcome.err + "\nthe container ended, twice")

    def attempt(self, task: Task, timeout: float) -> Outcome:
        """Run one task. After a timeout the container is replaced: killing the client would leave its processes."""
        home = f"{INSIDE}/home/{task.name}"
        command = ["docker", "exec", "--user", self.user, "--workdir", home, "--env", f"HOME={home}", self.container]
        begin = time.monotonic()
        with subprocess.Popen(
            [*command, *RUN[task.language], f"{INSIDE}/tasks/{task.name}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as child:  # fmt: skip
            try:
                out, err = child.communicate(timeout=timeout)
                status: int | None = child.returncode
            except subprocess.TimeoutExpired:
                status = None
                self.stop()
                child.kill()
                out, err = child.communicate()
        seconds = time.monotonic() - begin
        if status is None:
            self.start()
        return Outcome(status, round(seconds, 2), tail(out), tail(err))


def tail(output: bytes) -> str:
    """The end of an output, as text."""
    return output.decode("utf-8", "replace")[-KEPT_OUTPUT:]


def measure(image: str, tasks: list[Task], options: argparse.Namespace, bodies: Path) -> dict[str, Outcome]:
    """Run the tasks on an image, `--jobs` at a time, each job in a container of its own.

    Raises LookupError when the full image runs no container: every task would seem to be none of its.
    """
    outcomes: dict[str, Outcome] = {}
    todo: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        todo.put(task)

    rooms: list[Room] = []

    def work() -> None:
        room = Room(image, options.user, tasks, bodies, options.ids)
        rooms.append(room)
        try:
            room.start()
            with suppress(queue.Empty):
                while True:
                    task = todo.get_nowait()
                    outcomes[task.name] = room.run(task, options.timeout)
                    mark(image, len(outcomes), len(tasks), task, outcomes[task.name])
        except subprocess.CalledProcessError as error:
            print(f"{image}: no container: {error}", file=sys.stderr)
        finally:
            room.stop()

    end([threading.Thread(target=work) for _ in range(options.jobs)], todo, rooms)
    if len(outcomes) < len(tasks) and image == options.full:
        raise LookupError(f"no container of {image} runs: nothing can be compared")
    return {task.name: outcomes.get(task.name, MISSED) for task in tasks}


def end(workers: list[threading.Thread], todo: queue.SimpleQueue[Task], rooms: list[Room]) -> None:
    """Start the workers and wait for them; when interrupted, leave no container behind."""
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        with suppress(queue.Empty):
            while True:
                todo.get_nowait()
        for room in rooms:
            room.stop()
        raise


def mark(image: str, done: int, total: int, task: Task, outcome: Outcome) -> None:
    """One line of progress, on stderr."""
    end = "ok" if outcome.passed else f"FAIL: {outcome.reason[:160]}"
    print(f"{image} {done:3}/{total} {outcome.seconds:5.1f} s  {task.name} {end}", file=sys.stderr)


def table(
    tasks: list[Task],
    full: dict[str, Outcome],
    slims: dict[str, dict[str, Outcome]],
    known: touched.Touched | None = None,
) -> str:
    """Markdown: a row per class and the sums, without and with the class that is apart; a column per slim image."""
    counted = [task for task in tasks if full[task.name].passed]
    groups = sorted({task.group for task in counted} - {APART})
    rows = [(group, [t for t in counted if t.group == group]) for group in groups]
    rows += [("**all but compile**", [t for t in counted if t.group != APART])]
    if known is not None:
        rows += [("**of these on touched software**", [t for t in rows[-1][1] if known.all(t.needs)])]
    rows += [(APART, [t for t in counted if t.group == APART])]
    lines = ["| class | passed on full |" + "".join(f" {name} |" for name in slims)]
    lines += ["|---|---:|" + "---:|" * len(slims)]
    for title, members in rows:
        cells = [share(members, slim) for slim in slims.values()]
        lines.append(f"| {title} | {len(members)} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines)


def share(tasks: list[Task], slim: dict[str, Outcome]) -> str:
    """`survived (per cent)`; rounded down, so that 100 % means all."""
    alive = sum(slim[task.name].passed for task in tasks)
    return f"{alive} ({100 * alive // len(tasks)} %)" if tasks else "-"


def losses(
    tasks: list[Task], full: dict[str, Outcome], slim: dict[str, Outcome], known: touched.Touched | None = None
) -> list[str]:
    """What a slim image lost: a star if on touched software, class, name, and the last line of its complaint."""
    lost = [task for task in tasks if full[task.name].passed and not slim[task.name].passed]
    stars = {task.name: "*" if known is not None and known.all(task.needs) else " " for task in lost}
    return [f"{stars[task.name]} {task.group:12} {task.name:34} {slim[task.name].reason[:160]}" for task in lost]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("full", help="the image before")
    parser.add_argument("slim", nargs="*", help="images after; none: only try the tasks on the full image")
    parser.add_argument("--user", default="root", help="who runs the tasks; a name in the image, UID or UID:GID")
    parser.add_argument("--json", type=Path, help="write all outcomes here, with their output")
    parser.add_argument("--timeout", type=float, default=60, help="seconds per task")
    parser.add_argument("--jobs", type=int, default=1, help="tasks at a time, each in a container of its own")
    parser.add_argument("--plan", type=Path, help="a plan made from the smoke test's trace")
    parser.add_argument(
        "--search", default="/opt/venv/bin", help="folders of the image's PATH beside the usual, with :"
    )
    parser.add_argument("--full-from", type=Path, help="a JSON of an earlier run with the full image's outcomes")
    parser.add_argument("--only", action="append", default=[], help="a class or the start of a name; repeatable")
    return parser.parse_args()


def main() -> int:
    """Run the tasks on every image and print what survived."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tasks = [t for t in load() if not options.only or any(t.group == o or t.name.startswith(o) for o in options.only)]
    try:
        options.ids = owner(options.full, options.user)
        with tempfile.TemporaryDirectory() as folder:
            full, slims = compare(options, tasks, Path(folder))
    except (LookupError, subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"survival: {error}", file=sys.stderr)
        return 2
    show(tasks, full, slims, touched.load(options.plan, options.search.split(":")) if options.plan else None)
    if options.json:
        options.json.write_text(document(options, tasks, full, slims), encoding="utf-8")
    return 1 if any(outcome is MISSED for slim in slims.values() for outcome in slim.values()) else 0


def compare(
    options: argparse.Namespace, tasks: list[Task], bodies: Path
) -> tuple[dict[str, Outcome], dict[str, dict[str, Outcome]]]:
    """All tasks on the full image, and on each slim one those that passed there. Raises LookupError as `measure`."""
    bodies.chmod(0o755)
    for task in tasks:
        (bodies / task.name).write_text(task.body, encoding="utf-8")
    full = earlier(options, tasks) if options.full_from else measure(options.full, tasks, options, bodies)
    counted = [task for task in tasks if full[task.name].passed]
    slims: dict[str, dict[str, Outcome]] = {}
    for number, image in enumerate(options.slim):
        title = image if image not in slims and image != options.full else f"{image} #{number + 2}"
        slims[title] = measure(image, counted, options, bodies)
    return full, slims


def earlier(options: argparse.Namespace, tasks: list[Task]) -> dict[str, Outcome]:
    """What an earlier run found on the full image; a task that it did not have counts as failed there."""
    known = {row["name"]: row["runs"] for row in json.loads(options.full_from.read_text(encoding="utf-8"))["tasks"]}
    found = {}
    for task in tasks:
        run = known.get(task.name, {}).get(options.full)
        found[task.name] = Outcome(*(run[name] for name in ("status", "seconds", "out", "err"))) if run else UNKNOWN
    return found


def show(
    tasks: list[Task],
    full: dict[str, Outcome],
    slims: dict[str, dict[str, Outcome]],
    known: touched.Touched | None = None,
) -> None:
    """Print the table, what does not count and what was lost."""
    print(table(tasks, full, slims, known))
    idle = [task.name for task in tasks if not full[task.name].passed]
    print(f"\n{len(idle)} of {len(tasks)} tasks fail on the full image and do not count: {', '.join(idle)}")
    for image, slim in slims.items():
        print(f"\nlost in {image}:", *losses(tasks, full, slim, known), sep="\n  ")


def document(
    options: argparse.Namespace, tasks: list[Task], full: dict[str, Outcome], slims: dict[str, dict[str, Outcome]]
) -> str:
    """Everything as JSON: per task its class and needs, and per image the outcome (absent: not run there)."""
    runs = {options.full: full, **slims}
    rows = [
        {
            "name": task.name,
            "class": task.group,
            "needs": task.needs,
            "runs": {
                image: {"passed": run[task.name].passed, **asdict(run[task.name])}
                for image, run in runs.items()
                if task.name in run
            },
        }
        for task in tasks
    ]
    return json.dumps({"full": options.full, "slim": list(slims), "user": options.user, "tasks": rows}, indent=1)


if __name__ == "__main__":
    sys.exit(main())
