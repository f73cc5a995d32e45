"""Arrays from outside, assigned to variables: all of them, or none."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adamax._arrays import (
    Array,
    array_namespace,
    dtype_name,
    is_array,
    is_immutable,
    is_writeable,
    to_numpy,
)
from adamax.layout import home_of
from adamax.variable import Variable

__all__ = ["assignment", "fitted"]


def assignment(variables: Sequence[Variable], values: Sequence[Any]) -> Callable[[], None]:
    """Return what assigns `values`, which fit, to `variables`.

    Raises
    ------
    ValueError
        If the array of one cannot be written to.
    """
    for variable in variables:
        if not (is_immutable(variable.held) or is_writeable(variable.held)):
            raise ValueError(
                f"Expected a writable array, received a read-only one, for {variable.name}"
            )

    def assign() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return assign


def fitted(variables: Sequence[Variable], weights: Sequence[Any], name: str) -> list[Array]:
    """Return `weights` as arrays that can be assigned to `variables`.

    Raises
    ------
    TypeError
        If `weights` has no length, or holds something that is no array.
    ValueError
        If there are too many or too few, one has another shape, or does not fit the variable's
        dtype.
    """
    if not isinstance(weights, Sequence | np.ndarray):
        raise TypeError(f"Expected weights to be a list of arrays, received: {weights!r:.50}")
    if len(weights) != len(variables):
        raise ValueError(
            f"You called `set_weights` on optimizer {name} with a weight list of length "
            f"{len(weights)}, but the optimizer was expecting {len(variables)} weights; before "
            f"the first step, build(var_list) makes its slots. Received: {weights!r:.50}"
        )
    return [_fitting(value, variable) for value, variable in zip(weights, variables, strict=True)]


def _fitting(value: Any, variable: Variable) -> Any:
    """Return `value` as an array like that of `variable`, if no number is lost by that."""
    if isinstance(value, Variable):
        value = value.held
    try:
        array = to_numpy(value) if is_array(value) else np.asarray(value)
    except ValueError as error:  # NumPy's, of lists of several lengths
        raise ValueError(f"Expected an array for {variable.name}: {error}") from None
    if array.dtype.kind not in "biuf" and dtype_name(array.dtype) != "bfloat16":
        raise TypeError(
            f"Expected an array of real numbers for {variable.name}, received: {value!r:.50}"
        )
    if array.shape != variable.shape:
        raise ValueError(
            f"Optimizer weight shape {variable.shape} of {variable.name} is not compatible with "
            f"provided weight shape {array.shape}"
        )
    with np.errstate(all="ignore"):  # told below, with the name
        fitting = array.astype(dtype_name(variable.dtype))
    if fitting.dtype.kind == "f":
        kept = np.isfinite(array) == np.isfinite(fitting)
    else:
        kept = np.trunc(array) == fitting
    if not np.all(kept):
        raise ValueError(
            f"the weight provided for {variable.name} does not fit {dtype_name(variable.dtype)}: "
            "its numbers would become others, or infinite"
        )
    return array_namespace(variable.held).asarray(fitting, device=home_of(variable.held))
