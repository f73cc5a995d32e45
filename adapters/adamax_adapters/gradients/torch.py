"""torch's own derivatives, for variables of torch and for its parameters."""

from collections.abc import Callable
from typing import Any

import torch

from adamax.variable import Variable, reading

__all__ = ["value_and_gradients"]


def value_and_gradients(
    loss: Callable[[], Any], variables: Callable[[], list[Any]]
) -> tuple[Any, list[Any]]:
    """Call the loss once on leaves of a graph; variables that it does not reach have no gradient.

    A tensor that is no `Variable` is a leaf itself, if it requires a gradient.
    """
    leaves: dict[int, Any] = {}

    def read(variable: Variable, array: Any) -> Any:
        if id(variable) not in leaves and array.is_floating_point():
            leaves[id(variable)] = array.detach().requires_grad_()
        return leaves.get(id(variable), array)

    with torch.enable_grad(), reading(read):
        result = loss()
    if isinstance(result, tuple):
        return result, []
    given = [leaves.get(id(x)) if isinstance(x, Variable) else x for x in variables()]
    places = [i for i, x in enumerate(given) if x is not None and x.requires_grad]
    gradients: list[Any] = [None] * len(given)
    if places and getattr(result, "requires_grad", False):
        total = result.sum()
        found = torch.autograd.grad(total, [given[i] for i in places], allow_unused=True)
        for i, gradient in zip(places, found, strict=True):
            gradients[i] = gradient
        result = result.detach()
    return result, gradients
