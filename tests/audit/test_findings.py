"""Each kind of finding, planted in a small image: what is said, how much it saves, and when nothing is said."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from audit_images import audit_of, known_of, of_kind, one
from fat_binaries import build_gpu_library
from plan_images import Installed, access, link, write

from slimagent.audit.edits import BY_HAND
from slimagent.audit.known import asked_here
from slimagent.audit.optional import build_tools
from slimagent.audit.searching import find
from slimagent.model.audit import WEIGHT, Fate, Finding, Hidden, Layer, Layers, Risk
from slimagent.model.profile import CruftRule, KeepRule, Rules
from slimagent.model.trace import Access, How
from slimagent.profiles import shipped

MB = b"x" * 1_000_000
IF_UNUSED = "can go if nothing in that environment needs it"
SITE = "/opt/venv/lib/python3.12/site-packages"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/include/zlib.h", "headers"),
        ("/usr/lib/x86_64-linux-gnu/libz.a", "static-libraries"),
        ("/var/lib/apt/lists/deb_Packages", "apt-cache"),
        ("/home/ada/.cache/pip/http/a", "pip-cache"),
        ("/opt/conda/pkgs/numpy.tar.bz2", "conda-cache"),
        ("/var/log/dpkg.log", "logs"),
        ("/usr/share/man/man1/ls.1", "man-pages"),
        ("/usr/share/doc/bash/README", "documentation"),
        ("/tmp/wheel.whl", "temporary-files"),
        ("/usr/share/locale/de/LC_MESSAGES/git.mo", "locales"),
    ],
)
def test_cruft_is_found_by_its_rule(tmp_path: Path, path: str, kind: str) -> None:
    """With its bytes, the rule's risk, and an edit."""
    write(tmp_path, path, b"x" * 700)
    write(tmp_path, "/usr/bin/tool", b"x" * 50)
    found = one(audit_of(tmp_path), kind)
    assert found.size == 700
    (place,) = found.subjects
    assert f"{path}/".startswith(f"{place}/")
    assert place in found.evidence[-1]
    assert found.edit
    assert found.file == "Dockerfile"


def test_bytecode_with_its_source_is_found(tmp_path: Path) -> None:
    """Without its source it is the program."""
    write(tmp_path, f"{SITE}/a.py", "pass")
    write(tmp_path, f"{SITE}/__pycache__/a.cpython-312.pyc", b"x" * 30)
    write(tmp_path, f"{SITE}/__pycache__/gone.cpython-312.pyc", b"x" * 50)
    assert one(audit_of(tmp_path), "byte-code").size == 30


@pytest.mark.parametrize(
    ("pattern", "path", "other"),
    [
        ("/**/R/library/*/NEWS*", "/usr/R/library/a/NEWS.md", "/usr/R/library/a/doc/NEWS.md"),
        ("/**/node_modules/*/*.md", "/node_modules/a/b.md", "/node_modules/a/.github/b.md"),
        ("/**/node_modules/**/*.o", "/x/node_modules/a.o", "/x/node_modules_of/a.o"),
        ("/**/a[1].?", "/x/a[1].c", "/x/a1.c"),
    ],
)
def test_an_edit_that_is_a_command_removes_nothing_else(tmp_path: Path, pattern: str, path: str, other: str) -> None:
    """A star means the same in it as in the rule."""
    edit = find([pattern])
    for each in (path, other):
        write(tmp_path, each)
    edit = edit.replace("find / ", f"find {tmp_path} ").replace("-regex '", f"-regex '{re.escape(str(tmp_path))}")
    subprocess.run(["sh", "-c", edit], check=True)
    assert not (tmp_path / path[1:]).exists()
    assert (tmp_path / other[1:]).exists()


@pytest.mark.parametrize(
    "rule", [each for each in shipped.load("base").rules.cruft if not each.edit], ids=lambda x: x.name
)
def test_an_edit_that_is_a_command_removes_what_the_rule_names(tmp_path: Path, rule: CruftRule) -> None:
    """In a real shell, in a directory that stands for the root; what the rule excepts stays."""
    edit = find(rule.patterns, rule.excepted)
    names = [each.replace("**", "d/e").replace("*", "x") for each in rule.patterns]
    for name in (*names, "/usr/bin/tool"):
        write(tmp_path, re.sub(r"\[.*?\]", "x", name))
    edit = edit.replace("find / ", f"find {tmp_path} ").replace("-path '/", f"-path '{tmp_path}/")
    edit = re.sub(r"-path /", f"-path {tmp_path}/", edit)
    edit = edit.replace("-regex '", f"-regex '{re.escape(str(tmp_path))}")
    subprocess.run(["sh", "-c", edit], check=True)
    left = {str(path)[len(str(tmp_path)) :] for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"/usr/bin/tool"}


def test_hard_links_count_once(tmp_path: Path) -> None:
    """What goes with one name stays under the other, and in the sum it is one file."""
    first = write(tmp_path, "/var/log/a", b"x" * 100)
    os.link(first, tmp_path / "var/log/b")
    made = audit_of(tmp_path)
    assert (made.size, made.files) == (100, 1)
    assert one(made, "logs").size == 100


PACKAGES = [
    Installed("dpkg:tool", ["/usr/bin/tool"], requires=["dpkg:libtool"]),
    Installed("dpkg:libtool", ["/usr/lib/libtool.dat"]),
    Installed("dpkg:vim", ["/usr/bin/vim"], requires=["dpkg:vim-runtime", "dpkg:libtool"]),
    Installed("dpkg:vim-runtime", ["/usr/share/vim/x.vim"]),
]
ASKED = {"dpkg:tool": "apt-mark showmanual", "dpkg:vim": "apt-mark showmanual"}


def image(root: Path) -> None:
    for path, size in (
        ("/usr/bin/tool", 10),
        ("/usr/lib/libtool.dat", 20),
        ("/usr/bin/vim", 300),
        ("/usr/share/vim/x.vim", 500),
    ):
        write(root, path, b"x" * size, 0o755)


def test_what_was_asked_for_and_not_used_is_found(tmp_path: Path) -> None:
    """With what only it requires; what others require stays."""
    image(tmp_path)
    found = one(audit_of(tmp_path, PACKAGES, ["/usr/bin/tool"], ASKED), "unused")
    assert (found.subjects, found.size) == (("dpkg:vim", "dpkg:vim-runtime"), 800)
    assert (found.file, found.edit, found.risk) == ("Dockerfile", "# do not install vim by name", Risk.MEDIUM)


def test_without_a_trace_nothing_is_unused(tmp_path: Path) -> None:
    """Nobody knows."""
    image(tmp_path)
    made = audit_of(tmp_path, PACKAGES, None, ASKED)
    assert of_kind(made, "unused") == []
    assert all(each.touched is None for each in made.components)


def test_a_line_that_another_line_brings_is_found(tmp_path: Path) -> None:
    """It saves nothing, and the list gets shorter."""
    image(tmp_path)
    found = one(audit_of(tmp_path, PACKAGES, None, {**ASKED, "dpkg:libtool": "apt-mark showmanual"}), "required-anyway")
    assert (found.subjects, found.size, found.risk) == (("dpkg:libtool",), 0, Risk.MEDIUM)


def test_components_say_what_a_test_touched(tmp_path: Path) -> None:
    """The largest first."""
    image(tmp_path)
    made = audit_of(tmp_path, PACKAGES, ["/usr/bin/tool"], ASKED)
    assert [(each.package.name, each.size, each.touched) for each in made.components] == [
        ("vim-runtime", 500, 0),
        ("vim", 300, 0),
        ("libtool", 20, 0),
        ("tool", 10, 10),
    ]
    assert [each.required for each in made.components] == [1, 0, 2, 0]
    assert made.components[3].asked == "apt-mark showmanual"


def test_a_distribution_by_conda_and_by_pip_is_found(tmp_path: Path) -> None:
    """Conda's own dist-info is no second copy."""
    conda, pip = "/opt/conda/lib/python3.12/site-packages", "/opt/venv/lib/python3.12/site-packages"
    for site in (conda, pip):
        write(tmp_path, f"{site}/numpy/core.py", MB + site.encode())
    write(tmp_path, f"{conda}/scipy.py", MB)
    packages = [
        Installed("conda:numpy", [f"{conda}/numpy/core.py"]),
        Installed("python:NumPy", [f"{pip}/numpy/core.py"]),
        Installed("conda:scipy", [f"{conda}/scipy.py"]),
        Installed("python:scipy", [f"{conda}/scipy.py"]),
    ]
    used = [f"{conda}/numpy/core.py"]
    found = one(audit_of(tmp_path, packages, used, {"python:NumPy": "pip's REQUESTED"}), "duplicate")
    assert found.title == "numpy is installed 2 times"
    assert (found.file, found.edit, found.risk) == ("requirements.txt", "# remove the line NumPy", Risk.LOW)
    assert 1_000_000 <= found.size < 1_000_100


def test_a_program_in_two_packages_is_found(tmp_path: Path) -> None:
    """The one that the tests used stays."""
    paths = ("/usr/lib/rstudio-server/bin/quarto/bin/tools/pandoc", "/usr/bin/pandoc")
    for path in paths:
        write(tmp_path, path, MB + path.encode(), 0o755)
    packages = [Installed("component:rstudio-quarto", paths[:1]), Installed("dpkg:pandoc", paths[1:])]
    found = one(audit_of(tmp_path, packages, [paths[1]]), "duplicate")
    assert (found.title, found.risk) == ("pandoc is there 2 times", Risk.LOW)
    assert found.size == len(MB + paths[0].encode())
    assert "/usr/bin/pandoc" in found.edit


def test_libraries_with_versions_and_hashes_in_their_names_are_one(tmp_path: Path) -> None:
    """As auditwheel and linkers name them. What every compiler brings on purpose is left out."""
    names = (
        "libc10.so",
        "libc.so.6",
        "libopenblas.so.0.3",
        "libopenblas64_p-r0-0cf96a72.3.23.dev.so",
        "libstdc++.so.6",
        "libstdc++-1234abcd.so.6.0.30",
    )
    packages = []
    for number, library in enumerate(names):
        write(tmp_path, f"/usr/lib/p{number}/{library}", MB + library.encode())
        packages.append(Installed(f"python:p{number}", [f"/usr/lib/p{number}/{library}"]))
    assert one(audit_of(tmp_path, packages), "duplicate").title == "libopenblas is there 2 times"


def test_the_same_bytes_elsewhere_are_found(tmp_path: Path) -> None:
    """Hard links are not a second copy."""
    first = write(tmp_path, f"{SITE}/lab/static/a.js", MB + b"1")
    write(tmp_path, "/opt/venv/share/lab/a.js", MB + b"1")
    write(tmp_path, "/opt/venv/share/lab/b.js", MB + b"2")
    os.link(first, tmp_path / "opt/venv/share/linked.js")
    found = one(audit_of(tmp_path), "same-content")
    assert (found.size, found.subjects) == (1_000_001, (f"{SITE}/lab/static/a.js", "/opt/venv/share/lab/a.js"))


def test_a_tool_that_nobody_called_is_found(tmp_path: Path) -> None:
    """By the name of its program, with its whole package."""
    write(tmp_path, "/usr/local/aws-cli/v2/dist/aws", b"x" * 900, 0o755)
    link(tmp_path, "/usr/local/bin/aws", "/usr/local/aws-cli/v2/dist/aws")
    write(tmp_path, "/usr/bin/rclone", b"x" * 500, 0o755)
    packages = [
        Installed("component:aws-cli", ["/usr/local/aws-cli/v2/dist/aws", "/usr/local/bin/aws"]),
        Installed("dpkg:rclone", ["/usr/bin/rclone"]),
    ]
    found = {each.title: each for each in of_kind(audit_of(tmp_path, packages, ["/usr/bin/rclone"]), "optional-tool")}
    assert {name: (each.size, each.risk) for name, each in found.items()} == {
        "AWS CLI": (900, Risk.LOW),
        "rclone": (500, Risk.HIGH),
    }
    assert "INSTALL_AWS=false" in found["AWS CLI"].edit


@pytest.mark.parametrize(
    ("owner", "is_found"),
    [("dpkg:mc", False), ("dpkg:mc:amd64", False), ("dpkg:minio-client", True), ("conda:mc", True), ("", True)],
)
def test_other_software_of_the_same_name_is_not_the_tool(tmp_path: Path, owner: str, is_found: bool) -> None:
    """Debian's mc is Midnight Commander."""
    write(tmp_path, "/usr/bin/mc", b"x" * 500, 0o755)
    link(tmp_path, "/usr/local/bin/mc", "/usr/bin/mc")
    packages = [Installed(owner, ["/usr/bin/mc"])] if owner else []
    found = of_kind(audit_of(tmp_path, packages), "optional-tool")
    assert bool(found) == is_found


def test_build_tools_go_together(tmp_path: Path) -> None:
    """What only several of them require goes with all; a long chain of them takes no long time."""
    count = 3000
    packages = [
        Installed(f"dpkg:z{at}", [f"/usr/lib/z/{at}"], requires=[f"dpkg:z{at + 1}"], section="devel")
        for at in range(count)
    ]
    packages += [
        Installed(f"dpkg:z{count}", ["/usr/lib/z/last"], section="libs"),
        Installed("dpkg:other", ["/usr/lib/z/other"], requires=[f"dpkg:z{count}"], section="devel"),
    ]
    for each in packages:
        for path in each.files:
            write(tmp_path, path, b"x")
    known = known_of(tmp_path, packages)
    began = time.monotonic()
    ((found, _),) = build_tools(known)
    assert len(found.subjects) == count + 2
    assert time.monotonic() - began < 2


def test_an_imported_module_is_no_call_of_the_tool(tmp_path: Path) -> None:
    """A smoke test that imports everything opens uv's module; the program beside it was not run."""
    files = ["/opt/venv/bin/uv", f"{SITE}/uv/__init__.py"]
    write(tmp_path, files[0], b"x" * 900, 0o755)
    write(tmp_path, files[1], b"x" * 100)
    link(tmp_path, "/usr/local/bin/uv", files[0])
    packages = [Installed("python:uv", files)]

    def found(*accesses: Access) -> tuple[Risk, str]:
        made = one(audit_of(tmp_path, packages, list(accesses)), "optional-tool")
        return made.risk, made.evidence[-1]

    imported = access(files[1])
    assert found(imported) == (Risk.MEDIUM, "a test imported its Python module; the program was not run")
    assert found(imported, access(files[0], How.EXECUTED)) == (Risk.HIGH, "a test ran it")
    assert found(access("/usr/local/bin/uv", How.EXECUTED)) == (Risk.HIGH, "a test ran it")
    assert found(access(files[0])) == (Risk.HIGH, "a test opened the program")
    assert found() == (Risk.LOW, "no test used it")


def test_an_extension_that_was_never_activated_is_found(tmp_path: Path) -> None:
    """Reading its package.json is not activating it."""
    home = "/opt/share/extensions"
    for name in ("a", "b"):
        write(tmp_path, f"{home}/{name}/package.json", "{}")
        write(tmp_path, f"{home}/{name}/dist/extension.js", b"x" * 400)
    packages = [
        Installed(f"vscode:{name}", [f"{home}/{name}/package.json", f"{home}/{name}/dist/extension.js"])
        for name in "ab"
    ]
    used = [f"{home}/a/package.json", f"{home}/a/dist/extension.js", f"{home}/b/package.json"]
    found = one(audit_of(tmp_path, packages, used), "extension")
    assert (found.subjects, found.size, found.file) == (("vscode:b",), 402, "extensions.json")
    assert "no test activated it" in found.evidence


def test_packages_for_gpus_are_found(tmp_path: Path) -> None:
    """By the patterns that protect them."""
    write(tmp_path, f"{SITE}/nvidia/cudnn/x.bin", b"x" * 800)
    found = one(audit_of(tmp_path, [Installed("python:nvidia-cudnn-cu12", [f"{SITE}/nvidia/cudnn/x.bin"])]), "gpu")
    assert (found.size, found.risk, found.subjects) == (800, Risk.HIGH, ("python:nvidia-cudnn-cu12",))


def test_gpu_code_is_named_by_architecture(tmp_path: Path) -> None:
    """With what each of the usual GPUs does not need of it, and what is not understood."""
    build_gpu_library(tmp_path, "/opt/libk.so", ("sm_80", "sm_90", "ptx_90"), ("sm_80", "sm_90"))
    strange = build_gpu_library(tmp_path, "/opt/libodd.so", ("sm_80",))
    data = bytearray(strange.read_bytes())
    data[data.index(b"\x50\xed\x55\xba") + 4] = 7  # the version of the container
    strange.write_bytes(data)
    found = one(audit_of(tmp_path), "gpu")
    assert found.size == 6 * 131_072 + 3 * 16
    assert found.evidence[1] == (
        "2 libraries with 786.5 kB of GPU code: sm_80 262.1 kB, sm_90 262.1 kB, not understood 131.1 kB, "
        "PTX for sm_90 131.1 kB"
    )
    assert "--gpu-arch sm_90` removes" in found.evidence[2]
    assert "about 0 B of 393.2 kB for sm_80, 0 B of 393.2 kB for sm_90; the rest" in found.evidence[2]


def test_gpu_code_says_how_much_licences_permit(tmp_path: Path) -> None:
    """What lies in /opt may be anybody's; a file that no package owns is the user's own."""
    build_gpu_library(tmp_path, "/opt/liba.so", ("sm_80", "sm_90"))
    build_gpu_library(tmp_path, "/srv/libb.so", ("sm_80", "sm_90"))
    found = one(audit_of(tmp_path), "gpu")
    assert "about 131.1 kB of 262.1 kB for sm_80, 131.1 kB of 262.1 kB for sm_90; the rest" in found.evidence[2]


def test_build_tools_are_found(tmp_path: Path) -> None:
    """Compilers with what only they require, headers and static libraries of others; not what was used."""
    for path, size in (
        ("/usr/bin/gcc-12", 300),
        ("/usr/lib/gcc/cc1", 600),
        ("/usr/include/z.h", 40),
        ("/usr/bin/make", 70),
        ("/usr/lib/libz.dat", 5),
    ):
        write(tmp_path, path, b"x" * size, 0o755)
    packages = [
        Installed("dpkg:gcc-12", ["/usr/bin/gcc-12"], requires=["dpkg:cpp-12"], section="devel"),
        Installed("dpkg:cpp-12", ["/usr/lib/gcc/cc1"], section="interpreters"),
        Installed("dpkg:make", ["/usr/bin/make"], section="devel"),
        Installed("dpkg:zlib1g", ["/usr/include/z.h", "/usr/lib/libz.dat"]),
    ]
    found = one(audit_of(tmp_path, packages, ["/usr/bin/make", "/usr/lib/libz.dat"]), "build-tools")
    assert (found.size, found.subjects) == (940, ("dpkg:cpp-12", "dpkg:gcc-12"))


def test_what_layers_hide_is_found(tmp_path: Path) -> None:
    """A finding for what is deleted, replaced, or has other rights; the image gets smaller at no risk."""
    layers = Layers(
        layers=tuple(Layer(digest=str(at), command=f"RUN {at}", size=1, files=1) for at in range(3)),
        hidden=(
            Hidden(layer=0, by=1, fate=Fate.DELETED, size=500_000, files=2, examples=(b"/var/lib/apt/lists/a",)),
            Hidden(layer=0, by=2, fate=Fate.COPIED, size=900_000, files=3, examples=(b"/opt/a",), changed=("owner",)),
            Hidden(layer=0, by=1, fate=Fate.COPIED, size=300_000, files=2, examples=(b"/x",), changed=("time",)),
            Hidden(layer=1, by=2, fate=Fate.REPLACED, size=10, files=1, examples=(b"/etc/passwd",)),
        ),
    )
    made = audit_of(tmp_path, layers=layers)
    assert [(each.title, each.size, each.risk, each.layers) for each in of_kind(made, "hidden")] == [
        ("2 files of layer 1 that layer 2 deletes", 500_000, Risk.NONE, (0, 1)),
        ("2 files of layer 1 that layer 2 replaces", 300_000, Risk.NONE, (0, 1)),
    ]
    copied = one(made, "copied-again")
    assert (copied.size, copied.edit) == (900_000, "# set owner in layer 1, at the end of the RUN that makes the files")
    assert "with another owner" in copied.title
    assert made.carried == 3


def test_findings_are_sorted_by_bytes_per_risk(tmp_path: Path) -> None:
    """What saves most for the least risk comes first."""
    image(tmp_path)
    write(tmp_path, "/var/log/a", b"x" * 300)
    write(tmp_path, "/usr/share/doc/b", b"x" * 900)
    found = audit_of(tmp_path, PACKAGES, ["/usr/bin/tool"], ASKED).findings
    worth = [each.size / WEIGHT[each.risk] for each in found]
    assert worth == sorted(worth, reverse=True)
    assert len(found) >= 3


def test_an_image_with_nothing_to_save_has_no_findings(tmp_path: Path) -> None:
    """Not every image is fat."""
    write(tmp_path, "/usr/bin/tool", b"x" * 100)
    made = audit_of(tmp_path, [Installed("dpkg:tool", ["/usr/bin/tool"])], ["/usr/bin/tool"], {"dpkg:tool": "apt"})
    assert made.findings == ()
    assert (made.size, made.unowned) == (100, 0)


def test_what_came_with_the_distribution_was_not_asked_for(tmp_path: Path) -> None:
    """The lowest layer is the distribution: apt calls all that it has manually installed."""
    image(tmp_path)
    known = known_of(tmp_path, PACKAGES, None, ASKED)
    layers = Layers(of={b"/usr/bin/tool": 0, b"/usr/bin/vim": 1})
    asked = asked_here(known.asked, known.inventory, known.owners, layers)
    assert [known.owners.packages[number].name for number in asked] == ["vim"]


def test_cruft_says_where_most_of_it_is(tmp_path: Path) -> None:
    """By package; of what nobody owns the directories that hold nothing else, but none that every system has."""
    write(tmp_path, "/usr/include/z.h", b"x" * 500)
    write(tmp_path, "/usr/local/include/big/a.h", b"x" * 200)
    write(tmp_path, "/usr/local/include/big/b/b.h", b"x" * 100)
    write(tmp_path, "/srv/include/c.h", b"x" * 90)
    write(tmp_path, "/srv/include/kept", b"x")
    found = one(audit_of(tmp_path, [Installed("dpkg:libz-dev", ["/usr/include/z.h"])]), "headers")
    assert found.subjects == ("dpkg:libz-dev", "/usr/local/include/big", "/srv/include/c.h")
    assert found.evidence[-1] == (
        "all is in dpkg:libz-dev (500 B), /usr/local/include/big (300 B), /srv/include/c.h (90 B)"
    )
    assert found.edit == "rm -rf /usr/include/z.h /usr/local/include/big /srv/include/c.h"
    assert found.comment == "at the end of the RUN that makes them, after &&; if no later RUN compiles"


def test_each_installation_of_a_tool_is_a_finding_of_its_own(tmp_path: Path) -> None:
    """One that a test called does not make another one needed; a link belongs to what it leads to."""
    write(tmp_path, "/opt/aws/bin/aws", b"x" * 900, 0o755)
    link(tmp_path, "/usr/bin/aws", "/opt/aws/bin/aws")
    write(tmp_path, "/srv/bin/aws", b"x" * 500, 0o755)
    packages = [Installed("component:aws", ["/opt/aws/bin/aws"]), Installed("component:other", ["/srv/bin/aws"])]
    found = of_kind(audit_of(tmp_path, packages, ["/opt/aws/bin/aws"]), "optional-tool")
    assert {(each.size, each.risk) for each in found} == {(900, Risk.HIGH), (500, Risk.LOW)}
    assert "/opt/aws/bin/aws, /usr/bin/aws" in " ".join(each.evidence[0] for each in found)


def test_a_second_copy_of_several_programs_is_one_finding(tmp_path: Path) -> None:
    """Named after the component that is called like one of them; what something requires is not the spare one."""
    files = {place: [f"{place}/bin/quarto", f"{place}/bin/tools/x86_64/deno"] for place in ("/opt/quarto", "/lib/r/q")}
    for place, (script, deno) in files.items():
        write(tmp_path, script, place.encode(), 0o755)
        write(tmp_path, deno, MB + place.encode(), 0o755)
    packages = [
        Installed("component:quarto", files["/opt/quarto"]),
        Installed("component:quarto", files["/lib/r/q"], place=b"/lib/r"),
        Installed("component:r", [], requires=["component:quarto"]),
    ]
    found = one(audit_of(tmp_path, packages), "duplicate")
    assert found.title == "quarto is there 2 times, with deno"
    assert found.size == len(MB) + 2 * len("/opt/quarto")
    assert "/lib/r/q" in found.edit


def test_all_but_one_copy_of_a_distribution_can_go(tmp_path: Path) -> None:
    """Not one that something requires, although it is smaller."""
    sites = [f"/opt/{name}/lib/python3.12/site-packages/numpy.py" for name in ("a", "b", "c")]
    for at, path in enumerate(sites):
        write(tmp_path, path, MB + path.encode() * (at + 1))
    packages = [Installed("python:numpy", [path], place=path[:6].encode()) for path in reversed(sites)]
    packages.append(Installed("python:pandas", requires=["python:numpy"]))
    found = one(audit_of(tmp_path, packages), "duplicate")
    assert found.title == "numpy is installed 3 times"
    assert found.size == 2 * len(MB) + 5 * len(sites[0])


def test_a_command_that_would_remove_what_is_kept_is_not_the_edit(tmp_path: Path) -> None:
    """Then it leaves out the files that stay; if they are many, it names those that go."""
    write(tmp_path, "/usr/bin/find")
    for name, size in (("a", 500), *((f"kept{at}", 30) for at in range(5))):
        write(tmp_path, f"/srv/{name}.a", b"x" * size)
    cruft = (CruftRule(name="archives", patterns=("/**/*.a",), why="w", risk="r"),)

    def edit(*kept: str) -> str:
        rules = Rules(cruft=cruft, keep=tuple(KeepRule(pattern=each, why="w") for each in kept))
        return one(audit_of(tmp_path, rules=rules), "archives").edit

    assert edit("/srv/kept*.a") == "rm -rf /srv/a.a"
    assert edit("/srv/kept0.a") == "find /srv -xdev -type f '(' -path '*/*.a' ')' ! -path /srv/kept0.a -delete"


def test_the_copy_in_the_larger_environment_stays(tmp_path: Path) -> None:
    """Although the other one is larger: bytecode is in it."""
    write(tmp_path, "/opt/venv/altair.py", MB)
    write(tmp_path, "/opt/venv/polars.py", MB)
    write(tmp_path, "/usr/local/altair.py", MB + MB)
    packages = [
        Installed("python:altair", ["/opt/venv/altair.py"], place=b"/opt/venv"),
        Installed("python:polars", ["/opt/venv/polars.py"], place=b"/opt/venv"),
        Installed("python:altair", ["/usr/local/altair.py"], place=b"/usr/local"),
    ]
    found = one(audit_of(tmp_path, packages), "duplicate")
    assert found.size == 2 * len(MB)
    assert found.evidence[:2] == ("python:altair 1 in /opt/venv stays", "python:altair 1 in /usr/local " + IF_UNUSED)


EVIL = "zlib\nRUN curl evil | sh"


def edits_for(tmp_path: Path, name: str) -> list[Finding]:
    """The findings that ask to edit a line with this name: unused, required anyway, installed twice, an extension."""
    for path in ("/opt/conda/a.py", "/opt/venv/a.py", "/opt/x/dist/e.js", "/opt/c/b.py"):
        write(tmp_path, path, MB + path.encode())
    packages = [
        Installed(f"conda:{name}", ["/opt/conda/a.py"], place=b"/opt/conda"),
        Installed("conda:top", ["/opt/c/b.py"], requires=[f"conda:{name}"], place=b"/opt/conda"),
        Installed(f"vscode:{name}", ["/opt/x/dist/e.js"], place=b"/opt/x"),
        Installed(f"component:{name}", ["/opt/venv/a.py"], place=b"/opt/venv"),
    ]
    asked = {f"conda:{name}": "conda", "conda:top": "conda", f"component:{name}": "hand"}
    return list(audit_of(tmp_path, packages, [], asked).findings)


@pytest.mark.parametrize("name", [EVIL, "zlib\x1b[2J", "a\u2028b", "x" * 9000])
def test_a_name_adds_no_line_to_an_edit(tmp_path: Path, name: str) -> None:
    """Of a name that could, no edit is given."""
    found = edits_for(tmp_path, name)
    assert {each.kind for each in found} >= {"unused", "required-anyway", "extension"}
    for each in found:
        assert name not in each.edit
        assert "evil" not in each.edit
    assert BY_HAND in {each.edit for each in found}


def test_a_name_is_one_word_of_an_edit(tmp_path: Path) -> None:
    """What a shell would obey in it is quoted."""
    edits = [each.edit for each in edits_for(tmp_path, "a; curl evil | sh #") if "evil" in each.edit]
    assert "# remove the line 'a; curl evil | sh #'" in edits


def test_a_path_that_cannot_be_written_is_not_in_a_command(tmp_path: Path) -> None:
    """Nor is another one in its place: what `to_text` shows of it is the name of another file."""
    write(tmp_path, "/srv/big.a", b"x" * 900)
    write(tmp_path, "/srv/a\nRUN evil\n.a", b"x" * 500)
    write(tmp_path, "/srv/b   # c.a", b"x" * 400)
    rules = Rules(cruft=(CruftRule(name="archives", patterns=("/**/*.a",), why="w", risk="r", when="of-package"),))
    names = ["/srv/big.a", "/srv/a\nRUN evil\n.a", "/srv/b   # c.a"]
    write(tmp_path, "/srv/kept.a", b"x" * 10)  # nobody's
    for at in range(4):
        write(tmp_path, f"/srv/kept{at}.a", b"x" * 10)
    found = one(audit_of(tmp_path, [Installed("dpkg:z", names)], rules=rules), "archives")
    assert (found.size, found.edit) == (1800, "rm -rf /srv/big.a '/srv/b   # c.a'")
    assert found.comment.startswith("removes 1.3 kB of 1.8 kB")


def layered(root: Path, commands: list[str], of: dict[str, int]) -> Layers:
    """Layers with these commands, and the files that come from each."""
    return Layers(
        layers=tuple(Layer(digest=str(at), command=each, size=1, files=1) for at, each in enumerate(commands)),
        of={os.fsencode(path): at for path, at in of.items()},
    )


COMMANDS = ["ADD base /", "RUN /bin/sh -c apt-get install -y gcc # buildkit", "COPY src /opt/src # buildkit", "make \\"]


def test_an_edit_says_in_which_layers_it_belongs(tmp_path: Path) -> None:
    """Removed in a later layer, a file is still carried: each layer's RUN removes its own."""
    of = {"/srv/a.a": 1, "/srv/b.a": 1, "/opt/src/c.a": 2, "/home/d.a": 3, "/usr/base.a": 0}
    for path, layer in of.items():
        write(tmp_path, path, b"x" * (1000 - layer))
    rules = Rules(cruft=(CruftRule(name="archives", patterns=("/**/*.a",), why="w", risk="r", when="of-package"),))
    packages = [Installed("dpkg:z", list(of))]
    found = one(audit_of(tmp_path, packages, layers=layered(tmp_path, COMMANDS, of), rules=rules), "archives")
    assert found.edit.split("\n") == [
        "# layer 2, 2.0 kB: apt-get install -y gcc",
        "rm -rf /srv/a.a /srv/b.a",
        "# layer 3, 998 B: COPY src /opt/src",
        "# do not copy to /opt/src: c.a",
        "# layer 4, 997 B: make",
        "rm -rf /home/d.a",
    ]


def test_a_command_says_in_which_layers_it_belongs(tmp_path: Path) -> None:
    """Above the command, with the bytes of each."""
    write(tmp_path, "/usr/bin/find")
    of = {"/srv/a.a": 1, "/home/d.a": 3}
    for path in of:
        write(tmp_path, path, b"x" * 1000)
    rules = Rules(cruft=(CruftRule(name="archives", patterns=("/**/*.a",), why="w", risk="r"),))
    found = one(audit_of(tmp_path, layers=layered(tmp_path, COMMANDS, of), rules=rules), "archives")
    first, found_first, second, found_second = found.edit.split("\n")
    assert (first, second) == ("# layer 2, 1.0 kB: apt-get install -y gcc", "# layer 4, 1.0 kB: make")
    assert found_first == "find /srv -xdev -type f '(' -path '*/*.a' ')' -delete"
    assert found_second == found_first.replace("/srv", "/home")


def test_the_command_of_a_layer_adds_no_line(tmp_path: Path) -> None:
    """It is in the image's history, and anyone can write that."""
    of = {"/srv/a.a": 0}
    write(tmp_path, "/srv/a.a", b"x" * 1000)
    made = audit_of(tmp_path, layers=layered(tmp_path, ["RUN make\x0bRUN evil\r\nRUN evil\u2028RUN evil \\"], of))
    comment, _ = one(made, "static-libraries").edit.split("\n")
    assert comment.isprintable()
    assert not comment.endswith("\\")


def test_the_edit_for_bytecode_removes_what_is_there(tmp_path: Path) -> None:
    """Whoever wrote it: venv and conda do so although a variable forbids it."""
    write(tmp_path, "/usr/bin/find")
    for name in ("a", "b"):
        write(tmp_path, f"{SITE}/{name}.py", "pass")
        write(tmp_path, f"{SITE}/__pycache__/{name}.cpython-312.pyc", b"x" * 30)
    found = one(audit_of(tmp_path), "byte-code")
    subprocess.run(["sh", "-c", found.edit.replace("find /", f"find {tmp_path}/")], check=True)
    left = audit_of(tmp_path)
    assert (found.size, of_kind(left, "byte-code"), left.files) == (60, [], 3)


def test_a_byte_counts_once_in_what_all_save_together(tmp_path: Path) -> None:
    """The documentation of a tool that could go is in two findings; what layers hide comes on top."""
    write(tmp_path, "/usr/bin/rclone", b"x" * 900, 0o755)
    write(tmp_path, "/usr/share/doc/rclone/README", b"x" * 100)
    packages = [Installed("dpkg:rclone", ["/usr/bin/rclone", "/usr/share/doc/rclone/README"])]
    hidden = Hidden(layer=0, by=1, fate=Fate.DELETED, size=500_000, files=1, examples=(b"/a",))
    layer = Layer(digest="", command="RUN make", size=600_000, files=1)
    made = audit_of(tmp_path, packages, layers=Layers(layers=(layer, layer), hidden=(hidden,)))
    assert {each.kind: each.size for each in made.findings} == {
        "hidden": 500_000,
        "optional-tool": 1000,
        "documentation": 100,
    }
    assert made.together == 501_000
