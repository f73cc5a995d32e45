"""Checks and their messages: what was expected, what came, which variable, the likely cause.

A check returns what it checked, in the form the rest of the code wants, or raises. TypeError for
things that are no array or of another library; ValueError for shapes, dtypes and ranges.
"""

import math
from collections.abc import Iterable
from typing import Any

from adamax._arrays import (
    Array,
    array_namespace,
    compute_dtype,
    device_of,
    dtype_name,
    in_dtype,
    indices_readable,
    is_array,
    is_jax_array,
    library_name,
)
from adamax.sparse import Gradient, IndexedSlices

__all__ = ["fraction", "gradient", "non_negative", "number", "parameter", "positive"]


def number(value: Any, name: str) -> float:
    """Return `value` as a finite Python float; 0-d arrays and NumPy scalars are numbers too."""
    if value is None:
        raise ValueError(f"Expected {name} to be a number, received: None")
    unit = getattr(value, "ndim", 0) == 0 and hasattr(value, "__float__")
    if not unit or isinstance(value, bool):
        raise TypeError(
            f"Expected {name} to be a number, received: {value!r} of type {type(value).__name__}"
        )
    result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"Expected {name} to be a finite number, received: {result}")
    return result


def non_negative(value: Any, name: str) -> float:
    """Return `value` as a finite Python float >= 0."""
    result = number(value, name)
    if result < 0:
        raise ValueError(f"Expected {name} >= 0, received: {value}")
    return result


def positive(value: Any, name: str) -> float:
    """Return `value` as a finite Python float > 0."""
    result = number(value, name)
    if result <= 0:
        raise ValueError(f"Expected {name} > 0, received: {value}")
    return result


def fraction(value: Any, name: str) -> float:
    """Return `value` as a Python float in [0, 1)."""
    result = number(value, name)
    if not 0 <= result < 1:
        raise ValueError(f"Expected {name} in [0, 1), received: {value}")
    return result


def parameter(param: Any, name: str) -> Array:
    """Return `param` if it is an array with a real floating dtype."""
    if not is_array(param):
        raise TypeError(
            f"{name} must be an array, got {type(param).__name__}; "
            "did you mean to convert it with asarray?"
        )
    if compute_dtype(param.dtype, array_namespace(param)) is None:
        raise ValueError(
            f"Invalid type {dtype_name(param.dtype)} for {name}: "
            f"expected one of float16, bfloat16, float32, float64"
        )
    return param


def gradient(grad: Any, param: Array, name: str) -> Gradient:
    """Return the gradient of the parameter called `name`, converted to its compute dtype.

    Accepts an array of the parameter's shape, library and device in any real floating dtype;
    `IndexedSlices`; or numbers and lists, which become an array.
    """
    if isinstance(grad, IndexedSlices):
        return _slices(grad, param, name)
    grad = _like(grad, param, f"the gradient of {name}")
    if tuple(grad.shape) != tuple(param.shape):
        raise ValueError(
            f"the gradient of {name} must have the shape {tuple(param.shape)}, "
            f"got {tuple(grad.shape)}: they do not have the same shape, and gradients are "
            "not broadcast"
        )
    return _computable(grad, param, f"the gradient of {name}")


def _slices(grad: IndexedSlices, param: Array, name: str) -> IndexedSlices:
    what = f"the sparse gradient of {name}"
    if len(param.shape) == 0:
        raise ValueError(f"{what} selects rows, but {name} is 0-d and has none")
    values = _computable(_like(grad.values, param, f"the values of {what}"), param, what)
    indices = _indices(grad.indices, values, param, what)
    if len(values.shape) != len(param.shape) or not _fits(values.shape[1:], param.shape[1:]):
        raise ValueError(
            f"the values of {what} must have the shape "
            f"{(indices.shape[0], *param.shape[1:])}, got {tuple(values.shape)}"
        )
    return IndexedSlices(values, indices, grad.dense_shape)


def _indices(indices: Any, values: Array, param: Array, what: str) -> Array:
    xp = array_namespace(param)
    if not is_array(indices):
        # An empty list of rows has no integer in it to make an integer array.
        indices = xp.asarray(indices, dtype=None if indices else xp.int64, device=device_of(param))
    indices = _like(indices, param, f"the indices of {what}")
    if dtype_name(indices.dtype) not in ("int32", "int64") or len(indices.shape) != 1:
        raise ValueError(
            f"the indices of {what} must be a 1-d array of int32 or int64, got "
            f"{len(indices.shape)}-d {dtype_name(indices.dtype)}"
        )
    if len(values.shape) == 0 or values.shape[0] != indices.shape[0]:
        raise ValueError(
            f"{what} must have one row of values per index (segment_ids), got values of shape "
            f"{tuple(values.shape)} and {indices.shape[0]} indices"
        )
    if indices.shape[0] and indices_readable(indices):
        for index in (int(xp.min(indices)), int(xp.max(indices))):
            if not 0 <= index < param.shape[0]:
                raise ValueError(
                    f"index {index} of {what} is not in [0, {param.shape[0]}), its rows"
                )
    return indices


def _like(x: Any, param: Array, what: str) -> Array:
    """Return `x` if it is of the library and on the device of `param`; convert a list or number."""
    xp = array_namespace(param)
    if not is_array(x):
        if x is None or isinstance(x, str) or not isinstance(x, (int, float, list, tuple)):
            raise TypeError(f"{what} must be an array or IndexedSlices, got {type(x).__name__}")
        return xp.asarray(x, dtype=param.dtype, device=device_of(param))
    if array_namespace(x) is not xp:
        raise TypeError(
            f"{what} must be of the parameter's library, {library_name(param)}, "
            f"got an array of {library_name(x)}; convert it first"
        )
    # Sharded JAX arrays may differ here and still add up: its own error is better informed.
    if not is_jax_array(x) and device_of(x) != device_of(param):
        raise ValueError(
            f"{what} must be on the parameter's device, {device_of(param)}, got {device_of(x)}"
        )
    return x


def _computable(grad: Array, param: Array, what: str) -> Array:
    """Return `grad` in the compute dtype of `param`."""
    xp = array_namespace(param)
    if compute_dtype(grad.dtype, xp) is None:
        raise ValueError(
            f"{what} must have a real floating dtype, expected to be a "
            f"{dtype_name(param.dtype)}, got {dtype_name(grad.dtype)}"
        )
    return in_dtype(grad, compute_dtype(param.dtype, xp), xp)


def _fits(row: Iterable[int], into: Iterable[int]) -> bool:
    """Say whether `row` broadcasts to `into`."""
    return all(a in (1, b) for a, b in zip(row, into, strict=True))
