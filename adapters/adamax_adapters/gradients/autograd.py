"""HIPS autograd, for NumPy: it has derivatives of more of NumPy's functions than the tape."""

from collections.abc import Callable
from typing import Any

from autograd import make_vjp
from autograd.extend import vspace

from adamax.variable import Variable, reading

__all__ = ["value_and_gradients"]


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Variable]]
) -> tuple[Any, list[Any]]:
    """Call the loss once on autograd's boxes; variables that it does not read have no gradient."""
    watched = {id(variable): i for i, variable in enumerate(variables())}
    seen = set()
    given = []

    def traced(boxes: Any) -> Any:
        def read(variable: Variable, array: Any) -> Any:
            seen.add(id(variable))
            return boxes[watched[id(variable)]] if id(variable) in watched else array

        with reading(read):
            result = loss()
        if isinstance(result, tuple):
            given.append(result)
            return 0.0
        return result

    back, value = make_vjp(traced)([variable.value for variable in variables()])
    if given:
        return _unboxed(given[0]), []
    if _unboxed(value) is not value:
        # autograd takes a Variable on the right of its boxes for a constant and boxes the result.
        raise TypeError("autograd does not see a Variable in an expression: write v.value for v")
    gradients = back(vspace(value).ones())
    return value, [gradients[i] if key in seen else None for key, i in watched.items()]


def _unboxed(x: Any) -> Any:
    """Return `x` without autograd's boxes."""
    if isinstance(x, (list, tuple)):
        parts = map(_unboxed, x)
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return _unboxed(x._value) if hasattr(x, "_value") and hasattr(x, "_node") else x
