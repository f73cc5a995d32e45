"""What donation brings on JAX: steps of each backend and of one that donates nothing, in turns."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from interleaved import Taken, take_turns

from adamax import Adamax, Variable
from adamax_adapters.backends import jax as backend

__all__ = ["SECTIONS", "donated"]

SMALL, LARGE = [(1000,)] * 200, [(16_000_000,)]


class Undonated:
    """The backend `jax`, by which nothing is donated."""

    dense = staticmethod(partial(backend.dense, donate=lambda columns: [False] * len(columns)))
    rows = staticmethod(backend.rows)


WAYS: dict[str, Any] = {"jax": "jax", "jax_donated": "jax_donated", "no donation": Undonated()}


def step(shapes: Sequence[tuple[int, ...]], way: str, is_read: bool) -> Callable[[], object]:
    """Return a step on arrays of JAX; before it a loop reads the parameters, or nobody does."""
    params = [Variable(jnp.ones(shape, jnp.float32)) for shape in shapes]
    pairs = [(jnp.full(param.shape, 0.5, jnp.float32), param) for param in params]
    optimizer = Adamax(backend=WAYS[way])

    def take() -> None:
        if is_read:
            for param in params:
                param.value  # noqa: B018 - as a loss does
        optimizer.apply_gradients(pairs)
        jax.block_until_ready([param.held for param in params])

    return take


def donated(shapes: Sequence[tuple[int, ...]], rounds: int, calls: int) -> dict[str, Taken]:
    """Time every backend, with parameters that are read at every step and never."""
    ways = {
        name + (", parameters read" if is_read else ""): step(shapes, name, is_read)
        for is_read in (True, False)
        for name in WAYS
    }
    return take_turns(ways, rounds, calls)


SECTIONS = [
    (
        f"Donation on JAX: {title}",
        "ms",
        "no donation, parameters read",
        partial(donated, shapes, rounds, calls),
    )
    for title, shapes, rounds, calls in (
        ("one array of 16 million float32", LARGE, 21, 3),
        ("200 arrays of 1,000 float32", SMALL, 51, 20),
    )
]
"""For the page, as in `steps.py`."""
