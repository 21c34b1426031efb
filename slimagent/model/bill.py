"""The nouns of a bill of materials: the packages of an image, before or after slimming. As in `model`."""

from __future__ import annotations

from dataclasses import dataclass

from slimagent.model.inventory import Description, Distribution, Package


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A package on the bill. `reference` names it there, and is the same on the bills before and after slimming.

    `before` and `after` are its bytes in the two images, `after` less what stripping saves; a file of several packages
    is in each. `goes` are the bytes of its files that go, before stripping; there such a file counts with its first
    owner, so these can be added up. `stays` and `reason` the verdict of the plan. `requires` are
    the references of the packages that it requires, as far as they are on the bill; `part_of` is the one that installed
    all of its files, e.g. the Debian package of an R package, or empty. `layers` are those of the slim image that hold
    its files.
    """

    reference: str
    package: Package
    description: Description
    before: int
    after: int
    goes: int
    stays: bool
    reason: str
    requires: tuple[str, ...] = ()
    part_of: str = ""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A bill of materials of the image `image`. `identity` is its digest, `ended` when the run ended (RFC 3339).

    `layers` are the slim image's layers with the digests of their tars. `serial` is a UUID that follows from the
    documents. Texts are empty where unknown.
    """

    tool: str
    serial: str
    image: str
    identity: str
    architecture: str
    level: str
    ended: str
    distribution: Distribution
    packages: tuple[Listed, ...]
    layers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GonePackage:
    """A package that is on the bill before slimming, and not on the one after. `purl` is empty if it has none.

    `bytes` are those of its files that go, before stripping. A file of several packages counts with the first one.
    """

    kind: str
    name: str
    version: str
    place: bytes
    purl: str
    licenses: tuple[str, ...]
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageDifference:
    """What slimming takes off the bill, the largest first; `before` and `after` count the packages.

    Nothing is on the bill after slimming that was not on it before.
    """

    tool: str
    plan: str
    before: int
    after: int
    gone: tuple[GonePackage, ...]
