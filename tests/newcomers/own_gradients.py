"""A new user's program: gradients by hand, raw arrays, a schedule, a checkpoint every epoch.

Its arguments are a file of pictures, a folder for checkpoints and a file for the result.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from adamax import Adamax, CheckpointManager, schedules

EPOCHS, BATCHES = 9, 20


def gradients(parameters: list[Any], x: Any, labels: Any) -> list[Any]:
    """Return the gradients of the cross-entropy of a network with one hidden layer."""
    w1, b1, w2, b2 = parameters
    hidden = np.tanh(x @ w1 + b1)
    scores = np.exp(hidden @ w2 + b2)
    error = scores / scores.sum(axis=1, keepdims=True)
    error[np.arange(len(x)), labels] -= 1
    error /= len(x)
    inner = error @ w2.T * (1 - hidden**2)
    return [x.T @ inner, inner.sum(axis=0), hidden.T @ error, error.sum(axis=0)]


def main(data: str, folder: str, result: str) -> None:
    pictures = np.load(data)
    x, labels = pictures["x"], pictures["labels"]
    rng = np.random.default_rng(0)
    parameters = [rng.normal(size=shape) / 7 for shape in ((35, 48), (48,), (48, 10), (10,))]
    decay = schedules.CosineDecay(initial_learning_rate=0.02, decay_steps=EPOCHS * BATCHES)
    optimizer = Adamax(decay)
    with CheckpointManager(folder, keep=2) as manager:
        manager.restore_latest(optimizer, parameters)
        for epoch in range(int(optimizer.iterations) // BATCHES, EPOCHS):
            order = np.random.default_rng(epoch).permutation(len(x))
            for batch in np.split(order, BATCHES):
                grads = gradients(parameters, x[batch], labels[batch])
                optimizer.apply_gradients(zip(grads, parameters, strict=True))
            manager.save(optimizer, parameters)
    Path(result).write_bytes(b"".join(array.tobytes() for array in parameters))


if __name__ == "__main__":
    main(*sys.argv[1:])
