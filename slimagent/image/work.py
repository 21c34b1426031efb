"""Everything that a run creates on the way to a slim image: it is removed however the run ends."""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Generic, TypeVar

from slimagent.errors import ERROR_VARIABLE, SlimagentError
from slimagent.image.agent import Bundle, held_back
from slimagent.image.agent_error import ERROR, raise_error
from slimagent.image.container import Container
from slimagent.image.early import EarlyLoading
from slimagent.image.engine import Engine, EngineRefusedError
from slimagent.image.shared import Shared
from slimagent.linux.files import explained, make_directory
from slimagent.linux.removal import remove_tree
from slimagent.linux.signals import deferred

# Where containers see the agent and its output. Only root can enter the directory of the output: a user of the image
# may have the same number as the user who runs slimagent and owns the output. An image that has these paths is
# refused (preflight.py).
AGENT, PRIVATE, OUT = "/.slimagent", "/.slimagent-out", "/.slimagent-out/out"
GIVEN = "/.slimagent-out/given"
LAYOUT, LOGS, READY = "layout", "logs", "ready"
REMOVE = """
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.__file__), "site-packages"))
from slimagent.linux.removal import remove_tree
for each in sys.argv[1:]:
    is_tree = os.path.isdir(each) and not os.path.islink(each)
    (remove_tree if is_tree else os.unlink)(each)
"""
_SAID = 12  # last lines of a container in which the agent recorded no error
_PATIENCE = 0.2  # seconds
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the agent does in a container of `image`, and where it writes.

    `bare` leaves out the user's mounts, variables, GPUs and network settings. `given` is a directory on this machine
    that it can read at GIVEN. If `silent`, nobody hears what it says.
    """

    shared: Shared
    image: str
    arguments: tuple[str, ...]
    bare: bool = False
    cap_add: tuple[str, ...] = ()
    given: str = ""
    silent: bool = False


class Work:
    """The containers, pending images and private directory of a run. Use as a context manager.

    The directory is in `out`; in it, each container gets its own directory to write to. `container` says how containers
    are started, and `env` which variables they then have. `say` gets their output, line by line. Everything that is
    created has `key` in its name.
    """

    def __init__(
        self,
        engine: Engine,
        agent: Bundle,
        out: str,
        key: str,
        container: Container,
        say: Callable[[bytes], None],
        env: Sequence[str] = (),
    ) -> None:
        self.engine = engine
        self.agent = agent
        self._held_back = held_back(env)
        self.container = container
        self._say = say
        self._key = key
        self._names: list[str] = []
        self._pending: list[str] = []
        self._early: EarlyLoading | None = None
        self._loading: Job[None] | None = None
        self._pool = ThreadPoolExecutor(thread_name_prefix="container")
        self._private = os.path.join(os.path.abspath(out), f".work-{key}")
        self._shared = 0

    def __enter__(self) -> Work:
        try:
            os.mkdir(self._private, 0o700)
        except OSError as error:
            raise explained(error, self._private) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with deferred():
            self.end_containers()
            if self._early is not None:
                self._early.give_up()
            self._pool.shutdown()
            self._end_early()
            self.end_containers()  # a thread may have made one since
            for name in reversed(self._pending):
                self.engine.remove_image(name)
            self._remove(self._private)

    def end_containers(self) -> None:
        """Stop and remove all containers."""
        for name in list(self._names):
            self.engine.remove_container(name)

    def share(self, name: str) -> Shared:
        """Make a directory for one container to write to."""
        self._shared += 1
        return Shared(os.path.join(self._private, f"{name}-{self._shared}"))

    def discard(self, shared: Shared) -> None:
        """Remove a container's directory before the end: many containers may follow."""
        self._remove(shared.path)

    def say(self, line: str) -> None:
        """Say something as the agent does: where its lines go."""
        self._say(line.encode())

    def begin(self, task: Task, *, leaves: str = "") -> Job[int]:
        """Run the agent in a new container, in its own thread. The job's result is the exit status.

        `leaves` is the file that the agent writes when its work is done: if it exists, any status comes from a step. If
        the agent could not do its work, the job raises the error that it recorded.
        """
        name = self.create(task)
        return self.aside(lambda: self._run(task, name, leaves))

    def aside(self, job: Callable[[], _T]) -> Job[_T]:
        """Run a job in its own thread."""
        return Job(self._pool.submit(job))

    def _run(self, task: Task, name: str, leaves: str) -> int:
        last: collections.deque[bytes] = collections.deque(maxlen=_SAID)

        def say(line: bytes) -> None:
            last.append(line)
            if not task.silent:
                self._say(line)

        status = self.engine.run(name, say, say)
        self.engine.remove_container(name)
        ended_well = bool(leaves) and task.shared.has(leaves)
        raise_error(task.shared, task.image, task.arguments[0], 0 if ended_well else status, last)
        return status

    def create(self, task: Task) -> str:
        """Create a container for the agent, and return its name. It is removed at the end, whatever happens."""
        wanted = replace(self.container.bare() if task.bare else self.container, cap_add=task.cap_add)
        given = ((task.given, GIVEN, False),) if task.given else ()
        mounts = ((self.agent.directory, AGENT, False), (task.shared.path, OUT, True), *given)
        name = self.new_name()
        variable = f"{ERROR_VARIABLE}={OUT}/{ERROR}"
        self.engine.create(
            name,
            replace(
                wanted,
                image=task.image,
                entry=(*self.agent.entry(AGENT), *task.arguments),
                private=(PRIVATE,),
                mounts=mounts,
                agent_env=(*self._held_back, variable),
            ),
        )
        return name

    def create_as_configured(self, image: str, run_options: tuple[str, ...] = ()) -> str:
        """Create a container as `docker run` does: without the agent, without mounts. Returns its name."""
        name = self.new_name()
        self.engine.create(name, self.container.as_configured(image, run_options))
        return name

    def beside(self, name: str, image: str, arguments: tuple[str, ...]) -> bytes:
        """Run the agent in a container's network, and return the last line that it printed."""
        lines: collections.deque[bytes] = collections.deque(maxlen=1)
        wanted = replace(self.container.bare(), network=f"container:{name}")
        mounts = ((self.agent.directory, AGENT, False),)
        own = self.new_name()
        entry = (*self.agent.entry(AGENT), *arguments)
        self.engine.create(own, replace(wanted, image=image, entry=entry, mounts=mounts, agent_env=self._held_back))
        self.engine.run(own, lines.append, lambda line: None)
        self.engine.remove_container(own)
        return b"".join(lines)

    def mounted(self, image: str, volumes: Collection[str]) -> tuple[str, ...]:
        """The image's declared volumes where the user mounts something else."""
        container = self.container
        if not (container.volumes or container.run_options) or not volumes:
            return ()
        name = self.create(Task(shared=self.share("look"), image=image, arguments=("--version",)))
        found = self.engine.inspect_container(name)
        self.engine.remove_container(name)
        places = {
            str(mount.get("Destination"))
            for mount in found.get("Mounts") or ()
            if mount.get("Type") != "volume" or not _is_anonymous(str(mount.get("Name", "")))
        }
        places |= set((found.get("HostConfig") or {}).get("Tmpfs") or {})
        return tuple(sorted(places & {volume.rstrip("/") or "/" for volume in volumes}))

    @property
    def can_run_together(self) -> bool:
        """Whether two containers can run at once."""
        return self.container.can_run_beside_another

    def new_name(self) -> str:
        """A name for a new container, which is removed at the end."""
        self._names.append(f"slimagent-{self._key}-{len(self._names)}")
        return self._names[-1]

    def load(self, shared: Shared, progress: Callable[[int], None]) -> None:
        """Load the layout that the agent wrote, under its pending name, and remove the layout."""
        layout = shared.at(LAYOUT)
        early, sent = self._end_early(progress)
        if early:
            try:
                self.engine.load(layout, self.pending, lambda count: progress(sent + count), early)
            except EngineRefusedError:  # it has dropped the early layers
                early = ()
        if not early:
            self.engine.load(layout, self.pending, progress)
        self._remove(layout)

    def load_early(self, shared: Shared, platform: dict[str, str]) -> None:
        """Load the layers of an export into `shared` as they appear, if the engine can do that.

        `platform` comes from the image's configuration.
        """
        if self.engine.name != "docker":
            return
        place = os.path.join(self._private, f"early-{len(self._pending)}")
        make_directory(shared.at(READY))
        self._early = EarlyLoading(self.engine, shared.at(READY), place, platform, f"{self.pending}0")
        self._loading = self.aside(self._early.run)

    def _end_early(self, progress: Callable[[int], None] = lambda count: None) -> tuple[Collection[str], int]:
        """Wait until all early layers are loaded. Returns their names, and the bytes that were sent."""
        early, loading = self._early, self._loading
        if early is None or loading is None:
            return (), 0
        early.finish()
        loading.result(lambda: progress(early.sent))
        self._pending[:0] = early.names  # removed at the end: the final image keeps its layers
        self._early = None
        return early.known, early.sent

    @property
    def pending(self) -> str:
        """The name of the last loaded image."""
        return self._pending[-1]

    def next_pending(self) -> str:
        """Make a name for an image that is not verified yet."""
        self._pending.append(f"slimagent-pending:{self._key}-{len(self._pending)}")
        return self._pending[-1]

    def keep_pending(self) -> str:
        """Give the last loaded image a permanent name, and return the name."""
        kept = f"slimagent-failed:{self._key.rpartition('-')[2]}"
        self.engine.tag(self.pending, kept)
        return kept

    def _remove(self, directory: str) -> None:
        """Remove a directory. If the engine runs as root, only root can remove what containers made in it."""
        try:
            remove_tree(directory)
        except FileNotFoundError:
            return
        except OSError:
            self._remove_as_root(directory)
            with contextlib.suppress(OSError):
                remove_tree(directory)

    def _remove_as_root(self, directory: str) -> None:
        python = self.agent.entry(AGENT)[:-1]
        inside = [f"{OUT}/{each}" for each in os.listdir(directory)]
        mounts = ((self.agent.directory, AGENT, False), (directory, OUT, True))
        name = self.new_name()
        with contextlib.suppress(SlimagentError):
            entry = (*python, "-c", REMOVE, *inside)
            wanted = replace(self.container.bare(), entry=entry, mounts=mounts, agent_env=self._held_back)
            self.engine.create(name, wanted)
            self.engine.run(name, lambda line: None, lambda line: None)
        self.engine.remove_container(name)


class Job(Generic[_T]):
    """Work that runs in its own thread."""

    def __init__(self, future: Future[_T]) -> None:
        self._future = future

    def result(self, meanwhile: Callable[[], None] = lambda: None) -> _T:
        """Wait until it ends, and return its result or raise its error. `meanwhile` is called now and then.

        The waits are short: a signal that comes just before a long one would only be noticed after it.
        """
        while True:
            try:
                return self._future.result(_PATIENCE)
            except FutureTimeoutError:
                if self._future.done():
                    raise
            meanwhile()


def _is_anonymous(name: str) -> bool:
    """Whether a volume is anonymous: its name is the 64 digits that an engine chose."""
    return len(name) == 64 and not set(name) - set("0123456789abcdef")
