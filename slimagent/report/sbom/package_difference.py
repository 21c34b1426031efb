"""Say what slimming takes off an image's bill of materials. Pure."""

from __future__ import annotations

from slimagent.model.bill import Bill, GonePackage, PackageDifference
from slimagent.report.sbom.package_urls import package_url
from slimagent.report.text import size, table
from slimagent.text.counted import counted

_SHOWN = 25
_NAME, _VERSION = 34, 24  # characters: four columns fit in 80 of them


def package_difference(before: Bill, plan: str) -> PackageDifference:
    """What is on the bill `before` slimming and does not stay. `plan` is the digest of the plan."""
    gone = []
    for each in before.packages:
        if each.stays:
            continue
        url = package_url(each.package, each.description, before.distribution)
        gone.append(
            GonePackage(
                kind=str(each.package.kind),
                name=each.package.name,
                version=each.package.version,
                place=each.package.place,
                purl="" if url is None else url.to_string(),
                licenses=each.description.licenses,
                bytes=each.goes,
                reason=each.reason,
            )
        )
    gone.sort(key=lambda each: (-each.bytes, each.kind, each.name, each.version, each.place))
    return PackageDifference(
        tool=before.tool,
        plan=plan,
        before=len(before.packages),
        after=len(before.packages) - len(gone),
        gone=tuple(gone),
    )


def difference_lines(difference: PackageDifference) -> list[str]:
    """The packages that go, the largest first, and their number and bytes in the last line."""
    gone = difference.gone
    rows = [
        [f"- {each.kind}:{_cut(each.name, _NAME)}", _cut(each.version, _VERSION), size(each.bytes)]
        for each in gone[:_SHOWN]
    ]
    lines = table([["before, not after", "version", "goes"], *rows], right=(2,)) if rows else []
    rest = gone[_SHOWN:]
    if rest:
        lines.append(f"… and {len(rest):,} more ({size(sum(each.bytes for each in rest))}; --json lists them)")
    total = size(sum(each.bytes for each in gone))
    lines.append(f"{len(gone):,} of {counted(difference.before, 'package')} went, {total}; {difference.after:,} stay")
    return lines


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
