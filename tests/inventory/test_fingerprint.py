"""The fingerprint knows an image again, and tells it from another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.inventory.fingerprint import VOLATILE, fingerprint
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small image with every kind of entry, open to everybody."""
    directory = tmp_path / "image"
    (directory / "usr/lib").mkdir(parents=True)
    (directory / "usr/lib/a").write_text("a")
    (directory / "usr/lib/b").write_text("bb")
    os.link(directory / "usr/lib/a", directory / "usr/twin")
    (directory / "bin").symlink_to("usr/bin")
    os.mkfifo(directory / "fifo")
    (directory / "empty").mkdir()
    (directory / os.fsdecode(b"latin1-\xe9")).touch()
    return directory


def of(image: Path, scopes: tuple[bytes, ...] = (b"/",), excluded: tuple[bytes, ...] = ()) -> str:
    return fingerprint(scan(os.fsencode(os.path.realpath(image)), scopes, excluded))


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: (image / "usr/lib/a").write_text("aa"),
        lambda image: (image / "usr/more").touch(),
        lambda image: (image / "fifo").unlink(),
        lambda image: (image / "usr/lib/a").rename(image / "usr/lib/c"),
        lambda image: (image / "usr/lib/a").rename(image / "usr/a"),
        lambda image: relink(image / "bin", "usr/sbin"),
        lambda image: ((image / "empty").rmdir(), (image / "empty").touch()),
        lambda image: ((image / "fifo").unlink(), (image / "fifo").touch()),
        lambda image: ((image / "empty").rmdir(), (image / "empty").symlink_to("usr")),
        lambda image: swap(image / "usr/lib/a", image / "usr/lib/b"),
        lambda image: (image / "tmp").symlink_to("usr"),
    ],
)
def test_another_image_has_another_fingerprint(image: Path, change: Callable[[Path], object]) -> None:
    """A path more or less, or another kind, size or link target, makes another image."""
    before = of(image)
    change(image)
    assert of(image) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda image: None,
        lambda image: os.utime(image / "usr/lib/a", (1, 1)),
        lambda image: (image / "usr/lib/a").chmod(0o755),
        lambda image: (image / "usr/lib/a").write_text("b"),
        lambda image: ((image / "usr/twin").unlink(), (image / "usr/twin").write_text("a")),
        lambda image: os.geteuid() == 0 and os.chown(image / "usr/lib/a", 1000, 1000),
    ],
)
def test_times_owners_and_rights_do_not_count(image: Path, change: Callable[[Path], object]) -> None:
    """Another time, owner or mode, or other bytes of the same number, is the same image still."""
    before = of(image)
    change(image)
    assert of(image) == before


@pytest.mark.parametrize("directory", [*map(os.fsdecode, VOLATILE), "/usr/lib/__pycache__", "/opt/.cache"])
def test_places_that_change_by_themselves_do_not_count(image: Path, directory: str) -> None:
    """What a running container leaves in temporary directories, logs, homes and caches makes no other image."""
    place = image / directory.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    before = of(image)
    place.mkdir()
    (place / "left").write_text("x")
    assert of(image) == before


@pytest.mark.parametrize("scope", [b"/home/me/env", b"/home", b"/home/me"])
def test_a_volatile_place_counts_where_it_is_asked_for(image: Path, scope: bytes) -> None:
    """A scope in a home directory is looked at: somebody named it."""
    environment = image / "home/me/env"
    environment.mkdir(parents=True)
    before = of(image, (scope,))
    (environment / "x").touch()
    assert of(image, (scope,)) != before


def test_a_closed_directory_counts_in_a_scope_of_its_own(image: Path) -> None:
    """Whoever names a directory can read it: there, what others cannot list counts too."""
    closed = image / "opt/closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    whole, scoped = of(image), of(image, (b"/opt",))
    (closed / "x").touch()
    assert of(image) == whole
    assert of(image, (b"/opt",)) != scoped


def test_a_closed_root_is_a_root_all_the_same(image: Path) -> None:
    """The root directory's own mode closes nothing off."""
    image.chmod(0o700)
    before = of(image)
    (image / "usr/more").touch()
    assert of(image) != before


def test_what_is_excluded_does_not_count(image: Path) -> None:
    """Our own files and outputs make no other image."""
    before = of(image, excluded=(b"/out",))
    (image / "out").mkdir()
    (image / "out/plan.json").touch()
    assert of(image, excluded=(b"/out",)) == before


_ROWS = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=3).map(lambda name: b"/" + name.replace(b"\0", b"0").replace(b"/", b"_")),
        st.sampled_from([0o100644, 0o120777, 0o010644]),
        st.integers(0, 12),
        st.binary(min_size=1, max_size=3).map(lambda name: name.replace(b"\0", b"0")),
    ),
    unique_by=lambda row: row[0],
    max_size=3,
).map(sorted)


def made_of(rows: list[tuple[bytes, int, int, bytes]]) -> Inventory:
    inventory = Inventory(root=b"/x", scopes=(b"/",))
    for at, (path, mode, size, target) in enumerate(rows):
        inventory.paths.append(path)
        inventory.modes.append(mode)
        inventory.sizes.append(size)
        if mode == 0o120777:
            inventory.targets[at] = target
    return inventory


@given(_ROWS, _ROWS)
def test_no_two_images_are_spelled_alike(
    one: list[tuple[bytes, int, int, bytes]], other: list[tuple[bytes, int, int, bytes]]
) -> None:
    """Whatever bytes names and targets hold, images have equal fingerprints only if they are alike."""

    def seen(rows: list[tuple[bytes, int, int, bytes]]) -> list[tuple[bytes, int, object]]:
        return [
            (path, mode, size if mode == 0o100644 else target if mode == 0o120777 else None)
            for path, mode, size, target in rows
        ]

    assert (fingerprint(made_of(one)) == fingerprint(made_of(other))) is (seen(one) == seen(other))
