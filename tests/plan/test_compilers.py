"""Which accesses mean that software is compiled, and what of a toolchain stays then."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_images import Installed, access, evidence_for, kinds, plan_of, staying, write

from slimagent.model.profile import CruftRule, PackageRule, Rules
from slimagent.model.trace import How
from slimagent.plan.compilers import is_compiling


@pytest.mark.parametrize(
    "path",
    [
        *("/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", "/usr/lib/llvm-14/bin/clang-14", "/usr/local/cuda/nvvm/bin/cicc"),
        *(
            "/usr/lib/go-1.19/pkg/tool/linux_amd64/compile",
            "/usr/local/go/pkg/tool/linux_arm64/asm",
            "/opt/jdk/bin/javac",
        ),
        *("/usr/lib/ghc/bin/ghc-9.0.2", "/usr/bin/ocamlopt.opt", "/usr/local/cargo/bin/rustc", "/opt/zig/zig"),
    ],
)
def test_compilers_of_any_language(tmp_path: Path, path: str) -> None:
    """Where they lie does not matter, and to look one up compiles nothing."""
    write(tmp_path, path, "x", 0o755)
    assert is_compiling(evidence_for(tmp_path, [access(path, How.EXECUTED)]))
    assert not is_compiling(evidence_for(tmp_path, [access(path, How.OPENED | How.LOOKED_UP)]))


@pytest.mark.parametrize("path", ["/usr/bin/gcc", "/usr/bin/link", "/srv/compile", "/usr/bin/java", "/usr/bin/go"])
def test_drivers_and_others_compile_nothing_by_themselves(tmp_path: Path, path: str) -> None:
    """`gcc --version` and link(1) are not compilers at work."""
    write(tmp_path, path, "x", 0o755)
    assert not is_compiling(evidence_for(tmp_path, [access(path, How.EXECUTED)]))


def test_a_toolchain_stays_whole(tmp_path: Path) -> None:
    """The compiler's package, what that requires, and their headers; another package loses its headers no more."""
    tool, headers, source = "/usr/lib/go/pkg/tool/linux_amd64/compile", "/usr/lib/go/include/x.h", "/usr/share/go/x.go"
    for path in (tool, headers, source):
        write(tmp_path, path, b"x" * 900, 0o755 if path == tool else 0o644)
    packages = [Installed("dpkg:go", [tool, headers], requires=["dpkg:go-src"]), Installed("dpkg:go-src", [source])]
    cruft = CruftRule(name="headers", patterns=("/**/*.h",), why="x", risk="x", unless="compiling")
    rules = Rules(budget=1, cruft=(cruft,))
    plan = plan_of(tmp_path, packages, [access(tool, How.EXECUTED)], rules, level="file")
    assert kinds(plan, headers, source) == ["package", "package"]
    assert staying(plan)["dpkg:go-src"].kind == "compiling"
    plan = plan_of(tmp_path, packages, [access(tool, How.OPENED)], rules, level="file")
    assert kinds(plan, headers, source) == ["cruft", "too-large"]


def test_a_package_that_a_rule_attaches_stays_with_the_other(tmp_path: Path) -> None:
    """A distribution splits a runtime; the part that the runtime opens by name stays where the runtime does."""
    for path in ("/usr/lib/python3/os.py", "/usr/lib/python3/ensurepip/x.whl"):
        write(tmp_path, path, b"x" * 9)
    packages = [
        Installed("dpkg:libpython3.11-stdlib", ["/usr/lib/python3/os.py"]),
        Installed("dpkg:python3.11-venv", ["/usr/lib/python3/ensurepip/x.whl"]),
    ]
    rule = PackageRule(pattern="dpkg:python3*-venv", of="dpkg:libpython3*-stdlib", why="ensurepip")
    rules = Rules(packages=(rule,))
    assert set(staying(plan_of(tmp_path, packages, ["/usr/lib/python3/os.py"], rules))) == {
        "dpkg:libpython3.11-stdlib", "dpkg:python3.11-venv"
    }  # fmt: skip
    assert not staying(plan_of(tmp_path, packages, [], rules))
