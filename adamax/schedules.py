"""Learning-rate schedules: learning rates from step numbers.

A number of steps gives a Python float, computed in double precision. An array of steps, which may
be traced, gives an array. In the formulas k is the step, L the initial learning rate, S
`decay_steps`. Steps count from 0: the first update uses the value at 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from adamax import validation
from adamax._arrays import Namespace
from adamax._schedule import Formula, LearningRateSchedule, check, keep
from adamax.counting import power, restarts, split

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


@dataclass(frozen=True)
class _DecayByRate(Formula):
    """What schedules have in common that decay at one rate, period by period."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        check(self, "initial_learning_rate decay_rate", positive="decay_steps")

    def _periods(self, k: Any, xp: Namespace) -> Any:
        whole, part = split(k, self.decay_steps, xp)
        return whole if self.staircase else whole + part


@dataclass(frozen=True)
class ExponentialDecay(_DecayByRate):
    """L * decay_rate^(k / S); with `staircase`, the exponent is rounded down."""

    def _at(self, k: Any, xp: Namespace) -> Any:
        return self.initial_learning_rate * power(self.decay_rate, self._periods(k, xp), xp)


@dataclass(frozen=True)
class InverseTimeDecay(_DecayByRate):
    """L / (1 + decay_rate * k / S); with `staircase`, k / S is rounded down."""

    def _at(self, k: Any, xp: Namespace) -> Any:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(k, xp))


@dataclass(frozen=True)
class PolynomialDecay(Formula):
    """(L - end) * (1 - min(k, S) / S)^power + end; with `cycle`, S grows to the next multiple."""

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        check(self, "initial_learning_rate end_learning_rate power", positive="decay_steps")

    def _at(self, k: Any, xp: Namespace) -> Any:
        whole, part = split(k, self.decay_steps, xp)
        done = whole + part
        if self.cycle:
            cycles = xp.clip(xp.where(part > 0, whole + 1, whole), 1.0, None)
            done = k / (self.decay_steps * cycles)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * xp.clip(1 - done, 0.0, None) ** self.power + self.end_learning_rate


@dataclass(frozen=True)
class PiecewiseConstantDecay(Formula):
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
        keep(self, "boundaries", boundaries)
        keep(self, "values", values)

    def _at(self, k: Any, xp: Namespace) -> Any:
        value = xp.full_like(k, self.values[0])
        for boundary, later in zip(self.boundaries, self.values[1:], strict=True):
            value = xp.where(k > boundary, later, value)
        return value


@dataclass(frozen=True)
class CosineDecay(Formula):
    """L * ((1 - alpha) * (1 + cos(pi * min(k, S) / S)) / 2 + alpha).

    With `warmup_target` the rate first rises linearly from L to the target over `warmup_steps`,
    and the cosine starts there. After a warm-up, `decay_steps` may be 0: the rate stays at the
    target.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    name: str | None = None
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        check(self, "initial_learning_rate alpha warmup_steps")
        warm_up = self.warmup_target is not None and self.warmup_steps > 0
        check(self, *(("decay_steps", "") if warm_up else ("", "decay_steps")))
        if self.warmup_target is not None:
            check(self, "warmup_target")

    def _at(self, k: Any, xp: Namespace) -> Any:
        start, peak = self.initial_learning_rate, self.warmup_target
        if peak is None:
            return self._decayed(start, k, xp)
        decayed = self._decayed(peak, k - self.warmup_steps, xp)
        if self.warmup_steps == 0:
            return decayed
        return xp.where(
            k < self.warmup_steps, start + (peak - start) * k / self.warmup_steps, decayed
        )

    def _decayed(self, peak: float, k: Any, xp: Namespace) -> Any:
        if self.decay_steps == 0:
            return peak
        return peak * _cosine(_done(k, self.decay_steps, xp), self.alpha, 1.0, xp)


@dataclass(frozen=True)
class CosineDecayRestarts(Formula):
    """Cosine decays one after another, the i-th t_mul^i >= 1 times as long, m_mul^i as high."""

    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str | None = None

    def __post_init__(self) -> None:
        check(self, "initial_learning_rate t_mul m_mul alpha", positive="first_decay_steps")
        if self.t_mul < 1:
            raise ValueError(f"Expected t_mul >= 1, received: {self.t_mul}")

    def _at(self, k: Any, xp: Namespace) -> Any:
        restart, done = restarts(k, self.first_decay_steps, self.t_mul, xp)
        height = power(self.m_mul, restart, xp)
        return self.initial_learning_rate * _cosine(done, self.alpha, height, xp)


@dataclass(frozen=True)
class LinearCosineDecay(Formula):
    """L * ((alpha + (S - k) / S) * (1 + cos(2 pi num_periods k / S)) / 2 + beta), k up to S."""

    initial_learning_rate: float
    decay_steps: float
    num_periods: float = 0.5
    alpha: float = 0.0
    beta: float = 0.001
    name: str | None = None

    def __post_init__(self) -> None:
        check(self, "initial_learning_rate num_periods alpha beta", positive="decay_steps")

    def _at(self, k: Any, xp: Namespace) -> Any:
        done = _done(k, self.decay_steps, xp)
        wave = 0.5 * (1 + xp.cos(2 * math.pi * self.num_periods * done))
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


def _done(k: Any, steps: float, xp: Namespace) -> Any:
    """Return the part of `steps` that is over at step `k`, at most 1."""
    return xp.clip(k / steps, None, 1.0)


def _cosine(done: Any, alpha: float, height: Any, xp: Namespace) -> Any:
    """Return a half cosine from `height` to 0 as `done` goes from 0 to 1, blended with `alpha`."""
    return 0.5 * (1 - alpha) * height * (1 + xp.cos(math.pi * done)) + alpha
