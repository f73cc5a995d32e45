"""Hyperparameters: floats that are checked at every assignment.

A hyperparameter may be a number or a callable without arguments, which is called whenever the
value is read; the learning rate may also be a schedule.
"""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeAlias, TypeVar, overload
from weakref import ref

import numpy as np

from adamax import validation
from adamax.naming import auto_name
from adamax.operators import Operators
from adamax.rule import Coefficients, coefficients
from adamax.schedules import LearningRateSchedule
from adamax_adapters.backends import BackendName
from adamax_adapters.backends.contract import Backend

__all__ = [
    "CLIPS",
    "DEFAULT_EPSILON",
    "Choice",
    "Hyperparameter",
    "Limit",
    "Number",
    "NumberOrDefault",
    "Rate",
    "Setting",
    "clip_limit",
    "epsilon_or_default",
    "limits_of",
    "name_or_default",
    "plain",
    "rate_at",
]

CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")

DEFAULT_EPSILON = 1e-7

Read = TypeVar("Read")
Written = TypeVar("Written")


class Setting(Operators, float):  # type: ignore[misc]  # float raises to no array
    """A hyperparameter as it is read: a float of that moment, with the methods of a `tf.Variable`.

    Libraries compute with the plain float, which does not widen arrays. Copies and pickles are
    floats.
    """

    __slots__ = ("_name", "_optimizer")

    _name: str
    _optimizer: ref[Any]
    dtype = np.dtype(np.float64)  # Keras 2 asks for it before it assigns

    def __new__(cls, value: float, optimizer: Any, name: str) -> Self:
        """Return `value` as the hyperparameter `name` of an optimizer, which is not kept alive."""
        setting = super().__new__(cls, value)
        setting._name, setting._optimizer = name, ref(optimizer)
        return setting

    def numpy(self) -> np.float64:
        """Return the number as a NumPy scalar."""
        return np.float64(self)

    def assign(self, value: Any) -> Any:
        """Set the hyperparameter of the optimizer, and return it as it is then read."""
        setattr(self._optimizer(), self._name, value)
        return getattr(self._optimizer(), self._name)

    def _operate(self, name: str, compute: Callable[..., Any], *operands: Any) -> Any:
        return compute(*map(plain, operands))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        return getattr(ufunc, method)(*map(plain, inputs), **keywords)

    __hash__ = float.__hash__

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


class Hyperparameter(Generic[Read, Written]):
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

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, optimizer: object, owner: type) -> Read: ...
    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is None:
            return self
        value = optimizer.__dict__[self._name]
        if type(value) is Setting or value is None:
            return value
        if type(value) is float:
            value = optimizer.__dict__[self._name] = Setting(value, optimizer, self._name)
        elif self._called and callable(value) and not isinstance(value, LearningRateSchedule):
            value = self._check(value(), self._name)
        return value

    def __set__(self, optimizer: Any, value: Written) -> None:
        kept: Any = value
        if isinstance(value, LearningRateSchedule):
            if not self._schedule:
                raise TypeError(
                    f"Expected {self._name} to be a number, received a schedule, "
                    f"{type(value).__name__}; only learning_rate takes one"
                )
        elif not (self._called and callable(value)):
            kept = self._check(value, self._name)
        optimizer.__dict__[self._name] = kept


Given: TypeAlias = float | Callable[[], float]

Number: TypeAlias = Hyperparameter[Setting, Given]
NumberOrDefault: TypeAlias = Hyperparameter[Setting, Given | None]
Limit: TypeAlias = Hyperparameter[Setting | None, Given | None]
# Who assigns a schedule knows that it is one: others need not ask before they compute.
Rate: TypeAlias = Hyperparameter[Setting | Any, Given | LearningRateSchedule]
Choice: TypeAlias = Hyperparameter[BackendName | Backend | None, BackendName | Backend | None]


def name_or_default(name: Any) -> str:
    """Return the name of an optimizer; if it is empty or None, one not given out before."""
    if not isinstance(name, str | None):
        raise TypeError(f"Expected name to be a str, received: {name!r}")
    return name or auto_name("adamax")


def plain(value: Any) -> Any:
    """Return a hyperparameter as a plain float, and anything else as it is."""
    return float(value) if isinstance(value, Setting) else value


def limits_of(optimizer: Any) -> list[float | None]:
    """Return the limits of clipping of an optimizer, in the order of `CLIPS`."""
    return [plain(getattr(optimizer, limit)) for limit in CLIPS]


def coefficients_of(optimizer: Any, t: int) -> Coefficients:
    """Return the coefficients of an optimizer's step `t`."""
    return coefficients(
        t,
        learning_rate=optimizer.current_learning_rate,
        beta_1=optimizer.beta_1,
        beta_2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
    )


def epsilon_or_default(value: Any, name: str) -> float:
    """Return `value` as a finite Python float >= 0; None is the default."""
    return DEFAULT_EPSILON if value is None else validation.non_negative(value, name)


def clip_limit(value: Any, name: str) -> float | None:
    """Return `value` as a finite Python float >= 0, or None for no clipping."""
    return None if value is None else validation.non_negative(value, name)


def rate_at(learning_rate: Any, decay: float, iterations: int) -> float:
    """Return the learning rate after `iterations` steps.

    That is ``learning_rate(iterations)`` of a schedule, or the number, over
    ``1 + decay * iterations``.
    """
    if isinstance(learning_rate, LearningRateSchedule):
        name = f"{type(learning_rate).__name__} at step {iterations}"
        learning_rate = validation.non_negative(learning_rate(iterations), name)
    return float(learning_rate) / (1.0 + float(decay) * iterations)
