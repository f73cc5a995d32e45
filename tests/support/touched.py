"""Steps of every kind, and what they touch: for tests of where arrays are and stay."""

from typing import Any

import pytest

from adamax import Adamax
from adamax.schedules import CosineDecay, InverseTimeDecay

Array = Any

each_setting = pytest.mark.parametrize(
    "settings",
    [
        {},
        {"clipnorm": 1.0},
        {"clipvalue": 0.5},
        {"global_clipnorm": 1.0},
        {"learning_rate": CosineDecay(0.1, 10), "decay": 0.5},
        {"decay": 0.5, "learning_rate": InverseTimeDecay(0.1, 10, 0.5)},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
"""Decorates tests of optimizers with no limit, each limit, and learning rates that change."""


def everything(optimizer: Adamax, *variables: Any) -> list[Array]:
    """Return the arrays of variables and, one variable after the other, those of their slots."""
    slots = [optimizer.get_slot(x, name) for x in variables for name in ("m", "v")]
    return [getattr(x, "value", x) for x in (*variables, *slots)]
