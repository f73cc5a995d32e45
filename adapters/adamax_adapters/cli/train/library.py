"""The array library that a run computes with, found by its name."""

from importlib import import_module
from typing import Any

from adamax._arrays import Namespace, array_namespace
from adamax_adapters.cli.train.settings import UserError
from adamax_adapters.installation import install

__all__ = ["LIBRARIES", "first_line", "namespace"]

LIBRARIES = {
    "numpy": ("numpy", "python -m pip install numpy"),
    "cupy": ("cupy", install("cupy-cuda13")),
    "jax": ("jax.numpy", install("jax")),
    "torch": ("torch", install("torch")),
    "array_api_strict": ("array_api_strict", "python -m pip install array-api-strict"),
}
"""Name of an array library: the module that creates its arrays, and the command to install it."""


def namespace(name: str) -> Namespace:
    """Return the namespace of an array library.

    Raises
    ------
    UserError
        If the name is unknown, the library is not installed, or it cannot create an array.
    """
    if name not in LIBRARIES:
        raise UserError(f"Expected one of {', '.join(LIBRARIES)}, received {name!r}, for --library")
    module, command = LIBRARIES[name]
    try:
        library: Any = import_module(module)
    except ImportError:
        raise UserError(
            f"Expected an installed library, received {name!r}, for --library; run {command}"
        ) from None
    try:
        return array_namespace(library.asarray(0.0))
    except Exception as error:  # each library raises its own, for want of a driver or a device
        raise UserError(
            f"Expected a usable library, received {name!r}, for --library: it cannot create an "
            f"array: {first_line(error)}"
        ) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)
