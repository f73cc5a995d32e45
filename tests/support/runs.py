"""A small training run for the tests of checkpoints, with all that can be saved."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import adamax
import adamax_adapters
from adamax import Adamax, IndexedSlices, Variable
from adamax.schedules import ExponentialDecay

Array = Any


class Run(NamedTuple):
    """An optimizer and what it trains."""

    optimizer: Adamax
    variables: list[Variable]

    def train(self, steps: int) -> None:
        """Take steps with gradients that follow from the number of the step alone."""
        kernel, _, bias = self.variables
        for _ in range(steps):
            rng = np.random.default_rng(int(self.optimizer.iterations))
            dense = rng.normal(size=kernel.shape)
            rows = IndexedSlices(rng.normal(size=(3, 2)), rng.integers(0, 5, 3))
            gradients: list[Any] = [dense, rows, rng.normal(size=bias.shape)]
            self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))

    def state(self) -> list[Any]:
        """Return copies of all that a checkpoint holds."""
        slots = [variable.numpy() for variable in [*self.variables, *self.optimizer.weights]]
        return slots + [weight.value for weight in self.optimizer.get_state([]).weights]


def new_run(seed: int = 0) -> Run:
    """Return a run before its first step; `seed` is of the values that a checkpoint replaces."""
    rng = np.random.default_rng(seed)
    shapes = {"dense/kernel": (2, 3), "table ü": (5, 2), "bias": ()}
    variables = [Variable(rng.normal(size=shape), name=name) for name, shape in shapes.items()]
    optimizer = Adamax(ExponentialDecay(0.1, 10, 0.9), decay=0.01, clipnorm=2.0)
    optimizer.add_slot(variables[0], "average", rng.normal(size=(2, 3)))
    optimizer.add_weight("best loss", (), initializer=rng.normal(size=()))
    return Run(optimizer, variables)


def environment() -> dict[str, str]:
    """Return that of a process which finds the packages and these tests where they are here."""
    roots = [Path(adamax.__file__).parents[1], Path(adamax_adapters.__file__).parents[1]]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*roots, Path(__file__).parent]))}


def same(mine: list[Array], theirs: list[Array]) -> bool:
    """Say whether two states are the same, bit by bit."""
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(mine, theirs, strict=True)
    )
