"""Which files lose GPU code, and what stays of an image that runs without a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fat_binaries import SIZE, build_gpu_library
from licence_texts import BSD
from plan_images import Installed, build_library, evidence_for, link, paths_with, reader, write

from slimagent import documents
from slimagent.inventory.contents import Contents
from slimagent.inventory.owners import owners
from slimagent.model.inventory import Package
from slimagent.model.plan import GpuCode, GpuHeld, Plan
from slimagent.model.profile import GpuRule, KeepRule, Rules, StripRule
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.plan.decide import decide
from slimagent.plan.without_gpu import target_of
from slimagent.profiles import shipped
from slimagent.report.explain import Explainer
from slimagent.report.gpu import held_table
from slimagent.report.text import plan_summary

KEPT = KeepRule(pattern="/keep/**", why="test")
LIBRARY = "/keep/libk.so.1"
WIDE = (("sm_80", "sm_90", "ptx_90"), ("sm_80", "sm_90"))
SITE = "/opt/venv/lib/python3.12/site-packages"


def plan_with(
    root: Path,
    packages: Sequence[Installed] = (),
    accesses: Iterable[str] = (),
    level: str = "package",
    rules: Rules | None = None,
    architecture: str = "x86_64",
    **gpu: object,
) -> Plan:
    """The plan of the image at `root` for these GPUs (sm_90 by default); its directory /keep stays."""
    evidence = evidence_for(root, accesses)
    given = rules or Rules(budget=0)
    rule = GpuRule(**{"architectures": "sm_90", **gpu})  # type: ignore[arg-type]
    made = replace(given, keep=(KEPT, *given.keep), gpu=rule)
    return decide(
        replace(
            evidence,
            rules=made,
            owners=owners(evidence.inventory, (reader(packages),)),
            contents=Contents(evidence.inventory.root, target_of(made)),
            trace=replace(evidence.trace, architecture=architecture),
        ),
        level,
    )


def code(plan: Plan) -> GpuCode:
    """What the plan says of GPU code."""
    assert plan.gpu is not None
    return plan.gpu


def staying(plan: Plan) -> set[str]:
    """The paths that stay."""
    return {path.decode() for path in paths_with(plan, Verdict.KEEP)}


def left(plan: Plan) -> tuple[str, int]:
    """Why the only file is left alone, and what it could lose."""
    (found,) = code(plan).left
    assert not code(plan).files
    return found.why, found.could_save


def test_code_for_other_gpus_goes(tmp_path: Path) -> None:
    """Of a file that nobody owns; the plan lists what is in it, and survives its document."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    build_gpu_library(tmp_path, "/gone/liby.so", *WIDE)
    plan = plan_with(tmp_path, level="file")
    (found,) = code(plan).files
    assert (found.path, found.permitted) == (LIBRARY.encode(), "no package owns it")
    assert 2 * SIZE < found.saves <= 3 * SIZE
    assert [each[1:] for each in code(plan).held] == [
        ("cubin", "sm_80", 2 * SIZE, 2, 0),
        ("cubin", "sm_90", 2 * SIZE, 2, 2 * SIZE),
        ("ptx", "sm_90", SIZE, 1, 0),
    ]
    assert documents.decode_plan(documents.encode_plan(plan)) == plan
    assert plan.savings[LIBRARY.encode()] >= found.saves


def test_nothing_changes_where_nobody_names_gpus(tmp_path: Path) -> None:
    """No file is read for its GPU code, and the document is what it was."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    plan = plan_with(tmp_path, architectures="")
    assert plan.gpu is None
    assert b'"gpu"' not in documents.encode_plan(plan)
    contents = Contents(os.fsencode(tmp_path))
    assert contents.needs(LIBRARY.encode(), False) is not None
    assert contents.gpu(LIBRARY.encode()) is None


def test_ptx_for_gpus_to_come_stays(tmp_path: Path) -> None:
    """With the rule, and only the highest."""
    build_gpu_library(tmp_path, LIBRARY, ("sm_80", "sm_90", "ptx_80", "ptx_90"))
    with_ptx, without = code(plan_with(tmp_path, ptx=True)), code(plan_with(tmp_path, ptx=False))
    assert with_ptx.ptx and not without.ptx
    assert with_ptx.files[0].saves + SIZE == without.files[0].saves


def test_a_file_without_code_for_a_named_gpu_is_left_alone(tmp_path: Path) -> None:
    """Whole, and that is said."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    assert left(plan_with(tmp_path, architectures="sm_75,sm_90")) == ("it has no code for sm_75", 0)


def test_all_code_goes_without_a_gpu(tmp_path: Path) -> None:
    """Whatever it is for."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    (found,) = code(plan_with(tmp_path, architectures="none")).files
    assert found.saves > 4.9 * SIZE


def owned(path: str, *licenses: str, name: str = "python:torch", identity: Sequence[str] = ()) -> Installed:
    """A package that owns a library and these records."""
    return Installed(name, [path, *identity], identity=identity, licenses=licenses)


def test_an_open_licence_permits_it(tmp_path: Path) -> None:
    """The plan names it."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    (found,) = code(plan_with(tmp_path, [owned(LIBRARY, "Apache-2.0 AND MIT")])).files
    assert found.permitted == "python:torch has an open licence: Apache-2.0 AND MIT"


@pytest.mark.parametrize(
    ("licenses", "why"),
    [
        (("LicenseRef-NVIDIA-Proprietary",), "no open licence: python:torch (LicenseRef-NVIDIA-Proprietary)"),
        (("MIT", "Proprietary"), "no open licence: python:torch (MIT, Proprietary)"),
        ((), "no open licence: python:torch"),
    ],
)
def test_no_other_licence_does(tmp_path: Path, licenses: tuple[str, ...], why: str) -> None:
    """The plan says why, and what the file could lose; the user's word permits it, by package or by path."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    packages = [owned(LIBRARY, *licenses)]
    saves = code(plan_with(tmp_path, packages, owners=("python:tor*",))).files[0].saves
    assert left(plan_with(tmp_path, packages)) == (why, saves)
    assert left(plan_with(tmp_path, packages, owners=("dpkg:torch", "/opt/**"))) == (why, saves)
    for word in ("python:tor*", "*:*", "/keep/*"):
        (found,) = code(plan_with(tmp_path, packages, owners=(word,))).files
        assert found.permitted == f"by your word: {word}"


def test_the_text_of_a_licence_permits_it_if_the_name_is_its_own(tmp_path: Path) -> None:
    """As NCCL's wheel has it: all texts of the record must be open ones, and a name that is closed counts first."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    text, other = f"{SITE}/x.dist-info/licenses/License.txt", f"{SITE}/x.dist-info/licenses/COPYING"
    write(tmp_path, text, BSD)
    directory = text.rpartition("/")[0]
    packages = [owned(LIBRARY, "LicenseRef-x", name="python:nccl", identity=[directory, text])]
    (found,) = code(plan_with(tmp_path, packages)).files
    assert found.permitted == "python:nccl has an open licence: BSD-3-Clause, by its text"
    closed = [owned(LIBRARY, "Proprietary", identity=[directory, text])]
    assert left(plan_with(tmp_path, closed))[0] == "no open licence: python:torch (Proprietary)"
    write(tmp_path, other, "You may use this on one computer.")
    both = [owned(LIBRARY, "LicenseRef-x", identity=[directory, text, other])]
    assert left(plan_with(tmp_path, both))[0] == "no open licence: python:torch (LicenseRef-x)"


def test_every_owner_must_permit_it(tmp_path: Path) -> None:
    """A file of two packages has two licences."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    packages = [owned(LIBRARY, "MIT"), owned(LIBRARY, "Proprietary", name="python:other")]
    assert left(plan_with(tmp_path, packages))[0] == "no open licence: python:other (Proprietary)"


@pytest.mark.parametrize("gone", [False, True])
def test_every_name_of_a_file_counts(tmp_path: Path, gone: bool) -> None:
    """An installer's cache has hard links to what packages own; the cache has no owner and comes first."""
    full = build_gpu_library(tmp_path, "/keep/cache/a.so", *WIDE)
    other = "/z/libb.so" if gone else "/keep/libb.so"
    (tmp_path / other.lstrip("/")).parent.mkdir(exist_ok=True)
    os.link(full, tmp_path / other.lstrip("/"))
    closed = [owned(other, "Proprietary")]
    assert left(plan_with(tmp_path, closed, level="file"))[0] == "no open licence: python:torch (Proprietary)"
    assert code(plan_with(tmp_path, [owned(other, "MIT")], level="file")).files
    for word in ("python:torch", other):
        assert code(plan_with(tmp_path, closed, level="file", owners=(word,))).files


@pytest.mark.parametrize("name", ["EULA.txt", "NVIDIA_License.txt", "ACME-SLA"])
def test_an_agreement_beside_the_licence_counts(tmp_path: Path, name: str) -> None:
    """It may take back what the licence grants."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    texts = [f"{SITE}/x.dist-info/licenses/{each}" for each in ("LICENSE", name)]
    write(tmp_path, texts[0], BSD)
    write(tmp_path, texts[1], "You may use this on one computer.")
    packages = [owned(LIBRARY, "LicenseRef-x", identity=[texts[0].rpartition("/")[0], *texts])]
    assert left(plan_with(tmp_path, packages))[0] == "no open licence: python:torch (LicenseRef-x)"


@pytest.mark.parametrize(
    "name", ["libcublas.so.12", "libcublasLt-f6c022dc.so.12", "libcudnn_ops.so.9", "libnvcomp.so.4", "libcufftMp.so.11"]
)
def test_a_copy_of_nvidias_library_keeps_nvidias_licence(tmp_path: Path, name: str) -> None:
    """In the package of somebody else, or of nobody; in NVIDIA's own package its licence counts."""
    path = f"/keep/{name}"
    build_gpu_library(tmp_path, path, *WIDE)
    assert "of no package that is NVIDIA's by its name" in left(plan_with(tmp_path))[0]
    assert "in python:torch that is NVIDIA's" in left(plan_with(tmp_path, [owned(path, "MIT")]))[0]
    own = name.lower().removeprefix("lib").partition(".")[0]
    assert code(plan_with(tmp_path, [owned(path, "MIT", name=f"python:nvidia-{own}-cu13")])).files
    assert (
        "in python:nvidia-x that is NVIDIA's"
        in left(plan_with(tmp_path, [owned(path, "MIT", name="python:nvidia-x")]))[0]
    )
    assert code(plan_with(tmp_path, [owned(path, "MIT")], owners=("python:torch",))).files
    assert code(plan_with(tmp_path, owners=(path,))).files


@pytest.mark.parametrize("name", ["libcurandom.so", "libtorch_cuda.so", "libnccl.so.2", "libnpp.so"])
def test_other_names_are_not_nvidias(tmp_path: Path, name: str) -> None:
    """However similar."""
    build_gpu_library(tmp_path, f"/keep/{name}", *WIDE)
    assert code(plan_with(tmp_path)).files


def test_what_must_not_be_stripped_keeps_its_gpu_code(tmp_path: Path) -> None:
    """A checksum beside it, a rule, another processor, set-user-ID; hard links count once."""
    full = build_gpu_library(tmp_path, LIBRARY, *WIDE)
    rules = Rules(strip=(StripRule(exclude=("/keep/**",), why="signed"),))
    assert left(plan_with(tmp_path, rules=rules)) == ("by rule: signed", 0)
    assert left(plan_with(tmp_path, architecture="aarch64")) == ("it is for another processor than the image", 0)
    os.link(full, full.with_name("libother.so"))
    (only,) = code(plan_with(tmp_path)).files
    assert only.path == LIBRARY.encode()
    write(tmp_path, "/keep/libother.so.sha256", "00")
    assert left(plan_with(tmp_path)) == ("/keep/libother.so.sha256 holds its checksum or signature", 0)
    (tmp_path / "keep/libother.so.sha256").unlink()
    full.chmod(0o4755)
    assert "setuid" in left(plan_with(tmp_path))[0]


def test_code_that_is_not_understood_is_left_alone(tmp_path: Path) -> None:
    """And said to be unknown."""
    full = build_gpu_library(tmp_path, LIBRARY, ("sm_80", "sm_90"), ("sm_80",))
    data = bytearray(full.read_bytes())
    data[data.index(b"\x50\xed\x55\xba") + 16 + 2] = 9  # the version of the first piece
    full.write_bytes(data)
    plan = plan_with(tmp_path)
    (whole,) = [each for each in code(plan).held if each.form == "unknown"]
    assert whole == GpuHeld(LIBRARY.encode(), "unknown", "", 16 + 2 * SIZE, 1, 16 + 2 * SIZE)
    shown = held_table(code(plan).held)
    assert any("not understood" in line for line in shown)


def test_it_is_explained(tmp_path: Path) -> None:
    """The summary adds up and says what could go; a path has its inventory by form and architecture."""
    build_gpu_library(tmp_path, LIBRARY, *WIDE)
    build_gpu_library(tmp_path, "/keep/libclosed.so", *WIDE)
    plan = plan_with(tmp_path, [owned("/keep/libclosed.so", "Proprietary")])
    lines = plan_summary(plan)
    assert any(
        line.startswith("GPU code goes from 1 kept file, ") and "sm_90 loads none of it" in line for line in lines
    )
    assert any("more could go from 1 file, if you permit it with --gpu-code-of" in line for line in lines)
    assert any("no open licence: python:torch (Proprietary)" in line for line in lines)
    explained = Explainer(plan).explain(LIBRARY.encode())
    assert explained.gpu.endswith(" goes, for sm_90: no package owns it")
    assert [each.architecture for each in explained.held] == ["sm_80", "sm_90", "sm_90"]
    assert held_table(explained.held)[1].split() == ["machine", "code", "sm_80", "262.1", "kB", "2", "no"]
    closed = Explainer(plan).explain(b"/keep/libclosed.so").gpu
    assert closed.startswith("left alone: no open licence: python:torch (Proprietary); ")
    assert "GPU code: left alone" in Explainer(plan).stripped(b"/keep/libclosed.so")


TORCH = f"{SITE}/torch/lib/libtorch_cuda.so"
CUDNN = f"{SITE}/nvidia/cudnn/lib"
PROTECTED = [
    Installed("python:torch", [TORCH, f"{SITE}/torch/a.py"], requires=["python:nvidia-cudnn"], licenses=["MIT"]),
    Installed(
        "python:nvidia-cudnn",
        [
            f"{CUDNN}/{each}"
            for each in ("libcudnn.so.9", "libengines.so", "libengines.so.9", "libgraph.so.9", "notes.txt")
        ],
    ),
]


def gpu_image(root: Path) -> None:
    """A framework that is linked with a library for GPUs, which is linked with another, and one that nothing names."""
    write(root, f"{SITE}/torch/a.py", "pass")
    build_library(root, f"{CUDNN}/libgraph.so.9")
    build_library(root, f"{CUDNN}/libcudnn.so.9", "-Wl,-rpath,$ORIGIN", needs=[f"{CUDNN}/libgraph.so.9"])
    build_library(root, f"{CUDNN}/libengines.so.9")
    write(root, f"{CUDNN}/notes.txt", "notes")
    link(root, f"{CUDNN}/libengines.so", "libengines.so.9")
    build_gpu_library(root, TORCH, *WIDE, needs=[f"{CUDNN}/libcudnn.so.9"])


@pytest.mark.parametrize("level", ["file", "package", "cruft"])
def test_without_a_gpu_what_nothing_opened_goes(tmp_path: Path, level: str) -> None:
    """At every level: libraries of packages for GPUs. What is linked with what stays, and other files, stay."""
    gpu_image(tmp_path)
    rules = shipped.load("base").rules
    plan = plan_with(tmp_path, PROTECTED, [TORCH], level=level, rules=rules, architectures="none")
    stays = staying(plan)
    assert {TORCH, f"{CUDNN}/libcudnn.so.9", f"{CUDNN}/libgraph.so.9"} <= stays
    assert f"{CUDNN}/libengines.so.9" not in stays
    assert f"{CUDNN}/libengines.so" not in stays
    assert (f"{CUDNN}/notes.txt" in stays) or level == "file"
    assert not any(each.kind == ReasonKind.PROTECTED for each in plan.reasons)
    gone = Explainer(plan).explain(f"{CUDNN}/libengines.so.9".encode())
    assert gone.chain[0][1].startswith("cruft, gpu-libraries: a library for GPUs that nothing opened")
    names = {each.package: plan.reasons[each.reason].verdict for each in plan.packages}
    assert names[Package(kind="python", name="nvidia-cudnn", version="1")] is Verdict.KEEP  # type: ignore[arg-type]


@pytest.mark.parametrize("architectures", ["", "sm_90"])
@pytest.mark.parametrize("level", ["file", "package"])
def test_with_a_gpu_it_is_protected_as_before(tmp_path: Path, level: str, architectures: str) -> None:
    """A named GPU may open it."""
    gpu_image(tmp_path)
    rules = shipped.load("base").rules
    plan = plan_with(tmp_path, PROTECTED, [TORCH], level=level, rules=rules, architectures=architectures)
    assert f"{CUDNN}/libengines.so.9" in staying(plan)


def test_it_can_be_kept_all_the_same(tmp_path: Path) -> None:
    """By the rule's name, as any cruft."""
    gpu_image(tmp_path)
    rules = replace(shipped.load("base").rules, kept_cruft=("gpu-libraries",))
    plan = plan_with(tmp_path, PROTECTED, [TORCH], rules=rules, architectures="none")
    assert f"{CUDNN}/libengines.so.9" in staying(plan)


def test_a_library_that_was_opened_stays(tmp_path: Path) -> None:
    """Whoever opened it."""
    gpu_image(tmp_path)
    rules, opened = shipped.load("base").rules, [TORCH, f"{CUDNN}/libengines.so.9"]
    plan = plan_with(tmp_path, PROTECTED, opened, level="file", rules=rules, architectures="none")
    assert f"{CUDNN}/libengines.so.9" in staying(plan)
