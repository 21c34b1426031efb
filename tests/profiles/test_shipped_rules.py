"""The rules that ship: what each takes, and above all what none may take."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimagent.model.profile import CruftRule
from slimagent.paths.algebra import pattern
from slimagent.paths.patterns import PathRules
from slimagent.profiles import shipped as profiles

RULES = profiles.load("base").rules
PYTHON = "/opt/venv/lib/python3.12/site-packages"
MODULES = "/usr/lib/code-server/node_modules"


def cruft(path: str) -> list[str]:
    """The names of the rules that take a path for cruft, whatever their conditions; a program's name has no dot."""

    def one_of(texts: tuple[str, ...]) -> bool:
        return any(pattern(text).fullmatch(path.encode()) for text in texts)

    is_program = "." not in path.rsplit("/", 1)[1] and not path.endswith(("DESCRIPTION", "RECORD"))
    holds = {"program": is_program, "without-gpu": "/nvidia/" in path}
    rules = [rule for rule in RULES.cruft if holds.get(rule.when, True)]
    return [rule.name for rule in rules if one_of(rule.patterns) and not one_of(rule.excepted)]


def named(name: str) -> CruftRule:
    return next(rule for rule in RULES.cruft if rule.name == name)


TAKEN = {
    "apt-cache": ["/var/cache/apt/archives/git_1.deb", "/var/cache/apt/pkgcache.bin", "/var/lib/apt/lists/x_Packages"],
    "pip-cache": ["/root/.cache/pip/http-v2/a/b", "/home/a/.cache/pip/selfcheck/x"],
    "uv-cache": ["/root/.cache/uv/archive-v0/x/numpy/a.py"],
    "conda-cache": ["/opt/conda/pkgs/a-1.conda", "/home/a/miniforge3/pkgs/cache/x.json"],
    "npm-cache": ["/root/.npm/_cacache/index-v5/a", "/root/.cache/yarn/v6/npm-a/x.js"],
    "r-cache": ["/root/.cache/R/pkgcache/pkg/a.tar.gz", "/srv/downloaded_packages/a_1.tar.gz"],
    "build-cache": ["/root/.cargo/registry/src/a/b.rs", "/home/a/.cache/go-build/00/x"],
    "logs": ["/var/log/dpkg.log", "/var/log/apt/history.log"],
    "temporary-files": ["/tmp/x", "/var/tmp/a/b"],
    "package-manager-backups": ["/var/lib/dpkg/status-old", "/var/cache/debconf/config.dat-old"],
    "byte-code": [f"{PYTHON}/x/__pycache__/a.cpython-312.pyc"],
    "static-libraries": ["/usr/lib/x86_64-linux-gnu/libz.a", "/opt/conda/lib/libx.la"],
    "headers": [
        "/usr/include/c++/12/vector",
        "/usr/lib/gcc/x86_64-linux-gnu/12/include/stddef.h",
        f"{PYTHON}/torch/include/ATen/ATen.h",
        "/usr/lib/R/site-library/Rcpp/include/Rcpp/Rcpp",
        "/home/a/R/x86_64-pc-linux-gnu-library/4.4/cpp11/include/cpp11.hpp",
        "/usr/include/x86_64-linux-gnu/curl/curl.h",
        "/usr/include/llvm-14/llvm/Config/a.inc",
        "/usr/lib/llvm-14/include/llvm/IR/Attributes.inc",
        f"{PYTHON}/tensorflow/include/llvm/IR/Attributes.inc",
        "/opt/conda/envs/a/include/mlir/a.inc",
    ],
    "build-files": ["/usr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc", f"{PYTHON}/torch/share/cmake/Torch/Torch.cmake"],
    "c-sources": [f"{PYTHON}/wrapt/_wrappers.c", f"{PYTHON}/pyarrow/_csv.pyx", f"{MODULES}/argon2/src/a.cpp"],
    "debug-files": ["/usr/lib/debug/.build-id/00/x.debug"],
    "python-tests": [
        f"{PYTHON}/numpy/tests/test_all.py",
        f"{PYTHON}/scipy/io/tests/data/x.mat",
        f"{PYTHON}/torch/test/atest_test",
        f"{PYTHON}/torch/bin/test_api",
        "/usr/lib/python3.11/test/test_os.py",
        "/opt/conda/lib/python3.12/unittest/test/x.py",
        "/usr/lib/python3/dist-packages/yaml/tests/test_a.py",
    ],
    "r-tests": ["/usr/lib/R/library/Matrix/tests/a.R", "/usr/local/lib/R/site-library/Rcpp/tinytest/cpp/a.cpp"],
    "npm-tests": [f"{MODULES}/qs/test/a.js", f"{MODULES}/@a/b/tests/c.js", f"{MODULES}/x/lib/__tests__/y.js"],
    "documentation": ["/usr/share/doc/git/changelog.Debian.gz", "/opt/venv/share/doc/x/NEWS.rst"],
    "man-pages": ["/usr/share/man/man1/ls.1.gz", "/opt/conda/share/man/man3/x.3"],
    "info-pages": ["/usr/share/info/dir"],
    "r-vignettes": ["/usr/lib/R/site-library/dplyr/doc/dplyr.html"],
    "test-programs": [f"{PYTHON}/torch/test/basic"],
    "build-intermediates": [f"{MODULES}/@vscode/spdlog/build/Release/obj.target/spdlog/src/main.o"],
    "interface-compilers": [f"{PYTHON}/torch/bin/protoc", f"{PYTHON}/torch/bin/protoc-3.13.0.0"],
    "dpkg-symbols": ["/var/lib/dpkg/info/libc6:amd64.symbols"],
    "r-help-figures": ["/usr/lib/R/site-library/farver/help/figures/logo.svg"],
    "r-news": ["/usr/lib/R/site-library/dplyr/NEWS.md", "/usr/local/lib/R/site-library/x/NEWS"],
    "typescript-declarations": [f"{MODULES}/@babel/types/lib/index.d.ts"],
    "style-sources": ["/opt/venv/share/jupyterhub/static/components/x/scss/_a.scss"],
    "npm-documentation": [f"{MODULES}/qs/README.md", f"{MODULES}/@a/b/CHANGELOG.md"],
    "locales": ["/usr/share/locale/de/LC_MESSAGES/git.mo", "/usr/share/locale/zh_TW/LC_TIME/coreutils.mo"],
    "r-locales": [
        "/usr/lib/R/library/translations/de/LC_MESSAGES/R.mo",
        "/usr/lib/R/library/mgcv/po/fr/LC_MESSAGES/R-mgcv.mo",
    ],
    "catalogue-sources": [f"{PYTHON}/babel/x/de/LC_MESSAGES/a.po", f"{PYTHON}/x/messages.pot"],
    "source-maps": [f"{MODULES}/a/out/server.js.map", "/opt/venv/share/x/style.min.css.map"],
    "script-sources": ["/usr/share/javascript/mathjax/unpacked/MathJax.js"],
    "jupyter-second-copies": [
        f"{PYTHON}/jupyterlab/static/main.js",
        f"{PYTHON}/jupyterlab_git/labextension/static/a.js",
    ],
    "notebook-extensions": ["/opt/venv/share/jupyter/nbextensions/pydeck/index.js"],
    "windows-programs": [f"{PYTHON}/pip/_vendor/distlib/t64.exe", f"{PYTHON}/setuptools/cli.exe"],
    "leftovers": [f"{PYTHON}/x/a.py~", f"{MODULES}/x/.DS_Store", f"{PYTHON}/x/.git/config"],
    "gpu-libraries": [f"{PYTHON}/nvidia/cudnn/lib/libcudnn_ops.so.9"],
}


def test_every_rule_is_tried() -> None:
    """No rule of the shipped ones is without an example here, and no example without its rule."""
    assert TAKEN.keys() == {rule.name for rule in RULES.cruft}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in TAKEN.items() for path in paths])
def test_what_a_rule_is_for_is_cruft(name: str, path: str) -> None:
    """A rule takes what it is made for."""
    assert name in cruft(path)


@pytest.mark.parametrize(
    "path",
    [
        # licences, and what identifies a package
        "/usr/share/doc/git/copyright",
        "/opt/conda/share/doc/x/LICENSE.txt",
        f"{MODULES}/qs/LICENSE.md",
        f"{PYTHON}/numpy-2.0.dist-info/RECORD",
        "/usr/lib/R/library/mgcv/DESCRIPTION",
        # what programs read while they run, though it looks like what they do not
        "/opt/venv/share/jupyter/lab/static/main.js",
        f"{PYTHON}/pydeck/nbextension/static/index.js",
        f"{PYTHON}/sklearn/datasets/descr/iris.rst",
        "/usr/lib/R/library/stats/help/stats.rdb",
        "/usr/lib/R/library/stats/html/R.css",
        "/usr/share/R/doc/CRAN_mirrors.csv",
        "/usr/lib/R/site-library/shiny/app_template/tests/testthat/x.R",
        f"{PYTHON}/jupyterlab/schemas/@jupyterlab/a/package.json.orig",
        f"{PYTHON}/skimage/__init__.pyi",
        f"{PYTHON}/jedi/third_party/typeshed/stdlib/3/os.pyi",
        "/usr/share/gosa/include/functions.inc",
        "/var/www/app/lib/include/a.inc",
        "/srv/app/include/a/b.inc",
        "/opt/app/include/a.inc",
        f"{PYTHON}/triton/backends/nvidia/include/cuda.h",
        f"{PYTHON}/numba/cuda/cuda_fp16.h",
        f"{PYTHON}/cupy/_core/include/cupy/complex.cuh",
        f"{PYTHON}/nvidia/cuda_runtime/include/cuda_fp16.h",
        f"{PYTHON}/nvidia/cuda_runtime/lib/libcudadevrt.a",
        f"{PYTHON}/pyopencl/cl/pyopencl-complex.h",
        f"{PYTHON}/Cython/Includes/libc/math.pxd",
        f"{PYTHON}/Cython/Utility/Buffer.c",
        f"{PYTHON}/cffi/_cffi_include.h",
        f"{PYTHON}/numpy/f2py/src/fortranobject.c",
        f"{PYTHON}/pytensor/link/c/c_code/lazylinker_c.c",
        f"{PYTHON}/brian2/codegen/runtime/cython_rt/templates/common.pyx",
        f"{PYTHON}/cmake/data/share/cmake-3.31/Modules/FindZLIB.cmake",
        "/usr/include/python3.11/pyconfig.h",
        "/usr/share/cmake-3.25/Modules/FindZLIB.cmake",
        f"{PYTHON}/astropy/tests/helper.py",
        f"{PYTHON}/astropy/tests/runner.py",
        f"{PYTHON}/tables/tests/test_suite.py",
        f"{PYTHON}/numpy/tests/__init__.py",
        f"{PYTHON}/numpy/testing/_private/utils.py",
        f"{PYTHON}/torch/testing/_internal/common.py",
        f"{PYTHON}/django/test/client.py",
        f"{PYTHON}/gensim/test/test_data/x.txt",
        f"{PYTHON}/sklearn/utils/estimator_checks.py",
        "/usr/lib/python3.11/test/support/__init__.py",
        "/usr/lib/python3.11/unittest/case.py",
        "/usr/lib/python3.11/doctest.py",
        "/usr/lib/python3.11/ensurepip/_bundled/pip-24.0-py3-none-any.whl",
        "/usr/share/python-wheels/pip-23.0-py3-none-any.whl",
        "/usr/bin/test",
        f"{MODULES}/@playwright/test/index.js",
        f"{MODULES}/yaml/dist/doc/Document.js",
        f"{MODULES}/typescript/lib/lib.dom.d.ts",
        "/usr/lib/R/site-library/rmarkdown/rmd/h/bootstrap/fonts/x.eot",  # pandoc takes in all that a style names
        "/usr/share/i18n/locales/de_DE",
        "/usr/share/locale/en_GB/LC_MESSAGES/git.mo",
        "/usr/share/locale/de/LC_MESSAGES/iso_3166-1.mo",
        "/usr/share/locale/locale.alias",
        "/usr/lib/R/library/translations/en@quot/LC_MESSAGES/R.mo",
        f"{PYTHON}/pycountry/locales/de/LC_MESSAGES/iso3166-1.mo",
        f"{PYTHON}/babel/locale-data/de.dat",
        "/usr/share/kbd/keymaps/i386/qwerty/us.map",
        "/usr/share/vim/vim90/doc/help.txt",
        f"{PYTHON}/awscli/examples/s3/ls.rst",
        # databases, records of logins, caches that are none
        "/var/log/wtmp",
        "/var/log/lastlog",
        "/var/cache/debconf/config.dat",
        "/var/cache/fontconfig/x.cache-8",
        "/var/lib/dpkg/status",
        "/var/lib/dpkg/info/git.list",
        "/var/lib/apt/extended_states",
        "/opt/conda/pkgs/urls.txt",
        "/root/.cache/R/renv/cache/v5/x/DESCRIPTION",
        "/root/.cache/uv/python/cpython-3.12/bin/python3.12",
        "/root/.yarn/berry/cache/a.zip",
        "/root/.cache/huggingface/hub/x",
        "/root/.cache/pypoetry/virtualenvs/x/bin/python",
        "/root/.local/share/uv/tools/ruff/bin/ruff",
    ],
)
def test_what_programs_need_is_no_cruft(path: str) -> None:
    """What a program reads while it runs, what says who a package is, and licences are not taken by any rule."""
    assert cruft(path) == []


def test_what_is_kept_is_no_cruft() -> None:
    """No rule takes what another keeps, on an example of each pattern: which of the two is stronger never matters."""
    for rule in RULES.keep:
        path = rule.pattern.replace("/**/", "/a/").replace("**", "a/b").replace("*", "").replace("?", "2")
        assert cruft(path) == [], rule.pattern


def test_building_is_one_switch() -> None:
    """All that only compilers and linkers read is kept together where software is compiled, and nothing else is."""
    building = {rule.name for rule in RULES.cruft if rule.unless == "compiling"}
    assert building == {
        "static-libraries",
        "headers",
        "build-files",
        "c-sources",
        "dpkg-symbols",
        "interface-compilers",
    }


def test_what_later_installs_leave_out_is_not_needed_to_install() -> None:
    """Only documentation and messages are kept out of packages that are installed later."""
    assert {rule.name for rule in RULES.cruft if rule.keep_out} == {
        "documentation",
        "man-pages",
        "info-pages",
        "locales",
    }


@pytest.mark.parametrize(
    ("package", "protected"),
    [
        ("python:nvidia-cublas-cu12", True),
        ("python:triton", True),
        ("dpkg:cuda-toolkit-12-4", True),
        ("dpkg:libnccl2", True),
        ("conda:libcublas", True),
        ("conda:libcurl", False),
        ("dpkg:libcurl4", False),
        ("dpkg:libnvme1", False),
        ("python:tritonclient", False),
        ("python:torch", False),
    ],
)
def test_what_needs_a_graphics_processor_is_protected(package: str, protected: bool) -> None:
    """Packages for graphics processors are told by their names, and no other package is."""
    rule = next(rule for rule in RULES.protect if rule.check == "gpu")
    assert any(pattern("/" + each).fullmatch(b"/" + package.encode()) for each in rule.packages) is protected


@pytest.mark.parametrize("name", profiles.known())
def test_the_rules_are_in_every_profile(name: str) -> None:
    """Every shipped profile has all rules of the base, none of them changed by chance."""
    rules = profiles.load(name).rules
    assert {rule.name for rule in rules.cruft} >= {rule.name for rule in RULES.cruft}
    assert set(rules.keep) >= set(RULES.keep)
    assert set(rules.protect) >= set(RULES.protect)


# Against what is installed here


def installed() -> Iterator[Path]:
    """The modules of the packages beside this interpreter."""
    yield from Path(sysconfig.get_path("purelib")).rglob("*.py")


def taken(rule: CruftRule, paths: list[bytes]) -> set[bytes]:
    """The paths that a rule takes."""
    excepted = {at for at, _ in PathRules(rule.excepted).scan(paths)}
    return {paths[at] for at, _ in PathRules(rule.patterns).scan(paths) if at not in excepted}


def imported(path: Path, top: Path) -> Iterator[Path]:
    """The modules of its own package with `test` in their names that a module imports, there or not."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if "test" not in text:
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if node.level else top
            module = base.joinpath(*(node.module or "").split("."))
            yield from (each for name in ("", *(alias.name for alias in node.names)) for each in files(module / name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from files(top.joinpath(*alias.name.split(".")))


def files(module: Path) -> tuple[Path, Path]:
    return module.with_name(module.name + ".py"), module / "__init__.py"


def test_no_installed_package_imports_its_own_cruft() -> None:
    """In the packages that are installed here, no module beside the tests imports a module that passes for a test."""
    top = Path(sysconfig.get_path("purelib"))
    modules = sorted(installed())
    gone = taken(named("python-tests"), [bytes(path) for path in modules])
    left = [path for path in modules if bytes(path) not in gone and "test" not in path.parent.name]
    used = [(path, each) for path in left for each in imported(path, top) if bytes(each) in gone]
    assert used == []


def test_the_standard_library_works_without_its_tests() -> None:
    """Tools that sound like tests are no tests: doctest and unittest of this interpreter lose nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import doctest, unittest.mock; print(*__import__('sys').modules.values(), sep='\\n')"],
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = [line.split("'")[-2] for line in done.stdout.splitlines() if " from '" in line]
    assert len(loaded) > 50
    assert [path for path in loaded if {*cruft(path)} - {"temporary-files"}] == []  # these tests may well run in /tmp
