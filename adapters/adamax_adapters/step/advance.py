"""One step of plain arrays, for faces that keep the state themselves."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from adamax._arrays import Array, array_namespace, in_dtype, is_immutable
from adamax.layout import memory_of
from adamax.rule import ADAMAX, Rule
from adamax_adapters.step.alias import Alias
from adamax_adapters.step.checks import apart, checked, updatable, with_values
from adamax_adapters.step.plan import indices_of_slices
from adamax_adapters.step.prepared import Prepared, Recent
from adamax_adapters.step.signals import hold, release

__all__ = ["advance"]


def advance(
    params: Sequence[Array],
    gradients: Sequence[Any],
    state: Sequence[Sequence[Array]],
    c: Any,
    *,
    recent: Recent[Prepared],
    rule: Rule = ADAMAX,
    backend: Any = None,
) -> list[tuple[Array, ...]]:
    """Advance parameters and their state by one step, in the fastest way there is, in place.

    Parameters
    ----------
    params : sequence of Array
        Real floating dtype. A tensor of PyTorch may require gradients.
    gradients : sequence of Array or IndexedSlices
        One for each parameter, of its shape and any real floating dtype: it is converted to the
        dtype of the state, and copied if it shares memory with an array that is written.
    state : sequence of sequences of Array
        For each name in ``rule.state`` one array for each parameter, of its shape: (m, u). The
        step is computed in their dtype.
    c : Coefficients
        The scalars of this step, see `adamax.rule.coefficients`.
    recent : Recent
        Kept by the caller from step to step; it remembers what was prepared for the same arrays,
        or for new views of the same memory, and holds these arrays.
    rule : Rule
        See `adamax.variants`.
    backend : str or object, optional
        A name in `adamax_adapters.backends.BACKENDS`, or a backend object.

    Returns
    -------
    list of (param, *state)
        For each parameter the arrays after the step: those that were given, written to, or new
        ones where a library has no writable arrays.

    Raises
    ------
    TypeError, ValueError
        If a parameter or its state cannot be written to, or a gradient does not fit. Nothing has
        changed then. The message names the parameter by its index.

    Examples
    --------
    >>> from adamax.rule import coefficients
    >>> p, m, u = np.ones(2), np.zeros(2), np.zeros(2)
    >>> c = coefficients(1, learning_rate=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    >>> ((p_new, _, _),) = advance([p], [np.full(2, 4.0)], ([m], [u]), c, recent=Recent())
    >>> p_new is p, p
    (True, array([0.5, 0.5]))
    """
    if not params:
        return []
    columns = [("gradients", gradients), *zip(rule.state, state, strict=True)]
    for name, column in columns:
        if len(column) != len(params):
            raise ValueError(f"Expected {len(params)} {name}, as params, received {len(column)}")
    given = [*zip(params, *state, strict=True)]
    step = _prepared(given, gradients, recent, rule, backend)
    same = all(m.dtype == param.dtype for param, m, *_ in given)
    if not (same and step.fits(gradients)):
        gradients = _ready(gradients, step)
    write = step.prepare(gradients, c)
    held = hold()
    try:
        write()
    finally:
        release(held)
    if not is_immutable(params[0]):
        return given
    return [tuple([part.held for part in target]) for target in step.targets]


def _prepared(
    given: Sequence[tuple[Array, ...]],
    gradients: Sequence[Any],
    recent: Recent[Prepared],
    rule: Rule,
    backend: Any,
) -> Prepared:
    """Return the step of these arrays, of the same memory, or a new one."""
    arrays = [x for group in given for x in group]
    sparse = indices_of_slices(gradients)
    by_identity: Hashable = (backend, rule, sparse, *map(id, arrays))
    step = recent.find(by_identity)
    if step is not None and step.is_current():
        return step
    by_memory: Hashable = (backend, rule, sparse, *map(memory_of, arrays))
    step = recent.find(by_memory)
    if step is not None and step.is_current():
        return step
    targets = [tuple(map(Alias.of_given, group, _names(i, rule))) for i, group in enumerate(given)]
    parts = [part for target in targets for part in target]
    for target in targets:
        for part in target:
            updatable(part)
            if part.shape != target[0].shape:
                raise ValueError(
                    f"Expected an array of shape {target[0].shape}, as its parameter, received "
                    f"{part.shape}, for {part.name}"
                )
    step = Prepared(targets, gradients, backend, rule, watched=parts)
    if not is_immutable(arrays[0]):  # whose next step has other ones
        recent.keep(step, by_memory, by_identity)
    return step


def _names(i: int, rule: Rule) -> list[str]:
    return [f"params[{i}]", *(f"the state {name} of params[{i}]" for name in rule.state)]


def _ready(gradients: Sequence[Any], step: Prepared) -> Sequence[Any]:
    """Return gradients, checked, in the dtype of the state and in memory of their own."""
    # NumPy alone would warn of a gradient that is too large for its parameter, or infinite.
    with np.errstate(all="ignore"):
        return [
            apart(with_values(_in_dtype_of(m.held), checked(grad, param)), step.owners)
            for grad, (param, m, *_) in zip(gradients, step.targets, strict=True)
        ]


def _in_dtype_of(like: Array) -> Callable[[Array], Array]:
    return lambda x: in_dtype(x, like.dtype, array_namespace(like))
