"""Where the core is tested: array libraries, dtypes and devices, one of each in a `Library`."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import array_api_compat
import array_api_strict
import ml_dtypes
import numpy as np

Array = Any


class Library(NamedTuple):
    """A library, one of its dtypes and one of its devices: what all arrays of a test share."""

    name: str
    dtype: str
    device: str | None = None

    def __str__(self) -> str:
        return "-".join(filter(None, self))

    @property
    def xp(self) -> Any:
        """The namespace that `adamax` should find."""
        return array_api_compat.array_namespace(self.asarray(0.0))

    @property
    def wide(self) -> str:
        """The dtype in which the step is computed."""
        return "float64" if self.dtype == "float64" else "float32"

    def rounded(self, x: Any, dtype: str | None = None) -> Any:
        """Return `x` as a NumPy array of the library's dtype, or of `dtype`."""
        dtype = dtype or self.dtype
        return np.array(x).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return `x` as an array of the library; NumPy's cannot be written to."""
        dtype = dtype or self.dtype
        if self.name == "numpy":
            array = self.rounded(x, dtype)
            array.flags.writeable = False
            return array
        module = import_module(self.name)
        if self.name == "cupy":
            return module.asarray(self.rounded(x, dtype))
        place = {"device": array_api_strict.Device(self.device)} if self.device else {}
        readable = np.array(x).astype("float64" if "float" in dtype else dtype)
        return module.asarray(readable, dtype=getattr(module, dtype), **place)

    def read(self, array: Array, dtype: str | None = None) -> Any:
        """Return the values of `array` as float64, after a look whether it belongs here."""
        like = self.asarray(0.0, dtype)
        assert type(array) is type(like)
        assert array.dtype == like.dtype
        assert array_api_compat.device(array) == array_api_compat.device(like)
        if self.name == "array_api_strict":
            array = array.to_device(array_api_strict.Device("CPU_DEVICE"))
        if self.name == "cupy":
            array = array.get()
        return np.asarray(array.double() if self.name == "torch" else array).astype(np.float64)


GPU = find_spec("cupy") is not None and import_module("cupy").is_available()
"""Whether there is a GPU that CuPy can use."""

LIBRARIES = [
    *(Library("numpy", dtype) for dtype in ("float16", "bfloat16", "float32", "float64")),
    Library("array_api_strict", "float64"),
    Library("array_api_strict", "float32", "device1"),
    Library("array_api_strict", "float32", "no_float64"),
    *(
        Library(name, dtype)
        for name, dtypes in {
            "jax.numpy": ("bfloat16", "float32"),
            "torch": ("float16", "bfloat16", "float32", "float64"),
            "cupy": ("float16", "bfloat16", "float32", "float64"),
        }.items()
        if (GPU if name == "cupy" else find_spec(name.partition(".")[0]))
        for dtype in dtypes
    ),
]
"""What is installed of NumPy, the standard alone, JAX and torch, and CuPy with a GPU."""
