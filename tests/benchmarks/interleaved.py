"""Ways to do the same, timed in turns: a busy machine is busy for all of them."""

from collections.abc import Callable, Mapping
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple

__all__ = ["Taken", "take_turns"]


class Taken(NamedTuple):
    """Quartiles of the time of one way, in milliseconds."""

    low: float
    median: float
    high: float


def take_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1
) -> dict[str, Taken]:
    """Return what one call of every way takes.

    At its turn a way is called once, so that the caches are its own, and then `calls` times.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-2, rounds):  # the first two compile
        for name, way in ways.items():
            way()
            start = perf_counter()
            for _ in range(calls):
                way()
            if turn >= 0:
                times[name].append(1e3 * (perf_counter() - start) / calls)
    return {name: Taken(*quantiles(taken, n=4)) for name, taken in times.items()}
