"""HIPS autograd, for NumPy: it has derivatives of more of NumPy's functions than the tape."""

import warnings
from collections.abc import Callable
from typing import Any

from autograd import make_vjp
from autograd.extend import vspace
from autograd.tracer import isbox

from adamax import nesting
from adamax.reading import read_by
from adamax.sparse import IndexedSlices
from adamax.variable import Variable

__all__ = ["value_and_gradients"]


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Variable]]
) -> tuple[Any, list[Any]]:
    """Call the loss once on autograd's boxes; variables that it does not read have no gradient."""
    seen = set()
    given = []

    def traced(boxes: dict[int, Any]) -> Any:
        def read(variable: Variable, array: Any) -> Any:
            seen.add(id(variable))
            return boxes[id(variable)] if id(variable) in values else array

        result = read_by(read, loss, variables)
        if isinstance(result, tuple):
            given.append(result)
            return 0.0
        return result

    arrays = {id(x): x.value for x in variables() if isinstance(x, Variable)}
    values = {key: x for key, x in arrays.items() if x.dtype.kind == "f"}
    with warnings.catch_warnings():
        # The caller reports missing gradients, with the names of the variables.
        warnings.filterwarnings("ignore", "Output seems independent of input", UserWarning)
        back, value = make_vjp(traced)(values)
    if given:
        (result,) = given
        tree = nesting.Structure(result)
        return tree.unflatten(_unboxed(x) for _, x in tree.flatten(result, "loss")), []
    if isbox(value):
        # autograd takes a Variable on the right of its boxes for a constant and boxes the result.
        raise TypeError(
            "Expected v.value in expressions, received a Variable v: the engine autograd takes it "
            "for a constant; write v.value for v"
        )
    gradients = back(vspace(value).ones())
    keys = [id(variable) for variable in variables()]
    return value, [gradients.get(key) if key in seen else None for key in keys]


def _unboxed(x: Any) -> Any:
    if isinstance(x, IndexedSlices):
        return type(x)(*map(_unboxed, x))
    return _unboxed(x._value) if isbox(x) else x
