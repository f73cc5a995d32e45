"""One step of Adamax as other libraries take it, on parameters of given shapes."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch

__all__ = ["keras_step", "optax_step", "sparse_adam_step", "tensorflow_steps", "torch_step"]

Step = Callable[[], object]
Shapes = Sequence[tuple[int, ...]]


def torch_step(shapes: Shapes, kind: str, device: str = "cpu") -> Step:
    """Return a step of `torch.optim.Adamax`: 'loop', 'foreach' or 'compiled'."""
    params = [torch.ones(shape, device=device, requires_grad=True) for shape in shapes]
    for param in params:
        param.grad = torch.full_like(param, 0.5)
    optimizer = torch.optim.Adamax(params, foreach=kind == "foreach")
    step: Step = torch.compile(optimizer.step) if kind == "compiled" else optimizer.step
    return _ended(step, device)


def sparse_adam_step(rows: int, width: int, indices: Any, device: str = "cpu") -> Step:
    """Return a step of `torch.optim.SparseAdam` for some rows of a table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks that sparse tensors may have
        table = torch.ones(rows, width, device=device, requires_grad=True)
        values = torch.full((len(indices), width), 0.5, device=device)
        where = torch.tensor(indices, device=device)[None]
        table.grad = torch.sparse_coo_tensor(where, values, table.shape)
    return _ended(torch.optim.SparseAdam([table]).step, device)


def optax_step(shapes: Shapes) -> Step:
    """Return a step of `optax.adamax` under `jax.jit`, which gives the old arrays away."""
    params = [jnp.ones(shape) for shape in shapes]
    gradients = [jnp.full(shape, 0.5) for shape in shapes]
    optimizer = optax.adamax(1e-3)
    held = [params, optimizer.init(params)]

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, gradients: Any) -> Any:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    def step() -> None:
        held[:] = update(*held, gradients)
        jax.block_until_ready(held)

    return step


def keras_step(shapes: Shapes) -> Step:
    """Return a step of Keras 3 on JAX arrays, compiled as its `fit` compiles it."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    variables = [keras.Variable(jnp.ones(shape)) for shape in shapes]
    gradients = [jnp.full(shape, 0.5) for shape in shapes]
    optimizer = keras.optimizers.Adamax()
    optimizer.build(variables)
    held = [[v.value for v in variables], [v.value for v in optimizer.variables]]

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, gradients: Any) -> Any:
        return optimizer.stateless_apply(state, gradients, params)

    def step() -> None:
        held[:] = update(*held, gradients)
        jax.block_until_ready(held)

    return step


def tensorflow_steps(shapes: Shapes) -> dict[str, Step]:
    """Return steps of TensorFlow's own operation, plain and compiled; none if not installed."""
    if find_spec("tensorflow") is None:
        return {}
    import tensorflow as tf

    slots = [[tf.Variable(tf.fill(s, x)) for s in shapes] for x in (1.0, 0.0, 0.0)]
    gradients = [tf.fill(shape, 0.5) for shape in shapes]
    power = tf.Variable(0.9)

    def step() -> None:
        for var, m, v, grad in zip(*slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdaMax(
                var=var.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power,
                lr=0.001,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=grad,
            )

    return {
        "TensorFlow's operation": tf.function(step),
        "TensorFlow, XLA": tf.function(step, jit_compile=True),
    }


def _ended(step: Step, device: str) -> Step:
    """Return a step that ends when the device has ended it."""

    def ended() -> None:
        step()
        torch.cuda.synchronize()

    return ended if device == "cuda" else step
