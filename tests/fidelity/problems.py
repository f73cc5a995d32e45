"""What is optimized: streams of gradients, each the hard part of some training.

A stream is a seeded function of the step: errors add up, and no fixed point hides them.
"""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

__all__ = [
    "CHECKS",
    "DTYPES",
    "LEARNING_RATE",
    "SIZE",
    "STEPS",
    "Problem",
    "gradient",
    "problems",
    "rounded",
    "started",
]

Array = Any

STEPS = 10_000
CHECKS = 100
"""How often a run is looked at."""
SIZE, WIDTH = 256, 4
"""Elements of a parameter; of one of its rows, where it is a table."""
LISTED = 8
"""Rows that one step of a table lists."""
LEARNING_RATE = 0.001
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, eq=False)
class Problem:
    """A parameter and its gradients.

    By default it is set back to 0 before every step, and its moves are added up in float64: a
    parameter that does not round.
    """

    title: str
    stream: Array  # float64: (steps, SIZE), or (steps, LISTED, WIDTH) with rows
    beta_1: float = 0.9
    rows: Array = None  # (steps, LISTED): where a table has these gradients
    # What the gradient has beside the stream: curvature * (parameter - target).
    curvature: float = 0.0
    target: float = 0.0
    start: float = 0.0
    set_back: bool = True
    wide: bool = False  # a float32 parameter; gradients see a copy of it in their own dtype

    @property
    def steps(self) -> int:
        """How many gradients there are."""
        return len(self.stream)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return (SIZE,) if self.rows is None else (SIZE // WIDTH, WIDTH)

    def dtype(self, dtype: str) -> str:
        """Return the dtype of the parameter where gradients have `dtype`."""
        return "float32" if self.wide else dtype


def problems(steps: int = STEPS, seed: int = 0) -> list[Problem]:
    """Return all problems."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((steps, SIZE))
    spike, late = noise.copy(), noise.copy()
    spike[steps // 100] = np.copysign(1e4, noise[0])
    late[: steps // 100] = 0.0
    # As words in a text: the first rows are listed all the time, often twice, the last hardly.
    words = (SIZE // WIDTH * rng.random((steps, LISTED)) ** 3).astype(int)
    listed = rng.standard_normal((steps, LISTED, WIDTH))
    table = np.zeros((steps, SIZE // WIDTH, WIDTH))
    np.add.at(table, (np.arange(steps)[:, None], words), listed)
    slope: dict[str, Any] = {"curvature": 30.0, "set_back": False}
    return [
        Problem("well scaled", noise),
        Problem("gradients of 1e-7", 1e-7 * noise),
        Problem("one spike of 1e4", spike),
        Problem("zeros at first", late),
        Problem("beta_1 = 0.9999", noise, beta_1=0.9999),
        Problem("sparse rows, zeros elsewhere", table.reshape(steps, SIZE)),
        Problem("sparse rows, listed", listed, rows=words),
        Problem("well scaled", noise, set_back=False),
        Problem("a quadratic", noise, start=0.1, **slope),
        Problem("a quadratic near 1", noise, start=1.1, target=1.0, **slope),
        Problem("the same, float32 parameter", noise, start=1.1, target=1.0, wide=True, **slope),
    ]


def gradient(problem: Problem, part: Array, p: Array) -> Array:
    """Return the gradient at `p`, of NumPy or JAX, where the stream has `part`; in p's dtype."""
    if not problem.curvature:
        return part
    wide = np.result_type(part.dtype, np.float32)
    seen = p.astype(part.dtype).astype(wide)
    sloped = part.astype(wide) + problem.curvature * (seen - problem.target)
    return sloped.astype(part.dtype).astype(p.dtype)


def rounded(x: Array, dtype: str) -> Array:
    """Return `x` as a NumPy array of a dtype that NumPy itself may not have."""
    return np.asarray(x).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def started(problem: Problem, dtype: str) -> Array:
    """Return the parameter before the first step, for gradients of `dtype`."""
    return rounded(np.full(problem.shape, problem.start), problem.dtype(dtype))
