"""Gradients and variables of a step, checked and converted before anything is touched."""

from collections.abc import Callable, Collection
from typing import Any

from adamax import validation
from adamax._arrays import (
    Array,
    array_namespace,
    bared,
    can_change,
    is_immutable,
)
from adamax.given import held
from adamax.layout import owner_of, repeats_memory
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable

__all__ = ["apart", "checked", "updatable", "with_values"]


def checked(grad: Any, variable: Variable) -> Gradient:
    """Return a gradient in the compute dtype of its variable, without a graph.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If the variable cannot be updated, or the gradient does not fit it.
    """
    if validation.fits(grad, variable.held) and not repeats_memory(variable.held):
        return grad
    value = updatable(variable)
    grad = validation.gradient(_plain(grad), value, variable.name)
    if isinstance(grad, IndexedSlices) and variable.constraint is not None:
        raise RuntimeError(
            "Cannot use a constraint function on a sparse variable: Expected a dense gradient, "
            f"received IndexedSlices, for {variable.name}, which has a constraint"
        )
    return with_values(bared, grad)


def apart(grad: Gradient, owners: Collection[int]) -> Gradient:
    """Return a gradient that shares no memory with what `owners` own, a copy where it would."""

    def copied(values: Array) -> Array:
        shared = owner_of(values) in owners and not is_immutable(values)
        return array_namespace(values).asarray(values, copy=True) if shared else values

    return with_values(copied, grad)


def updatable(variable: Variable) -> Array:
    """Return the array of a variable, if a step can update it.

    Raises
    ------
    TypeError
        If it is read-only.
    ValueError
        If it has another dtype than real floating ones, or is a broadcast view.
    """
    value = validation.parameter(variable.held, variable.name)
    if not can_change(value):
        raise TypeError(
            f"Expected an array that can be written to, received a read-only one, for "
            f"{variable.name}; wrap a copy of it in Variable"
        )
    if repeats_memory(value):
        raise ValueError(
            "Expected an array whose elements have memory of their own, received a broadcast view "
            f"with a stride of 0, for {variable.name}; pass a copy of it"
        )
    return value


def with_values(change: Callable[[Array], Array], grad: Gradient) -> Gradient:
    """Return the gradient with its values changed."""
    return (
        grad._replace(values=change(grad.values))
        if isinstance(grad, IndexedSlices)
        else change(grad)
    )


def _plain(grad: Any) -> Any:
    """Return the gradient without the Variables that may hold it."""
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(*map(_plain, grad))
    return grad.held if isinstance(grad, Variable) else held(grad)
