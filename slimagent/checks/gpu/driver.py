"""Runs in the image's own Python (3.6 or later), given by `-c`: computes on the GPU with one framework.

The only argument is a JSON object: {"list": [names]}, answered by {"installed": [names]}; or {"run": name, "vendors":
["nvidia", "amd"]}, answered by {"outcome": "passed" | "failed" | "skipped", "detail"}. An answer is one line of at most
400 characters, and has "slimagent": "gpu". Each framework must use all of its libraries: a library is loaded at its
first use, and one that nothing used may be removed from the image.
"""

import contextlib
import importlib
import importlib.util
import json
import pkgutil
import sys
from typing import Any, Callable, Iterator  # noqa: UP035 - Python 3.6

LONGEST = 390
cuda: Any = None  # Numba looks up the names of a kernel in the globals, its simulator only there
TOLERANCE = 0.02  # TensorFloat-32, which convolutions and products may use by default, has a mantissa of ten bits


class NothingToDoError(Exception):
    """The framework is not for this GPU."""


class WrongError(Exception):
    """The framework is there and does not work."""


def installed(names: "list[str]") -> "list[str]":
    """Those of the names that are modules or packages; nothing is imported."""
    specs = {name: importlib.util.find_spec(name) for name in names}
    return [name for name, spec in specs.items() if spec is not None and spec.origin is not None]


def load(name: str) -> Any:
    """Import a module that is the image's, not ours."""
    return importlib.import_module(name)


def compare(numpy: Any, name: str, got: Any, want: Any) -> None:
    """Raise WrongError unless two numpy arrays agree, within the precision of a GPU's fastest arithmetic."""
    got, want = numpy.asarray(got, dtype="complex128"), numpy.asarray(want, dtype="complex128")
    if got.shape != want.shape:
        raise WrongError(f"{name} has the shape {got.shape}, not {want.shape}")
    off = float(abs(got - want).max())
    if not off <= TOLERANCE * max(1.0, float(abs(want).max())):  # not: a NaN is wrong, too
        raise WrongError(f"{name} is off by {off:g}")


def torch_operations(torch: Any, device: str) -> "Iterator[tuple[str, Callable[[], Any]]]":
    """Names of operations, and functions that return their result on a device."""
    functional = torch.nn.functional
    square = (torch.arange(4096, device=device) % 7).float().reshape(64, 64) / 7
    regular = square + 64 * torch.eye(64, device=device)

    def convolution() -> Any:
        weight = square[:3, :27].reshape(3, 1, 3, 9).clone().requires_grad_()
        functional.conv2d(square.reshape(1, 1, 64, 64), weight).relu().mean().backward()
        return weight.grad

    def recurrent() -> Any:
        cell = torch.nn.LSTM(64, 8)
        for parameter in cell.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        return cell.to(device)(square.reshape(64, 1, 64))[0].detach()

    yield "matmul", lambda: square @ square.t()
    yield "matmul in half", lambda: (square.half() @ square.half() if device != "cpu" else square @ square).float()
    yield "convolution", convolution
    yield "recurrent network", recurrent
    yield "linear algebra", lambda: torch.linalg.solve(regular, square)
    yield "Fourier transform", lambda: torch.fft.fft(square).abs()
    yield "sorting", lambda: square.flatten().sort()[0]
    yield "sparse matmul", lambda: torch.sparse.mm(square.to_sparse(), square)
    yield "special functions", lambda: torch.special.bessel_j0(square)  # a kernel that is compiled when it is wanted


def run_torch(vendors: "list[str]", device: str = "cuda") -> str:
    """PyTorch: its operations on the GPU against the same on the CPU."""
    numpy = load("numpy")
    torch = load("torch")

    built = "nvidia" if torch.version.cuda else "amd" if getattr(torch.version, "hip", None) else ""
    if device == "cuda":
        if not built:
            raise NothingToDoError("CPU-only build")
        if built not in vendors:
            raise NothingToDoError(f"built for GPUs of {built}, here is one of {' and '.join(vendors)}")
        if not torch.cuda.is_available():
            torch.zeros(1, device=device)  # says why
            raise WrongError("torch.cuda.is_available() is False")
    done = []
    there = dict(torch_operations(torch, device))
    for name, here in torch_operations(torch, "cpu"):
        try:
            want = here()
        except AttributeError:  # an older version
            continue
        got = there[name]()
        if device == "cuda":
            torch.cuda.synchronize()
        compare(numpy, name, got.cpu().numpy(), want.numpy())
        done.append(name)
    where = torch.cuda.get_device_name(0) if device == "cuda" else device
    return f"{where}: {', '.join(done)}"


def run_cudf(vendors: "list[str]") -> str:
    """cuDF: a grouping, a join and strings."""
    cudf = load("cudf")

    frame = cudf.DataFrame({"key": [1, 2, 1, 2], "value": [1.0, 2.0, 3.0, 4.0], "text": ["a", "b", "c", "d"]})
    sums = frame.groupby("key")["value"].sum().to_pandas().to_dict()
    if sums != {1: 4.0, 2: 6.0}:
        raise WrongError(f"the sums of groups are {sums}")
    other = cudf.DataFrame({"key": [1], "more": [10]})
    joined = frame.merge(other, on="key").sort_values("value")["text"].str.upper().to_pandas().tolist()
    if joined != ["A", "C"]:
        raise WrongError(f"a join gives {joined}")
    return "grouping, join, strings"


def run_cupy(vendors: "list[str]") -> str:
    """CuPy: a kernel from source, a generated one, and the libraries for products, transforms, equations."""
    cupy = load("cupy")
    numpy = load("numpy")

    cupy.cuda.runtime.getDeviceCount()  # says why there is none
    numbers = numpy.arange(256, dtype="float32")
    x, y = cupy.asarray(numbers), cupy.zeros(256, dtype="float32")
    source = r"""extern "C" __global__ void twice(const float* x, float* y, int size) {
        int i = blockDim.x * blockIdx.x + threadIdx.x;
        if (i < size) y[i] = 2 * x[i];
    }"""
    cupy.RawKernel(source, "twice")((2,), (128,), (x, y, numpy.int32(256)))
    compare(numpy, "a kernel from source", cupy.asnumpy(y), 2 * numbers)
    compare(numpy, "an elementwise kernel", cupy.asnumpy(cupy.sqrt(x) + 1), numpy.sqrt(numbers) + 1)
    square = (numbers % 7).reshape(16, 16)
    regular = square + 64 * numpy.eye(16, dtype="float32")
    there, solved = cupy.asarray(square), cupy.asarray(regular)
    compare(numpy, "matmul", cupy.asnumpy(there @ there), square @ square)
    compare(numpy, "Fourier transform", cupy.asnumpy(cupy.fft.fft(there)), numpy.fft.fft(square))
    compare(
        numpy, "linear algebra", cupy.asnumpy(cupy.linalg.solve(solved, there)), numpy.linalg.solve(regular, square)
    )
    if not 0 <= float(cupy.random.rand(64).mean()) <= 1:
        raise WrongError("random numbers are out of range")
    return "kernels, matmul, Fourier transform, linear algebra, random numbers"


def run_jax(vendors: "list[str]", platform: str = "gpu") -> str:
    """JAX: compiled functions on a device of the GPU's platform."""
    jax = load("jax")
    numpy = load("numpy")
    on_device = load("jax.numpy")

    try:
        device = jax.devices(platform)[0]
    except RuntimeError:
        # Its GPU parts are packages of their own, jax-cuda12-plugin and the like; before, builds of jaxlib.
        plugins = [each.name for each in pkgutil.iter_modules() if each.name.startswith(("jax_cuda", "jax_rocm"))]
        jaxlib = load("jaxlib")

        if plugins or "cuda" in jaxlib.__version__ or "rocm" in jaxlib.__version__:
            raise
        raise NothingToDoError("CPU-only build") from None
    square = (numpy.arange(4096, dtype="float32") % 7).reshape(64, 64)
    regular = square + 64 * numpy.eye(64, dtype="float32")
    with jax.default_device(device):
        product = jax.jit(lambda a: a @ a.T)(square)
        compare(numpy, "matmul", product, square @ square.T)
        compare(numpy, "Fourier transform", jax.jit(on_device.fft.fft)(square), numpy.fft.fft(square))
        solved = jax.jit(on_device.linalg.solve)(regular, square)
        compare(numpy, "linear algebra", solved, numpy.linalg.solve(regular, square))
        slope = jax.grad(lambda a: jax.lax.conv(a, a[:, :, :3, :3], (1, 1), "VALID").sum())
        if not numpy.isfinite(numpy.asarray(slope(square.reshape(1, 1, 64, 64)))).all():
            raise WrongError("a convolution's gradient is not finite")
    return f"{device}: matmul, Fourier transform, linear algebra, convolution"


def run_numba(vendors: "list[str]") -> str:
    """Numba: a kernel compiled from Python."""
    global cuda
    numpy = load("numpy")
    cuda = load("numba.cuda")

    if not cuda.is_available():
        # The compiler of kernels is not part of Numba: without it there was never anything to exercise.
        nvvm = load("numba.cuda.cudadrv.nvvm")

        with contextlib.suppress(AttributeError):
            try:
                nvvm.NVVM()
            except nvvm.NvvmSupportError:
                raise NothingToDoError("CPU-only: it finds no CUDA toolkit (NVVM)") from None
        cuda.current_context()  # says why
        raise WrongError("numba.cuda.is_available() is False")

    @cuda.jit  # type: ignore[untyped-decorator, unused-ignore]
    def twice(x: Any, y: Any) -> None:
        i = cuda.grid(1)
        if i < x.size:
            y[i] = 2 * x[i]

    numbers = numpy.arange(256, dtype="float32")
    result = cuda.to_device(numpy.zeros(256, dtype="float32"))
    twice[2, 128](cuda.to_device(numbers), result)
    cuda.synchronize()
    compare(numpy, "a kernel", result.copy_to_host(), 2 * numbers)
    return "a kernel from Python"


RUNS = {"torch": run_torch, "cudf": run_cudf, "cupy": run_cupy, "jax": run_jax, "numba": run_numba}


def say(answer: "dict[str, Any]") -> None:
    """Print JSON on a line of its own, whatever was printed before."""
    answer["slimagent"] = "gpu"
    line = json.dumps(answer)
    while len(line) > LONGEST and answer.get("detail"):
        answer["detail"] = str(answer["detail"])[: -max(1, (len(line) - LONGEST) // 6)]
        line = json.dumps(answer)
    sys.stdout.write("\n" + line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer the question in the argument."""
    asked = json.loads(sys.argv[1])
    sys.path[:] = [directory for directory in sys.path if directory]  # `-c` puts the working directory there
    if "list" in asked:
        say({"installed": installed(asked["list"])})
        return
    try:
        answer = {"outcome": "passed", "detail": RUNS[asked["run"]](asked["vendors"])}
    except NothingToDoError as reason:
        answer = {"outcome": "skipped", "detail": str(reason)}
    except BaseException as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        kind = "" if isinstance(error, WrongError) else type(error).__name__ + ": "
        answer = {"outcome": "failed", "detail": (kind + " ".join(lines[:2])).rstrip(": ")}
    say(answer)


if __name__ == "__main__":
    main()
