"""Components: RStudio Server with its parts, and what people unpack into /opt and /usr/local."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plan_images import link, write

from slimagent.inventory import component
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan

RSTUDIO = "/usr/lib/rstudio-server"


def find(root: Path, *claimed: str) -> dict[str, list[str]]:
    """The components' paths by name. Everything at or below `claimed` is somebody's already."""
    image = Image(scan(os.fsencode(root)))
    names = [os.fsdecode(path) for path in image.inventory.paths]
    taken = [any(path == each or path.startswith(f"{each}/") for each in claimed) for path in names]
    found = component.find(image, taken.__getitem__)
    assert image.problems == []
    assert {each.package.kind for each in found} <= {"component"}
    assert not any(each.identity or each.records or each.missing for each in found)
    return {each.package.name: [names[at] for at in each.files] for each in found}


@pytest.fixture
def rstudio(tmp_path: Path) -> Path:
    """RStudio Server as its package for Debian lays it out: a stand-in, for the real one is 800 MB."""
    for path in ("rserver", "rsession", "postback/askpass", "node/bin/node", "copilot-language-server/main.js"):
        write(tmp_path, f"{RSTUDIO}/bin/{path}")
    for path in ("bin/quarto", "bin/tools/x86_64/pandoc", "bin/tools/x86_64/deno", "bin/tools/pandoc", "share/version"):
        write(tmp_path, f"{RSTUDIO}/bin/quarto/{path}")
    write(tmp_path, f"{RSTUDIO}/www/index.htm")
    link(tmp_path, "/usr/local/bin/quarto", f"{RSTUDIO}/bin/quarto/bin/quarto")
    link(tmp_path, "/usr/bin/pandoc", "../lib/rstudio-server/bin/quarto/bin/tools/x86_64/pandoc")
    link(tmp_path, "/usr/sbin/rserver", f"{RSTUDIO}/bin/rserver")
    return tmp_path


def test_rstudio_server_and_its_parts(rstudio: Path) -> None:
    found = find(rstudio)
    quarto = f"{RSTUDIO}/bin/quarto"
    assert list(found) == ["rstudio-server", "copilot", "node", "quarto", "pandoc"]
    assert found["pandoc"] == sorted(
        ["/usr/bin/pandoc", f"{quarto}/bin/tools/pandoc", f"{quarto}/bin/tools/x86_64/pandoc"]
    )
    assert found["quarto"] == [
        quarto,
        *(
            f"{quarto}/{each}"
            for each in ("bin", "bin/quarto", "bin/tools", "bin/tools/x86_64", "bin/tools/x86_64/deno")
        ),
        *(f"{quarto}/{each}" for each in ("share", "share/version")),
        "/usr/local/bin/quarto",
    ]
    assert f"{RSTUDIO}/bin/postback/askpass" in found["rstudio-server"]
    assert "/usr/sbin/rserver" in found["rstudio-server"]
    everything = [path for paths in found.values() for path in paths]
    assert len(everything) == len(set(everything))
    assert {path for path in everything if path.startswith(RSTUDIO)} == {
        f"/{path.relative_to(rstudio)}" for path in (rstudio / RSTUDIO[1:]).rglob("*")
    } | {RSTUDIO}


def test_what_rstudio_server_requires(rstudio: Path) -> None:
    found = component.find(Image(scan(os.fsencode(rstudio))))
    names = [each.package.name for each in found]
    requires = {each.package.name: [names[at] for at, _ in each.requires] for each in found}
    assert requires == {
        "rstudio-server": ["quarto", "pandoc"],
        "quarto": ["pandoc"],
        "copilot": ["node"],
        "node": [],
        "pandoc": [],
    }
    assert {each.package.place for each in found if each.package.name != "rstudio-server"} == {RSTUDIO.encode()}


def test_rstudio_server_has_its_parts_also_where_dpkg_owns_the_files(rstudio: Path) -> None:
    assert list(find(rstudio, "/usr")) == ["rstudio-server", "copilot", "node", "quarto", "pandoc"]


def test_without_the_server_there_is_no_component(tmp_path: Path) -> None:
    write(tmp_path, f"{RSTUDIO}/www/index.htm")
    assert find(tmp_path) == {}
    link(tmp_path, "/usr/lib/rstudio-server2", "/usr/lib/rstudio-server")
    assert find(tmp_path) == {}


def test_each_thing_in_opt_is_a_component(tmp_path: Path) -> None:
    for path in ("tool/bin/tool", "tool/share/x/y", "other/file", "single.jar"):
        write(tmp_path, f"/opt/{path}")
    (tmp_path / "opt/empty/directory").mkdir(parents=True)
    link(tmp_path, "/usr/local/bin/tool", "/opt/tool/bin/tool")
    link(tmp_path, "/usr/bin/o", "p")
    link(tmp_path, "/usr/bin/p", "../../opt/other/file")
    assert find(tmp_path) == {
        "other": ["/opt/other", "/opt/other/file", "/usr/bin/o", "/usr/bin/p"],
        "single.jar": ["/opt/single.jar"],
        "tool": [
            *("/opt/tool", "/opt/tool/bin", "/opt/tool/bin/tool", "/opt/tool/share", "/opt/tool/share/x"),
            *("/opt/tool/share/x/y", "/usr/local/bin/tool"),
        ],
    }


def test_only_what_nobody_owns(tmp_path: Path) -> None:
    for path in ("lib/python3.11/site-packages/a/a.py", "pyvenv.cfg", "bin/activate"):
        write(tmp_path, f"/opt/venv/{path}")
    write(tmp_path, "/opt/whole/x")
    write(tmp_path, "/opt/half/bin/x")
    link(tmp_path, "/opt/half/y", "x")
    found = find(tmp_path, "/opt/venv/lib/python3.11/site-packages/a", "/opt/whole/x", "/opt/half/bin/x")
    assert found == {"venv": ["/opt/venv/bin", "/opt/venv/bin/activate", "/opt/venv/pyvenv.cfg"]}


def test_usr_local_is_grouped_by_name(tmp_path: Path) -> None:
    mine = [
        *("bin/quarto", "lib/quarto/a.js", "share/quarto/b", "share/man/man1/quarto.1.gz", "man/man5/quarto.5"),
        *("lib/libquarto.so.1.2", "lib/libquarto.a", "lib/x86_64-linux-gnu/libquarto.so.1", "include/quarto.h"),
        *("lib/pkgconfig/quarto.pc", "share/doc/quarto/README", "share/locale/de/LC_MESSAGES/quarto.mo"),
        *("etc/quarto.conf", "etc/profile.d/quarto.sh", "src/quarto/main.c", "share/applications/quarto.desktop"),
        *("share/zsh/site-functions/_quarto", "share/info/quarto.info.gz", "share/bash-completion/completions/quarto"),
    ]
    for path in (*mine, "bin/quarto-2", "cuda-12.2/lib/x", "lib/python3.9/os.py", "lib/libpython3.9.so.1.0", "LICENSE"):
        write(tmp_path, f"/usr/local/{path}")
    link(tmp_path, "/usr/local/lib/libquarto.so", "libquarto.so.1.2")
    link(tmp_path, "/usr/local/cuda", "cuda-12.2")
    link(tmp_path, "/usr/local/bin/python3", "../lib/python3.9/os.py")
    found = find(tmp_path)
    assert list(found) == ["LICENSE", "cuda-12.2", "python3.9", "quarto", "quarto-2"]
    files = {f"/usr/local/{path}" for path in mine} | {"/usr/local/lib/libquarto.so"}
    directories = {f"/usr/local/{path}/quarto" for path in ("lib", "share", "share/doc", "src")}
    assert set(found["quarto"]) == files | directories
    assert found["cuda-12.2"][0] == "/usr/local/cuda"
    assert found["python3.9"][0] == "/usr/local/bin/python3"
    assert set(found["python3.9"][1:]) == {
        f"/usr/local/lib/{path}" for path in ("python3.9", "python3.9/os.py", "libpython3.9.so.1.0")
    }


def test_standing_directories_are_nobodys(tmp_path: Path) -> None:
    for path in ("lib/python3.11/dist-packages", "lib/R/site-library", "share/man/man1", "share/fonts", "src", "etc"):
        (tmp_path / "usr/local" / path).mkdir(parents=True)
    link(tmp_path, "/usr/local/man", "share/man")
    assert find(tmp_path) == {}
    write(tmp_path, "/usr/local/lib/R/bin/R")
    write(tmp_path, "/usr/local/lib/R/library/base/DESCRIPTION")
    assert find(tmp_path, "/usr/local/lib/R/library/base") == {"R": ["/usr/local/lib/R/bin", "/usr/local/lib/R/bin/R"]}


def test_a_link_belongs_to_where_it_leads_and_to_one_component_alone(tmp_path: Path) -> None:
    write(tmp_path, "/opt/tool/bin/name")
    write(tmp_path, "/usr/local/share/name/data")
    link(tmp_path, "/usr/local/bin/name", "/opt/tool/bin/name")
    link(tmp_path, "/usr/bin/name", "/opt/tool/bin/name")
    tool = ["/opt/tool", "/opt/tool/bin", "/opt/tool/bin/name"]
    assert find(tmp_path, "/usr/bin") == {
        "name": ["/usr/local/share/name", "/usr/local/share/name/data"],
        "tool": [*tool, "/usr/local/bin/name"],
    }
    assert find(tmp_path)["tool"] == [*tool, "/usr/bin/name", "/usr/local/bin/name"]


def test_directories_without_a_bottom(tmp_path: Path) -> None:
    for top in ("share/man", "share/icons", "share/locale", "lib", "etc"):
        # Python's own ways to make and remove directories call themselves for each level.
        subprocess.run(["mkdir", "-p", f"{tmp_path}/usr/local/{top}" + "/d" * 1100], check=True)
    write(tmp_path, "/usr/local/bin/d")
    try:
        assert len(find(tmp_path)["d"]) > 5000
    finally:
        subprocess.run(["rm", "-r", f"{tmp_path}/usr"], check=True)


def test_links_that_lead_out_of_every_component(tmp_path: Path) -> None:
    for name, target in {"a": "/usr/bin/env", "loop": "loop", "out": "../../../../x", "gone": "/opt/gone/x"}.items():
        link(tmp_path, f"/usr/local/bin/{name}", target)
    write(tmp_path, "/usr/bin/env")
    assert find(tmp_path) == {}
    write(tmp_path, "/usr/local/share/a/data")
    assert find(tmp_path) == {"a": ["/usr/local/bin/a", "/usr/local/share/a", "/usr/local/share/a/data"]}


def test_opt_and_usr_local_that_are_links_or_files(tmp_path: Path) -> None:
    link(tmp_path, "/opt", "/srv/opt")
    write(tmp_path, "/srv/opt/tool/x")
    write(tmp_path, "/usr/local", "a file")
    assert find(tmp_path) == {}


def test_names_of_any_bytes(tmp_path: Path) -> None:
    write(tmp_path, os.fsdecode(b"/opt/\xff\n/x"))
    write(tmp_path, os.fsdecode(b"/usr/local/bin/\xfe"))
    write(tmp_path, "/usr/local/lib/lib.so")
    assert list(find(tmp_path)) == ["\\xfe", "\\xff\\x0a", "lib"]


NAMES = st.sampled_from(["bin", "lib", "share", "man", "opt", "a", "b.so", "python3.11", "dist-packages", "libx.so.1"])


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.sampled_from(["opt", "usr/local"]), st.lists(NAMES, min_size=1, max_size=4)), max_size=12
    ),
    claims=st.sets(st.integers(0, 60)),
)
@example(
    places=[("usr/local", ["lib", "python3.11", "dist-packages"])], claims=set()
)  # a file by the name of a shared directory
def test_no_entry_has_two_components_and_none_is_claimed(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[str, list[str]]], claims: set[int]
) -> None:
    root = tmp_path_factory.mktemp("any")
    for top, parts in places:
        path = root / top / "/".join(parts)
        if not any(each.is_file() for each in (path, *path.parents)) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    image = Image(scan(os.fsencode(root)))
    found = component.find(image, claims.__contains__)
    owned = [at for each in found for at in each.files]
    assert len(owned) == len(set(owned))
    assert not claims & set(owned)
    for at in range(len(image.inventory)):
        path = image.inventory.paths[at]
        if at not in claims and image.is_file(at) and path.startswith((b"/opt/", b"/usr/local/")):
            assert at in owned
    for at in owned:
        if image.is_directory(at):  # all that a component's directory holds is the component's
            assert set(image.below(image.inventory.paths[at])) <= set(owned)
