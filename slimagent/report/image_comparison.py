"""Compare two images by what is in them: what came, what went, what grew, and what the image knows of why. Pure.

Nothing was traced, so the reason is what package managers recorded: a version, who asked for a package, what requires
it. A file counts once, with its first owner: so the differences of all packages and directories together are the
difference of the two images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from slimagent.model.audit import Area, Audit, Component
from slimagent.model.comparison import ImageComparison, ImageSide, Moved, OnSide, Presence
from slimagent.paths.algebra import to_text
from slimagent.report.sides import ABSENT, DIRECTORY, Key, keyed, kinds, movement
from slimagent.text.counted import counted

_NAMED = 3  # packages that require one


@dataclass(frozen=True, slots=True)
class _Listed:
    """One image: its packages and its directories of files without an owner, by key."""

    components: Mapping[Key, Component]
    areas: Mapping[Key, Area]
    names: frozenset[str]  # of all packages

    def on_side(self, key: Key) -> OnSide:
        """What the image has of it."""
        component = self.components.get(key)
        if component is not None:
            return OnSide(
                presence=Presence.PRESENT,
                version=component.package.version,
                bytes=component.size,
                reason=_why_there(component, component.requirers),
            )
        area = self.areas.get(key)
        if area is not None or key[3] == DIRECTORY:  # a directory may be there with none of its files free of an owner
            return OnSide(presence=Presence.PRESENT, bytes=0 if area is None else area.size)
        return ABSENT


def compare_images(a: Audit, b: Audit, tool: str, *, same: bool) -> ImageComparison:
    """Compare image `b` with image `a`. `same`: the two names are names of one image."""
    of_a, of_b = _listed(a), _listed(b)
    of_b = _moved_along(of_a, of_b)
    keys = sorted({*of_a.components, *of_a.areas, *of_b.components, *of_b.areas})
    sides_a = {key: each for key in keys if (each := of_a.on_side(key)) is not ABSENT}
    sides_b = {key: each for key in keys if (each := of_b.on_side(key)) is not ABSENT}
    moved = []
    for key in keys:
        on_a, on_b = sides_a.get(key, ABSENT), sides_b.get(key, ABSENT)
        how = movement(on_a, on_b)
        if how is not None:
            kind, name, place, _ = key
            why = _why(key, of_a, of_b)
            moved.append(Moved(movement=how, kind=kind, name=name, place=place, a=on_a, b=on_b, reason=why))
    moved.sort(key=lambda each: -abs(each.difference))  # stable: by kind and name where the difference is the same
    return ImageComparison(
        tool=tool, a=_side(a), b=_side(b), same_image=same, kinds=tuple(kinds(sides_a, sides_b)), moved=tuple(moved)
    )


def _side(audit: Audit) -> ImageSide:
    return ImageSide(image=audit.image, size=audit.size, files=audit.files, packages=len(audit.components))


def _listed(audit: Audit) -> _Listed:
    packages = [each.package for each in audit.components]
    return _Listed(
        components={key: audit.components[at] for key, at in keyed(packages).items()},
        areas={("", to_text(each.directory), each.directory, DIRECTORY): each for each in audit.areas},
        names=frozenset(each.label for each in packages),
    )


def _moved_along(a: _Listed, b: _Listed) -> _Listed:
    """B with A's key for each package that only lies in another place there.

    A new Python has a new directory of packages: they are the same packages, and not all gone and all new.
    """
    alone_a, alone_b = _alone(a, b), _alone(b, a)
    keys = {alone_b[named]: key for named, key in alone_a.items() if named in alone_b}
    return _Listed({keys.get(key, key): each for key, each in b.components.items()}, b.areas, b.names)


def _alone(one: _Listed, other: _Listed) -> dict[tuple[str, str], Key]:
    """The packages that the other image does not have in the same place, by kind and name, if there is one such."""
    keys = [key for key in one.components if key not in other.components]
    count = Counter(key[:2] for key in keys)
    return {key[:2]: key for key in keys if count[key[:2]] == 1}


def _why(key: Key, a: _Listed, b: _Listed) -> str:
    """Why something differs, as far as the images say."""
    in_a, in_b = a.components.get(key), b.components.get(key)
    if in_a is not None and in_b is not None:
        return _why_changed(in_a, in_b)
    if in_b is not None:
        return _with_others("in B", "came", in_b, a.names)
    if in_a is not None:
        return _with_others("in A", "went", in_a, b.names)
    return _why_unowned(key, a, b)


def _why_unowned(key: Key, a: _Listed, b: _Listed) -> str:
    """How many files without an owner a directory has. That a package went may be all that happened to them."""
    of_a, of_b = _files(a.areas.get(key)), _files(b.areas.get(key))
    counts = f"{counted(of_a, 'file') if of_a else 'none'} in A, {counted(of_b, 'file') if of_b else 'none'} in B"
    less, more = (("A", a), ("B", b)) if of_a < of_b else (("B", b), ("A", a))
    if of_a == of_b or less[1].names <= more[1].names:
        return counts
    return f"{counts}; some may be of packages that only {less[0]} has"


def _files(area: Area | None) -> int:
    return 0 if area is None else area.files


def _why_changed(a: Component, b: Component) -> str:
    """What differs in a package that both images have."""
    if a.package.version != b.package.version:
        said = [f"version {a.package.version or 'unknown'} in A, {b.package.version or 'unknown'} in B"]
    elif a.size + a.shared == b.size + b.shared:
        said = ["the same version and size; other packages have some of its files in one of the two"]
    else:
        said = [f"the same version; {counted(a.files, 'file')} in A, {counted(b.files, 'file')} in B"]
    if a.package.place != b.package.place:
        said.append(f"{to_text(a.package.place)} in A, {to_text(b.package.place)} in B")
    return "; ".join(said)


def _with_others(side: str, moved: str, component: Component, others: frozenset[str]) -> str:
    """Why a package is in one image alone: for the sake of packages that are there alone, too, if there are some."""
    along = tuple(name for name in component.requirers if name not in others)
    if component.asked or not along:
        return f"{side}, {_why_there(component, component.requirers)}"
    those = _why_there(component, along, len(along))
    return f"{side}, {those}, which {moved}, too"


def _why_there(component: Component, requirers: tuple[str, ...], count: int | None = None) -> str:
    """What an image says of why it has a package."""
    if component.asked:
        return f"asked for ({component.asked})"
    total = component.required if count is None else count
    if not requirers:
        return "nothing requires it, and no record says who asked for it"
    shown = ", ".join(requirers[:_NAMED])
    more = total - min(len(requirers), _NAMED)
    return f"required by {shown}" + (f" and {more:,} more" if more > 0 else "")
