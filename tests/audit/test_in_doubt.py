"""Where an edit could do harm, or would save nothing, it is words or there is none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from audit_images import audit_of, known_of, of_kind, one
from plan_images import Installed, link, write

from slimagent.audit.by_layer import IN_BASE, destination, is_copied, is_of_base
from slimagent.audit.duplicates import distributions
from slimagent.audit.known import below, places_of
from slimagent.audit.optional import _calls
from slimagent.audit.unused import required_anyway
from slimagent.inventory.contents import Contents
from slimagent.model.audit import Audit, Fate, Finding, Hidden, Risk
from slimagent.model.inventory import REQUIREMENTS
from slimagent.paths.algebra import ancestors
from tests.audit.test_edits import BASE, KB, MB, live, stacked


def named_twice(root: Path, first: str, second: str, packages: tuple[Installed, ...] = ()) -> Audit:
    """An image with a file of two names."""
    write(root, first, MB)
    (root / second[1:]).parent.mkdir(parents=True, exist_ok=True)
    os.link(root / first[1:], root / second[1:])
    write(root, "/usr/bin/tool", KB, 0o755)
    return audit_of(root, packages, ["/usr/bin/tool"] if packages else None, {"dpkg:z": "apt"} if packages else None)


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        ("/home/u/.cache/uv/a", "/opt/v/a", []),
        ("/opt/v/a", "/root/.cache/uv/a", []),
        ("/home/u/.cache/uv/a", "/var/log/a", []),
        ("/home/u/.cache/uv/a", "/home/u/.cache/uv/b/c", ["uv-cache"]),
    ],
)
def test_a_file_goes_only_with_all_of_its_names(tmp_path: Path, first: str, second: str, kinds: list[str]) -> None:
    """A cache of links to what is installed saves nothing; what two rules remove, neither of them saves."""
    made = named_twice(tmp_path, first, second)
    assert [each.kind for each in made.findings] == kinds
    assert made.together == len(MB) * len(kinds)
    for each in made.findings:
        assert (each.title, each.size) == ("1 file", len(MB))


@pytest.mark.parametrize(("second", "size"), [("/srv/kept", 0), ("/usr/lib/z/b", len(MB))])
def test_a_package_does_not_take_a_file_that_has_another_name(tmp_path: Path, second: str, size: int) -> None:
    """Unless that is its own as well."""
    files = ["/usr/lib/z/a", *([second] if size else [])]
    made = named_twice(tmp_path, "/usr/lib/z/a", second, (Installed("dpkg:z", files),))
    assert [each.size for each in of_kind(made, "unused")] == ([size] if size else [])


@pytest.mark.parametrize(("given", "links"), [((b"", b""), 1), ((b"", b"a"), 0), ((b"a", b"a"), 1), ((None, b""), 0)])
def test_a_link_gives_no_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[bytes | None, bytes | None], links: int
) -> None:
    """Nor takes it away: it has those of the file. What cannot be read is left apart."""
    paths = (b"/srv/a", b"/srv/b")
    for path in paths:
        write(tmp_path, path.decode(), MB, 0o755)
    by_path = dict(zip(paths, given, strict=True))
    monkeypatch.setattr(Contents, "capabilities", lambda _, path: by_path[path])
    assert len(of_kind(audit_of(tmp_path), "same-content")) == links


def documented(root: Path, *paths: str) -> list[Finding]:
    """What is said of the same bytes of two packages that no test used and that nobody asked for."""
    for path in paths:
        write(root, path, MB)
    write(root, "/usr/bin/tool", KB, 0o755)
    packages = [Installed(f"dpkg:p{at}", [path]) for at, path in enumerate(paths)]
    write(root, "/usr/share/doc/tool/README", KB)
    packages.append(Installed("dpkg:tool", ["/usr/bin/tool", "/usr/share/doc/tool/README"]))
    made = audit_of(root, packages, ["/usr/bin/tool"])
    assert one(made, "documentation").size < len(MB)  # the copies go with their packages, not as cruft
    return of_kind(made, "same-content")


def test_what_the_edit_of_cruft_can_remove_is_not_linked(tmp_path: Path) -> None:
    """The plan lets it go for another reason, but the edit goes by patterns: a link to it would fail."""
    assert documented(tmp_path, "/usr/share/doc/a/changelog.gz", "/usr/share/doc/b/changelog.gz") == []


def test_what_a_cruft_rule_excepts_is_linked(tmp_path: Path) -> None:
    """The edit leaves it: e.g. licences among the documentation."""
    found = documented(tmp_path, "/usr/share/doc/a/copyright", "/usr/share/doc/b/copyright")
    assert [each.subjects for each in found] == [("/usr/share/doc/a/copyright", "/usr/share/doc/b/copyright")]


def test_capabilities_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel stores them; none are b"". Nobody knows those of a file that is not there."""
    write(tmp_path, "/a", KB)
    contents = Contents(os.fsencode(tmp_path.resolve()))
    assert (contents.capabilities(b"/a"), contents.capabilities(b"/b")) == (b"", None)
    monkeypatch.setattr(os, "getxattr", lambda _, name: name.encode())
    assert contents.capabilities(b"/a") == b"security.capability"


def test_directories_are_counted_as_their_paths_say() -> None:
    """Each has what is in those below it."""
    paths = [b"/a/b/c", b"/a/b/d/e", b"/a/f", b"/g", b"/h/i/j/k/l"]
    every = {above for path in paths for above in ancestors(path)}
    assert below(paths) == {each: sum(each in ancestors(path) for path in paths) for each in every}


def test_deep_directories_take_no_long_time(tmp_path: Path) -> None:
    """Many files in one take no longer than in a shallow one."""
    deep = "/d" * 1500
    write(tmp_path, "/top/a", KB)
    known = known_of(tmp_path)
    paths = [f"/opt{deep}/{at}".encode() for at in range(3000)]
    began = time.monotonic()
    assert below(paths)[b"/opt"] == len(paths)
    assert dict(places_of(known, range(len(known.inventory))))
    assert time.monotonic() - began < 5


def hidden_edit(root: Path, fate: Fate, commands: list[str], by: int, *examples: str) -> list[str]:
    """What is said of files of layer 2 that a later layer hides. They are comments."""
    lost = Hidden(layer=1, by=by, fate=fate, size=500_000, files=1, examples=tuple(map(os.fsencode, examples)))
    found = one(audit_of(root, layers=stacked([BASE, *commands], {}, lost)), "hidden")
    assert live(found) == []
    return found.edit.split("\n")


def test_what_was_replaced_is_cruft_only_by_a_finding(tmp_path: Path) -> None:
    """A pattern alone says little: an upgraded library is none, nor are a program and tests without a package."""
    paths = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/opt/app/x.pyc", "/opt/app/foo/test/data.py", "/var/log/a.log"]
    for path in paths:
        write(tmp_path, path, KB)
    commands = ["RUN apt-get install", "RUN apt-get upgrade"]
    assert hidden_edit(tmp_path, Fate.REPLACED, commands, 2, *paths, "/var/cache/apt/gone") == [
        "# join layers 2 and 3 into one RUN",
        "# layer 2 need not keep /var/log/a.log: see logs",
    ]


def test_what_was_deleted_is_not_told_as_replaced(tmp_path: Path) -> None:
    """Each has its files and its edit. The largest are named where they are known, and cruft of every part."""
    for path in ("/var/log/a.log", "/var/cache/apt/b.bin"):
        write(tmp_path, path, KB)
    parts = [
        Hidden(layer=1, by=2, fate=Fate.DELETED, size=900_000, files=1, examples=(b"/opt/gone",)),
        Hidden(layer=1, by=2, fate=Fate.REPLACED, size=500_000, files=2, examples=(b"/opt/new", b"/var/log/a.log")),
        Hidden(layer=1, by=2, fate=Fate.COPIED, size=300_000, files=1, examples=(b"/var/cache/apt/b.bin",)),
    ]
    made = audit_of(tmp_path, layers=stacked([BASE, "RUN make", "RUN b"], {}, *parts))
    gone, replaced = of_kind(made, "hidden")
    assert (gone.title, gone.size) == ("1 file of layer 2 that layer 3 deletes", 900_000)
    assert gone.evidence[-1] == "the largest are /opt/gone"
    assert gone.edit == "# join layers 2 and 3 into one RUN: make, use and remove them in it"
    assert (replaced.title, replaced.size) == ("3 files of layer 2 that layer 3 replaces", 800_000)
    assert replaced.evidence[-1] == "e.g. /opt/new, /var/cache/apt/b.bin, /var/log/a.log"
    assert replaced.edit.split("\n") == [
        "# join layers 2 and 3 into one RUN",
        "# layer 2 need not keep /var/cache/apt/b.bin: see apt-cache",
        "# layer 2 need not keep /var/log/a.log: see logs",
    ]


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (["RUN make", "RUN rm /opt/x"], "# join layers 2 and 3 into one RUN: make, use and remove them in it"),
        (["RUN wget -O /x u", "RUN rm /x"], "# join layers 2 and 3 into one RUN: download, use and remove them in it"),
        (
            ["RUN git clone u", "RUN make", "COPY a /a", "RUN rm -r u"],
            "# join layers 2 to 5 into one RUN, after what layer 4 copies: download, use and remove them in it",
        ),
    ],
)
def test_what_was_removed_can_have_been_used_before(tmp_path: Path, commands: list[str], said: str) -> None:
    """So it is not said that the RUN which makes it should remove it."""
    assert hidden_edit(tmp_path, Fate.DELETED, commands, len(commands), "/x") == [said]


@pytest.mark.parametrize(
    ("command", "copies"),
    [
        ("RUN /bin/sh -c ADD=1 make # buildkit", False),
        ("RUN /bin/sh -c COPY-files.sh", False),
        ("RUN /bin/sh -c COPY a b", False),
        ("/bin/sh -c COPY a b", False),
        ("|1 A=b /bin/sh -c ADD x", False),
        ("COPYING /x", False),
        ("COPY a /b # buildkit", True),
        ("ADD a /b", True),
        ("/bin/sh -c #(nop) ADD file:0 in / ", True),
        ("/bin/bash -o pipefail -c #(nop) COPY dir:0 in /x ", True),
    ],
)
def test_a_run_that_begins_like_a_copy_is_none(tmp_path: Path, command: str, copies: bool) -> None:
    """As both builders write them."""
    assert is_copied(known_of(tmp_path, layers=stacked([command], {})), 0) is copies


def test_a_long_command_takes_no_long_time(tmp_path: Path) -> None:
    """It is looked at once, and not with each file of its layer."""
    known = known_of(tmp_path, layers=stacked(["COPY " + "/a " * 300_000], {}))
    began = time.monotonic()
    for _ in range(3000):
        assert is_of_base(known, 0) is False
        assert destination(known, 0) == b"/a"
    assert time.monotonic() - began < 5


SITES = {each: f"/opt/{each}/lib/python3.12/site-packages" for each in "ab"}


def two_environments(root: Path, accesses: list[str] | None, requirers: str, section: str = "") -> list[Finding]:
    """What is said of NumPy, which is in two environments; pandas of some of them requires it, or a list does."""
    packages = []
    for each, site in SITES.items():
        write(root, f"{site}/numpy.py", MB + each.encode())
        packages.append(Installed("python:numpy", [f"{site}/numpy.py"], place=site.encode()))
    packages.append(Installed("python:pandas", section=section))
    known = known_of(root, packages, accesses)
    known.owners.requires[2] = tuple(("ab".index(each), "numpy") for each in requirers)
    return [each.finding for each in distributions(known)]


@pytest.mark.parametrize(
    ("used", "requirers", "spare"),
    [("ab", "", 0), ("a", "", 1), ("", "", 1), ("", "ab", 0), ("", "b", 1), ("a", "b", 0)],
)
def test_a_copy_that_is_used_or_required_stays(tmp_path: Path, used: str, requirers: str, spare: int) -> None:
    """Each environment needs its own."""
    found = two_environments(tmp_path, [f"{SITES[each]}/numpy.py" for each in used] or None, requirers)
    assert [len([said for said in each.evidence if "can go" in said]) for each in found] == [1] * spare


def test_a_list_of_requirements_is_content_with_any_copy(tmp_path: Path) -> None:
    """It names no environment, and the reader of packages takes one for it."""
    assert len(two_environments(tmp_path, None, "a", REQUIREMENTS)) == 1
    (tmp_path / "b").mkdir()
    assert len(two_environments(tmp_path / "b", None, "ab", REQUIREMENTS)) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("postfix", 1),
        ("postfix (>= 3) ", 1),
        ("postfix:any", 1),
        ("default-mta | postfix", 0),
        ("postfix | exim4", 0),
        ("mail-transport-agent", 0),
        ("postfix-doc", 0),
    ],
)
def test_a_line_decides_between_alternatives(tmp_path: Path, text: str, found: int) -> None:
    """Without it apt could install another package that also does."""
    packages = [Installed("dpkg:postfix"), Installed("dpkg:mailman", requires=["dpkg:postfix"])]
    known = known_of(tmp_path, packages, None, dict.fromkeys(("dpkg:postfix", "dpkg:mailman"), "apt"))
    known.owners.requires[1] = ((0, text),)
    made = [each.finding for each in required_anyway(known)]
    assert len(made) == found
    for each in made:
        assert each.risk is Risk.MEDIUM
        assert "a version that it pins, or extras" in each.evidence[1]
        assert live(each) == []


def tool(root: Path, program: str, commands: list[str], of: dict[str, int], *packages: Installed) -> list[str]:
    """What is said of a tool. It is never empty, and all of it are comments."""
    found = one(audit_of(root, packages, layers=stacked([BASE, *commands], of)), "optional-tool")
    assert found.edit
    assert live(found) == []
    assert program in found.evidence[0]
    return found.edit.split("\n")


@pytest.mark.parametrize(
    ("command", "is_called"),
    [
        ("RUN /bin/sh -c apt-get install -y qpdf rclone vim", False),
        ("RUN /bin/sh -c ln -s /opt/x/bin/rclone /usr/local/bin/rclone", False),
        ("RUN /bin/sh -c rclone --version", False),
        ("RUN /bin/sh -c command -v rclone && echo rclone is there", False),
        ("RUN /bin/sh -c rclone copy a b", True),
        ("RUN |2 A=b B=c d /bin/bash -o pipefail -ec cd /x && /usr/bin/rclone copy a b", True),
        ("/bin/sh -c if true; then A=1 rclone ls; fi", True),
        ("RUN /bin/sh -c sh -c 'rclone ls'", True),
        ("RUN /bin/sh -c x=$(rclone ls)", True),
        ("COPY rclone ls /x", False),
    ],
)
def test_a_run_that_installs_a_tool_does_not_call_it(tmp_path: Path, command: str, is_called: bool) -> None:
    """A call begins a command."""
    write(tmp_path, "/usr/bin/rclone", MB, 0o755)
    said = tool(tmp_path, "rclone", ["RUN x", command], {"/usr/bin/rclone": 1})
    assert ("that calls it" in said[0], "INSTALL_RCLONE" in said[0]) == (is_called, not is_called)


def test_a_program_that_needs_its_environment_is_not_mounted_alone(tmp_path: Path) -> None:
    """Nor is one that a link leads to, or one with libraries of its own; documentation it does not need."""
    files = ["/opt/v/bin/aws", "/opt/v/lib/awscli.py"]
    for path in (*files, "/usr/share/doc/rclone/README", "/opt/v/pyvenv.cfg"):
        write(tmp_path, path, KB, 0o755)
    link(tmp_path, "/usr/local/bin/aws", "/opt/v/bin/aws")
    called = ["RUN aws s3 ls"]
    said = tool(tmp_path, "aws", called, dict.fromkeys(files, 1))
    assert said[1].startswith("# its program needs what is installed with it")
    (tmp_path / "opt/v/pyvenv.cfg").unlink()
    said = tool(tmp_path, "aws", called, dict.fromkeys(files, 1), Installed("component:aws", files))
    assert said[1].startswith("# its program needs what is installed with it")
    said = tool(
        tmp_path, "aws", called, {files[0]: 1}, Installed("dpkg:aws", [files[0], "/usr/share/doc/rclone/README"])
    )
    assert "source=/opt/v/bin/aws,target=/usr/local/bin/aws" in said[1]


def test_a_tool_is_left_out_where_it_comes_from(tmp_path: Path) -> None:
    """The base image's is not copied, a COPY names what it copies alone, and a path that cannot be written none."""
    write(tmp_path, "/opt/a/bin/gh", MB, 0o755)
    link(tmp_path, "/usr/bin/gh", "/opt/a/bin/gh")
    assert tool(tmp_path, "gh", ["RUN x"], {"/opt/a/bin/gh": 0, "/usr/bin/gh": 0}) == [f"# layer 1 has it: {IN_BASE}"]
    said = tool(tmp_path, "gh", ["COPY a /opt", "RUN ln"], {"/opt/a/bin/gh": 1, "/usr/bin/gh": 2})
    assert said[-1] == "# do not copy to /opt: a/bin/gh"
    assert "/usr/bin" not in said[-1]


def test_a_tool_whose_path_cannot_be_written_is_named(tmp_path: Path) -> None:
    """By what people call it."""
    write(tmp_path, "/opt/a\nb/bin/gh", MB, 0o755)
    assert tool(tmp_path, "gh", ["COPY a /opt"], {"/opt/a\nb/bin/gh": 1}) == ["# do not copy GitHub CLI in layer 2"]


@pytest.mark.parametrize("part", [";/", "sh -c ", "A=b ", "rclone --version ", "-c-c"])
def test_a_long_history_takes_no_long_time(tmp_path: Path, part: str) -> None:
    """It is read once."""
    known = known_of(tmp_path, layers=stacked(["RUN " + part * 200_000], {}))
    began = time.monotonic()
    assert not _calls(known, 0, "rclone")
    assert time.monotonic() - began < 5
