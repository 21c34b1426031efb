"""Composition from outside: read an image's layers from its engine, and audit it in a container of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from slimagent import documents
from slimagent.image import owner
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.labels import identity
from slimagent.image.layers import read_layers
from slimagent.image.work import OUT, Task, Work
from slimagent.model.audit import Audit
from slimagent.workflows.exercise import Reporter

_CONFIG, _LAYERS, _TRACE, _AUDIT = "image.json", "layers.json", "trace.json", "audit.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to audit. `trace` is a trace's document, `options` are passed on to the agent, and `files` are for them."""

    image: str
    trace: bytes | None = None
    options: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def audit_image(
    engine: Engine, bundle: Callable[[], Bundle], asked: Asked, reporter: Reporter, say: Callable[[bytes], None]
) -> Audit:
    """Audit an image of an engine. Nothing of it is run, and nothing is left in the engine.

    Raises UsageError if the engine does not have the image, and as `auditing.audit_here` does.
    """
    inspected = engine.inspect(asked.image)
    container = Container(image=identity(inspected) or asked.image)
    agent = bundle()  # before the layers, which take long
    with reporter.phase("read the layers", "bytes") as progress:
        layers = engine.save(container.image, lambda stream: read_layers(stream, progress))
    with (
        tempfile.TemporaryDirectory(prefix="slimagent-") as out,
        Work(engine, agent, out, owner.new_key(), container, say) as work,
    ):
        shared = work.share("audit")
        shared.give(_CONFIG, inspected)
        shared.give(_LAYERS, documents.encode_layers(layers))
        for name, data in asked.files.items():
            shared.give(name, data)
        words = ["audit", *asked.options, "--quiet", "--image-config", f"{OUT}/{_CONFIG}"]
        words += ["--layers", f"{OUT}/{_LAYERS}", "-o", f"{OUT}/{_AUDIT}"]
        if asked.trace is not None:
            shared.give(_TRACE, asked.trace)
            words += ["--trace", f"{OUT}/{_TRACE}"]
        task = Task(shared=shared, image=container.image, arguments=tuple(words), bare=True)
        job = work.begin(task)
        with reporter.phase(f"audit in a container of {asked.image}"):
            job.result()
        made = documents.decode_audit(shared.read(_AUDIT))
    return replace(made, image=asked.image, layers=layers.layers, hidden=layers.hidden)
