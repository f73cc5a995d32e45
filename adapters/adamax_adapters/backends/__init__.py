"""How an array library executes the rule: the backends, and which of them a variable takes.

A backend is a module of this package with two functions. They are given variables with their
moments and gradients that have been checked, and write to all three::

    dense(targets) -> advance(gradients, c)    prepares, once, what every step then calls
    rows(target, slices, c)                    advances the listed rows of one table
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from adamax._arrays import (
    Array,
    device_of,
    dtype_name,
    is_cupy_array,
    is_jax_array,
    is_numpy_array,
    is_torch_array,
    library_name,
)

__all__ = ["BACKENDS", "backend_for", "backend_name", "fastest", "problem", "ways"]

BACKENDS = ("cupy", "jax", "numba", "numpy", "standard", "torch")


def ways(array: Array) -> tuple[str, ...]:
    """Return the names of the backends that can advance `array`, the fastest first."""
    if is_cupy_array(array):
        return "cupy", "standard"
    if is_jax_array(array):
        return "jax", "standard"
    if is_torch_array(array):
        plain = type(array).__name__ == "Tensor" and str(array.layout) == "torch.strided"
        if not plain:
            return ("standard",)
        on_host = array.device.type == "cpu" and dtype_name(array.dtype) != "bfloat16"
        return (*(("numba", "numpy") if on_host else ()), "torch", "standard")
    return ("numba", "numpy", "standard") if is_numpy_array(array) else ("standard",)


def backend_name(value: Any, name: str) -> str | None:
    """Return `value` if it is the name of a backend, or None for the fastest."""
    if value is not None and value not in BACKENDS:
        raise ValueError(f"Expected {name} to be one of {', '.join(BACKENDS)}, received: {value!r}")
    return None if value is None else str(value)


def backend_for(array: Array, name: str, named: str | None = None) -> Any:
    """Return the backend that advances the variable called `name`.

    Parameters
    ----------
    array : Array
        The variable's value.
    name : str
        For error messages.
    named : str, optional
        The backend to take. Default: the fastest that is there.

    Raises
    ------
    ValueError
        If the named backend does not work on such arrays.
    ModuleNotFoundError
        If it needs a library that is not installed.
    """
    possible = ways(array)
    if named is None:
        return _module(fastest(possible))
    if named not in possible:
        raise ValueError(
            f"{name} is a {dtype_name(array.dtype)} array of {library_name(array)} on "
            f"{device_of(array)}, which the backend {named!r} cannot update; expected one of "
            f"{', '.join(possible)}"
        )
    if reason := problem(named):
        raise ModuleNotFoundError(f"the backend {named!r} cannot be used here: {reason}")
    return _module(named)


def fastest(possible: Sequence[str]) -> str:
    """Return the first of these backends that can be used here."""
    return next(name for name in possible if problem(name) is None)


@cache
def problem(name: str) -> str | None:
    """Return why the backend of that name cannot be used; None if it can."""
    try:
        _module(name)
    except ImportError as error:
        return str(error)
    return None


def _module(name: str) -> Any:
    return import_module(f"adamax_adapters.backends.{name}")
