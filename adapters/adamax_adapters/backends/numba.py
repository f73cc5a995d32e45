"""The rule compiled by numba: one pass over memory, for arrays and tensors on the host."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from adamax._arrays import Array
from adamax.rule import Coefficients
from adamax.sparse import IndexedSlices
from adamax_adapters.backends import memory, table
from adamax_adapters.backends.contract import Target, Write
from adamax_adapters.backends.threads import share_out
from adamax_adapters.backends.trace import trace

__all__ = ["dense", "kernel", "rows"]

# Without fastmath nothing is reordered and no product is fused with a sum: the bits are NumPy's.
_compile = partial(numba.njit, error_model="numpy", nogil=True)


@_compile
def _rule(p, g, m, u, c, xp):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    m = m + (g - m) * c.one_minus_beta_1  # until the loop is made from the trace
    u = np.maximum(u * c.beta_2, np.abs(g))
    return p - (m / (u + c.epsilon)) * c.step_size, m, u


def kernel(dtype: Any, size: int) -> memory.Run:
    """Return what advances contiguous arrays of one dtype, in one dimension, in place."""
    return _run


def _run(p: Array, g: Array, m: Array, u: Array, c: Coefficients) -> None:
    scalars = _in_dtype(c, m)
    share_out(lambda start, stop: _loop(*(x[start:stop] for x in (p, g, m, u)), scalars), m.size)


def together(
    params: Sequence[Array], p: Array, g: Array, m: Array, u: Array
) -> Callable[[Coefficients], None]:
    """Return what advances small arrays where they are; `p` is not needed."""
    addresses = np.array([x.ctypes.data for x in params], np.uintp)
    ends = np.cumsum([x.size for x in params])
    return lambda c: _scattered_loop(addresses, ends, g, m, u, _in_dtype(c, m))


dense = partial(memory.dense, kernel, together)


def rows(target: Target, slices: IndexedSlices, c: Coefficients) -> Write:
    """Prepare a step of the listed rows of a table, where they are."""
    p, m, u = arrays = [np.asarray(part.held) for part in target]
    count = slices.indices.shape[0]
    if count == 0 or not all(memory.is_plain(x, m.dtype) for x in arrays):
        return table.rows(kernel, target, slices, c)
    width = prod(p.shape[1:])
    g = np.broadcast_to(np.asarray(slices.values), (count, *p.shape[1:]))
    g = np.ascontiguousarray(g).reshape(count, width)
    indices, order = table.in_order(np.asarray(slices.indices))
    first = np.flatnonzero(np.concatenate([[True], indices[1:] != indices[:-1], [True]]))
    p, m, u = (x.reshape(x.shape[0], width) for x in (p, m, u))
    scalars = _in_dtype(c, m)

    def loop(start: int, stop: int) -> None:
        _rows_loop(first[start : stop + 1], indices, order, p, g, m, u, scalars)

    def write() -> None:
        share_out(loop, first.shape[0] - 1, width)
        memory.tell_torch(memory.tensors_of([target]))

    return write


def _in_dtype(c: Coefficients, like: Array) -> Coefficients:
    """Return scalars of an array's dtype: a double would promote all that it meets."""
    return Coefficients(*map(like.dtype.type, c))


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing_context: Any, address: Any) -> Any:
    """Return the pointer that an integer is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def _kept(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function that is kept on disk, where there is a folder to write to."""
    try:
        compiled: Callable[..., None] = _compile(function, cache=True)
    except RuntimeError:
        compiled = _compile(function)
    return compiled


def _loop_of(version: str) -> Callable[..., None]:
    def loop(p: Any, g: Any, m: Any, u: Any, c: Any) -> None:
        version  # noqa: B018 - numba looks at this file alone, and would not see the rule change
        for i in range(p.size):
            p[i], m[i], u[i] = _rule(p[i], g[i], m[i], u[i], c, np)

    return _kept(loop)


def _scattered_loop_of(version: str) -> Callable[..., None]:
    def scattered_loop(addresses: Any, ends: Any, g: Any, m: Any, u: Any, c: Any) -> None:
        version  # noqa: B018 - as above
        start = 0
        for address, end in zip(addresses, ends):  # noqa: B905 - numba knows no strict
            p = numba.carray(_pointer(address), end - start, m.dtype)
            _loop(p, g[start:end], m[start:end], u[start:end], c)
            start = end

    return _kept(scattered_loop)


def _rows_loop_of(version: str) -> Callable[..., None]:
    def rows_loop(
        first: Any, indices: Any, order: Any, p: Any, g: Any, m: Any, u: Any, c: Any
    ) -> None:
        version  # noqa: B018 - as above
        for i in range(first.size - 1):
            start, stop = first[i], first[i + 1]
            row, total = indices[start], g[order[start]]
            if stop - start > 1:
                sums = g[order[start:stop]]
                distance = 1
                while distance < stop - start:
                    for j in range(0, stop - start - distance, 2 * distance):
                        sums[j] += sums[j + distance]
                    distance *= 2
                total = sums[0]
            for k in range(p.shape[1]):
                p[row, k], m[row, k], u[row, k] = _rule(
                    p[row, k], total[k], m[row, k], u[row, k], c, np
                )

    return _kept(rows_loop)


_VERSION = repr(trace())
_loop = _loop_of(_VERSION)
_scattered_loop = _scattered_loop_of(_VERSION)
_rows_loop = _rows_loop_of(_VERSION)
