"""Task 1: classify digits with NumPy, by a plain loss and minibatches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from digits import best_possible, digits

from adamax import Adamax, Variable

TRAIN, TEST = digits(2000, seed=0), digits(1000, seed=1)


def accuracy(predicted: Any) -> float:
    return float(np.mean(predicted == TEST.labels))


def trained(variables: list[Variable], scores: Callable[[Any], Any], epochs: int) -> float:
    """Return the accuracy on new pictures after training by minibatches of 50."""
    rng = np.random.default_rng(2)
    onehot = np.eye(10)[TRAIN.labels]
    optimizer = Adamax(learning_rate=0.02)
    for _ in range(epochs):
        for batch in np.split(rng.permutation(2000), 40):

            def loss(batch: Any = batch) -> Any:
                s = scores(TRAIN.x[batch])
                log_sum = np.log(np.sum(np.exp(s), axis=1))
                return np.mean(log_sum - np.sum(onehot[batch] * s, axis=1))

            optimizer.minimize(loss, variables)
    assert optimizer.iterations == 40 * epochs
    return accuracy(np.argmax(scores(TEST.x), axis=1))


@pytest.fixture(scope="module")
def logistic_regression() -> float:
    w, b = Variable(np.zeros((35, 10)), name="w"), Variable(np.zeros(10), name="b")
    return trained([w, b], lambda x: x @ w + b, epochs=15)


def test_logistic_regression_is_better_than_the_nearest_mean(logistic_regression: float) -> None:
    """It is right far more often than a classifier by the means of the classes."""
    means = np.stack([TRAIN.x[TRAIN.labels == digit].mean(axis=0) for digit in range(10)])
    nearest = ((TEST.x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert logistic_regression > accuracy(nearest) + 0.15


def test_a_network_comes_near_the_best_possible(logistic_regression: float) -> None:
    """A network errs much less than a linear model, and hardly more than one who drew them."""
    rng = np.random.default_rng(0)
    w1, b1 = Variable(rng.normal(size=(35, 64)) / 6, name="w1"), Variable(np.zeros(64), name="b1")
    w2, b2 = Variable(rng.normal(size=(64, 10)) / 8, name="w2"), Variable(np.zeros(10), name="b2")
    network = trained([w1, b1, w2, b2], lambda x: np.tanh(x @ w1 + b1) @ w2 + b2, epochs=20)
    best = accuracy(best_possible(TEST.x))
    assert logistic_regression + 0.05 < network
    assert best - 0.07 < network <= best
