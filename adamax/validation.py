"""Checks and their messages: the requirement, the value received, the variable, the way out.

A check returns its argument in the form that the rest of the code needs, or raises: TypeError for
an argument that is not an array or belongs to another library, ValueError for shapes, dtypes and
ranges.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from adamax import nesting
from adamax._arrays import (
    Array,
    array_namespace,
    can_change,
    compute_dtype,
    computes_in_itself,
    device_of,
    dtype_name,
    in_dtype,
    indices_readable,
    is_array,
    is_bare,
    is_numpy_array,
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
            f"Expected an array, received {type(param).__name__}, for {name}; convert it with your "
            "array library, such as numpy.asarray"
        )
    if compute_dtype(param.dtype, array_namespace(param)) is None:
        received = dtype_name(param.dtype)
        cause = ": integers cannot be trained" if received.startswith(("int", "uint")) else ""
        raise ValueError(
            f"Invalid type {received} for {name}: expected one of float16, bfloat16, float32, "
            f"float64{cause}; convert it, for example with astype"
        )
    return param


def slot(array: Any, param: Array, name: str) -> Array:
    """Return `array` if it can be a moment of the parameter called `name`, as `init` makes it."""
    what = f"the state of {name}"
    dtype = compute_dtype(param.dtype, array_namespace(param))
    array = like(array, param, what, dtype)
    if tuple(array.shape) != tuple(param.shape) or array.dtype != dtype:
        raise ValueError(
            f"Expected shape {tuple(param.shape)} and dtype {dtype_name(dtype)}, received "
            f"{tuple(array.shape)} and {dtype_name(array.dtype)}, for {what}; create the state "
            "with init(params)"
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
    grad = _computable(grad, param, f"the gradient of {name}")
    if tuple(grad.shape) != tuple(param.shape):
        raise ValueError(
            f"Expected a gradient of shape {tuple(param.shape)}, received {tuple(grad.shape)}, for "
            f"{name}: they do not have the same shape, and gradients are not broadcast; reshape "
            "the gradient, or sum it over the batch"
        )
    return grad


def fits(grad: Any, param: Array) -> bool:
    """Say, after a quick look, that `gradient` would return `grad` as it is.

    It may also be the case where this is False.
    """
    return (
        can_change(param)
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
                raise TypeError(
                    f"Expected an array or a number, received {type(leaf).__name__}, for {path}"
                )
        try:
            x = xp.asarray(x, dtype=dtype, device=home_of(array))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"Expected an array or numbers for {what}: {error}") from error
    if array_namespace(x) is not xp:
        raise TypeError(
            f"Expected a {library_name(array)} array, received a {library_name(x)} array, for "
            f"{what}; convert it first"
        )
    if elsewhere(x, array):
        raise ValueError(
            f"Expected an array on {device_of(array)}, received one on {device_of(x)}, for "
            f"{what}; move it to the parameter's device"
        )
    return laid_out_as(x, array)


def _slices(grad: IndexedSlices, param: Array, name: str) -> IndexedSlices:
    what = f"the sparse gradient of {name}"
    if len(param.shape) == 0:
        raise ValueError(
            f"Expected a dense gradient, received IndexedSlices, for {name}: it is 0-d and has no "
            "rows"
        )
    values = _computable(grad.values, param, f"the values of {what}")
    indices = _indices(grad.indices, values, param, what)
    if len(values.shape) != len(param.shape) or not _fits(values.shape[1:], param.shape[1:]):
        raise ValueError(
            f"Expected values of shape {(indices.shape[0], *param.shape[1:])}, received "
            f"{tuple(values.shape)}, for {what}"
        )
    return IndexedSlices(values, indices, grad.dense_shape)


def _indices(indices: Any, values: Array, param: Array, what: str) -> Array:
    xp = array_namespace(param)
    # An empty list of rows has no integer in it to make an integer array.
    dtype = None if is_array(indices) or indices else xp.int32
    indices = like(indices, param, f"the indices of {what}", dtype)
    if dtype_name(indices.dtype) not in ("int32", "int64") or len(indices.shape) != 1:
        raise ValueError(
            "Expected indices in a 1-d array of int32 or int64, received "
            f"{len(indices.shape)}-d {dtype_name(indices.dtype)}, for {what}"
        )
    if len(values.shape) == 0 or values.shape[0] != indices.shape[0]:
        raise ValueError(
            "Expected one row of values for each index (segment_ids), received values of shape "
            f"{tuple(values.shape)} and {indices.shape[0]} indices, for {what}"
        )
    if indices.shape[0] and indices_readable(indices):
        for index in (int(xp.min(indices)), int(xp.max(indices))):
            if not 0 <= index < param.shape[0]:
                raise ValueError(
                    f"Expected indices of existing rows, received {index}, for {what}: {index} is "
                    f"not in [0, {param.shape[0]})"
                )
    return indices


def _computable(x: Any, param: Array, what: str) -> Array:
    """Return `x` as an array like `param`, in its compute dtype."""
    xp = array_namespace(param)
    dtype = compute_dtype(param.dtype, xp)
    x = like(x, param, what, dtype)
    if compute_dtype(x.dtype, xp) is None:
        raise ValueError(
            f"Expected a real floating dtype, received {dtype_name(x.dtype)}, for {what}, which is "
            f"expected to be a {dtype_name(param.dtype)}"
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
