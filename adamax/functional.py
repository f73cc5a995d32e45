"""The pure form: parameters and gradients in, parameters and state out.

Parameters are an array, or containers of arrays nested in any way: sequences, mappings,
dataclasses, and the classes that are registered as pytrees of JAX. None stands for a parameter
that is not there. Nothing is written to, so that the functions trace: under `jax.jit` the step
number is traced and no step recompiles.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

from adamax import nesting, validation
from adamax._arrays import array_namespace, as_numpy, compute_dtype, is_jax_array
from adamax._public import public
from adamax.rule import Coefficients, coefficients, step
from adamax.sparse import IndexedSlices, step_rows
from adamax.typing import Array, Tree
from adamax.variable import Variable

__all__ = ["State", "init", "update"]


@public
class State(NamedTuple, Generic[Tree]):
    """What Adamax remembers between steps; `m` and `u` have the structure of the parameters."""

    step: int | Array  # number of steps taken: a 0-d integer array under a trace
    m: Tree  # first moments, shapes of the parameters, float32 or float64
    u: Tree  # infinity norms, likewise


@public
def init(params: Tree) -> State[Tree]:
    """Return the state before the first step: zeros.

    Parameters
    ----------
    params : Array, or nested containers of arrays and None
        Real floating dtypes.

    Returns
    -------
    State
        Slots in the parameters' namespace and on their device; float32 for 16-bit parameters.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not an array, or not of a real floating dtype.
    """
    tree = nesting.Structure(params)
    named = list(tree.flatten(params, "params"))
    m, u = (tree.unflatten(_zeros(x, name) for name, x in named) for _ in range(2))
    # Whatever compiles for JAX traces NumPy's 0. Python's is a constant to some, as to equinox's
    # filter_jit, which would compile every step anew.
    step = as_numpy(0)[()] if any(is_jax_array(x) for _, x in named) else 0
    return State(step, m, u)


@public
def update(
    params: Tree,
    grads: object,
    state: State[Tree],
    *,
    learning_rate: float | Array | Callable[[Any], float | Array] = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> tuple[Tree, State[Tree]]:
    """Advance all parameters by one Adamax step.

    The formula is that of `adamax.rule.step`.

    Parameters
    ----------
    params : Array, or nested containers of arrays and None
        As given to `init`.
    grads : containers with the same structure
        An array of the parameter's shape, `IndexedSlices`, or None, which leaves the parameter
        and its slots as they are. None for a parameter that is None.
    state : State
        From `init` or the previous `update`.
    learning_rate : float, >= 0, or callable
        In parameter units per step. May be a 0-d array: traced, on a device, or an input to
        differentiate with respect to. Only a NumPy array is read on the host. A callable, such as
        one of `adamax.schedules`, is called with ``state.step``, the number of steps before this
        one.
    beta_1, beta_2 : float in [0, 1)
    epsilon : float, >= 0
        In gradient units, added to u.

    Returns
    -------
    (params, state) : new, with the structure of `params`

    Raises
    ------
    TypeError, ValueError
        If a gradient does not fit its parameter; the message contains its path. If the arguments
        are in another order.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> params, state = update(params, {"w": np.array([0.5, -4.0])}, init(params))
    >>> print(params["w"], state.step)
    [0.999 2.001] 1
    """
    _in_order(params, grads, state)
    t = state.step + 1
    c = coefficients(
        t,
        learning_rate=_rate_at(state.step, learning_rate),
        beta_1=validation.fraction(beta_1, "beta_1"),
        beta_2=validation.fraction(beta_2, "beta_2"),
        epsilon=validation.non_negative(epsilon, "epsilon"),
    )
    tree = nesting.Structure(params)
    flat = zip(
        tree.flatten(params, "params"),
        tree.flatten(grads, "grads"),
        tree.flatten(state.m, "state.m"),
        tree.flatten(state.u, "state.u"),
        strict=True,
    )
    new = [_advance(name, p, grad, m, u, c) for (name, p), (_, grad), (_, m), (_, u) in flat]
    p, m, u = (tree.unflatten(leaf[i] for leaf in new) for i in range(3))
    return p, State(t, m, u)


def _in_order(params: Any, grads: Any, state: Any) -> None:
    """Raise TypeError if `state` cannot be one; optax, for example, takes it second."""
    if all(hasattr(state, name) for name in State._fields):
        return
    swapped = isinstance(params, State) or isinstance(grads, State)
    raise TypeError(
        f"Expected the State of init(params), received {type(state).__name__}, for state: "
        f"{'are the arguments in another order? ' if swapped else ''}"
        "the signature is update(params, grads, state)"
    )


def _rate_at(step: Any, learning_rate: Any) -> Any:
    """Return the checked learning rate after `step` steps: a float or a 0-d array."""
    if isinstance(learning_rate, Variable):
        learning_rate = learning_rate.value
    if callable(learning_rate):
        return validation.rate(learning_rate(step), "learning_rate(state.step)")
    return validation.rate(learning_rate, "learning_rate")


def _advance(
    name: str, param: Any, grad: Any, m: Any, u: Any, c: Coefficients
) -> tuple[Any, Any, Any]:
    if param is None and grad is not None:
        raise ValueError(
            f"Expected None, received {type(grad).__name__}, for the gradient of {name}: that "
            "parameter is None"
        )
    if grad is None:
        return param, m, u
    xp = array_namespace(validation.parameter(param, name))
    m, u = (validation.slot(x, param, name) for x in (m, u))
    grad = validation.gradient(grad, param, name)
    if isinstance(grad, IndexedSlices):
        param, m, u = step_rows(param, grad, (m, u), c, xp=xp)
        return param, m, u
    return step(param, grad, m, u, c, xp=xp)


def _zeros(param: Any, name: str) -> Any:
    if param is None:
        return None
    xp = array_namespace(validation.parameter(param, name))
    return xp.zeros_like(param, dtype=compute_dtype(param.dtype, xp))
