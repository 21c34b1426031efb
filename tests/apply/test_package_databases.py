"""The edits of package databases, bytes to bytes, compared with the real programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from apply_images import IS_ROOT
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from package_images import (
    ADMIN,
    EXCLUDES,
    alternatives,
    build_package,
    carry_out,
    dpkg,
    edit_of,
    empty_root,
    output,
    plan,
    tool,
    write,
)

from slimagent.apply.edits.alternatives import Choice, Group, Slave, parse, put
from slimagent.apply.edits.package_databases import (
    EDITORS,
    NotUnderstoodError,
    with_excludes,
    without_extensions,
    without_locations,
    without_paragraphs,
)

words = st.text("abcdef0123", min_size=1, max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
layouts = st.sampled_from([None, 0, 1, 2, "\t"])


@st.composite
def statuses(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A status file and the keys in it, with empty lines here and there."""
    keys = draw(st.lists(st.tuples(words, st.sampled_from(["all", "amd64"])), unique=True, max_size=6))
    parts = [draw(st.sampled_from(["", "\n"]))]
    for name, architecture in keys:
        fields = [f"Package: {name}", f"Architecture: {architecture}", "Description: x\n more\n .\n Package: y"]
        parts.append("\n".join(draw(st.permutations(fields))) + draw(st.sampled_from(["\n\n", "\n\n\n"])))
    return "".join(parts).encode(), [f"{name}:{architecture}" for name, architecture in keys]


@st.composite
def extensions(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    keys = draw(st.lists(words, unique=True, max_size=5))
    items = [{"a": draw(values), "identifier": {"id": key.upper(), "uuid": draw(values)}} for key in keys]
    return json.dumps(items, indent=draw(layouts), ensure_ascii=draw(st.booleans())).encode("utf-8", "replace"), keys


@st.composite
def locks(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    found = draw(st.dictionaries(st.text(max_size=4), values, max_size=5))
    whole = {"name": draw(values), "packages": found, "z": {"packages": 1}}
    return json.dumps(whole, indent=draw(layouts)).encode(), list(found)


@st.composite
def excludes(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    lines = st.sampled_from(["path-exclude=", "path-include="]).flatmap(
        lambda kind: words.map(lambda w: kind + "/" + w)
    )
    before, after = draw(st.lists(lines)), draw(st.lists(lines, unique=True))
    return with_excludes(b"", before), after


FILES = {"dpkg-status": statuses(), "vscode-extensions": extensions(), "npm-lock": locks(), "dpkg-exclude": excludes()}


@pytest.mark.parametrize("kind", sorted(EDITORS))
@given(st.data())
def test_laws_of_every_edit(kind: str, data: st.DataObject) -> None:
    """No keys change nothing; twice is once; the order of keys, and keys that are not there, do not matter."""
    before, keys = data.draw(FILES[kind])
    some = data.draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
    edit = EDITORS[kind]
    assert edit(before, []) == before
    after = edit(before, some)
    assert edit(after, some) == after
    assert edit(before, some[::-1]) == after
    if kind != "dpkg-exclude":
        assert edit(before, [*some, "not-there:all"]) == after
        half = len(some) // 2
        assert edit(edit(before, some[:half]), some[half:]) == after


@pytest.mark.parametrize("kind", ["dpkg-status", "vscode-extensions", "npm-lock"])
@given(st.data())
def test_cut_short_is_not_understood_or_was_whole(kind: str, data: st.DataObject) -> None:
    """A file that ends early is refused, unless it ends where a whole one may."""
    whole, keys = data.draw(FILES[kind])
    cut = data.draw(st.integers(min_value=0, max_value=len(whole)))
    part = whole[:cut]
    if kind == "dpkg-status":
        if not part.strip(b"\n") or part.endswith(b"\n\n"):
            return
    elif cut == len(whole):
        return
    with pytest.raises(NotUnderstoodError):
        EDITORS[kind](part, keys)


@pytest.mark.parametrize("kind", sorted(EDITORS))
@given(st.binary(max_size=200), st.lists(st.text(max_size=4)))
def test_any_bytes_are_edited_or_refused(kind: str, data: bytes, keys: list[str]) -> None:
    """Nothing else is raised, whatever the file and the keys are."""
    try:
        EDITORS[kind](data, keys)
    except NotUnderstoodError as error:
        assert str(error)


@given(statuses(), st.data())
def test_status_loses_just_the_paragraphs(made: tuple[bytes, list[str]], data: st.DataObject) -> None:
    """Every other paragraph is there, byte for byte and in order."""
    before, keys = made
    gone = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    after = without_paragraphs(before, gone)
    kept = [each.strip(b"\n") for each in before.split(b"\n\n") if each.strip(b"\n")]
    expected = [each for each, key in zip(kept, keys, strict=True) if key not in gone]
    assert [each.strip(b"\n") for each in after.split(b"\n\n") if each.strip(b"\n")] == expected


@given(extensions(), st.data())
def test_extensions_lose_just_the_members(made: tuple[bytes, list[str]], data: st.DataObject) -> None:
    """Identifiers know no case; all other data are equal."""
    before, keys = made
    gone = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    after = json.loads(without_extensions(before, {key.title() for key in gone}))
    assert after == [each for each in json.loads(before) if each["identifier"]["id"].lower() not in gone]


@given(locks(), st.data())
def test_locations_lose_just_the_members(made: tuple[bytes, list[str]], data: st.DataObject) -> None:
    """All other data are equal, what is called `packages` elsewhere too."""
    before, keys = made
    gone = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    whole = json.loads(before)
    whole["packages"] = {key: value for key, value in whole["packages"].items() if key not in gone}
    assert json.loads(without_locations(before, gone)) == whole


def test_formatting_stays() -> None:
    """Numbers that no float holds, doubled keys and blanks of what stays are as they were."""
    lock = b'{\n  "n": 1.10e400,\n  "packages": {\n    "a": 1,\n    "b": {"x": 1, "x": 2},\n    "c": 3\n  }\n}\n'
    assert without_locations(lock, ["b"]) == b'{\n  "n": 1.10e400,\n  "packages": {\n    "a": 1,\n    "c": 3\n  }\n}\n'
    assert without_locations(lock, ["c", "a"]).endswith(b'{\n    "b": {"x": 1, "x": 2}\n  }\n}\n')
    assert without_locations(lock, ["c", "a", "b"]).endswith(b'"packages": {}\n}\n')
    listed = b'[{"identifier":{"id":"a.a"}},{"identifier":{"id":"b.b"}}]'
    assert without_extensions(listed, ["A.A"]) == b'[{"identifier":{"id":"b.b"}}]'
    assert without_extensions(listed, ["b.b", "a.a"]) == b"[]"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("dpkg-status", b"Package: a\n"),
        ("dpkg-status", b"Package: a\nPackage: b\n\n"),
        ("dpkg-status", b"Version: 1\n\n"),
        ("dpkg-status", b" folded\nPackage: a\n\n"),
        ("dpkg-status", b"Package: a\n \nVersion: 1\n\n"),
        ("vscode-extensions", b"[1]"),
        ("vscode-extensions", b"{}"),
        ("vscode-extensions", b'[{"identifier":{"id":"a"}}]]'),
        ("vscode-extensions", b'\xef\xbb\xbf[{"identifier":{"id":"a"}}]'),
        ("vscode-extensions", b"[\xff]"),
        ("vscode-extensions", b"[" * 100_000),
        ("npm-lock", b'{"packages": []}'),
        ("npm-lock", b'{"packages": {}, "packages": {}}'),
        ("npm-lock", b'{"lockfileVersion": 1}'),
        ("npm-lock", b'["packages"]'),
        ("dpkg-exclude", b"path-exclude=/written/by/hand\n"),
    ],
)
def test_what_is_not_as_its_writer_writes_it_is_refused(kind: str, data: bytes) -> None:
    """Never half edited."""
    with pytest.raises(NotUnderstoodError):
        EDITORS[kind](data, ["path-exclude=/a"])


@pytest.mark.parametrize(
    "key", ["path-exclude", "force-all", "path-exclude=/a\nforce-all", 'path-exclude="/a', "x" * 9]
)
def test_only_rules_of_paths_get_into_the_configuration(key: str) -> None:
    """A key that would say something else to dpkg is refused; so is a line that dpkg could not read whole."""
    with pytest.raises(NotUnderstoodError):
        with_excludes(b"", [key])
    with pytest.raises(NotUnderstoodError):
        with_excludes(b"", ["path-exclude=/" + "x" * 1000])


def test_hostile_files_take_no_time() -> None:
    """A megabyte of lines that nearly fit is refused as fast as it is read."""
    begin = time.process_time()
    for data in (
        b"Package: a\n" + b" x  \t  y \n" * 100_000 + b" \n\n",
        b"Package: " + b"\t " * 500_000 + b"\nX: y\n\n",
        b"Package: a\nX:" + b" " * 1_000_000 + b"\n -\n\x0b\n\n",
    ):
        with pytest.raises(NotUnderstoodError):
            without_paragraphs(data, ["a:"])
    assert time.process_time() - begin < 2


# Alternatives


@st.composite
def groups(draw: st.DrawFn) -> Group:
    count = draw(st.integers(min_value=0, max_value=2))
    slaves = tuple(Slave(name=b"s%d.1" % at, link=b"/usr/share/man/s%d.1" % at) for at in range(count))
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    choices = tuple(
        Choice(
            path=b"/usr/bin/ed-" + name.encode(),
            priority=b"%d" % draw(st.integers(min_value=-2, max_value=3)),
            files=tuple(draw(st.sampled_from([b"", b"/usr/share/%d-%b" % (at, name.encode())])) for at in range(count)),
        )
        for name in sorted(names)
    )
    return Group(status=b"auto", link=b"/usr/bin/editor", slaves=slaves, choices=choices)


@given(groups(), st.data())
def test_a_group_is_read_as_it_is_written(group: Group, data: st.DataObject) -> None:
    """Nothing is lost but slaves without any file; a file cut short is refused."""
    text = put(group)
    assert put(parse(text)) == text
    assert parse(text).choices == tuple(
        Choice(path=each.path, priority=each.priority, files=tuple(each.files[at] for at in used(group)))
        for each in group.choices
    )
    with pytest.raises(NotUnderstoodError):
        parse(text[: data.draw(st.integers(min_value=0, max_value=len(text) - 1))])


def used(group: Group) -> list[int]:
    return [at for at in range(len(group.slaves)) if any(each.files[at] for each in group.choices)]


@given(st.binary(max_size=100))
def test_any_bytes_are_a_group_or_refused(data: bytes) -> None:
    """Nothing else is raised."""
    try:
        parse(data)
    except NotUnderstoodError as error:
        assert str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"other\n/l\n\n/c\n1\n\n",
        b"auto\n/l\n../../etc/x\n/s\n\n\n",
        b"auto\n/l\n\n/c\n1e9\n\n",
        b"auto\n/l\n\n/c\n99999999999\n\n",
        b"auto\nl\n\n/c\n1\n\n",
        b"auto\n/l\n\n/c\n1\n/c\n1\n\n",
        b"auto\n/l\ns\n/l\n\n/c\n1\n\n\n",
        b"auto\n/l\0\n\n/c\n1\n\n",
        b"auto\n/l\n\n/c\n1\n\nmore\n",
    ],
)
def test_a_group_that_update_alternatives_did_not_write_is_refused(data: bytes) -> None:
    """Names that are paths, relative paths, priorities that are none, doubles."""
    with pytest.raises(NotUnderstoodError):
        parse(data)


def links(root: bytes) -> dict[bytes, bytes | None]:
    """Every path where links of alternatives may be, and its target."""
    found = {}
    for directory in (b"/etc/alternatives", b"/usr/bin", b"/usr/share/man", ADMIN.rstrip(b"/")):
        for name in os.listdir(root + directory):
            path = directory + b"/" + name
            found[path] = os.readlink(root + path) if os.path.islink(root + path) else None
    return found


def install(root: bytes, group: Group, missing: set[bytes]) -> None:
    """Let update-alternatives make this group, choice by choice."""
    for choice in group.choices:
        write(root, choice.path)
        options = []
        for slave, file in zip(group.slaves, choice.files, strict=True):
            if file:
                options += ["--slave", *map(os.fsdecode, (slave.link, slave.name, file))]
                if file not in missing:
                    write(root, file)
        arguments = map(os.fsdecode, (group.link, b"editor", choice.path, choice.priority))
        alternatives(root, "--install", *arguments, *options)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups(), st.data())
def test_choices_go_as_update_alternatives_removes_them(tmp_path: Path, group: Group, data: st.DataObject) -> None:
    """The same administrative file, the same links: for any group, chosen by hand or not, and any choices that go."""
    tool("update-alternatives")
    directory = Path(tempfile.mkdtemp(dir=tmp_path.resolve()))
    root, other = empty_root(directory / "ours"), os.fsencode(directory / "theirs")
    files = [file for choice in group.choices for file in choice.files if file]
    install(root, group, set(data.draw(st.lists(st.sampled_from(files)))) if files else set())
    paths = [choice.path for choice in group.choices]
    if data.draw(st.booleans()):
        alternatives(root, "--set", "editor", os.fsdecode(data.draw(st.sampled_from(paths))))
    gone = set(data.draw(st.lists(st.sampled_from(paths), unique=True)))
    assume(gone)
    shutil.copytree(root, other, symlinks=True)
    for path in sorted(gone):
        alternatives(other, "--remove", "editor", os.fsdecode(path))
        os.unlink(other + path)
    made = plan(root, gone, edit_of(ADMIN + b"editor", "dpkg-alternatives", *map(os.fsdecode, gone)))
    _, receipt = carry_out("in-place", made, root, directory)
    assert receipt.left_alone == ()
    assert links(root) == links(other)
    if len(gone) < len(paths):
        mine, real = (Path(os.fsdecode(each + ADMIN), "editor").read_bytes() for each in (root, other))
        assert mine == put(parse(real))  # the program overlooks the second of two slaves without any file
        assert alternatives(root, "--query", "editor") == alternatives(other, "--query", "editor") or mine != real


# The programs that read the files


def test_dpkg_agrees_with_the_edited_status(tmp_path: Path) -> None:
    """A package that is gone is unknown, the other is as before, and the audit has nothing to say."""
    root = empty_root(tmp_path / "root")
    for name in ("alpha", "beta"):
        dpkg(root, "-i", build_package(tmp_path, name, [f"/usr/bin/{name}"]))
    path = Path(os.fsdecode(root)) / "var/lib/dpkg/status"
    status = path.read_bytes()
    path.write_bytes(without_paragraphs(status, ["alpha:all"]))
    shown = subprocess.run(["dpkg-query", b"--root=" + root, "-W"], capture_output=True, check=True).stdout
    assert shown == b"beta\t1.0\n"
    assert without_paragraphs(path.read_bytes(), ["beta:all"]).strip() == b""


def test_npm_agrees_with_the_edited_lock(tmp_path: Path) -> None:
    """`npm ls` neither misses the package that is gone nor doubts the file."""
    npm = tool("npm")
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "package.json").write_text(json.dumps({"name": name, "version": "1.0.0"}))
        subprocess.run([npm, "pack"], cwd=directory, check=True, capture_output=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "project", "version": "1.0.0"}')
    archives = [str(tmp_path / name / f"{name}-1.0.0.tgz") for name in ("one", "two")]
    options = ["--offline", "--no-audit", "--no-fund", "--no-save", "--no-update-notifier"]
    subprocess.run([npm, "install", *options, *archives], cwd=project, check=True, capture_output=True)
    lock = project / "node_modules/.package-lock.json"
    before = lock.read_bytes()
    after = without_locations(before, ["node_modules/two"])
    assert set(json.loads(before)["packages"]) == {"node_modules/one", "node_modules/two"}
    assert json.dumps(json.loads(after), indent=2) + "\n" == after.decode()  # as npm itself would write it
    lock.write_bytes(after)
    shutil.rmtree(project / "node_modules/two")
    os.utime(project / "node_modules", (0, 0))
    shown = subprocess.run([npm, "ls", "--json", "--all"], cwd=project, capture_output=True, check=False).stdout
    assert set(json.loads(shown)["dependencies"]) == {"one"}


def copy_programs(root: bytes, *names: str) -> None:
    """Programs of this system, with the libraries that they load, so that they run with `root` as their root."""
    for path in [tool(name) for name in names]:
        for needed in [path, *re.findall(r"(?:=>\s+|^\t)(/\S+)", output("ldd", path), re.MULTILINE)]:
            os.makedirs(os.path.dirname(root + needed.encode()), exist_ok=True)
            shutil.copy(needed, root + needed.encode())


@pytest.mark.skipif(
    not IS_ROOT, reason="only root can change the root directory, and dpkg reads its own one's configuration"
)
@pytest.mark.parametrize("is_excluded", [True, False])
def test_dpkg_honours_the_excludes(tmp_path: Path, is_excluded: bool) -> None:
    """What is excluded stays out of packages that come later, but for what is included again."""
    root = empty_root(tmp_path.resolve() / "root")
    copy_programs(root, "dpkg", "dpkg-deb", "dpkg-split", "tar", "rm", "sh", "diff", "ldconfig", "true")
    shutil.copy(tool("true"), root + b"/usr/bin/start-stop-daemon")
    rules = ["path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/doc/*"]
    made = plan(root, (), *[edit_of(EXCLUDES, "dpkg-exclude", *rules)] * is_excluded)
    _, receipt = carry_out("in-place", made, root, tmp_path)
    assert receipt.edited == int(is_excluded)
    files = ["/usr/bin/late", "/usr/share/doc/late/README", "/usr/share/doc/late/copyright"]
    shutil.copy(build_package(tmp_path, "late", files), root + b"/late.deb")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    command = ["chroot", root, "dpkg", "--force-not-root", "-i", "/late.deb"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert [os.path.exists(root + path.encode()) for path in files] == [True, not is_excluded, True]
