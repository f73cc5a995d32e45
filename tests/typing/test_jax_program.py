"""What a user of JAX writes, checked with the types of JAX."""
# pyright: basic, reportUnnecessaryTypeIgnoreComment=true

from typing import NamedTuple, assert_type

import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp

from adamax import Adamax, State, Variable, init, update


class Params(NamedTuple):
    w: jax.Array
    b: jax.Array


def loss(params: Params) -> jax.Array:
    return jnp.sum((params.w + params.b) ** 2)


def step(params: Params, state: State[Params]) -> tuple[Params, State[Params]]:
    return update(params, jax.grad(loss)(params), state, learning_rate=jnp.asarray(0.1))


def test_a_compiled_step() -> None:
    params = Params(jnp.ones(3), jnp.ones(()))
    state = init(params)
    assert_type(state, State[Params])
    params, state = step(params, jax.jit(step)(params, state)[1])
    assert_type(state.m.w, jax.Array)
    assert int(state.step) == 2


def test_variables_of_jax() -> None:
    w = Variable(jnp.ones(3))
    assert_type(w.value, jax.Array)
    Adamax().minimize(lambda: jnp.sum(w.value**2), [w])
