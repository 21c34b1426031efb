"""A bill of materials as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), in JSON or XML. Pure.

Names of an image are made printable first: XML cannot hold every character.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import License, LicenseAcknowledgement, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion

from slimagent.model.bill import Bill, Listed
from slimagent.model.inventory import Distribution, PackageKind
from slimagent.paths.algebra import to_text
from slimagent.report.sbom.package_urls import package_url
from slimagent.text.escapes import printable
from slimagent.text.json_input import parsed
from slimagent.text.json_output import indented

JSON, XML = "json", "xml"
_FORMATS = {JSON: OutputFormat.JSON, XML: OutputFormat.XML}
_DECLARED = LicenseAcknowledgement.DECLARED
_LONGEST_EXPRESSION = 200  # characters
_FACTORY = LicenseFactory()
_ROOT, _SYSTEM = "slimagent:image", "slimagent:distribution"


def cyclonedx(bill: Bill, form: str, comment: str) -> bytes:
    """The bill as a document. The same bill gives the same bytes. `comment` begins an XML document."""
    text: str = make_outputter(_bom(bill), _FORMATS[form], SchemaVersion.V1_6).output_as_string(indent=2)
    if form == JSON:
        whole = parsed(text)
        whole["metadata"] = _ordered(whole["metadata"], ("tools", "timestamp"))
        return indented(_ordered(whole, ("bomFormat", "specVersion", "metadata", "serialNumber", "version"))) + b"\n"
    declaration, _, rest = text.partition("\n")
    return f"{declaration}\n<!-- {comment} -->\n{rest.rstrip()}\n".encode()


def _ordered(members: dict[str, Any], first: Iterable[str]) -> dict[str, Any]:
    """The members of an object with some of them first: the file's beginning shows who wrote it."""
    return {**{name: members[name] for name in first if name in members}, **members}


def _bom(bill: Bill) -> Bom:
    image = Component(
        name=printable(bill.image, ""),
        version=printable(bill.identity, "") or None,
        type=ComponentType.CONTAINER,
        bom_ref=_ROOT,
        properties=_properties(
            {
                "architecture": bill.architecture,
                "level": bill.level,
                **{f"layer:{name}": f"sha256:{digest}" for name, digest in bill.layers},
            }
        ),
    )
    name, _, version = bill.tool.partition(" ")
    tool = Component(name=name, version=version or None, type=ComponentType.APPLICATION)
    metadata = BomMetaData(component=image, tools=ToolRepository(components=[tool]))
    metadata.timestamp = _time(bill.ended)  # type: ignore[assignment]  # without a time the library takes the clock's
    packages = [_component(each, bill.distribution) for each in bill.packages]
    return Bom(
        serial_number=UUID(bill.serial),
        metadata=metadata,
        components=[*_distribution(bill.distribution), *packages],
        dependencies=_dependencies(bill, packages, image),
    )


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def _distribution(distribution: Distribution) -> Iterator[Component]:
    """The operating system as a component: scanners look there for the distribution."""
    if distribution.id:
        properties = _properties({"codename": distribution.codename})
        yield Component(
            name=printable(distribution.id, ""),
            version=printable(distribution.version, "") or None,
            type=ComponentType.OPERATING_SYSTEM,
            bom_ref=_SYSTEM,
            properties=properties,
        )


def _component(each: Listed, distribution: Distribution) -> Component:
    package, described = each.package, each.description
    by_hand = package.kind == PackageKind.COMPONENT
    return Component(
        name=printable(package.name, "") or "unnamed",
        version=printable(package.version, "") or None,
        type=ComponentType.APPLICATION if by_hand else ComponentType.LIBRARY,
        bom_ref=printable(each.reference, ""),
        purl=package_url(package, described, distribution),
        licenses=_licenses(described.licenses),
        properties=_properties(
            {
                "kind": package.kind,
                "place": to_text(package.place),
                "section": package.section,
                "source": described.source,
                "architecture": described.architecture,
                "verdict": "keep" if each.stays else "drop",
                "reason": each.reason,
                "bytes-before": str(each.before),
                "bytes-after": str(each.after),
                "part-of": each.part_of,
                "layer": " ".join(each.layers),
            }
        ),
    )


def _properties(values: Mapping[str, str]) -> list[Property]:
    """The properties that have a value, in slimagent's namespace."""
    return [Property(name=f"slimagent:{name}", value=printable(value, "")) for name, value in values.items() if value]


def _licenses(names: Iterable[str]) -> list[License]:
    """The licenses as SPDX identifiers where they are; an expression stands alone (CycloneDX, licenseChoice)."""
    found = [_license(printable(name, "")) for name in names if name.strip()]
    if len(found) == 1:
        return found
    return [_FACTORY.make_with_name(each.value) if isinstance(each, LicenseExpression) else each for each in found]


@lru_cache(maxsize=4096)
def _license(name: str) -> License:
    if len(name) > _LONGEST_EXPRESSION:
        return _FACTORY.make_with_name(name, acknowledgement=_DECLARED)
    return _FACTORY.make_from_string(name, license_acknowledgement=_DECLARED)


def _dependencies(bill: Bill, packages: Iterable[Component], image: Component) -> list[Dependency]:
    """What each package requires; the image itself requires those that no other one does."""
    references = {each.reference: component.bom_ref for each, component in zip(bill.packages, packages, strict=True)}
    required = {other for each in bill.packages for other in each.requires}
    roots = [Dependency(reference) for name, reference in references.items() if name not in required]
    found = [Dependency(image.bom_ref, dependencies=roots or [Dependency(ref) for ref in references.values()])]
    for each in bill.packages:
        needs = [Dependency(references[other]) for other in each.requires]
        found.append(Dependency(references[each.reference], dependencies=needs))
    return found
