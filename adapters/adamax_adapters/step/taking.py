"""One step of many variables, wholly or not at all: checked, prepared, and then written."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from adamax.rule import Coefficients
from adamax.variable import Variable
from adamax_adapters.backends.contract import Write
from adamax_adapters.step.pairs import as_pairs, ready_pairs
from adamax_adapters.step.slots import Slots

__all__ = ["take_step"]

Scalars: TypeAlias = Callable[[], tuple[Coefficients, Write]]
"""Returns the coefficients of the next step, and the function that counts it."""


def take_step(
    slots: Slots,
    grads_and_vars: Iterable[Any],
    scalars: Scalars,
    *,
    limits: Sequence[float | None] = (),
    backend: Any = None,
) -> None:
    """Advance variables and their slots by one step; without any, take none.

    Parameters
    ----------
    slots : Slots
    grads_and_vars : iterable of (gradient, variable)
    scalars : callable () -> (Coefficients, callable ())
        Called when the pairs have been checked; the function it returns, with the last write.
    limits : sequence of float or None
        Of the norm, the elements and the common norm of gradients.
    backend : str or object, optional
        The backend that executes the rule, or its name.

    Raises
    ------
    TypeError, ValueError, RuntimeError, ModuleNotFoundError
        As `ready_pairs` and `planned` do; inside a loss that is being differentiated.
    """
    pairs = as_pairs(grads_and_vars)
    gradients: Sequence[Any] = [grad for grad, _ in pairs]
    variables: Sequence[Variable] = [variable for _, variable in pairs]
    step = None
    if limits.count(None) == len(limits):
        step = slots.prepared(variables, gradients, backend)
    if step is None or not step.fits(gradients, slots.owners):
        gradients, variables = ready_pairs(pairs, slots, limits)
        if step is not None and not step.is_of(variables, gradients):
            step = None
    if not gradients:
        return

    def prepare() -> Write:
        c, count = scalars()
        ready = step or slots.prepare(variables, gradients, backend)
        ready.variables[0].refuse_in_loss()
        write = ready.prepare(gradients, c)

        def advance() -> None:
            write()
            count()
            slots.took(ready)

        return advance

    slots.change(prepare)
