"""Learning-rate schedules: Python floats from step numbers, on the host and in double precision.

In the formulas k is the step, L the initial learning rate, S `decay_steps`. Steps count from 0:
the first update uses the value at 0.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Self

from adamax import validation

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "LinearCosineDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule:
    """Base class of schedules: subclass it and define ``__call__(step)``.

    A subclass that is a dataclass has its `get_config` for nothing.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Halving(LearningRateSchedule):
    ...     start: float
    ...     def __call__(self, step):
    ...         return self.start * 0.5**step
    >>> Halving(0.1)(1), Halving(0.1).get_config()
    (0.05, {'start': 0.1})
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`, which counts from 0."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step)")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a dictionary."""
        if not is_dataclass(self):
            raise NotImplementedError(f"{type(self).__name__} must define get_config()")
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the schedule that `get_config` described."""
        return cls(**config)


@dataclass(frozen=True)
class _DecayByRate(LearningRateSchedule):
    """What schedules have in common that decay at one rate, period by period."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self, "initial_learning_rate decay_rate", positive="decay_steps")

    def _periods(self, step: int) -> float:
        periods = step / self.decay_steps
        return math.floor(periods) if self.staircase else periods


@dataclass(frozen=True)
class ExponentialDecay(_DecayByRate):
    """L * decay_rate^(k / S); with `staircase`, the exponent is rounded down."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`; infinity where it grows beyond floats."""
        try:
            return self.initial_learning_rate * math.pow(self.decay_rate, self._periods(step))
        except OverflowError:
            return math.inf


@dataclass(frozen=True)
class InverseTimeDecay(_DecayByRate):
    """L / (1 + decay_rate * k / S); with `staircase`, k / S is rounded down."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


@dataclass(frozen=True)
class PolynomialDecay(LearningRateSchedule):
    """(L - end) * (1 - min(k, S) / S)^power + end; with `cycle`, S grows to the next multiple."""

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self, "initial_learning_rate end_learning_rate power", positive="decay_steps")

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        cycles = max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1
        left = max(0.0, 1 - step / (self.decay_steps * cycles))
        span = self.initial_learning_rate - self.end_learning_rate
        return float(span * left**self.power + self.end_learning_rate)


@dataclass(frozen=True)
class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] for boundaries[i - 1] < k <= boundaries[i]: a boundary ends its left piece."""

    boundaries: Sequence[float]
    values: Sequence[float]
    name: str | None = None

    def __post_init__(self) -> None:
        boundaries = validation.numbers(self.boundaries, "boundaries", validation.number)
        values = validation.numbers(self.values, "values", validation.non_negative)
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values, received: "
                f"{len(boundaries)} boundaries and {len(values)} values"
            )
        if boundaries != tuple(sorted(set(boundaries))):
            raise ValueError(f"Expected increasing boundaries, received: {list(boundaries)}")
        _keep(self, "boundaries", boundaries)
        _keep(self, "values", values)

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        return self.values[bisect.bisect_left(self.boundaries, step)]


@dataclass(frozen=True)
class CosineDecay(LearningRateSchedule):
    """L * ((1 - alpha) * (1 + cos(pi * min(k, S) / S)) / 2 + alpha).

    With `warmup_target` the rate first rises linearly from L to the target over `warmup_steps`,
    and the cosine starts there.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    name: str | None = None
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _check(self, "initial_learning_rate alpha warmup_steps", positive="decay_steps")
        if self.warmup_target is not None:
            _check(self, "warmup_target")

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return peak + (self.warmup_target - peak) * step / self.warmup_steps
            peak, step = self.warmup_target, step - self.warmup_steps
        return peak * _cosine(min(step, self.decay_steps) / self.decay_steps, self.alpha)


@dataclass(frozen=True)
class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decays one after another, the i-th t_mul^i >= 1 times as long, m_mul^i as high."""

    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self, "initial_learning_rate t_mul m_mul alpha", positive="first_decay_steps")
        if self.t_mul < 1:
            raise ValueError(f"Expected t_mul >= 1, received: {self.t_mul}")

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        done = step / self.first_decay_steps
        if self.t_mul == 1:
            restart = math.floor(done)
            done -= restart
        else:
            # The first i decays last (t_mul^i - 1) / (t_mul - 1) together, the first being 1.
            growth = self.t_mul - 1
            # Without the last digits, rounding would miss the very step of a restart.
            restart = math.floor(math.log1p(done * growth) / math.log(self.t_mul) + 1e-9)
            done = (done - (self.t_mul**restart - 1) / growth) / self.t_mul**restart
        return self.initial_learning_rate * _cosine(done, self.alpha, self.m_mul**restart)


@dataclass(frozen=True)
class LinearCosineDecay(LearningRateSchedule):
    """L * ((alpha + (S - k) / S) * (1 + cos(2 pi num_periods k / S)) / 2 + beta), k up to S."""

    initial_learning_rate: float
    decay_steps: float
    num_periods: float = 0.5
    alpha: float = 0.0
    beta: float = 0.001
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self, "initial_learning_rate num_periods alpha beta", positive="decay_steps")

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step`."""
        done = min(step, self.decay_steps) / self.decay_steps
        wave = 0.5 * (1 + math.cos(2 * math.pi * self.num_periods * done))
        return self.initial_learning_rate * ((self.alpha + 1 - done) * wave + self.beta)


BUILT_IN: dict[str, Any] = {
    name: found for name, found in [*globals().items()] if name in __all__ and is_dataclass(found)
}


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return ``{'class_name': ..., 'config': ...}`` of a schedule."""
    return {"class_name": type(schedule).__name__, "config": schedule.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """Build the schedule that `serialize` described.

    Parameters
    ----------
    config : mapping
        With the keys 'class_name' and 'config'; the two further keys that later Keras versions
        write, 'module' and 'registered_name', are read over.
    custom_objects : mapping of name to class, optional
        Schedules of the caller's own; they come before the built-in ones.

    Raises
    ------
    ValueError
        If a key is missing or the class unknown.
    """
    if not (
        isinstance(config, Mapping)
        and isinstance(name := config.get("class_name"), str)
        and isinstance(arguments := config.get("config"), Mapping)
    ):
        raise ValueError(
            "Improper config for a schedule: expected a dictionary with the keys "
            f"'class_name' and 'config', received: {config!r}"
        )
    cls = {**BUILT_IN, **(custom_objects or {})}.get(name)
    if cls is None:
        raise ValueError(
            f"Unknown decay {name!r}: expected one of {', '.join(sorted(BUILT_IN))}, "
            "or a class given in custom_objects"
        )
    schedule: LearningRateSchedule = cls.from_config(dict(arguments))
    return schedule


def _check(schedule: Any, non_negative: str, positive: str = "") -> None:
    """Check the named numbers of a schedule and keep them as Python floats."""
    for names, check in ((non_negative, validation.non_negative), (positive, validation.positive)):
        for name in names.split():
            _keep(schedule, name, check(getattr(schedule, name), name))


def _keep(schedule: Any, name: str, value: Any) -> None:
    object.__setattr__(schedule, name, value)  # the schedule is frozen


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(x) for x in value]
    return value if value is None or isinstance(value, (str, int, float)) else float(value)


def _cosine(done: float, alpha: float, height: float = 1.0) -> float:
    """Return a half cosine from `height` to 0 as `done` goes from 0 to 1, blended with `alpha`."""
    return 0.5 * (1 - alpha) * height * (1 + math.cos(math.pi * done)) + alpha
