"""The one file that knows array-api-compat: what an array is, and where it lives.

Everything else in the project asks here for a namespace, a device or a host copy, so that the
compatibility library could be replaced by editing this file alone.
"""

from functools import lru_cache
from importlib import import_module
from typing import Any, TypeAlias

import array_api_compat as compat

__all__ = [
    "Array",
    "Namespace",
    "array_namespace",
    "as_numpy",
    "compute_dtype",
    "computes_in_itself",
    "device_of",
    "devices_of",
    "dtype_name",
    "elsewhere",
    "home_of",
    "in_dtype",
    "indices_readable",
    "is_array",
    "is_cupy_array",
    "is_immutable",
    "is_jax_array",
    "is_numpy_array",
    "is_spread",
    "is_torch_array",
    "is_writeable",
    "laid_out_as",
    "layout_of",
    "library_name",
    "memory_of",
    "owner_of",
    "read_only",
    "rows_assignable",
    "to_numpy",
    "without_graph",
]

Array: TypeAlias = Any
"""An array of any library that speaks the array API standard."""

Namespace: TypeAlias = Any
"""The module of functions that belongs to an array, as `array_namespace` returns it."""

array_namespace = compat.array_namespace
device_of = compat.device
is_array = compat.is_array_api_obj
is_cupy_array = compat.is_cupy_array
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


def library_name(x: Any) -> str:
    """Return the name of the library that `x` comes from, for error messages."""
    return type(x).__module__.partition(".")[0] if is_array(x) else type(x).__name__


def is_immutable(x: Array) -> bool:
    """Say whether an update of `x` is a new array, as in JAX and dask."""
    # is_lazy_array would ask a library that it does not know for bool(x), which waits for a device.
    return compat.is_jax_array(x) or compat.is_dask_array(x)


def is_spread(x: Array) -> bool:
    """Say whether the elements of `x` are in shards or chunks, as those of arrays made like it."""
    return is_immutable(x) or _held(x) is not x


def _held(x: Array) -> Array:
    """Return the tensor that holds what is here of a tensor that wraps another; else `x`."""
    while (flatten := getattr(x, "__tensor_flatten__", None)) is not None:
        x = getattr(x, flatten()[0][0])
    return x


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


def without_graph(x: Array) -> Array:
    """Return `x` cut off from the graph that torch records; the same memory."""
    return x.detach() if compat.is_torch_array(x) else x


def devices_of(x: Array) -> Any:
    """Return the set of devices that a JAX array is on; None under a trace, where nobody knows."""
    return getattr(getattr(x, "sharding", None), "device_set", None)


def elsewhere(x: Array, array: Array) -> bool:
    """Say whether `x` is on another device than `array`, so that they cannot meet.

    A sharded array meets every array on the same devices, and JAX moves what nobody has placed.
    """
    if not compat.is_jax_array(x):
        return bool(device_of(x) != device_of(array))
    places = devices_of(x), devices_of(array)
    apart = None not in places and places[0] != places[1]
    return bool(apart and x.committed and array.committed)


def layout_of(x: Array) -> Any:
    """Return what is equal, after a quick look, for arrays in one place and laid out alike."""
    sharding = getattr(x, "sharding", None)
    return sharding or (getattr(x, "device", None), getattr(x, "chunks", None))


def laid_out_as(x: Array, array: Array) -> Array:
    """Return `x`, which can meet `array`, placed, sharded or in chunks as that is.

    Arrays of different shapes have no layout in common, and stay as they are.
    """
    if tuple(x.shape) != tuple(array.shape):
        return x
    if compat.is_dask_array(x):
        return x.rechunk(array.chunks)
    if None in (devices_of(x), devices_of(array)) or not array.committed:
        return x
    same = x.sharding.is_equivalent_to(array.sharding, x.ndim)
    return x if same else x.to_device(array.sharding)


def home_of(array: Array) -> Any:
    """Return the device for new arrays that go with `array`; None where that is sharded.

    A sharding is for one shape, and `laid_out_as` gives it to arrays of that shape.
    """
    return None if len(devices_of(array) or ()) > 1 else device_of(array)


def memory_of(x: Array) -> tuple[Any, ...]:
    """Return a key that is the same for every array object that names the same elements.

    It is only good while one of them is alive: afterwards the memory may be another array's.
    """
    if compat.is_numpy_array(x):
        place, strides = ("numpy", x.__array_interface__["data"][0]), x.strides
    elif compat.is_cupy_array(x):
        place, strides = ("cupy", x.data.ptr), x.strides
    elif compat.is_torch_array(x):
        place, strides = (x.device, _held(x).data_ptr() or owner_of(x)), x.stride()
    else:
        return (id(x),)
    # The stride of an axis of length 1 is never taken, and views do not agree on it.
    steps = tuple(step for step, length in zip(strides, x.shape, strict=True) if length > 1)
    return (*place, x.dtype, tuple(x.shape), steps)


def owner_of(x: Array) -> int:
    """Return a number that is the same for arrays of which one is a view of the other's memory.

    It is only good while they are alive, and for libraries whose arrays can be written to.
    """
    while (base := getattr(x, "base", None)) is not None:
        x = base
    if not compat.is_torch_array(x):
        return id(x)
    storage = _held(x).untyped_storage()  # which all views of a tensor have in common
    return int(storage.data_ptr() or id(storage))


def as_numpy(x: Array) -> Any:
    """Return `x` as NumPy itself converts it, sharing memory if it can; other devices refuse."""
    # Not before it is needed: importing adamax loads no array library.
    return import_module("array_api_compat.numpy").asarray(x)


def to_numpy(x: Array) -> Any:
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
