"""Checks and their messages: what was expected, what came, which variable, the likely cause.

A check returns what it checked, in the form the rest of the code wants, or raises. TypeError for
things that are no array or of another library; ValueError for shapes, dtypes and ranges.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from adamax import nesting
from adamax._arrays import (
    Array,
    array_namespace,
    compute_dtype,
    computes_in_itself,
    device_of,
    dtype_name,
    in_dtype,
    indices_readable,
    is_array,
    is_bare,
    is_immutable,
    is_numpy_array,
    is_writeable,
    library_name,
)
from adamax.layout import elsewhere, home_of, laid_out_as, layout_of
from adamax.sparse import Gradient, IndexedSlices, as_slices

__all__ = [
    "fits",
    "fraction",
    "gradient",
    "like",
    "non_negative",
    "number",
    "numbers",
    "parameter",
    "positive",
    "rate",
    "slot",
]


def number(value: Any, name: str) -> float:
    """Return `value` as a finite Python float; 0-d arrays and NumPy scalars are numbers too."""
    if value is None:
        raise ValueError(f"Expected {name} to be a number, received: None")
    if not _is_real(value):
        raise TypeError(
            f"Expected {name} to be a number, received: {value!r} of type {type(value).__name__}"
        )
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
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


def rate(value: Any, name: str) -> Any:
    """Return a number as `non_negative` does; a 0-d array as it is, which may be on a device."""
    if type(value) is float and 0 <= value < math.inf:  # all that torch can ask while it traces
        return value
    if not is_array(value) or is_numpy_array(value):
        return non_negative(value, name)
    if value.shape:
        raise TypeError(
            f"Expected {name} to be a number or a 0-d array, received: an array of the shape "
            f"{tuple(value.shape)}"
        )
    return value


def numbers(values: Any, name: str, check: Callable[[Any, str], float]) -> tuple[float, ...]:
    """Return a sequence of numbers, each of them checked, as a tuple of Python floats."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"Expected {name} to be a sequence of numbers, received: {values!r}")
    return tuple(check(x, f"{name}[{i}]") for i, x in enumerate(values))


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


def slot(array: Any, param: Array, name: str) -> Array:
    """Return `array` if it can be a moment of the parameter called `name`, as `init` makes it."""
    what = f"the state of {name}"
    dtype = compute_dtype(param.dtype, array_namespace(param))
    array = like(array, param, what, dtype)
    if tuple(array.shape) != tuple(param.shape) or array.dtype != dtype:
        raise ValueError(
            f"{what} must have the shape {tuple(param.shape)} and the dtype {dtype_name(dtype)}, "
            f"got {tuple(array.shape)} and {dtype_name(array.dtype)}; was it made by init(params)?"
        )
    return array


def gradient(grad: Any, param: Array, name: str) -> Gradient:
    """Return the gradient of the parameter called `name`, converted to its compute dtype.

    Accepts an array of the parameter's shape, library and device in any real floating dtype;
    `IndexedSlices` or a sparse tensor of torch; or numbers and lists, which become an array.
    """
    grad = as_slices(grad, name)
    if isinstance(grad, IndexedSlices):
        return _slices(grad, param, name)
    what = f"the gradient of {name}"
    grad = _computable(grad, param, what)
    if tuple(grad.shape) != tuple(param.shape):
        raise ValueError(
            f"{what} must have the shape {tuple(param.shape)}, got {tuple(grad.shape)}: they do "
            "not have the same shape, and gradients are not broadcast"
        )
    return grad


def fits(grad: Any, param: Array) -> bool:
    """Say, after a quick look, that `gradient` would return `grad` as it is.

    It may also be the case where this is False.
    """
    return (
        (is_writeable(param) or is_immutable(param))
        and type(grad) is type(param)
        and grad.dtype == param.dtype
        and grad.shape == param.shape
        and computes_in_itself(param.dtype)
        and layout_of(grad) == layout_of(param)
        and is_bare(grad)
    )


def like(x: Any, array: Array, what: str, dtype: Any) -> Array:
    """Return `x` if it is of the library and on the device of `array`.

    Numbers and lists of them become such an array, of `dtype`. Arrays of the same shape are
    sharded, or in chunks, as `array` is.
    """
    xp = array_namespace(array)
    if not is_array(x):
        for path, leaf in nesting.flatten(x, what):
            if not is_array(leaf) and not isinstance(leaf, (int, float)):
                raise TypeError(f"{path} must be an array or a number, got {type(leaf).__name__}")
        try:
            x = xp.asarray(x, dtype=dtype, device=home_of(array))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{what} cannot be made an array: {error}") from error
    if array_namespace(x) is not xp:
        raise TypeError(
            f"{what} must be of the parameter's library, {library_name(array)}, "
            f"got an array of {library_name(x)}; convert it first"
        )
    if elsewhere(x, array):
        raise ValueError(
            f"{what} must be on the parameter's device, {device_of(array)}, got {device_of(x)}"
        )
    return laid_out_as(x, array)


def _slices(grad: IndexedSlices, param: Array, name: str) -> IndexedSlices:
    what = f"the sparse gradient of {name}"
    if len(param.shape) == 0:
        raise ValueError(f"{what} selects rows, but {name} is 0-d and has none")
    values = _computable(grad.values, param, f"the values of {what}")
    indices = _indices(grad.indices, values, param, what)
    if len(values.shape) != len(param.shape) or not _fits(values.shape[1:], param.shape[1:]):
        raise ValueError(
            f"the values of {what} must have the shape "
            f"{(indices.shape[0], *param.shape[1:])}, got {tuple(values.shape)}"
        )
    return IndexedSlices(values, indices, grad.dense_shape)


def _indices(indices: Any, values: Array, param: Array, what: str) -> Array:
    xp = array_namespace(param)
    # An empty list of rows has no integer in it to make an integer array.
    dtype = None if is_array(indices) or indices else xp.int32
    indices = like(indices, param, f"the indices of {what}", dtype)
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


def _computable(x: Any, param: Array, what: str) -> Array:
    """Return `x` as an array like `param`, in its compute dtype."""
    xp = array_namespace(param)
    dtype = compute_dtype(param.dtype, xp)
    x = like(x, param, what, dtype)
    if compute_dtype(x.dtype, xp) is None:
        raise ValueError(
            f"{what} must have a real floating dtype, expected to be a "
            f"{dtype_name(param.dtype)}, got {dtype_name(x.dtype)}"
        )
    return in_dtype(x, dtype, xp)


def _is_real(value: Any) -> bool:
    """Say whether `value` is one real number, and not a truth value."""
    if getattr(value, "ndim", 0) or isinstance(value, bool):
        return False
    if hasattr(value, "dtype"):
        return dtype_name(value.dtype).startswith(("bfloat", "float", "int", "uint"))
    return hasattr(value, "__float__")


def _fits(row: Iterable[int], into: Iterable[int]) -> bool:
    """Say whether `row` broadcasts to `into`."""
    return all(a in (1, b) for a, b in zip(row, into, strict=True))
