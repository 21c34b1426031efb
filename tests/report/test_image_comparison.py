"""Two images side by side: laws over any two audits that add up, each movement with its reason, and the screens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import orjson
import pytest
from document_values import AUDITS
from hostile_texts import HOSTILE, assert_printable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemas import problems

from slimagent.documents import encode_comparison
from slimagent.model.audit import Area, Audit, Component
from slimagent.model.comparison import ImageComparison, Moved, Movement, Presence
from slimagent.model.inventory import Package, PackageKind
from slimagent.report import comparison_text as text
from slimagent.report.comparison_markdown import comparison_markdown
from slimagent.report.image_comparison import compare_images
from slimagent.text.escapes import printable

MIRRORED = {
    Movement.CAME: Movement.WENT,
    Movement.WENT: Movement.CAME,
    Movement.GREW: Movement.SHRANK,
    Movement.SHRANK: Movement.GREW,
    Movement.UPDATED: Movement.UPDATED,
}
slow = settings(
    max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


_LARGEST = 2**40  # bytes: sums of these are numbers of a document, too


def adding_up(audit: Audit) -> Audit:
    """The audit as one of a real image: a directory stands in it once, and the parts come to the whole."""
    areas = {each.directory: replace(each, size=each.size % _LARGEST) for each in audit.areas}
    components = tuple(replace(each, size=each.size % _LARGEST) for each in audit.components)
    unowned = sum(each.size for each in areas.values())
    size = unowned + sum(each.size for each in components)
    return replace(audit, areas=tuple(areas.values()), components=components, unowned=unowned, size=size)


SOME = AUDITS.map(adding_up)


def pack(
    name: str, size: int, version: str = "1", *, place: bytes = b"/", asked: str = "", by: Iterable[str] = (),
    shared: int = 0, files: int = 1,
) -> Component:  # fmt: skip
    """A package of an image, KIND:NAME."""
    kind, _, own = name.partition(":")
    requirers = tuple(by)
    return Component(
        package=Package(kind=PackageKind(kind), name=own, version=version, place=place),
        size=size, shared=shared, files=files, touched=None, asked=asked, required=len(requirers),
        requirers=requirers, layer=None,
    )  # fmt: skip


def image(*packs: Component, name: str = "app:1", areas: Iterable[Area] = ()) -> Audit:
    """An image with these packages."""
    blank = Audit(
        tool="slimagent 0", image=name, size=0, files=9, carried=0, unowned=0, traced=False, layers=(), hidden=(),
        components=packs, areas=tuple(areas), findings=(), problems=(), together=0,
    )  # fmt: skip
    return adding_up(blank)


def compared(a: Audit, b: Audit, *, same: bool = False) -> ImageComparison:
    return compare_images(a, b, "slimagent 0", same=same)


def screen(found: ImageComparison) -> list[str]:
    """All that the terminal shows, in its order."""
    moved = [line for each in text.moved(found) for line in (f"{each.head}  {each.what}", *each.reason)]
    more = text.more_moved(found)
    return [*text.heading(found), *text.totals(found), *moved, more, text.counts(found), text.answer(found)]


@slow
@given(SOME, SOME)
def test_the_differences_are_the_difference(a: Audit, b: Audit) -> None:
    """Those of all packages and directories together, and those by owner, come to that of the two images."""
    found = compared(a, b)
    assert sum(each.difference for each in found.moved) == b.size - a.size
    assert sum(each.bytes_a for each in found.kinds) == a.size
    assert sum(each.bytes_b for each in found.kinds) == b.size
    named = [each for each in a.components if each.package.kind != ""]  # hypothesis has packages of no manager
    assert sum(each.packages_a for each in found.kinds) == len(named)
    sizes = [abs(each.difference) for each in found.moved]
    assert sizes == sorted(sizes, reverse=True)
    assert all(each.reason for each in found.moved)


@slow
@given(SOME)
def test_an_image_is_the_same_as_itself(audit: Audit) -> None:
    """Nothing moves."""
    found = compared(audit, audit)
    assert found.moved == ()
    assert text.answer(found) == "A and B have the same packages, of the same size"
    assert text.answer(compared(audit, audit, same=True)) == "A and B are one image"


@slow
@given(SOME, SOME)
def test_the_other_way_round_is_the_mirror(a: Audit, b: Audit) -> None:
    """What came has gone, and what grew has shrunk, by the same bytes."""

    def as_seen(each: Moved, mirrored: bool) -> tuple[object, ...]:
        movement, sides = each.movement, (each.a, each.b)
        if mirrored:
            movement, sides = MIRRORED[movement], (each.b, each.a)
        return each.kind, each.name, movement, *((side.presence, side.version, side.bytes) for side in sides)

    there, back = compared(a, b).moved, compared(b, a).moved
    assert sorted(map(repr, (as_seen(each, False) for each in there))) == sorted(
        map(repr, (as_seen(each, True) for each in back))
    )


@slow
@given(SOME, SOME)
def test_it_is_described_and_safe_to_print(a: Audit, b: Audit) -> None:
    """The document is what its schema says, and no name breaks a line of the Markdown."""
    found = compared(a, b)
    assert problems("comparison", orjson.loads(encode_comparison(found))) == []
    for line in comparison_markdown(found):
        assert "\n" not in line and "\r" not in line


@given(st.sampled_from(HOSTILE) if not isinstance(HOSTILE, str) else st.just(HOSTILE))
def test_hostile_names_are_printable(name: str) -> None:
    """Of packages, versions, and who asked for them."""
    found = compared(image(), image(pack(f"dpkg:{name}", 5, name, asked=name, place=b"/" + name.encode("utf-8"))))
    for line in screen(found):
        assert_printable(printable(line))


def moved(found: ImageComparison) -> dict[str, tuple[Movement, int, str]]:
    return {f"{each.kind}:{each.name}": (each.movement, each.difference, each.reason) for each in found.moved}


def test_each_movement_has_its_reason() -> None:
    """Its versions, who asked for it, or what requires it: those first that came or went with it."""
    a = image(
        pack("dpkg:curl", 10, asked="apt-mark showmanual"), pack("dpkg:libcurl", 7, by=["dpkg:curl", "dpkg:git"]),
        pack("python:six", 5, "1.16"), pack("dpkg:git", 3, asked="apt-mark showmanual"), pack("r:same", 4),
        pack("python:even", 2, "1"), pack("conda:lost", 6),
    )  # fmt: skip
    b = image(
        pack("python:six", 8, "1.17"), pack("dpkg:git", 3, asked="apt-mark showmanual"), pack("r:same", 9, files=2),
        pack("python:even", 2, "2"), pack("dpkg:libz", 1, by=["dpkg:git"]),
    )  # fmt: skip
    assert moved(compared(a, b)) == {
        "dpkg:curl": (Movement.WENT, -10, "in A, asked for (apt-mark showmanual)"),
        "dpkg:libcurl": (Movement.WENT, -7, "in A, required by dpkg:curl, which went, too"),
        "conda:lost": (Movement.WENT, -6, "in A, nothing requires it, and no record says who asked for it"),
        "r:same": (Movement.GREW, 5, "the same version; 1 file in A, 2 files in B"),
        "python:six": (Movement.GREW, 3, "version 1.16 in A, 1.17 in B"),
        "dpkg:libz": (Movement.CAME, 1, "in B, required by dpkg:git"),
        "python:even": (Movement.UPDATED, 0, "version 1 in A, 2 in B"),
    }


def test_a_package_in_another_place_is_the_same_package() -> None:
    """A new Python has a new directory: not everything has gone and come again. Two copies are not guessed at."""
    old, new = b"/usr/lib/python3.11", b"/usr/lib/python3.12"
    a = image(pack("python:six", 5, place=old), pack("python:two", 1, place=old), pack("python:two", 1, place=b"/venv"))
    b = image(pack("python:six", 7, "2", place=new), pack("python:two", 1, place=new))
    found = moved(compared(a, b))
    assert found["python:six"] == (
        Movement.GREW, 2, "version 1 in A, 2 in B; /usr/lib/python3.11 in A, /usr/lib/python3.12 in B"
    )  # fmt: skip
    counts = [each.movement for each in compared(a, b).moved if each.name == "two"]
    assert sorted(counts) == [Movement.CAME, Movement.WENT, Movement.WENT]


def test_files_without_an_owner_are_said_by_directory() -> None:
    """With how many there are."""
    a = image(areas=[Area(directory=b"/opt/app", size=10, files=2)])
    b = image(
        areas=[Area(directory=b"/opt/app", size=30, files=1), Area(directory=b"/srv", size=5, files=4)], name="app:2"
    )
    found = compared(a, b)
    assert moved(found) == {
        ":/opt/app": (Movement.GREW, 20, "2 files in A, 1 file in B"),
        ":/srv": (Movement.GREW, 5, "none in A, 4 files in B"),
    }
    assert screen(found) == [
        "A  app:1  9 files",
        "B  app:2  9 files",
        "owner     packages A  B  size A     B  difference",
        "nobody's                   10 B  35 B       +25 B",
        "together           0  0    10 B  35 B       +25 B",
        "     +20 B  grew     /opt/app, files without an owner",
        "2 files in A, 1 file in B",
        "      +5 B  grew     /srv, files without an owner",
        "none in A, 4 files in B",
        "",
        "2 grew (+25 B)",
        "B has 25 B more than A (250.0 %): 35 B instead of 10 B",
    ]


def test_a_file_whose_package_went_has_not_come() -> None:
    """It is in both images, and nobody's in one: its directory is there in both, and the reason says what may be."""
    a, b = image(pack("dpkg:ssh", 7)), image(areas=[Area(directory=b"/etc/ssh", size=3, files=1)])
    (one,) = (each for each in compared(a, b).moved if not each.kind)
    assert (one.movement, one.a.presence, one.a.bytes) == (Movement.GREW, Presence.PRESENT, 0)
    assert one.reason == "none in A, 1 file in B; some may be of packages that only A has"
    (back,) = (each for each in compared(b, a).moved if not each.kind)
    assert (back.movement, back.reason) == (
        Movement.SHRANK,
        "1 file in A, none in B; some may be of packages that only B has",
    )


@pytest.mark.parametrize(("a", "b"), [(5, 8), (8, 5)])
def test_bytes_that_only_count_with_another_package_say_so(a: int, b: int) -> None:
    """Nothing of the package changed."""
    found = compared(image(pack("python:x", a, shared=10 - a)), image(pack("python:x", b, shared=10 - b)))
    ((_, difference, why),) = moved(found).values()
    assert difference == b - a
    assert why == "the same version and size; other packages have some of its files in one of the two"
