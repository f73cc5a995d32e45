"""Hyperparameters: Python floats that are checked at every assignment.

A hyperparameter may be a number or a callable without arguments, which is called whenever the
value is read; the learning rate may also be a schedule.
"""

from collections.abc import Callable, Mapping
from typing import Any

from adamax import validation
from adamax.schedules import LearningRateSchedule
from adamax_adapters.backends import checked_backend

__all__ = [
    "CLIPS",
    "DEFAULT_EPSILON",
    "Hyperparameter",
    "checked_keywords",
    "clip_limit",
    "epsilon_or_default",
    "rate_at",
]

CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")

DEFAULT_EPSILON = 1e-7


class Hyperparameter:
    """An attribute of an optimizer that holds a hyperparameter.

    Parameters
    ----------
    check : callable (value, name) -> float
        Returns the value as it is kept, or raises; from `adamax.validation`.
    schedule : bool
        Whether a learning-rate schedule is allowed; it is kept and returned as it is.
    called : bool
        Whether a callable stands for what it returns; else it is checked like any other value.
    alias_of : str, optional
        The hyperparameter that this is another name of.
    """

    def __init__(
        self,
        check: Callable[[Any, str], Any],
        *,
        schedule: bool = False,
        called: bool = True,
        alias_of: str | None = None,
    ) -> None:
        self._check = check
        self._schedule = schedule
        self._called = called
        self._alias_of = alias_of

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._alias_of or name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is None:
            return self
        value = optimizer.__dict__[self._name]
        if self._called and callable(value) and not isinstance(value, LearningRateSchedule):
            return self._check(value(), self._name)
        return value

    def __set__(self, optimizer: Any, value: Any) -> None:
        if isinstance(value, LearningRateSchedule):
            if not self._schedule:
                raise TypeError(
                    f"Expected {self._name} to be a number, received a schedule, "
                    f"{type(value).__name__}; only learning_rate takes one"
                )
        elif not (self._called and callable(value)):
            value = self._check(value, self._name)
        optimizer.__dict__[self._name] = value


def epsilon_or_default(value: Any, name: str) -> float:
    """Return `value` as a finite Python float >= 0; None is the default."""
    return DEFAULT_EPSILON if value is None else validation.non_negative(value, name)


def clip_limit(value: Any, name: str) -> float | None:
    """Return `value` as a finite Python float >= 0, or None for no clipping."""
    return None if value is None else validation.non_negative(value, name)


def checked_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the further keywords of the constructor, checked.

    Raises
    ------
    TypeError
        If one is unknown.
    ValueError
        If the value of one is out of range.
    """
    checks = dict.fromkeys(CLIPS, clip_limit) | {
        "lr": validation.non_negative,
        "decay": validation.non_negative,
        "backend": checked_backend,
    }
    checked = {}
    for key, value in keywords.items():
        if key not in checks:
            raise TypeError(
                f"Unexpected keyword argument passed to optimizer: {key}; "
                f"expected one of {', '.join(checks)}"
            )
        checked[key] = checks[key](value, key)
    return checked


def rate_at(learning_rate: Any, decay: float, iterations: int) -> float:
    """Return the learning rate after `iterations` steps.

    That is ``learning_rate(iterations)`` of a schedule, or the number, over
    ``1 + decay * iterations``.
    """
    if isinstance(learning_rate, LearningRateSchedule):
        name = f"{type(learning_rate).__name__} at step {iterations}"
        learning_rate = validation.non_negative(learning_rate(iterations), name)
    return float(learning_rate) / (1.0 + decay * iterations)
