"""Gradients of what was read through an index: rows stay rows, and are never a one-hot matrix."""

import math
from typing import Any

from adamax._arrays import device_of, dtype_name, is_array, is_jax_array
from adamax.sparse import IndexedSlices, set_rows, sum_duplicates

__all__ = ["added", "dense", "of_item", "of_take", "of_take_along_axis"]


def of_take(
    xp: Any, g: Any, y: Any, x: Any, indices: Any, axis: int | None = None, **_: Any
) -> Any:
    """Return the gradient of x in ``take(x, indices, axis=axis)``."""
    if axis is None:  # of the elements in their order, as NumPy takes them
        flat = xp.reshape(x, (-1,))
        return xp.reshape(dense(xp, _of_rows(xp, g, flat, indices, 0), flat.shape), x.shape)
    return _of_rows(xp, g, x, indices, axis % x.ndim)


def of_take_along_axis(
    xp: Any, g: Any, y: Any, x: Any, indices: Any, axis: int = -1, **_: Any
) -> Any:
    """Return the gradient of x in ``take_along_axis(x, indices, axis=axis)``."""
    axis %= x.ndim
    places = [
        indices if i == axis else _along(xp, n, i, x.ndim, indices) for i, n in enumerate(x.shape)
    ]
    return _of_elements(xp, g, x, places)


def of_item(xp: Any, g: Any, y: Any, x: Any, key: Any) -> Any:
    """Return the gradient of x in ``x[key]``."""
    keys = key if isinstance(key, tuple) else (key,)
    arrays = [i for i, k in enumerate(keys) if _is_integers(k)]
    if not arrays:
        whole = xp.zeros(x.shape, dtype=x.dtype, device=device_of(x))
        bare = tuple(k for k in keys if k is not None)
        g = xp.reshape(g, whole[bare].shape)
        if is_jax_array(whole):
            return whole.at[bare].set(g)
        whole[bare] = g
        return whole
    full = [i for i, k in enumerate(keys) if isinstance(k, slice) and k == slice(None)]
    if len(arrays) == 1 and len(full) == len(keys) - 1:
        return _of_rows(xp, g, x, keys[arrays[0]], arrays[0])
    if all(_is_integers(k) or isinstance(k, int) for k in keys):
        return _of_elements(xp, g, x, keys)
    raise NotImplementedError(
        "there is no derivative of an index that mixes arrays with None, ... or parts of axes: "
        "index twice, first with one and then with the other, or use take"
    )


def dense(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Return a gradient as an array of the whole shape."""
    if not isinstance(g, IndexedSlices):
        return g
    summed = sum_duplicates(g, xp)
    zeros = xp.zeros(shape, dtype=g.values.dtype, device=device_of(g.values))
    return set_rows(zeros, summed.indices, summed.values, xp)


def added(xp: Any, a: Any, b: Any, shape: tuple[int, ...]) -> Any:
    """Return the sum of two gradients of one array; rows stay rows where both are."""
    if isinstance(a, IndexedSlices) and isinstance(b, IndexedSlices):
        return IndexedSlices(
            xp.concat([a.values, b.values]), xp.concat([a.indices, b.indices]), shape
        )
    return dense(xp, a, shape) + dense(xp, b, shape)


def _of_rows(xp: Any, g: Any, x: Any, indices: Any, axis: int) -> Any:
    """Return the gradient of x where `g` holds its rows at `indices` along `axis`."""
    indices = _counted(xp, indices, x.shape[axis])
    if axis:
        many = range(axis, axis + indices.ndim)
        g = xp.permute_dims(g, (*many, *(i for i in range(g.ndim) if i not in many)))
        shape = (x.shape[axis], *x.shape[:axis], *x.shape[axis + 1 :])
        whole = dense(xp, _rows(xp, g, indices, shape), shape)
        return xp.moveaxis(whole, 0, axis)
    return _rows(xp, g, indices, tuple(x.shape))


def _rows(xp: Any, g: Any, indices: Any, shape: tuple[int, ...]) -> IndexedSlices:
    count = math.prod(indices.shape)
    return IndexedSlices(xp.reshape(g, (count, *shape[1:])), xp.reshape(indices, (count,)), shape)


def _of_elements(xp: Any, g: Any, x: Any, places: Any) -> Any:
    """Return the gradient of x where `g` holds its elements, or rows, at `places` on its axes."""
    flat: Any = 0
    for place, n in zip(places, x.shape, strict=False):
        flat = flat * n + (place % n if isinstance(place, int) else _counted(xp, place, n))
    count = math.prod(x.shape[: len(places)])
    rows = x.shape[len(places) :]
    whole = dense(xp, _rows(xp, g, flat, (count, *rows)), (count, *rows))
    return xp.reshape(whole, x.shape)


def _counted(xp: Any, indices: Any, n: int) -> Any:
    """Return indices of which none counts from the end."""
    return xp.where(indices < 0, indices + n, indices)


def _along(xp: Any, n: int, axis: int, ndim: int, like: Any) -> Any:
    """Return 0 ... n - 1 along one axis, to broadcast with `like`."""
    shape = tuple(n if i == axis else 1 for i in range(ndim))
    return xp.reshape(xp.arange(n, dtype=like.dtype, device=device_of(like)), shape)


def _is_integers(key: Any) -> bool:
    return is_array(key) and "int" in dtype_name(key.dtype)
