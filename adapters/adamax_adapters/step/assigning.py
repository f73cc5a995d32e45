"""Arrays from outside, assigned to variables: all of them, or none."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from adamax._arrays import (
    Array,
    array_namespace,
    can_change,
    dtype_name,
    is_array,
    to_numpy,
)
from adamax.layout import home_of
from adamax.variable import Variable

__all__ = ["Described", "assignment", "fitted", "negative_norm", "refuse_read_only"]


def assignment(variables: Sequence[Variable], arrays: Sequence[Any]) -> Callable[[], None]:
    """Return what assigns arrays of NumPy, which fit, to `variables` of any library.

    Raises
    ------
    ValueError
        If the array of one cannot be written to.
    """
    refuse_read_only(variables)
    values = [*map(_array_like, variables, arrays)]

    def assign() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return assign


def refuse_read_only(variables: Iterable[Variable]) -> None:
    """Raise ValueError if the array of a variable cannot be written to."""
    for variable in variables:
        if not can_change(variable.held):
            raise ValueError(
                f"Expected a writable array, received a read-only one, for {variable.name}"
            )


def negative_norm(array: Any) -> str | None:
    """Return what is wrong with an infinity norm, an array of NumPy; None if nothing is."""
    is_negative = bool(np.any(array < 0))
    return "is negative somewhere, which an infinity norm cannot be" if is_negative else None


class Described(Protocol):
    """A Variable, or what says as much of one: a `VariableState`."""

    @property
    def name(self) -> str:
        """For errors."""

    @property
    def dtype(self) -> Any:
        """Of any library, or its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""


def fitted(expected: Sequence[Described], weights: Sequence[Any], name: str) -> list[Any]:
    """Return `weights` as arrays of NumPy that fit the variables `expected`.

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
    if len(weights) != len(expected):
        raise ValueError(
            f"You called `set_weights` on optimizer {name} with a weight list of length "
            f"{len(weights)}, but the optimizer was expecting {len(expected)} weights; before "
            f"the first step, build(var_list) makes its slots. Received: {weights!r:.50}"
        )
    return [*map(_fitting, weights, expected)]


def _fitting(value: Any, variable: Described) -> Any:
    """Return `value` in the dtype of `variable`, if no number is lost by that."""
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
        fitting = array.astype(dtype_name(variable.dtype), copy=False)
    if fitting.dtype.kind == "f":
        kept = np.isfinite(array) == np.isfinite(fitting)
    else:
        kept = np.trunc(array) == fitting
    if not np.all(kept):
        raise ValueError(
            f"the weight provided for {variable.name} does not fit {dtype_name(variable.dtype)}: "
            "its numbers would become others, or infinite"
        )
    return fitting


def _array_like(variable: Variable, array: Any) -> Array:
    """Return an array of NumPy in the library and on the device of `variable`."""
    return array_namespace(variable.held).asarray(array, device=home_of(variable.held))
