"""The one file that knows array-api-compat: what an array is, and how to get at it.

Everything else in the project asks here for a namespace, a device or a host copy, so that the
compatibility library could be replaced by editing this file alone.
"""

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import array_api_compat as compat

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COMPUTE_DTYPES",
    "Array",
    "Namespace",
    "array_namespace",
    "as_floating",
    "as_numpy",
    "bared",
    "can_change",
    "compute_dtype",
    "computes_in_itself",
    "device_of",
    "dtype_name",
    "has_graph",
    "in_dtype",
    "indices_readable",
    "is_array",
    "is_bare",
    "is_cupy_array",
    "is_dask_array",
    "is_immutable",
    "is_jax_array",
    "is_numpy_array",
    "is_torch_array",
    "is_writeable",
    "library_name",
    "read_only",
    "rows_assignable",
    "to_numpy",
    "without_graph",
]

Array: TypeAlias = Any
"""An array as code for several libraries sees it; `adamax.typing.Array` is what users see."""

Namespace: TypeAlias = Any
"""The module of functions that belongs to an array, as `array_namespace` returns it."""

array_namespace = compat.array_namespace
device_of = compat.device
is_array = compat.is_array_api_obj
is_cupy_array = compat.is_cupy_array
is_dask_array = compat.is_dask_array
is_jax_array = compat.is_jax_array
is_numpy_array = compat.is_numpy_array
is_torch_array = compat.is_torch_array
is_writeable = compat.is_writeable_array

COMPUTE_DTYPES = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
}
"""In which dtype a parameter keeps its slots and takes its step, by the name of its own."""


def dtype_name(dtype: Any) -> str:
    """Return the plain name of a dtype, such as ``'float32'``, whichever library it is from."""
    return _dtype_name(type(dtype).__module__, dtype)


@lru_cache
def _dtype_name(library: str, dtype: Any) -> str:
    # Kept by library first: dtypes of two libraries may hash alike, and refuse to be compared.
    # The standard's isdtype raises on bfloat16 in NumPy and CuPy; names work everywhere.
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    return str(name) if name else str(dtype).rpartition(".")[2]


def compute_dtype(dtype: Any, xp: Namespace) -> Any:
    """Return the dtype in which a parameter of `dtype` keeps its slots and takes its step.

    float32 for 16-bit parameters, where u would never decay and epsilon would vanish; the
    parameter's own dtype otherwise; None where `dtype` is not a real floating dtype.
    """
    name = COMPUTE_DTYPES.get(dtype_name(dtype))
    return None if name is None else getattr(xp, name)


def computes_in_itself(dtype: Any) -> bool:
    """Say whether parameters of `dtype` keep their slots and take their step in it."""
    name = dtype_name(dtype)
    return COMPUTE_DTYPES.get(name) == name


def in_dtype(x: Array, dtype: Any, xp: Namespace) -> Array:
    """Return `x` in `dtype`: itself where it already is, a converted copy elsewhere."""
    return x if x.dtype == dtype else xp.astype(x, dtype)


def as_floating(x: Array) -> Array:
    """Return `x` in the default real floating dtype of its library and device."""
    xp = array_namespace(x)
    defaults = xp.__array_namespace_info__().default_dtypes(device=device_of(x))
    return in_dtype(x, defaults["real floating"], xp)


def library_name(x: Any) -> str:
    """Return the name of the library that `x` comes from, for error messages."""
    return type(x).__module__.partition(".")[0] if is_array(x) else type(x).__name__


_immutable: dict[type, bool] = {}


def is_immutable(x: Array) -> bool:
    """Return whether an update of `x` is a new array, as in JAX and dask."""
    kind = type(x)  # which decides: it is asked for at every step, of every array
    if kind not in _immutable:
        # The zero gradients that JAX counts as its own are arrays of NumPy. And is_lazy_array would
        # ask a library that it does not know for bool(x), which waits for a device.
        is_numpy = kind.__module__.partition(".")[0] == "numpy"
        _immutable[kind] = not is_numpy and (is_jax_array(x) or is_dask_array(x))
    return _immutable[kind]


def can_change(x: Array) -> bool:
    """Say whether what holds `x` can come to hold other numbers: in its memory, or a new array."""
    return is_immutable(x) or is_writeable(x)


def indices_readable(x: Array) -> bool:
    """Say whether the values of `x` can be read on the host without waiting for a device."""
    if compat.is_torch_array(x):
        return bool(x.device.type == "cpu")
    return compat.is_numpy_array(x) or compat.is_array_api_strict_namespace(array_namespace(x))


def rows_assignable(x: Array) -> bool:
    """Say whether ``x[indices] = rows`` writes exactly the rows that were checked on the host."""
    return indices_readable(x) and (compat.is_numpy_array(x) or compat.is_torch_array(x))


def read_only(x: Array) -> Array:
    """Return `x` as a view that cannot be written to, where its library has such views."""
    if not compat.is_numpy_array(x):
        return x
    view = x.view()
    view.flags.writeable = False
    return view


def has_graph(x: Any) -> bool:
    """Return whether torch records what is computed with `x`."""
    return compat.is_torch_array(x) and bool(x.requires_grad)


def without_graph(x: Array) -> Array:
    """Return `x` cut off from the graph that torch records; the same memory."""
    return x.detach() if compat.is_torch_array(x) else x


def is_bare(x: Array) -> bool:
    """Return whether the memory of `x` holds its elements, and nothing else belongs to it.

    A tensor of torch may also have a graph, or a note that its memory is to be read negated.
    """
    graph = getattr(x, "requires_grad", None)
    return graph is None or not (graph or x.is_neg())


def bared(x: Array) -> Array:
    """Return `x` without the graph of torch; a copy if torch reads its memory negated."""
    return x.detach().resolve_neg() if compat.is_torch_array(x) else x


def as_numpy(x: Array) -> "NDArray[Any]":
    """Return `x` as NumPy itself converts it, sharing memory if it can; other devices refuse."""
    # Not before it is needed: importing adamax loads no array library.
    array: NDArray[Any] = import_module("array_api_compat.numpy").asarray(x)
    return array


def to_numpy(x: Array) -> "NDArray[Any]":
    """Return a NumPy copy of `x`, from whichever library and device it is on.

    The bfloat16 of torch, which NumPy cannot hold, becomes float32.
    """
    x = without_graph(x)
    xp = array_namespace(x)
    if compat.is_torch_array(x) and dtype_name(x.dtype) == "bfloat16":
        x = xp.astype(x, xp.float32)
    if compat.is_array_api_strict_namespace(xp):
        # strict knows its host by a device object, not by the name "cpu".
        x = x.to_device(xp.__array_namespace_info__().default_device())
    elif not compat.is_jax_array(x):  # whose __array__ fetches it from any device
        x = compat.to_device(x, "cpu")
    return as_numpy(x).copy()
