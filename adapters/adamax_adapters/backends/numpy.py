"""The rule replayed in NumPy's own calls, which write into blocks that the cache holds."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adamax._arrays import Array
from adamax.rule import Coefficients
from adamax_adapters.backends import memory, table
from adamax_adapters.backends.replay import SCRATCH, calls
from adamax_adapters.backends.threads import share_out

__all__ = ["BLOCK", "GATHERED_BLOCK", "THREADS", "dense", "kernel", "rows"]

BLOCK = 1 << 20
"""Bytes of a block: blocks of all arrays are in a cache, and threads seldom wait for each other."""

GATHERED_BLOCK = 1 << 18
"""Bytes of a block of small arrays: one thread, with a cache of its own, does without more."""

THREADS = 4
"""Threads at most: NumPy's calls begin one after the other, and each thread needs a scratch."""


def kernel(p: Array, g: Array, m: Array, u: Array, c: Coefficients) -> None:
    """Advance contiguous arrays of one dtype, in one dimension, in place."""
    share_out(lambda a, b: _advance(p[a:b], g[a:b], m[a:b], u[a:b], c), m.size, most=THREADS)


def _advance(p: Array, g: Array, m: Array, u: Array, c: Coefficients) -> None:
    for call in _calls(p, g, m, u, c._asdict(), BLOCK):
        call()


def _calls(
    p: Array, g: Array, m: Array, u: Array, scalars: dict[str, Any], block: int
) -> list[Callable[[], Any]]:
    """Return the calls that advance arrays block by block, a block being of so many bytes."""
    length = min(block // m.itemsize, m.size)
    scratch = {name: np.empty(length, m.dtype) for name in SCRATCH}
    found: list[Callable[[], Any]] = []
    for start in range(0, m.size, length or 1):
        stop = min(start + length, m.size)
        values = {"p": p[start:stop], "g": g[start:stop], "m": m[start:stop], "u": u[start:stop]}
        values |= {name: x[: stop - start] for name, x in scratch.items()}
        found += calls(values | scalars, np)
    return found


def together(
    params: Sequence[Array], p: Array, g: Array, m: Array, u: Array
) -> Callable[[Coefficients], None]:
    """Return what advances small arrays, which are gathered in `p`."""
    scalars = {name: np.empty((), m.dtype) for name in Coefficients._fields}
    prepared = _calls(p, g, m, u, scalars, GATHERED_BLOCK)
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
