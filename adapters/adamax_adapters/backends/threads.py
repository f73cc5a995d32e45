"""Ranges of elements shared out to the cores: for work that releases the interpreter's lock."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from itertools import pairwise

__all__ = ["cores", "share_out", "threads_for"]

PART_ELEMENTS = 1 << 18
"""How many a thread must have to do, for waking it not to cost more than it saves."""

PIECES = 8
"""Ranges a thread, of at least half a `PART_ELEMENTS` each."""


def cores() -> int:
    """Return how many threads are used: OMP_NUM_THREADS, or the cores this process may run on."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit) > 0:
        return int(limit)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_out(
    work: Callable[[int, int], None], size: int, width: int = 1, most: int | None = None
) -> None:
    """Call ``work(start, stop)`` for ranges that make up ``0 .. size``, at the same time.

    Each unit is `width` elements; where that makes few, there is one range. No more than `most`
    threads take one range after the other, so that one that is late or disturbed holds up nothing.
    All have ended when this returns or raises.
    """
    threads = threads_for(size, width, most)
    if threads <= 1:
        work(0, size)
        return
    pieces = min(size, threads * min(PIECES, 2 * size * width // (PART_ELEMENTS * threads)))
    bounds = [size * i // pieces for i in range(pieces + 1)]
    left = iter(list(pairwise(bounds)))

    def take() -> None:
        for start, stop in left:
            work(start, stop)

    futures: list[Future[None]] = []
    # What NumPy does about overflow is part of the context.
    submitted = (_pool(os.getpid()).submit(copy_context().run, take) for _ in range(threads - 1))
    try:
        with suppress(RuntimeError):  # a process that is about to end starts no threads
            futures.extend(submitted)
        take()
    finally:
        wait(started := [future for future in futures if not future.cancel()])
    for future in started:
        future.result()


def threads_for(size: int, width: int = 1, most: int | None = None) -> int:
    """Return how many threads at most `share_out` uses for the same arguments; 0 is as 1."""
    parts = min(most or size, size, size * width // PART_ELEMENTS)
    return min(cores(), parts) if parts > 1 else parts


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads of this process: a fork has none of those of its parent."""
    return ThreadPoolExecutor(cores(), thread_name_prefix="adamax")
