"""How near gradients are to what they should be, whichever library and engine they are from."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from snapshots import host

from adamax import IndexedSlices, Variable

Array = Any


def whole(gradient: Any, variable: Variable) -> Array:
    """Return a gradient as a NumPy array; rows are added with NumPy's own scatter."""
    result = np.zeros(variable.shape)
    if gradient is None:
        return result
    if isinstance(gradient, IndexedSlices):
        np.add.at(result, host(gradient.indices), host(gradient.values))
        return result
    found = host(gradient)
    assert found.shape == variable.shape
    return found


def central_differences(loss: Callable[[], Any], variables: Sequence[Variable]) -> list[Array]:
    """Return the gradients of a NumPy loss from its values alone, in float64."""
    gradients = []
    for variable in variables:
        gradient = np.zeros(variable.shape)
        for index in np.ndindex(*variable.shape):
            start = variable.value[index].copy()
            variable.value[index] = start + 1e-6
            above = float(np.sum(loss()))
            variable.value[index] = start - 1e-6
            gradient[index] = (above - float(np.sum(loss()))) / 2e-6
            variable.value[index] = start
        gradients.append(gradient)
    return gradients


def assert_close(found: Sequence[Array], expected: Sequence[Array], tolerance: float) -> None:
    """Hold every gradient to a part of the largest element of what is expected."""
    for x, reference in zip(found, expected, strict=True):
        error, scale = (np.abs(y).max(initial=0.0) for y in (x - reference, reference))
        assert error <= tolerance * scale, f"{error / scale:.1e} of the largest element"
