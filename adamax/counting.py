"""Arithmetic on numbers of steps, written once for a number on the host and for arrays.

Formulas take a namespace. `Floats` computes with Python floats, in double precision. The namespace
of an array, which may be traced, computes in the default floating dtype of its library. In 32 bits
a rounded quotient can miss the step at which a period ends, so that these functions avoid it.
"""

import math
from typing import Any

from adamax import validation
from adamax._arrays import Namespace, array_namespace, as_floating, is_array, is_numpy_array
from adamax.layout import home_of
from adamax.variable import Variable

__all__ = ["Floats", "counted", "power", "restarts", "split"]

LAST_STEP = 2**31
"""No run takes more steps. The list of restarts ends here."""


class Floats:
    """The functions of the array API that schedules use, for Python floats."""

    cos = staticmethod(math.cos)

    @staticmethod
    def clip(x: float, low: float | None, high: float | None) -> float:
        """Return `x`, or the bound that it is beyond."""
        x = x if low is None else max(low, x)
        return x if high is None else min(x, high)

    @staticmethod
    def full_like(x: float, value: float) -> float:
        """Return `value`."""
        return value

    @staticmethod
    def where(condition: bool, x: float, y: float) -> float:
        """Return `x` if the condition is true, else `y`."""
        return x if condition else y


def counted(step: Any) -> tuple[Any, Namespace]:
    """Return a number of steps, ready for formulas, and the namespace of their functions.

    `step` is a number, a `Variable` or an array. A 0-d NumPy array counts as a number.
    """
    if isinstance(step, Variable):
        step = step.value
    if is_array(step) and not (is_numpy_array(step) and step.ndim == 0):
        return as_floating(step), array_namespace(step)
    return step if type(step) is int else validation.number(step, "step"), Floats


def split(k: Any, length: float, xp: Namespace) -> tuple[Any, Any]:
    """Return how many whole periods of `length` steps are in `k`, and the part of the next one."""
    if xp is Floats:
        done = k / length
        whole = done // 1
        return whole, done - whole
    if length.is_integer():
        # The remainder is exact, and the difference a multiple of the length.
        rest = k % length
        return xp.round((k - rest) / length), rest / length
    done = k / length
    nearest = xp.round(done)
    reached = xp.abs(done - nearest) <= 2 * float(xp.finfo(k.dtype).eps) * done
    whole = xp.floor(done)
    return xp.where(reached, nearest, whole), xp.where(reached, 0.0, done - whole)


def restarts(k: Any, first: float, ratio: float, xp: Namespace) -> tuple[Any, Any]:
    """Return the same as `split`, for periods of `first` steps, first * ratio, first * ratio^2, ...

    `ratio` is at least 1.
    """
    if ratio == 1:
        return split(k, first, xp)
    if xp is Floats:
        # The first i periods last (ratio^i - 1) / (ratio - 1) together, the first being 1.
        done, growth = k / first, ratio - 1
        # Without the last digits, rounding would miss the very step of a restart.
        whole = (math.log1p(done * growth) / math.log(ratio) + 1e-9) // 1
        return whole, (done - (ratio**whole - 1) / growth) / ratio**whole
    begun = [0.0]
    while begun[-1] < LAST_STEP:
        begun.append(begun[-1] + first * ratio ** (len(begun) - 1))
    starts = xp.asarray(begun, dtype=k.dtype, device=home_of(k))
    k = xp.expand_dims(k, axis=-1)
    passed = starts <= k * (1 + 1e-9)
    start = xp.max(xp.where(passed, starts, 0.0), axis=-1, keepdims=True)
    end = xp.min(xp.where(passed, math.inf, starts), axis=-1, keepdims=True)
    whole = xp.sum(xp.astype(passed, k.dtype), axis=-1) - 1
    return whole, xp.squeeze(xp.clip(k - start, 0.0, None) / (end - start), axis=-1)


def power(base: float, exponent: Any, xp: Namespace) -> Any:
    """Return ``base**exponent`` of a base >= 0: infinity beyond the range of floats."""
    if xp is Floats:
        try:
            return math.pow(base, exponent)
        except OverflowError:
            return math.inf
    if base == 0:
        return xp.where(exponent == 0, xp.full_like(exponent, 1.0), 0.0)
    # Not base**exponent, which multiplies the rounding of the base to 32 bits by the exponent.
    return xp.exp(exponent * math.log(base))
