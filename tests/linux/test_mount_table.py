"""Which mounts show a part of the image once more, from lines of /proc/PID/mountinfo."""

from __future__ import annotations

import pytest

from slimagent.linux.mount_table import MountTable, parse, shown_again


def row(point: str, device: str, shows: str, kind: str = "overlay") -> bytes:
    """A line as the kernel writes it."""
    return f"1 2 {device} {shows} {point} rw,relatime shared:1 - {kind} source rw\n".encode()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("/", "0:1", "/"), ("/mnt", "0:1", "/usr/share")], {b"/mnt": b"/usr/share"}),
        ([("/mnt", "0:1", "/usr/share"), ("/", "0:1", "/")], {b"/mnt": b"/usr/share"}),
        ([("/", "0:1", "/"), ("/mnt", "0:1", "/")], {b"/mnt": b"/"}),
        ([("/", "0:1", "/"), ("/var", "0:1", "/var")], {}),
        ([("/", "0:1", "/"), ("/etc/hosts", "8:1", "/engine/hosts"), ("/etc/name", "8:1", "/engine/name")], {}),
        ([("/data", "8:1", "/srv/a"), ("/part", "8:1", "/srv/a/b")], {b"/part": b"/data/b"}),
        ([("/", "0:1", "/"), (r"/with\040space", "0:1", r"/usr\134x")], {b"/with space": b"/usr\\x"}),
    ],
)
def test_a_part_that_is_mounted_twice_has_two_names(
    rows: list[tuple[str, str, str]], expected: dict[bytes, bytes]
) -> None:
    """T1: of a bind mount from before the run both names are known; other file systems are none of that."""
    assert shown_again(parse(b"".join(row(*each) for each in rows))) == expected


def test_what_the_kernel_shows_twice_is_not_the_image() -> None:
    """A container has parts of /proc mounted over themselves, to be read only."""
    rows = row("/proc", "0:5", "/", "proc") + row("/proc/sys", "0:5", "/sys", "proc") + b"no row\n"
    assert shown_again(parse(rows)) == {}
    assert len(parse(rows)) == 2


def test_a_path_below_proc_is_told_from_others() -> None:
    """The real table: /proc is the kernel's; nothing is covered as long as the mounts are those of the beginning."""
    table = MountTable((b"/",))
    try:
        assert (table.of_kernel(b"/proc"), table.of_kernel(b"/proc/1/fd"), table.of_kernel(b"/process")) == (
            b"",
            b"/1/fd",
            None,
        )
        table.cover(b"/tmp")
        assert b"/tmp" in table.special
        assert table.covers(b"/tmp/x") is table.have_changed()
    finally:
        table.close()
