"""Schedules of every class, for tests of what all of them have in common."""

from adamax.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    LinearCosineDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

__all__ = ["ONE_OF_EACH", "SCHEDULES"]

ONE_OF_EACH: list[LearningRateSchedule] = [
    ExponentialDecay(0.1, 10, 0.5),
    InverseTimeDecay(0.1, 10, 0.5, staircase=True, name="inverse"),
    PolynomialDecay(0.1, 10, 0.01, power=2.0, cycle=True),
    PiecewiseConstantDecay([5, 15], [0.1, 0.01, 0.001]),
    CosineDecay(0.1, 10, alpha=0.1, warmup_target=0.2, warmup_steps=4),
    CosineDecayRestarts(0.1, 10, t_mul=1.5, m_mul=0.5, alpha=0.1),
    LinearCosineDecay(0.1, 10, num_periods=0.7, alpha=0.1, beta=0.01),
]
"""A schedule of each class."""

SCHEDULES: list[LearningRateSchedule] = [
    *ONE_OF_EACH,
    ExponentialDecay(0.1, 7, 0.5, staircase=True),
    ExponentialDecay(0.1, 10, 0.0),
    InverseTimeDecay(0.1, 10, 0.5),
    InverseTimeDecay(0.1, 3.3, 0.5, staircase=True),
    PolynomialDecay(0.1, 10, 0.01, power=0.5),
    PolynomialDecay(0.1, 7, 0.01, power=2.0, cycle=True),
    PiecewiseConstantDecay([], [0.1]),
    CosineDecay(0.1, 10, alpha=0.1),
    CosineDecay(0.1, 10, warmup_target=0.2, warmup_steps=4),
    CosineDecay(0.1, 10, warmup_target=0.2),
    CosineDecay(0.1, 0, warmup_target=0.2, warmup_steps=4),
    CosineDecayRestarts(0.1, 10, t_mul=1.0, m_mul=0.5),
]
"""Further schedules, which take every branch."""
