"""The array library that a run computes with, found by its name."""

from importlib import import_module
from typing import Any

from adamax._arrays import Namespace, array_namespace
from adamax_adapters.installation import install
from adamax_adapters.train.settings import UserError

__all__ = ["BACKENDS", "namespace"]

BACKENDS = {
    "numpy": ("numpy", "python -m pip install numpy"),
    "cupy": ("cupy", install("cupy-cuda13")),
    "jax": ("jax.numpy", install("jax")),
    "torch": ("torch", install("torch")),
    "array_api_strict": ("array_api_strict", "python -m pip install array-api-strict"),
}
"""Name of a backend: the module that makes its arrays, and the command that installs it."""


def namespace(name: str) -> Namespace:
    """Return the namespace of a backend.

    Raises
    ------
    UserError
        If the name is unknown, the library is not installed, or it cannot make an array.
    """
    if name not in BACKENDS:
        raise UserError(f"unknown backend {name!r}: expected one of {', '.join(BACKENDS)}")
    module, command = BACKENDS[name]
    try:
        library: Any = import_module(module)
    except ImportError:
        raise UserError(f"the backend {name!r} is not installed: {command}") from None
    try:
        return array_namespace(library.asarray(0.0))
    except Exception as error:  # whatever a library says when there is no device
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the backend {name!r} cannot make an array: {reason}") from None
