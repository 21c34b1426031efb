"""The reader of dpkg's database, held against dpkg: it builds and installs the packages, and is asked the same."""

from __future__ import annotations

import os
import shutil
import string
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.inventory import dpkg
from slimagent.inventory.dpkg_formats import choices, fields, paragraphs, relations, sums, whole_lines
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Found

NATIVE, FOREIGN = "amd64", "i386"  # of the packages that are built here; nothing of them is ever executed
STATUS = b"/var/lib/dpkg/status"


def tool(name: str) -> str:
    """A program of dpkg's; skips the test where there is none, fails it where all must be there."""
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: install dpkg"
        if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Debian:
    """A root that dpkg keeps, and packages that are built for it."""

    def __init__(self, directory: Path) -> None:
        self.built = directory / "built"
        self.root = directory / "root"
        for each in ("info", "updates", "triggers", "alternatives"):
            (self.root / "var/lib/dpkg" / each).mkdir(parents=True)
        (self.root / "etc/alternatives").mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()

    def merge_usr(self) -> None:
        """Make /bin and /lib the links that they are where /usr is merged."""
        for each in ("bin", "lib"):
            (self.root / "usr" / each).mkdir(parents=True)
            (self.root / each).symlink_to(f"usr/{each}")

    def package(
        self,
        name: str,
        files: Mapping[str | bytes, str | None] | None = None,
        *,
        links: Mapping[str, str] | None = None,
        scripts: Mapping[str, str] | None = None,
        conffiles: Iterable[str] = (),
        **control: str,
    ) -> Path:
        """A .deb with these files (None: an empty directory) and control fields (`_` for `-` in their names)."""
        control = {"Architecture": NATIVE, "Version": "1.0", "Maintainer": "A <a@example.org>", **control}
        tree = self.built / f"{name}_{control['Architecture']}"
        (tree / "DEBIAN").mkdir(parents=True)
        lines = [f"Package: {name}", *(f"{key.replace('_', '-')}: {value}" for key, value in control.items())]
        (tree / "DEBIAN/control").write_text("\n".join((*lines, "Description: made for a test", "")))
        for script, body in (scripts or {}).items():
            (tree / "DEBIAN" / script).write_text(f"#!/bin/sh\n{body}\n")
            (tree / "DEBIAN" / script).chmod(0o755)
        if conffiles:
            (tree / "DEBIAN/conffiles").write_text("".join(f"{each}\n" for each in conffiles))
        for path, text in (files or {}).items():
            full = os.fsencode(tree) + os.fsencode(path)
            os.makedirs(full if text is None else os.path.dirname(full), exist_ok=True)
            if text is not None:
                with open(full, "w") as file:
                    file.write(text)
        for link, target in (links or {}).items():
            (tree / link.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (tree / link.lstrip("/")).symlink_to(target)
        subprocess.run([tool("dpkg-deb"), "--build", tree, f"{tree}.deb"], check=True, capture_output=True)
        return Path(f"{tree}.deb")

    def dpkg(self, *arguments: str | Path, check: bool = True) -> None:
        options = ("--force-not-root", "--force-script-chrootless", "--force-bad-path", "--force-architecture")
        command = [tool("dpkg"), f"--root={self.root}", "--log=/dev/null", *options, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr

    def install(self, name: str, *arguments: Mapping[str | bytes, str | None], **control: object) -> None:
        """Build a package and unpack it, and say that it is configured whatever it depends on."""
        self.dpkg("--force-depends", "--install", self.package(name, *arguments, **control))  # type: ignore[arg-type]

    def read(self) -> tuple[Image, dict[str, Found]]:
        """What the reader finds, by the packages' names."""
        image = Image(scan(os.fsencode(self.root)))
        found = dpkg.find(image)
        assert len({each.package.name for each in found}) == len(found)
        return image, {each.package.name: each for each in found}


@pytest.fixture
def debian(tmp_path: Path) -> Debian:
    tool("dpkg")
    return Debian(tmp_path)


def paths(image: Image, entries: Iterable[int]) -> set[bytes]:
    return {image.inventory.paths[at] for at in entries}


def owned(image: Image, found: Found) -> set[bytes]:
    """What a package owns besides its identity."""
    assert set(found.identity) <= set(found.files)
    assert len(set(found.files)) == len(found.files)
    return paths(image, set(found.files) - set(found.identity))


def required(found: Mapping[str, Found], name: str) -> list[tuple[str, str]]:
    names = list(found)
    return [(names[at], text) for at, text in found[name].requires]


def test_a_package_owns_what_it_shipped_and_its_info_files_are_its_identity(debian: Debian) -> None:
    """Files, links, empty directories and configuration are the package's; its records in info are its identity."""
    files: dict[str | bytes, str | None] = {"/usr/bin/tool": "x", "/etc/tool.conf": "y", "/usr/share/tool/empty": None}
    debian.install(
        "tool",
        files,
        links={"/usr/bin/alias": "tool", "/usr/bin/dangling": "nowhere"},
        scripts={"postinst": "exit 0"},
        conffiles=["/etc/tool.conf"],
        Section="contrib/utils",
        Version="2:1.5-3",
    )
    image, found = debian.read()
    tool_ = found["tool"]
    assert (tool_.package.kind, tool_.package.place) == ("dpkg", b"/")
    assert (tool_.package.version, tool_.package.section, tool_.package.essential) == ("2:1.5-3", "utils", False)
    assert owned(image, tool_) >= {b"/usr/bin/tool", b"/etc/tool.conf", b"/usr/bin/alias", b"/usr/bin/dangling"}
    assert owned(image, tool_) >= {b"/usr/share/tool", b"/usr/share/tool/empty"}
    assert b"/" not in owned(image, tool_)
    info = {b"/var/lib/dpkg/info/tool." + each for each in (b"list", b"md5sums", b"postinst", b"conffiles")}
    assert paths(image, tool_.identity) == info
    assert tool_.records == [(STATUS, "dpkg-status", "tool:amd64")]
    assert image.problems == []


def test_what_several_packages_list(debian: Debian) -> None:
    """A directory that two packages list is nobody's, one that one package lists is its own."""
    debian.install("one", {"/opt/both/one/a": "a"})
    debian.install("two", {"/opt/both/two/b": "b"})
    image, found = debian.read()
    assert owned(image, found["one"]) == {b"/opt/both/one", b"/opt/both/one/a"}
    assert owned(image, found["two"]) == {b"/opt/both/two", b"/opt/both/two/b"}


def test_the_files_of_dpkg_itself_are_nobodys(debian: Debian) -> None:
    """The database's own files belong to no package."""
    debian.install("one", {"/usr/bin/one": "a"})
    image, found = debian.read()
    everything = set().union(*(paths(image, each.files) for each in found.values()))
    assert b"/var/lib/dpkg/info/format" in image.inventory
    assert not everything & {b"/var/lib/dpkg/info/format", STATUS, b"/var/lib/dpkg/info", b"/"}


def test_a_merged_usr(debian: Debian) -> None:
    """A path below /lib is found where the link leads; the link that packages list as a directory is nobody's."""
    debian.merge_usr()
    debian.install("one", {"/lib/one.so": "1", "/bin/one": "1"})
    debian.install("two", {"/lib/two.so": "2", "/usr/bin/two": "2"})
    image, found = debian.read()
    assert owned(image, found["one"]) >= {b"/usr/lib/one.so", b"/usr/bin/one"}
    assert b"/usr/lib/two.so" in owned(image, found["two"])
    assert not any(b"/lib" in owned(image, each) for each in found.values())
    assert image.problems == []


def test_a_link_that_a_package_shipped_is_its_own(debian: Debian) -> None:
    """A link to a directory is a file of the one package that lists it."""
    debian.install("docs", {"/usr/share/doc/real/readme": "r"}, links={"/usr/share/doc/other": "real"})
    image, found = debian.read()
    assert b"/usr/share/doc/other" in owned(image, found["docs"])


def test_odd_names(debian: Debian) -> None:
    """File names are bytes: blanks, Latin-1 and backslashes are found."""
    odd = [b"/srv/caf\xe9", b"/srv/two words", b"/srv/back\\slash", b"/srv/tab\there", "/srv/über".encode()]
    debian.install("odd", dict.fromkeys(odd, "x"))
    image, found = debian.read()
    assert owned(image, found["odd"]) >= set(odd)
    assert image.problems == []


@pytest.mark.parametrize("field", [{"Essential": "yes"}, {"Protected": "yes"}, {"Priority": "required"}])
def test_essential(debian: Debian, field: dict[str, str]) -> None:
    """A package is essential if its paragraph says Essential, Protected, or Priority: required."""
    debian.install("needed", **field)
    debian.install("other", Priority="optional")
    _, found = debian.read()
    assert [each.package.essential for each in found.values()] == [True, False]


def test_dependencies(debian: Debian) -> None:
    """Depends and Pre-Depends are required, the first alternative that is there; nothing else is."""
    debian.install("a")
    debian.install("b")
    debian.install("c", Pre_Depends="a (>= 0.5)", Depends="none | b (>= 9), b:any, gone (= 1) | lost", Recommends="d")
    _, found = debian.read()
    assert required(found, "c") == [("a", "a (>= 0.5)"), ("b", "none | b (>= 9)"), ("b", "b:any")]
    assert found["c"].missing == ["gone (= 1) | lost"]


def test_provided_names(debian: Debian) -> None:
    """A real package comes before all that provide a name; else everyone who provides it counts, the asker not."""
    debian.install("exim", Provides="mta, sendmail (= 8)")
    debian.install("postfix", Provides="mta")
    debian.install("real")
    debian.install("one", Depends="mta | real")
    debian.install("two", Depends="nothing | mta | sendmail")
    debian.install("self", Provides="mta", Depends="mta")
    _, found = debian.read()
    assert required(found, "one") == [("real", "mta | real")]
    assert [name for name, _ in required(found, "two")] == ["exim", "postfix", "self"]
    assert [name for name, _ in required(found, "self")] == ["exim", "postfix"]
    assert not any(each.missing for each in found.values())


def test_all_that_provide_and_all_that_ask_are_not_multiplied(tmp_path: Path) -> None:
    """A small status in which everything provides and requires one name costs neither the time nor the memory."""
    one = "Package: p%d\nStatus: install ok installed\nArchitecture: all\nProvides: x, x\nDepends: x, x, x\n\n"
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text("".join(one % number for number in range(5000)))
    found = dpkg.find(Image(scan(os.fsencode(tmp_path))))
    assert len(found) == 5000
    assert max(len(each.requires) for each in found) == 100


def test_diversions(debian: Debian) -> None:
    """A diverted path is the diverter's; what another package lists there lies at the other name."""
    debian.install("shell", {"/usr/bin/sh": "old", "/usr/bin/local": "mine"})
    divert = [tool("dpkg-divert"), f"--root={debian.root}", "--quiet", "--rename", "--add"]
    options = ("--package", "better", "--divert", "/usr/bin/sh.distrib", "/usr/bin/sh")
    subprocess.run([*divert, *options], check=True)
    subprocess.run([*divert, "--local", "--divert", "/usr/bin/local.orig", "/usr/bin/local"], check=True)
    debian.install("better", {"/usr/bin/sh": "new"})
    (debian.root / "usr/bin/local").write_text("by hand")
    image, found = debian.read()
    assert (debian.root / "usr/bin/sh.distrib").read_text() == "old"
    assert owned(image, found["shell"]) == {b"/usr/bin/sh.distrib", b"/usr/bin/local.orig"}
    assert owned(image, found["better"]) == {b"/usr/bin/sh"}


def test_alternatives(debian: Debian) -> None:
    """A package has a record in each group of alternatives that offers a file of its own; the links are nobody's."""
    debian.merge_usr()
    debian.install("vi", {"/usr/bin/vi.tiny": "", "/usr/share/man/vi.1": ""})
    debian.install("ed", {"/bin/ed": ""})
    command = [tool("update-alternatives"), "--root", str(debian.root), "--log", "/dev/null", "--quiet", "--install"]
    slave = ("--slave", "/usr/share/man/editor.1", "editor.1", "/usr/share/man/vi.1")
    subprocess.run([*command, "/usr/bin/editor", "editor", "/usr/bin/vi.tiny", "30", *slave], check=True)
    subprocess.run([*command, "/usr/bin/editor", "editor", "/bin/ed", "-10"], check=True)
    image, found = debian.read()
    admin = b"/var/lib/dpkg/alternatives/editor"
    assert found["vi"].records[1:] == [(admin, "dpkg-alternatives", "/usr/bin/vi.tiny")]
    assert found["ed"].records[1:] == [(admin, "dpkg-alternatives", "/bin/ed")]
    for link in (b"/usr/bin/editor", b"/etc/alternatives/editor", b"/usr/share/man/editor.1", admin):
        assert link in image.inventory
        assert not any(link in paths(image, each.files) for each in found.values())
    assert image.problems == []


def test_a_damaged_group_of_alternatives(debian: Debian) -> None:
    """A group that is cut short is a problem, and nobody has a record in it; left-overs are passed over."""
    debian.install("ed", {"/usr/bin/ed": ""})
    directory = debian.root / "var/lib/dpkg/alternatives"
    (directory / "editor").write_text("auto\n/usr/bin/editor\n\n/usr/bin/ed\n")
    (directory / "pager.dpkg-tmp").write_text("auto\n")
    image, found = debian.read()
    assert len(found["ed"].records) == 1
    assert [path for path, _ in image.problems] == [b"/var/lib/dpkg/alternatives/editor"]


def test_a_removed_package_is_none(debian: Debian) -> None:
    """Of a package that was removed and not purged the configuration stays, and is nobody's."""
    debian.install("gone", {"/etc/gone.conf": "x", "/usr/bin/gone": "x"}, conffiles=["/etc/gone.conf"])
    debian.dpkg("--remove", "gone")
    assert (debian.root / "var/lib/dpkg/info/gone.list").exists()
    image, found = debian.read()
    assert found == {}
    assert b"/etc/gone.conf" in image.inventory
    assert image.problems == []


def test_half_installed_and_unpacked_packages_are_there(debian: Debian) -> None:
    """A package that is on its way is found: unpacked, and half installed with nothing but a paragraph."""
    debian.dpkg("--unpack", debian.package("unpacked", {"/usr/bin/unpacked": ""}))
    fails = {"preinst": "exit 1", "postrm": "exit 1"}
    debian.dpkg("--install", debian.package("half", {"/usr/bin/half": ""}, scripts=fails), check=False)
    image, found = debian.read()
    assert b"half-installed" in (debian.root / "var/lib/dpkg/status").read_bytes()
    assert b"/usr/bin/unpacked" in owned(image, found["unpacked"])
    assert found["half"].files == []
    assert image.problems == [(STATUS, "half:amd64: the list of its files is missing")]


def test_packages_of_a_foreign_architecture(debian: Debian) -> None:
    """The foreign one of two packages has its architecture in its name; each has its own files and dependencies."""
    debian.dpkg("--add-architecture", FOREIGN)
    debian.install("dpkg")  # whose architecture is the image's
    for architecture in (FOREIGN, NATIVE):
        shared: dict[str | bytes, str | None] = {
            "/usr/share/doc/libx/copyright": "same",
            f"/usr/lib/{architecture}/libx.so": architecture,
        }
        links = {"/usr/share/doc/libx/also": "copyright"}
        debian.install("libx", shared, links=links, Architecture=architecture, Multi_Arch="same")
        debian.install(f"app-{architecture}", Architecture=architecture, Depends="libx, data")
    debian.install("data", Architecture="all", Multi_Arch="foreign")
    debian.install("chosen", Architecture=NATIVE, Depends=f"libx:{FOREIGN}")
    image, found = debian.read()
    assert {"libx", "libx:i386", "data", "app-amd64", "app-i386:i386"} <= set(found)
    assert b"/usr/lib/amd64/libx.so" in owned(image, found["libx"])
    assert b"/usr/lib/i386/libx.so" in owned(image, found["libx:i386"])
    assert b"/usr/lib/amd64/libx.so" not in owned(image, found["libx:i386"])
    both = {b"/usr/share/doc/libx/copyright", b"/usr/share/doc/libx/also"}
    assert both <= owned(image, found["libx"]) & owned(image, found["libx:i386"])
    assert b"/var/lib/dpkg/info/libx:i386.list" in paths(image, found["libx:i386"].identity)
    assert found["libx:i386"].records == [(STATUS, "dpkg-status", "libx:i386")]
    assert required(found, "app-amd64") == [("libx", "libx"), ("data", "data")]
    assert required(found, "app-i386:i386") == [("libx:i386", "libx"), ("data", "data")]
    assert required(found, "chosen") == [("libx:i386", "libx:i386")]
    assert image.problems == []


def test_whose_list_it_is(debian: Debian) -> None:
    """A list without an architecture is nobody's where the package has one with it, and never that of two packages."""
    debian.install("libx", {"/usr/lib/libx.so": ""}, Multi_Arch="same")
    debian.install("tool", {"/usr/bin/tool": ""})
    info, status = debian.root / "var/lib/dpkg/info", debian.root / "var/lib/dpkg/status"
    (info / "libx.list").write_text("/.\n/usr/bin/tool\n")
    with status.open("a") as file:
        file.write("Package: tool\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\n")
    image, found = debian.read()
    assert b"/usr/lib/libx.so" in owned(image, found["libx"])
    assert b"/usr/bin/tool" in owned(image, found["tool"])
    assert found["tool:i386"].files == []
    assert image.problems == [(STATUS, "tool:i386: the list of its files is missing")]


def three(debian: Debian) -> bytes:
    """Three packages with a file each, the second requiring the first; the status as dpkg wrote it."""
    debian.install("first", {"/usr/bin/first": ""})
    debian.install("second", {"/usr/bin/second": ""}, Depends="first")
    debian.install("third", {"/usr/bin/third": ""})
    return (debian.root / "var/lib/dpkg/status").read_bytes()


def test_a_status_that_is_cut_anywhere(debian: Debian) -> None:
    """Wherever the status ends: whole paragraphs are as before, the rest is a problem and has no owner."""
    data = three(debian)
    _, whole = debian.read()
    ends = [0, *(at + 2 for at in range(len(data)) if data.startswith(b"\n\n", at))]
    for end in range(0, len(data), 7):
        (debian.root / "var/lib/dpkg/status").write_bytes(data[:end])
        image, found = debian.read()
        assert list(found) == list(whole)[: sum(each <= end for each in ends) - 1]
        assert image.problems
        for name, each in found.items():
            assert (each.package, each.identity) == (whole[name].package, whole[name].identity)


def test_a_status_with_a_damaged_paragraph(debian: Debian) -> None:
    """What is wrong in one paragraph is a problem of that package alone."""
    data = three(debian)
    damages: tuple[Callable[[bytes], bytes], ...] = (
        lambda text: text.replace(b"Package: second\n", b"Package: ../second\n"),
        lambda text: text.replace(b"Depends: first", b"Depends: first (>= "),
        lambda text: text.replace(b"Version: 1.0\n", b"Version: 1.0\nwhat is this\n"),
        lambda text: text.replace(b"Version: 1.0\n", b"Version: 1.0\nVersion: 2.0\n"),
        lambda text: text.replace(b"Status: install ok installed\n", b"Status: install ok fine\n"),
        lambda text: text.replace(b"Status: install ok installed\n", b""),
        lambda text: text.replace(b"Architecture: amd64\n", b""),
        lambda text: b"\xff\x00" + text,
    )
    for damage in damages:
        parts = data.split(b"\n\n")
        parts[1] = damage(parts[1])
        assert b"\n\n".join(parts) != data
        (debian.root / "var/lib/dpkg/status").write_bytes(b"\n\n".join(parts))
        image, found = debian.read()
        assert list(found) == ["first", "third"]
        assert STATUS in {path for path, _ in image.problems}


def test_a_paragraph_that_is_there_twice(debian: Debian) -> None:
    """The first of two paragraphs of a package counts, the second is a problem."""
    data = three(debian)
    (debian.root / "var/lib/dpkg/status").write_bytes(data + data.split(b"\n\n")[0] + b"\n\n")
    image, found = debian.read()
    assert list(found) == ["first", "second", "third"]
    assert image.problems == [(STATUS, "first:amd64: listed twice")]


def test_a_great_many_damaged_paragraphs_are_not_all_named(debian: Debian) -> None:
    """A file full of rubbish is a few problems, not a million."""
    (debian.root / "var/lib/dpkg/status").write_bytes(b"rubbish\n\n" * 10_000)
    image, found = debian.read()
    assert found == {}
    assert 0 < len(image.problems) < 100


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "relative", "folder"])
def test_a_damaged_list(debian: Debian, damage: str) -> None:
    """What a list surely says counts, the rest is a problem: half a name is no name."""
    debian.install("tool", {"/usr/bin/tool": "", "/usr/bin/tool-2": ""})
    file = debian.root / "var/lib/dpkg/info/tool.list"
    before = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(b"/.\n/usr\n/usr/bin\n/usr/bin/tool-2\n/usr/bin/tool")
    elif damage == "relative":
        file.write_bytes(before + b"../../etc/passwd\n\nusr/bin/tool\n")
    elif damage == "empty":
        file.touch()
    elif damage == "folder":
        file.mkdir()
    image, found = debian.read()
    expected = {"cut": {b"/usr/bin/tool-2"}, "relative": {b"/usr/bin/tool", b"/usr/bin/tool-2"}}.get(damage, set())
    assert {path for path in owned(image, found["tool"]) if b"tool" in path} == expected
    assert len(image.problems) == 1


def test_a_list_without_a_paragraph(debian: Debian) -> None:
    """A list whose package the status does not know is a problem."""
    debian.install("tool", {"/usr/bin/tool": ""})
    (debian.root / "var/lib/dpkg/status").write_bytes(b"")
    image, found = debian.read()
    assert found == {}
    assert image.problems == [(b"/var/lib/dpkg/info/tool.list", "its package is not in the status")]


def test_paths_that_climb_out_or_go_in_circles(debian: Debian) -> None:
    """Hostile paths and links stay inside the image, and end."""
    debian.install("tool", {"/usr/bin/tool": ""})
    (debian.root / "loop").symlink_to("loop")
    (debian.root / "out").symlink_to("../../../../../..")
    lines = [
        b"/../../usr/bin/tool",
        b"/loop/x",
        b"/out/usr/bin/tool",
        b"//usr/./bin//tool",
        b"/a\0b",
        b"/usr/bin/tool/x",
    ]
    (debian.root / "var/lib/dpkg/info/tool.list").write_bytes(b"".join(line + b"\n" for line in lines))
    (debian.root / "var/lib/dpkg/diversions").write_bytes(b"/x\nno path\n:\n/usr/bin/tool\n/usr/bin/tool.1\n")
    image, found = debian.read()
    assert owned(image, found["tool"]) == {b"/usr/bin/tool"}
    assert [path for path, _ in image.problems] == [b"/var/lib/dpkg/diversions"]


def test_an_interrupted_dpkg(debian: Debian) -> None:
    """Changes that dpkg had noted and not yet written to the status are a problem."""
    debian.install("tool", {"/usr/bin/tool": ""})
    (debian.root / "var/lib/dpkg/updates/0001").write_text("Package: other\n")
    image, _ = debian.read()
    assert [path for path, _ in image.problems] == [b"/var/lib/dpkg/updates/0001"]


def test_packages_in_a_directory_of_their_own(debian: Debian) -> None:
    """Where each package has a file in status.d, that and its md5sums are its identity, and the sums its files."""
    archive = debian.package("tool", {"/usr/bin/tool": "x", "/srv/b\\s": "y"}, Depends="base | nothing")
    subprocess.run([tool("dpkg-deb"), "--extract", archive, debian.root], check=True)
    directory = debian.root / "var/lib/dpkg/status.d"
    directory.mkdir()
    control = subprocess.run([tool("dpkg-deb"), "--field", archive], check=True, capture_output=True).stdout
    (directory / "tool").write_bytes(control)
    (directory / "base").write_bytes(control.replace(b"tool", b"base").replace(b"Depends: base | nothing\n", b""))
    (directory / "base.md5sums").write_bytes(b"")
    listed = subprocess.run(["md5sum", "usr/bin/tool", "srv/b\\s"], cwd=debian.root, check=True, capture_output=True)
    (directory / "tool.md5sums").write_bytes(listed.stdout)
    image, found = debian.read()
    assert owned(image, found["tool"]) == {b"/usr/bin/tool", b"/srv/b\\s"}
    names = {b"/var/lib/dpkg/status.d/tool", b"/var/lib/dpkg/status.d/tool.md5sums"}
    assert paths(image, found["tool"].identity) == names
    assert found["tool"].records == []
    assert required(found, "tool") == [("base", "base | nothing")]
    assert image.problems == []
    (directory / "tool.md5sums").write_bytes(listed.stdout[:-3])
    (directory / "base.md5sums").unlink()
    (directory / "broken").write_bytes(b"what")
    image, found = debian.read()
    assert set(found) == {"tool", "base"}
    assert {path.rpartition(b"/")[2] for path, _ in image.problems} == {b"tool.md5sums", b"base", b"broken"}


def test_the_result_follows_the_image_alone(debian: Debian) -> None:
    """Two looks at one image find the same."""
    three(debian)
    assert debian.read()[1] == debian.read()[1]


def test_an_image_without_dpkg(tmp_path: Path) -> None:
    """No database: no packages, and no problem."""
    image = Image(scan(os.fsencode(tmp_path)))
    assert dpkg.find(image) == []
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg").write_text("a file")
    image = Image(scan(os.fsencode(tmp_path)))
    assert dpkg.find(image) == []
    assert image.problems == []


def test_a_data_base_behind_a_link(debian: Debian) -> None:
    """Where /var/lib/dpkg is a link, records name the file that it leads to."""
    debian.install("tool", {"/usr/bin/tool": ""})
    (debian.root / "var/lib/dpkg").rename(debian.root / "usr/base")
    (debian.root / "var/lib/dpkg").symlink_to("/usr/base")
    image, found = debian.read()
    assert found["tool"].records == [(b"/usr/base/status", "dpkg-status", "tool:amd64")]
    assert paths(image, found["tool"].identity) >= {b"/usr/base/info/tool.list"}


def asked(*arguments: str) -> bytes:
    return subprocess.run([tool("dpkg-query"), *arguments], check=True, capture_output=True).stdout


def test_the_running_system() -> None:
    """On this machine dpkg-query names the same packages, versions and sections, and the same files of some."""
    if not Path("/var/lib/dpkg/status").exists():
        pytest.skip("this system is not Debian's")
    system = {b"/bin", b"/etc", b"/lib", b"/lib32", b"/lib64", b"/sbin", b"/usr", b"/var", b"/var/lib"}
    around = {b"/" + name for name in os.listdir(b"/")} | {b"/var/" + name for name in os.listdir(b"/var")}
    image = Image(scan(b"/", excluded=around - system))  # what else is there may be large, and is no package's
    found = {each.records[0][2]: each for each in dpkg.find(image) if each.records}
    form = "${Package}:${Architecture}\t${Version}\t${Section}\t${db:Status-Status}\n"
    rows = [line.split("\t") for line in asked("--show", f"--showformat={form}").decode().splitlines()]
    rows = [row for row in rows if row[3] not in ("not-installed", "config-files")]
    assert {row[0] for row in rows} == set(found)
    for key, version, section, _ in rows:
        assert (found[key].package.version, found[key].package.section) == (version, section.rpartition("/")[2])
    for key in sorted(found)[:: max(1, len(found) // 40)]:
        mine = {path for path in owned(image, found[key]) if not path.startswith(b"/var/lib/dpkg/info/")}
        theirs = listed_by_dpkg(image, key)
        assert mine <= theirs
        assert not [path for path in theirs - mine if not leads_to_a_directory(image, path)]


def listed_by_dpkg(image: Image, key: str) -> set[bytes]:
    lines: list[bytes] = []
    for line in asked("--listfiles", key).splitlines():
        if line.startswith((b"diverted by", b"locally diverted")):
            lines[-1] = line.partition(b" to: ")[2]
        elif line.startswith(b"/"):
            lines.append(line)
    entries = (image.entry(line) for line in lines)
    return {image.inventory.paths[at] for at in entries if at is not None}


def leads_to_a_directory(image: Image, path: bytes) -> bool:
    at = image.end(path)
    return at is not None and image.is_directory(at)


NAMES = st.text(string.ascii_lowercase + string.digits + "+.-", min_size=1, max_size=8).map(lambda text: "a" + text)
CHOICES = st.lists(st.binary(min_size=1).map(lambda name: b"/" + name.replace(b"\n", b"")), max_size=4)


@given(st.lists(st.lists(st.tuples(NAMES, st.sampled_from(["", "any", "i386"])), min_size=1, max_size=3), max_size=4))
def test_relations_are_read_back(groups: list[list[tuple[str, str]]]) -> None:
    """A dependency field written from groups of alternatives is read as these groups, versions and blanks or not."""
    for version, comma, bar in (("", ",", "|"), (" (>= 1:2~3)", ",\n ", " | "), ("(= 1)", " , ", "| ")):
        texts = (bar.join(f"{name}{':' * bool(arch)}{arch}{version}" for name, arch in each) for each in groups)
        found = relations(comma.join(texts).encode())
        assert [list(each.alternatives) for each in found] == groups


@given(st.integers(0, 3), CHOICES)
def test_choices_are_read_back_and_no_less_than_the_whole_is_enough(slaves: int, written: list[bytes]) -> None:
    """A group of alternatives gives its choices; cut anywhere it gives none."""
    head = b"auto\n/usr/bin/x\n" + b"".join(b"s%d\n/usr/s%d\n" % (n, n) for n in range(slaves)) + b"\n"
    data = head + b"".join(path + b"\n-7\n" + b"\n" * slaves for path in written) + b"\n"
    assert choices(data) == written
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"alternatives|choice"):
            choices(data[:end])


@given(st.binary(max_size=200), st.sampled_from([paragraphs, fields, relations, choices, sums, whole_lines]))
def test_any_bytes(data: bytes, parse: Callable[[bytes], object]) -> None:
    """Whatever the bytes: a value, or a ValueError."""
    try:
        parse(data)
    except ValueError as error:
        assert str(error)
