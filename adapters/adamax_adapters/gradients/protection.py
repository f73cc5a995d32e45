"""Variables are as they were after a loss: what keeps its code from writing to them.

Variables of NumPy are read-only views in a loss, and arrays of JAX and dask cannot be written to.
In other libraries, a call that might write to the memory of a variable is refused, or gets a copy.
"""

from collections.abc import Sequence
from typing import Any

from adamax._arrays import array_namespace, is_array, is_numpy_array, is_writeable

__all__ = ["is_exposed", "may_be_view", "refuse_to_write_to", "with_copies"]

VIEWS = frozenset(
    "asarray astype broadcast_to expand_dims flip getitem matrix_transpose moveaxis permute_dims "
    "positive reshape squeeze".split()
)
"""Functions of the standard whose results may share the memory of their first argument."""


def may_be_view(name: str, args: Sequence[Any]) -> bool:
    """Return whether the result of a call may share memory: an index of arrays makes a copy."""
    if name != "getitem":
        return name in VIEWS
    return not any(map(is_array, args[1] if isinstance(args[1], tuple) else args[1:]))


def _variable_behind(tracer: Any) -> Any:
    """Return the variable that writing to the array of a tracer may change, or None."""
    is_copy = is_numpy_array(tracer.array) and is_writeable(tracer.array)
    return None if is_copy else tracer.tape.variable_behind(tracer)


def is_exposed(tracer: Any) -> bool:
    """Return whether its library could write to the array of a tracer, and change a variable."""
    return is_writeable(tracer.array) and _variable_behind(tracer) is not None


def refuse_to_write_to(tracer: Any) -> None:
    """Raise RuntimeError if a tracer is a variable or a view of one."""
    if (variable := _variable_behind(tracer)) is not None:
        raise RuntimeError(
            "Expected no assignment to a variable inside a loss, received one, for "
            f"{variable.name}; assign to it after the loss has returned"
        )


def with_copies(name: str, args: Any, kwargs: Any, tracers: Sequence[Any]) -> tuple[Any, Any]:
    """Return the arguments of a call that has no derivative rule, with copies of exposed arrays."""
    out = kwargs.get("out")
    written = out if isinstance(out, (list, tuple)) else [out]
    if name.endswith("_"):  # a method of torch that writes, such as `add_`
        written = args[:1]
    for tracer in filter(is_exposed, tracers):
        if any(x is tracer.array for x in written):
            refuse_to_write_to(tracer)
        args, kwargs = _with_copy(args, tracer.array), _with_copy(kwargs, tracer.array)
    return args, kwargs


def _with_copy(x: Any, array: Any) -> Any:
    """Return `x` with a copy of `array`, wherever it is in it."""
    if x is array:
        return array_namespace(x).asarray(x, copy=True)
    if isinstance(x, (list, tuple)):
        parts = [_with_copy(part, array) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return {key: _with_copy(part, array) for key, part in x.items()} if type(x) is dict else x
