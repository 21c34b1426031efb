"""The text of a snapshot: small, the same for the same image, read back as it was; and what is none is refused."""

from __future__ import annotations

import base64
import json
import stat
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slimagent.checks.permissions.compare import compared
from slimagent.checks.permissions.snapshot import SnapshotError, decode, encode
from slimagent.checks.permissions.walk import LeftOut, Snapshot, below, look
from slimagent.checks.permissions.writable import writable
from slimagent.linux.posix_acl import Attributes, Identity
from slimagent.model.result import Outcome

WHO = Identity(1000, frozenset({1000, 27}))
DIRECTORY, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
NAMES = st.binary(min_size=1, max_size=6).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"\n"))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Trees of directories and files, with names of any bytes."""
    every = [Attributes(DIRECTORY, 0, 0), Attributes(FILE, 0, 0), Attributes(FILE | 0o4000, 0, 100, b"\1cap")]
    snapshot = Snapshot(identity=WHO, attributes=every, listings={b"": {b"/": 0}})
    pending = [b"/"]
    while pending:
        directory = pending.pop()
        listing = draw(st.dictionaries(NAMES, st.integers(0, 2), max_size=4 if len(snapshot.listings) < 8 else 0))
        snapshot.listings[directory] = listing
        pending += [below(directory, name) for name, number in listing.items() if number == 0]
    return snapshot


@given(snapshots())
def test_a_snapshot_is_read_back_as_it_was(snapshot: Snapshot) -> None:
    """Names of any bytes, attributes, identity, the order of directories."""
    again = decode(encode(snapshot))
    assert again == snapshot
    assert list(again.listings) == list(snapshot.listings)
    assert encode(again) == encode(snapshot)
    assert all(item.outcome is Outcome.PASSED for item in compared(snapshot, again))


def test_a_real_directory_is_read_back_as_it_was(tmp_path: Path) -> None:
    """What a walk finds, and the same text for the same directory."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").symlink_to("x")
    found = [look([bytes(tmp_path)], WHO, LeftOut(paths=frozenset()), time.monotonic() + 30) for _ in range(2)]
    assert decode(encode(found[0])) == found[0]
    assert encode(found[0]) == encode(found[1])


def test_two_hundred_thousand_paths_are_small() -> None:
    """A snapshot lies in a trace: names cost what they compress to, and the rest next to nothing."""
    snapshot = Snapshot(identity=WHO, attributes=[Attributes(DIRECTORY, 0, 0), Attributes(FILE, 0, 0)])
    directories = [b"package-%d" % number for number in range(4000)]
    snapshot.listings = {b"": {b"/": 0}, b"/": dict.fromkeys(directories, 0)}
    for directory in reversed(directories):
        snapshot.listings[b"/" + directory] = {b"module%d%s" % (number, directory[-3:]): 1 for number in range(50)}
    text = encode(snapshot)
    assert snapshot.count() == 204_001
    assert len(text) < 2_000_000
    assert decode(text) == snapshot


def made(head: object, rest: bytes = b"") -> str:
    """A text in the right envelope."""
    data = (head if isinstance(head, bytes) else json.dumps(head).encode()) + b"\n" + rest
    return f"1:{base64.b64encode(zlib.compress(data)).decode()}"


GOOD = {"identity": [1, [1]], "attributes": [[DIRECTORY, 0, 0, "", "", ""]], "rows": 1}
ROW, NAME = b"\0\0\0\0", b"/\0\0\0"


def test_the_envelope_of_these_tests_is_the_right_one() -> None:
    """The others differ from a good text in one thing only."""
    assert decode(made(GOOD, ROW + NAME)).listings == {b"": {b"/": 0}, b"/": {}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its version"),
        ("2:AAAA", "its version is '2'"),
        ("1:!!!!", ""),
        (encode(Snapshot(identity=WHO))[:-6], ""),
        ("1:" + base64.b64encode(zlib.compress(b"x" * 5000)[:-8]).decode(), "cut short"),
        ("1:" + base64.b64encode(zlib.compress(b"\0" * (65 << 20))).decode(), "too large"),
        (made(b"[" * 100_000), ""),
        (made(b"\xff"), ""),
        (made([]), ""),
        (made({**GOOD, "rows": 2}, ROW + b"/"), "does not have 2 rows"),
        (made({**GOOD, "rows": -1}, ROW + NAME), "-1"),
        (made({**GOOD, "rows": 5_000_000}, b"\0" * 20_000_000), "5000000"),
        (made({**GOOD, "rows": True}, ROW + NAME), "True"),
        (made({**GOOD, "identity": [1]}, ROW + NAME), ""),
        (made({**GOOD, "identity": ["root", []]}, ROW + NAME), "'root'"),
        (made({**GOOD, "attributes": [[DIRECTORY, 0, 0, "", "00", ""]]}, ROW + NAME), "not an access control list"),
        (made({**GOOD, "attributes": [[DIRECTORY, 0, 0, "zz", "", ""]]}, ROW + NAME), ""),
        (made({**GOOD, "attributes": [[DIRECTORY, 0]]}, ROW + NAME), ""),
        (made(GOOD, b"\1\0\0\0" + NAME), "no attributes"),
        (made(GOOD, ROW + b"/\0\0"), "no end"),
        (made(GOOD, ROW + b"/\0\0x"), "a name has no end"),
        (made(GOOD, ROW + NAME + b"\0"), "more rows than directories"),
        (made(GOOD, ROW + b"/\0x\0\0\0\0"), "more names than rows"),
        (made({**GOOD, "rows": 5000}, ROW * 5000 + b"/\0\0" + b"x\0\0" * 4999), "too long"),
    ],
)
def test_what_is_no_snapshot_is_refused(text: str, why: str) -> None:
    """Cut, bloated, of another version, or inconsistent: an error that says why, soon, and nothing else."""
    with pytest.raises(SnapshotError) as caught:
        decode(text)
    assert why in str(caught.value)


_REAL = encode(Snapshot(identity=WHO, attributes=[Attributes(DIRECTORY, 0, 0)], listings={b"": {b"/": 0}, b"/": {}}))


@given(st.binary(max_size=200), st.integers(0, 200))
@example(b"", 0)
def test_damage_never_crashes(data: bytes, at: int) -> None:
    """Whatever bytes come, within the envelope and outside: a snapshot that can be used, or an error."""
    inner = zlib.decompress(base64.b64decode(_REAL[2:]))
    damaged = inner[: at % len(inner)] + data + inner[at % len(inner) :]
    for text in (
        f"1:{base64.b64encode(data).decode()}",
        f"1:{base64.b64encode(zlib.compress(damaged)).decode()}",
        data.decode("latin-1"),
    ):
        try:
            snapshot = decode(text)
        except SnapshotError:
            continue
        assert len(list(compared(snapshot, decode(_REAL)))) == 5
        writable(snapshot, WHO)
