"""JAX: one compiled call a step, to which arrays of the last step are donated.

JAX reuses the memory of an array only if the array is donated, which deletes it and every other
array of that memory. So a step donates what the step before has made and nobody has read since: of
an array that was read there may be an alias, which no count of references shows. Where parameters
are read at every step, the backend `jax_donated` donates them all the same.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias
from weakref import ref

import jax
import jax.numpy as jnp
from jax import lax

from adamax._arrays import Array
from adamax.layout import devices_of
from adamax.rule import Coefficients
from adamax.sparse import IndexedSlices, set_rows, sum_duplicates
from adamax.variable import Variable
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.backends.trace import ARRAYS, trace

__all__ = ["dense", "rows"]

Parts: TypeAlias = list[Array]
"""Parameters, their first moments, or their infinity norms."""

_TRACE = trace()
_SUMMANDS = {
    name
    for op, operands, _ in _TRACE.instructions
    if op in ("add", "subtract")
    for name in operands
}
"""What is added or subtracted: a product among them could be fused with its sum."""

_made: dict[int, ref[Array]] = {}
"""The array that a step has made, by the identity of the variable that it was made for."""


def dense(targets: Sequence[Target], donate_read: bool = False) -> Prepare:
    """Return what prepares a step of `targets`, in one call for each set of devices.

    Parameters
    ----------
    donate_read : bool
        Whether parameters are also donated that have been read since the last step, if Python
        refers to them nowhere else.
    """
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, (variable, _, _) in enumerate(targets):
        groups[frozenset(devices_of(variable.held) or ())].append(place)
    if len(groups) == 1:
        return partial(_prepared, _dense_step, targets, donate_read)
    jobs = [(places, [targets[place] for place in places]) for places in groups.values()]

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        writes = [
            _prepared(_dense_step, part, donate_read, [gradients[place] for place in places], c)
            for places, part in jobs
        ]
        return lambda: [write() for write in writes]

    return prepare


def rows(
    target: Target, slices: IndexedSlices, c: Coefficients, donate_read: bool = False
) -> Write:
    """Prepare a step of the listed rows of a table; the others are not read."""
    listed = IndexedSlices(slices.values, slices.indices)
    return _prepared(_rows_step, [target], donate_read, listed, c)


def _prepared(
    step: Callable[..., Any], targets: Sequence[Target], donate_read: bool, *args: Any
) -> Write:
    columns = list(zip(*targets, strict=True))
    are_spare = [_is_spare(column, donate_read and i == 0) for i, column in enumerate(columns)]
    if any(are_spare):  # what is donated is gone as soon as the call has begun
        return lambda: _keep(columns, _called(step, columns, are_spare, *args))
    return partial(_keep, columns, _called(step, columns, are_spare, *args))


def _called(
    step: Callable[..., Any],
    columns: Sequence[Sequence[Variable]],
    are_spare: list[bool],
    *args: Any,
) -> Any:
    parts = [[part.held for part in column] for column in columns]
    pairs = list(zip(parts, are_spare, strict=True))
    given = [arrays if is_spare else None for arrays, is_spare in pairs]
    lent = [None if is_spare else arrays for arrays, is_spare in pairs]
    del parts, pairs
    return step(given, lent, *args, 0)


def _keep(columns: Sequence[Sequence[Variable]], arrays: Sequence[Parts]) -> None:
    for column, new in zip(columns, arrays, strict=True):
        _made.update(zip(map(id, column), map(ref, new), strict=True))
        for part, array in zip(column, new, strict=True):
            part.held, part._was_read = array, False


def _is_spare(column: Sequence[Variable], although_read: bool) -> bool:
    """Say whether arrays may be donated: made here, not read since, and held by nobody else."""
    if not although_read and any(part._was_read for part in column):
        return False
    arrays = [part.held for part in column]
    if _holders(arrays) > _ALONE:
        return False
    made = map(_made.get, map(id, column))
    return all(known and known() is x for known, x in zip(made, arrays, strict=True))


def _holders(arrays: Parts) -> int:
    """Return how often Python refers to the array that it refers to most."""
    return max(map(sys.getrefcount, arrays))


_variable = [object()]
_ALONE = _holders(list(_variable))  # as Python counts an array in a variable and in a list


@partial(jax.jit, donate_argnums=0)
def _dense_step(
    given: list[Parts | None],
    lent: list[Parts | None],
    gradients: Sequence[Array],
    c: Coefficients,
    zero: Array,
) -> tuple[Any, ...]:
    new = [
        _replayed(p, g, m, u, c, zero)
        for p, g, m, u in zip(*_inserted(_joined(given, lent), gradients), strict=True)
    ]
    return tuple(zip(*new, strict=True))


@partial(jax.jit, donate_argnums=0)
def _rows_step(
    given: list[Parts | None],
    lent: list[Parts | None],
    slices: IndexedSlices,
    c: Coefficients,
    zero: Array,
) -> tuple[Any, ...]:
    tables = [table for (table,) in _joined(given, lent)]
    shape = (slices.indices.shape[0], *tables[0].shape[1:])
    values = jnp.broadcast_to(slices.values, shape)
    grad, indices, _ = sum_duplicates(IndexedSlices(values, slices.indices), jnp)
    p, m, u = (jnp.take(table, indices, axis=0, mode="clip") for table in tables)
    new = _replayed(p, grad, m, u, c, zero)
    return tuple(
        [set_rows(table, indices, row, jnp)] for table, row in zip(tables, new, strict=True)
    )


def _joined(given: list[Parts | None], lent: list[Parts | None]) -> list[Parts]:
    return [mine or theirs or [] for mine, theirs in zip(given, lent, strict=True)]


def _inserted(parts: list[Parts], gradients: Sequence[Array]) -> tuple[Any, ...]:
    params, m, u = parts
    return params, gradients, m, u


def _replayed(
    p: Array, g: Array, m: Array, u: Array, c: Coefficients, zero: Array
) -> tuple[Array, Array, Array]:
    """Execute the trace of the rule in the dtype of m, one rounding per operation."""
    values: dict[str, Any] = dict(zip(ARRAYS, (p.astype(m.dtype), g, m, u), strict=True))
    values |= c._asdict()
    for op, operands, result in _TRACE.instructions:
        values[result] = getattr(jnp, op)(*[values[name] for name in operands])
        if op == "multiply" and result in _SUMMANDS:
            values[result] = _rounded(values[result], zero)
    new = [values[name] for name in _TRACE.outputs]
    return new[0].astype(p.dtype), new[1], new[2]


def _rounded(product: Array, zero: Array) -> Array:
    """Return a product that cannot be fused with the sum that it goes into, which rounds once.

    For all that the compiler knows, its bits change in between.
    """
    bits = jnp.dtype(f"int{8 * product.dtype.itemsize}")
    return lax.bitcast_convert_type(lax.bitcast_convert_type(product, bits) | zero, product.dtype)
