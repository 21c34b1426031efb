"""An edit can be pasted where it says: it is a command for a RUN alone, does no harm, and saves what is said."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from audit_images import audit_of, known_of, of_kind, one
from plan_images import Installed, access, write

from slimagent.audit.by_layer import destination
from slimagent.audit.unused import required_anyway
from slimagent.model.audit import Audit, Fate, Finding, Hidden, Layer, Layers, Risk
from slimagent.model.profile import CruftRule, Rules
from slimagent.model.trace import How

KB = b"x" * 1000
MB = b"x" * 1_000_000
SITE = "/opt/venv/lib/python3.12/site-packages"
BASE, COPY = "/bin/sh -c #(nop) ADD file:0 in / ", "COPY app / # buildkit"
# One path of each kind of cruft, with what the rule asks for besides.
CRUFT = {
    "/var/lib/apt/lists/deb_Packages": "apt-cache",
    "/var/cache/apk/p.apk": "apt-cache",
    "/home/ada/.cache/pip/http/a": "pip-cache",
    "/usr/local/share/.cache/yarn/v6/a": "npm-cache",
    "/root/.cache/R/pkgcache/a": "r-cache",
    "/var/log/dpkg.log": "logs",
    "/tmp/.hid/z": "temporary-files",
    "/usr/lib/libz.a": "static-libraries",
    "/usr/include/z.h": "headers",
    "/usr/share/doc/z/README": "documentation",
    "/usr/local/share/doc/z/README": "documentation",
    "/usr/local/share/man/man1/z.1": "man-pages",
    "/usr/share/locale/de/LC_MESSAGES/z.mo": "locales",
    f"{SITE}/z/tests/data/a": "python-tests",
    f"{SITE}/a.js.map": "source-maps",
    "/opt/app/m.pyc": "byte-code",
    f"{SITE}/__pycache__/m.cpython-312.pyc": "byte-code",
}


def stacked(commands: list[str], of: Mapping[str, int], *hidden: Hidden) -> Layers:
    """Layers with these commands, and the files that come from each."""
    return Layers(
        layers=tuple(Layer(digest=str(at), command=each, size=10_000_000, files=1) for at, each in enumerate(commands)),
        hidden=hidden,
        of={os.fsencode(path): at for path, at in of.items()},
    )


def live(found: Finding) -> list[str]:
    """The lines of an edit that are not comments."""
    return [line for line in found.edit.split("\n") if not line.startswith("#")]


def run(root: Path, found: Finding) -> None:
    """Run an edit in a directory that stands for the root: every absolute path is one below it."""
    lines = re.sub(r"(^|[ '])/", rf"\1{root}/", "\n".join(live(found)), flags=re.MULTILINE)
    subprocess.run(["sh", "-ec", lines], check=True)


def plant(root: Path, path: str) -> None:
    write(root, path, KB)
    if path.endswith(".pyc"):
        write(root, path.replace("__pycache__/", "").replace(".cpython-312", "")[:-1], "pass")


@pytest.mark.parametrize("path", CRUFT)
def test_at_the_end_of_a_run_an_edit_removes_what_it_names(tmp_path: Path, path: str) -> None:
    """Also what only some of a rule's patterns match, and names that begin with a dot."""
    plant(tmp_path, path)
    found = one(audit_of(tmp_path, layers=stacked([BASE, "RUN make"], {path: 1})), CRUFT[path])
    assert live(found), found.edit
    run(tmp_path, found)
    assert not (tmp_path / path[1:]).exists(), found.edit


@pytest.mark.parametrize("path", CRUFT)
@pytest.mark.parametrize("made", [BASE, COPY, "/bin/sh -c #(nop) ADD dir:1 in /opt "])
def test_where_no_run_is_an_edit_is_a_comment(tmp_path: Path, path: str, made: str) -> None:
    """A COPY runs no command, and a base image is not made here. What only that can save is not in the sum."""
    plant(tmp_path, path)
    commands = [BASE, made] if made != BASE else [BASE, "RUN make"]
    audited = audit_of(tmp_path, layers=stacked(commands, {path: int(made != BASE)}))
    found = one(audited, CRUFT[path])
    assert live(found) == []
    assert "/ " not in found.edit
    assert audited.together == (0 if made == BASE else 1000)


def test_the_edit_for_a_copy_says_what_to_leave_out_of_it(tmp_path: Path) -> None:
    """Paths from where it copies to; what a RUN reads need not be in a layer."""
    for path in (f"{SITE}/a/include/a.h", f"{SITE}/a/__init__.py", "/tmp/requirements.txt"):
        write(tmp_path, path, KB)
    commands = [BASE, "COPY --from=build /venv /opt/venv # buildkit", "/bin/sh -c #(nop) COPY file:0 in /tmp/ "]
    made = audit_of(tmp_path, layers=stacked(commands, {f"{SITE}/a/include/a.h": 1, "/tmp/requirements.txt": 2}))
    assert one(made, "headers").edit.split("\n")[1] == (
        "# do not copy to /opt/venv: lib/python3.12/site-packages/a/include"
    )
    _, left_out, mounted = one(made, "temporary-files").edit.split("\n")
    assert left_out == "# do not copy to /tmp: requirements.txt"
    assert "--mount=type=bind" in mounted


@pytest.mark.parametrize(
    ("made", "to"),
    [
        ("COPY a b /opt/x/ # buildkit", b"/opt/x"),
        ("/bin/sh -c #(nop) COPY dir:00 in /opt/in/x ", b"/opt/in/x"),
        ('COPY ["a", "/opt/x"] # buildkit', b"/opt/x"),
        ("COPY a b", b"/"),
    ],
)
def test_the_destination_of_a_copy_is_that_of_its_line(tmp_path: Path, made: str, to: bytes) -> None:
    """As both builders write it."""
    assert destination(known_of(tmp_path, layers=stacked([made], {})), 0) == to


def test_what_a_copy_brought_for_a_later_run_stays(tmp_path: Path) -> None:
    """A RUN between the two removes only its own temporary files."""
    of = {"/tmp/requirements.txt": 1, "/tmp/made": 2}
    for path in of:
        write(tmp_path, path, KB)
    commands = [BASE, "COPY requirements.txt /tmp/", "RUN make"]
    found = one(audit_of(tmp_path, layers=stacked(commands, of)), "temporary-files")
    run(tmp_path, found)
    assert not (tmp_path / "tmp/made").exists()
    assert (tmp_path / "tmp/requirements.txt").exists()


def test_logs_of_logins_stay(tmp_path: Path) -> None:
    """Logins write to them only if they exist (docs/cruft.md)."""
    names = ("wtmp", "btmp", "lastlog", "faillog", "tallylog", "dpkg.log")
    for name in names:
        write(tmp_path, f"/var/log/{name}", KB)
    run(tmp_path, one(audit_of(tmp_path), "logs"))
    assert {path.name for path in (tmp_path / "var/log").iterdir()} == set(names) - {"dpkg.log"}


def test_a_directory_goes_only_if_a_rule_is_for_all_in_it(tmp_path: Path) -> None:
    """Something else can be in it when the RUN ends, and be moved by a later one; and an empty one is of use."""
    write(tmp_path, "/home/jo/include/z.h", KB)
    (tmp_path / "home/jo/work").mkdir()
    found = one(audit_of(tmp_path), "headers")
    write(tmp_path, "/home/jo/run", KB)
    run(tmp_path, found)
    assert not (tmp_path / "home/jo/include/z.h").exists()
    assert (tmp_path / "home/jo/work").is_dir()
    assert (tmp_path / "home/jo/run").exists()


def test_a_run_that_installs_without_an_update_is_named(tmp_path: Path) -> None:
    """It relies on the lists that the edit removes."""
    path = "/var/lib/apt/lists/deb_Packages"
    write(tmp_path, path, KB)
    commands = [BASE, "RUN apt-get update && apt-get install -y git", "RUN apt-get -y install vim", "RUN apt update"]
    found = one(audit_of(tmp_path, layers=stacked(commands, {path: 1})), "apt-cache")
    assert [line for line in found.edit.split("\n") if "first" in line] == [
        "# layer 3 then needs apt-get update first: it has none"
    ]


def test_dpkg_leaves_out_what_the_rule_names(tmp_path: Path) -> None:
    """Of what it installs; licences stay. What others installed is not in what that saves."""
    of = {"/usr/share/doc/z/README": 1, "/usr/local/share/doc/y": 2}
    for path in of:
        write(tmp_path, path, KB)
    packages = [Installed("dpkg:z", ["/usr/share/doc/z/README"])]
    commands = [BASE, "RUN apt-get install z", "RUN make"]
    found = one(audit_of(tmp_path, packages, layers=stacked(commands, of)), "documentation")
    setting, removal = live(found)
    assert setting.startswith("RUN printf '%s\\n' 'path-exclude=/*/share/doc/*' ")
    assert "path-include=/*/share/doc/*/LICENSE*" in setting
    assert removal.startswith("cd /usr/local/share/doc ")


def test_dpkg_installs_what_stays(tmp_path: Path) -> None:
    """A file in use is no cruft, and is installed again when the image is built again."""
    files = [f"/usr/share/locale/{each}/LC_MESSAGES/z.mo" for each in ("de", "fr")]
    for path in (*files, "/usr/bin/z"):
        write(tmp_path, path, KB)
    packages = [Installed("dpkg:z", [*files, "/usr/bin/z"])]
    layers = stacked([BASE, "RUN apt-get install z"], dict.fromkeys(files, 1))
    (setting,) = live(one(audit_of(tmp_path, packages, ["/usr/bin/z", files[0]], layers=layers), "locales"))
    assert setting.endswith(f" path-include={files[0]} > /etc/dpkg/dpkg.cfg.d/no-locales")


def test_what_an_author_wrote_is_one_word_of_a_comment(tmp_path: Path) -> None:
    """An interactive zsh has no comments: it would obey the command of a layer."""
    write(tmp_path, "/srv/a.a", KB)
    made = "RUN true; touch /tmp/x; echo $(id)"
    head = one(audit_of(tmp_path, layers=stacked([BASE, made], {"/srv/a.a": 1})), "static-libraries").edit.split("\n")[
        0
    ]
    assert shlex.split(head) == ["#", "layer", "2,", "1.0", "kB:", made.removeprefix("RUN ")]


def twins(root: Path, commands: list[str], layers: tuple[int, int], mode: int = 0o644) -> Audit:
    of = dict(zip(("/srv/a", "/srv/b"), layers, strict=True))
    write(root, "/srv/a", MB)
    write(root, "/srv/b", MB, mode)
    return audit_of(root, layers=stacked(commands, of))


def test_the_same_bytes_become_links(tmp_path: Path) -> None:
    """With the paths, at the end of the RUN that made both."""
    found = one(twins(tmp_path, [BASE, "RUN make"], (1, 1)), "same-content")
    assert live(found) == ["ln -f /srv/a /srv/b"]
    run(tmp_path, found)
    assert (tmp_path / "srv/a").samefile(tmp_path / "srv/b")


@pytest.mark.parametrize(("layers", "mode"), [((0, 0), 0o644), ((0, 1), 0o644), ((1, 2), 0o644), ((1, 1), 0o600)])
def test_a_link_that_saves_nothing_or_gives_rights_is_no_finding(
    tmp_path: Path, layers: tuple[int, int], mode: int
) -> None:
    """Between layers it saves nothing; it would give one file the mode and the owner of the other."""
    assert of_kind(twins(tmp_path, [BASE, "RUN make", "RUN make"], layers, mode), "same-content") == []


def test_of_what_a_copy_brought_twice_only_a_comment_is_given(tmp_path: Path) -> None:
    """A COPY makes no link."""
    assert live(one(twins(tmp_path, [BASE, "COPY srv /srv"], (1, 1)), "same-content")) == []


def test_what_goes_anyway_is_no_second_copy(tmp_path: Path) -> None:
    """The link would lead nowhere, and the byte would count twice."""
    write(tmp_path, "/opt/a/.cache/pip/big", MB)
    write(tmp_path, "/usr/lib/zz/big", MB)
    made = audit_of(tmp_path)
    assert of_kind(made, "same-content") == []
    assert made.together == len(MB)


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ([BASE, "RUN make", "RUN make"], "the base image's"),
        ([COPY.replace(" / ", " /app "), "RUN make", "RUN make"], "do not copy them in layer 1"),
        (["RUN make", "COPY app /", "RUN make"], "do not make them in layer 1"),
        (["RUN make", "RUN make", "RUN make"], "join layers 1 and 2"),
    ],
)
def test_what_a_layer_hides_is_avoided_where_it_can_be(tmp_path: Path, commands: list[str], said: str) -> None:
    """A base image and a COPY are joined with no RUN; what only the base image can save is not in the sum."""
    write(tmp_path, "/a", KB)
    write(tmp_path, "/var/cache/apt/pkgcache.bin", b"")
    gone = Hidden(layer=0, by=1, fate=Fate.REPLACED, size=500_000, files=1, examples=(b"/var/cache/apt/pkgcache.bin",))
    rights = Hidden(layer=0, by=2, fate=Fate.COPIED, size=400_000, files=1, examples=(b"/a",), changed=("owner",))
    made = audit_of(tmp_path, layers=stacked(commands, {"/a": 1}, gone, rights))
    assert said in one(made, "hidden").edit
    assert live(one(made, "hidden")) == live(one(made, "copied-again")) == []
    assert made.together == (0 if commands[0] == BASE else 900_000)
    if said.startswith("join"):
        assert "pkgcache.bin: see apt-cache" in one(made, "hidden").edit


def test_a_package_that_alone_brings_what_is_used_is_in_use(tmp_path: Path) -> None:
    """A metapackage is empty: without its line, what it requires is not installed."""
    for name in ("meta", "lib", "other"):
        write(tmp_path, f"/usr/share/{name}", KB)
    packages = [
        Installed("dpkg:meta", ["/usr/share/meta"], requires=["dpkg:lib", "dpkg:other"]),
        Installed("dpkg:lib", ["/usr/share/lib"]),
        Installed("dpkg:other", ["/usr/share/other"]),
    ]
    asked = {"dpkg:meta": "apt-mark showmanual"}
    assert of_kind(audit_of(tmp_path, packages, ["/usr/share/lib"], asked), "unused") == []
    assert one(audit_of(tmp_path, packages, ["/usr/bin/none"], asked), "unused").subjects[0] == "dpkg:meta"
    both = {**asked, "dpkg:lib": "apt-mark showmanual"}
    assert one(audit_of(tmp_path, packages, ["/usr/share/lib"], both), "unused").subjects == ("dpkg:meta", "dpkg:other")


def test_one_of_two_packages_that_require_each_other_keeps_its_line(tmp_path: Path) -> None:
    """Else neither would be installed."""
    for name in ("a", "b"):
        write(tmp_path, f"/usr/share/{name}", KB)
    packages = [
        Installed("dpkg:a", ["/usr/share/a"], requires=["dpkg:b"]),
        Installed("dpkg:b", ["/usr/share/b"], requires=["dpkg:a"]),
    ]
    found = one(audit_of(tmp_path, packages, None, dict.fromkeys(("dpkg:a", "dpkg:b"), "apt")), "required-anyway")
    assert found.edit in {"# do not install a by name", "# do not install b by name"}


def second_pip(root: Path, asked: dict[str, str] | None = None, *, venv: bool = False) -> Finding:
    sites = {b"/usr": "/usr/lib/python3/dist-packages/pip.py", b"/opt/venv": f"{SITE}/pip.py"}
    for place, path in sites.items():
        write(root, path, MB + place)
    write(root, "/usr/lib/python3/dist-packages/wheel.py", MB)
    if venv:
        write(root, "/opt/venv/pyvenv.cfg", "home = /usr/bin\n")
    packages = [
        Installed("python:pip", [sites[b"/usr"]], place=b"/usr"),
        Installed("python:wheel", ["/usr/lib/python3/dist-packages/wheel.py"], place=b"/usr"),
        Installed("python:pip", [sites[b"/opt/venv"]], place=SITE.encode()),
    ]
    return one(audit_of(root, packages, None, asked), "duplicate")


def test_a_line_is_only_taken_from_a_list_that_has_it(tmp_path: Path) -> None:
    """A record or a list in the image says so; pip comes with an environment."""
    found = second_pip(tmp_path)
    assert (found.file, live(found)) == ("Dockerfile", [])
    found = second_pip(tmp_path, {"python:pip": "/app/requirements.txt"})
    assert (found.file, found.edit) == ("requirements.txt", "# remove the line pip")
    found = second_pip(tmp_path, venv=True)
    assert (found.file, live(found)) == ("Dockerfile", [])
    assert found.edit.startswith("# python3 -m venv --without-pip /opt/venv\n")


@pytest.mark.parametrize(
    ("name", "version", "asked", "file"),
    [
        ("pip", "3.11", "pip's REQUESTED", "Dockerfile"),
        ("pip", "3.13", "pip's REQUESTED", "Dockerfile"),
        ("setuptools", "3.11", "pip's REQUESTED", "Dockerfile"),
        ("setuptools", "3.12", "pip's REQUESTED", "requirements.txt"),
        ("wheel", "3.11", "pip's REQUESTED", "requirements.txt"),
        ("pip", "3.11", "/app/dev.txt", "dev.txt"),
    ],
)
def test_a_mark_says_nothing_of_what_comes_with_an_environment(
    tmp_path: Path, name: str, version: str, asked: str, file: str
) -> None:
    """Debian 12's ensurepip marks pip and setuptools as if somebody had asked for them."""
    venv = f"/opt/v/lib/python{version}/site-packages"
    write(tmp_path, "/opt/v/pyvenv.cfg", "home = /usr/bin\n")
    write(tmp_path, "/usr/bin/tool", KB, 0o755)
    for each in (name, "app"):
        write(tmp_path, f"{venv}/{each}.py", MB)
    packages = [
        Installed(f"python:{name}", [f"{venv}/{name}.py"], place=venv.encode()),
        Installed("python:app", [f"{venv}/app.py"], place=venv.encode(), requires=[f"python:{name}"]),
    ]
    requests = {f"python:{name}": asked}
    found = one(audit_of(tmp_path, packages[:1], ["/usr/bin/tool"], requests), "unused")
    assert found.file == file
    assert found.edit.startswith(
        "# python3 -m venv --without-pip" if file == "Dockerfile" else f"# remove the line {name}"
    )
    assert ("it came with its virtual environment" in found.evidence) == (file == "Dockerfile")
    known = known_of(tmp_path, packages, None, {**requests, "python:app": asked})
    assert bool(list(required_anyway(known))) == (file != "Dockerfile")


def test_a_tool_that_a_run_calls_is_mounted(tmp_path: Path) -> None:
    """A switch that leaves it out would break that RUN."""
    write(tmp_path, "/usr/bin/uv", KB, 0o755)
    commands = [BASE, "RUN pip install uv && uv pip install numpy"]
    found = one(audit_of(tmp_path, layers=stacked(commands, {"/usr/bin/uv": 1})), "optional-tool")
    assert live(found) == []
    assert "from=STAGE,source=/usr/bin/uv," in found.edit
    other = one(audit_of(tmp_path, layers=stacked([BASE, "RUN install-uv"], {"/usr/bin/uv": 1})), "optional-tool")
    assert "INSTALL_UV=false" in other.edit


def test_what_somebody_asked_for_is_at_medium_risk(tmp_path: Path) -> None:
    """Whatever finding it is in (docs/audit.md)."""
    for name in ("gcc", "gh", "run"):
        write(tmp_path, f"/usr/bin/{name}", KB, 0o755)
    packages = [
        Installed("dpkg:gcc", ["/usr/bin/gcc"], section="devel"),
        Installed("dpkg:gh", ["/usr/bin/gh"]),
    ]
    for asked, risk in (({}, Risk.LOW), (dict.fromkeys(("dpkg:gcc", "dpkg:gh"), "apt"), Risk.MEDIUM)):
        made = audit_of(tmp_path, packages, [access("/usr/bin/run", How.EXECUTED)], asked)
        assert {one(made, kind).risk for kind in ("build-tools", "optional-tool")} == {risk}


def test_a_directory_that_somebody_made_is_named_once(tmp_path: Path) -> None:
    """Not with all that is in it."""
    files = ["/opt/corners/big", "/opt/corners/data/b"]
    for path in files:
        write(tmp_path, path, KB)
    write(tmp_path, "/usr/bin/tool", KB)
    packages = [Installed("component:corners", files, place=b"/opt")]
    found = one(audit_of(tmp_path, packages, ["/usr/bin/tool"], {"component:corners": "by hand"}), "unused")
    assert found.edit == "# without what makes /opt/corners"


def test_a_command_of_several_patterns_says_what_it_removes(tmp_path: Path) -> None:
    """It has the patterns that find most; the rest is said."""
    for at in range(10):
        write(tmp_path, f"/srv/{at}/x{at}", KB)
    rule = CruftRule(name="many", patterns=tuple(f"/**/x{at}" for at in range(10)), why="w", risk="r")
    found = one(audit_of(tmp_path, rules=Rules(cruft=(rule,))), "many")
    run(tmp_path, found)
    left = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert left == 0 or found.comment.startswith(f"removes {10 - left}.0 kB of 10.0 kB; ")


def test_many_programs_of_one_name_take_no_long_time(tmp_path: Path) -> None:
    """Each is an installation of its own."""
    for at in range(3000):
        write(tmp_path, f"/opt/{at}/bin/aws", b"", 0o755)
    began = time.monotonic()
    audit_of(tmp_path)
    assert time.monotonic() - began < 20
