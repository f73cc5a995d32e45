"""The pairs of gradient and variable that a step is given, checked before anything is touched."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from adamax import validation
from adamax._arrays import without_graph
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable
from adamax_adapters.slots import Slots

__all__ = ["checked_pairs", "complete_pairs"]


def checked_pairs(grads_and_vars: Iterable[Any], slots: Slots) -> list[tuple[Gradient, Variable]]:
    """Return the pairs that have a gradient: it in the compute dtype, its variable as a Variable.

    Raises
    ------
    TypeError
        If it is no iterable of pairs, a variable cannot be updated, or a gradient is of another
        library.
    ValueError
        If there is no gradient at all, or one does not fit its variable.
    RuntimeError
        If a sparse gradient meets a constraint, which would have to see the whole variable.
    """
    pairs = _pairs(grads_and_vars)
    holders = slots.holders([variable for _, variable in pairs])
    missing = [var.name for (grad, _), var in zip(pairs, holders, strict=True) if grad is None]
    if pairs and len(missing) == len(pairs):
        raise ValueError(
            f"No gradients provided for any variable: {missing}; does the loss depend on them?"
        )
    given = [
        (_checked(grad, variable), variable)
        for (grad, _), variable in zip(pairs, holders, strict=True)
        if grad is not None
    ]
    if missing:
        warnings.warn(
            f"Gradients do not exist for variables {missing} when minimizing the loss; they and "
            "their slots stay as they are",
            UserWarning,
            stacklevel=3,
        )
    return given


def complete_pairs(pairs: Sequence[tuple[Any, Any]]) -> Sequence[tuple[Any, Any]]:
    """Return `pairs` if every variable has a gradient, as functions that return them need."""
    for i, (grad, variable) in enumerate(pairs):
        if grad is None:
            raise ValueError(
                f"Variable {getattr(variable, 'name', i)} has `None` for gradient; "
                "does the loss depend on it?"
            )
    return pairs


def _pairs(grads_and_vars: Iterable[Any]) -> list[tuple[Any, Any]]:
    try:
        items = list(grads_and_vars)
    except TypeError:
        raise TypeError(
            "grads_and_vars must be an iterable of (gradient, variable) pairs, "
            f"got {type(grads_and_vars).__name__}"
        ) from None
    for i, item in enumerate(items):
        if not isinstance(item, Sequence) or isinstance(item, (str, bytes)) or len(item) != 2:
            got = f"{len(item)} items" if isinstance(item, Sequence) else type(item).__name__
            raise TypeError(
                f"grads_and_vars[{i}] must be a (gradient, variable) pair, got {got}; "
                "a single pair goes in a list"
            )
    return [(item[0], item[1]) for item in items]


def _checked(grad: Any, variable: Variable) -> Gradient:
    validation.parameter(variable.value, variable.name)
    grad = validation.gradient(_plain(grad), variable.value, variable.name)
    if isinstance(grad, IndexedSlices):
        if variable.constraint is not None:
            raise RuntimeError(
                f"Cannot use a constraint function on a sparse variable: {variable.name} has a "
                "constraint and its gradient is IndexedSlices"
            )
        return grad._replace(values=without_graph(grad.values))
    return without_graph(grad)


def _plain(grad: Any) -> Any:
    """Return the gradient without the Variables that may hold it."""
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(*map(_plain, grad))
    return grad.value if isinstance(grad, Variable) else grad
