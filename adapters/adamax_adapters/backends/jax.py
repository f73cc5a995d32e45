"""JAX: one compiled call a step, to which arrays of the last step are donated.

JAX reuses the memory of an array only if the array is donated, which deletes it and every other
array of that memory. So a step donates what the step before has made and nobody has read since.
Where parameters are read at every step, the backend `jax_donated` donates them all the same.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from adamax._arrays import Array, in_dtype
from adamax.layout import devices_of
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.sparse import IndexedSlices, set_rows, sum_duplicates
from adamax_adapters.backends.contract import Prepare, Target, Write
from adamax_adapters.backends.donation import Column, Donate, keep, unread
from adamax_adapters.backends.trace import trace

__all__ = ["dense", "rows"]

Parts: TypeAlias = list[Array]
"""The arrays of a column of the targets."""


def dense(targets: Sequence[Target], rule: Rule = ADAMAX, *, donate: Donate = unread) -> Prepare:
    """Return what prepares a step of `targets`, in one call for each set of devices."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, target in enumerate(targets):
        groups[frozenset(devices_of(target[0].held) or ())].append(index)
    jobs = [(indices, _columns([targets[i] for i in indices])) for indices in groups.values()]

    def prepare(gradients: Sequence[Array], c: Coefficients) -> Write:
        writes = [
            _prepared(_dense_step, columns, donate, [gradients[i] for i in indices], c, rule)
            for indices, columns in jobs
        ]
        return lambda: [write() for write in writes]

    return prepare


def rows(
    target: Target,
    slices: IndexedSlices,
    c: Coefficients,
    rule: Rule = ADAMAX,
    *,
    donate: Donate = unread,
) -> Write:
    """Prepare a step of the listed rows of a table; the others are not read."""
    listed = IndexedSlices(slices.values, slices.indices)
    return _prepared(_rows_step, _columns([target]), donate, listed, c, rule)


def _columns(targets: Sequence[Target]) -> list[Column]:
    return list(zip(*targets, strict=True))


def _prepared(
    step: Callable[..., Any],
    columns: Sequence[Column],
    donate: Donate,
    gradients: Any,
    c: Coefficients,
    rule: Rule,
) -> Write:
    are_donated = donate(columns)
    how = step, columns, are_donated, gradients, rule.scalars_of(c), rule
    if any(are_donated):  # what is donated is gone as soon as the call has begun
        return lambda: keep(columns, _called(*how))
    return partial(keep, columns, _called(*how))


def _called(
    step: Callable[..., Any],
    columns: Sequence[Column],
    are_donated: Sequence[bool],
    *args: Any,
) -> Any:
    parts = [[part.held for part in column] for column in columns]
    pairs = list(zip(parts, are_donated, strict=True))
    given = [arrays if is_donated else None for arrays, is_donated in pairs]
    lent = [None if is_donated else arrays for arrays, is_donated in pairs]
    del parts, pairs
    return step(given, lent, 0, *args)


@partial(jax.jit, donate_argnames="given", static_argnames="rule")
def _dense_step(
    given: list[Parts | None],
    lent: list[Parts | None],
    zero: Array,
    gradients: Sequence[Array],
    scalars: tuple[Any, ...],
    rule: Rule,
) -> tuple[Any, ...]:
    params, *state = _joined(given, lent)
    new = [
        _replayed(rule, arrays, scalars, zero)
        for arrays in zip(params, gradients, *state, strict=True)
    ]
    return tuple(zip(*new, strict=True))


@partial(jax.jit, donate_argnames="given", static_argnames="rule")
def _rows_step(
    given: list[Parts | None],
    lent: list[Parts | None],
    zero: Array,
    slices: IndexedSlices,
    scalars: tuple[Any, ...],
    rule: Rule,
) -> tuple[Any, ...]:
    tables = [table for (table,) in _joined(given, lent)]
    shape = (slices.indices.shape[0], *tables[0].shape[1:])
    values = jnp.broadcast_to(slices.values, shape)
    grad, indices, _ = sum_duplicates(IndexedSlices(values, slices.indices), jnp)
    p, *state = (jnp.take(table, indices, axis=0, mode="clip") for table in tables)
    new = _replayed(rule, (p, grad, *state), scalars, zero)
    return tuple(
        [set_rows(table, indices, row, jnp)] for table, row in zip(tables, new, strict=True)
    )


def _joined(given: list[Parts | None], lent: list[Parts | None]) -> list[Parts]:
    return [mine or theirs or [] for mine, theirs in zip(given, lent, strict=True)]


def _replayed(
    rule: Rule, arrays: Sequence[Array], scalars: Sequence[Any], zero: Array
) -> tuple[Array, ...]:
    """Execute the trace of a rule in the dtype of its state, one rounding per operation."""
    traced = trace(rule)
    # A product that is added or subtracted could be fused with its sum.
    sums = [x.operands for x in traced.instructions if x.op in ("add", "subtract")]
    summands = {name for operands in sums for name in operands}
    p, compute = arrays[0], arrays[2].dtype
    values: dict[str, Any] = dict(zip(traced.arrays, arrays, strict=True))
    values |= zip(traced.scalars, [in_dtype(x, compute, jnp) for x in scalars], strict=True)
    values["p"] = in_dtype(p, compute, jnp)
    for op, operands, result in traced.instructions:
        values[result] = getattr(jnp, op)(*[values[name] for name in operands])
        if op == "multiply" and result in summands:
            values[result] = _rounded(values[result], zero)
    new, *state = (values[name] for name in traced.outputs)
    return in_dtype(new, p.dtype, jnp), *state


def _rounded(product: Array, zero: Array) -> Array:
    """Return a product that cannot be fused with the sum that it goes into, which rounds once.

    For all that the compiler knows, its bits change in between.
    """
    bits = jnp.dtype(f"int{8 * product.dtype.itemsize}")
    return lax.bitcast_convert_type(lax.bitcast_convert_type(product, bits) | zero, product.dtype)
