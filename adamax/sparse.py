"""Gradients of some rows of a table: duplicate rows summed, the same rule on the touched rows.

Written in standard calls whose shapes do not depend on the data, so that it traces, needs no
optional feature of the standard, and never waits for a device. The trick: duplicates are not
removed. Every occurrence of a row gets that row's whole sum, so each computes the same new row
and it does not matter which of them is written.
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeAlias

from adamax._arrays import (
    Array,
    Namespace,
    array_namespace,
    device_of,
    is_jax_array,
    is_torch_array,
    rows_assignable,
)
from adamax._public import public
from adamax.rule import ADAMAX, Coefficients, Rule, advanced
from adamax.typing import IndicesT, ValuesT

__all__ = [
    "Gradient",
    "IndexedSlices",
    "as_slices",
    "rows_of",
    "set_rows",
    "step_rows",
    "sum_duplicates",
]


@public
class IndexedSlices(NamedTuple, Generic[ValuesT, IndicesT]):
    """The gradient of some rows of a table, as an embedding lookup has.

    ``values[i]`` is the gradient of row ``indices[i]``. Gradients of a repeated index are summed.
    Unlisted rows and their moments do not change.

    Parameters
    ----------
    values : Array, shape (k, ...)
        Real floating dtype. A row may be broadcastable to the table's row shape.
    indices : Array, shape (k,)
        int32 or int64, each in [0, number of rows).
    dense_shape : tuple of int, optional
        Shape of the table. Carried for the caller; the table's own shape is what counts.

    Notes
    -----
    The counterpart of `tf.IndexedSlices`.
    """

    values: ValuesT
    indices: IndicesT
    dense_shape: tuple[int, ...] | None = None


Gradient: TypeAlias = Array | IndexedSlices
"""What a parameter's gradient may be: an array of its shape, or some of its rows."""


def as_slices(grad: Any, name: str) -> Any:
    """Return a sparse gradient of torch, such as `nn.Embedding(sparse=True)` has, as IndexedSlices.

    Anything else is returned as it is. ValueError if the tensor does not list whole rows.
    """
    if not (is_torch_array(grad) and str(grad.layout).startswith("torch.sparse")):
        return grad
    if not grad.is_sparse or grad.sparse_dim() != 1:
        raise ValueError(
            f"Expected a dense gradient, or one that lists rows as nn.Embedding(sparse=True) has, "
            f"received a tensor of layout {grad.layout}, for {name}; call to_dense() on it"
        )
    return IndexedSlices(grad._values(), grad._indices().squeeze(0), tuple(grad.shape))


def sum_duplicates(slices: IndexedSlices, xp: Namespace) -> IndexedSlices:
    """Return the slices in row order, every occurrence of a row holding that row's whole sum.

    The sums are taken in order of appearance, pairwise, and do not depend on the machine.
    """
    order = xp.argsort(slices.indices, stable=True)
    indices = xp.take(slices.indices, order)
    values = xp.take(slices.values, order, axis=0)
    count = indices.shape[0]
    distance = 1
    # After each turn values[i] is the sum of the next 2 * distance values of its own row.
    while distance < count:
        same = xp.reshape(
            indices[distance:] == indices[:-distance], (-1,) + (1,) * (values.ndim - 1)
        )
        ahead = xp.where(same, values[distance:, ...], xp.zeros_like(values[distance:, ...]))
        values = xp.concat([values[:-distance, ...] + ahead, values[-distance:, ...]])
        distance *= 2
    first = xp.searchsorted(indices, indices)
    return IndexedSlices(xp.take(values, first, axis=0), indices, slices.dense_shape)


def rows_of(
    param: Array,
    slices: IndexedSlices,
    state: Sequence[Array],
    c: Coefficients,
    *,
    rule: Rule = ADAMAX,
    xp: Namespace | None = None,
) -> tuple[Array, ...]:
    """Return ``(indices, param_rows, *state_rows)``: the touched rows after one step.

    Equal indices carry equal rows.
    """
    xp = array_namespace(param, slices.values, *state) if xp is None else xp
    shape = (slices.indices.shape[0], *param.shape[1:])
    # A row may be shorter where it broadcasts, as one column for all.
    values = xp.broadcast_to(slices.values, shape)
    grad, indices, _ = sum_duplicates(IndexedSlices(values, slices.indices), xp)
    within = _within(indices, param.shape[0], xp)
    p, *state_rows = (xp.take(x, within, axis=0) for x in (param, *state))
    return indices, *advanced(rule, p, grad, state_rows, c, xp)


def set_rows(table: Array, indices: Array, rows: Array, xp: Namespace) -> Array:
    """Return `table` with ``rows[i]`` at row ``indices[i]``; equal indices carry equal rows.

    `indices` are in ascending order. Those outside the table are left out. `table` is not
    written to.
    """
    count = table.shape[0]
    if 0 in indices.shape:
        return table
    if is_jax_array(table):
        beyond = xp.where(indices < 0, count, indices)
        return table.at[beyond].set(rows, mode="drop")
    if rows_assignable(table):
        table = xp.asarray(table, copy=True)
        inside = (indices >= 0) & (indices < count)
        table[indices[inside]] = rows[inside]
        return table
    # The standard has no assignment through an array of indices: each table row looks itself up.
    own = xp.arange(count, dtype=indices.dtype, device=device_of(indices))
    at = _within(xp.searchsorted(indices, own), indices.shape[0], xp)
    found = xp.reshape(xp.take(indices, at) == own, (-1,) + (1,) * (table.ndim - 1))
    return xp.where(found, xp.take(rows, at, axis=0), table)


def step_rows(
    param: Array,
    slices: IndexedSlices,
    state: Sequence[Array],
    c: Coefficients,
    *,
    rule: Rule = ADAMAX,
    xp: Namespace | None = None,
) -> tuple[Array, ...]:
    """Advance the listed rows of a table by one step of a rule, and leave the others as they are.

    Parameters
    ----------
    param : Array, shape (n, ...)
        Real floating dtype. Not written to.
    slices : IndexedSlices
        The gradient.
    state : sequence of Array
        The arrays of ``rule.state``, of that shape: by default m and u. Not written to.
    c : Coefficients
        The scalars of this step, from `adamax.rule.coefficients`.
    rule : Rule, optional
    xp : namespace, optional
        Default: inferred from the arrays.

    Returns
    -------
    (param, *state) : new arrays
        Shape, dtype, device and namespace of the inputs.

    Raises
    ------
    TypeError
        If the arrays come from different libraries.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax.rule import coefficients
    >>> c = coefficients(1, learning_rate=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    >>> table, slices = np.ones((3, 1)), IndexedSlices(np.full((2, 1), 2.0), np.array([2, 2]))
    >>> p, m, u = step_rows(table, slices, (np.zeros((3, 1)), np.zeros((3, 1))), c)
    >>> print(p[:, 0], m[:, 0], u[:, 0])
    [1.  1.  0.5] [0. 0. 2.] [0. 0. 4.]
    """
    xp = array_namespace(param, slices.values, *state) if xp is None else xp
    indices, *rows = rows_of(param, slices, state, c, rule=rule, xp=xp)
    pairs = zip((param, *state), rows, strict=True)
    return tuple([set_rows(x, indices, row, xp) for x, row in pairs])


def _within(indices: Array, count: int, xp: Namespace) -> Array:
    """Return `indices` moved to the nearest of ``0 .. count - 1``."""
    return xp.clip(indices, 0, max(count - 1, 0))
