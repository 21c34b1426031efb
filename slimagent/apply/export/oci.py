"""Export what stays as an OCI image layout in a folder: several layers, each stable as long as what it holds is.

Beside the layout's `index.json` lies a `manifest.json`, so that engines load it that know no image layouts. The formats
are in `apply/export/image_documents.py`. Layers are tars as in layer.md of the OCI image-spec (`apply/export/pax.py`).
"""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

import slimagent
from slimagent.apply.decide import Decision, decide
from slimagent.apply.edits.edit import edit
from slimagent.apply.edits.rewrite import write_all
from slimagent.apply.export import image_documents as documents
from slimagent.apply.export import pax
from slimagent.apply.export.blobs import Blob, Written, cores
from slimagent.apply.export.components import Part, parts
from slimagent.apply.export.compression import GZIP, Compression, compression
from slimagent.apply.export.layers import Archive
from slimagent.apply.export.new_directory import replacing_folder, require_free, require_outside
from slimagent.apply.export.receipt import Save, exported
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Source, require_readable
from slimagent.apply.strip.stripped import NO_TOOLS, Stripped, Tools
from slimagent.errors import RefusedError, UsageError
from slimagent.linux.files import hand_over
from slimagent.model import references
from slimagent.model.image_config import ImageConfig
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.profile import COMPONENTS
from slimagent.model.proof import Layer, Receipt
from slimagent.paths.algebra import parent, to_text

_TOOL = f"slimagent {slimagent.__version__}"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WHITEOUT = b"/.wh."  # layer.md: what begins so says that something of a lower layer is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is wanted: the folder to make, the image's name if it has one, its configuration, and the compression.

    Without a configuration the image has one that says nothing but the platform of this machine. `ready` is a directory
    in which each layer gets a second name as soon as it is written, its number and its digest, so that somebody can
    begin to load it; empty for none.
    """

    folder: bytes
    tag: str = ""
    config: ImageConfig | None = None
    compression: str = GZIP
    ready: bytes = b""


def write_layout(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    wanted: Layout,
    progress: Progress | None = None,
    tools: Tools = NO_TOOLS,
    save: Save = lambda receipt: None,
) -> Receipt:
    """Write everything that stays as an image layout, whole or not at all; `progress` gets bytes before compression.

    The receipt's `sha256` is the manifest's; `save` gets it before the layout is there. Raises UsageError for a name
    that is none; RefusedError for a target that is not empty or lies in what is exported, for a plan that is not of a
    whole image, for a file that no layer can hold, and for one that changes meanwhile; DocumentError for a
    configuration that no image can have; UnavailableError for a file that cannot be read and when the target cannot be
    written.
    """
    require_possible(wanted, plan.scopes)
    target = os.path.realpath(wanted.folder)
    require_outside(plan, inventory, target)
    decision = decide(plan, inventory)
    require_readable(inventory, decision)
    with Source(inventory) as source:
        decision = edit(plan, inventory, decision, source.read)
        _require_layerable(inventory, decision, source)
        divided = parts(plan, inventory, decision)
        order = [each for part in divided for each in part.members if isinstance(each, int)]
        stripped = Stripped(plan, inventory, decision, order, parent(target), tools)
        with replacing_folder(target) as folder, stripped:
            store = _Store(folder, compression(wanted.compression), Pace(progress), wanted.ready)
            layers, left_out = _write_layers(divided, inventory, decision, source, store, stripped)
            digest = _describe(_comment(plan, decision, stripped), wanted, layers, store)
            store.finish()
            _hand_over(folder, parent(target))
            receipt = exported(
                plan_digest,
                f"oci:{to_text(wanted.folder)}",
                decision,
                stripped,
                written=store.written,
                sha256=digest,
                left_out=tuple(left_out),
                layers=tuple(layers),
            )
            save(receipt)
    return receipt


def _hand_over(folder: bytes, holder: bytes) -> None:
    """What a container's root wrote becomes the property of whose folder it is in."""
    for base, _, names in os.walk(folder):
        for path in (base, *(os.path.join(base, name) for name in names)):
            hand_over(path, holder)


def require_possible(wanted: Layout, scopes: tuple[bytes, ...]) -> None:
    """Say before anything is done that such a layout cannot be made of these scopes. Raises as `write_layout` does."""
    if wanted.tag:
        references.tag(wanted.tag)
    compression(wanted.compression)
    documents.config(_original(wanted), _date(), (), ())
    if scopes != (b"/",):
        raise RefusedError(
            f"an image is a whole root file system, and this is of {to_text(scopes[0])} only",
            "plan without --scope, or export with --tar or --to",
        )
    require_free(os.path.realpath(wanted.folder))


def _require_layerable(inventory: Inventory, decision: Decision, source: Source) -> None:
    """Raise RefusedError for what engines take for the removal of a file, in a layer or when they have unpacked it."""
    made = (deed.path for deed in decision.deeds if deed.at is None)
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


def _write_layers(
    divided: Iterable[Part],
    inventory: Inventory,
    decision: Decision,
    source: Source,
    store: _Store,
    stripped: Stripped,
) -> tuple[list[Layer], list[tuple[bytes, str]]]:
    """Each part as a blob. Returns the layers, and the paths that a tar cannot hold."""
    layers, left_out = [], []
    for part in divided:
        written, without = store.add_layer(inventory, decision, source, part, stripped)
        left_out += without
        layers.append(
            Layer(
                component=part.component,
                digest=written.digest,
                diff_id=written.diff_id,
                size=written.size,
                paths=part.own - len(without),
            )
        )
    return layers, left_out


def _comment(plan: Plan, decision: Decision, stripped: Stripped) -> str:
    before = decision.bytes_kept + decision.bytes_dropped
    return f"level {plan.level}: {decision.bytes_kept - stripped.saved} of {before} bytes of the image stay"


def _describe(comment: str, wanted: Layout, layers: list[Layer], store: _Store) -> str:
    """Write the documents. Returns the manifest's digest."""
    name = references.tag(wanted.tag) if wanted.tag else None
    original = _original(wanted)
    notes = [
        {"created_by": f"{_TOOL} apply: layer {COMPONENTS[layer.component]}", "comment": comment} for layer in layers
    ]
    config = documents.config(original, _date(), layers, notes)
    manifest = documents.manifest(config, layers, store.suffix)
    store.add(documents.blob(documents.digest(config)), config)
    store.add(documents.blob(documents.digest(manifest)), manifest)
    store.add("oci-layout", documents.LAYOUT_FILE)
    store.add("index.json", documents.index(manifest, original, name))
    store.add("manifest.json", documents.docker_manifest(config, layers, name))
    return documents.digest(manifest)


def _original(wanted: Layout) -> ImageConfig:
    return wanted.config if wanted.config is not None else documents.plain_config(os.uname().machine)


def _date() -> str:
    """The date of an image whose original has none: what the build says (reproducible-builds.org), or the epoch."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        date = datetime.datetime.fromtimestamp(int(said or "0"), datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH={said} is no time", "give seconds since 1970") from None
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Store:
    """The new folder, while it is private. `written` counts the bytes of its blobs. `ready` as in `Layout`."""

    def __init__(self, folder: bytes, way: Compression | None, pace: Pace, ready: bytes = b"") -> None:
        self._folder = folder
        self._ready = ready
        self._layers = 0
        self._way = way
        self._pace = pace
        self.suffix = "" if way is None else way.suffix
        self.written = 0
        self._blobs = self._path(documents.blob(""))
        os.makedirs(self._blobs, 0o755)

    def _path(self, name: str) -> bytes:
        return os.path.join(self._folder, name.encode())

    def add_layer(
        self, inventory: Inventory, decision: Decision, source: Source, part: Part, stripped: Stripped
    ) -> tuple[Written, list[tuple[bytes, str]]]:
        """Write a part as a blob. Returns what was written, and the paths that a tar cannot hold."""
        unnamed = os.path.join(self._blobs, b"layer")
        descriptor = os.open(unnamed, _NEW, 0o644)
        try:
            with Blob(descriptor, self._way, self._pace, cores()) as blob:
                archive = Archive(inventory, decision, source, blob, stripped, for_engine=True)
                archive.add_all(part.members, part.undated)
                blob.put(pax.END)
                written = blob.finish()
        finally:
            os.close(descriptor)
        blob_path = self._path(documents.blob(written.digest))
        os.rename(unnamed, blob_path)
        self._announce(blob_path, written.digest)
        self.written += written.size
        return written, archive.left_out

    def _announce(self, blob: bytes, digest: str) -> None:
        if self._ready:
            hand_over(blob, self._ready)
            name = b"%03d-%b" % (self._layers, digest.encode())
            os.link(blob, os.path.join(self._ready, name))
            self._layers += 1

    def add(self, name: str, data: bytes) -> None:
        """Write a document."""
        descriptor = os.open(self._path(name), _NEW, 0o644)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        if name.startswith(documents.blob("")):
            self.written += len(data)

    def finish(self) -> None:
        """Let others see the folder, as far as the umask lets them see what is in it."""
        self._pace.finish()
        os.chmod(self._folder, os.stat(self._blobs).st_mode & 0o777)
