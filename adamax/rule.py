"""THE mathematics: one Adamax step of one array, and its coefficients on the host.

The rule is written once, in `rule`. Whatever makes it faster compiles or traces that function.
"""

import math
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cache
from numbers import Integral, Real
from typing import Any, NamedTuple

from adamax._arrays import (
    Array,
    Namespace,
    array_namespace,
    as_floating,
    in_dtype,
    is_array,
    is_numpy_array,
)

__all__ = [
    "ADAMAX",
    "Coefficients",
    "Rule",
    "advanced",
    "bias_correction",
    "coefficients",
    "rule",
    "step",
    "with_scalars",
]


_INTEGERS = int, Integral
_NUMBERS = float, int, Real
"""The plain classes come first: it takes ten times as long to ask an abstract one."""


class Coefficients(NamedTuple):
    """The scalars of one step, computed in double precision on the host."""

    one_minus_beta_1: float
    beta_2: float
    epsilon: float
    step_size: float  # learning_rate / (1 - beta_1**t), parameter units per step


def _magnitude(g: Array, c: Any, xp: Namespace) -> Array:
    return xp.abs(g)


def _divisor(u: Array, c: Any) -> Array:
    return u + c.epsilon


def rule(
    p: Array,
    g: Array,
    m: Array,
    u: Array,
    c: Any,
    xp: Namespace,
    magnitude: Callable[[Array, Any, Namespace], Array] = _magnitude,
    divisor: Callable[[Array, Any], Array] = _divisor,
) -> tuple[Array, Array, Array]:
    """Advance one array by one step; every scalar meets an array, never another scalar."""
    m = m + (g - m) * c.one_minus_beta_1
    u = xp.maximum(u * c.beta_2, magnitude(g, c, xp))
    p = p - (m / divisor(u, c)) * c.step_size
    return p, m, u


class Rule(NamedTuple):
    """A rule as a value: what backends compile, trace or call, whatever is in it.

    Two rules with the same formula are one, so that what is compiled for one is found again.
    """

    formula: Callable[..., tuple[Array, ...]]  # (p, g, *state, c, xp) -> (p, *state)
    scalars: tuple[str, ...]  # the attributes of `c` that the formula reads
    state: tuple[str, ...]  # the arrays that it keeps for each parameter, zeros at first

    def scalars_of(self, c: Any) -> tuple[Any, ...]:
        """Return the scalars of this rule, in its order; `c` may have more."""
        return tuple([getattr(c, name) for name in self.scalars])


ADAMAX = Rule(rule, Coefficients._fields, ("m", "u"))
"""The default: the reference's numbers. `adamax.variants` makes others from it."""


def coefficients(
    t: Any,
    *,
    learning_rate: Any,
    beta_1: Any,
    beta_2: Any,
    epsilon: Any,
    xp: Namespace | None = None,
) -> Coefficients:
    """Return the coefficients of step `t`.

    Parameters
    ----------
    t : int
        Number of this step, from 1. Under a trace, a 0-d integer array.
    learning_rate : float, >= 0
        In parameter units per step.
    beta_1, beta_2 : float in [0, 1)
        Decay of the first moment and of the infinity norm.
    epsilon : float, >= 0
        In gradient units.
    xp : namespace, optional
        Of the arguments that are no numbers, such as tracers. Default: inferred from them.

    Returns
    -------
    Coefficients
        Python floats, computed in double precision; a 0-d array, in its own precision, where an
        argument that it depends on is one.

    Raises
    ------
    ValueError
        If `t` is below 1.

    Examples
    --------
    >>> coefficients(1, learning_rate=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0).step_size
    1.0
    """
    if isinstance(t, _INTEGERS) and t < 1:
        raise ValueError(f"Expected t >= 1, received: {t}; was the step counter set below 0?")
    beta_1 = _plain(beta_1, xp)
    step_size = learning_rate / bias_correction(beta_1, t, xp)
    return Coefficients(1.0 - beta_1, _plain(beta_2, xp), _plain(epsilon, xp), step_size)


def _plain(x: Any, xp: Namespace | None) -> Any:
    """Return a number as a Python float: NumPy's own would promote float32 arrays."""
    is_number = isinstance(x, _NUMBERS) or (xp is None and (not is_array(x) or is_numpy_array(x)))
    return float(x) if is_number else x


def with_scalars(c: Any, **scalars: Any) -> Any:
    """Return the coefficients `c` with further scalars, for rules that have them.

    Examples
    --------
    >>> c = coefficients(1, learning_rate=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    >>> with_scalars(c, factor=0.25).factor
    0.25
    """
    names = (*c._fields, *(name for name in scalars if name not in c._fields))
    return _named(names)(**c._asdict() | scalars)


@cache
def _named(names: tuple[str, ...]) -> Callable[..., Any]:
    return namedtuple("Coefficients", names)


def bias_correction(beta_1: Any, t: Any, xp: Namespace | None = None) -> Any:
    """Return ``1 - beta_1**t``, the weight that the zero start of m has lost by step t."""
    if isinstance(beta_1, _NUMBERS):
        if isinstance(t, _INTEGERS):
            return 1.0 - float(beta_1) ** int(t)
        if beta_1 == 0.0:
            return 1.0
    # A traced step may only have 32 bits, where 1 - 0.9999**t would keep three digits;
    # expm1 keeps them all.
    if xp is None:
        xp = array_namespace(t if is_array(t) else beta_1)
    log: Any = math.log(beta_1) if isinstance(beta_1, _NUMBERS) else xp.log(beta_1)
    return -xp.expm1((as_floating(t) if is_array(t) else t) * log)


def step(
    param: Array,
    grad: Array,
    m: Array,
    u: Array,
    c: Coefficients,
    *,
    xp: Namespace | None = None,
) -> tuple[Array, Array, Array]:
    """Advance one parameter array by one Adamax step.

    With p = `param` and g = `grad`::

        m <- m + (g - m) * (1 - beta_1)                                exponential mean of gradients
        u <- max(u * beta_2, |g|)                                      decaying infinity norm
        p <- p - (m / (u + epsilon)) * learning_rate / (1 - beta_1^t)

    Parameters
    ----------
    param, grad : Array
        Real floating dtype, one shape. Not written to.
    m, u : Array
        First moment and infinity norm, of that shape; the step is computed in their dtype, which
        is float32 where the parameter has 16 bits. Not written to.
    c : Coefficients
        The scalars of this step, from `coefficients`.
    xp : namespace, optional
        Default: inferred from the arrays.

    Returns
    -------
    (param, m, u) : new arrays
        Shape, dtype, device and namespace of the inputs.

    Raises
    ------
    TypeError
        If the arrays come from different libraries.

    Notes
    -----
    Kingma & Ba, 2014 (arXiv:1412.6980), section 7.1, algorithm 2, which has no epsilon. As in
    `tf.keras.optimizers.Adamax` it is added to u here; PyTorch and optax add it to ``|g|`` inside
    the maximum. A NaN gradient reaches m, u and p.

    Examples
    --------
    >>> import numpy as np
    >>> c = coefficients(1, learning_rate=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    >>> p, m, u = step(np.array([1.0]), np.array([4.0]), np.zeros(1), np.zeros(1), c)
    >>> print(p, m, u)
    [0.5] [2.] [4.]
    """
    xp = array_namespace(param, grad, m, u) if xp is None else xp
    p, m, u = advanced(ADAMAX, param, grad, (m, u), c, xp)
    return p, m, u


def advanced(
    rule: Rule, param: Array, grad: Array, state: Sequence[Array], c: Any, xp: Namespace
) -> tuple[Array, ...]:
    """Return ``(param, *state)`` after one step of any rule, as `step` does of the default one.

    They are new arrays, of a rule that keeps an array as it is too.
    """
    dtype = state[0].dtype
    traced = {
        # It must not promote the arrays that it meets.
        name: in_dtype(x, dtype, xp)
        for name, x in zip(c._fields, c, strict=True)
        if type(x) is not float
    }
    c = c._replace(**traced) if traced else c
    new = rule.formula(in_dtype(param, dtype, xp), in_dtype(grad, dtype, xp), *state, c, xp)
    new = in_dtype(new[0], param.dtype, xp), *new[1:]
    if param.ndim == 0:  # NumPy turns 0-d arrays into scalars as it computes
        new = tuple([xp.asarray(x) for x in new])
    given = (param, grad, *state)
    return tuple([xp.asarray(x, copy=True) if any(x is y for y in given) else x for x in new])
