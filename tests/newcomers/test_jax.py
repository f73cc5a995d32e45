"""A new user of JAX: a model as a dataclass, trained under `jax.jit` and in `lax.scan`."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from adamax import init, schedules, update

jax = pytest.importorskip("jax", reason="jax is not installed")
jnp = pytest.importorskip("jax.numpy")

STEPS = 800


@jax.tree_util.register_dataclass
@dataclass
class Dense:
    """A layer that may have no bias, and a setting that is no parameter."""

    weight: Any
    bias: Any
    activation: str = field(default="tanh", metadata={"static": True})

    def __call__(self, x: Any) -> Any:
        y = x @ self.weight
        if self.bias is not None:
            y = y + self.bias
        return jnp.tanh(y) if self.activation == "tanh" else y


def model() -> list[Dense]:
    """Return a network with one hidden layer; its last layer has no bias."""
    first, last = jax.random.split(jax.random.key(0))
    return [
        Dense(jax.random.normal(first, (1, 16)), jnp.zeros(16)),
        Dense(jax.random.normal(last, (16, 1)) / 4, None, "linear"),
    ]


def loss(layers: list[Dense], x: Any, y: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return jnp.mean((x - y) ** 2)


x = jnp.linspace(-3, 3, 64)[:, None]
y = jnp.sin(x)
decay = schedules.CosineDecay(initial_learning_rate=0.2, decay_steps=STEPS)


def train_step(layers: list[Dense], state: Any) -> Any:
    value, grads = jax.value_and_grad(loss)(layers, x, y)
    layers, state = update(layers, grads, state, learning_rate=decay)
    return layers, state, value


def test_steps_under_jit() -> None:
    """The sine is learnt by compiled steps; layers come back as layers, and nothing recompiles."""
    layers, step = model(), jax.jit(train_step)
    state = init(layers)
    for _ in range(STEPS):
        layers, state, value = step(layers, state)
    assert value < 1e-3
    assert int(state.step) == STEPS
    assert step._cache_size() <= 2  # the step number 0 is a Python int, later ones are arrays
    assert type(layers[1]) is type(state.m[1]) is Dense
    assert layers[1].bias is state.m[1].bias is None
    assert layers[1].activation == state.u[1].activation == "linear"
    # A decay that is over leaves the layers where they are.
    after, _, _ = step(layers, state)
    assert (after[0].weight == layers[0].weight).all()


def test_the_whole_run_in_a_scan() -> None:
    """`lax.scan` carries the layers and the state, and ends where the compiled steps end."""

    def run(layers: list[Dense]) -> Any:
        def body(carry: Any, _: Any) -> Any:
            *carry, value = train_step(*carry)
            return tuple(carry), value

        return jax.lax.scan(body, (layers, init(layers)), length=STEPS)

    (layers, state), values = jax.jit(run)(model())
    assert values[-1] < 1e-3 < values[0]
    assert int(state.step) == STEPS
    assert isinstance(layers[0], Dense)
