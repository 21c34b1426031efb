"""Kind `gpu`. No GPU is needed: the driver's program and the frameworks are stand-ins that behave and misbehave.

The stand-ins of frameworks take any call and compute nothing; they show what the check makes of the answers.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from checks_context import Place, item, make_venv, place

from slimagent import checks
from slimagent.checks import gpu
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Outcome

__all__ = ["place"]  # a fixture

# A module that answers to everything with an object that does.
ANYTHING = """
class Anything:
    shape = ()
    def __init__(self, *given, **named): pass
    def __getattr__(self, name): return Anything()
    def __call__(self, *given, **named): return Anything()
    def __iter__(self): return iter(())
    def __float__(self): return 0.0
    def __enter__(self): return self
    def __exit__(self, *error): return None
    def __ne__(self, other): return False
    def __str__(self): return "anything"
    def __answer(self, *other): return Anything()
    __add__ = __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = __mod__ = __matmul__ = __answer
    __getitem__ = __abs__ = __answer
"""
STAND_IN = """
from anything import Anything
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Anything()
"""
WRONG = STAND_IN + "def asarray(*given, **named): return Array()\n"
WRONG += "class Array(Anything):\n    def __float__(self): return float('nan')\n"
WRONG += "    def __sub__(self, other): return Array()\n    def __abs__(self): return self\n"
WRONG += "    def max(self): return self\n"
MODULES = ("torch", "cudf", "cupy", "jax/__init__", "jax/numpy", "numba/__init__", "numba/cuda", "numpy")
NVIDIA = "echo 'Stand-in GPU, 580.0'"


class Machine:
    """A directory of programs, an environment for Python, and where device nodes would be."""

    def __init__(self, directory: Path, place: Place) -> None:
        self.place = place
        self.packages = make_venv(directory / "venv")
        self.programs, self.devices = directory / "venv" / "bin", directory / "devices"
        self.devices.mkdir()
        for name in MODULES:
            self.module(name, STAND_IN)
        (self.packages / "anything.py").write_text(ANYTHING)

    def module(self, name: str, text: str) -> None:
        path = self.packages / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def remove(self, *names: str) -> None:
        for name in names:
            for path in self.packages.glob(f"{name}*"):
                path.rename(self.packages / f"_{path.name}")

    def program(self, name: str, body: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def check(self, seconds: float = 60, **parameters: str | float) -> CheckResult:
        spec = CheckSpec(kind="gpu", name="it", seconds=seconds, parameters=parameters)
        # The system's directories only for what scripts call: no Python that is not ours.
        return checks.run(spec, self.place.context(PATH=f"{self.programs}:{os.environ['PATH']}"))


@pytest.fixture
def machine(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose real GPUs, if it has any, nobody sees."""
    vendors = []
    for vendor, program in zip(gpu.VENDORS, ("nvidia-smi", "rocminfo"), strict=True):
        words = next(words for words in vendor.programs if words[0] == program)
        at = (f"own-{program}", *words[1:])
        vendors.append(replace(vendor, nodes=(f"{tmp_path}/devices/{vendor.name}[0-9]*",), programs=(at,)))
    monkeypatch.setattr(gpu, "VENDORS", tuple(vendors))
    return Machine(tmp_path, place)


def details(result: CheckResult) -> dict[str, str]:
    return {each.name: each.detail for each in result.items}


def test_without_a_gpu_the_check_is_skipped(machine: Machine) -> None:
    """Neither a node nor a program: nothing is exercised, so that the plan protects the GPU's packages."""
    result = machine.check()
    assert (result.outcome, result.items) == (Outcome.SKIPPED, ())
    assert result.detail == "no GPU here: neither a device node nor a program that asks a driver"


def test_an_images_own_program_without_a_driver_is_no_gpu(machine: Machine) -> None:
    """nvidia-smi can be part of the image: where the host has no device, its failure is the reason for the skip."""
    machine.program("own-nvidia-smi", "echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9")
    result = machine.check()
    assert result.outcome is Outcome.SKIPPED
    assert "own-nvidia-smi: exit status 9: NVIDIA-SMI has failed" in result.detail


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("echo 'No devices were found'; exit 6", "exit status 6: No devices were found"),
        ("kill -SEGV $$", "ended by SIGSEGV"),
        ("true", "it names no GPU"),
        ("sleep 1000 & exec sleep 1000", "no end after 0.5 s"),
    ],
)
def test_a_driver_that_does_not_answer_for_its_device_fails(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, body: str, expected: str
) -> None:
    """A device node is the host's: with one, a driver that is silent is a fault and no absence."""
    monkeypatch.setattr(gpu, "_SECONDS_DRIVER", 0.5)
    (machine.devices / "nvidia0").touch()
    machine.program("own-nvidia-smi", body)
    result = machine.check(python="/no/such")
    assert result.outcome is Outcome.FAILED
    assert item(result, "driver").outcome is Outcome.FAILED
    assert expected in item(result, "driver").detail
    assert "nvidia0 is here" in item(result, "driver").detail


def test_every_framework_that_is_installed_computes(machine: Machine) -> None:
    """The driver's answer and each framework are items; which GPU it is stands in the detail, not in a name."""
    machine.program("own-nvidia-smi", NVIDIA)
    result = machine.check()
    assert [(each.name, each.outcome) for each in result.items] == [
        (name, Outcome.PASSED) for name in ("driver", *gpu.FRAMEWORKS)
    ]
    assert item(result, "driver").detail == "Stand-in GPU, 580.0"
    assert item(result, "torch").detail.startswith("anything: matmul, matmul in half, convolution, ")
    assert result.outcome is Outcome.PASSED


def test_a_device_without_its_program_is_no_obstacle(machine: Machine) -> None:
    """A container can be given the GPU's computing without its utilities: frameworks are exercised all the same."""
    (machine.devices / "nvidia0").touch()
    result = machine.check()
    assert (item(result, "driver").outcome, result.outcome) == (Outcome.SKIPPED, Outcome.PASSED)
    assert "no own-nvidia-smi to ask its driver" in item(result, "driver").detail


def test_a_driver_alone_proves_nothing(machine: Machine) -> None:
    """With a GPU and no framework the check has not passed: it must not take the protection from any package."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.remove("torch", "cudf", "cupy", "jax", "numba")
    result = machine.check()
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "there is a GPU, and no framework to exercise it")
    assert set(details(result).values()) == {"Stand-in GPU, 580.0", "not installed"}
    assert {each.outcome for each in machine.check(python="/no/such").items[1:]} == {Outcome.SKIPPED}


CPU_ONLY = {
    "torch": STAND_IN + "class version:\n    cuda = None\n    hip = None\n",
    "jax/__init__": STAND_IN + "def devices(*name): raise RuntimeError('Unknown backend: gpu')\n",
    "jaxlib": "__version__ = '0.7.0'",
    "numba/cuda/__init__": STAND_IN + "def is_available(): return False\n",
    "numba/cuda/cudadrv/__init__": "",
    "numba/cuda/cudadrv/nvvm": "class NvvmSupportError(Exception): pass\ndef NVVM(): raise NvvmSupportError('lost')",
}


def test_builds_for_the_cpu_are_skipped(machine: Machine) -> None:
    """A framework that was built for the CPU only has nothing to do with the GPU; that is not the image's fault."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.remove("cudf", "cupy", "numba")
    for name, text in CPU_ONLY.items():
        (machine.packages / name).parent.mkdir(parents=True, exist_ok=True)
        machine.module(name, text)
    machine.module("numba/__init__", STAND_IN)
    result = machine.check()
    assert {name: text for name, text in details(result).items() if name in ("torch", "jax", "numba")} == {
        "torch": "CPU-only build",
        "jax": "CPU-only build",
        "numba": "CPU-only: it finds no CUDA toolkit (NVVM)",
    }
    assert result.outcome is Outcome.SKIPPED


def test_a_build_for_another_vendors_gpus_is_skipped(machine: Machine) -> None:
    """PyTorch for CUDA has nothing to do with a GPU of AMD."""
    (machine.devices / "amd0").touch()
    machine.program("own-rocminfo", "echo gfx942")
    machine.remove("cudf", "cupy", "jax", "numba")
    result = machine.check()
    assert item(result, "driver").detail == "gfx942"
    assert item(result, "torch").detail == "built for GPUs of nvidia, here is one of amd"


def test_wrong_numbers_fail(machine: Machine) -> None:
    """What comes from the GPU is compared: here every difference is NaN, and the operation is named."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.module("numpy", WRONG)
    result = machine.check()
    assert result.outcome is Outcome.FAILED
    assert details(result)["torch"] == "matmul is off by nan"
    assert details(result)["cupy"] == "a kernel from source is off by nan"
    assert details(result)["jax"] == "matmul is off by nan"


BROKEN = {
    "raise ImportError('libcudart.so.12: cannot open shared object file')": (
        "ImportError: libcudart.so.12: cannot open shared object file"
    ),
    "raise RuntimeError('')": "RuntimeError",
    "raise RuntimeError('Error at init:\\n\\n  no driver\\nmore')": "RuntimeError: Error at init: no driver",
    "import os, signal; os.kill(os.getpid(), signal.SIGABRT)": "ended by SIGABRT",
    "import os; print('{\"slimagent\": 1}', flush=True); os._exit(3)": 'exit status 3: {"slimagent": 1}',
    "import sys, time; print('waiting', flush=True); time.sleep(1000)": "no end after 3 s: waiting",
    "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(1000)\nraise OSError('x' * 1000)": "OSError: xxx",
    STAND_IN + "import atexit, os; atexit.register(os._exit, 5)": "exit status 5",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_framework_says_why(machine: Machine, text: str) -> None:
    """A missing library, a crash, a hang, an end at its clean-up: each is told apart, and the others go on."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.remove("jax", "numba", "cudf")
    machine.module("cupy", text)
    result = machine.check(seconds_each=3)
    assert details(result)["cupy"].startswith(BROKEN[text])
    assert (item(result, "cupy").outcome, item(result, "torch").outcome) == (Outcome.FAILED, Outcome.PASSED)
    assert result.detail.startswith("1 of 6 failed: cupy")


def test_torch_that_finds_no_gpu_says_why(machine: Machine) -> None:
    """`is_available` says no and no more; to use the GPU all the same gives the reason."""
    machine.program("own-nvidia-smi", NVIDIA)
    lost = "class cuda:\n    is_available = staticmethod(lambda: False)\n"
    machine.module("torch", f"{STAND_IN}{lost}def zeros(*given, **named): raise RuntimeError('driver too old')\n")
    assert details(machine.check())["torch"] == "RuntimeError: driver too old"
    machine.module("torch", STAND_IN + lost)
    assert details(machine.check())["torch"] == "torch.cuda.is_available() is False"


def test_a_python_that_cannot_be_asked_fails_every_framework(machine: Machine, tmp_path: Path) -> None:
    """It is not taken for one without frameworks."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.program("broken", "echo no module named encodings >&2; exit 1")
    result = machine.check(python="broken")
    assert {each.outcome for each in result.items[1:]} == {Outcome.FAILED}
    assert "could not be asked: exit status 1: no module named encodings" in details(result)["torch"]


def test_the_whole_check_has_a_limit_too(machine: Machine) -> None:
    """A framework that was not come to has failed, and says so."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.module("torch", "import time; time.sleep(1000)")
    assert details(machine.check(3))["cupy"] == "not reached in the time of the check"


def test_caches_of_kernels_are_fresh(machine: Machine) -> None:
    """What an earlier run compiled would leave the compiler without use."""
    machine.program("own-nvidia-smi", NVIDIA)
    machine.module("cupy", "import os; raise OSError(os.environ['CUPY_CACHE_DIR'].startswith(os.getcwd()))")
    assert details(machine.check())["cupy"] == "OSError: True"


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.13"])
def test_the_driver_runs_on_old_and_new_pythons(machine: Machine, version: str) -> None:
    """Images have older interpreters than ours: each that is at hand can run the driver."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    if not found:
        pytest.skip(f"no Python {version} at hand")
    machine.program("own-nvidia-smi", NVIDIA)
    result = machine.check(python=str(found[0]))
    assert {each.outcome for each in result.items[1:]} <= {Outcome.SKIPPED}


def test_the_driver_is_short_enough_for_an_argument() -> None:
    """The driver is passed as one argument, which Linux limits to 128 KiB (execve(2)), and runs on Python 3.6."""
    source = Path(gpu._DRIVER).read_text()
    assert len(source.encode()) < 100_000
    assert "from __future__ import annotations" not in source  # Python 3.7 and later
