"""Task 10: a program with the Adam class of a textbook, changed to Adamax in the fewest lines."""

from typing import Any, Protocol

import numpy as np
import own_gradients
import pytest
from digits import digits
from reference_model import NumpyAdamax

from adamax import Adamax


class Optimizer(Protocol):
    def update(self, params: dict[str, Any], grads: dict[str, Any]) -> None: ...


class TextbookAdam:
    """Adam as textbooks have it: dictionaries of arrays, which `update` changes in place."""

    def __init__(self, lr: float = 0.001) -> None:
        self.lr, self.t = lr, 0
        self.m: dict[str, Any] = {}
        self.v: dict[str, Any] = {}

    def update(self, params: dict[str, Any], grads: dict[str, Any]) -> None:
        self.t += 1
        for key, grad in grads.items():
            self.m[key] = 0.9 * self.m.get(key, 0) + 0.1 * grad
            self.v[key] = 0.999 * self.v.get(key, 0) + 0.001 * grad**2
            root = np.sqrt(self.v[key] / (1 - 0.999**self.t)) + 1e-8
            params[key] -= self.lr * self.m[key] / (1 - 0.9**self.t) / root


class Replaced:
    """The same interface with Adamax inside: one line for each method."""

    def __init__(self, lr: float = 0.001) -> None:
        self.optimizer = Adamax(lr)

    def update(self, params: dict[str, Any], grads: dict[str, Any]) -> None:
        self.optimizer.apply_gradients([(grads[key], params[key]) for key in params])


PICTURES = digits(500, seed=0)
SHAPES = {"W1": (35, 32), "b1": (32,), "W2": (32, 10), "b2": (10,)}


def gradient(params: dict[str, Any]) -> dict[str, Any]:
    found = own_gradients.gradients(list(params.values()), PICTURES.x, PICTURES.labels)
    return dict(zip(params, found, strict=True))


def trained(optimizer: Optimizer, steps: int = 150) -> tuple[dict[str, Any], float]:
    """Run the textbook's loop; return the parameters and the cross-entropy."""
    rng = np.random.default_rng(0)
    params = {key: rng.normal(size=shape) / 6 for key, shape in SHAPES.items()}
    for _ in range(steps):
        optimizer.update(params, gradient(params))
    scores = np.tanh(PICTURES.x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]
    chosen = scores[np.arange(500), PICTURES.labels]
    return params, float(np.mean(np.log(np.sum(np.exp(scores), axis=1)) - chosen))


def test_the_replacement_takes_the_steps_of_the_paper() -> None:
    """The program with the class replaced ends where the formula of the paper ends."""
    params, _ = trained(Replaced(0.01))
    rng = np.random.default_rng(0)
    model = NumpyAdamax([rng.normal(size=shape) / 6 for shape in SHAPES.values()], 0.01)
    for _ in range(150):
        found = gradient(dict(zip(SHAPES, model.x, strict=True)))
        model.step(list(found.values()))
    for value, expected in zip(params.values(), model.x, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rate", [0.003, 0.01])
def test_twice_the_rate_of_adam_is_about_as_good(rate: float) -> None:
    """As docs/choosing.md says: behind Adam at its rate, and near it at twice that rate."""
    _, start = trained(TextbookAdam(rate), steps=0)
    _, adam = trained(TextbookAdam(rate))
    _, same_rate = trained(Replaced(rate))
    _, twice = trained(Replaced(2 * rate))
    assert adam < same_rate < start
    assert twice - adam < 0.5 * (same_rate - adam)
