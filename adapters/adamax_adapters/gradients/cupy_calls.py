"""How CuPy's functions call a tracer: as a kernel, or by a method with every option.

CuPy's elementwise functions ask their arguments for `__cupy_override_elementwise_kernel__` before
anything else; its reductions call the method of the same name, and pass all of its options.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from adamax_adapters.gradients.derivatives import NUMPY_NAMES

__all__ = ["kernel_name", "without_defaults"]

POSITIONAL: Mapping[str, Sequence[str | None]] = {
    "dot": (None, "out"),
    "prod": ("axis", "dtype", "out", "keepdims"),
    "sum": ("axis", "dtype", "out", "keepdims"),
    "take": (None, "axis", "out"),
}
"""Names of the options that CuPy passes to a method by position."""

DEFAULTS: Mapping[str, Any] = {"dtype": None, "keepdims": False, "out": None}
"""Options that CuPy always passes, with the values that change nothing."""


def kernel_name(kernel: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the name by which the derivative of a kernel is found; without one, what it is."""
    name = str(kernel.name)
    if type(kernel).__name__ != "ufunc" or not name.startswith("cupy_"):
        return f"the kernel {name}"
    name = name.removeprefix("cupy_")
    options = [*kwargs, *["out"] * (len(args) > kernel.nin)]
    return f"{name} with {', '.join(options)}" if options else NUMPY_NAMES.get(name, name)


def without_defaults(
    method: str, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments of a method without the options that have their default value."""
    names = POSITIONAL.get(method) if len(args) > 1 else None
    if names:
        pairs = list(zip(names, args, strict=False))
        kwargs = {**{name: x for name, x in pairs if name is not None}, **kwargs}
        args = [x for name, x in pairs if name is None]
    if not DEFAULTS.keys().isdisjoint(kwargs):
        kwargs = {
            name: x for name, x in kwargs.items() if name not in DEFAULTS or x is not DEFAULTS[name]
        }
    return args, kwargs
