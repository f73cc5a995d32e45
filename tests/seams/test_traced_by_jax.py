"""JAX traces and differentiates a step, and compiles it once."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from libraries import Library, Usage, parameters
from reference_model import NumpyAdamax

from adamax import Adamax, IndexedSlices, State, Variable, init, update
from adamax.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LinearCosineDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)
from adamax_adapters.backends import BackendName

jax = pytest.importorskip("jax", reason="jax is not installed")
jnp = pytest.importorskip("jax.numpy")

Array = Any

DOUBLE = Library(Usage.JAX_JIT, "float64")
in_each_dtype = pytest.mark.parametrize(
    "library", parameters([Library(Usage.JAX_JIT, "float32"), DOUBLE]), indirect=True
)
in_double = pytest.mark.parametrize("library", parameters([DOUBLE]), indirect=True)

W = np.array([[1.0, -2.0], [3.0, 0.5], [0.25, 4.0]])
ROWS = np.array([2, 0, 2])


@pytest.mark.feature("jit", "functional")
@in_each_dtype
def test_a_thousand_steps_are_traced_once(library: Library) -> None:
    """Step number, learning rate, gradients and rows change, and nothing is traced again."""
    traces = []

    def step(params: Any, grads: Any, state: State, rate: Any) -> Any:
        traces.append(state.step)
        return update(params, grads, state, learning_rate=rate, beta_1=0.8)

    compiled, rng = jax.jit(step), np.random.default_rng(0)
    params = {"w": library.asarray(W), "table": library.asarray(W)}
    state, model, sizes = init(params), NumpyAdamax([W, W], beta_1=0.8), []
    for t in range(1000):
        a, b = (library.rounded(x) for x in rng.normal(size=(2, 3, 2)))
        rows, rate = rng.permutation(ROWS), 0.01 / (1 + t)
        slices = IndexedSlices(library.asarray(b), library.asarray(rows, "int32"))
        grads = {"w": library.asarray(a), "table": slices}
        params, state = compiled(params, grads, state, rate)
        model.step([a, (b, rows)], rate)
        sizes.append(compiled._cache_size())
    assert len(traces) == 1
    assert sizes[1:] == [sizes[1]] * 999
    assert int(state.step) == 1000
    tolerance = 1e-12 if library.dtype == "float64" else 1e-5
    for name, expected in zip(("w", "table"), model.x, strict=True):
        np.testing.assert_allclose(library.read(params[name]), expected, atol=tolerance)


@pytest.mark.feature("jit", "functional")
@in_each_dtype
def test_a_state_has_nothing_that_is_constant(library: Library) -> None:
    """Every leaf of a state is an array or a number of NumPy, the step number too.

    What compiles the arrays among its arguments, as equinox's `filter_jit`, would take a number of
    Python for a constant, and compile every step.
    """
    state = init({"w": library.asarray(W)})
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree_util.tree_leaves(state))
    assert state.step == 0


@pytest.mark.feature("jit", "functional")
@in_each_dtype
def test_a_compiled_step_moves_nothing(library: Library) -> None:
    """With step number and learning rate on the device, not even a scalar goes there or back."""
    compiled = jax.jit(lambda p, g, state, rate: update(p, g, state, learning_rate=rate))
    p = g = library.asarray(W)
    state, rate = init(p)._replace(step=library.asarray(0, "int32")), library.asarray(0.1)
    p, state = compiled(p, g, state, rate)
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            p, state = compiled(p, g, state, rate)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            update(p, g, state)  # which sends its coefficients
    assert int(state.step) == 4


def unrolled(rate: Any, start: Array, steps: int = 3) -> Array:
    """Return the loss after some steps, a function of the learning rate and the start."""

    def loss(params: Any) -> Array:
        return jnp.sum(jnp.sin(params["w"]) ** 2) + jnp.sum(params["table"][ROWS] ** 3)

    params = {"w": start, "table": start}
    state = init(params)
    for _ in range(steps):
        grads = jax.grad(loss)(params)
        rows = IndexedSlices(grads["table"][jnp.array([0, 2])], jnp.array([0, 2]))
        params, state = update(
            params, {"w": grads["w"], "table": rows}, state, learning_rate=rate, epsilon=1e-3
        )
    return loss(params)


@pytest.mark.feature("gradients", "functional")
@pytest.mark.parametrize("way", [lambda f: f, jax.jit], ids=["eager", "jit"])
@in_double
def test_steps_have_derivatives(library: Library, way: Callable[..., Any]) -> None:
    """The derivative of a run, by learning rate and by start, is that of central differences."""
    start = library.asarray(W)
    by_rate, by_start = way(jax.grad(unrolled, argnums=(0, 1)))(0.05, start)
    h = 1e-6
    expected = (unrolled(0.05 + h, start) - unrolled(0.05 - h, start)) / (2 * h)
    np.testing.assert_allclose(by_rate, expected, rtol=1e-7)
    for index in np.ndindex(W.shape):
        moved = library.asarray(np.zeros_like(W)).at[index].set(h)
        expected = (unrolled(0.05, start + moved) - unrolled(0.05, start - moved)) / (2 * h)
        np.testing.assert_allclose(by_start[index], expected, rtol=1e-6)


@pytest.mark.feature("jit", "functional")
@in_double
def test_steps_are_scanned_and_mapped(library: Library) -> None:
    """A run fits into `lax.scan`, and `vmap` takes it with several learning rates at once."""
    rates, start = library.asarray([0.1, 0.01, 0.0]), library.asarray(W)
    gradients = library.asarray(np.random.default_rng(0).normal(size=(5, *W.shape)))

    def run(rate: Array) -> Array:
        def body(carry: Any, grad: Array) -> Any:
            return update(carry[0], grad, carry[1], learning_rate=rate), None

        (end, _), _ = jax.lax.scan(body, (start, init(start)), gradients)
        return end

    found = jax.vmap(run)(rates)
    for rate, end in zip([0.1, 0.01, 0.0], found, strict=True):
        model = NumpyAdamax([W], rate)
        for gradient in np.asarray(gradients):
            model.step([gradient])
        np.testing.assert_allclose(library.read(end), model.x[0], rtol=1e-12)


SCHEDULES: list[Callable[[Any], Any]] = [
    ExponentialDecay(0.1, 10, 0.5, staircase=True),
    InverseTimeDecay(0.1, 10, 0.5),
    PolynomialDecay(0.1, 10, 0.01, power=0.5, cycle=True),
    PiecewiseConstantDecay([5, 15], [0.1, 0.01, 0.001]),
    CosineDecay(0.1, 10, alpha=0.1, warmup_target=0.2, warmup_steps=4),
    CosineDecayRestarts(0.1, 10, t_mul=1.5, m_mul=0.5),
    LinearCosineDecay(0.1, 10, num_periods=0.7),
    lambda step: 0.1 / (1 + step),
]


@pytest.mark.feature("jit", "functional", "schedules")
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@in_each_dtype
def test_schedules_are_traced_once(library: Library, schedule: Callable[[Any], Any]) -> None:
    """Under `jit` and in `lax.scan` a schedule gives the steps of its rates on the host."""
    traces, gradients = [], np.random.default_rng(0).normal(size=(30, *W.shape))

    def step(carry: Any, grad: Array) -> Any:
        params, state = carry
        traces.append(state.step)
        return update(params, grad, state, learning_rate=schedule), None

    start = library.asarray(W), init(library.asarray(W))
    grads, compiled, carry = library.asarray(gradients), jax.jit(step), start
    model = NumpyAdamax([W])
    for k, grad in enumerate(grads):
        carry, _ = compiled(carry, grad)
        model.step([library.rounded(gradients[k])], schedule(k))
    assert len(traces) == 1
    (scanned, state), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, grads))(start)
    assert len(traces) == 2
    assert int(state.step) == int(carry[1].step) == 30
    for found in (carry[0], scanned):
        library.assert_close(found, model.x[0], roundings=30, scale=4)


@contextmanager
def compilations(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Yield a list to which the block's compilations are added at its end, each by its message."""
    noted: list[str] = []
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        yield noted
    noted += [x.getMessage() for x in caplog.records if x.getMessage().startswith("Compiling")]


@pytest.mark.feature("jit", usage=Usage.JAX_JIT)
@pytest.mark.parametrize("backend", ["jax", "standard"])
@pytest.mark.parametrize("settings", [{}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}])
def test_optimizers_compile_nothing_again(
    settings: dict[str, Any], backend: BackendName, caplog: pytest.LogCaptureFixture
) -> None:
    """After two steps nothing compiles, whatever hyperparameter, gradient or row changes."""
    w, table = Variable(jnp.asarray(W)), Variable(jnp.asarray(W))
    optimizer = Adamax(0.1, backend=backend, **settings)
    rng = np.random.default_rng(0)

    def step() -> None:
        slices = IndexedSlices(
            jnp.asarray(rng.normal(size=(3, 2))), jnp.asarray(rng.permutation(ROWS))
        )
        optimizer.apply_gradients([(jnp.asarray(rng.normal(size=(3, 2))), w), (slices, table)])

    step()
    step()
    with compilations(caplog) as later:
        optimizer.learning_rate = ExponentialDecay(0.1, 10, 0.9)
        for _ in range(10):
            step()
        optimizer.decay, optimizer.beta_1, optimizer.beta_2 = 0.5, 0.8, 0.99
        step()
        optimizer.learning_rate, optimizer.epsilon = 1e-3, 1e-4
        step()
    with compilations(caplog) as fresh:
        jax.jit(lambda x: x + 1)(1)
    assert len(fresh) == 1
    assert later == []
