"""A kernel at work on some rows of a table in the host's memory; the others cost nothing."""

import numpy as np

from adamax._arrays import Array
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.sparse import IndexedSlices
from adamax_adapters.backends.contract import Target, Write
from adamax_adapters.backends.memory import Kernel, tell_torch, tensors_of, whole

__all__ = ["in_order", "rows"]


def rows(
    kernel: Kernel, target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX
) -> Write:
    """Prepare a step of copies of the listed rows of a table, which are then put back."""
    p, *state = arrays = [np.asarray(part.held) for part in target]
    values = np.asarray(slices.values)
    count = values.shape[0]
    if count == 0:
        return lambda: None
    indices, order = in_order(np.asarray(slices.indices))
    touched, grad = _summed(indices, np.broadcast_to(values, (count, *p.shape[1:]))[order])
    parts = [np.take(x, touched, axis=0) for x in arrays]
    run = kernel(rule, state[-1].dtype, grad.size)
    advance = whole(run, [parts[0], grad, *parts[1:]], rule.scalars_of(c))

    def write() -> None:
        advance()  # in threads, perhaps, for which no interrupted thread must wait
        for x, part in zip(arrays, parts, strict=True):
            x[touched] = part
        tell_torch(tensors_of([target]))

    return write


def in_order(indices: Array) -> tuple[Array, Array]:
    """Return the indices in ascending order, and where each was; equal ones stay in order."""
    bits = indices.shape[0].bit_length()
    if int(indices.max()).bit_length() + bits > 63:
        order = np.argsort(indices, kind="stable")
        return indices[order], order
    # One sort of integers that hold both is several times faster than a stable sort of indices.
    both = indices.astype(np.int64) << bits
    both |= np.arange(indices.shape[0])
    both.sort()
    return both >> bits, both & ((1 << bits) - 1)


def _summed(indices: Array, values: Array) -> tuple[Array, Array]:
    """Return the distinct indices and the sum of the values of each.

    `indices` ascend. Sums are taken pairwise, as `adamax.sparse.sum_duplicates` takes them.
    """
    count = indices.shape[0]
    first = np.flatnonzero(np.concatenate([[True], indices[1:] != indices[:-1]]))
    lengths = np.diff(first, append=count)
    longest = lengths.max()
    if longest > 1:
        rank = np.arange(count) - np.repeat(first, lengths)
        left = np.repeat(lengths, lengths) - rank
        distance = 1
        while distance < longest:
            at = np.flatnonzero((rank % (2 * distance) == 0) & (left > distance))
            values[at] += values[at + distance]
            distance *= 2
        values = values[first]
    return indices[first], values
