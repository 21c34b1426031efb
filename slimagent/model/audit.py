"""The nouns of an audit: an image's layers, its components, and what could be smaller. As in `model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from slimagent.model.inventory import Package


class Fate(Enum):
    """What a later layer does to a file of an earlier one: the image still carries both."""

    DELETED = "deleted"
    REPLACED = "replaced"
    COPIED = "copied"  # the same content again, with another owner, mode or time


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer: `size` is the sum of its regular files' sizes in bytes, `files` their number.

    `command` is what made it, as the image's history says.
    """

    digest: str
    command: str
    size: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Files of layer `layer` that layer `by` hides, `size` bytes of them. Layers are counted from 0.

    `examples` are the largest. `changed` says which attributes of copied files differ: owner, mode or time.
    """

    layer: int
    by: int
    fate: Fate
    size: int
    files: int
    examples: tuple[bytes, ...]
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """An image's layers, the lowest first, and the layer from which each file of the image comes."""

    layers: tuple[Layer, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    of: Mapping[bytes, int] = field(default_factory=dict)


class Risk(Enum):
    """What may stop working after an edit, from nothing to what the image is for."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


HERE = "this container"  # the name of an image that an audit from inside does not know
UNUSED = "unused"  # the kind of finding that needs a trace
# The kinds of findings beside the names of the rules for cruft.
KINDS = (
    *("hidden", "copied-again", "symbols", UNUSED, "required-anyway", "duplicate", "same-content", "optional-tool"),
    *("extension", "gpu", "build-tools"),
)
OF_LAYERS = ("hidden", "copied-again")  # findings about bytes that are in layers and not in the image
# Findings about packages: where a package's record cannot be read, one can be missing.
OF_PACKAGES = (UNUSED, "required-anyway", "duplicate", "optional-tool", "extension", "gpu", "build-tools")
# By how much a finding's bytes are divided when findings are sorted.
WEIGHT = {Risk.NONE: 1, Risk.LOW: 2, Risk.MEDIUM: 4, Risk.HIGH: 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in an image that could be smaller.

    `size` is in bytes: what the edit saves, unless `comment` says that it saves less of it. `evidence` are
    sentences. `edit` is the text for the file `file` (a Dockerfile, environment.yml, ...); `comment` says where in
    it the text belongs, or what it does not do. Names and paths in `edit` are shell words. What is no line for the
    file is a comment in it, with a `#`. `subjects` are packages (`dpkg:gcc-12`) or paths. `layers` are counted from
    0. Findings can overlap: a package that could go has documentation that could go, too.
    """

    kind: str
    title: str
    size: int
    risk: Risk
    evidence: tuple[str, ...]
    file: str
    edit: str
    comment: str = ""
    subjects: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A package of the image. `files` are its regular files, each once for all of its names.

    `size` are the bytes of those that count with it: a file of several packages counts with the first one, e.g. the
    Debian package that installed a Python distribution. `shared` are the bytes of the others. `touched` is what a test
    used of `size`, None without a trace.

    `asked` says who asked for it by name; it is empty if nobody did, or if the manager does not record it. `layer` has
    most of its bytes; None if layers are not known. `required` is the number of installed packages that require it,
    `requirers` are some of them.
    """

    package: Package
    size: int
    shared: int
    files: int
    touched: int | None
    asked: str
    required: int
    requirers: tuple[str, ...]
    layer: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Files without an owner in a directory, at most two levels deep: so many, of so many bytes."""

    directory: bytes
    size: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is in an image, largest first, and what could be smaller, by bytes per risk.

    `size` is the sum of the files' sizes in bytes; hard links count once. `carried` is the same of all layers:
    files that a later layer hides count, too. It is 0 if layers are not known. `unowned` bytes belong to no
    component, and lie in `areas`: with the sizes of the components they come to `size`. `together` is what all
    edits save, where a byte counts once, without what is in the base image; of `carried`, or of `size` if layers
    are not known. `problems` are package records that could not be understood. `image_id` is the image's ID as its
    engine gives it; an audit from inside does not know it.
    """

    tool: str
    image: str
    size: int
    files: int
    carried: int
    unowned: int
    together: int
    traced: bool
    layers: tuple[Layer, ...]
    hidden: tuple[Hidden, ...]
    components: tuple[Component, ...]
    areas: tuple[Area, ...]
    findings: tuple[Finding, ...]
    problems: tuple[tuple[bytes, str], ...]
    image_id: str = ""
