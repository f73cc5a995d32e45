"""Ours on NumPy: `adamax.Adamax`, as users call it."""

import numpy as np
from exact import Run
from problems import CHECKS, LEARNING_RATE, Problem, gradient, rounded, started

from adamax import Adamax, IndexedSlices, Variable

__all__ = ["numpy_run"]


def numpy_run(problem: Problem, dtype: str) -> Run:
    """Return the run of ours on NumPy arrays."""
    stream = rounded(problem.stream, dtype)
    start = started(problem, dtype)
    p = Variable(start)
    optimizer = Adamax(LEARNING_RATE, beta_1=problem.beta_1)
    moved, seen = np.zeros(problem.shape), []
    for t, part in enumerate(stream, start=1):
        if problem.rows is None:
            optimizer.apply_gradients([(gradient(problem, part, p.value), p)])
        else:
            optimizer.apply_gradients([(IndexedSlices(part, problem.rows[t - 1]), p)])
        if problem.set_back:
            moved += p.numpy().astype(float)
            p.assign(start)
        else:
            moved = p.numpy().astype(float) - start.astype(float)
        if t % (problem.steps // CHECKS) == 0:
            u = optimizer.get_slot(p, "v").numpy()
            seen.append((moved.ravel().copy(), u.ravel().astype(float)))
    return Run(*map(np.array, zip(*seen, strict=True)))
