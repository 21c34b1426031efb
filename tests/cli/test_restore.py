"""`slimagent take`, the part of `restore` in a container: what it says of what it could not bring back as it was."""

from __future__ import annotations

from slimagent import apply
from slimagent.cli.restore import _notes


def test_what_a_directory_does_not_have_is_counted_and_named() -> None:
    """The first paths of each kind, and what keeps them."""
    devices = tuple((b"/dev/%d" % number, "a device node") for number in range(7))
    done = apply.Exported(written=1, left_out=devices, cleared=(b"/usr/bin/su",))
    first, second, hint = _notes(done, is_directory=True)
    assert first == (
        "slimagent: 7 paths were left out (a device node): /dev/0, /dev/1, /dev/2, /dev/3, /dev/4 and 2 more"
    )
    assert second == "slimagent: setuid and setgid bits and file capabilities of 1 path were cleared: /usr/bin/su"
    assert "--tar and --tag" in hint


def test_of_a_whole_export_nothing_is_said() -> None:
    assert _notes(apply.Exported(written=1), is_directory=True) == []
    socket = apply.Exported(written=1, left_out=((b"/s", "a tar cannot hold a socket"),))
    assert _notes(socket, is_directory=False) == ["slimagent: 1 path was left out (a tar cannot hold a socket): /s"]
