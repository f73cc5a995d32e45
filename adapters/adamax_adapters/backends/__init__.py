"""How an array library executes the rule: the backends, and which of them a variable takes.

`adamax_adapters.backends.contract` says what a backend is.
"""

from collections.abc import Hashable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeAlias, get_args

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

__all__ = [
    "BACKENDS",
    "BackendName",
    "backend_for",
    "checked_backend",
    "fastest",
    "problem",
    "ways",
]

BackendName: TypeAlias = Literal[
    "cupy", "jax", "jax_donated", "numba", "numpy", "standard", "torch"
]

BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


def ways(array: Array) -> tuple[str, ...]:
    """Return the names of the backends that can advance `array`, the fastest first."""
    if is_cupy_array(array):
        return "cupy", "standard"
    if is_jax_array(array):
        return "jax", "jax_donated", "standard"
    if is_torch_array(array):
        plain = type(array).__name__ == "Tensor" and str(array.layout) == "torch.strided"
        if not plain:
            return ("standard",)
        on_host = array.device.type == "cpu" and dtype_name(array.dtype) != "bfloat16"
        return (*(("numba", "numpy") if on_host else ()), "torch", "standard")
    return ("numba", "numpy", "standard") if is_numpy_array(array) else ("standard",)


def checked_backend(value: Any, name: str) -> Any:
    """Return `value` if it names a backend, has the functions of one, or is None for the fastest.

    A class has them too, but they are its objects'; and what cannot be hashed cannot be told from
    another when it is met again.
    """
    if value is None or (isinstance(value, str) and value in BACKENDS):
        return value
    functions = [getattr(value, function, None) for function in ("dense", "rows")]
    is_object = not isinstance(value, type) and isinstance(value, Hashable)
    if not (is_object and all(map(callable, functions))):
        raise ValueError(
            f"Expected {name} to be one of {', '.join(BACKENDS)}, or a hashable object, not a "
            f"class, with functions dense and rows; received: {value!r}"
        )
    return value


def backend_for(array: Array, name: str, wanted: Any = None) -> Any:
    """Return the backend that advances the variable called `name`.

    Parameters
    ----------
    array : Array
        The variable's value.
    name : str
        For error messages.
    wanted : str or object, optional
        The backend to take, or its name. Default: the fastest that is there.

    Raises
    ------
    ValueError
        If the named backend does not work on such arrays.
    ModuleNotFoundError
        If it needs a library that is not installed.
    """
    if wanted is not None and not isinstance(wanted, str):
        return wanted
    possible = ways(array)
    if wanted is None:
        return _module(fastest(possible))
    if wanted not in possible:
        raise ValueError(
            f"{name} is a {dtype_name(array.dtype)} array of {library_name(array)} on "
            f"{device_of(array)}, which the backend {wanted!r} cannot update; expected one of "
            f"{', '.join(possible)}"
        )
    if reason := problem(wanted):
        raise ModuleNotFoundError(f"the backend {wanted!r} cannot be used here: {reason}")
    return _module(wanted)


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
