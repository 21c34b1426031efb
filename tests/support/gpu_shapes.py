"""Small libraries and programs with GPU code, in each shape that compilers and linkers give it; for tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from cuda_toolkit import LIBRARIES, Toolkit, gpus, linkers, published

STAND_IN = Path(__file__).with_name("cuda_stand_in.c")
WIDE = ("75", "80", "86", "89", "90", "90a", "100f", "103a", "120", "ptx120")

# A unit has its own kernel, and the library has one function for the host.
_UNIT = """
__global__ void kernel_NAME(float *x, int n) { for (int i = 0; i < n; i++) x[threadIdx.x] += x[i] * NUMBERf; }
extern "C" int launch_NAME(float *x) { kernel_NAME<<<1, 32>>>(x, 7); return 0; }
"""
_HOST = """
static int table[] = {3, 1, 4, 1, 5, 9, 2, 6};
static int *const places[] = {table + 7, table + 2, table + 5, table};
extern "C" int host(int a) { return *places[a & 3] * a + table[a & 7]; }
"""
_MAIN = """
#include <stdio.h>
extern "C" int host(int);
int main() { for (int i = 0; i < 100; i++) printf("%d ", host(i)); return 0; }
"""
# Separate compilation: the kernel of one unit calls the code of the other.
_CALLED = "__device__ float twice(float a) { return 2 * a; }\n"
_CALLING = """
extern __device__ float twice(float a);
__global__ void kernel(float *x) { x[threadIdx.x] = twice(x[0]); }
extern "C" int launch(float *x) { kernel<<<1, 32>>>(x); return 0; }
"""


class Shapes:
    """Makes each shape once, in a directory."""

    def __init__(self, toolkit: Toolkit, place: Path) -> None:
        self.toolkit, self._place = toolkit, place
        self._made: dict[str, Path] = {}
        self.stand_in = place / "libstand_in.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", self.stand_in, STAND_IN], check=True)

    def make(self, name: str) -> Path:
        """The file of this shape. Skips the test if this machine lacks what makes it."""
        if name not in self._made:
            self._made[name] = MAKERS[name](self, self._place / name)
        return self._made[name]

    def source(self, name: str, text: str) -> Path:
        """A source file."""
        path = self._place / name
        path.write_text(text)
        return path

    def unit(self, name: str) -> Path:
        """The source of a translation unit with a kernel; `host` has the function for the host."""
        text = _UNIT.replace("NAME", name).replace("NUMBER", f"{len(name)}.5")
        return self.source(f"{name}.cu", text + (_HOST if name == "host" else ""))

    def objects(self, *codes: str, options: tuple[str, ...] = (), units: tuple[str, ...] = ("host",)) -> list[Path]:
        """Compile units for some GPUs."""
        key = "-".join((*codes, *options)).replace("=", "").replace("/", "")
        found = []
        for unit in units:
            made = self._place / f"{unit}-{key}.o"
            if not made.exists():
                flags = ["-Xcompiler", "-fPIC,-fno-lto", "-cudart", "none", *options, *gpus(*codes)]
                self.toolkit.nvcc("-c", *flags, self.unit(unit), "-o", made)
            found.append(made)
        return found

    def wide(self) -> list[Path]:
        """Three units for many GPUs."""
        return self.objects(*WIDE, units=("host", "second", "third"))


def _linked(output: Path, objects: list[Path], *options: str) -> Path:
    subprocess.run(["g++", "-shared", "-Wl,--build-id", *options, "-o", output, *objects], check=True)
    return output


def _compiled(*codes: str, options: tuple[str, ...] = ()) -> Callable[[Shapes, Path], Path]:
    return lambda shapes, output: _linked(output, shapes.objects(*codes, options=options))


def _with(*options: str) -> Callable[[Shapes, Path], Path]:
    return lambda shapes, output: _linked(output, shapes.wide(), *options)


def _stripped(shapes: Shapes, output: Path) -> Path:
    shutil.copy(shapes.make("many"), output)
    subprocess.run(["strip", "--strip-unneeded", output], check=True)
    return output


def _program(*options: str) -> Callable[[Shapes, Path], Path]:
    def make(shapes: Shapes, output: Path) -> Path:
        main = shapes.source("main.cpp", _MAIN)
        link = ["-o", output, main, *shapes.wide(), shapes.stand_in, f"-Wl,-rpath,{shapes.stand_in.parent}"]
        subprocess.run(["g++", *options, *link], check=True)
        return output

    return make


def _separate(*codes: str, link: tuple[str, ...]) -> Callable[[Shapes, Path], Path]:
    """Units compiled apart; `link` are the GPUs for which they are linked, if any."""

    def make(shapes: Shapes, output: Path) -> Path:
        flags = ["-Xcompiler", "-fPIC", *gpus(*codes)]
        objects = []
        for name, text in (("called", _CALLED), ("calling", _CALLING)):
            objects.append(output.with_name(f"{output.name}-{name}.o"))
            shapes.toolkit.nvcc("-dc", *flags, shapes.source(f"{name}.cu", text), "-o", objects[-1])
        if link:
            linked = output.with_name(f"{output.name}-linked.o")
            shapes.toolkit.nvcc("-dlink", "-Xcompiler", "-fPIC", *gpus(*link), *objects, "-o", linked)
            objects.append(linked)
        return _linked(output, [*objects, *shapes.objects("80", "90")])

    return make


def _of_nvidia(requirement: str) -> Callable[[Shapes, Path], Path]:
    def make(shapes: Shapes, output: Path) -> Path:
        (found,) = published(requirement).glob("nvidia/*/lib/lib*.so*")
        return found

    return make


# Every shape, and what makes it.
MAKERS: dict[str, Callable[[Shapes, Path], Path]] = {
    "one-gpu": _compiled("80"),
    "ptx-only": _compiled("ptx75"),
    "with-ptx": _compiled("75", "80", "90", "90a", "ptx90"),
    "suffixes": _compiled("90", "90a", "100", "103f", "110a", "120f", "ptx90a", "ptx100f"),
    "lto-beside": _compiled("80", "90", "lto90", "ptx90", options=("-rdc=true",)),
    "debugging": _compiled("80", "90", "ptx90", options=("-g", "-G")),
    "lines": _compiled("80", "90", "ptx90", options=("-lineinfo",)),
    "compressed-all": _compiled("75", "80", "90", "ptx90", options=("-Xfatbin=-compress-all",)),
    **{
        f"compressed-{mode}": _compiled("75", "80", "90", "ptx90", options=(f"--compress-mode={mode}",))
        for mode in ("size", "speed", "balance", "none")
    },
    "many": _with(),
    "debugged-host": _with("-g"),
    **{f"by-{linker}": _with(f"-fuse-ld={linker}") for linker in linkers()},
    "relr": _with("-Wl,-z,pack-relative-relocs"),
    "now": _with("-Wl,-z,now,-z,relro,-z,separate-code"),
    "one-segment": _with("-Wl,-z,noseparate-code"),
    "large-pages": _with("-Wl,-z,max-page-size=2097152"),
    "both-hashes": _with("-Wl,--hash-style=both"),
    "relocations-kept": _with("-Wl,--emit-relocs"),
    "stripped": _stripped,
    "program": _program("-no-pie"),
    "program-pie": _program("-pie"),
    "separate": _separate("80", "90", "100f", "ptx90", link=("80", "90", "100f")),
    "separate-unlinked": _separate("80", "90", "ptx90", link=()),
    "separate-lto": _separate("80", "lto90", "lto100f", link=()),
    "nvjpeg-cuda-11": _of_nvidia(LIBRARIES[0]),
    "nvjpeg-cuda-12": _of_nvidia(LIBRARIES[1]),
}
# What has no form of its own in a list: several cubins compressed as one. The reader says that it does not know it.
REFUSED = {"concatenated": _compiled("75", "80", "90", options=("--concat", "--compress-mode=size"))}
MAKERS |= REFUSED
