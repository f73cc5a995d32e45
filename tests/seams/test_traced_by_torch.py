"""torch differentiates a step, and compiles it without a break and once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from libraries import Library, Usage, parameters
from reference_model import NumpyAdamax

from adamax import init, update

torch = pytest.importorskip("torch", reason="torch is not installed")

Array = Any

DOUBLES = [Library(usage, "float64") for usage in (Usage.TORCH_32, Usage.TORCH_64)]
OF_EACH_WIDTH = [
    Library(Usage.TORCH_32, "bfloat16"),
    Library(Usage.TORCH_32, "float32"),
    Library(Usage.TORCH_64, "float64"),
]
# array-api-compat remembers the namespace of a type; under a trace it is looked up anew.
pytestmark = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")

W = np.array([[1.0, -2.0], [3.0, 0.5], [0.25, 4.0]])


@pytest.mark.feature("jit", "functional")
@pytest.mark.parametrize(
    ("counted", "compiler"), [("in Python", "eager"), ("in a tensor", "aot_eager")]
)
@pytest.mark.parametrize("library", parameters(OF_EACH_WIDTH), indirect=True)
def test_steps_are_compiled_once(library: Library, counted: str, compiler: str) -> None:
    """In one graph, of any step number and learning rate, with the bits of the plain steps."""
    torch.compiler.reset()
    compiled = torch.compile(update, fullgraph=True, backend=compiler)
    start, rng = {"w": library.asarray(W), "b": library.asarray(1.0)}, np.random.default_rng(0)
    state = init(start)
    if counted == "in a tensor":
        state = state._replace(step=library.asarray(0, "int64"))
    found, plain = (start, state), (start, state)
    for t in range(100):
        grads = {
            "w": library.asarray(rng.normal(size=W.shape)),
            "b": library.asarray(rng.normal()),
        }
        rate = 0.1 / (1 + t)
        # A number is taken for a constant until it is another one.
        stance = "default" if t < 3 else "fail_on_recompile"
        with torch.compiler.set_stance(stance):
            found = compiled(found[0], grads, found[1], learning_rate=rate)
        plain = update(plain[0], grads, plain[1], learning_rate=rate)
    assert int(found[1].step) == 100
    for name in start:
        np.testing.assert_array_equal(library.read(found[0][name]), library.read(plain[0][name]))


def unrolled(rate: Any, start: Array, steps: int = 6) -> Array:
    """Return the loss after some steps, a function of the learning rate and the start."""

    def loss(p: Array) -> Array:
        return (torch.sin(p) ** 2).sum()

    p, state = start, init(start)
    for _ in range(steps):
        p, state = update(p, torch.func.grad(loss)(p), state, learning_rate=rate, epsilon=1e-3)
    return loss(p)


def by_transform(rate: Array, start: Array) -> Any:
    return torch.func.grad(unrolled, argnums=(0, 1))(rate, start)


def by_graph(rate: Array, start: Array) -> Any:
    at = rate.requires_grad_(), start.requires_grad_()
    return torch.autograd.grad(unrolled(*at), at)


@pytest.mark.feature("gradients", "functional")
@pytest.mark.parametrize("derivatives", [by_transform, by_graph])
@pytest.mark.parametrize("library", parameters(DOUBLES), indirect=True)
def test_steps_have_derivatives(library: Library, derivatives: Callable[..., Any]) -> None:
    """The derivative of a run, by learning rate and by start, is that of central differences."""
    by_rate, by_start = derivatives(library.asarray(0.05), library.asarray(W))
    start, h = library.asarray(W), 1e-6
    expected = (unrolled(0.05 + h, start) - unrolled(0.05 - h, start)) / (2 * h)
    np.testing.assert_allclose(library.read(by_rate), library.read(expected), rtol=1e-7)
    for index in np.ndindex(W.shape):
        moved = np.zeros_like(W)
        moved[index] = h
        above, below = (unrolled(0.05, start + library.asarray(x)) for x in (moved, -moved))
        expected = library.read((above - below) / (2 * h))
        np.testing.assert_allclose(library.read(by_start[index]), expected, rtol=1e-6)


@pytest.mark.feature("jit", "functional")
@pytest.mark.parametrize("library", parameters(DOUBLES), indirect=True)
def test_steps_are_mapped(library: Library) -> None:
    """`vmap` takes a run with several learning rates at once."""
    start, gradient = library.asarray(W), library.asarray(W[::-1].copy())

    def run(rate: Array) -> Array:
        p, state = start, init(start)
        for _ in range(3):
            p, state = update(p, gradient, state, learning_rate=rate)
        return p

    found = torch.func.vmap(run)(library.asarray([0.1, 0.01, 0.0]))
    for rate, end in zip([0.1, 0.01, 0.0], found, strict=True):
        model = NumpyAdamax([W], rate)
        for _ in range(3):
            model.step([W[::-1]])
        np.testing.assert_allclose(library.read(end), model.x[0], rtol=1e-12)
