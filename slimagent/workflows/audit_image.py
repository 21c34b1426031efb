"""Composition from outside: read an image's layers from its engine, and audit it in a container of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from slimagent import documents
from slimagent.errors import UsageError
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.labels import has_layers, identity
from slimagent.image.layers import read_layers
from slimagent.image.work import OUT
from slimagent.model.audit import Audit
from slimagent.workflows.asking import Answer, Inquiry, ask
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

    Raises UsageError if the engine does not have the image or the image has no layers, and as `auditing.audit_here`
    does.
    """
    inspected = engine.inspect(asked.image)
    if not has_layers(inspected):
        raise UsageError(
            f"{asked.image} has no layers: it is a configuration without any file, so there is nothing to audit",
            "name an image with files; one that is only `FROM scratch` with LABEL, ENV or the like has none",
        )
    container = Container(image=identity(inspected) or asked.image)
    agent = bundle()  # before the layers, which take long
    inside = _Inside(engine, agent, container, say)
    if asked.trace is not None:  # so is a trace of another image
        with reporter.phase(f"compare the trace with {asked.image}"):
            inside.audit((*asked.options, "--only-compare"), {**asked.files, _CONFIG: inspected, _TRACE: asked.trace})
    with reporter.phase("read the layers", "bytes") as progress:
        layers = engine.save(container.image, lambda stream: read_layers(stream, progress))
    files = {**asked.files, _CONFIG: inspected, _LAYERS: documents.encode_layers(layers)}
    if asked.trace is not None:
        files[_TRACE] = asked.trace
    with reporter.phase(f"audit in a container of {asked.image}"):
        answer = inside.audit((*asked.options, "--layers", f"{OUT}/{_LAYERS}", "-o", f"{OUT}/{_AUDIT}"), files, _AUDIT)
    made = documents.decode_audit(answer.files[_AUDIT])
    return replace(made, image=asked.image, image_id=identity(inspected), layers=layers.layers, hidden=layers.hidden)


@dataclass(frozen=True, slots=True)
class _Inside:
    """Runs the agent's part of an audit in a container of the image."""

    engine: Engine
    agent: Bundle
    container: Container
    say: Callable[[bytes], None]

    def audit(self, options: tuple[str, ...], files: Mapping[str, bytes], *answers: str) -> Answer:
        """Run `audit` with these options, and with those for the configuration and the trace among `files`."""
        words = ["audit", *options, "--quiet", "--image-config", f"{OUT}/{_CONFIG}"]
        if _TRACE in files:
            words += ["--trace", f"{OUT}/{_TRACE}"]
        inquiry = Inquiry(container=self.container, arguments=tuple(words), files=files, answers=answers)
        return ask(self.engine, lambda: self.agent, inquiry, self.say)
