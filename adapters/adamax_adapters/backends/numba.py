"""A rule compiled by numba: one pass over memory, for arrays and tensors on the host."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from hashlib import sha256
from math import prod
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from adamax._arrays import Array
from adamax.rule import ADAMAX, Coefficients, Rule
from adamax.sparse import IndexedSlices
from adamax_adapters.backends import memory, table
from adamax_adapters.backends.contract import Target, Write
from adamax_adapters.backends.numba_source import sources
from adamax_adapters.backends.threads import share_out

__all__ = ["dense", "kernel", "rows"]


class Loops(NamedTuple):
    """The loops of a rule, which numba compiles for a dtype when they are first called."""

    dense: Callable[..., None]
    scattered: Callable[..., None]
    rows: Callable[..., None]


def kernel(rule: Rule, dtype: Any, size: int) -> memory.Run:
    """Return what advances contiguous arrays of one dtype, in one dimension, in place."""
    return partial(_run, _loops(rule).dense)


def _run(loop: Callable[..., None], arrays: Sequence[Array], scalars: Sequence[float]) -> None:
    given = _in_dtype(scalars, arrays[0].dtype)
    share_out(lambda a, b: loop(*[x[a:b] for x in arrays], given), arrays[0].size)


def together(
    rule: Rule, params: Sequence[Array], arrays: Sequence[Array]
) -> Callable[[Sequence[float]], None]:
    """Return what advances small arrays where they are; the buffer for p is not needed."""
    loop = _loops(rule).scattered
    _, g, *state = arrays
    addresses = np.array([x.ctypes.data for x in params], np.uintp)
    ends = np.cumsum([x.size for x in params])
    return lambda scalars: loop(addresses, ends, g, *state, _in_dtype(scalars, g.dtype))


dense = partial(memory.dense, kernel, together)


def rows(target: Target, slices: IndexedSlices, c: Coefficients, rule: Rule = ADAMAX) -> Write:
    """Prepare a step of the listed rows of a table, where they are."""
    arrays = [np.asarray(part.held) for part in target]
    p, dtype = arrays[0], arrays[-1].dtype
    count = slices.indices.shape[0]
    if count == 0 or not all(memory.is_plain(x, dtype) for x in arrays):
        return table.rows(kernel, target, slices, c, rule)
    width = prod(p.shape[1:])
    g = np.broadcast_to(np.asarray(slices.values), (count, *p.shape[1:]))
    g = np.ascontiguousarray(g).reshape(count, width)
    indices, order = table.in_order(np.asarray(slices.indices))
    first = np.flatnonzero(np.concatenate([[True], indices[1:] != indices[:-1], [True]]))
    p, *state = (x.reshape(x.shape[0], width) for x in arrays)
    rows_loop, scalars = _loops(rule).rows, _in_dtype(rule.scalars_of(c), dtype)

    def loop(start: int, stop: int) -> None:
        rows_loop(first[start : stop + 1], indices, order, p, g, *state, scalars)

    def write() -> None:
        share_out(loop, first.shape[0] - 1, width)
        memory.tell_torch(memory.tensors_of([target]))

    return write


def _in_dtype(scalars: Sequence[float], dtype: Any) -> tuple[Any, ...]:
    """Return scalars of a dtype: a double would promote all that it meets."""
    return tuple([dtype.type(x) for x in scalars])


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing_context: Any, address: Any) -> Any:
    """Return the pointer that an integer is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@cache
def _loops(rule: Rule) -> Loops:
    """Return the loops of a rule, kept on disk if there is a folder to write to.

    What is kept is found by this file and the name of a function, and not by its source.
    """
    known: dict[str, Any] = {"__name__": __name__, "np": np, "numba": numba, "pointer": _pointer}
    written = sources(rule)
    suffix = sha256("".join(written).encode()).hexdigest()[:16]
    for name, source in written._asdict().items():
        exec(compile(source, __file__, "exec"), known)
        known[name].__qualname__ = f"{name}_{suffix}"
        known[name] = _compiled(known[name])
    return Loops(*[known[name] for name in Loops._fields])


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    # Without fastmath nothing is reordered, and no product is fused with a sum, as in NumPy.
    compiler = partial(numba.njit, error_model="numpy", nogil=True)
    try:
        compiled: Callable[..., None] = compiler(function, cache=True)
    except RuntimeError:
        compiled = compiler(function)
    return compiled
