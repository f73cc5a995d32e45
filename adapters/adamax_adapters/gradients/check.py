"""Gradients compared with central differences: a test of a loss, and of its gradient engine."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from adamax import nesting, validation
from adamax._arrays import array_namespace, device_of, in_dtype, is_array, library_name, to_numpy
from adamax._public import public
from adamax.given import called
from adamax.layout import home_of
from adamax.sparse import IndexedSlices
from adamax.variable import Variable
from adamax_adapters.gradients import Engine, VarList, gradient_pairs

__all__ = ["check_gradients"]

STEP = 1e-6  # of an element; larger ones lose accuracy to curvature, smaller ones to rounding


@public
def check_gradients(
    loss: Callable[[], Any],
    variables: VarList,
    *,
    engine: Engine | None = None,
    tolerance: float = 1e-6,
) -> None:
    """Compare the gradients of a loss with its central differences, in float64.

    For every element x of every variable::

        difference = (loss(x + h) - loss(x - h)) / (2 * h),  h = 1e-6 * max(1, |x|)
        |gradient - difference| <= tolerance * max(1, |difference|)

    Parameters
    ----------
    loss : callable () -> scalar, or () -> (value, gradients)
        The loss of `minimize`. It is called twice for every element: check a small model.
    variables : Variable, nested sequences and mappings of them, or a callable that returns such
        Converted to float64 while the loss runs, and restored afterwards, even if the loss raises.
    engine : 'tape', 'jax', 'torch', 'autograd' or callable, optional
        Differentiates the loss; default as in `minimize`.
    tolerance : float
        Rounding alone makes differences of about 2e-10 times the loss.

    Raises
    ------
    AssertionError
        If a gradient differs from the differences. The message names the variable and the first
        such element, and contains both numbers.
    ValueError
        If the loss is not finite, or not the same when called again; or if the library of a
        variable has no float64, which JAX has only after `jax_enable_x64`.
    TypeError
        If a variable is not a `Variable`.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Variable, check_gradients
    >>> w = Variable(np.array([1.0, 2.0]), name="w")
    >>> check_gradients(lambda: np.sum(w**2), [w])
    >>> check_gradients(lambda: (np.sum(w**2), [3.0 * w]), [w])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: Expected 2 from central differences, received gradient 3, for w at (0,) ...
    """
    tree = called(variables)
    given = [variable for _, variable in nesting.flatten(tree, "variables")]
    for variable in given:
        if not isinstance(variable, Variable):
            raise TypeError(
                f"Expected Variables, received {type(variable).__name__}, for variables; wrap it "
                "in Variable"
            )
    with _in_float64(given):
        value, pairs = gradient_pairs(loss, tree, engine=engine)
        start, again = _total(value), _total(loss())
        if not math.isfinite(start):
            raise ValueError(f"Expected a finite loss, received {start}")
        if not abs(start - again) <= tolerance * max(1.0, abs(start)):
            raise ValueError(
                f"Expected the same loss on every call, received {start!r}, then {again!r}: does "
                "it draw random numbers, or keep state between calls?"
            )
        for gradient, variable in pairs:
            _compare(
                variable.name, _whole(gradient, variable), _differences(loss, variable), tolerance
            )


def _compare(name: str, gradient: Any, differences: Any, tolerance: float) -> None:
    close = np.abs(gradient - differences) <= tolerance * np.maximum(1.0, np.abs(differences))
    if not close.all():
        index = tuple(int(i) for i in np.argwhere(~close)[0])
        wrong = f"{np.count_nonzero(~close)} of {close.size} elements differ"
        raise AssertionError(
            f"Expected {differences[index]:.9g} from central differences, received gradient "
            f"{gradient[index]:.9g}, for {name} at {index} ({wrong}): does the loss use item(), or "
            "is it not differentiable at this point?"
        )


def _differences(loss: Callable[[], Any], variable: Variable) -> Any:
    """Return the central differences for every element of a variable."""
    start, host = variable.held, to_numpy(variable.held)
    found = np.zeros(host.shape)
    for i, x in enumerate(map(float, host.ravel())):
        h = STEP * max(1.0, abs(x))
        totals = []
        for moved in (x + h, x - h):
            variable.held = _with_element(start, i, moved)
            totals.append(_total(loss()))
        variable.held = start
        found.flat[i] = (totals[0] - totals[1]) / ((x + h) - (x - h))
    return found


def _with_element(array: Any, i: int, x: float) -> Any:
    """Return `array` with `x` as its element number `i`, in calls that every library has."""
    xp = array_namespace(array)
    flat = xp.reshape(array, (-1,))
    here = xp.arange(flat.shape[0], device=home_of(array)) == i
    return xp.reshape(xp.where(here, x, flat), array.shape)


def _total(returned: Any) -> float:
    """Return the result of a loss as one number."""
    value = returned[0] if isinstance(returned, tuple) else returned
    return float(array_namespace(value).sum(value) if is_array(value) else value)


def _whole(gradient: Any, variable: Variable) -> Any:
    """Return a gradient as a NumPy array of the shape of its variable."""
    whole = np.zeros(variable.shape)
    if gradient is None:
        return whole
    gradient = validation.gradient(gradient, variable.held, variable.name)
    if isinstance(gradient, IndexedSlices):
        np.add.at(whole, to_numpy(gradient.indices), to_numpy(gradient.values))
        return whole
    return whole + to_numpy(gradient)


@contextmanager
def _in_float64(variables: list[Variable]) -> Iterator[None]:
    """Convert variables to float64 in the block, and restore their values after it."""
    before = [variable.held for variable in variables]
    try:
        for variable in variables:
            variable.held = _as_float64(variable)
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.held = value


def _as_float64(variable: Variable) -> Any:
    value = validation.parameter(variable.held, variable.name)
    xp = array_namespace(value)
    known = xp.__array_namespace_info__().dtypes(device=device_of(value), kind="real floating")
    if "float64" not in known:
        raise ValueError(
            f"Expected a library with float64, received {library_name(value)} without it, for "
            f"{variable.name}; enable it in JAX with jax.config.update('jax_enable_x64', True)"
        )
    return in_dtype(value, xp.float64, xp)
