"""The runs that JAX compiles: ours as a pure function, optax, and Keras 3."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from exact import Run
from problems import CHECKS, LEARNING_RATE, Problem, gradient, rounded, started

from adamax import IndexedSlices, init, update

__all__ = ["jax_run", "keras_run", "optax_run"]

Array = Any
Step = Callable[[Array, Any, Any], tuple[Array, Any]]
"""From the parameter, its gradient and the state to the next parameter and state."""


def jax_run(problem: Problem, dtype: str) -> Run:
    """Return the run of ours under `jax.jit`."""

    def step(p: Array, g: Any, state: Any) -> Any:
        g = IndexedSlices(*g) if isinstance(g, tuple) else g
        return update(p, g, state, learning_rate=LEARNING_RATE, beta_1=problem.beta_1)

    state = init(jnp.asarray(started(problem, dtype)))._replace(step=jnp.asarray(0))
    return _scanned(problem, dtype, step, state, lambda state: state.u)


def optax_run(problem: Problem, dtype: str) -> Run:
    """Return the run of `optax.adamax` under `jax.jit`."""
    optimizer = optax.adamax(LEARNING_RATE, b1=problem.beta_1)

    def step(p: Array, g: Array, state: Any) -> Any:
        updates, state = optimizer.update(g, state, p)
        return optax.apply_updates(p, updates), state

    state = optimizer.init(jnp.asarray(started(problem, dtype)))
    return _scanned(problem, dtype, step, state, lambda state: state[0].nu)


def keras_run(problem: Problem, dtype: str) -> Run:
    """Return the run of `keras.optimizers.Adamax` under `jax.jit`."""
    # Keras reads this as it is imported, which is slow: not where tests are collected.
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    p = keras.Variable(started(problem, dtype), dtype=problem.dtype(dtype))
    optimizer = keras.optimizers.Adamax(LEARNING_RATE, beta_1=problem.beta_1)
    optimizer.build([p])
    norm = [variable.path.endswith("norm") for variable in optimizer.variables].index(True)

    def step(p: Array, g: Array, state: Any) -> Any:
        (p,), state = optimizer.stateless_apply(state, [g], [p])
        return p, state

    state = [variable.value for variable in optimizer.variables]
    return _scanned(problem, dtype, step, state, lambda state: state[norm])


def _scanned(
    problem: Problem, dtype: str, step: Step, state: Any, u: Callable[[Any], Array]
) -> Run:
    """Return the run of all steps, compiled as one function."""
    start, stream = started(problem, dtype), rounded(problem.stream, dtype)

    def one(carry: Any, part: Any) -> Any:
        p, state = carry
        g = part if isinstance(part, tuple) else gradient(problem, part, p)
        p, state = step(p, g, state)
        return (jnp.zeros_like(p) if problem.set_back else p, state), p

    def some(carry: Any, parts: Any) -> Any:
        carry, p = jax.lax.scan(one, carry, parts)
        return carry, (p, u(carry[1]))

    fed = stream if problem.rows is None else (stream, problem.rows)
    parts = jax.tree.map(lambda x: jnp.asarray(x).reshape(CHECKS, -1, *x.shape[1:]), fed)
    scan = jax.jit(lambda carry, parts: jax.lax.scan(some, carry, parts)[1])
    p, norms = (np.asarray(x).astype(float) for x in scan((jnp.asarray(start), state), parts))
    with np.errstate(invalid="ignore"):  # of infinite moves
        moved = np.cumsum(p.sum(1), axis=0) if problem.set_back else p[:, -1] - start.astype(float)
    return Run(moved.reshape(CHECKS, -1), norms.reshape(CHECKS, -1))
