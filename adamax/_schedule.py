"""The base of schedules: callables of the step that describe themselves by their arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Self, overload

from adamax import validation
from adamax._arrays import Namespace
from adamax.counting import counted
from adamax.typing import Array

__all__ = ["Formula", "LearningRateSchedule", "check", "keep"]


class LearningRateSchedule:
    """Base class of schedules: subclass it and define ``__call__(step)``.

    A dataclass subclass inherits a working `get_config`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Halving(LearningRateSchedule):
    ...     start: float
    ...     def __call__(self, step):
    ...         return self.start * 0.5**step
    >>> Halving(0.1)(1), Halving(0.1).get_config()
    (0.05, {'start': 0.1})
    """

    __module__ = "adamax.schedules"  # where users import it from

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of `step`, which counts from 0.

        Parameters
        ----------
        step : int, Variable or Array
            An array may have any shape, and may be traced.

        Returns
        -------
        float, or Array
            A float for an int, a number in a `Variable` or a 0-d array of NumPy. Otherwise an
            array of that shape, in the default real floating dtype of its library.
        """
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


class Formula(LearningRateSchedule):
    """A schedule that is a formula of k, computed with the functions of `xp`."""

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: Array) -> Any: ...
    def __call__(self, step: Any) -> Any:
        """Return the learning rate of `step`; infinity beyond the range of floats."""
        return self._at(*counted(step))

    def _at(self, k: Any, xp: Namespace) -> Any:
        raise NotImplementedError


def check(schedule: Any, non_negative: str, positive: str = "") -> None:
    """Check the named numbers of a schedule and keep them as Python floats."""
    for names, checked in (
        (non_negative, validation.non_negative),
        (positive, validation.positive),
    ):
        for name in names.split():
            keep(schedule, name, checked(getattr(schedule, name), name))


def keep(schedule: Any, name: str, value: Any) -> None:
    """Set an attribute of a schedule, which is frozen."""
    object.__setattr__(schedule, name, value)


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(x) for x in value]
    return value if value is None or isinstance(value, (str, int, float)) else float(value)
