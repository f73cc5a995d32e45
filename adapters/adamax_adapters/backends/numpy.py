"""The rule replayed in NumPy's own calls, which write into blocks that the cache holds."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from adamax._arrays import Array
from adamax.rule import Coefficients
from adamax_adapters.backends import memory, table
from adamax_adapters.backends.replay import SCRATCH, replay

__all__ = ["BLOCK", "dense", "kernel", "rows"]

BLOCK = 1 << 19
"""Bytes of a block: one of each of four arrays and of the scratch are together in a cache."""


def kernel(p: Array, g: Array, m: Array, u: Array, c: Coefficients) -> None:
    """Advance contiguous arrays of one dtype, in one dimension, in place."""
    length = min(BLOCK // m.itemsize, m.size)
    scratch = {name: np.empty(length, m.dtype) for name in SCRATCH}
    for start in range(0, m.size, length or 1):
        stop = min(start + length, m.size)
        buffers = {"p": p[start:stop], "g": g[start:stop], "m": m[start:stop], "u": u[start:stop]}
        buffers |= {name: x[: stop - start] for name, x in scratch.items()}
        replay(buffers, c, np)


def together(
    params: Sequence[Array], p: Array, m: Array, u: Array
) -> Callable[[Array, Coefficients], None]:
    """Return what advances small arrays, which are gathered in `p`."""
    ends = np.cumsum([x.size for x in params])
    parts = [new.reshape(x.shape) for x, new in zip(params, np.split(p, ends[:-1]), strict=True)]

    def advance(g: Array, c: Coefficients) -> None:
        np.concatenate(params, axis=None, out=p)
        kernel(p, g, m, u, c)
        for param, part in zip(params, parts, strict=True):
            param[...] = part

    return advance


dense = partial(memory.dense, kernel, together)
rows = partial(table.rows, kernel)
