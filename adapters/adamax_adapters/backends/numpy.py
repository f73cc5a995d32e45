"""The rule replayed in NumPy's own calls, which write into blocks that the cache holds."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adamax._arrays import Array
from adamax.rule import Coefficients
from adamax_adapters.backends import memory, table
from adamax_adapters.backends.replay import SCRATCH, calls
from adamax_adapters.backends.threads import share_out, threads_for

__all__ = ["BLOCK", "GATHERED_BLOCK", "THREADS", "dense", "kernel", "rows"]

BLOCK = 1 << 20
"""Bytes of a block: blocks of all arrays are in a cache, and threads seldom wait for each other."""

GATHERED_BLOCK = 1 << 18
"""Bytes of a block of small arrays: one thread, with a cache of its own, does without more."""

THREADS = 4
"""Threads at most: NumPy's calls begin one after the other, and each thread needs a scratch."""


def kernel(dtype: Any, size: int) -> memory.Run:
    """Return what advances contiguous arrays of one dtype, in one dimension, in place."""
    threads = max(threads_for(size, most=THREADS), 1)
    # A thread takes a scratch out, and puts it back.
    free = [_scratch(dtype, size, BLOCK) for _ in range(threads)]

    def run(p: Array, g: Array, m: Array, u: Array, c: Coefficients) -> None:
        scalars = c._asdict()

        def part(a: int, b: int) -> None:
            scratch = free.pop()
            for call in _calls(p[a:b], g[a:b], m[a:b], u[a:b], scalars, scratch):
                call()
            free.append(scratch)

        share_out(part, m.size, most=THREADS)

    return run


def _scratch(dtype: Any, size: int, block: int) -> list[Array]:
    """Return buffers for arrays of so many elements, in blocks of at most so many bytes."""
    return [np.empty(min(block // dtype.itemsize, size), dtype) for _ in SCRATCH]


def _calls(
    p: Array, g: Array, m: Array, u: Array, scalars: dict[str, Any], scratch: Sequence[Array]
) -> list[Callable[[], Any]]:
    """Return the calls that advance arrays, in blocks as long as the buffers of the scratch."""
    length = scratch[0].size
    found: list[Callable[[], Any]] = []
    for start in range(0, m.size, length or 1):
        stop = min(start + length, m.size)
        values = {"p": p[start:stop], "g": g[start:stop], "m": m[start:stop], "u": u[start:stop]}
        values |= {name: x[: stop - start] for name, x in zip(SCRATCH, scratch, strict=True)}
        found += calls(values | scalars, np)
    return found


def together(
    params: Sequence[Array], p: Array, g: Array, m: Array, u: Array
) -> Callable[[Coefficients], None]:
    """Return what advances small arrays, which are gathered in `p`."""
    scalars = {name: np.empty((), m.dtype) for name in Coefficients._fields}
    prepared = _calls(p, g, m, u, scalars, _scratch(m.dtype, m.size, GATHERED_BLOCK))
    ends = np.cumsum([x.size for x in params])
    parts = np.split(p, ends[:-1])
    # Bytes are copied at half the price of numbers.
    copies = [(_bytes(param), _bytes(part)) for param, part in zip(params, parts, strict=True)]

    def advance(c: Coefficients) -> None:
        np.concatenate(params, axis=None, out=p)
        for name, value in c._asdict().items():
            scalars[name][...] = value
        for call in prepared:
            call()
        for param, part in copies:
            param[:] = part

    return advance


def _bytes(x: Array) -> memoryview:
    return memoryview(x.reshape(-1)).cast("B")


dense = partial(memory.dense, kernel, together)
rows = partial(table.rows, kernel)
