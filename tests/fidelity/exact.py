"""The runs that count as exact: Adamax in float64, written apart, in both its forms."""

from typing import Any, NamedTuple

import numpy as np
from problems import CHECKS, LEARNING_RATE, Problem, rounded, started

__all__ = ["EPSILON", "Run", "exact_run"]

Array = Any

EPSILON = {"inside": 1e-8, "outside": 1e-7}
"""The defaults of the libraries, by form: ``max(beta_2 * u, |g| + epsilon)``, or ``u + epsilon``
as the divisor of m."""


class Run(NamedTuple):
    """What was seen of a run at evenly spaced steps: float64 arrays of shape (CHECKS, SIZE)."""

    moved: Array  # from the start
    u: Array


def exact_run(problem: Problem, dtype: str, form: str) -> Run:
    """Return the run in float64, on the very gradients that runs in `dtype` are fed."""
    p = started(problem, dtype).astype(float)
    m, u, moved = np.zeros((3, *problem.shape))
    seen = []
    for t, part in enumerate(rounded(problem.stream, dtype).astype(float), start=1):
        if problem.rows is None:
            g = part + problem.curvature * (p - problem.target)
            listed = np.ones(problem.shape, bool)
        else:
            g = np.zeros(problem.shape)
            np.add.at(g, problem.rows[t - 1], part)
            listed = np.isin(np.arange(len(p)), problem.rows[t - 1])[:, None]
        inside = EPSILON["inside"] if form == "inside" else 0.0
        outside = EPSILON["outside"] if form == "outside" else 0.0
        m = np.where(listed, problem.beta_1 * m + (1 - problem.beta_1) * g, m)
        u = np.where(listed, np.maximum(0.999 * u, abs(g) + inside), u)
        rate = LEARNING_RATE / (1 - problem.beta_1**t)
        # A row that was never listed has an u of 0.
        move = np.where(listed, -rate * m / np.where(listed, u + outside, 1.0), 0.0)
        p, moved = p + move, moved + move
        if t % (problem.steps // CHECKS) == 0:
            seen.append((moved.ravel(), u.ravel()))
    return Run(*map(np.array, zip(*seen, strict=True)))
