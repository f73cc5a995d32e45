"""The pairs of gradient and variable of a step, made ready before anything is touched."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from adamax._arrays import (
    is_array,
    is_immutable,
    is_writeable,
)
from adamax.clipping import clip_all
from adamax.given import held, is_variable, kind
from adamax.layout import owner_of
from adamax.sparse import Gradient, IndexedSlices
from adamax.variable import Variable
from adamax_adapters.step.checks import apart, checked
from adamax_adapters.step.slots import Slots
from adamax_adapters.step.warned import warn

__all__ = ["as_pairs", "complete_pairs", "ready_pairs"]


def as_pairs(grads_and_vars: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return an iterable of (gradient, variable) pairs as a list of tuples.

    Raises
    ------
    TypeError
        If it is none, or holds something else than pairs.
    """
    try:
        iterator = iter(grads_and_vars)
    except TypeError:
        raise TypeError(
            "Expected an iterable of (gradient, variable) pairs, received "
            f"{kind(grads_and_vars)}, for grads_and_vars"
        ) from None
    items = list(iterator)
    if set(map(type, items)) <= {tuple} and set(map(len, items)) <= {2}:
        return items
    for i, item in enumerate(items):
        if not isinstance(item, Sequence) or isinstance(item, (str, bytes)) or len(item) != 2:
            received = f"{len(item)} items" if isinstance(item, Sequence) else kind(item)
            raise TypeError(
                f"Expected a (gradient, variable) pair, received {received}, for "
                f"grads_and_vars[{i}]; pass a single pair as a list"
            )
    return [(item[0], item[1]) for item in items]


def ready_pairs(
    pairs: Sequence[tuple[Any, Any]], slots: Slots, limits: Sequence[float | None]
) -> tuple[Sequence[Gradient], Sequence[Variable]]:
    """Return the gradients there are, checked and clipped, and their variables as Variables.

    Parameters
    ----------
    pairs : sequence of (gradient, variable)
    slots : Slots
        Those of the optimizer, which knows arrays again; nothing is added.
    limits : sequence of float or None
        Of the norm, the elements and the common norm of gradients.

    Returns
    -------
    gradients, variables : sequences of one length
        Gradients in the compute dtype of their variables. They share no memory with any of the
        variables, one of which may be another's gradient, nor with a slot.

    Raises
    ------
    TypeError
        If a variable cannot be updated, or a gradient is of another library.
    ValueError
        If there is no gradient at all, or one does not fit its variable.
    RuntimeError
        If a sparse gradient meets a constraint, which would have to see the whole variable.
    """
    gradients, variables = [grad for grad, _ in pairs], [variable for _, variable in pairs]
    _refuse_swapped(pairs)
    holders = slots.holders([*map(held, variables)])
    given = [(grad, var) for grad, var in zip(gradients, holders, strict=True) if grad is not None]
    missing = [var.name for grad, var in zip(gradients, holders, strict=True) if grad is None]
    if pairs and not given:
        raise ValueError(
            f"No gradients provided for any variable: {missing}; does the loss depend on them?"
        )
    # NumPy alone would warn of a gradient that is too large for its variable, or infinite.
    with np.errstate(all="ignore"):
        grads = clip_all([checked(grad, variable) for grad, variable in given], *limits)
    variables = [variable for _, variable in given]
    if missing:
        warn(
            f"Gradients do not exist for variables {missing} when minimizing the loss; they and "
            "their slots stay as they are"
        )
    owners = {owner_of(variable.held) for variable in variables} | slots.owners
    return [apart(grad, owners) for grad in grads], variables


def complete_pairs(pairs: Sequence[tuple[Any, Any]]) -> Sequence[tuple[Any, Any]]:
    """Return `pairs` if every variable has a gradient, as functions that return them need."""
    for i, (grad, variable) in enumerate(pairs):
        if grad is None:
            raise ValueError(
                f"Variable {getattr(variable, 'name', i)} has `None` for gradient; "
                "does the loss depend on it?"
            )
    return pairs


def _refuse_swapped(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Raise TypeError if a gradient rather looks like a variable than its variable does."""
    for i, (grad, variable) in enumerate(pairs):
        alike = variable is None or type(variable) in (type(grad), IndexedSlices)
        if (_is_trained(grad) and not _is_trained(variable)) or (
            alike and _is_writable(grad) and not _is_writable(variable)
        ):
            read_only = "read-only " if is_array(variable) and not is_writeable(variable) else ""
            raise TypeError(
                f"Expected a (gradient, variable) pair, received ({kind(grad)}, "
                f"{read_only}{kind(variable)}), for grads_and_vars[{i}]: are gradient and variable "
                "swapped? If not, wrap a copy of the variable in adamax.Variable"
            )


def _is_trained(x: Any) -> bool:
    """Return whether `x` is a variable of some library: torch's are leaves of its graph."""
    return is_variable(x) or (getattr(x, "requires_grad", False) and x.is_leaf)


def _is_writable(x: Any) -> bool:
    return is_array(x) and is_writeable(x) and not is_immutable(x)
