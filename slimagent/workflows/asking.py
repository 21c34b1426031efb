"""Let the agent answer a question in one container of an image, and bring back what it wrote."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from slimagent.errors import UnavailableError
from slimagent.image import owner, preflight
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.labels import identity
from slimagent.image.work import Task, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What to ask of which image.

    `arguments` are a command line of the agent, and `files` are given to it, by name. `answers` names the files that it
    writes; once the first of them exists, its work is done. With `bare`, the container is for the agent alone: it gets
    none of the settings of `container`, which must be possible otherwise.
    """

    container: Container
    arguments: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    bare: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The exit status, and the files that were written, by name."""

    status: int
    files: Mapping[str, bytes]


def ask(
    engine: Engine,
    bundle: Callable[[], Bundle],
    inquiry: Inquiry,
    say: Callable[[bytes], None],
    waiting: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Answer:
    """Ask, and wait for the answer in `waiting()`. `say` gets the agent's lines. Nothing is left in the engine.

    Raises UsageError if the engine does not have the image or refuses the settings, and what the agent raises.
    """
    image = inquiry.container.image
    container = replace(inquiry.container, image=identity(engine.inspect(image)) or image)
    key = owner.new_key()
    env = () if inquiry.bare else preflight.require_startable(engine, container, key)
    with (
        tempfile.TemporaryDirectory(prefix="slimagent-") as out,
        Work(engine, bundle(), out, key, container, say, env) as work,
    ):
        shared = work.share("inquiry")
        for name, data in inquiry.files.items():
            shared.give(name, data)
        task = Task(shared=shared, image=container.image, arguments=inquiry.arguments, bare=inquiry.bare)
        job = work.begin(task, leaves=inquiry.answers[0] if inquiry.answers else "")
        with waiting():
            status = job.result()
        files = {}
        for name in inquiry.answers:
            with contextlib.suppress(UnavailableError):
                files[name] = shared.read(name)
        return Answer(status=status, files=files)
