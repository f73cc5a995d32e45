"""THE mathematics: one Adamax step of one array, and its coefficients on the host.

The rule is written once, in `rule`. Whatever makes it faster compiles or traces that function.
"""

import math
from numbers import Integral
from typing import Any, NamedTuple

from adamax._arrays import Array, Namespace, array_namespace, as_floating, in_dtype

__all__ = ["Coefficients", "bias_correction", "coefficients", "rule", "step"]


class Coefficients(NamedTuple):
    """The scalars of one step, computed in double precision on the host."""

    one_minus_beta_1: float
    beta_2: float
    epsilon: float
    step_size: float  # learning_rate / (1 - beta_1**t), parameter units per step


def rule(
    p: Array, g: Array, m: Array, u: Array, c: Coefficients, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Advance one array by one step; every scalar meets an array, never another scalar."""
    m = m + (g - m) * c.one_minus_beta_1
    u = xp.maximum(u * c.beta_2, xp.abs(g))
    p = p - (m / (u + c.epsilon)) * c.step_size
    return p, m, u


def coefficients(
    t: Any, *, learning_rate: Any, beta_1: float, beta_2: float, epsilon: float
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

    Returns
    -------
    Coefficients
        Python floats; `step_size` is a 0-d array where `t` or `learning_rate` is one.

    Raises
    ------
    ValueError
        If `t` is below 1.

    Examples
    --------
    >>> coefficients(1, learning_rate=0.5, beta_1=0.5, beta_2=0.75, epsilon=0.0).step_size
    1.0
    """
    if isinstance(t, Integral) and t < 1:
        raise ValueError(f"Expected t >= 1, received: {t}; was the step counter set below 0?")
    beta_1 = float(beta_1)  # NumPy's own floats would promote float32 arrays
    step_size = learning_rate / bias_correction(beta_1, t)
    return Coefficients(1.0 - beta_1, float(beta_2), float(epsilon), step_size)


def bias_correction(beta_1: float, t: Any) -> Any:
    """Return ``1 - beta_1**t``, the weight that the zero start of m has lost by step t."""
    if isinstance(t, Integral):
        return 1.0 - beta_1 ** int(t)
    if beta_1 == 0.0:
        return 1.0
    # A traced step may only have 32 bits, where 1 - 0.9999**t would keep three digits;
    # expm1 keeps them all.
    return -array_namespace(t).expm1(as_floating(t) * math.log(beta_1))


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
    dtype = m.dtype
    if type(c.step_size) is not float:  # traced: it must not promote the arrays that it meets
        c = c._replace(step_size=in_dtype(c.step_size, dtype, xp))
    p, m, u = rule(in_dtype(param, dtype, xp), in_dtype(grad, dtype, xp), m, u, c, xp)
    p = in_dtype(p, param.dtype, xp)
    if param.ndim == 0:  # NumPy turns 0-d arrays into scalars as it computes
        p, m, u = xp.asarray(p), xp.asarray(m), xp.asarray(u)
    return p, m, u
