"""What a variable can hold: constants, values that fit its array, results of operators on it."""

from collections.abc import Callable
from typing import Any

from adamax import validation
from adamax._arrays import (
    Array,
    array_namespace,
    compute_dtype,
    dtype_name,
    has_graph,
    without_graph,
)
from adamax.reading import current_loss

__all__ = ["constant", "fitting", "result_on"]


def constant(x: Array) -> Array:
    """Return `x` cut off from the graph that torch records, which a loss must not lose."""
    if current_loss() is not None and has_graph(x):
        raise NotImplementedError(
            "Expected a Variable of a constant inside a loss, received a tensor that requires a "
            "gradient, which would be lost; compute with the tensor itself, or detach it"
        )
    return without_graph(x)


def fitting(value: Any, array: Array, name: str) -> Array:
    """Return `value` as an array that can be assigned to `array`, the value of the variable `name`.

    Raises as `Variable.assign` does.
    """
    value = validation.like(value, array, f"the value of {name}", array.dtype)
    if tuple(value.shape) != tuple(array.shape):
        raise ValueError(
            f"Expected a value of shape {tuple(array.shape)}, received {tuple(value.shape)}, "
            f"for {name}"
        )
    return without_graph(value)


def result_on(array: Array, compute: Callable[[Any, Any], Any], other: Any, name: str) -> Array:
    """Return ``compute(array, other)`` for an operator that assigns its result to a variable.

    Raises
    ------
    TypeError
        If `other` cannot be computed with, or the result has fractions and `array` has none.
    """
    if not isinstance(other, (int, float)):
        other = validation.like(other, array, f"the value of {name}", array.dtype)
    xp, result = array_namespace(array), compute(array, other)
    if compute_dtype(result.dtype, xp) and not compute_dtype(array.dtype, xp):
        raise TypeError(
            f"Expected a result of dtype {dtype_name(array.dtype)}, received one of dtype "
            f"{dtype_name(result.dtype)}, for {name}: its fractions would be lost; use assign"
        )
    return result
