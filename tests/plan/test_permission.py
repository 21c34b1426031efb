"""What permits changing a file: every owner of its names and of the links to it, and all that their records say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fat_binaries import build_gpu_library
from licence_texts import BSD
from plan_images import Installed, evidence_for, link, reader, write

from slimagent.inventory.contents import Contents
from slimagent.inventory.owners import READERS, owners
from slimagent.model.inventory import UNCLEAR
from slimagent.model.profile import GpuRule
from slimagent.plan.keeper import Keeper
from slimagent.plan.permission import Permissions

LIBRARY = "/data/blobs/abcdef"
SITE = "/opt/venv/lib/python3.12/site-packages"
CLOSED = "Proprietary"
AGREEMENT = "You may use this on one computer."


class Image:
    """An image in which a file may be changed, or not."""

    def __init__(self, root: Path, packages: Sequence[Installed] | None = (), words: Sequence[str] = ()) -> None:
        """With these packages; with None, those that the readers find."""
        evidence = evidence_for(root)
        self.owners = owners(evidence.inventory, READERS if packages is None else (reader(packages),))
        rules = replace(evidence.rules, gpu=GpuRule(architectures="sm_90", owners=tuple(words)))
        self.evidence = replace(evidence, rules=rules, contents=Contents(evidence.inventory.root))
        self.keeper = Keeper(evidence.inventory, self.owners)
        self.permissions = self.made()

    def made(self) -> Permissions:
        """The table of what permits changes, made anew."""
        evidence, keeper = self.evidence, self.keeper
        return Permissions(evidence.inventory, self.owners, keeper.resolver, evidence.contents, evidence.rules)

    def permitted(self, path: str = LIBRARY) -> str:
        """What permits changing a file; empty if nothing does."""
        return self.permissions.of(self.evidence.inventory.index[path.encode()])[0]

    def refused(self, path: str = LIBRARY) -> str:
        """Why a file must not be changed; empty if it may be."""
        return self.permissions.of(self.evidence.inventory.index[path.encode()])[1]


def package(*files: str, licenses: Sequence[str] = (CLOSED,), name: str = "python:foo", **more: object) -> Installed:
    """A package that owns these files, with a closed licence if nothing else is said."""
    return Installed(name, files, licenses=licenses, **more)  # type: ignore[arg-type]


# Links


@pytest.mark.parametrize("way", [["/z/libfoo.so"], ["/z/libfoo.so", "/y/one", "/y/two"]])
def test_who_owns_a_link_to_a_file_owns_the_file(tmp_path: Path, way: list[str]) -> None:
    """As installers have it that link to their cache; also by other links, and for each name of the file."""
    full = write(tmp_path, LIBRARY, "x" * 10)
    os.link(full, full.with_name("twin"))
    for one, other in zip(way, [*way[1:], "/data/blobs/twin"], strict=True):
        link(tmp_path, one, other)
    assert Image(tmp_path).permitted() == "no package owns it"
    closed = [package(way[0])]
    for path in (LIBRARY, "/data/blobs/twin"):
        assert Image(tmp_path, closed).refused(path) == "no open licence: python:foo (Proprietary)"
    assert Image(tmp_path, [package(way[0], licenses=["MIT"])]).permitted() == "python:foo has an open licence: MIT"
    assert Image(tmp_path, closed, ["python:foo"]).permitted() == "by your word: python:foo"


def test_your_word_for_a_link_is_none_for_another_package(tmp_path: Path) -> None:
    """Its owner does not speak for a file that somebody else owns, but must permit it, too."""
    write(tmp_path, LIBRARY)
    link(tmp_path, "/z/libfoo.so", LIBRARY)
    linking, owning = package("/z/libfoo.so"), package(LIBRARY, name="python:bar")
    assert "python:bar" in Image(tmp_path, [linking, owning], ["python:foo"]).refused()
    assert Image(tmp_path, [linking, owning], ["python:bar"]).permitted() == "by your word: python:bar"
    open_one = package(LIBRARY, name="python:bar", licenses=["MIT"])
    assert "python:foo" in Image(tmp_path, [linking, open_one]).refused()


def test_a_link_to_a_directory_counts_where_nobody_owns_the_file(tmp_path: Path) -> None:
    """At any height above it. A directory that all share is nobody's, however many links lead there."""
    write(tmp_path, LIBRARY)
    write(tmp_path, "/usr/lib/libx.so")
    link(tmp_path, "/z/foo", "../data")
    link(tmp_path, "/lib", "usr/lib")
    closed = package("/z/foo", "/lib")
    image = Image(tmp_path, [closed])
    assert image.refused() == "no open licence: python:foo (Proprietary)"
    assert image.permitted("/usr/lib/libx.so") == "no package owns it"
    assert Image(tmp_path, [closed, package(LIBRARY, name="python:bar", licenses=["MIT"])]).permitted()
    assert Image(tmp_path, [closed], ["python:foo"]).permitted() == "by your word: python:foo"


def test_a_record_that_lists_a_file_outside_of_its_environment_counts(tmp_path: Path) -> None:
    """It is not the package's own, but its licence may be about it: the package's directory can be a link."""
    write(tmp_path, LIBRARY)
    listing, owning = package(outside=[LIBRARY]), package(LIBRARY, name="python:bar")
    assert Image(tmp_path, [listing]).refused() == "no open licence: python:foo (Proprietary)"
    assert Image(tmp_path, [listing], ["python:foo"]).permitted() == "by your word: python:foo"
    assert Image(tmp_path, [listing, owning], ["python:foo"]).refused()
    assert Image(tmp_path, [listing, owning], ["python:bar"]).permitted()


def test_a_wheel_whose_directory_is_a_link_is_read_so(tmp_path: Path) -> None:
    """By the reader of Python's packages."""
    wheel(tmp_path, "License: Proprietary")
    write(tmp_path, "/data/foo/libfoo.so")
    link(tmp_path, f"{SITE}/foo", "/data/foo")
    assert Image(tmp_path, None).refused("/data/foo/libfoo.so") == "no open licence: python:foo (Proprietary)"


def test_each_link_is_followed_once(tmp_path: Path) -> None:
    """However many files are asked for: the cost is that of the links, and not of links times files."""
    files = [f"/data/{number}/lib.so" for number in range(20)]
    for path in files:
        write(tmp_path, path)
        link(tmp_path, f"/z{path}", path)
        link(tmp_path, f"/y{path.rpartition('/')[0]}", "/data")
    image = Image(tmp_path)
    calls = []
    follow = image.keeper.resolver.resolve
    image.keeper.resolver.resolve = lambda path, **more: calls.append(path) or follow(path, **more)  # type: ignore
    image.permissions = image.made()
    assert all(image.permitted(path) for path in files)
    assert len(calls) == 2 * len(files)


# Records


def wheel(root: Path, headers: str, more: Sequence[str] = ()) -> None:
    """The record of a wheel with a library, and with more files."""
    info = "foo-1.0.dist-info"
    write(root, "/opt/venv/pyvenv.cfg", "home = /usr/bin\n")
    write(root, f"{SITE}/{info}/METADATA", f"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n{headers}\n\ntext\n")
    rows = ["foo/libfoo.so", *(f"{info}/{each}" for each in ("METADATA", "RECORD")), *more]
    write(root, f"{SITE}/{info}/RECORD", "".join(f"{each},,\n" for each in rows))


OSI = "Classifier: License :: OSI Approved"


def test_who_approves_of_a_licence_names_none(tmp_path: Path) -> None:
    """Then the text decides, and an agreement beside it."""
    path, info = f"{SITE}/foo/libfoo.so", "foo-1.0.dist-info"
    wheel(tmp_path, OSI, [f"{info}/LICENSE", f"{info}/EULA.txt"])
    write(tmp_path, path)
    write(tmp_path, f"{SITE}/{info}/LICENSE", BSD)
    assert Image(tmp_path, None).permitted(path).endswith("BSD-3-Clause, by its text")
    write(tmp_path, f"{SITE}/{info}/EULA.txt", AGREEMENT)
    assert Image(tmp_path, None).refused(path) == "no open licence: python:foo (OSI Approved)"


@pytest.mark.parametrize(
    ("headers", "closed"),
    [
        (f"License: MIT\n{OSI} :: MIT License\n{OSI}", ""),
        (f"License: UNKNOWN\n{OSI} :: GNU General Public License v3 or later (GPLv3+)", ""),
        (f"License: {BSD.replace(chr(10), chr(10) + '        ')}\n{OSI} :: BSD License", ""),
        ("License: MIT\nClassifier: License :: Other/Proprietary License", "MIT, Other/Proprietary License"),
        ("License-Expression: MIT\nLicense: NVIDIA Proprietary Software", "MIT, NVIDIA Proprietary Software"),
        ("License: MIT\nLicense: Proprietary", "MIT, Proprietary"),
        (
            f"License: {'not to be changed ' * 12}\n{OSI} :: MIT License",
            f"MIT License, {('not to be changed ' * 4)[:60]}…",
        ),
        (f"License: Proprietary\n        No changes.\n{OSI} :: MIT License", "MIT License, Proprietary No changes."),
        (f"License: none\n{OSI} :: MIT License", "MIT License, none"),
        (f"License: {'x' * 70_000}\n{OSI} :: MIT License", f"MIT License, {UNCLEAR}"),
    ],
)
def test_all_that_a_record_says_must_be_open(tmp_path: Path, headers: str, closed: str) -> None:
    """Not only what names it best; a text counts as a whole, and what is no licence known here is closed."""
    wheel(tmp_path, headers)
    path = f"{SITE}/foo/libfoo.so"
    write(tmp_path, path)
    why = Image(tmp_path, None).refused(path)
    assert why == (f"no open licence: python:foo ({closed})" if closed else "")


def test_a_record_that_cannot_be_read_permits_nothing(tmp_path: Path) -> None:
    """Even beside an open text."""
    text = "foo-1.0.dist-info/licenses/LICENSE"
    wheel(tmp_path, "", [text])
    path = f"{SITE}/foo/libfoo.so"
    write(tmp_path, path)
    write(tmp_path, f"{SITE}/{text}", BSD)
    assert Image(tmp_path, None).permitted(path)
    (tmp_path / SITE.lstrip("/") / "foo-1.0.dist-info/METADATA").unlink()
    assert UNCLEAR in Image(tmp_path, None).refused(path)


# Texts


def by_text(root: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Image:
    """A package with no licence but the BSD text in its record, and with these files, of which some are links."""
    info = f"{SITE}/foo.dist-info"
    texts = {f"{info}/licenses/LICENSE": BSD, **files}
    for path, text in texts.items():
        write(root, path, text)
    for path, target in (links or {}).items():
        link(root, path, target)
    write(root, LIBRARY)
    every = [*texts, *(links or {})]
    identity = [each for each in every if each.startswith(info)]
    return Image(root, [package(LIBRARY, *every, identity=identity, licenses=["LicenseRef-x"], place=SITE.encode())])


@pytest.mark.parametrize(
    "path",
    [
        *("foo.dist-info/licenses/nvidia.txt", "foo.dist-info/licenses/NOTICE", "foo.dist-info/licenses/a/b"),
        *("foo.dist-info/NOTICE.txt", "foo.dist-info/license_files/x", "foo/LICENSE_NVIDIA.txt", "foo/Eula.md"),
        *("foo/lib/licence", "foo/COPYING.NVIDIA", "foo/licenses/nvidia.txt"),
        *("foo/NVIDIA_EULA.txt", "foo/third_party/ACME-EULA.txt", "foo/lib/TERMS_OF_USE.txt", "foo/TermsOfUse.html"),
        *("foo/acme.agreement.pdf", "foo/NvidiaEULA.txt", "foo/SoftwareAgreement"),
    ],
)
def test_an_agreement_among_the_licence_files_counts(tmp_path: Path, path: str) -> None:
    """Whatever it is called in a directory of licences, and also outside of the record; an open text does no harm."""
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    assert by_text(tmp_path / "open", {f"{SITE}/{path}": BSD}).permitted().endswith("BSD-3-Clause, by its text")
    assert by_text(tmp_path / "closed", {f"{SITE}/{path}": AGREEMENT}).refused()


def test_a_licence_file_can_be_a_link(tmp_path: Path) -> None:
    """It says what it leads to; one that leads nowhere is not understood."""
    name = f"{SITE}/foo.dist-info/licenses/EULA"
    for number, (target, is_open) in enumerate((("/cache/bsd", True), ("/cache/eula", False), ("/gone", False))):
        root = tmp_path / str(number)
        write(root, "/cache/bsd", BSD)
        write(root, "/cache/eula", AGREEMENT)
        assert bool(by_text(root, {}, {name: target}).permitted()) is is_open


def test_other_files_are_no_licences(tmp_path: Path) -> None:
    """Code about licences, and names that only contain the word."""
    names = ("license.py", "licenses/__init__.py", "my_license.json", "search_terms.py", "determs.txt", "neulat.md")
    files = {f"{SITE}/foo/{each}": AGREEMENT for each in names}
    assert by_text(tmp_path, files).permitted()


def test_a_text_outside_of_the_record_alone_permits_nothing(tmp_path: Path) -> None:
    """It may be about something that the package holds."""
    write(tmp_path, LIBRARY)
    write(tmp_path, "/data/LICENSE", BSD)
    assert Image(tmp_path, [package(LIBRARY, "/data/LICENSE", licenses=())]).refused()


# NVIDIA's libraries


@pytest.mark.parametrize(
    "name",
    [
        *("libmyelin.so.1", "libnvgraph.so.10", "cudnn_ops.so", "libcudnnops.so", "lib-cudnn-ops.so.9"),
        *("cublasLt.so.12", "libcutensorMp.so", "libcupauliprop.so.0", "libcustabilizer.so", "libPhysXGpu_64.so"),
        *("libPhysXCooking.so", "libnvcuvid.so.1", "libcal.so.0", "libcuinj64.so.12.4", "libaccinj64.so"),
        *("libsanitizer-public.so", "libcuvslam.so", "libnvngx.so.1", "libnvngx_dlss.so", "libcuda.so.1"),
        *("libcudadebugger.so.1", "libnvdsgst_meta.so", "libNVVideoEffects.so", "libnvidia-ml.so.1"),
    ],
)
def test_a_library_is_nvidias_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    """That of its file, of a link to it, and the one that it has for its users (DT_SONAME)."""
    path = f"/data/{name}"
    full = build_gpu_library(tmp_path, path, ("sm_80", "sm_90"))
    assert "NVIDIA's by its name" in Image(tmp_path).refused(path)
    full.rename(full.with_name("engine"))
    assert "NVIDIA's by its name" in Image(tmp_path).refused("/data/engine")
    write(tmp_path, LIBRARY)
    assert Image(tmp_path).permitted()
    link(tmp_path, f"/usr/lib/{name}", LIBRARY)
    assert "NVIDIA's by its name" in Image(tmp_path).refused()


@pytest.mark.parametrize(
    "name",
    [
        *("cuda_ops.so", "cublas.cpython-312-x86_64-linux-gnu.so", "cudnn.abi3.so", "cufft_bench", "nvidia_x.so"),
        *("cal.so", "libcalc.so", "libcalibrate.so.1", "libcuda_ops.so.11", "libnvidia_collective.so"),
    ],
)
def test_other_names_are_often_others(tmp_path: Path, name: str) -> None:
    """Words without lib that anybody uses, longer words, Python's bindings, programs."""
    write(tmp_path, f"/data/{name}")
    assert Image(tmp_path).permitted(f"/data/{name}")


@pytest.mark.parametrize(
    ("name", "library", "may"),
    [
        ("nvidia-nvcomp-cu12", "libnvcomp.so.5", True),
        ("nvidia-pytriton", "libcudart-09529672.so.12.6.77", False),
        ("nvidia-cuda-mine", "libcuda.so.1", False),
        ("nvidia", "libcudart.so", False),
        ("foo", "libnvcomp.so.5", False),
    ],
)
def test_a_package_of_nvidias_speaks_for_its_own_product(tmp_path: Path, name: str, library: str, may: bool) -> None:
    """Not for copies of other libraries in it, which have another licence."""
    path = f"{SITE}/lib/{library}"
    write(tmp_path, path)
    image = Image(tmp_path, [package(path, licenses=["Apache-2.0"], name=f"python:{name}")])
    assert bool(image.permitted(path)) is may


@pytest.mark.parametrize(
    "database", ["/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed", "/var/lib/dpkg/info/z.list"]
)
def test_nobody_knows_who_owns_a_file_if_a_database_is_not_understood(tmp_path: Path, database: str) -> None:
    """Of a package manager that is not read, or with a package whose list of files is missing."""
    path = "/usr/lib/libmine.so"
    write(tmp_path, path)
    own = f"{SITE}/foo/libfoo.so"
    wheel(tmp_path, "License: MIT")
    write(tmp_path, own)
    assert Image(tmp_path, None).permitted(path) == "no package owns it"
    if "dpkg" in database:
        write(
            tmp_path,
            "/var/lib/dpkg/status",
            "Package: z\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n",
        )
    else:
        write(tmp_path, database, "x")
    assert "nobody knows who owns it" in Image(tmp_path, None).refused(path)
    assert Image(tmp_path, None).permitted(own)
