"""Export what stays as an OCI image layout in a directory: several layers, each the same as long as its contents are.

Beside `index.json` lies a `manifest.json` for engines that do not know image layouts. Formats: see
`apply/export/image_documents.py`; layers are tars as in OCI image-spec, layer.md (`apply/export/pax.py`).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import slimagent
from slimagent.apply.decide import Decision
from slimagent.apply.edits.rewrite import NEW
from slimagent.apply.export import image_documents as documents
from slimagent.apply.export.blobs import Blob, cores
from slimagent.apply.export.components import Part, parts
from slimagent.apply.export.compression import GZIP, compression
from slimagent.apply.export.exporter import Content, Exported
from slimagent.apply.export.new_directory import replacing_directory, require_free, require_outside
from slimagent.apply.export.tar import Archive
from slimagent.apply.progress import Pace
from slimagent.apply.source import Source
from slimagent.errors import RefusedError, UsageError
from slimagent.linux.descriptors import closing, write_all
from slimagent.linux.files import hand_over
from slimagent.model import references
from slimagent.model.image_config import ImageConfig
from slimagent.model.image_labels import LEVEL, PLAN, VERSION
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.profile import COMPONENTS
from slimagent.model.proof import Layer, Receipt
from slimagent.paths.algebra import parent, to_text

_WHITEOUT = b"/.wh."  # layer.md: such a name removes a file of a lower layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """An image layout in the directory `path`, which is absent or empty; see `exporter.Destination`.

    `tag` is the image's name. Without `config` the image's configuration has only the platform of this machine. `ready`
    is a directory in which each finished layer gets a second name, its number and digest, so that others can load it
    early; empty for none.
    """

    path: bytes
    tag: str = ""
    config: ImageConfig | None = None
    compression: str = GZIP
    ready: bytes = b""

    @property
    def name(self) -> str:
        return f"oci:{to_text(self.path)}"

    @property
    def holder(self) -> bytes:
        return parent(os.path.realpath(self.path))

    @property
    def original(self) -> ImageConfig:
        """The configuration from which the image's own is made."""
        return self.config if self.config is not None else documents.plain_config(os.uname().machine)

    def require_possible(self, scopes: tuple[bytes, ...]) -> None:
        """Raise an error, before anything is done, if no such layout can be made of these scopes.

        UsageError for an invalid name, DocumentError for an invalid configuration, RefusedError for a target that is
        not empty and for scopes that are not a whole image.
        """
        if self.tag:
            references.tag(self.tag)
        compression(self.compression)
        documents.config(self.original, _date(), (), ())
        if scopes != (b"/",):
            raise RefusedError(
                f"an image needs the whole root file system, and this plan is of {to_text(scopes[0])} only",
                "plan without --scope, or export with --tar or --to",
            )
        require_free(os.path.realpath(self.path))

    def admit(self, plan: Plan, inventory: Inventory) -> None:
        """Raise what `require_possible` raises, and RefusedError for a target that lies in what is exported."""
        self.require_possible(plan.scopes)
        require_outside(plan, inventory, os.path.realpath(self.path))

    def divide(self, plan: Plan, inventory: Inventory, decision: Decision, source: Source) -> list[Part]:
        """A part for each layer. Raises RefusedError for a file that no layer can hold."""
        _require_layerable(inventory, decision, source)
        return parts(plan, inventory, decision)

    @contextlib.contextmanager
    def making(self, content: Content, pace: Pace) -> Iterator[Callable[[], Exported]]:
        """Raises UnavailableError if it cannot be written."""
        with replacing_directory(os.path.realpath(self.path)) as directory:
            yield _Image(self, directory, content, pace).make

    def holds(self, receipt: Receipt) -> bool:
        """Whether it has the receipt's manifest. It appeared whole, so this is enough."""
        return os.path.exists(os.path.join(self.path, documents.blob(receipt.sha256).encode()))


def _require_layerable(inventory: Inventory, decision: Decision, source: Source) -> None:
    """Raise RefusedError for what engines read as the removal of a file, in a layer or in an unpacked one."""
    made = (action.path for action in decision.actions if action.at is None)
    for path in (*made, *(inventory.paths[at] for at in decision.kept)):
        if _WHITEOUT in path:
            raise _unlayerable(path, "a name that begins with .wh. removes files of lower layers")
    for at in decision.kept:
        if stat.S_ISCHR(inventory.modes[at]) and source.device(at) == (0, 0):
            raise _unlayerable(inventory.paths[at], "a character device 0:0 hides files of lower layers")


def _unlayerable(path: bytes, why: str) -> RefusedError:
    return RefusedError(
        f"no image can hold {to_text(path)}: {why}",
        "rename it or remove it before you trace; --to makes a directory that has it",
    )


def _date() -> str:
    """The date for an image without one: that of the build (reproducible-builds.org), or the epoch."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        date = datetime.datetime.fromtimestamp(int(said or "0"), datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH={said} is not a time", "give seconds since 1970") from None
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Image:
    """Makes the image in a new private directory."""

    def __init__(self, layout: Layout, directory: bytes, content: Content, pace: Pace) -> None:
        self._layout = layout
        self._directory = directory
        self._content = content
        self._pace = pace
        self._compression = compression(layout.compression)
        self._layers: list[Layer] = []
        self._left_out: list[tuple[bytes, str]] = []
        self._written = 0
        self._blobs = self._path(documents.blob(""))

    def make(self) -> Exported:
        """Write the layers and the documents, then let others read the directory, as far as the umask allows."""
        os.makedirs(self._blobs, 0o755)
        for part in self._content.parts:
            self._add_layer(part)
        manifest = self._describe()
        os.chmod(self._directory, os.stat(self._blobs).st_mode & 0o777)
        self._hand_over()
        layers, left_out = tuple(self._layers), tuple(self._left_out)
        return Exported(written=self._written, sha256=manifest, left_out=left_out, layers=layers)

    def _path(self, name: str) -> bytes:
        return os.path.join(self._directory, name.encode())

    def _add_layer(self, part: Part) -> None:
        unnamed = os.path.join(self._blobs, b"layer")
        with (
            closing(os.open(unnamed, NEW, 0o644)) as descriptor,
            Blob(descriptor, self._compression, self._pace, cores()) as blob,
        ):
            archive = Archive(self._content, blob, for_engine=True)
            archive.add_all(part)
            written = blob.finish()
        path = self._path(documents.blob(written.digest))
        os.rename(unnamed, path)
        self._announce(path, written.digest)
        self._written += written.size
        self._left_out += archive.left_out
        self._layers.append(
            Layer(
                component=part.component,
                digest=written.digest,
                diff_id=written.diff_id,
                size=written.size,
                paths=part.own - len(archive.left_out),
            )
        )

    def _announce(self, blob: bytes, digest: str) -> None:
        ready = self._layout.ready
        if ready:
            hand_over(blob, ready)
            os.link(blob, os.path.join(ready, b"%03d-%b" % (len(self._layers), digest.encode())))

    def _describe(self) -> str:
        """Write the documents. Returns the manifest's digest."""
        tag, original, layers = self._layout.tag, self._layout.original, self._layers
        name = references.tag(tag) if tag else None
        suffix = "" if self._compression is None else self._compression.suffix
        original = documents.labelled(original, self._labels())
        config = documents.config(original, _date(), layers, self._notes())
        manifest = documents.manifest(config, layers, suffix, documents.notes_of(original))
        for blob in (config, manifest):
            self._add(documents.blob(documents.digest(blob)), blob)
            self._written += len(blob)
        self._add("oci-layout", documents.LAYOUT_FILE)
        self._add("index.json", documents.index(manifest, original, name))
        self._add("manifest.json", documents.docker_manifest(config, layers, name))
        return documents.digest(manifest)

    def _labels(self) -> dict[str, str]:
        """What the image says of its making, beside its source, which the original's configuration names."""
        plan = self._content.plan
        return {VERSION: slimagent.__version__, PLAN: self._content.plan_digest, LEVEL: plan.level}

    def _notes(self) -> list[dict[str, str]]:
        """Each layer's entry in the history."""
        decision, tool = self._content.decision, f"slimagent {slimagent.__version__}"
        before = decision.bytes_kept + decision.bytes_dropped
        stay = decision.bytes_kept - self._content.stripped.tally.saved
        comment = f"level {self._content.plan.level}: {stay} of {before} bytes of the image stay"
        return [
            {"created_by": f"{tool} apply: layer {COMPONENTS[each.component]}", "comment": comment}
            for each in self._layers
        ]

    def _add(self, name: str, data: bytes) -> None:
        with closing(os.open(self._path(name), NEW, 0o644)) as descriptor:
            write_all(descriptor, data)

    def _hand_over(self) -> None:
        """Give what a container's root wrote to the owner of the directory that holds it."""
        for base, _, names in os.walk(self._directory):
            for path in (base, *(os.path.join(base, name) for name in names)):
                hand_over(path, self._layout.holder)
