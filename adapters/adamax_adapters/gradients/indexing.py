"""Gradients of an index: rows stay rows, and never become a one-hot matrix."""

import math
from typing import Any

from adamax._arrays import dtype_name, in_dtype, is_array, is_jax_array
from adamax.layout import home_of
from adamax.sparse import IndexedSlices, set_rows, sum_duplicates

__all__ = ["added", "dense", "of_item", "of_take", "of_take_along_axis"]


def of_take(xp: Any, g: Any, y: Any, x: Any, indices: Any, axis: int | None = None) -> Any:
    """Return the gradient of x in ``take(x, indices, axis=axis)``."""
    if axis is None and x.ndim > 1:  # of the elements in their order, as NumPy takes them
        flat = xp.reshape(x, (-1,))
        return xp.reshape(dense(xp, _of_rows(xp, g, flat, indices, 0), flat.shape), x.shape)
    return _of_rows(xp, g, x, indices, (axis or 0) % x.ndim)


def of_take_along_axis(xp: Any, g: Any, y: Any, x: Any, indices: Any, axis: int = -1) -> Any:
    """Return the gradient of x in ``take_along_axis(x, indices, axis=axis)``."""
    axis %= x.ndim
    positions = [indices if i == axis else _along(xp, n, i, x) for i, n in enumerate(x.shape)]
    return _of_elements(xp, g, x, positions)


def of_item(xp: Any, g: Any, y: Any, x: Any, key: Any) -> Any:
    """Return the gradient of x in ``x[key]``."""
    keys = _in_full(key if isinstance(key, tuple) else (key,), x.ndim)
    arrays = [i for i, k in enumerate(keys) if _is_integers(k)]
    if not arrays:
        whole = xp.zeros(x.shape, dtype=x.dtype, device=home_of(x))
        # None and ... between masks move axes of the result; other keys are assigned without None,
        # as not every library can assign to it.
        bare = key if any(map(_is_mask, keys)) else tuple(k for k in keys if k is not None)
        g = xp.reshape(g, whole[bare].shape)
        if is_jax_array(whole):
            return whole.at[bare].set(g)
        if 0 not in g.shape:  # dask refuses to assign nothing
            whole[bare] = g
        return whole
    full = [i for i, k in enumerate(keys) if isinstance(k, slice) and k == slice(None)]
    if len(arrays) == 1 and len(full) == len(keys) - 1:
        return _of_rows(xp, g, x, keys[arrays[0]], arrays[0])
    if all(_is_integers(k) or (isinstance(k, int) and not _is_mask(k)) for k in keys):
        return _of_elements(xp, g, x, keys)
    raise NotImplementedError(
        "Expected an index of integer arrays and whole axes, received one that mixes integer "
        "arrays with masks, None or parts of axes; index twice, or use take"
    )


def dense(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Return a gradient as an array of the whole shape."""
    if not isinstance(g, IndexedSlices):
        return g
    summed = sum_duplicates(g, xp)
    zeros = xp.zeros(shape, dtype=g.values.dtype, device=home_of(g.values))
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
    indices = _positions(xp, indices, x, axis)
    if axis == 0:
        return _rows(xp, g, indices, tuple(x.shape))
    many = range(axis, axis + indices.ndim)
    g = xp.permute_dims(g, (*many, *(i for i in range(g.ndim) if i not in many)))
    shape = (x.shape[axis], *x.shape[:axis], *x.shape[axis + 1 :])
    return xp.moveaxis(dense(xp, _rows(xp, g, indices, shape), shape), 0, axis)


def _rows(xp: Any, g: Any, indices: Any, shape: tuple[int, ...]) -> IndexedSlices:
    count = math.prod(indices.shape)
    return IndexedSlices(xp.reshape(g, (count, *shape[1:])), xp.reshape(indices, (count,)), shape)


def _of_elements(xp: Any, g: Any, x: Any, keys: Any) -> Any:
    """Return the gradient of x where `g` holds its elements, or rows, at `keys` on its axes."""
    flat: Any = 0
    for axis, key in enumerate(keys):
        flat = flat * x.shape[axis] + _positions(xp, key, x, axis)
    rows = x.shape[len(keys) :]
    shape = (math.prod(x.shape[: len(keys)]), *rows)
    return xp.reshape(dense(xp, _rows(xp, g, flat, shape), shape), x.shape)


def _positions(xp: Any, key: Any, x: Any, axis: int) -> Any:
    """Return indices on an axis in a dtype that holds all of them, none counted from the end."""
    n, device = x.shape[axis], home_of(x)
    if isinstance(key, int):
        return key % n
    known = xp.__array_namespace_info__().default_dtypes(device=device)
    indices = in_dtype(
        key if is_array(key) else xp.asarray(key, device=device), known["indexing"], xp
    )
    return xp.where(indices < 0, indices + n, indices)


def _along(xp: Any, n: int, axis: int, x: Any) -> Any:
    """Return 0 ... n - 1 along one of the axes of `x`."""
    shape = tuple(n if i == axis else 1 for i in range(x.ndim))
    return xp.reshape(xp.arange(n, device=home_of(x)), shape)


def _in_full(keys: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Return the parts of an index, the slices that ... represents written out."""
    dots = [i for i, key in enumerate(keys) if key is Ellipsis]
    if len(dots) > 1:  # which torch takes
        raise NotImplementedError("Expected an index with at most one ..., received several")
    for i in dots:
        given = sum(_axes_taken(key) for key in keys) - 1
        return (*keys[:i], *(slice(None),) * (ndim - given), *keys[i + 1 :])
    return keys


def _is_integers(key: Any) -> bool:
    return is_array(key) and "int" in dtype_name(key.dtype)


def _is_mask(key: Any) -> bool:
    return isinstance(key, bool) or (is_array(key) and "bool" in dtype_name(key.dtype))


def _axes_taken(key: Any) -> int:
    """Return how many axes a part of an index takes: True and False add one, and take none."""
    return getattr(key, "ndim", 0) if _is_mask(key) else key is not None
