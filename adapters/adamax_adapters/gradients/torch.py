"""torch's own derivatives, for variables of torch and for its parameters."""

from collections.abc import Callable
from typing import Any

import torch

from adamax import nesting
from adamax._arrays import without_graph
from adamax.reading import read_by
from adamax.sparse import IndexedSlices
from adamax.variable import Variable

__all__ = ["value_and_gradients"]


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Any]]
) -> tuple[Any, list[Any]]:
    """Call the loss once on leaves of a graph; variables that it does not reach have no gradient.

    A tensor that is not held by a `Variable` is a leaf itself, if it requires a gradient.
    """
    leaves: dict[Variable, Any] = {}

    def read(variable: Variable, array: Any) -> Any:
        if variable not in leaves and torch.is_tensor(array) and array.is_floating_point():
            leaves[variable] = array.detach().requires_grad_()
        return leaves.get(variable, array)

    with torch.enable_grad():
        result = read_by(read, loss, variables)
    if isinstance(result, tuple):
        return _detached(result), []
    given = [leaves.get(x) if isinstance(x, Variable) else x for x in variables()]
    indices = [i for i, x in enumerate(given) if x is not None and x.requires_grad]
    gradients: list[Any] = [None] * len(given)
    if indices and getattr(result, "requires_grad", False):
        at, ones = [given[i] for i in indices], torch.ones_like(result)
        found = torch.autograd.grad(result, at, ones, allow_unused=True)
        for i, gradient in zip(indices, found, strict=True):
            gradients[i] = gradient
    value = _detached(result)
    # A step would change a view of a variable.
    is_view = torch.is_tensor(result) and (result.is_leaf or result._is_view())
    return value.clone() if is_view else value, gradients


def _detached(result: Any) -> Any:
    """Return the result of a loss without the graph."""
    tree = nesting.Structure(result)
    return tree.unflatten(_bare(x) for _, x in tree.flatten(result, "loss"))


def _bare(x: Any) -> Any:
    return type(x)(*map(_bare, x)) if isinstance(x, IndexedSlices) else without_graph(x)
