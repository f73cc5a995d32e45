"""Where the elements of an array lie: on which devices, in which shards or chunks, in whose memory.

A step leaves all that as it is: m and u lie as their parameter does, and so does what is made or
brought to go with them.
"""

from collections.abc import Hashable
from typing import Any

from adamax._arrays import (
    Array,
    device_of,
    dtype_name,
    is_cupy_array,
    is_dask_array,
    is_immutable,
    is_jax_array,
    is_numpy_array,
    is_torch_array,
)

__all__ = [
    "devices_of",
    "elsewhere",
    "home_of",
    "is_spread",
    "kind_of",
    "laid_out_as",
    "layout_of",
    "memory_of",
    "owner_of",
    "repeats_memory",
]


def devices_of(x: Array) -> Any:
    """Return the set of devices that a JAX array is on; None under a trace, where nobody knows."""
    return getattr(getattr(x, "sharding", None), "device_set", None)


def elsewhere(x: Array, array: Array) -> bool:
    """Say whether `x` is on another device than `array`, so that they cannot meet.

    A sharded array meets every array on the same devices, and JAX moves what is not committed.
    """
    if not is_jax_array(x):
        return bool(device_of(x) != device_of(array))
    devices = devices_of(x), devices_of(array)
    apart = None not in devices and devices[0] != devices[1]
    return bool(apart and x.committed and array.committed)


def home_of(array: Array) -> Any:
    """Return the device for new arrays that go with `array`; None where that is sharded.

    A sharding is for one shape, and `laid_out_as` gives it to arrays of that shape.
    """
    return None if len(devices_of(array) or ()) > 1 else device_of(array)


def layout_of(x: Array) -> Any:
    """Return what is equal, after a quick look, for arrays on one device and laid out alike."""
    sharding = getattr(x, "sharding", None)
    # torch calls strided or sparse what it names the layout.
    if sharding:
        return sharding
    return getattr(x, "device", None), getattr(x, "layout", None), getattr(x, "chunks", None)


def laid_out_as(x: Array, array: Array) -> Array:
    """Return `x`, which can meet `array`, on its devices, in its shards or chunks.

    Arrays of different shapes have no layout in common, and stay as they are.
    """
    if tuple(x.shape) != tuple(array.shape):
        return x
    if is_dask_array(x):
        return x.rechunk(array.chunks)
    if None in (devices_of(x), devices_of(array)) or not array.committed:
        return x
    same = x.sharding.is_equivalent_to(array.sharding, x.ndim)
    return x if same else x.to_device(array.sharding)


def kind_of(x: Array) -> Hashable:
    """Return what is equal for arrays that can be parts of one: of one type, dtype and device."""
    return type(x), dtype_name(x.dtype), str(device_of(x))


def is_spread(x: Array) -> bool:
    """Say whether the elements of `x` are in shards or chunks, as those of arrays made like it."""
    return is_immutable(x) or _held(x) is not x


def repeats_memory(x: Array) -> bool:
    """Return whether several elements of `x` have one address in memory, as in a broadcast view."""
    strides = x.stride() if is_torch_array(x) else getattr(x, "strides", None) or ()
    return 0 not in x.shape and any(
        a == 0 and n > 1 for a, n in zip(strides, x.shape, strict=False)
    )


def memory_of(x: Array) -> tuple[Any, ...]:
    """Return a key that is the same for every array object that names the same elements.

    It is only good while one of them is alive: afterwards the memory may be another array's.
    """
    if is_numpy_array(x):
        address, strides = ("numpy", x.__array_interface__["data"][0]), x.strides
    elif is_cupy_array(x):
        address, strides = ("cupy", x.data.ptr), x.strides
    elif is_torch_array(x):
        address, strides = (x.device, _held(x).data_ptr() or owner_of(x)), x.stride()
    else:
        return (id(x),)
    # The stride of an axis of length 1 is never taken, and views do not agree on it.
    steps = tuple(step for step, length in zip(strides, x.shape, strict=True) if length > 1)
    return (*address, x.dtype, tuple(x.shape), steps)


def owner_of(x: Array) -> int:
    """Return a number that is the same for arrays of which one is a view of the other's memory.

    It is only good while they are alive, and for libraries whose arrays can be written to.
    """
    while (base := getattr(x, "base", None)) is not None:
        x = base
    if not is_torch_array(x):
        return id(x)
    storage = _held(x).untyped_storage()  # which all views of a tensor have in common
    return int(storage.data_ptr() or id(storage))


def _held(x: Array) -> Array:
    """Return the tensor that holds what is here of a tensor that wraps another; else `x`."""
    while (flatten := getattr(x, "__tensor_flatten__", None)) is not None:
        x = getattr(x, flatten()[0][0])
    return x
