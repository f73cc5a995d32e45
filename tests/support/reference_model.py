"""Adamax in float64 NumPy, written from the paper and from TensorFlow's documentation.

The tests compare with it, so it shares nothing with the package: the moment has its weighted-sum
form, rows are updated in a Python loop, duplicates are summed with a dictionary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any


class NumpyAdamax:
    """A float64 trajectory of one or more arrays; ``t`` counts the steps taken."""

    def __init__(
        self,
        values: Sequence[Any],
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        self.x = [np.array(value, dtype=np.float64) for value in values]
        self.m = [np.zeros_like(value) for value in self.x]
        self.v = [np.zeros_like(value) for value in self.x]
        self.t = 0
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.beta_1, self.beta_2 = beta_1, beta_2

    def step(self, gradients: Sequence[Any], learning_rate: float | None = None) -> list[Array]:
        """Take one step; a gradient is an array, or a pair (values, row indices), or None."""
        rate = self.learning_rate if learning_rate is None else learning_rate
        self.t += 1
        rate /= 1.0 - self.beta_1**self.t
        for i, gradient in enumerate(gradients):
            if isinstance(gradient, tuple):
                totals: dict[int, Array] = {}
                for value, row in zip(*gradient, strict=True):
                    totals[int(row)] = totals.get(int(row), 0.0) + np.asarray(value, np.float64)
                for row, total in totals.items():
                    self._update(i, row, total, rate)
            elif gradient is not None:
                self._update(i, ..., np.asarray(gradient, np.float64), rate)
        return self.x

    def _update(self, i: int, rows: Any, gradient: Array, rate: float) -> None:
        x, m, v = self.x[i], self.m[i], self.v[i]
        m[rows] = self.beta_1 * m[rows] + (1.0 - self.beta_1) * gradient
        v[rows] = np.maximum(self.beta_2 * v[rows], np.abs(gradient))
        x[rows] = x[rows] - rate * m[rows] / (v[rows] + self.epsilon)
