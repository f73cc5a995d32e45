"""What differentiation costs: the tape beside gradients derived by hand, and HIPS autograd.

Value and gradients of a network of two layers, tanh and softmax cross-entropy, on NumPy. The ways
take turns, so that a busy machine is busy for all of them; the table holds medians.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from interleaved import take_turns

from adamax import Variable
from adamax_adapters.gradients import value_and_gradients

BATCH = 256
ROUNDS = 300
NETWORKS = [
    (inputs, hidden, 10, dtype)
    for inputs, hidden in ((784, 128), (64, 64))
    for dtype in ("float32", "float64")
]
"""Inputs, units of the hidden layer, outputs, dtype."""

Way = Callable[[], tuple[Any, list[Any]]]


def ways(inputs: int, hidden: int, outputs: int, dtype: str) -> dict[str, Way]:
    """Return the ways to the value and the gradients of one network."""
    rng = np.random.default_rng(0)
    shapes = [(inputs, hidden), (hidden,), (hidden, outputs), (outputs,)]
    variables = [Variable(0.1 * rng.normal(size=shape).astype(dtype)) for shape in shapes]
    w1, b1, w2, b2 = variables
    x = rng.normal(size=(BATCH, inputs)).astype(dtype)
    is_label = np.arange(outputs) == rng.integers(0, outputs, size=BATCH)[:, None]

    def loss() -> Any:
        xp = array_namespace(w1)
        units = xp.tanh(x @ w1.value + b1.value)
        scores = units @ w2.value + b2.value
        scores = scores - xp.max(scores, axis=1, keepdims=True)
        log_p = scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))
        return -xp.sum(xp.where(is_label, log_p, 0.0)) / BATCH

    def by_hand() -> tuple[Any, list[Any]]:
        units = np.tanh(x @ w1.value + b1.value)
        scores = units @ w2.value + b2.value
        scores = scores - np.max(scores, axis=1, keepdims=True)
        log_p = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
        value = -np.sum(np.where(is_label, log_p, 0.0)) / BATCH
        d_scores = (np.exp(log_p) - is_label.astype(dtype)) / BATCH
        d_units = (d_scores @ w2.value.T) * (1.0 - units * units)
        gradients = [x.T @ d_units, d_units.sum(0), units.T @ d_scores, d_scores.sum(0)]
        return value, gradients

    return {
        "by hand": by_hand,
        "tape": lambda: value_and_gradients(loss, variables, engine="tape"),
        "autograd": lambda: value_and_gradients(loss, variables, engine="autograd"),
    }


def main() -> None:
    """Print the table, once all ways have been seen to give the same gradients."""
    print(f"value and gradients, batch {BATCH}, medians of {ROUNDS} in microseconds")
    print(f"{'network':24}{'by hand':>10}{'tape':>10}{'autograd':>10}{'tape / by hand':>16}")
    for inputs, hidden, outputs, dtype in NETWORKS:
        functions = ways(inputs, hidden, outputs, dtype)
        _, expected = functions["by hand"]()
        for function in functions.values():
            for gradient, reference in zip(function()[1], expected, strict=True):
                np.testing.assert_allclose(gradient, reference, rtol=1e-3, atol=1e-6)
        taken = {name: 1e3 * t.median for name, t in take_turns(functions, ROUNDS).items()}
        name = f"{inputs}-{hidden}-{outputs} {dtype}"
        columns = "".join(f"{time:10.0f}" for time in taken.values())
        print(f"{name:24}{columns}{taken['tape'] / taken['by hand']:16.2f}")


if __name__ == "__main__":
    main()
