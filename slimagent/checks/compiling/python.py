"""Python packages from source: written, installed by pip or uv into a directory, and imported from it.

With setuptools and `--no-build-isolation` where setuptools are installed and can build wheels. Else with a build
backend in the package itself (PEP 517, backend-path), in an isolated environment, which is pip's default.
"""

from __future__ import annotations

from collections.abc import Mapping

from slimagent.checks.answers import mapping, parsed
from slimagent.checks.compiling.build import Build, StepError, absent
from slimagent.model.result import Item, Outcome

_NAMES = ("python", "python-c")
_WAYS = ("pip with setuptools", "pip", "uv with setuptools", "uv")
# With these settings pip would refuse to install into a directory, or ask; `0` overrides a configuration file.
_PIP = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
# It imports only pip's first module: setuptools replaces distutils, and fails if that has been loaded.
_LOOK = """\
import importlib.util, json, os, shutil, sysconfig
def place(name):
    spec = importlib.util.find_spec(name)
    return spec.origin and os.path.dirname(spec.origin) if spec else None
cc = ((os.environ.get("CC") or sysconfig.get_config_var("CC") or "").split() or ["cc"])[0]
headers = [os.path.join(sysconfig.get_path(name) or "", "Python.h") for name in ("include", "platinclude")]
setuptools = place("setuptools")
wheels = setuptools and os.path.exists(os.path.join(setuptools, "command", "bdist_wheel.py"))  # setuptools 70.1
pip = bool(place("pip"))
if pip:  # before 23.1 it installs by setup.py where there are no wheels to be had
    import pip as installer
    wheels = wheels or tuple(map(int, installer.__version__.split(".")[:2])) < (23, 1)
print(json.dumps({
    "pip": pip,
    "setuptools": bool(setuptools and (wheels or place("wheel"))),
    "lacks": "no C compiler: " + cc if not shutil.which(cc)
    else "" if any(map(os.path.exists, headers)) else "no headers: " + headers[0],
}))
"""
_TRY = """\
import sys
sys.path.insert(0, sys.argv[1])
import slimagent_probe
assert slimagent_probe.__file__.startswith(sys.argv[1]), slimagent_probe.__file__
assert slimagent_probe.twice(21) == 42
"""
_TRY_C = "from slimagent_probe import _c\nassert _c.product(6, 7) == 42\n"
_C = """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *product(PyObject *self, PyObject *arguments) {
    long a, b;
    (void) self;
    return PyArg_ParseTuple(arguments, "ll", &a, &b) ? PyLong_FromLong(a * b) : NULL;
}

static PyMethodDef methods[] = {{"product", product, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_c", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&module); }
"""
_SETUP = """\
import os
from setuptools import Extension, setup

source = "slimagent_probe/_c.c"
setup(
    name="slimagent_probe",
    version="0.1",
    packages=["slimagent_probe"],
    ext_modules=[Extension("slimagent_probe._c", [source])] if os.path.exists(source) else [],
)
"""
_PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "slimagent_probe"
version = "0.1"
"""
# The wheel's tag says "any" even with compiled code: it is installed where it was built.
_BACKEND = """\
import os, shlex, subprocess, sysconfig, zipfile

NAME = "slimagent_probe-0.1"
SOURCE = "slimagent_probe/_c.c"

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    info = NAME + ".dist-info/"
    texts = {
        info + "METADATA": "Metadata-Version: 2.1\\nName: slimagent_probe\\nVersion: 0.1\\n",
        info + "WHEEL": "Wheel-Version: 1.0\\nGenerator: probe\\nRoot-Is-Purelib: false\\nTag: py3-none-any\\n",
    }
    files = ["slimagent_probe/__init__.py"]
    if os.path.exists(SOURCE):
        files.append("slimagent_probe/_c" + sysconfig.get_config_var("EXT_SUFFIX"))
        includes = ["-I" + sysconfig.get_path(name) for name in ("include", "platinclude")]
        linker = shlex.split(sysconfig.get_config_var("LDSHARED"))
        if os.environ.get("CC"):
            linker[:1] = shlex.split(os.environ["CC"])
        subprocess.check_call(linker + ["-fPIC"] + includes + [SOURCE, "-o", files[-1]])
    wheel = NAME + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
        for name in files:
            archive.write(name)
        for name, text in texts.items():
            archive.writestr(name, text)
        names = files + list(texts) + [info + "RECORD"]
        archive.writestr(info + "RECORD", "".join(name + ",,\\n" for name in names))
    return wheel
"""


def items(build: Build, program: str, known: str) -> tuple[tuple[Item, ...], str]:
    """Items python and python-c (with an extension in C), and the way in which packages were installed.

    `known` is the way used on the original image; then no other is tried.
    """
    names = (program,) if program else ("python3", "python")
    python = next(filter(None, map(build.find, names)), "")
    if not python:
        return tuple(absent(name, f"{names[0]} is not on PATH") for name in _NAMES), ""
    try:
        look = _look(build, python)
    except StepError as error:
        return tuple(build.failed(name, error) for name in _NAMES), ""
    way = known if known in _WAYS else _way(build, look)
    if not way:
        return tuple(absent(name, f"{python} has no pip, and uv is not installed") for name in _NAMES), ""
    lacks = str(look.get("lacks", ""))
    return (_without_c(build, python, way, lacks) if lacks else _with_c(build, python, way)), way


def _look(build: Build, python: str) -> Mapping[str, object]:
    """What this Python has to build packages with; raises StepError if it cannot be asked."""
    ended = build.step("asking Python what it has", (python, "-c", _LOOK))
    for value in map(parsed, reversed(ended.last)):  # a .pth file of the image can print, too
        if "lacks" in mapping(value):
            return mapping(value)
    raise StepError("asking Python what it has: no answer", ended.log())


def _way(build: Build, look: Mapping[str, object]) -> str:
    installer = "pip" if look.get("pip") is True else "uv" if build.find("uv") else ""
    return f"{installer} with setuptools" if installer and look.get("setuptools") is True else installer


def _with_c(build: Build, python: str, way: str) -> tuple[Item, ...]:
    """Both at once; if that fails, the package without C by itself, to tell them apart."""
    try:
        _install(build, python, way, with_c=True)
    except StepError as error:
        (plain, _) = _without_c(build, python, way, "")
        return plain, build.failed("python-c", error)
    return tuple(Item(name=name, outcome=Outcome.PASSED, detail=f"by {way}") for name in _NAMES)


def _without_c(build: Build, python: str, way: str, lacks: str) -> tuple[Item, ...]:
    with_c = absent("python-c", lacks)
    try:
        _install(build, python, way, with_c=False)
    except StepError as error:
        return build.failed("python", error), with_c
    return Item(name="python", outcome=Outcome.PASSED, detail=f"by {way}"), with_c


def _install(build: Build, python: str, way: str, *, with_c: bool) -> None:
    """Raises StepError if the package cannot be installed, or does not work in a new Python process."""
    files = {"slimagent_probe/__init__.py": "def twice(number):\n    return 2 * number\n"}
    if with_c:
        files["slimagent_probe/_c.c"] = _C
    by_setuptools = way.endswith("setuptools")
    files |= {"setup.py": _SETUP} if by_setuptools else {"pyproject.toml": _PROJECT, "backend.py": _BACKEND}
    source, target = build.write("project", files), build.write("target", {})
    options = ["--no-deps", "--no-index", "--target", target, *(["--no-build-isolation"] if by_setuptools else [])]
    if way.startswith("uv"):
        argv = [build.find("uv") or "uv", "pip", "install", "--python", python, "--offline", "--no-cache", *options]
    else:
        argv = [python, "-m", "pip", "install", "--no-cache-dir", *options]
    build.step(f"{way.split()[0]} install", (*argv, source), _PIP)
    build.step("importing the Python package", (python, "-c", _TRY + (_TRY_C if with_c else ""), target))
