"""The rule replayed in NumPy's own calls, which write into blocks that the cache holds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from adamax._arrays import Array
from adamax.rule import Rule
from adamax_adapters.backends import memory, table
from adamax_adapters.backends.replay import Replay, calls, replay
from adamax_adapters.backends.threads import share_out, threads_for

__all__ = ["BLOCK_BYTES", "GATHERED_BLOCK_BYTES", "THREADS", "dense", "kernel", "rows"]

BLOCK_BYTES = 1 << 20
"""Of one array: blocks of all arrays are in a cache, and threads seldom wait for each other."""

GATHERED_BLOCK_BYTES = 1 << 18
"""Of small arrays: one thread, with a cache of its own, does without more."""

THREADS = 4
"""Threads at most: NumPy's calls begin one after the other, and each thread needs a scratch."""


def kernel(rule: Rule, dtype: Any, size: int) -> memory.Run:
    """Return what advances contiguous arrays of one dtype, in one dimension, in place."""
    of_rule = replay(rule)
    threads = max(threads_for(size, most=THREADS), 1)
    # A thread takes a scratch out, and puts it back.
    free = [_scratch(of_rule, dtype, size, BLOCK_BYTES) for _ in range(threads)]

    def run(arrays: Sequence[Array], scalars: Sequence[float]) -> None:
        named = dict(zip(of_rule.scalars, scalars, strict=True))

        def part(start: int, stop: int) -> None:
            scratch = free.pop()
            for call in _calls(of_rule, [x[start:stop] for x in arrays], named, scratch):
                call()
            free.append(scratch)

        share_out(part, arrays[0].size, most=THREADS)

    return run


def _scratch(of_rule: Replay, dtype: Any, size: int, block: int) -> list[Array]:
    """Return buffers for arrays of so many elements, in blocks of at most so many bytes."""
    return [np.empty(min(block // dtype.itemsize, size), dtype) for _ in of_rule.scratch]


def _calls(
    of_rule: Replay, arrays: Sequence[Array], scalars: Mapping[str, Any], scratch: Sequence[Array]
) -> list[Callable[[], Any]]:
    """Return the calls that advance arrays, in blocks as long as the buffers of the scratch."""
    size = arrays[0].size
    length = scratch[0].size if scratch else size
    found: list[Callable[[], Any]] = []
    for start in range(0, size, length or 1):
        stop = min(start + length, size)
        values = {name: x[start:stop] for name, x in zip(of_rule.arrays, arrays, strict=True)}
        for name, x in zip(of_rule.scratch, scratch, strict=True):
            values[name] = x[: stop - start]
        found += calls(of_rule, {**values, **scalars}, np)
    return found


def together(
    rule: Rule, params: Sequence[Array], arrays: Sequence[Array]
) -> Callable[[Sequence[float]], None]:
    """Return what advances small arrays, which are gathered in the buffer for p."""
    of_rule, p = replay(rule), arrays[0]
    scalars = {name: np.empty((), p.dtype) for name in of_rule.scalars}
    scratch = _scratch(of_rule, p.dtype, p.size, GATHERED_BLOCK_BYTES)
    prepared = _calls(of_rule, arrays, scalars, scratch)
    ends = np.cumsum([x.size for x in params])
    parts = np.split(p, ends[:-1])
    # Bytes are copied at half the price of numbers.
    copies = [(_bytes(param), _bytes(part)) for param, part in zip(params, parts, strict=True)]

    def advance(given: Sequence[float]) -> None:
        np.concatenate(params, axis=None, out=p)
        for scalar, value in zip(scalars.values(), given, strict=True):
            scalar[...] = value
        for call in prepared:
            call()
        for param, part in copies:
            param[:] = part

    return advance


def _bytes(x: Array) -> memoryview:
    return memoryview(x.reshape(-1)).cast("B")


dense = partial(memory.dense, kernel, together)
rows = partial(table.rows, kernel)
