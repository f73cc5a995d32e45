"""The pure form: parameters and gradients in, parameters and state out.

Parameters are an array, or sequences and mappings of them nested in any way. Nothing is written
to, so that the functions trace: under `jax.jit` the step number is traced and no step recompiles.
"""

from typing import Any, NamedTuple

from adamax import nesting, validation
from adamax._arrays import Array, array_namespace, compute_dtype
from adamax._public import public
from adamax.rule import Coefficients, coefficients, step
from adamax.sparse import IndexedSlices, step_rows
from adamax.variable import Variable

__all__ = ["State", "init", "update"]


@public
class State(NamedTuple):
    """What Adamax remembers between steps; `m` and `u` are nested as the parameters are."""

    step: Any  # number of steps taken: int, or a 0-d integer array under a trace
    m: Any  # first moments, shapes of the parameters, float32 or float64
    u: Any  # infinity norms, likewise


@public
def init(params: Any) -> State:
    """Return the state before the first step: zeros.

    Parameters
    ----------
    params : Array, or nested sequences and mappings of arrays
        Real floating dtypes.

    Returns
    -------
    State
        Slots in the parameters' namespace and on their device; float32 for 16-bit parameters.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no array, or not of a real floating dtype.
    """
    m, u = (
        nesting.rebuilt(params, (_zeros(x, name) for name, x in nesting.leaves(params, "params")))
        for _ in range(2)
    )
    return State(0, m, u)


@public
def update(
    params: Any,
    grads: Any,
    state: State,
    *,
    learning_rate: Any = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> tuple[Any, State]:
    """Advance all parameters by one Adamax step.

    The formula is that of `adamax.rule.step`.

    Parameters
    ----------
    params : Array, or nested sequences and mappings of arrays
        As given to `init`.
    grads : nested in the same way
        An array of the parameter's shape, `IndexedSlices`, or None, which leaves the parameter
        and its slots as they are.
    state : State
        From `init` or the previous `update`.
    learning_rate : float, >= 0
        In parameter units per step. May be a 0-d array: traced, on a device, or one to
        differentiate with respect to. NumPy's alone is read on the host.
    beta_1, beta_2 : float in [0, 1)
    epsilon : float, >= 0
        In gradient units, added to u.

    Returns
    -------
    (params, state) : new, nested as `params`

    Raises
    ------
    TypeError, ValueError
        If a gradient does not fit its parameter; the message holds its path.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> params, state = update(params, {"w": np.array([0.5, -4.0])}, init(params))
    >>> print(params["w"], state.step)
    [0.999 2.001] 1
    """
    t = state.step + 1
    if isinstance(learning_rate, Variable):
        learning_rate = learning_rate.value
    c = coefficients(
        t,
        learning_rate=validation.rate(learning_rate, "learning_rate"),
        beta_1=validation.fraction(beta_1, "beta_1"),
        beta_2=validation.fraction(beta_2, "beta_2"),
        epsilon=validation.non_negative(epsilon, "epsilon"),
    )
    flat = zip(
        nesting.leaves(params, "params"),
        nesting.along(params, grads, "grads"),
        nesting.along(params, state.m, "state.m"),
        nesting.along(params, state.u, "state.u"),
        strict=True,
    )
    new = [_advance(name, param, grad, m, u, c) for (name, param), grad, m, u in flat]
    p, m, u = (nesting.rebuilt(params, iter([leaf[i] for leaf in new])) for i in range(3))
    return p, State(t, m, u)


def _advance(
    name: str, param: Array, grad: Any, m: Array, u: Array, c: Coefficients
) -> tuple[Array, Array, Array]:
    if grad is None:
        return param, m, u
    xp = array_namespace(validation.parameter(param, name))
    m, u = (validation.slot(x, param, name) for x in (m, u))
    grad = validation.gradient(grad, param, name)
    if isinstance(grad, IndexedSlices):
        return step_rows(param, grad, m, u, c, xp=xp)
    return step(param, grad, m, u, c, xp=xp)


def _zeros(param: Array, name: str) -> Array:
    xp = array_namespace(validation.parameter(param, name))
    return xp.zeros_like(param, dtype=compute_dtype(param.dtype, xp))
