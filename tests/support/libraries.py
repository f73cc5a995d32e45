"""Where the suite runs: array libraries, ways to use them, dtypes and devices.

A `Usage` is a row of the matrix in `docs/portability.md`; a `Library` adds a dtype and a device,
which all arrays of a test share.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import array_api_compat
import array_api_strict
import fake_device
import ml_dtypes
import numpy as np
import pytest

Array = Any


class Usage(Enum):
    """An array library in one of the ways to use it."""

    NUMPY = "numpy", ""
    STRICT_2024 = "array_api_strict", "2024.12"
    STRICT_2025 = "array_api_strict", "2025.12"
    FAKE_DEVICE = "fake_device", ""
    TORCH_32 = "torch", "float32"
    TORCH_64 = "torch", "float64"
    JAX = "jax.numpy", ""
    JAX_JIT = "jax.numpy", "jit"
    DASK = "dask.array", ""
    CUPY_ON_HOST = "cupy", "host"
    CUPY = "cupy", "gpu"

    def __init__(self, module: str, way: str) -> None:
        self.module, self.way = module, way

    def __str__(self) -> str:
        return f"{self.module} {self.way}".strip()

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        """What pytest marks the tests on it with."""
        return [pytest.mark.gpu] if self is Usage.CUPY else []

    @property
    def missing(self) -> str | None:
        """Why it cannot be used on this machine; None if it can."""
        if not find_spec(self.module.partition(".")[0]):
            return f"{self.module} is not installed"
        if self is Usage.CUPY and not import_module("cupy").is_available():
            return "no GPU"
        return None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the library be used in this way within the block."""
        if self.module == "array_api_strict":
            with array_api_strict.ArrayAPIStrictFlags(
                api_version=self.way,
                boolean_indexing=False,
                data_dependent_shapes=False,
                enabled_extensions=(),
            ):
                yield
        elif self.module == "torch":
            torch = import_module("torch")
            before = torch.get_default_dtype()
            torch.set_default_dtype(getattr(torch, self.way))
            try:
                yield
            finally:
                torch.set_default_dtype(before)
        else:
            yield


class Library(NamedTuple):
    """A library in use, with one of its dtypes and devices, which all arrays of a test share."""

    usage: Usage
    dtype: str
    device: str | None = None

    def __str__(self) -> str:
        parts = [self.usage.module, self.usage.way, self.dtype, self.device]
        return "-".join(filter(None, parts))

    @property
    def name(self) -> str:
        """The module that the arrays are from."""
        return self.usage.module

    @property
    def xp(self) -> Any:
        """The namespace that `adamax` should find."""
        return array_api_compat.array_namespace(self.asarray(0.0))

    @property
    def wide(self) -> str:
        """The dtype in which the step is computed."""
        return "float64" if self.dtype == "float64" else "float32"

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the library be used in this way within the block."""
        with ExitStack() as stack:
            stack.enter_context(self.usage.in_use())
            if self.name == "jax.numpy" and self.dtype == "float64":
                stack.enter_context(import_module("jax").enable_x64(True))
            yield

    def compiled(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return `f` as a function that the library has compiled; itself if it compiles none."""
        return import_module("jax").jit(f) if self.usage is Usage.JAX_JIT else f

    def computed(self, tree: Any) -> Any:
        """Return nested arrays that are lazy no more, lest every step computes all before it."""
        return import_module("dask").persist(tree)[0] if self.name == "dask.array" else tree

    def rounded(self, x: Any, dtype: str | None = None) -> Any:
        """Return `x` as a NumPy array of the library's dtype, or of `dtype`."""
        dtype = dtype or self.dtype
        return np.array(x).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x` as an array of the library; NumPy's cannot be written to."""
        dtype = dtype or self.dtype
        numbers = self.rounded(x, dtype)
        if self.name == "numpy":
            numbers.flags.writeable = False
            return numbers
        if self.name == "fake_device":
            return fake_device.namespace.asarray(numbers)
        module = import_module(self.name)
        if self.name in ("cupy", "dask.array"):
            return module.asarray(numbers)
        device = {"device": array_api_strict.Device(self.device)} if self.device else {}
        readable = np.array(x).astype("float64" if "float" in dtype else dtype)
        return module.asarray(readable, dtype=getattr(module, dtype), **device)

    def read(self, array: Array, dtype: str | None = None) -> Any:
        """Return the values of `array` as float64, after a look whether it belongs here."""
        like = self.asarray(0.0, dtype)
        assert type(array) is type(like)
        assert array.dtype == like.dtype
        assert array_api_compat.array_namespace(array) is array_api_compat.array_namespace(like)
        assert array_api_compat.device(array) == array_api_compat.device(like)
        if self.name == "array_api_strict":
            array = array.to_device(array_api_strict.Device("CPU_DEVICE"))
        if self.name in ("cupy", "fake_device"):
            array = array.get()
        return np.asarray(array.double() if self.name == "torch" else array).astype(np.float64)

    def assert_close(
        self,
        found: Array,
        expected: Any,
        dtype: str | None = None,
        *,
        roundings: float = 4,
        scale: float = 0,
    ) -> None:
        """Hold an array to be here, of the shape of `expected`, and a few roundings off at most.

        A rounding is of each number itself, and of one as large as `scale`.
        """
        numbers = self.read(found, dtype)
        assert numbers.shape == np.shape(expected)
        tolerance = roundings * HALF_DIGIT[dtype or self.dtype]
        np.testing.assert_allclose(numbers, expected, rtol=tolerance, atol=tolerance * scale)


HALF_DIGIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
"""The most that rounding to a dtype changes a number, in parts of it."""

GPU = Usage.CUPY.missing is None
"""Whether there is a GPU that CuPy can use."""

ALL_DTYPES = ("float16", "bfloat16", "float32", "float64")

# On the device no_x64, array-api-strict 2.6 cannot sort: its indices have 64 bits all the same.
_IN_LIBRARIES: dict[Usage, list[tuple[str, ...]]] = {
    Usage.NUMPY: [(dtype,) for dtype in ALL_DTYPES],
    Usage.STRICT_2024: [
        ("float64", "CPU_DEVICE"),
        ("float32", "device1"),
        ("float32", "no_float64"),
    ],
    Usage.STRICT_2025: [
        ("float32", "CPU_DEVICE"),
        ("float64", "device1"),
        ("float64", "device2"),
        ("float32", "no_float64"),
    ],
    Usage.FAKE_DEVICE: [("float32",), ("float64",)],
    Usage.TORCH_32: [(dtype,) for dtype in ALL_DTYPES],
    Usage.TORCH_64: [("bfloat16",), ("float32",), ("float64",)],
    Usage.JAX: [("bfloat16",), ("float32",), ("float64",)],
    Usage.DASK: [("float32",), ("float64",)],
    Usage.CUPY: [(dtype,) for dtype in ALL_DTYPES],
}

LIBRARIES = [
    Library(usage, *where)
    for usage, devices in _IN_LIBRARIES.items()
    if usage.missing is None
    for where in devices
]
"""What is installed of NumPy, the standard alone, the fake device, torch, JAX, dask and CuPy."""

COMPILED = [
    Library(Usage.JAX_JIT, dtype)
    for dtype in ("bfloat16", "float32", "float64")
    if Usage.JAX_JIT.missing is None
]
"""Where pure functions, and they alone, are compiled."""


def parameters(libraries: list[Library]) -> list[Any]:
    """Return libraries as parameters of the fixture `library`, with their ids and marks."""
    return [pytest.param(x, id=str(x), marks=x.usage.marks) for x in libraries]


compiled_too = pytest.mark.parametrize("library", parameters(LIBRARIES + COMPILED), indirect=True)
"""Decorates tests that hand pure functions to `Library.compiled`."""
