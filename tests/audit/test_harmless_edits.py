"""What an edit of cruft must not do: remove what is in use or what a later RUN needs, or ask for what is not there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from array import array
from dataclasses import replace
from pathlib import Path

import pytest
from audit_images import audit_of, known_of, one
from plan_images import Installed, link, write

from slimagent.audit.cruft import symbols
from slimagent.audit.not_copied import below
from slimagent.audit.whole import audit
from slimagent.inventory.contents import Contents
from slimagent.model.plan import Strip
from slimagent.model.profile import CruftRule, Rules
from slimagent.paths.algebra import pattern
from tests.audit.test_edits import BASE, CRUFT, KB, SITE, live, plant, run, stacked

BUSYBOX = shutil.which("busybox")


def test_bytecode_in_use_stays(tmp_path: Path) -> None:
    """A directory goes as a whole only if nothing in it was used, whatever it is."""
    write(tmp_path, "/usr/bin/find")
    for name in "abcdefg":
        write(tmp_path, f"{SITE}/{name}/m.py", "pass")
        write(tmp_path, f"{SITE}/{name}/__pycache__/m.cpython-312.pyc", KB)
    write(tmp_path, f"{SITE}/b/__pycache__/n.f-1.py312.nbi", KB)
    used = [f"{SITE}/a/m.py", f"{SITE}/a/__pycache__/m.cpython-312.pyc", f"{SITE}/b/__pycache__/n.f-1.py312.nbi"]
    found = one(audit_of(tmp_path, (), used), "byte-code")
    run(tmp_path, found)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("__pycache__/*")}
    assert left == {
        f"{SITE[1:]}/{each}" for each in ("a/__pycache__/m.cpython-312.pyc", "b/__pycache__/n.f-1.py312.nbi")
    }


@pytest.mark.parametrize(
    "later",
    [
        "RUN sh /tmp/in/install.sh",
        "RUN /bin/sh -c sh /tmp/in/*.sh",
        "RUN cd /tmp/in && sh ./install.sh",
        "RUN DIR=/tmp; sh $DIR/in/install.sh",
        'RUN sh "/tmp/in/${NAME}.sh"',
        "RUN sh install.sh",
        "RUN sh ${TMPDIR}/in/install.sh",
        "RUN make -C in",
        "WORKDIR /tmp/in",
    ],
)
def test_a_temporary_file_that_a_later_run_names_stays(tmp_path: Path, later: str) -> None:
    """By its path, by a directory that it is in, or by a part of it."""
    write(tmp_path, "/tmp/in/install.sh", KB)
    layers = stacked([BASE, "RUN curl -o /tmp/in/install.sh u", later], {"/tmp/in/install.sh": 1})
    found = one(audit_of(tmp_path, layers=layers), "temporary-files")
    assert live(found) == []
    assert "join the two RUNs" in found.edit


@pytest.mark.parametrize(
    "later", ["RUN rm -rf /tmp/in", "RUN sh /tmp/other.sh", "COPY x /tmp/in", "RUN find / -name x"]
)
def test_a_temporary_file_that_no_later_run_needs_goes(tmp_path: Path, later: str) -> None:
    """That it is gone does no harm to a RUN that removes it."""
    write(tmp_path, "/tmp/in/install.sh", KB)
    layers = stacked([BASE, "RUN curl -o /tmp/in/install.sh u", later], {"/tmp/in/install.sh": 1})
    run(tmp_path, one(audit_of(tmp_path, layers=layers), "temporary-files"))
    assert not (tmp_path / "tmp/in/install.sh").exists()


def test_documentation_that_a_run_names_is_installed(tmp_path: Path) -> None:
    """An example becomes the configuration of a program."""
    of = dict.fromkeys(("/usr/share/doc/z/examples/z.conf", "/usr/share/doc/z/README"), 1)
    for path in of:
        write(tmp_path, path, KB)
    layers = stacked([BASE, "RUN apt-get install z && cp /usr/share/doc/z/examples/z.conf /etc"], of)
    (setting,) = live(one(audit_of(tmp_path, [Installed("dpkg:z", list(of))], layers=layers), "documentation"))
    assert " path-include=/usr/share/doc/z/examples/z.conf " in setting


def test_what_a_copy_brought_stays_whatever_rule_it_is_cruft_of(tmp_path: Path) -> None:
    """Packages for a later RUN in apt's cache; headers among tests."""
    write(tmp_path, "/usr/bin/find")
    tests = [f"{SITE}/p/tests/x/t{at}.py" for at in range(20)]
    of = {"/var/cache/apt/archives/z.deb": 1, "/var/lib/apt/lists/z": 2, f"{SITE}/p/tests/x/a.h": 1}
    of |= dict.fromkeys(tests, 2)
    for path in of:
        write(tmp_path, path, KB)
    made = audit_of(tmp_path, layers=stacked([BASE, "COPY in /", "RUN make", "RUN apt-get install -y z"], of))
    for kind in ("apt-cache", "python-tests"):
        run(tmp_path, one(made, kind))
    assert {path for path, layer in of.items() if (tmp_path / path[1:]).exists()} == {
        path for path, layer in of.items() if layer == 1
    }


@pytest.mark.parametrize(
    "command",
    [
        "apt-get -y build-dep z",
        "apt-get upgrade -y",
        "/usr/bin/apt-get dist-upgrade",
        "aptitude -y safe-upgrade",
        "(apt-get source z)",
        "apt satisfy 'z (>= 1)'",
        "apt-get install -y z && apt-get update",
        'sh -c "apt-get install z"',
    ],
)
def test_each_run_that_takes_from_lists_is_named(tmp_path: Path, command: str) -> None:
    """Whatever it takes from them."""
    path = "/var/lib/apt/lists/deb_Packages"
    write(tmp_path, path, KB)
    found = one(
        audit_of(tmp_path, layers=stacked([BASE, "RUN apt-get update", f"RUN {command}"], {path: 1})), "apt-cache"
    )
    assert "# layer 3 then needs apt-get update first: it has none" in found.edit.split("\n")


@pytest.mark.parametrize("text", ["apt ", "[", "${", "{", "/", "$", "/a/*", "'", "apt install;"])
def test_a_long_history_takes_no_long_time(tmp_path: Path, text: str) -> None:
    """It is as long as its author wants."""
    of = {"/var/lib/apt/lists/a": 1, "/tmp/a": 1}
    for path in of:
        write(tmp_path, path, KB)
    layers = stacked([BASE, "RUN apt-get update", "RUN : /" + text * (100_000 // len(text))], of)
    began = time.monotonic()
    audit_of(tmp_path, layers=layers)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("path", CRUFT)
@pytest.mark.parametrize("hard", [False, True])
def test_busybox_can_do_what_an_edit_asks(tmp_path: Path, path: str, hard: bool) -> None:
    """It has no -regextype, and some have no -delete: an edit in its image removes the file all the same."""
    if BUSYBOX is None:
        pytest.skip("no busybox")
    write(tmp_path, "/bin/busybox", KB, 0o755)
    if hard:
        (tmp_path / "bin/find").hardlink_to(tmp_path / "bin/busybox")
    else:
        link(tmp_path, "/bin/find", "/bin/busybox")
    plant(tmp_path, path)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN make"], {path: 1})), CRUFT[path])
    assert live(found), found.edit
    lines = re.sub(r"(^|[ '])/", rf"\1{tmp_path}/", "\n".join(live(found)), flags=re.MULTILINE)
    subprocess.run(["sh", "-ec", lines.replace("find ", f"{BUSYBOX} find ")], check=True)
    assert not (tmp_path / path[1:]).exists(), found.edit


def test_a_program_that_a_later_layer_brings_is_not_asked(tmp_path: Path) -> None:
    """Alpine's findutils, or conda: the RUN that the edit is for does not have it yet."""
    of = {"/usr/bin/find": 2, "/usr/lib/z.a": 1, "/opt/conda/bin/conda": 2, "/opt/conda/pkgs/c/d": 1, "/bin/busybox": 0}
    for path in of:
        write(tmp_path, path, KB, 0o755)
    made = audit_of(tmp_path, layers=stacked([BASE, "RUN make", "RUN apk add findutils"], of))
    for kind in ("static-libraries", "conda-cache"):
        (line,) = live(one(made, kind))
        assert not re.search("-regextype|-delete|conda clean", line)


@pytest.mark.parametrize("path", CRUFT)
def test_an_image_without_find_is_asked_for_none(tmp_path: Path, path: str) -> None:
    """Files by name, for rm(1)."""
    plant(tmp_path, path)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN make"], {path: 1})), CRUFT[path])
    assert not any("find " in line for line in live(found))


def test_only_conda_is_asked_to_clean_its_cache(tmp_path: Path) -> None:
    """By its path; micromamba's cache is none of conda's."""
    of = {"/root/micromamba/pkgs/a/b": 1}
    write(tmp_path, "/root/micromamba/pkgs/a/b", KB)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN micromamba install a"], of)), "conda-cache")
    assert live(found) == ["cd /root/micromamba/pkgs && rm -rf -- a"]
    write(tmp_path, "/opt/conda/bin/conda", KB, 0o755)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN micromamba install a"], of)), "conda-cache")
    assert "conda clean" not in found.edit
    write(tmp_path, "/opt/conda/pkgs/c/d", KB)
    made = audit_of(tmp_path, layers=stacked([BASE, "RUN conda install c"], {"/opt/conda/pkgs/c/d": 1}))
    assert live(one(made, "conda-cache")) == ["/opt/conda/bin/conda clean --all --yes"]


@pytest.mark.parametrize("has_find", [False, True])
def test_directories_in_which_services_write_stay(tmp_path: Path, has_find: bool) -> None:
    """Whether the command has patterns or names: some logs are in use."""
    if has_find:
        write(tmp_path, "/usr/bin/find")
    used = [f"/var/log/app{at}.log" for at in range(6)]
    names = ("nginx", "postgresql", "apache2", "redis", "mysql")
    for path in (*used, *(f"/var/log/{name}/x.log" for name in names)):
        write(tmp_path, path, KB)
    run(tmp_path, one(audit_of(tmp_path, (), used), "logs"))
    left = {str(path.relative_to(tmp_path / "var/log")) for path in (tmp_path / "var/log").rglob("*")}
    assert left == {*names, *(f"app{at}.log" for at in range(6))}


def settings(line: str) -> list[str]:
    """What a RUN writes into dpkg's settings."""
    return [each for each in shlex.split(line) if each.startswith("path-")]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg")
def test_dpkg_makes_the_directories_of_what_it_leaves_out(tmp_path: Path) -> None:
    """Installers make links in them: dpkg itself says what is there."""
    page = "/usr/share/man/man1/z.1.gz"
    image, root, package = tmp_path / "image", tmp_path / "root", tmp_path / "package"
    write(image, page, KB)
    layers = stacked([BASE, "RUN apt-get install z"], {page: 1})
    (line,) = live(one(audit_of(image, [Installed("dpkg:z", [page])], layers=layers), "man-pages"))
    write(package, page, KB)
    write(package, "/usr/bin/z", KB)
    write(
        package, "/DEBIAN/control", "Package: z\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: z\n"
    )
    subprocess.run(["dpkg-deb", "--build", package, tmp_path / "z.deb"], check=True, capture_output=True)
    for each in ("status", "available", "info/format", "updates/x"):
        write(root, f"/var/lib/dpkg/{each}", "1\n" if each == "info/format" else "")
    (root / "var/lib/dpkg/updates/x").unlink()
    options = [f"--{each}" for each in settings(line)]
    command = ["dpkg", f"--root={root}", "--force-not-root", *options, "--unpack", tmp_path / "z.deb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "perm" in done.stderr.lower():
        pytest.skip("dpkg needs root")
    assert done.returncode == 0, done.stderr
    assert (root / "usr/bin/z").exists()
    assert (root / "usr/share/man/man1").is_dir()
    assert not (root / page[1:]).exists()


def test_dpkg_has_one_setting_for_a_rule(tmp_path: Path) -> None:
    """It is in one file: each layer's patterns are in it."""
    files = {"/usr/share/locale/de/LC_MESSAGES/git.mo": 1, "/usr/share/qt5/translations/qt_de.qm": 2}
    for path in files:
        write(tmp_path, path, KB)
    packages = [Installed(f"dpkg:z{at}", [path]) for at, path in enumerate(files)]
    layers = stacked([BASE, "RUN apt-get install z0", "RUN apt-get install z1"], files)
    (line,) = live(one(audit_of(tmp_path, packages, layers=layers), "locales"))
    assert sum(each.startswith("path-exclude=") for each in settings(line)) == 2


@pytest.mark.parametrize("to", ["/", "/opt", "/opt/venv/lib/python3.12", SITE, f"{SITE}/p0"])
def test_lines_for_dockerignore_match_what_is_copied(tmp_path: Path, to: str) -> None:
    """Each is one line as it stands in the file, from what is copied, and no file in use matches."""
    of = {f"{SITE}/p0/p{at}/tests/x/data": 1 for at in range(20)} | {f"{SITE}/p0/p{at}/code": 1 for at in range(20)}
    for path in of:
        write(tmp_path, path, KB)
    used = f"{SITE}/p0/p7/tests/x/data"
    made = audit_of(tmp_path, (), [used, f"{SITE}/p0/p1/code"], layers=stacked([BASE, f"COPY vendored {to}"], of))
    lines = [line[4:] for line in one(made, "python-tests").edit.split("\n") if line.startswith("#   ")]
    assert lines, one(made, "python-tests").edit
    out = [pattern(f"/{each}") for each in lines if not each.startswith("!")]
    back = [pattern(f"/{each[1:]}") for each in lines if each.startswith("!")]
    for path in of:
        inside = path[len(to.rstrip("/")) :].encode()
        is_out = any(each.fullmatch(inside) for each in out) and not any(each.fullmatch(inside) for each in back)
        assert is_out == ("/tests/" in path and path != used)


@pytest.mark.parametrize("text", ["/**/a/**", "/a/**/b/*", "/**/*.c", "/a/b", "/**/a/**/a/*"])
def test_what_is_left_of_a_pattern_matches_the_same_files(text: str) -> None:
    """Below any directory, for any path of two names and four levels."""
    paths = ["/" + "/".join("ab"[at >> bit & 1] for bit in range(4)) + end for at in range(16) for end in ("", ".c")]
    for path in paths:
        for cut in range(1, 5):
            parts = path.split("/")
            directory, rest = "/".join(parts[:cut]) or "/", "/".join(parts[cut:])
            left = below(text, directory.encode())
            is_matched = any(pattern(f"/{each}").fullmatch(f"/{rest}".encode()) for each in left)
            assert is_matched == bool(pattern(text).fullmatch(path.encode())), (directory, rest, left)


def test_one_name_that_cannot_be_written_is_left_where_it_is(tmp_path: Path) -> None:
    """The command does not look through the whole image for it."""
    write(tmp_path, "/usr/bin/find")
    of = {"/x\ny/lib/a.a": 1, "/usr/lib/b.a": 1, "/usr/lib/c.a": 1}
    for path in of:
        write(tmp_path, path, KB)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN make"], of)), "static-libraries")
    (line,) = live(found)
    assert line.startswith("find /usr/lib -xdev ")
    assert found.comment.startswith("removes 2.0 kB of 3.0 kB; ")
    shutil.rmtree(tmp_path / "usr/lib")
    assert live(one(audit_of(tmp_path, layers=stacked([BASE, "RUN make"], of)), "static-libraries")) == []


@pytest.mark.parametrize("path", CRUFT)
def test_a_run_gets_one_line(tmp_path: Path, path: str) -> None:
    """What fails in it fails the RUN; the comment says how it is joined to what the RUN does."""
    write(tmp_path, "/usr/bin/find")
    plant(tmp_path, path)
    for layers in (None, stacked([BASE, "RUN make"], {path: 1})):
        found = one(audit_of(tmp_path, layers=layers), CRUFT[path])
        (line,) = live(found)
        assert line.startswith("RUN ") or "after &&" in found.comment
        assert "; " not in line


@pytest.mark.parametrize("has_find", [False, True])
@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("static-libraries", "/usr/lib/liba.a", "/opt/z/libz.a"),
        ("headers", "/usr/include/a.h", "/usr/local/include/z/z.h"),
        ("source-maps", f"{SITE}/a.js.map", "/opt/z/z.js.map"),
        ("logs", "/var/log/a.log", "/var/log/z/b.log"),
        ("apt-cache", "/var/cache/apt/a.bin", "/var/cache/apt/archives/z.deb"),
        ("documentation", "/usr/share/doc/a/README", "/usr/local/share/doc/z/README"),
        ("python-tests", f"{SITE}/a/tests/data/a", f"{SITE}/z/tests/data/a"),
        ("byte-code", f"{SITE}/a/__pycache__/m.cpython-312.pyc", f"{SITE}/z/__pycache__/m.cpython-312.pyc"),
    ],
)
def test_a_file_goes_with_all_of_its_names(tmp_path: Path, kind: str, first: str, second: str, has_find: bool) -> None:
    """An edit that removes one of two hard links saves nothing."""
    if has_find:
        write(tmp_path, "/usr/bin/find")
    plant(tmp_path, first)
    plant(tmp_path, second)
    (tmp_path / second[1:]).unlink()
    (tmp_path / second[1:]).hardlink_to(tmp_path / first[1:])
    layers = stacked([BASE, "RUN make"], {first: 1, second: 1})
    found = one(audit_of(tmp_path, layers=layers), kind)
    assert live(found), found.edit
    run(tmp_path, found)
    assert not (tmp_path / first[1:]).exists(), found.edit
    assert not (tmp_path / second[1:]).exists(), found.edit


def test_a_file_stays_if_one_of_its_names_does(tmp_path: Path) -> None:
    """What a later RUN names is in use by its other name, too."""
    first, second = "/tmp/a/in.tar", "/tmp/z/out.tar"
    write(tmp_path, first, KB)
    (tmp_path / "tmp/z").mkdir()
    (tmp_path / second[1:]).hardlink_to(tmp_path / first[1:])
    layers = stacked([BASE, "RUN make", f"RUN tar -xf {second}"], {first: 1, second: 1})
    assert live(one(audit_of(tmp_path, layers=layers), "temporary-files")) == []


@pytest.mark.parametrize(
    "later",
    [
        "RUN cp -r /usr/local/share/doc/foo/examples /etc/foo",
        "RUN cd /usr/local/share/doc/foo && cp examples/a.conf /etc",
        "RUN find /usr/local/share/doc/foo -name '*.conf' -exec cp {} /etc ';'",
        "RUN NAME=foo; cp -r /usr/local/share/doc/$NAME/examples /etc",
    ],
)
def test_what_is_below_a_directory_that_a_later_run_names_stays(tmp_path: Path, later: str) -> None:
    """Whether the command has patterns or names."""
    of = {f"/usr/local/share/doc/foo/examples/{at}.conf": 1 for at in "abcdefg"} | {"/usr/local/share/doc/z/README": 1}
    for path in of:
        write(tmp_path, path, KB * (10 if path.endswith("README") else 1))
    write(tmp_path, "/usr/bin/find")
    run(tmp_path, one(audit_of(tmp_path, layers=stacked([BASE, "RUN make", later], of)), "documentation"))
    assert {path for path in of if not (tmp_path / path[1:]).exists()} == {"/usr/local/share/doc/z/README"}


@pytest.mark.parametrize(
    "later",
    [
        "RUN cd /usr/share && ls doc",
        "RUN find /usr -name x",
        "RUN cd /usr/local/share/doc",
        "RUN PATH=/usr/local/bin:$PATH make -C /opt",
        "RUN rm -rf /usr/local/share/doc/foo",
        "WORKDIR /home/ada",
    ],
)
def test_a_directory_of_every_system_keeps_nothing(tmp_path: Path, later: str) -> None:
    """A RUN that works in it need not need all of it."""
    path = "/usr/local/share/doc/foo/README"
    write(tmp_path, path, KB)
    run(tmp_path, one(audit_of(tmp_path, layers=stacked([BASE, "RUN make", later], {path: 1})), "documentation"))
    assert not (tmp_path / path[1:]).exists()


@pytest.mark.parametrize("later", ["chown -R ada", "chmod -R a+r", "find -delete -path"])
def test_a_directory_that_a_later_run_needs_for_itself_stays(tmp_path: Path, later: str) -> None:
    """The new owner is for what is there: its files can go."""
    path = "/usr/local/share/doc/foo/html/README"
    write(tmp_path, path, KB)
    layers = stacked([BASE, "RUN make", f"RUN {later} /usr/local/share/doc/foo"], {path: 1})
    run(tmp_path, one(audit_of(tmp_path, layers=layers), "documentation"))
    assert not (tmp_path / path[1:]).exists()
    assert (tmp_path / path[1:]).parents[1].is_dir()


def test_documentation_in_a_directory_that_a_run_names_is_installed(tmp_path: Path) -> None:
    """All below the directory, in one line of dpkg's settings."""
    examples = [f"/usr/share/doc/z/examples/{at}.c" for at in range(9)]
    of = dict.fromkeys([*examples, "/usr/share/doc/z/README"], 1)
    for path in of:
        write(tmp_path, path, KB * (50 if path.endswith("README") else 1))
    layers = stacked([BASE, "RUN apt-get install z", "RUN cp -r /usr/share/doc/z/examples /opt"], of)
    (line,) = live(one(audit_of(tmp_path, [Installed("dpkg:z", list(of))], layers=layers), "documentation"))
    assert "path-include=/usr/share/doc/z/examples/*" in settings(line)


def test_without_a_find_yet_files_are_named(tmp_path: Path) -> None:
    """A later layer brings it, and the image has no BusyBox."""
    of = {"/usr/bin/find": 2, "/usr/lib/y.a": 1, "/usr/lib/z.a": 1}
    for path in of:
        write(tmp_path, path, KB, 0o755)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN make", "RUN apk add findutils"], of)), "static-libraries")
    assert live(found) == ["rm -rf /usr/lib/y.a /usr/lib/z.a"]


@pytest.mark.parametrize("install", ["dpkg -i /d/z.deb", "make install-packages"])
def test_a_setting_of_dpkg_comes_before_what_it_is_for(tmp_path: Path, install: str) -> None:
    """Whatever installs the packages: the first layer that has some."""
    page = "/usr/share/man/man1/z.1.gz"
    write(tmp_path, page, KB)
    layers = stacked([BASE, "RUN make", f"RUN {install}", "RUN apt-get --version"], {page: 2})
    found = one(audit_of(tmp_path, [Installed("dpkg:z", [page])], layers=layers), "man-pages")
    assert live(found)
    assert found.comment == "RUN lines before layer 3"


@pytest.mark.parametrize(("capabilities", "is_stripped"), [(b"", True), (b"a", False), (None, False)])
def test_a_file_with_capabilities_is_not_stripped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: bytes | None, is_stripped: bool
) -> None:
    """It would lose them, by whatever name; so could one of which nobody knows them."""
    of = {"/opt/bin/ping": 1, "/opt/bin/z": 1}
    for path in of:
        write(tmp_path, path, KB, 0o755)
    monkeypatch.setattr(Contents, "capabilities", lambda _, path: capabilities if path.endswith(b"ping") else b"")
    known = known_of(tmp_path, layers=stacked([BASE, "RUN make"], of))
    for paths in ([b"/opt/bin/ping"], [b"/opt/bin/ping", b"/opt/bin/z"]):
        plan = replace(known.plan, strips=tuple(Strip(each, 500) for each in paths))
        ((found, _),) = symbols(replace(known, plan=plan))
        assert ("ping" in "".join(live(found))) == is_stripped
        assert len(live(found)) == (is_stripped or len(paths) > 1)


def test_a_line_for_dockerignore_takes_no_directory_with_more(tmp_path: Path) -> None:
    """`test_*` also is a directory's name, and all that is in it would be left out."""
    tests = [f"/opt/app/z{at}/site-packages/p{at}/tests/test_{at}.py" for at in range(20)]
    helper = "/opt/app/z0/site-packages/p0/tests/test_helpers/util.so"
    of = dict.fromkeys([*tests, helper], 1)
    for path in of:
        write(tmp_path, path, KB)
    rule = CruftRule(name="some", patterns=("/**/site-packages/**/tests/test_*",), why="because", risk="none")

    def lines() -> list[str]:
        layers = stacked([BASE, "COPY app /opt/app"], of)
        found = one(audit_of(tmp_path, layers=layers, rules=Rules(cruft=(rule,))), "some")
        assert live(found) == []
        return [line for line in found.edit.split("\n") if line.startswith("#   ")]

    assert lines() == []
    (tmp_path / helper[1:]).unlink()
    assert lines() == ["#   **/site-packages/**/tests/test_*"]


@pytest.mark.parametrize(("uids", "left"), [((0, 1000), {"root"}), ((0, 0), set()), ((1000, 1000), set())])
def test_a_run_of_another_user_removes_only_their_own(tmp_path: Path, uids: tuple[int, int], left: set[str]) -> None:
    """After USER a RUN has no right to remove what root made before."""
    write(tmp_path, "/usr/bin/find")
    of = {f"{SITE}/root/__pycache__/a{at}.cpython-312.pyc": 1 for at in range(9)}
    of |= {f"{SITE}/own{at}/__pycache__/a.cpython-312.pyc": 2 for at in range(9)}
    for path in of:
        plant(tmp_path, path)
    known = known_of(tmp_path, layers=stacked([BASE, "RUN make", "RUN python -m compileall"], of))
    owner = {path.encode(): uids[layer - 1] for path, layer in of.items()}
    inventory = replace(known.inventory, uids=array("I", (owner.get(each, 0) for each in known.inventory.paths)))
    found = one(audit(replace(known, inventory=inventory), "app"), "byte-code")
    second = found.edit[found.edit.rindex("# layer 3") :]
    run(tmp_path, replace(found, edit=second))
    assert {path.parents[1].name for path in tmp_path.rglob("*.pyc")} == left


def test_what_an_edit_removes_beside_its_finding_is_said(tmp_path: Path) -> None:
    """A file is counted by one rule, and a command goes by the patterns of another one, too."""
    write(tmp_path, "/usr/bin/find")
    place = "/opt/venv/share/jupyter/nbextensions"
    maps, code = ([f"{place}/p{at}/index.js{end}" for at in range(10)] for end in (".map", ""))
    for path in (*maps, *code):
        write(tmp_path, path, KB)
    of = dict.fromkeys((*code, *maps[:6]), 1) | dict.fromkeys(maps[6:], 2)
    made = audit_of(tmp_path, layers=stacked([BASE, "RUN pip install p", "RUN make"], of))
    assert one(made, "source-maps").size == one(made, "notebook-extensions").size == 10_000
    found = one(made, "notebook-extensions")
    assert found.comment.startswith("removes 10.0 kB of 10.0 kB, and 6.0 kB that count elsewhere; "), found
    run(tmp_path, found)
    assert not list((tmp_path / place[1:]).rglob("*.js*"))
